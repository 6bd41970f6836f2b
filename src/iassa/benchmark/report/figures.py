"""Plots of a report: metrics against calls and against rounds, and mean curves.

A method has the same colour, line and mark in all of them. The colours are those of Okabe and Ito
(Color Universal Design, 2008), which people with any colour vision tell apart; lines and marks
differ too, for print.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from iassa.benchmark.report.columns import METRICS, Level, Metric
from iassa.benchmark.report.comparison import Mean
from iassa.benchmark.report.statistics import Estimate
from iassa.benchmark.report.trajectories import MeanCurve, Trajectory

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "Line",
    "Panel",
    "Style",
    "call_panels",
    "curve_panels",
    "draw_alone",
    "draw_key",
    "draw_panel",
    "draw_panels",
    "figure_bytes",
    "round_panels",
    "styles",
]

# Okabe and Ito's, without the yellow, which is too light for a line on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9")
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))
MARKS = ("o", "s", "^", "D", "v", "P", "X", "*")
INK, SOFT = "#1d2329", "#59636e"
PANEL = (4.0, 3.0)  # inches
FEW = 12  # points of a line that are marked one by one


@dataclass(frozen=True)
class Style:
    """How a method is drawn.

    Attributes:
        colour: '#rrggbb'.
        dash: matplotlib's line style.
        mark: matplotlib's marker.
    """

    colour: str
    dash: Any
    mark: str


@dataclass(frozen=True)
class Line:
    """A method's line.

    Attributes:
        label: of the method, whose style it has.
        x: places.
        estimates: one for each.
    """

    label: str
    x: tuple[float, ...]
    estimates: tuple[Estimate, ...]


@dataclass(frozen=True)
class Panel:
    """One pair of axes.

    Attributes:
        title: what it shows.
        x_label: of the horizontal axis.
        y_label: of the vertical axis; may be ''.
        lines: at least one.
        ticks: where the horizontal axis is marked, on a scale of ratios; None for an even scale.
        scale: factor of the values: 1e5 for the pixel level.
    """

    title: str
    x_label: str
    y_label: str
    lines: tuple[Line, ...]
    ticks: tuple[int, ...] | None = None
    scale: float = 1.0

    @property
    def description(self) -> str:
        """In words, for those who cannot see it: where each line begins and ends."""
        ends = []
        for line in self.lines:
            first, last = (line.estimates[place].mean * self.scale for place in (0, -1))
            path = f"{first:.3g} at {line.x[0]:g}"
            if len(line.x) > 1:
                path += f", {last:.3g} at {line.x[-1]:g}"
            ends.append(f"{line.label} {path}")
        return f"{self.title} against {self.x_label}: {'; '.join(ends)}."


def styles(labels: Sequence[str]) -> dict[str, Style]:
    """A style for each method, no two alike among the first 28."""
    return {
        label: Style(
            COLOURS[place % len(COLOURS)],
            DASHES[(place + place // len(COLOURS)) % len(DASHES)],
            MARKS[place % len(MARKS)],
        )
        for place, label in enumerate(labels)
    }


def call_panels(means: Sequence[Mean], metrics: Sequence[Metric], level: Level) -> list[Panel]:
    """A panel for each metric: a line over the numbers of calls for each method."""
    ticks = tuple(sorted({mean.arm.calls for mean in means}))
    panels = []
    for metric in metrics:
        lines: dict[str, list[Mean]] = {}
        for mean in means:
            if mean.level == level and mean.metric == metric.name:
                lines.setdefault(mean.arm.label, []).append(mean)
        if lines:
            drawn = tuple(
                Line(
                    label,
                    tuple(mean.arm.calls for mean in own),
                    tuple(mean.estimate for mean in own),
                )
                for label, own in lines.items()
            )
            panels.append(Panel(_title(metric), "calls", _unit(level), drawn, ticks, _scale(level)))
    return panels


def round_panels(
    trajectories: Sequence[Trajectory], metrics: Sequence[Metric], level: Level
) -> list[Panel]:
    """A panel for each metric: a line over the rounds for each method (the paper's Figures 6-7)."""
    panels = []
    for metric in metrics:
        column = level, metric.name
        lines = tuple(
            Line(each.label, each.rounds, tuple(each.columns[column]))
            for each in trajectories
            if column in each.columns
        )
        if lines:
            panels.append(
                Panel(_title(metric), "iteration k", _unit(level), lines, scale=_scale(level))
            )
    return panels


def curve_panels(curves: Sequence[MeanCurve]) -> list[Panel]:
    """The mean deletion curves and the mean insertion curves."""
    panels = []
    for kind, what in (("deletion", "deleted"), ("insertion", "inserted")):
        lines = tuple(
            Line(curve.arm.label, tuple(curve.fractions), tuple(curve.estimates))
            for curve in curves
            if curve.kind == kind
        )
        if lines:
            metric = METRICS[kind]
            panels.append(Panel(_title(metric), f"share of pixels {what}", "score", lines))
    return panels


def draw_panels(panels: Sequence[Panel], looks: Mapping[str, Style]) -> Figure:
    """All panels side by side, three in a row, with one legend."""
    from matplotlib.figure import Figure  # here: half a second to import

    across = min(3, len(panels))
    down = -(-len(panels) // across)
    labels = list(dict.fromkeys(line.label for panel in panels for line in panel.lines))
    in_a_row = max(1, min(len(labels), 2 * across))
    legend_inches = 0.3 * -(-len(labels) // in_a_row) + 0.1
    with _look():
        figure = Figure(
            figsize=(across * PANEL[0], down * PANEL[1] + legend_inches),
            layout="constrained",
            dpi=120,
        )
        grid = figure.subplots(down, across, squeeze=False)
        handles: dict[str, Any] = {}
        for axes, panel in zip(grid.flat, panels, strict=False):
            handles |= draw_panel(axes, panel, looks)
        for axes in list(grid.flat)[len(panels) :]:
            axes.set_axis_off()
        figure.legend(
            [handles[label] for label in labels],
            [_plain(label) for label in labels],
            loc="outside lower center",
            ncols=in_a_row,
            frameon=False,
        )
    return figure


def draw_alone(panel: Panel, looks: Mapping[str, Style]) -> Figure:
    """One panel without a legend, for a page that has one of its own."""
    from matplotlib.figure import Figure

    with _look():
        figure = Figure(figsize=PANEL, layout="constrained")
        draw_panel(figure.subplots(), panel, looks)
    return figure


def draw_key(style: Style) -> Figure:
    """A sample of a method's line, for a legend."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(0.52, 0.18))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, 2)
    axes.plot(
        [0, 1, 2],
        [0, 0, 0],
        color=style.colour,
        linestyle=style.dash,
        linewidth=1.8,
        marker=style.mark,
        markersize=5,
        markevery=[1],
    )
    return figure


def draw_panel(axes: Axes, panel: Panel, looks: Mapping[str, Style]) -> dict[str, Any]:
    """Draw one panel.

    Args:
        axes: to draw on.
        panel: what to draw.
        looks: style by label.

    Returns:
        What a legend needs, by label.
    """
    handles = {}
    for line in panel.lines:
        style = looks[line.label]
        middle, low, high = (
            np.array([getattr(each, name) for each in line.estimates]) * panel.scale
            for name in ("mean", "low", "high")
        )
        few = len(line.x) <= FEW
        (handles[line.label],) = axes.plot(
            line.x,
            middle,
            color=style.colour,
            linestyle=style.dash,
            linewidth=1.8,
            marker=style.mark if few else None,
            markersize=5,
        )
        if len(line.x) == 1:
            axes.vlines(line.x, low, high, color=style.colour, linewidth=1.2)
        else:
            axes.fill_between(line.x, low, high, color=style.colour, alpha=0.13, linewidth=0)
    axes.set_title(panel.title, loc="left")
    axes.set_xlabel(panel.x_label)
    axes.set_ylabel(panel.y_label)
    if panel.ticks is not None:
        axes.set_xscale("log", base=2)
        axes.set_xticks(panel.ticks, [str(tick) for tick in panel.ticks])
        axes.minorticks_off()
    axes.grid(axis="y", color="#e3e6e9", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return handles


def figure_bytes(figure: Figure, kind: str) -> bytes:
    """A figure as the bytes of a file, the same each time.

    Args:
        figure: drawn.
        kind: 'png', 'svg' or 'jpeg'.

    Returns:
        The file.
    """
    buffer = io.BytesIO()
    metadata = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}.get(kind)
    options: dict[str, Any] = {"pil_kwargs": {"quality": 86}} if kind == "jpeg" else {}
    with warnings.catch_warnings(), _look():
        # A label may have letters that matplotlib's font lacks; they are shown as boxes.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure.savefig(buffer, format=kind, metadata=metadata, **options)
    return buffer.getvalue()


@contextmanager
def _look() -> Iterator[None]:
    from matplotlib import rc_context

    with rc_context(
        {
            "font.size": 10,
            "axes.titlesize": 11,
            "axes.titleweight": "bold",
            "axes.edgecolor": SOFT,
            "axes.labelcolor": SOFT,
            "axes.titlecolor": INK,
            "text.color": INK,
            "text.parse_math": False,  # a dollar sign in a label is a dollar sign
            "xtick.color": SOFT,
            "ytick.color": SOFT,
            "svg.hashsalt": "iassa",  # names inside the file that are the same each time
        }
    ):
        yield


def _plain(label: str) -> str:
    """A legend leaves out what begins with an underscore."""
    return f" {label}" if label.startswith("_") else label


def _title(metric: Metric) -> str:
    return f"{metric.heading} {metric.arrow}"


def _unit(level: Level) -> str:
    return "" if level == "image" else "10⁻⁵ for each activated pixel"


def _scale(level: Level) -> float:
    return 1.0 if level == "image" else 1e5
