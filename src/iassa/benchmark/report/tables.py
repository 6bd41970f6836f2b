"""The tables of a report: what is in which cell, and how a number is written."""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Mapping, Sequence

import numpy as np

from iassa.benchmark.report.columns import SCALES, UNITS, Level, Metric
from iassa.benchmark.report.comparison import Arm, Difference, Mean
from iassa.benchmark.report.markdown import table
from iassa.benchmark.report.statistics import Estimate
from iassa.benchmark.store.records import Failure, Item

COSTS = ("items", "calls made", "seconds", "seconds of metrics", "relative error", "weak evidence")
MINUS, NOTHING = "\N{MINUS SIGN}", "\N{EN DASH}"


def number_format(values: Iterable[float], *, signed: bool = False) -> str:
    """How the numbers of one column are written, all alike.

    Args:
        values: of the column.
        signed: whether positive numbers have a sign, too.

    Returns:
        A format with three decimals. With more of them where the largest number has no three
        digits then; as a power of ten where it is too large or too small for that.
    """
    peak = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
    sign = "+" if signed else ""
    if peak == 0 or 0.01 <= peak < 10_000:
        return f"{sign}z.3f"
    if 1e-6 <= peak < 0.01:
        return f"{sign}z.{2 - math.floor(math.log10(peak))}f"
    return f"{sign}.2e"


def number(value: float, style: str) -> str:
    """A number as a person reads it; a dash where there is none."""
    return NOTHING if math.isnan(value) else format(value, style).replace("-", MINUS)


def metric_table(
    caption: str,
    heads: Sequence[str],
    records: Sequence[Mean] | Sequence[Difference],
    metrics: Sequence[Metric],
    level: Level,
    *,
    best: Container[tuple[Arm, Level, str]] = (),
    folds: bool = True,
) -> str:
    """Table 1's form: a row for each arm or pair, a column for each metric.

    Args:
        caption: of the table; the level is added.
        heads: headings of the two columns that say what a row is of.
        records: means, or differences; these come with their verdicts.
        metrics: the columns; one that the run has not measured is left out.
        level: 'image' or 'pixel'; records of the other are ignored.
        best: cells in bold, as `best_cells` finds them.
        folds: whether a long table is shown on demand.
    """
    own = {(each.names, each.metric): each for each in records if each.level == level}
    rows = list(dict.fromkeys(names for names, _ in own))
    shown = [metric for metric in metrics if any(name == metric.name for _, name in own)]
    columns = []
    for metric in shown:
        column = [own[names, metric.name] for names in rows]
        signed = isinstance(column[0], Difference)
        values = _write([each.estimate for each in column], SCALES[level], signed=signed)
        columns.append([_cell(*pair, best) for pair in zip(values, column, strict=True)])
    unit = f", in {UNITS[level]}" if UNITS[level] else ""
    return table(
        f"{caption} at the {level} level{unit}",
        heads,
        [metric.title for metric in shown],
        list(zip(rows, zip(*columns, strict=True), strict=True)) if shown else [],
        folds=folds,
    )


def _cell(value: str, record: Mean | Difference, best: Container[tuple[Arm, Level, str]]) -> str:
    if isinstance(record, Difference):
        return f"{value} {record.verdict}"
    mean, *interval = value.split(" ", 1)
    bold = (record.arm, record.level, record.metric) in best
    return " ".join([f"**{mean}**" if bold else mean, *interval])


def _write(estimates: Sequence[Estimate], scale: float = 1.0, *, signed: bool = False) -> list[str]:
    """The means of a column and their intervals: '0.250 [0.212, 0.294]'."""
    scaled = [(each.mean * scale, each.low * scale, each.high * scale) for each in estimates]
    style = number_format((value for each in scaled for value in each), signed=signed)
    return [
        number(mean, style)
        + ("" if math.isnan(low) else f" [{number(low, style)}, {number(high, style)}]")
        for mean, low, high in scaled
    ]


