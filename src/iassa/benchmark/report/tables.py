"""Tables: from numbers to cells, and from cells to Markdown. The page reads the cells."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import ClassVar

from iassa.benchmark.report.columns import METRICS, REPORTED, REPORTED_COLUMNS, Level, Metric
from iassa.benchmark.report.comparison import Arm, Difference, Mean
from iassa.benchmark.report.costs import Cost, Failed, Steadiness
from iassa.benchmark.report.statistics import Estimate

__all__ = [
    "Cell",
    "Row",
    "Table",
    "best_cells",
    "cost_table",
    "count_table",
    "difference_table",
    "escape",
    "failure_table",
    "findings",
    "markdown_table",
    "mean_table",
    "number",
    "reported_table",
    "stability_table",
]

SCALES: dict[Level, float] = {"image": 1.0, "pixel": 1e5}  # the paper's unit of the pixel level
UNITS: dict[Level, str] = {"image": "", "pixel": ", in 10⁻⁵ for each activated pixel"}
MINUS, NOTHING = "\N{MINUS SIGN}", "\N{EN DASH}"


@dataclass(frozen=True)
class Cell:
    """A value of a table.

    Attributes:
        text: the value.
        detail: what stands after it, smaller: its interval.
        verdict: 'better', 'worse', 'not shown', or ''.
        best: it is shown to be better than every other of its group.
    """

    text: str
    detail: str = ""
    verdict: str = ""
    best: bool = False


@dataclass(frozen=True)
class Row:
    """A row: what it is of, and its values.

    Attributes:
        heads: one for each of the table's head columns.
        cells: one for each of its other columns.
        opens: it is the first of a group.
    """

    heads: tuple[str, ...]
    cells: tuple[Cell, ...]
    opens: bool = False


@dataclass(frozen=True)
class Table:
    """Rows under headings.

    Attributes:
        kind: of part of a page.
        caption: what it shows, one line.
        heads: headings of the columns that say what a row is of.
        columns: headings of the values.
        rows: none for a table that is left out.
    """

    kind: ClassVar[str] = "table"
    caption: str
    heads: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[Row, ...]


def mean_table(
    means: Iterable[Mean],
    best: set[tuple[Arm, Level, str]],
    metrics: Sequence[Metric],
    level: Level,
) -> Table:
    """Table 1's form: a row for each method and number of calls, a column for each metric.

    Args:
        means: of the run.
        best: cells to mark, as `best_cells` finds them.
        metrics: the columns; one that the run has not measured is left out.
        level: 'image' or 'pixel'.

    Returns:
        The table; groups of equal calls.
    """
    found = {(mean.arm, mean.metric): mean.estimate for mean in means if mean.level == level}
    shown = [metric for metric in metrics if any(name == metric.name for _, name in found)]
    rows: list[Row] = []
    for _, group in groupby(dict.fromkeys(arm for arm, _ in found), key=lambda arm: arm.calls):
        for place, arm in enumerate(group):
            cells = [
                estimate_cell(
                    found[arm, metric.name], level, best=(arm, level, metric.name) in best
                )
                for metric in shown
            ]
            if cells:
                rows.append(Row((arm.label, str(arm.calls)), tuple(cells), place == 0))
    return Table(
        caption=f"Means at the {level} level{UNITS[level]}",
        heads=("method", "calls"),
        columns=tuple(f"{metric.heading} {metric.arrow}" for metric in shown),
        rows=tuple(rows),
    )


def estimate_cell(estimate: Estimate, level: Level, *, best: bool = False) -> Cell:
    """A mean and its interval."""
    scale = SCALES[level]
    return Cell(number(estimate.mean * scale), _interval(estimate, scale, signed=False), best=best)


def difference_table(
    differences: Iterable[Difference], metrics: Sequence[Metric], level: Level, caption: str
) -> Table:
    """A row for each pair, a column for each metric: the difference, its interval, its verdict.

    Args:
        differences: of the pairs to show.
        metrics: the columns; one that the run has not measured is left out.
        level: 'image' or 'pixel'.
        caption: of the table.

    Returns:
        The table; groups of equal calls of the first.
    """
    found = {
        (each.one, each.other, each.metric): each for each in differences if each.level == level
    }
    shown = [metric for metric in metrics if any(name == metric.name for *_, name in found)]
    rows: list[Row] = []
    calls = None
    scale = SCALES[level]
    for one, other in dict.fromkeys((one, other) for one, other, _ in found):
        cells = []
        for metric in shown:
            each = found[one, other, metric.name]
            text = number(each.estimate.mean * scale, signed=True)
            cells.append(Cell(text, _interval(each.estimate, scale, signed=True), each.verdict))
        if cells:
            rows.append(Row((str(one), str(other)), tuple(cells), one.calls != calls))
            calls = one.calls
    return Table(
        caption=caption + UNITS[level],
        heads=("method", "minus"),
        columns=tuple(f"{metric.heading} {metric.arrow}" for metric in shown),
        rows=tuple(rows),
    )


def best_cells(differences: Iterable[Difference]) -> set[tuple[Arm, Level, str]]:
    """Cells that beat those of every other method at the same calls, each beyond its interval.

    Args:
        differences: of all pairs at equal calls; others are passed over.

    Returns:
        (arm, level, metric) of each; none in a group where no one beats all others.
    """
    beaten: set[tuple[Arm, Level, str]] = set()
    seen: set[tuple[Arm, Level, str]] = set()
    for each in differences:
        if each.one.calls != each.other.calls:
            continue
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
        differences: of the pairs to tell of; the image level counts.
        metrics: to tell of.

    Returns:
        Sentences in the order of the pairs.
    """
    headings = {metric.name: metric.heading for metric in metrics}
    pairs: dict[tuple[Arm, Arm], dict[str, list[str]]] = {}
    for each in differences:
        if each.level == "image" and each.metric in headings:
            verdicts = pairs.setdefault((each.one, each.other), {})
            verdicts.setdefault(each.verdict, []).append(headings[each.metric])
    sentences = []
    for (one, other), verdicts in pairs.items():
        parts = [
            f"{verdict} in {', '.join(verdicts[verdict])}"
            for verdict in ("better", "worse")
            if verdict in verdicts
        ]
        if "not shown" in verdicts:
            parts.append(f"no difference shown in {', '.join(verdicts['not shown'])}")
        sentences.append(f"{one} against {other}: {'; '.join(parts)}.")
    return sentences


