"""A run in a folder to a report in a folder: the files, read back."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from iassa.benchmark.report import write_report
from iassa.benchmark.report.comparison import Arm, Difference, Mean
from iassa.benchmark.report.data_files import data_files
from iassa.benchmark.report.statistics import Estimate
from iassa.benchmark.store.records import Failure, ItemKey
from iassa.benchmark.store.store import Store
from iassa.errors import InputError
from iassa.metrics import rank_correlation
from reported_runs import BARE, CONFIGURATION, METHODS, PLAIN, SIZE, make_entry, make_run, stored
from rounding import steps

FEW = {"num_resamples": 200}
ASKED = {
    "pictures": 2,
    "reference": "rise",
    "compare": [(("iassa", 100), ("rise", 400))],
    "command": "iassa benchmark --methods 'iassa rise'",
}
VOID = {"img", "meta", "link", "br", "hr", "input", "path", "use"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run, its entries, its items, and its photographs."""
    folder = tmp_path_factory.mktemp("runs") / "first run"
    entries, items = make_run(folder)
    images = tmp_path_factory.mktemp("photographs")
    (images / "images").mkdir()
    rng = np.random.default_rng(1)
    for name in {entry.image for entry in entries}:
        Image.fromarray(rng.integers(0, 255, (*SIZE, 3), dtype=np.uint8)).save(images / name)
    return folder, entries, items, images


@pytest.fixture(scope="module")
def report(run, tmp_path_factory):
    folder, _, _, images = run
    out = tmp_path_factory.mktemp("report")
    return write_report(folder, out, images=images, **ASKED)


def rows_of(report, name):
    text = (report.folder / name).read_bytes().decode()
    return list(csv.DictReader(io.StringIO(text, newline="")))


def values_at(items, entry, label, calls, metric):
    """A metric of each seed, read from the items that were put in."""
    found = []
    for seed in CONFIGURATION["seeds"]:
        (item,) = [one for key, one in items.items() if key == type(key)(entry.key, label, seed)]
        budgets = {snapshot.budget: snapshot for snapshot in item.snapshots}
        snapshot = budgets.get(calls, item.snapshots[-1])
        if metric in snapshot.metrics:
            found.append((snapshot.metrics[metric], snapshot.metrics["activated_pixels"]))
    return found


def test_files(report, run):
    names = {path.name for path in report.files}
    plots = {"metrics-by-calls", "metrics-by-iteration", "metrics-by-iteration-pixel", "curves"}
    assert names == {
        "report.md",
        "report.html",
        "summary.csv",
        "differences.csv",
        "items.csv",
        *(f"{name}.{kind}" for name in plots for kind in ("png", "svg")),
    }
    assert {path.name for path in report.folder.iterdir()} == names
    assert (report.finished, report.expected) == (len(run[2]), len(run[2]))
    for name in plots:
        with Image.open(report.folder / f"{name}.png") as picture:
            picture.verify()


@pytest.mark.parametrize("level", ["image", "pixel"])
@pytest.mark.parametrize("metric", ["deletion", "f1", "pointing"])
def test_summary_has_the_means_of_what_was_put_in(report, run, metric, level):
    _, entries, items, _ = run
    rows = {
        (row["method"], int(row["calls"])): row
        for row in rows_of(report, "summary.csv")
        if (row["metric"], row["level"]) == (metric, level)
    }
    assert set(rows) == {(label, n) for label, each in METHODS.items() for n in each["calls"]}
    for (label, calls), row in rows.items():
        by_entry = []
        for entry in entries:
            seeds = values_at(items, entry, label, calls, metric)
            if seeds:
                per_seed = [value / (n if level == "pixel" else 1) for value, n in seeds]
                by_entry.append(sum(per_seed) / len(per_seed))
        assert float(row["mean"]) == pytest.approx(sum(by_entry) / len(by_entry), rel=1e-9)
        assert int(row["n"]) == len(by_entry)
        assert float(row["low"]) <= float(row["mean"]) <= float(row["high"])
    assert len(entries) == 12
    assert {int(row["n"]) for row in rows.values()} == {12 if metric == "deletion" else 10}


