"""Plots of a report: metrics against calls and against rounds, and mean curves.

A method has the same colour, line and mark in all of them. The colours are those of Okabe and Ito
(Color Universal Design, 2008), which people with any colour vision tell apart; lines and marks
differ too, for print.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from iassa.benchmark.report.columns import SCALES, UNITS, Level, Metric
from iassa.benchmark.report.trajectories import Trajectory
from iassa.errors import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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


Looks = Mapping[str, Mapping[str, Any]]  # options of matplotlib's `plot` by label


@dataclass(frozen=True, eq=False)
class Panel:
    """One pair of axes: a metric of several methods.

    Attributes:
        metric: what it shows.
        level: 'image' or 'pixel'.
        x_label: of the horizontal axis.
        y_label: of the vertical axis; may be ''.
        trajectories: at least one; all have the metric.
        ticks: marks of the horizontal axis, on a scale of ratios; None for an even scale.
    """

    metric: Metric
    level: Level
    x_label: str
    y_label: str
    trajectories: Sequence[Trajectory]
    ticks: Sequence[float] | None = None

    def values(self, trajectory: Trajectory) -> NDArray[np.float64]:
        """Mean, low and high end of each point, (3, K), in the unit of the level."""
        estimates = trajectory.columns[self.level, self.metric.name]
        ends = [(each.mean, each.low, each.high) for each in estimates]
        return np.array(ends).T * SCALES[self.level]

    @property
    def description(self) -> str:
        """In words, for those who cannot see it: where each line begins and ends."""
        lines = []
        for each in self.trajectories:
            ends = list(zip(self.values(each)[0], each.x, strict=True))
            ends = ends[:1] + ends[1:][-1:]
            path = ", ".join(f"{mean:.3g} at {x:g}" for mean, x in ends)
            lines.append(f"{each.label} {path}")
        return f"{self.metric.title} against {self.x_label}: {'; '.join(lines)}."


def styles(labels: Sequence[str]) -> Looks:
    """How each method is drawn, no two alike among the first 28."""
    return {
        label: {
            "color": COLOURS[place % len(COLOURS)],
            "linestyle": DASHES[(place + place // len(COLOURS)) % len(DASHES)],
            "linewidth": 1.8,
            "marker": MARKS[place % len(MARKS)],
            "markersize": 5,
        }
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
        having = [each for each in trajectories if (level, metric.name) in each.columns]
        if having:
            panels.append(Panel(metric, level, x_label, y_label, having, ticks))
    return panels


def draw_panels(panels: Sequence[Panel], looks: Looks, *, legend: bool = True) -> Figure:
    """Panels side by side, three in a row, with one legend for all."""
    from matplotlib import rc_context  # here: half a second to import
    from matplotlib.figure import Figure

    across = min(3, len(panels))
    down = -(-len(panels) // across)
    labels = list(dict.fromkeys(each.label for panel in panels for each in panel.trajectories))
    in_a_row = max(1, min(len(labels), 2 * across))
    legend_inches = 0.3 * -(-len(labels) // in_a_row) + 0.1 if legend else 0.0
    size = across * PANEL[0], down * PANEL[1] + legend_inches
    with rc_context(LOOK):
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
                [plain(f" {label}" if label.startswith("_") else label) for label in labels],
                loc="outside lower center",
                ncols=in_a_row,
                frameon=False,
            )
        # Each file that is saved would do it again, and for it draw everything once more.
        engine = figure.get_layout_engine()
        assert engine is not None  # asked for above
        engine.execute(figure)
        figure.set_layout_engine(None)
    return figure


def draw_key(look: Mapping[str, Any]) -> Figure:
    """A sample of a method's line, for a legend."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(0.52, 0.18))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, 2)
    axes.plot([0, 1, 2], [0, 0, 0], markevery=[1], **look)
    return figure


def _draw(axes: Axes, panel: Panel, looks: Looks) -> dict[str, Any]:
    """Draw a panel, and give what a legend needs, by label."""
    handles = {}
    for each in panel.trajectories:
        middle, low, high = panel.values(each)
        look = {**looks[each.label]}
        if len(each.x) > FEW:
            look["marker"] = None
        (handles[each.label],) = axes.plot(each.x, middle, **look)
        if len(each.x) == 1:
            axes.vlines(each.x, low, high, color=look["color"], linewidth=1.2)
        else:
            axes.fill_between(each.x, low, high, color=look["color"], alpha=0.13, linewidth=0)
    axes.set_title(panel.metric.title, loc="left")
    axes.set_xlabel(panel.x_label)
    axes.set_ylabel(panel.y_label)
    if panel.ticks is not None:
        axes.set_xscale("log", base=2)
        axes.set_xticks(panel.ticks, [str(tick) for tick in panel.ticks])
        axes.minorticks_off()
    elif max(len(each.x) for each in panel.trajectories) == 1:
        axes.set_xticks(panel.trajectories[0].x)
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
    from matplotlib import rc_context

    buffer = io.BytesIO()
    metadata = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}.get(kind)
    options: dict[str, Any] = {"pil_kwargs": {"quality": 86}} if kind == "jpeg" else {}
    with warnings.catch_warnings(), rc_context(LOOK):
        # A label may have letters that matplotlib's font lacks; they are shown as boxes.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure.savefig(buffer, format=kind, metadata=metadata, transparent=transparent, **options)
    return buffer.getvalue()