def cost_table(costs: Sequence[Cost]) -> Table:
    """What the items of each method took."""
    rows = tuple(
        Row(
            (cost.label,),
            (
                Cell(str(cost.items)),
                Cell(f"{cost.calls:.1f}"),
                Cell(f"{cost.seconds:.2f}"),
                Cell(f"{cost.metric_seconds:.2f}"),
                Cell(number(cost.relative_error) if math.isfinite(cost.relative_error) else "none"),
                Cell(str(cost.warned)),
            ),
        )
        for cost in costs
    )
    columns = (
        "items",
        "calls made",
        "seconds",
        "seconds of metrics",
        "relative error",
        "weak evidence",
    )
    return Table("Cost of one item, mean over those finished", ("method",), columns, rows)


def stability_table(steadiness: Sequence[Steadiness]) -> Table:
    """How alike the maps of different seeds are."""
    rows = tuple(
        Row(
            (each.arm.label, str(each.arm.calls)),
            (
                estimate_cell(each.rank_correlation, "image"),
                estimate_cell(each.top_overlap, "image"),
            ),
        )
        for each in steadiness
    )
    columns = ("Spearman ↑", "IoU of the top tenth ↑")
    return Table("Agreement of the maps of different seeds", ("method", "calls"), columns, rows)


def failure_table(failed: Sequence[Failed]) -> Table:
    """Items that failed, those that failed alike together."""
    rows = tuple(
        Row((each.label, each.error, each.example), (Cell(str(each.items)),)) for each in failed
    )
    return Table("Items that failed", ("method", "error", "first entry"), ("items",), rows)


def count_table(counts: Mapping[str, int], caption: str, head: str, column: str) -> Table:
    """A number for each name."""
    rows = tuple(Row((name,), (Cell(str(count)),)) for name, count in counts.items())
    return Table(caption, (head,), (column,), rows)


def reported_table(level: Level) -> Table:
    """The paper's Table 1 at one level."""
    return Table(
        caption=f"Reported by the paper at the {level} level{UNITS[level]}",
        heads=("method",),
        columns=tuple(
            f"{METRICS[name].heading} {METRICS[name].arrow}" for name in REPORTED_COLUMNS
        ),
        rows=tuple(
            Row((method,), tuple(Cell(value) for value in values))
            for method, values in REPORTED[level].items()
        ),
    )


def markdown_table(table: Table) -> str:
    """A table in GitHub's Markdown; '' for one without rows."""
    if not table.rows:
        return ""
    lines = [
        _line(map(escape, (*table.heads, *table.columns))),
        _line(["---"] * len(table.heads) + ["---:"] * len(table.columns)),
    ]
    lines += [
        _line([*map(escape, row.heads), *(_markdown_cell(cell) for cell in row.cells)])
        for row in table.rows
    ]
    return "\n".join(lines)


def escape(text: str) -> str:
    """Text that means itself in Markdown, in a table too."""
    return re.sub(r"([\\|`*_<>\[\]#~])", r"\\\1", " ".join(text.split()))


def number(value: float, *, signed: bool = False) -> str:
    """A number as a person reads it: three decimals, more digits where these would all be 0."""
    if math.isnan(value):
        return NOTHING
    sign = "+" if signed else ""
    if value != 0 and not 0.0005 <= abs(value) < 10_000:
        text = f"{value:{sign}.2e}"
    else:
        text = f"{value:{sign}.3f}"
    return text.replace("-", MINUS)


def _interval(estimate: Estimate, scale: float, *, signed: bool) -> str:
    if math.isnan(estimate.low):
        return ""
    ends = (number(end * scale, signed=signed) for end in (estimate.low, estimate.high))
    return f"[{', '.join(ends)}]"


def _line(fields: Iterable[str]) -> str:
    return f"| {' | '.join(fields)} |"


def _markdown_cell(cell: Cell) -> str:
    text = escape(cell.text)
    text = f"**{text}**" if cell.best else text
    return " ".join(part for part in (text, cell.detail, cell.verdict) if part)
