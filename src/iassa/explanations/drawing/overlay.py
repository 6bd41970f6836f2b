"""The picture of one map: the image, the map over it, and how well the map is known."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from numpy.typing import NDArray

from iassa.errors import plain, require, shorten
from iassa.explanations.drawing.colours import Colours, opaque
from iassa.explanations.drawing.marks import Boxes, Region, draw_borders, outline_boxes
from iassa.explanations.drawing.picture import (
    BAR_ROOM,
    CAPTION,
    DPI,
    GAP,
    MARGIN,
    NOTE,
    TITLE,
    Picture,
    unit,
    wrap,
)
from iassa.explanations.drawing.resizing import (
    LONGEST,
    drawn_size,
    resize_known,
    resize_plane,
    resize_planes,
)

Fit: TypeAlias = Literal["equal", "auto"]

WIDTH = 3.0  # inches of one panel of a square image
ABOVE = 0.3  # a name above a panel


def overlay(
    image: NDArray[np.float32],
    saliency: NDArray[np.float32],
    standard_error: NDArray[np.float32] | None = None,
    *,
    measures: str,
    title: str,
    caption: str,
    outlines: Boxes = (),
    size: tuple[int, int] | None = None,
    regions: Sequence[Sequence[Region]] = (),
    notes: Sequence[str] = (),
    under: Mapping[str, NDArray[np.float32]] | None = None,
) -> Picture:
    """The image, its map over a dimmed grey image, and the standard error.

    An effect is shown about 0 and is transparent where it is small; a mean score is shown over its
    range; a standard error from 0, white where it is not known. A map is hatched where its
    standard error is above 0.3 of its peak, or not known. Large images are drawn smaller.

    Args:
        image: (H, W, 3) in [0, 1].
        saliency: (H, W).
        standard_error: (H, W) in the map's units, infinite where no mask varied; None, or infinite
            everywhere, for no third panel.
        measures: what the values are, see `Explainer.measures`.
        title: the target's name and score.
        caption: how the map was made.
        outlines: boxes (n, 4) top, left, bottom, right, drawn as thin lines over the image and the
            map.
        size: (height, width) of the image whose pixels the boxes count; None for `image`.
        regions: of the image, then of the map: one (h, w) to outline, and another one in dots.
        notes: sentences below the picture.
        under: of a map that is the mean over several fills, each fill's own (H, W) by its name; all
            are drawn on the scale of the highest.

    Returns:
        The figure.
    """
    height, width = saliency.shape
    under = under or {}
    colours = Colours.over(np.stack([saliency, *under.values()]), measures)
    if standard_error is None:
        standard_error = np.full_like(saliency, np.inf)
    known = bool(np.isfinite(standard_error).any())
    aspect = math.sqrt(np.clip(height / width, 0.25, 4.0))  # a panel is no narrower than that
    panel = (WIDTH / max(aspect, 0.6), WIDTH * max(aspect, 0.6))
    panels = 3 if known else 2
    step = GAP + panel[0] + BAR_ROOM
    inches = 2 * MARGIN + panel[0] + (panels - 1) * step
    lines = wrap(notes, inches)
    below = CAPTION + NOTE * len(lines)
    bottom = below + math.ceil(len(under) / panels) * (panel[1] + ABOVE)
    figure = Picture(figsize=(inches, bottom + panel[1] + TITLE), dpi=DPI)
    places = [MARGIN, *(MARGIN + panel[0] + GAP + k * step for k in range(panels - 1))]
    left, right, *third = (figure.place(x, bottom, *panel) for x in places)
    drawn = drawn_size(image.shape)
    left.imshow(opaque(255 * resize_planes(image, drawn)))
    bars = [(draw_map(right, image, saliency, standard_error, colours=colours), unit(measures))]
    for k, (name, one) in enumerate(under.items()):
        row, column = divmod(k, panels)
        axes = figure.place(places[column], bottom - (1 + row) * (panel[1] + ABOVE), *panel)
        draw_map(axes, image, one, colours=colours)
        axes.set_title(plain(shorten(f"under {name}", 30)), fontsize=9, parse_math=False)
    bars += [(draw_error(axes, standard_error), "standard error") for axes in third]
    for x, (shown, label) in zip(places[1:], bars, strict=True):
        place = (x + panel[0] + GAP, bottom + 0.05 * panel[1], 0.9 * panel[1])
        figure.place_bar(*place, shown, label)
    for k, axes in enumerate((left, right)):
        outline_boxes(axes, outlines, size or (height, width), drawn)
        for pair in regions[k : k + 1]:
            draw_borders(axes, pair, drawn)
    figure.write(title, lines, below, caption + colours.note(saliency, standard_error))
    return figure


def overlay_on(
    axes: Axes,
    image: NDArray[np.float32],
    saliency: NDArray[np.float32],
    standard_error: NDArray[np.float32],
    *,
    measures: str,
    title: str,
    outlines: Boxes,
    size: tuple[int, int],
    regions: Sequence[Sequence[Region]],
) -> Figure:
    """The map alone, on axes of the user's, with a title and a colour bar.

    Args:
        axes: to draw on.
        image: as `overlay` takes it, and likewise all others.
        saliency: see there.
        standard_error: see there.
        measures: see there.
        title: see there.
        outlines: see there.
        size: see there.
        regions: see there; the map has those of the image.

    Returns:
        The figure that the axes are of.
    """
    got = type(axes).__name__
    require(
        isinstance(axes, Axes),
        f"expected axes of matplotlib, got {got}. Give one of those that subplots returned.",
    )
    figure = axes.get_figure(root=True)
    require(figure is not None, "expected axes of a figure, got axes that were removed from one.")
    assert figure is not None
    colours = Colours.over(saliency, measures)
    shown = draw_map(axes, image, saliency, standard_error, colours=colours)
    axes.set_axis_off()
    axes.set_title(plain(shorten(title, 60)), parse_math=False)
    drawn = drawn_size(image.shape)
    outline_boxes(axes, outlines, size, drawn)
    for pair in regions[:1]:
        draw_borders(axes, pair, drawn)
    # As high as the picture: a bar is 20 times as high as wide, and axes may be higher.
    across = 0.046 * image.shape[0] / image.shape[1]
    figure.colorbar(shown, ax=axes, fraction=across, pad=0.04, label=unit(measures))
    return figure


def draw_map(
    axes: Axes,
    image: NDArray[np.float32],
    saliency: NDArray[np.float32],
    standard_error: NDArray[np.float32] | None = None,
    *,
    colours: Colours,
    fit: Fit = "equal",
    longest: int = LONGEST,
) -> ScalarMappable:
    """Draw a map over its dimmed grey image, as `overlay` does.

    Args:
        axes: to draw on.
        image: (H, W, 3) in [0, 1].
        saliency: (H, W).
        standard_error: (H, W), see `overlay`; None where nothing is to be hatched.
        colours: of the scale.
        fit: 'equal' for square pixels, 'auto' to fill the axes.
        longest: pixels of the longer side of what is drawn.

    Returns:
        What a colour bar is made of.
    """
    drawn = drawn_size(image.shape, longest)
    small = resize_plane(saliency, drawn)
    error = None if standard_error is None else resize_known(standard_error, drawn)
    painted = colours.paint(resize_planes(image, drawn), small, error)
    axes.imshow(painted, aspect=fit)
    return colours.bar()


def draw_error(axes: Axes, standard_error: NDArray[np.float32]) -> ScalarMappable:
    """The third panel; what its colour bar is made of is returned."""
    error = resize_known(standard_error, drawn_size(standard_error.shape))
    most = float(np.nanmax(error.astype(np.float64)))
    return axes.imshow(error, cmap="viridis", vmin=0, vmax=most or 1.0)
