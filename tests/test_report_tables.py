"""Tables in Markdown: numbers as people read them, what is bold, what is said in a sentence."""

from __future__ import annotations

import math
import re
from importlib import resources

import pytest
from markdown_it import MarkdownIt

from iassa.benchmark.report.columns import FURTHER, MAIN, METRICS
from iassa.benchmark.report.comparison import Arm, Difference, Mean
from iassa.benchmark.report.markdown import bullets, code, escape, fill, fold, table, text
from iassa.benchmark.report.ranks import rank_table
from iassa.benchmark.report.statistics import Estimate
from iassa.benchmark.report.tables import (
    MINUS,
    NOTHING,
    best_cells,
    cost_table,
    failure_table,
    findings,
    metric_table,
    number,
    number_format,
    other_class_table,
)
from iassa.benchmark.store.records import Failure, ItemKey
from reported_runs import make_entry, stored

A, B, C = (Arm(label, 500) for label in "abc")
# Table 1 as the paper's text has it: deletion, insertion, F-1, IoU, pointing game.
PRINTED = {
    ("image", "LIME"): "0.900967 0.99 0.15390 0.09745 0.16461",
    ("image", "RISE"): "0.1847 1.0 0.13837 0.13653 0.25",
    ("image", "IASSA"): "0.18803 1.0 0.23658 0.15153 0.4216",
    ("pixel", "LIME"): "10.8526e-05 10.96158e-05 1.71177e-05 1.08447e-05 0.43671e-05",
    ("pixel", "RISE"): "5.5423e-05 28.8669e-05 4.26672e-05 2.69240e-05 8.95937e-05",
    ("pixel", "IASSA"): "5.50534e-05 35.33639e-05 10.5960e-05 6.9282e-05 17.79331e-05",
}


def difference(one, other, verdict, metric="f1", level="image", mean=0.01):
    estimate = Estimate(mean, mean - 0.005, mean + 0.005, 12, 9)
    return Difference(one, other, level, metric, estimate, verdict)


def cells(markdown):
    """The fields of each row of a table without pipes in its words, heading and rule left out."""
    rows = [line for line in markdown.splitlines() if line.startswith("|")]
    return [[field.strip() for field in row.strip("|").split("|")] for row in rows[2:]]


@pytest.mark.parametrize(
    ("values", "shown", "signed"),
    [
        ([0.12345, -0.5, 0.0004], "0.123 -0.500 0.000", "+0.123 -0.500 +0.000"),
        ([0.0, -0.0, math.nan], "0.000 0.000 ?", "+0.000 +0.000 ?"),
        ([0.05, -1e-9], "0.050 0.000", "+0.050 +0.000"),
        ([0.0004, -0.00123], "0.00040 -0.00123", "+0.00040 -0.00123"),
        ([9999.9, 1.0], "9999.900 1.000", "+9999.900 +1.000"),
        ([12345.6, 1.0], "1.23e+04 1.00e+00", "+1.23e+04 +1.00e+00"),
        ([1.5e-9], "1.50e-09", "+1.50e-09"),
        ([math.inf, 1.0], "inf 1.000", "+inf +1.000"),
    ],
)
def test_numbers_of_a_column_are_written_alike(values, shown, signed):
    for expected, is_signed in ((shown, False), (signed, True)):
        style = number_format(values, signed=is_signed)
        got = " ".join(number(value, style) for value in values)
        assert got == expected.replace("-", "\N{MINUS SIGN}").replace("?", "\N{EN DASH}")
    decimals = {len(each) for each in re.findall(r"\.(\d+)", shown)}
    assert len(decimals) == 1


HOSTILE = (
    "<script>alert(1)</script>",
    "</details></td><img src=x onerror=alert(1)>",
    "a|b",
    "`code` ``",
    "[x](javascript:alert(1))",
    "![x](https://example.org/x.png)",
    "back\\slash\\",
    "a_b*c ~~d~~ #e &lt;b&gt; $x$",
    "- 1. # > = two\nlines",
    "1) one",
    "<details><summary>x</summary>",
)


def words_of(html):
    """The words of HTML, none of its tags."""
    return (
        re.sub(r"<[^>]*>", "", html)
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", '"')
        .replace("&amp;", "&")
        .strip()
    )


@pytest.mark.parametrize("hostile", HOSTILE)
def test_words_mean_themselves_in_markdown(hostile):
    """markdown-it, with HTML allowed as on GitHub, reads them as the words that they are."""
    reader = MarkdownIt("commonmark").enable("table")
    plain = " ".join(hostile.split())
    assert reader.render(text(hostile)) == f"<p>{reader.renderInline(escape(hostile))}</p>\n"
    assert words_of(reader.render(text(hostile))) == plain
    assert "<" not in reader.renderInline(escape(hostile))
    assert re.fullmatch(r"<ul>\n<li>[^<]*</li>\n</ul>\n", reader.render(bullets([hostile])))
    in_table = reader.render(table("caption", ["one"], ["two"], [([hostile], ["1"])]))
    (row,) = re.findall(r"<td>(.*)</td>", in_table)
    assert words_of(row) == plain
    assert in_table.count("<td") == 2
    in_code = reader.render(code(hostile))
    assert words_of(in_code) == hostile
    assert set(re.findall(r"</?([^>]*)>", in_code)) == {"pre", "code"}
    folded = reader.render(fold(hostile, "inside"))
    assert "<script" not in folded
    assert "<img" not in folded