def best_cells(differences: Iterable[Difference]) -> set[tuple[Arm, Level, str]]:
    """Cells that beat those of every other method at the same calls, each beyond its interval.

    Args:
        differences: of all pairs at equal calls; others are ignored.

    Returns:
        (arm, level, metric) of each; none in a group where no one beats all others.
    """
    beaten: set[tuple[Arm, Level, str]] = set()
    seen: set[tuple[Arm, Level, str]] = set()
    for each in differences:
        if each.one.calls == each.other.calls:
            one, other = ((arm, each.level, each.metric) for arm in (each.one, each.other))
            seen |= {one, other}
            if each.verdict != "better":
                beaten.add(one)
            if each.verdict != "worse":
                beaten.add(other)
    return seen - beaten


def findings(differences: Iterable[Difference], metrics: Sequence[Metric]) -> list[str]:
    """A sentence for each pair: in which metrics the one is better, worse, or not shown to differ.

    Args:
        differences: of the pairs; only the image level counts.
        metrics: that the sentences are about.

    Returns:
        Sentences in the order of the pairs.
    """
    headings = {metric.name: metric.heading for metric in metrics}
    pairs: dict[tuple[Arm, Arm], dict[str, list[str]]] = {}
    for each in differences:
        if each.level == "image" and each.metric in headings:
            verdicts = pairs.setdefault((each.one, each.other), {})
            verdicts.setdefault(each.verdict, []).append(headings[each.metric])
    words = {"better": "better", "worse": "worse", "not shown": "no difference shown"}
    return [
        f"{one} against {other}: "
        + "; ".join(f"{words[each]} in {', '.join(of[each])}" for each in words if each in of)
        + "."
        for (one, other), of in pairs.items()
    ]


def cost_table(items: Sequence[Item], labels: Iterable[str]) -> str:
    """What the finished items of each method took, compared or not."""
    by_label = {label: [item for item in items if item.key.method == label] for label in labels}
    own = {label: some for label, some in by_label.items() if some}
    errors = {
        label: float(np.median([item.snapshots[-1].relative_error for item in some]))
        for label, some in own.items()
    }
    style = number_format(errors.values())
    rows = [
        (
            [label],
            [
                str(len(some)),
                f"{np.mean([item.calls for item in some]):.1f}",
                f"{np.mean([item.seconds for item in some]):.2f}",
                f"{np.mean([item.metric_seconds for item in some]):.2f}",
                number(errors[label], style) if math.isfinite(errors[label]) else "none",
                str(sum(bool(item.warnings) for item in some)),
            ],
        )
        for label, some in own.items()
    ]
    return table("Cost of one item, mean over those finished", ["method"], COSTS, rows)


def stability_table(stabilities: Mapping[Arm, Sequence[Estimate]]) -> str:
    """How alike the maps of different seeds are: rank correlation and overlap of each arm."""
    columns = map(_write, zip(*stabilities.values(), strict=True))
    heads = [(arm.label, str(arm.calls)) for arm in stabilities]
    return table(
        "Agreement of the maps of different seeds",
        ["method", "calls"],
        ["Spearman ↑", "IoU of the top tenth ↑"],
        list(zip(heads, zip(*columns, strict=True), strict=True)) if heads else [],
    )


def other_class_table(estimates: Mapping[Arm, Sequence[Estimate]]) -> str:
    """How like the map of another class is, of each arm; '' where no arm has one."""
    if all(math.isnan(each.mean) for some in estimates.values() for each in some):
        return ""
    columns = map(_write, zip(*estimates.values(), strict=True))
    return table(
        "Likeness of the map of another class",
        ["method", "calls"],
        ["Spearman ↓", "structural similarity ↓"],
        [
            ((arm.label, str(arm.calls)), values)
            for arm, values in zip(estimates, zip(*columns, strict=True), strict=True)
        ],
    )


def failure_table(failures: Iterable[Failure]) -> str:
    """Items that failed, those of one method with the same error together, most frequent first."""
    groups: dict[tuple[str, str], list[str]] = {}
    for failure in failures:
        groups.setdefault((failure.key.method, failure.error), []).append(failure.key.entry)
    rows = [((*kind, keys[0]), [str(len(keys))]) for kind, keys in groups.items()]
    rows.sort(key=lambda row: (-int(row[1][0]), row[0]))
    return table("Items that failed", ["method", "error", "first entry"], ["items"], rows)


def count_table(counts: Mapping[str, int], caption: str, head: str, column: str) -> str:
    """A number for each name."""
    rows = [((name,), (str(count),)) for name, count in counts.items()]
    return table(caption, [head], [column], rows)
