"""One panel of a picture alone: no margins, no words, as a page shows it that has its own."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from iassa.explanations.drawing.colours import Colours, opaque
from iassa.explanations.drawing.marks import Boxes, Region, draw_borders, outline_boxes
from iassa.explanations.drawing.overlay import draw_error, draw_map
from iassa.explanations.drawing.picture import DPI, Picture

View: TypeAlias = Literal["map", "error", "region"]

LONGER = 640  # pixels of the longer side


def panel(
    image: NDArray[np.float32],
    saliency: NDArray[np.float32],
    standard_error: NDArray[np.float32],
    *,
    view: View,
    measures: str,
    region: Region | None = None,
    outlines: Boxes = (),
    size: tuple[int, int] | None = None,
) -> Picture:
    """The map over its image, its standard error, or the image alone, as `overlay` draws them.

    Args:
        image: (H, W, 3) in [0, 1].
        saliency: (H, W).
        standard_error: (H, W), finite somewhere where it is shown.
        view: 'map', 'error', or 'region' for the image alone.
        measures: see `overlay`.
        region: (H, W), of which the border is drawn; None for none.
        outlines: boxes, as of `overlay`.
        size: see there.

    Returns:
        The figure, 640 pixels long on its longer side.
    """
    shape = (image.shape[0], image.shape[1])
    height, width = (side * LONGER / max(shape) / DPI for side in shape)
    figure = Picture(figsize=(width, height), dpi=DPI)
    axes = figure.place(0, 0, width, height)
    if view == "map":
        colours = Colours.over(saliency, measures)
        draw_map(axes, image, saliency, standard_error, colours=colours)
    elif view == "error":
        draw_error(axes, standard_error)
    else:
        axes.imshow(opaque(255 * image))
    axes.set_aspect("auto")  # a panel is as long as the image but for rounding
    outline_boxes(axes, outlines, size or shape, shape)
    draw_borders(axes, () if region is None else (region,), shape)
    return figure