def test_a_long_table_is_folded():
    rows = [([f"row {n}"], [str(n)]) for n in range(13)]
    assert "<details>" not in table("caption", ["a"], ["b"], rows[:12])
    assert table("caption", ["a"], ["b"], rows).startswith(
        "<details><summary>caption (13 rows)</summary>\n\n**caption**"
    )
    assert "<details>" not in table("caption", ["a"], ["b"], rows, folds=False)
    assert table("caption", ["a"], ["b"], []) == ""
    assert fold("title", "", "") == ""


def test_markdown_has_as_many_fields_in_every_row():
    rows = [(["a_b|c", "100"], ["**0.5** [0.4, 0.6]", "1 better"]), (["d", "100"], ["0.1", "2"])]
    caption, _, body = table("caption", ["method", "calls"], ["F1", "I | D"], rows).partition(
        "\n\n"
    )
    lines = body.splitlines()
    assert caption == "**caption**"
    assert lines == [
        r"| method | calls | F1 | I \| D |",
        "| --- | --- | ---: | ---: |",
        r"| a\_b\|c | 100 | **0.5** [0.4, 0.6] | 1 better |",
        "| d | 100 | 0.1 | 2 |",
    ]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {5}


def test_a_template_drops_what_has_no_value():
    template = "# $title\n\n$contents\n\n## One thing\n\nstays $a\n\ngoes $a $b\n\n## Two\n\n$b\n"
    assert fill(template, {"title": "t", "a": "$b", "b": ""}) == (
        "# t\n\n[One thing](#one-thing)\n\n## One thing\n\nstays $b\n"
    )


def test_best_is_who_beats_all_others_at_the_same_calls():
    far = Arm("a", 1000)
    wins = [difference(A, B, "better"), difference(C, A, "worse"), difference(B, C, "not shown")]
    assert best_cells(wins) == {(A, "image", "f1")}
    assert best_cells([*wins[:2], difference(far, B, "better")]) == {(A, "image", "f1")}
    assert best_cells([wins[0], difference(A, C, "not shown")]) == set()
    assert best_cells([difference(far, B, "better")]) == set()
    other_metric = difference(B, A, "better", metric="iou")
    assert best_cells([difference(A, B, "better"), other_metric]) == {
        (A, "image", "f1"),
        (B, "image", "iou"),
    }


def test_table_of_means():
    means = [
        Mean(arm, level, metric, Estimate(value, value - 0.1 * scale, value + 0.1 * scale, 9, 9))
        for level, scale in (("image", 1.0), ("pixel", 1e-5))
        for metric in ("iou", "f1")
        for arm, value in ((A, 0.3 * scale), (B, 0.2 * scale), (Arm("b", 900), 0.4 * scale))
    ]
    heads = ("method", "calls")
    image = metric_table("Means", heads, means, MAIN, "image", best={(A, "image", "f1")})
    assert image.startswith("**Means at the image level**\n\n| method | calls | F1 ↑ | IoU ↑ |\n")
    assert cells(image) == [
        ["a", "500", "**0.300** [0.200, 0.400]", "0.300 [0.200, 0.400]"],
        ["b", "500", "0.200 [0.100, 0.300]", "0.200 [0.100, 0.300]"],
        ["b", "900", "0.400 [0.300, 0.500]", "0.400 [0.300, 0.500]"],
    ]
    pixel = metric_table("Means", heads, means, MAIN, "pixel")
    assert [row[2:] for row in cells(pixel)] == [
        [re.sub(r"\*", "", each) for each in row[2:]] for row in cells(image)
    ]
    assert "**Means at the pixel level, in 10⁻⁵ for each activated pixel**" in pixel
    assert metric_table("Means", heads, means, FURTHER, "image") == ""
    alone = [Mean(A, "image", "f1", Estimate(0.5, math.nan, math.nan, 1, 1))]
    best = {(A, "image", "f1")}
    assert cells(metric_table("", heads, alone, MAIN, "image", best=best))[0][2] == "**0.500**"


def gain(arm, metric, mean, level="image"):
    return Mean(arm, level, metric, Estimate(mean, mean - 0.1, mean + 0.1, 12, 9))