def test_differences_are_those_of_the_means(report):
    means = {
        (row["method"], row["calls"], row["level"], row["metric"]): float(row["mean"])
        for row in rows_of(report, "summary.csv")
    }
    rows = rows_of(report, "differences.csv")
    pairs = {(row["method"], row["calls"], row["other_method"], row["other_calls"]) for row in rows}
    assert pairs == {
        ("iassa", "100", "rise", "400"),
        ("iassa", "100", "rise", "100"),
        ("iassa", "200", "rise", "200"),
        ("paper_1", "200", "rise", "200"),
        ("iassa", "200", "paper_1", "200"),
    }
    for row in rows:
        one = means[row["method"], row["calls"], row["level"], row["metric"]]
        other = means[row["other_method"], row["other_calls"], row["level"], row["metric"]]
        assert float(row["mean"]) == pytest.approx(
            one - other, rel=1e-9, abs=steps(16, one, other, dtype=np.float64)
        )
        low, high = float(row["low"]), float(row["high"])
        sign = -1 if row["metric"] == "deletion" else 1
        expected = "not shown" if low <= 0 <= high else "better" if sign * low > 0 else "worse"
        assert row["verdict"] == expected


def test_items_have_a_row_for_each_snapshot(report, run):
    _, _, items, _ = run
    rows = rows_of(report, "items.csv")
    assert len(rows) == sum(len(item.snapshots) for item in items.values())
    assert all(len(row) == len(rows[0]) and None not in row for row in rows)
    by_key = {}
    for row in rows:
        by_key.setdefault((row["entry"], row["method"], int(row["seed"])), []).append(row)
    for key, item in items.items():
        own = by_key[key.entry, key.method, key.seed]
        for row, snapshot in zip(own, item.snapshots, strict=True):
            assert row["budget"] == ("" if snapshot.budget is None else str(snapshot.budget))
            assert int(row["rounds"]) == snapshot.rounds
            assert float(row["insertion"]) == snapshot.metrics["insertion"]
            assert row["f1"] == str(snapshot.metrics.get("f1", ""))


