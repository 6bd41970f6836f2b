"""Cells and Markdown: numbers as people read them, what is bold, what is said in a sentence."""

from __future__ import annotations

import math
import re

import pytest

from iassa.benchmark.report.columns import FURTHER, MAIN, METRICS
from iassa.benchmark.report.comparison import Arm, Difference, Mean
from iassa.benchmark.report.costs import costs, excluded_entries, failed_items
from iassa.benchmark.report.statistics import Estimate
from iassa.benchmark.report.tables import (
    Cell,
    Row,
    Table,
    best_cells,
    cost_table,
    difference_table,
    escape,
    findings,
    markdown_table,
    mean_table,
    number,
    reported_table,
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


@pytest.mark.parametrize(
    ("value", "text", "signed"),
    [
        (0.12345, "0.123", "+0.123"),
        (-0.5, "\N{MINUS SIGN}0.500", "\N{MINUS SIGN}0.500"),
        (0.0, "0.000", "+0.000"),
        (0.0004, "4.00e\N{MINUS SIGN}04", "+4.00e\N{MINUS SIGN}04"),
        (12345.6, "1.23e+04", "+1.23e+04"),
        (math.nan, "\N{EN DASH}", "\N{EN DASH}"),
    ],
)
def test_number(value, text, signed):
    assert number(value) == text
    assert number(value, signed=True) == signed


@pytest.mark.parametrize(
    "text", ["a_b*c", "lime | slic", "[x](y)", "<b>", "back\\slash", "`code`", "two\nlines", "~#"]
)
def test_escaped_text_has_no_bare_sign_of_markdown(text):
    shown = escape(text)
    assert "\n" not in shown
    assert not re.search(r"(?<!\\)[|`*_<>\[\]#~]", shown.replace("\\\\", ""))
    assert re.sub(r"\\(.)", r"\1", shown) == " ".join(text.split())


def test_markdown_has_as_many_fields_in_every_row():
    table = Table(
        "caption",
        ("method", "calls"),
        ("F1", "I | D"),
        (
            Row(
                ("a_b|c", "100"),
                (Cell("0.5", "[0.4, 0.6]", best=True), Cell("1", verdict="better")),
            ),
            Row(("d", "100"), (Cell("0.1"), Cell("2"))),
        ),
    )
    lines = markdown_table(table).splitlines()
    assert lines == [
        r"| method | calls | F1 | I \| D |",
        "| --- | --- | ---: | ---: |",
        r"| a\_b\|c | 100 | **0.5** [0.4, 0.6] | 1 better |",
        "| d | 100 | 0.1 | 2 |",
    ]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {5}
    assert markdown_table(Table("caption", (), (), ())) == ""


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
        Mean(arm, level, metric, Estimate(value, value - 0.1, value + 0.1, 9, 9))
        for level, scale in (("image", 1.0), ("pixel", 1e-5))
        for metric in ("iou", "f1")
        for arm, value in ((A, 0.3 * scale), (B, 0.2 * scale), (Arm("b", 900), 0.4 * scale))
    ]
    table = mean_table(means, {(A, "image", "f1")}, MAIN, "image")
    assert table.columns == ("F1 ↑", "IoU ↑")
    assert [row.heads for row in table.rows] == [("a", "500"), ("b", "500"), ("b", "900")]
    assert [row.opens for row in table.rows] == [True, False, True]
    assert table.rows[0].cells == (
        Cell("0.300", "[0.200, 0.400]", best=True),
        Cell("0.300", "[0.200, 0.400]"),
    )
    pixel = mean_table(means, set(), MAIN, "pixel")
    assert [row.cells[0].text for row in pixel.rows] == ["0.300", "0.200", "0.400"]
    assert "10⁻⁵" in pixel.caption
    assert mean_table(means, set(), FURTHER, "image").rows == ()


def test_table_of_differences():
    found = [difference(A, B, "better"), difference(A, B, "worse", metric="deletion", mean=0.25)]
    table = difference_table(found, MAIN, "image", "Differences")
    (row,) = table.rows
    assert table.columns == ("deletion ↓", "F1 ↑")
    assert row.heads == ("a at 500", "b at 500")
    assert row.cells == (
        Cell("+0.250", "[+0.245, +0.255]", "worse"),
        Cell("+0.010", "[+0.005, +0.015]", "better"),
    )
    assert difference_table(found, MAIN, "pixel", "Differences").rows == ()


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
    one, other = costs(items, ["a", "b"])
    assert (one.label, one.items, one.calls, one.seconds) == ("a", 2, 15.0, 2.5)
    assert (one.warned, one.saliency_error) == (1, 1e-4)
    table = cost_table([one, other])
    assert [row.cells[-1].text for row in table.rows] == ["1", "0"]
    assert all(len(row.cells) == len(table.columns) for row in table.rows)


def test_failures_and_exclusions_are_counted_by_reason():
    failures = [
        Failure(ItemKey(f"e{n}", label, 0), error)
        for n, (label, error) in enumerate([("a", "x"), ("b", "y"), ("b", "y"), ("b", "x")])
    ]
    found = failed_items(failures)
    assert [(each.label, each.error, each.items, each.example) for each in found] == [
        ("b", "y", 2, "e1"),
        ("a", "x", 1, "e0"),
        ("b", "x", 1, "e3"),
    ]
    entries = [make_entry(n, excluded=why) for n, why in enumerate(["", "low", "crowd", "low"])]
    assert excluded_entries(entries) == {"low": 2, "crowd": 1}


def test_reported_numbers_are_those_of_the_paper():
    for level in ("image", "pixel"):
        for row in reported_table(level).rows:
            printed = PRINTED[level, row.heads[0]].split()
            assert [cell.text for cell in row.cells] == [
                each.removesuffix("e-05") for each in printed
            ]


def test_metrics_have_names_of_their_own():
    headings = [metric.heading for metric in METRICS.values()]
    assert len(METRICS) == len(MAIN) + len(FURTHER) == len(set(headings))
    assert [metric.name for metric in METRICS.values() if metric.lower_is_better] == ["deletion"]
