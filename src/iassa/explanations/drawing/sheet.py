"""The picture of several maps on one scale."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from iassa.errors import plain, shorten
from iassa.explanations.drawing.colours import Colours
from iassa.explanations.drawing.marks import Region, draw_borders, outline_boxes
from iassa.explanations.drawing.picture import (
    BAR_ROOM,
    CAPTION,
    DPI,
    GAP,
    MARGIN,
    Picture,
    unit,
)
from iassa.explanations.drawing.resizing import resize_known, resize_plane, resize_planes

MOST_SHOWN = 60  # maps
WIDEST = 1400  # pixels of the width of all, and the most of a map
CELL = 330
NAME, BETWEEN = 24, 8  # pixels of the line with a name, and between two maps
TALLEST = 5.0  # inches of the colour bar


def sheet(
    image: NDArray[np.float32],
    saliency: NDArray[np.float32],
    standard_error: NDArray[np.float32] | None = None,
    *,
    names: Sequence[str],
    measures: str,
    caption: str,
    outlines: Sequence[NDArray[np.float32]] = (),
    size: tuple[int, int] | None = None,
    regions: Sequence[Sequence[Region]] = (),
) -> Picture:
    """Maps over their dimmed grey image, side by side on one scale.

    They are drawn as one picture: a hundred axes would take seconds.

    Args:
        image: (H, W, 3) in [0, 1].
        saliency: (T, H, W); 60 at most are shown.
        standard_error: (T, H, W), as `overlay` takes that of one; None where nothing is hatched.
        names: of the T maps.
        measures: what the values are, see `Explainer.measures`.
        caption: how the maps were made.
        outlines: of each map the boxes (n, 4), as `overlay` takes them; or none at all.
        size: as `overlay` takes it.
        regions: of each map, as `overlay` takes those of one; or none at all.

    Returns:
        The figure.
    """
    total, (height, width) = len(saliency), saliency.shape[1:]
    saliency = saliency[:MOST_SHOWN]
    cell, columns = _lay_out(len(saliency), height / width)
    drawn = _fit((height, width), cell)
    places = [
        (k // columns * (cell[0] + NAME) + NAME, k % columns * (cell[1] + BETWEEN))
        for k in range(len(saliency))
    ]
    rows = math.ceil(len(saliency) / columns)
    colours = Colours.over(saliency, measures)
    small = resize_planes(image, drawn)
    whole = (rows * (cell[0] + NAME), columns * (cell[1] + BETWEEN) - BETWEEN)
    paper = np.full((*whole, 4), 255, np.uint8)
    if standard_error is None:
        standard_error = np.full_like(saliency, np.inf)
    note = ""
    for (top, left), one, error in zip(places, saliency, standard_error, strict=False):
        shrunk = colours.paint(small, resize_plane(one, drawn), resize_known(error, drawn))
        paper[top : top + drawn[0], left : left + drawn[1]] = shrunk
        note = note or colours.note(one, error)
    inches = (paper.shape[0] / DPI, max(paper.shape[1] / DPI, 3.0))
    figure = Picture(
        figsize=(2 * MARGIN + inches[1] + GAP + BAR_ROOM, CAPTION + MARGIN + inches[0]), dpi=DPI
    )
    axes = figure.place(MARGIN, CAPTION, inches[1], inches[0])
    axes.imshow(paper)
    for name, (top, left) in zip(names, places, strict=False):
        label = plain(shorten(name, max(8, cell[1] // 7)))
        axes.text(left, top - 6, label, fontsize=8, parse_math=False)
    full = size or (height, width)
    for boxes, place in zip(outlines, places, strict=False):
        inside = np.clip(boxes, 0, np.tile(full, 2))  # the next map is beside it
        outline_boxes(axes, inside, full, drawn, place)
    for one, place in zip(regions, places, strict=False):
        draw_borders(axes, one, drawn, place)
    tall = min(inches[0], TALLEST)
    across = MARGIN + inches[1] + GAP
    up = CAPTION + (inches[0] - tall) / 2
    figure.place_bar(across, up, 0.9 * tall, colours.bar(), unit(measures))
    more = f"; the first {len(saliency)} of {total} targets" if total > len(saliency) else ""
    figure.write("", (), 0.0, caption + more + note)
    return figure


def _lay_out(count: int, aspect: float) -> tuple[tuple[int, int], int]:
    """The (height, width) of the place of each map, and how many stand side by side.

    A very long or very high image leaves some of its place empty.
    """
    aspect = min(max(aspect, 0.25), 4.0)
    columns = min(count, math.ceil((count * aspect) ** 0.5))
    across = min(CELL, WIDEST // columns)
    return (max(1, round(aspect * across)), across), columns


def _fit(size: tuple[int, int], cell: tuple[int, int]) -> tuple[int, int]:
    """The largest (height, width) of the same shape that a place has room for."""
    factor = min(cell[0] / size[0], cell[1] / size[1])
    return max(1, round(factor * size[0])), max(1, round(factor * size[1]))