class Page(HTMLParser):
    """What a page asks for, and whether its tags are closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.cells = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in (
            "td",
            "strong",
            "th",
            "small",
            "span",
            "summary",
            "title",
        ):
            self.cells.append((self.open[-1], data.strip()))


def assert_asks_for_nothing(text):
    """No script, and no address but within the page."""
    page = Page(text)
    tags = [tag for tag, _ in page.tags]
    assert not {"script", "link", "iframe", "object", "video"} & set(tags)
    assert not re.search(r"@import|url\(", text)
    anchors = {attributes.get("id") for _, attributes in page.tags}
    for tag, attributes in page.tags:
        for name in ("src", "href", "srcset", "data", "action", "poster"):
            link = attributes.get(name)
            if link is not None:
                assert link.startswith("data:image/") or (link[0] == "#" and link[1:] in anchors)
        assert not any(name.startswith("on") for name in attributes)
        if tag == "img":
            assert "alt" in attributes
        if tag == "th":
            assert attributes["scope"] in ("col", "row")
    return page


def test_html_asks_for_nothing_and_is_accessible(report):
    page = assert_asks_for_nothing((report.folder / "report.html").read_text("utf-8"))
    tags = [tag for tag, _ in page.tags]
    assert tags.count("h1") == tags.count("nav") == 1
    assert tags.count("h2") == 12
    assert tags.count("a") == 12
    assert tags.count("caption") == tags.count("table") > 5
    assert dict(page.tags)["html"] == {"lang": "en"}
    assert any(attributes.get("name") == "viewport" for _, attributes in page.tags)
    schemes = [each["content"] for _, each in page.tags if each.get("name") == "color-scheme"]
    assert schemes == ["light dark"]
    boxes = [each for tag, each in page.tags if tag == "div" and each.get("class") == "scroll"]
    assert len(boxes) == tags.count("table")
    assert all(each["aria-label"] and each["tabindex"] == "0" for each in boxes)
    assert sum(tag == "tr" and each.get("class") == "opens" for tag, each in page.tags) > 5


def test_html_tables_have_the_numbers_of_the_summary(report):
    page = Page((report.folder / "report.html").read_text("utf-8"))
    shown = {text for _, text in page.cells}
    for mean in report.means:
        if mean.level == "image" and mean.metric in ("deletion", "f1", "best_iou"):
            assert f"{mean.estimate.mean:.3f}" in shown
            ends = f"[{mean.estimate.low:.3f}, {mean.estimate.high:.3f}]"
            assert ends in shown


def test_markdown_tables_are_well_formed(report):
    text = (report.folder / "report.md").read_text("utf-8")
    tables = re.findall(r"(?:^\|.*\n)+", text, flags=re.M)
    assert len(tables) > 5
    for table in tables:
        lines = table.splitlines()
        fields = {len(re.findall(r"(?<!\\)\|", line)) for line in lines}
        assert len(fields) == 1
        assert re.fullmatch(r"\|( (---|---:) \|)+", lines[1])
        before = text[: text.index(table)]
        assert before.endswith("\n\n")
    for name in re.findall(r"\]\(([^)]*)\)", text):
        assert name.startswith("#") or (report.folder / name).is_file()
    assert text.count("<details>") == text.count("</details>")
    assert "paper\\_1" in text
    assert "iassa benchmark --methods 'iassa rise'" in text


def test_reported_numbers_stand_apart(report):
    text = (report.folder / "report.md").read_text("utf-8")
    before, _, after = text.partition("## As reported by the paper")
    assert "0.900967" not in before
    assert "0.900967" in after
    assert all("| iassa |" not in line for line in after.splitlines())


def test_photographs_only_where_they_are_asked_for(report, run, tmp_path):
    assert not list(report.folder.glob("*.jpg"))
    text = (report.folder / "report.md").read_text("utf-8")
    assert ".jpg)" not in text
    assert "The pictures are in `report.html`" in text
    html = (report.folder / "report.html").read_text("utf-8")
    assert html.count("data:image/jpeg") == 2  # by method, and by iteration of the one
    images = run[3]
    folder = tmp_path / "bare"
    entries, _ = make_run(folder, configuration=BARE, annotated=False)
    key = entries[3].key
    seen = []

    def outline(entry):
        seen.append(entry.key)
        annotation = np.zeros(SIZE, bool)
        annotation[4:9, 3:8] = True
        return annotation

    out = tmp_path / "report"
    asked = write_report(folder, out, images, [key], photographs=True, outline=outline, **FEW)
    names = {path.name for path in asked.files if path.suffix == ".jpg"}
    assert names == {"maps-by-method.jpg", "maps-by-iteration-1.jpg"}
    text = (out / "report.md").read_text("utf-8")
    assert all(f"]({name})" in text for name in names)
    assert seen == [key]
    with Image.open(out / "maps-by-method.jpg") as picture:
        assert picture.width > picture.height
    make_run(tmp_path / "run", configuration=PLAIN)
    none = write_report(tmp_path / "run", images=images, pictures=0, **FEW)
    assert "data:image/jpeg" not in (none.folder / "report.html").read_text("utf-8")


def test_dots_are_the_border_of_the_region_of_each_iteration(run, tmp_path):
    """Another threshold draws another region along the iterations, and nothing else differs."""
    made = []
    for threshold in (0.3, 0.8):
        folder = tmp_path / str(threshold)
        configuration = BARE | {"metrics": {**BARE["metrics"], "threshold": threshold}}
        make_run(folder, 2, configuration=configuration)
        report = write_report(folder, images=run[3], pictures=1, photographs=True, **FEW)
        text = (report.folder / "report.md").read_text("utf-8")
        assert f"region above {threshold} of each map's range in dots" in text
        made.append({path.name: path.read_bytes() for path in report.files})
    low, high = made
    assert low["maps-by-method.jpg"] == high["maps-by-method.jpg"]
    assert low["maps-by-iteration-1.jpg"] != high["maps-by-iteration-1.jpg"]


@pytest.mark.parametrize("size", [(9, 12), (30, 20)])
def test_maps_of_another_size_are_drawn_over_the_whole_photograph(run, tmp_path, size):
    """Maps of the size that a model looks at: the same picture as of maps of the image's size."""
    images, drawn = run[3], []
    for name, map_size in (("same", SIZE), ("other", size)):
        make_run(tmp_path / name, 2, configuration=PLAIN, size=map_size)
        report = write_report(tmp_path / name, images=images, pictures=2, photographs=True, **FEW)
        with Image.open(report.folder / "maps-by-method.jpg") as picture:
            drawn.append(np.asarray(picture.convert("RGB"), dtype=float))
    same, other = drawn
    assert same.shape == other.shape
    # What is white in the one is white in the other, but for the numbers at the colour bars.
    assert ((same < 200).any(axis=2) != (other < 200).any(axis=2)).mean() < 0.01


