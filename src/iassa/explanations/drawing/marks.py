"""What is drawn over a picture in lines: boxes, and the borders of regions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from skimage.measure import find_contours

Boxes: TypeAlias = Sequence[Sequence[float]] | NDArray[np.float32]
Region: TypeAlias = NDArray[np.bool_]


def outline_boxes(
    axes: Axes,
    boxes: Boxes,
    size: tuple[int, int],
    drawn: tuple[int, ...],
    place: tuple[int, int] = (0, 0),
) -> None:
    """Thin boxes, white on black so that they are seen on anything.

    Args:
        axes: to draw on.
        boxes: (n, 4) top, left, bottom, right.
        size: (height, width) of the image whose pixels they count.
        drawn: (height, width) at which it is drawn.
        place: row and column of its first pixel.
    """
    down, across = drawn[0] / size[0], drawn[1] / size[1]
    for top, left, bottom, right in boxes:
        # A pixel is drawn about its number, and a box of the first one begins half a pixel before.
        corner = (place[1] + left * across - 0.5, place[0] + top * down - 0.5)
        sides = ((right - left) * across, (bottom - top) * down)
        for width, colour in ((2.0, "black"), (1.0, "white")):
            frame = Rectangle(corner, *sides, fill=False, linewidth=width, edgecolor=colour)
            axes.add_patch(frame)


def draw_borders(
    axes: Axes,
    regions: Sequence[Region],
    drawn: tuple[int, ...],
    place: tuple[int, int] = (0, 0),
) -> None:
    """The border of a region (h, w), and of a second one in dots; the rest as above."""
    for region, style in zip(regions, ("-", ":"), strict=False):
        height, width = region.shape
        padded = np.pad(region, 1).astype(np.float32)
        for line in find_contours(padded, 0.5):  # type: ignore[no-untyped-call]
            # A pixel's middle is at its number, of the padded region one behind.
            y = (line[:, 0] - 0.5) * drawn[0] / height - 0.5 + place[0]
            x = (line[:, 1] - 0.5) * drawn[1] / width - 0.5 + place[1]
            for look, colour, thickness in (("-", "0.15", 2.2), (style, "white", 1.2)):
                axes.plot(x, y, look, color=colour, linewidth=thickness, scalex=False, scaley=False)
