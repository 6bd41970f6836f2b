"""The tables of docs/paper.md: the paper's Table 1 and Figures 6 and 7, of the published results.

    python benchmarks/paper_table.py

It reads `items.csv` of docs/results, which have every value of every image, and needs neither the
images nor a model. Intervals are of 95 %, from 10000 resamples of the images.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from iassa.benchmark.report.columns import LEVELS, METRICS, SCALES, UNITS, Level
from iassa.benchmark.report.statistics import Bootstrap, Estimate

RESULTS = Path(__file__).parents[1] / "docs" / "results"
SHOWN = ("deletion", "insertion", "f1", "iou", "pointing")  # the columns of Table 1
PAPER = ("iassa-paper", 500)
ARMS = (
    ("lime-slic", 500),
    ("lime-slic", 1000),
    ("rise", 500),
    ("rise", 1000),
    PAPER,
    ("iassa", 500),
)
GAPS = (
    (PAPER, ("lime-slic", 500)),
    (PAPER, ("rise", 500)),
    (("iassa", 500), PAPER),
)
ROUNDS = (1, 5, 10, 15, 20, 25)
BESIDE = (("lime-slic", 1000), ("rise", 1000), ("iassa", 500))  # below the iterations
DIGITS: Mapping[Level, int] = {"image": 3, "pixel": 1}
Row = Mapping[str, str]
Arm = tuple[str, int]


@dataclass(frozen=True)
class Value:
    """One metric of one map, and the image that it is of."""

    image: str
    value: float


def read(name: str) -> list[Row]:
    """The maps of seed 0 in one of the files of docs/results."""
    with (RESULTS / name).open(encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if row["seed"] == "0"]


def values(rows: Sequence[Row], metric: str, level: Level) -> dict[str, Value]:
    """A metric by entry, at the pixel level divided by the pixels that the map activates."""
    found = {}
    for row in rows:
        pixels = float(row["activated_pixels"]) if level == "pixel" else 1.0
        value = SCALES[level] * float(row[metric]) / pixels
        found[row["entry"]] = Value(row["image"], value)
    return found


def estimate(some: Sequence[Value]) -> Estimate:
    """Mean and interval."""
    column = np.array([[one.value] for one in some])
    return Bootstrap().estimate_means(column, [one.image for one in some])[0]


def gap(ones: Sequence[Row], others: Sequence[Row], metric: str, level: Level) -> Estimate:
    """The mean over the entries that both have of the one less the other."""
    left, right = (values(rows, metric, level) for rows in (ones, others))
    return estimate(
        [Value(left[key].image, left[key].value - right[key].value) for key in left if key in right]
    )


def write(mean: Estimate, level: Level, sign: str = "") -> str:
    """'0.292 [0.221, 0.365]'."""
    digits = f"{sign}.{DIGITS[level]}f"
    return f"{mean.mean:{digits}} [{mean.low:{digits}}, {mean.high:{digits}}]"


def table(first: str, heads: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]]) -> list[str]:
    """A table in Markdown, and an empty line."""
    lines = [f"| {first} | {' | '.join(heads)} |", "|---" * (1 + len(heads)) + "|"]
    return [*lines, *(f"| {name} | {' | '.join(cells)} |" for name, cells in rows), ""]


def read_arms() -> dict[Arm, list[Row]]:
    """The maps of each method at each number of calls."""
    coco = read("coco/items.csv")
    rows = {
        arm: [row for row in coco if (row["method"], row["budget"]) == (arm[0], str(arm[1]))]
        for arm in ARMS
    }
    rows["iassa", 500] = read("second/coco.csv")  # as it is now
    return rows


def compare(rows: Mapping[Arm, Sequence[Row]]) -> list[str]:
    """Table 1 at both levels, and what `iassa-paper` is less the others."""
    lines = []
    for level in LEVELS:
        means: list[tuple[str, list[str]]] = []
        for arm in ARMS:
            cells = [
                write(estimate([*values(rows[arm], name, level).values()]), level) for name in SHOWN
            ]
            means.append((f"`{arm[0]}`, {arm[1]} calls", cells))
        for one, other in GAPS:
            cells = [write(gap(rows[one], rows[other], name, level), level, "+") for name in SHOWN]
            means.append((f"`{one[0]}` minus `{other[0]}`, {one[1]} calls", cells))
        lines += table(name_of(level), [METRICS[name].title for name in SHOWN], means)
    return lines


def follow(others: Mapping[Arm, Sequence[Row]]) -> list[str]:
    """Means of `iassa-paper` after some of its iterations, and of others on the same images."""
    rows = [row for row in read("iterations/items.csv") if row["method"] == PAPER[0]]
    entries = {row["entry"] for row in rows}
    lines = []
    for level in LEVELS:
        means: list[tuple[str, list[str]]] = []
        for k in ROUNDS:
            after = [row for row in rows if int(row["rounds"]) == k]
            calls = np.mean([int(row["calls"]) for row in after])
            means.append((f"`{PAPER[0]}`, k = {k}, {calls:.0f} calls", plain_means(after, level)))
        for arm in BESIDE:
            some = [row for row in others[arm] if row["entry"] in entries]
            means.append((f"`{arm[0]}`, {arm[1]} calls", plain_means(some, level)))
        lines += table(name_of(level), [METRICS[name].title for name in SHOWN], means)
    return lines


def plain_means(rows: Sequence[Row], level: Level) -> list[str]:
    """Means without intervals, which four images are too few for."""
    means = (np.mean([one.value for one in values(rows, name, level).values()]) for name in SHOWN)
    return [f"{mean:.{DIGITS[level]}f}" for mean in means]


def name_of(level: Level) -> str:
    """The head of the first column."""
    return f"{level} level" + (f", {UNITS[level]}" if UNITS[level] else "")


def main() -> int:
    """Print the tables; exit status 0."""
    rows = read_arms()
    for line in (*compare(rows), *follow(rows)):
        sys.stdout.write(f"{line}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