def test_each_map_has_a_colour_bar(run, tmp_path):
    """At the right of each map, its highest colour above its lowest."""
    images = run[3]
    make_run(tmp_path / "run", 2, configuration=PLAIN)
    report = write_report(tmp_path / "run", images=images, pictures=1, photographs=True, **FEW)
    with Image.open(report.folder / "maps-by-method.jpg") as picture:
        pixels = np.asarray(picture.convert("RGB"), dtype=float)
    coloured = (pixels < 230).any(axis=2).mean(axis=0) > 0.6
    starts = np.flatnonzero(np.diff(coloured.astype(int), prepend=0) == 1)
    ends = np.flatnonzero(np.diff(coloured.astype(int), append=0) == -1)
    widths = ends - starts + 1
    wide = widths > 100
    assert wide.tolist() == [True, True, False, True, False]  # a photograph, two maps and bars


def test_stability_is_the_mean_agreement_of_the_seeds(report, run):
    folder, entries, _, _ = run
    with Store.read(folder) as store:
        by_entry = [
            rank_correlation(
                *(store.saliency(type(key)(entry.key, "iassa", seed), 1) for seed in (0, 1))
            )
            for entry in entries
            for key in [next(iter(run[2]))]
        ]
    text = (report.folder / "report.md").read_text("utf-8")
    section = text.partition("## Stability over seeds")[2]
    line = next(line for line in section.splitlines() if line.startswith("| iassa | 200"))
    shown = float(line.split("|")[3].split()[0].replace("\N{MINUS SIGN}", "-"))
    assert shown == pytest.approx(np.mean(by_entry), abs=1e-3)


def test_the_same_run_gives_the_same_files(run, tmp_path):
    folder, images = tmp_path / "bare", run[3]
    make_run(folder, configuration=BARE, annotated=False)
    asked = {"images": images, "pictures": 2, "command": "iassa", "photographs": True}
    report, again = (write_report(folder, tmp_path / name, **asked) for name in ("one", "again"))
    assert {path.suffix for path in report.files} == {
        ".md",
        ".html",
        ".csv",
        ".png",
        ".svg",
        ".jpg",
    }
    for path in report.files:
        assert path.read_bytes() == (again.folder / path.name).read_bytes(), path.name
    assert again.folder == tmp_path / "again"


def test_a_run_that_goes_on_is_told_as_far_as_it_is(tmp_path):
    skip = {(0, "paper_1"), (1, "paper_1"), (11, "iassa")}
    entries, items = make_run(tmp_path / "run", skip=skip, failed={(5, "rise")}, annotated=False)
    report = write_report(tmp_path / "run", **FEW)
    assert report.folder == tmp_path / "run" / "report"
    assert (report.finished, report.expected) == (64, 72)
    assert len(items) == 64
    kept = [entry for number, entry in enumerate(entries) if number not in (0, 1, 5, 11)]
    assert list(report.entries) == kept
    text = (report.folder / "report.md").read_text("utf-8")
    assert "64 of 72 items so far, 2 failed" in text
    assert "| score below 0.15 | 1 |" in text
    assert "| paper\\_1: not done yet | 2 |" in text
    assert "| rise: failed | 1 |" in text
    assert "| iassa: not done yet | 1 |" in text
    assert "| rise | the black box returned NaN | " in text
    assert "tries the 2 failed items again" in text


@pytest.mark.parametrize("limit", [None, 5, 100])
def test_targets_beyond_the_limit_are_not_told_as_missing(tmp_path, limit):
    """Of equal scores, the first 5 by key: of these all methods lack number 3, twice."""
    skip = {(number, label) for number in (3, *range(5, 12)) for label in PLAIN["methods"]}
    make_run(tmp_path / "run", configuration=PLAIN, skip=skip)
    with Store.open(tmp_path / "run", PLAIN) as store:
        store.remember({"limit": limit, "command": ""})
    report = write_report(tmp_path / "run", **FEW)
    text = (report.folder / "report.md").read_text("utf-8")
    left_out, asked = (1, 5) if limit == 5 else (8, 12)
    assert (report.finished, report.expected) == (8, 2 * asked)
    assert f"8 of {2 * asked} items so far" in text
    assert f"| rise: not done yet | {left_out} |" in text
    assert f"{left_out} target{'s' * (left_out > 1)} of {asked} that are to be explained" in text
    assert ("limited to 5 targets, the highest scores first" in text) == (limit == 5)
    assert ("Not asked for, and in no comparison: 7 more" in text) == (limit == 5)