def test_ranks_by_fill_are_among_the_methods_at_as_many_calls():
    alone = Arm("a", 1000)  # with nobody to be ranked among
    means = [
        *(gain(arm, "gain_blur", mean) for arm, mean in ((A, 0.4), (B, 0.3), (C, 0.4))),
        *(gain(arm, "gain_grey", mean) for arm, mean in ((A, 0.1), (B, 0.2), (C, 0.3))),
        *(gain(arm, "gain", mean) for arm, mean in ((A, 0.25), (B, 0.25), (C, 0.35))),
        *(gain(alone, f"gain_{fill}", 0.9) for fill in ("blur", "grey")),
        gain(A, "f1", 0.7),
    ]
    markdown = rank_table(means)
    assert "| method | calls | SRG grey (rank) | SRG blur (rank) | mean rank ↓ |" in markdown
    assert cells(markdown) == [
        ["c", "500", "0.300 (1)", "0.400 (1.5)", "1.25"],
        ["a", "500", "0.100 (3)", "0.400 (1.5)", "2.25"],
        ["b", "500", "0.200 (2)", "0.300 (3)", "2.50"],
    ]


def test_there_are_no_ranks_without_gains_or_without_rivals():
    assert rank_table([gain(A, "f1", 0.4), gain(B, "f1", 0.5)]) == ""
    assert rank_table([gain(A, "gain_grey", 0.4)]) == ""


def test_table_of_differences():
    found = [difference(A, B, "better"), difference(A, B, "worse", metric="deletion", mean=0.25)]
    heads = ("method", "minus")
    shown = metric_table("Differences", heads, found, MAIN, "image")
    assert "| method | minus | deletion ↓ | F1 ↑ |" in shown
    assert cells(shown) == [
        [
            "a at 500",
            "b at 500",
            "+0.250 [+0.245, +0.255] worse",
            "+0.010 [+0.005, +0.015] better",
        ]
    ]
    assert metric_table("Differences", heads, found, MAIN, "pixel") == ""


def test_findings_tell_every_metric_once():
    found = [
        difference(A, B, "better"),
        difference(A, B, "worse", "deletion"),
        difference(A, B, "not shown", "iou"),
        difference(A, B, "better", "iou", level="pixel"),
        difference(C, B, "not shown"),
        difference(C, B, "better", "sparsity"),
    ]
    assert findings(found, MAIN) == [
        "a at 500 against b at 500: better in F1; worse in deletion; no difference shown in IoU.",
        "c at 500 against b at 500: no difference shown in F1.",
    ]


def test_costs():
    entries = [make_entry(number) for number in range(3)]
    items = [
        stored(entries[0], "a", budgets={100: {}}, seconds=1.0, calls=10),
        stored(entries[1], "a", budgets={100: {}}, seconds=4.0, calls=20, warnings=("w", "v")),
        stored(entries[0], "b", budgets={100: {}}),
        stored(entries[0], "c", budgets={100: {}}),
    ]
    assert cells(cost_table(items, ["a", "b"])) == [
        ["a", "2", "15.0", "2.50", "1.00", "0.100", "1"],
        ["b", "1", "200.0", "2.00", "1.00", "0.100", "0"],
    ]


def test_likeness_of_another_class_has_a_dash_where_there_is_none():
    none = Estimate(math.nan, math.nan, math.nan, 0, 0)
    found = other_class_table(
        {A: [Estimate(0.25, 0.125, 0.5, 9, 9), Estimate(-0.5, -0.75, 0.0, 9, 9)], B: [none] * 2}
    )
    assert cells(found) == [
        ["a", "500", "0.250 [0.125, 0.500]", f"{MINUS}0.500 [{MINUS}0.750, 0.000]"],
        ["b", "500", NOTHING, NOTHING],
    ]
    assert other_class_table({A: [none] * 2}) == other_class_table({}) == ""


def test_failures_are_counted_by_method_and_error():
    failures = [
        Failure(ItemKey(f"e{n}", label, 0), error)
        for n, (label, error) in enumerate([("a", "x"), ("b", "y"), ("b", "y"), ("b", "x")])
    ]
    assert cells(failure_table(failures)) == [
        ["b", "y", "e1", "2"],
        ["a", "x", "e0", "1"],
        ["b", "x", "e3", "1"],
    ]


def test_reported_numbers_are_those_of_the_paper():
    page = resources.files("iassa.benchmark.report").joinpath("template.md").read_text("utf-8")
    section = page.partition("## As reported by the paper")[2].partition("\n## ")[0]
    headings = " | ".join(METRICS[name].title for name in ("deletion", "insertion", "f1", "iou"))
    assert section.count(f"| method | {headings} | {METRICS['pointing'].title} |") == 2
    image, pixel = section.split("**Reported by the paper at the pixel level, in 10⁻⁵ ")
    for level, part in (("image", image), ("pixel", pixel)):
        shown = {method: values for method, *values in cells(part)}
        assert set(shown) == {"LIME", "RISE", "IASSA"}
        for method, values in shown.items():
            printed = PRINTED[level, method].split()
            assert values == [each.removesuffix("e-05") for each in printed]


def test_metrics_have_names_of_their_own():
    headings = [metric.heading for metric in METRICS.values()]
    assert len(METRICS) == len(MAIN) + len(FURTHER) == len(set(headings))
    assert [metric.name for metric in METRICS.values() if metric.lower_is_better] == ["deletion"]
