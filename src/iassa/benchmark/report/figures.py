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

from iassa.benchmark.report.columns import METRICS, SCALES, UNITS, Level, Metric
from iassa.benchmark.report.statistics import Estimate
from iassa.benchmark.report.trajectories import CURVES, Trajectory

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "Panel",
    "Series",
    "Style",
    "curve_panels",
    "draw_key",
    "draw_panels",
    "figure_bytes",
    "metric_panels",
    "styles",
]

# Okabe and Ito's, without the yellow, which is too light for a line on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9")
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))
MARKS = ("o", "s", "^", "D", "v", "P", "X", "*")
INK, SOFT = "#1d2329", "#59636e"
PANEL = (4.0, 3.0)  # inches
FEW = 12  # points of a line that are marked one by one
LOOK: Any = {
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

    @property
    def options(self) -> dict[str, Any]:
        """Of matplotlib's `plot`."""
        return {
            "color": self.colour,
            "linestyle": self.dash,
            "linewidth": 1.8,
            "marker": self.mark,
            "markersize": 5,
        }


@dataclass(frozen=True)
class Series:
    """The points of one method in a panel.

    Attributes:
        label: of the method, whose style it has.
        x: places.
        estimates: one for each.
    """

    label: str
    x: tuple[float, ...]
    estimates: Sequence[Estimate]


@dataclass(frozen=True)
class Panel:
    """One pair of axes.

    Attributes:
        title: what it shows.
        x_label: of the horizontal axis.
        y_label: of the vertical axis; may be ''.
        series: at least one.
        ticks: marks of the horizontal axis, on a scale of ratios; None for an even scale.
        scale: factor of the values: 1e5 for the pixel level.
    """

    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    ticks: Sequence[float] | None = None
    scale: float = 1.0

    @property
    def description(self) -> str:
        """In words, for those who cannot see it: where each line begins and ends."""
        ends = []
        for series in self.series:
            first, last = (series.estimates[place].mean * self.scale for place in (0, -1))
            path = f"{first:.3g} at {series.x[0]:g}"
            if len(series.x) > 1:
                path += f", {last:.3g} at {series.x[-1]:g}"
            ends.append(f"{series.label} {path}")
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


def metric_panels(
    trajectories: Sequence[Trajectory],
    metrics: Sequence[Metric],
    level: Level,
    x_label: str,
    *,
    y_label: str | None = None,
    ticks: Sequence[float] | None = None,
) -> list[Panel]:
    """A panel for each metric, with a line for each method that has it.

    Args:
        trajectories: of the methods.
        metrics: a panel for each; one that no method has is left out.
        level: 'image' or 'pixel'.
        x_label: of the horizontal axes.
        y_label: of the vertical axes; the unit of the level if None.
        ticks: of the horizontal axes, see `Panel`.

    Returns:
        The panels, for `draw_panels`.
    """
    y_label = UNITS[level] if y_label is None else y_label
    panels = []
    for metric in metrics:
        column = level, metric.name
        series = tuple(
            Series(each.label, each.x, each.columns[column])
            for each in trajectories
            if column in each.columns
        )
        if series:
            panels.append(Panel(metric.title, x_label, y_label, series, ticks, SCALES[level]))
    return panels


def curve_panels(curves: Sequence[Trajectory]) -> list[Panel]:
    """The mean deletion curves and the mean insertion curves."""
    return [
        panel
        for kind, what in zip(CURVES, ("deleted", "inserted"), strict=True)
        for panel in metric_panels(
            curves, [METRICS[kind]], "image", f"share of pixels {what}", y_label="score"
        )
    ]


def draw_panels(
    panels: Sequence[Panel], looks: Mapping[str, Style], *, legend: bool = True
) -> Figure:
    """Panels side by side, three in a row, with one legend for all."""
    from matplotlib.figure import Figure  # here: half a second to import

    across = min(3, len(panels))
    down = -(-len(panels) // across)
    labels = list(dict.fromkeys(series.label for panel in panels for series in panel.series))
    in_a_row = max(1, min(len(labels), 2 * across))
    legend_inches = 0.3 * -(-len(labels) // in_a_row) + 0.1 if legend else 0.0
    size = across * PANEL[0], down * PANEL[1] + legend_inches
    with _look():
        figure = Figure(figsize=size, layout="constrained", dpi=120)
        grid = figure.subplots(down, across, squeeze=False)
        handles: dict[str, Any] = {}
        for axes, panel in zip(grid.flat, panels, strict=False):
            handles |= _draw(axes, panel, looks)
        for axes in list(grid.flat)[len(panels) :]:
            axes.set_axis_off()
        if legend:
            figure.legend(
                [handles[label] for label in labels],
                # A legend leaves out what begins with an underscore.
                [f" {label}" if label.startswith("_") else label for label in labels],
                loc="outside lower center",
                ncols=in_a_row,
                frameon=False,
            )
    return figure


def draw_key(style: Style) -> Figure:
    """A sample of a method's line, for a legend."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(0.52, 0.18))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, 2)
    axes.plot([0, 1, 2], [0, 0, 0], markevery=[1], **style.options)
    return figure


def _draw(axes: Axes, panel: Panel, looks: Mapping[str, Style]) -> dict[str, Any]:
    """Draw a panel, and give what a legend needs, by label."""
    handles = {}
    for series in panel.series:
        style = looks[series.label]
        middle, low, high = (
            np.array([getattr(each, name) for each in series.estimates]) * panel.scale
            for name in ("mean", "low", "high")
        )
        options = style.options if len(series.x) <= FEW else style.options | {"marker": None}
        (handles[series.label],) = axes.plot(series.x, middle, **options)
        if len(series.x) == 1:
            axes.vlines(series.x, low, high, color=style.colour, linewidth=1.2)
        else:
            axes.fill_between(series.x, low, high, color=style.colour, alpha=0.13, linewidth=0)
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


def figure_bytes(figure: Figure, kind: str, *, transparent: bool = False) -> bytes:
    """A figure as the bytes of a file, the same each time.

    Args:
        figure: drawn.
        kind: 'png', 'svg' or 'jpeg'.
        transparent: without a background.

    Returns:
        The file.
    """
    buffer = io.BytesIO()
    metadata = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}.get(kind)
    options: dict[str, Any] = {"pil_kwargs": {"quality": 86}} if kind == "jpeg" else {}
    with warnings.catch_warnings(), _look():
        # A label may have letters that matplotlib's font lacks; they are shown as boxes.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure.savefig(buffer, format=kind, metadata=metadata, transparent=transparent, **options)
    return buffer.getvalue()


@contextmanager
def _look() -> Iterator[None]:
    from matplotlib import rc_context

    with rc_context(LOOK):
        yield