def test_a_run_that_was_limited_after_it_was_done(tmp_path):
    make_run(tmp_path / "run", configuration=PLAIN)
    with Store.open(tmp_path / "run", PLAIN) as store:
        store.remember({"limit": 4, "command": ""})
    report = write_report(tmp_path / "run", **FEW)
    assert (report.finished, report.expected, len(report.entries)) == (8, 8, 12)
    text = (report.folder / "report.md").read_text("utf-8")
    assert "so far" not in text
    assert "limited to" not in text  # what is there is compared


@pytest.mark.parametrize(
    ("kind", "told"), [("coco", "images not in the folder"), ("masks", "masks without an image")]
)
def test_images_that_were_not_there_are_told(tmp_path, kind, told):
    configuration = PLAIN | {"dataset": {"kind": kind}}
    make_run(tmp_path / "run", 2, configuration=configuration)
    names = [f"lost {number}.png" for number in range(7)]
    with Store.open(tmp_path / "run", configuration) as store:
        store.remember({"missing": names, "unscored": {"<b>.png": "cannot read it"}})
    report = write_report(tmp_path / "run", **FEW)
    text = (report.folder / "report.md").read_text("utf-8")
    section = text.partition("## What was left out")[2].partition("\n## ")[0]
    assert f"Not in the run, {told} (7): {', '.join(names[:3])} and 4 more." in section
    assert (
        "images that could not be scored (1): \\<b\\>.png. Of the first: cannot read it" in section
    )
    with Store.open(tmp_path / "run", configuration) as store:
        store.remember({"limit": None})  # as runs of before have it
    report = write_report(tmp_path / "run", **FEW)
    assert "Not in the run" not in (report.folder / "report.md").read_text("utf-8")


def test_fewer_methods_have_more_in_common(tmp_path):
    entries, _ = make_run(tmp_path / "run", skip={(0, "paper_1")}, annotated=False)
    report = write_report(tmp_path / "run", methods=["rise", "iassa"], **FEW)
    assert len(report.entries) == len(entries)
    assert {mean.arm.label for mean in report.means} == {"rise", "iassa"}
    assert report.expected == 48
    text = (report.folder / "report.md").read_text("utf-8")
    assert "iassa at 200 against rise at 200" in text
    assert "so far" not in text


def test_methods_without_an_entry_in_common_are_not_compared(tmp_path):
    skip = {(n, "rise" if n % 2 else "iassa") for n in range(12)}
    make_run(tmp_path / "run", configuration=PLAIN, skip=skip)
    report = write_report(tmp_path / "run", **FEW)
    assert report.entries == report.means == report.differences == ()
    text = (report.folder / "report.md").read_text("utf-8")
    assert "nothing is compared" in text
    assert "## Cost" in text


HOSTILE = (
    '<script>alert("x")</script> & $a_b$ | _',
    "[x](javascript:alert(1)) `code` \\|",
    "</details><img src=https://example.org/x.png onerror=alert(1)>",
)


def test_names_that_mean_something_in_html_and_markdown(tmp_path):
    """Labels, an error, a category, a file and the run itself: all are words, nowhere a tag."""
    labels = (HOSTILE[0], "_rise")
    methods = dict(zip(labels, PLAIN["methods"].values(), strict=True))
    configuration = PLAIN | {"methods": methods, "model": {"name": HOSTILE[1]}}
    folder = tmp_path / "run <b>$body"
    entries, _ = make_run(folder, 2, configuration=configuration)
    mean = [
        replace(entries[0], key=each, image=f"images/{n}.png", category=each, image_index=9 + n)
        for n, each in enumerate(HOSTILE)
    ]
    with Store.open(folder, configuration) as store:
        for entry in mean:
            store.add_image(entry.image, [entry], "0" * 64)
            store.add_failure(Failure(ItemKey(entry.key, "_rise", 0), entry.key))
        store.remember(
            {"missing": HOSTILE, "unscored": {HOSTILE[2]: HOSTILE[1]}, "command": HOSTILE[0]}
        )
    report = write_report(folder, command=HOSTILE[2], **FEW)
    page = assert_asks_for_nothing((report.folder / "report.html").read_text("utf-8"))
    tags = [tag for tag, _ in page.tags]
    assert not {"script", "i", "b"} & set(tags)
    assert tags.count("a") == tags.count("h2")
    for words in HOSTILE:
        assert ("th", words) in page.cells
    assert ("title", "Benchmark run <b>$body") in page.cells
    text = (report.folder / "report.md").read_text("utf-8")
    words = re.sub(r"(?m)^    .*$", "", text)  # but in code, where all is as it is
    assert set(re.findall(r"(?<!\\)<[^>]*>", words)) <= {
        "<details>",
        "</details>",
        "<summary>",
        "</summary>",
    }
    assert "With 2 images nothing can be shown" in text


def test_settings_are_in_the_report(report):
    text = (report.folder / "report.md").read_text("utf-8")
    block = text.partition("All settings</summary>")[2].partition("</details>")[0]
    settings = json.loads("\n".join(line[4:] for line in block.splitlines()))
    assert settings == CONFIGURATION


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"methods": ["lime"]}, "got 'lime'. Choose among iassa, rise, paper_1"),
        ({"methods": []}, "expected methods of the run, got none"),
        ({"reference": "lime"}, "expected a reference .* got 'lime'"),
        ({"compare": [(("iassa", 400), ("rise", 400))]}, "got 'iassa at 400'"),
    ],
)
def test_names_that_are_not_in_the_run(run, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        write_report(run[0], tmp_path / "report", **FEW, **options)
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize(
    ("pictures", "message"),
    [
        (["nothing"], "got 'nothing'"),
        (-1, "0 or more, got -1"),
        (2, "expected the images of the run in"),
    ],
)
def test_pictures_that_cannot_be_made(run, tmp_path, pictures, message):
    with pytest.raises(InputError, match=message):
        write_report(run[0], tmp_path / "report", tmp_path / "elsewhere", pictures, **FEW)
    assert not (tmp_path / "report").exists()


def test_an_image_of_another_size(run, tmp_path):
    entry = run[1][0]
    path = tmp_path / entry.image
    path.parent.mkdir()
    Image.new("RGB", (30, 30)).save(path)
    with pytest.raises(InputError, match=r"of \(18, 24\) pixels, .* got \(30, 30\)"):
        write_report(run[0], tmp_path / "report", tmp_path, 1, **FEW)


def test_a_run_without_a_finished_item(tmp_path):
    with pytest.raises(InputError, match=r"got no run\.sqlite"):
        write_report(tmp_path)
    skip = {(n, label) for n in range(3) for label in METHODS}
    make_run(tmp_path / "run", 2, skip=skip)
    with pytest.raises(InputError, match="expected a run with a finished item"):
        write_report(tmp_path / "run")
    assert not (tmp_path / "run" / "report").exists()


def test_a_folder_that_cannot_be_written(tmp_path):
    make_run(tmp_path / "run", 2, configuration=PLAIN)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write"):
        write_report(tmp_path / "run", tmp_path / "file" / "report", **FEW)


@pytest.mark.parametrize(
    "begins",
    [
        *(
            "=",
            "+",
            "-",
            "@",
            "\t",
            "\r",
            "\n",
            " =",
            "\xa0=",
            "\x0b=",
            "\u200b=",
            "\ufeff@",
            '"=',
            ";=",
        ),
        *("\uff1d", "\uff0b", "\uff0d", "\uff20", " \uff1d"),
    ],
)
def test_a_text_that_a_spreadsheet_would_run_is_a_text(begins):
    """Names of files and categories, labels and metrics may be anyone's; numbers stay numbers."""
    evil = f"{begins}HYPERLINK(1)"
    entry = replace(make_entry(0, category=evil), key=evil, image=evil, score=-0.5)
    item = stored(entry, evil, budgets={100: {"deletion": -0.25, evil: 1e-9}})
    mean = Mean(Arm(evil, 100), "image", evil, Estimate(-1.0, -2.0, -0.5, 3, 2))
    difference = Difference(mean.arm, mean.arm, "image", evil, mean.estimate, evil)
    files = data_files([mean], [difference], [entry], [item])
    found = 0
    for content in files.values():
        for row in csv.reader(io.StringIO(content.decode(), newline="")):
            for cell in row:
                number = re.fullmatch(r"-?[\d.]+(e-\d+)?", cell)
                assert number or not cell.startswith(begins)
                found += cell == f"'{evil}"
    assert found == 5 + 1 + 2 + 4
    (row,) = csv.DictReader(io.StringIO(files["items.csv"].decode(), newline=""))
    assert (row["score"], row["deletion"], row[f"'{evil}"]) == ("-0.5", "-0.25", "1e-09")
