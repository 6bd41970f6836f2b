"""The pictures of a map on the page, as the library draws them, and the numbers behind them."""

from __future__ import annotations

import io
import math
import threading
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from iassa.errors import InputError, plain, require
from iassa.explanations.drawing import Colours, View, draw_error, figure_png, panel
from iassa.explanations.explanation import Explanation
from iassa.image import encode_png
from iassa.models.targets import find_target

BAR = 256  # pixels of the length of a colour bar

# matplotlib's caches are shared by all figures.
_DRAWING = threading.Lock()


def draw_view(explanation: Explanation, target: int, view: View, share: float | None) -> bytes:
    """One view of a map as a PNG file.

    Args:
        explanation: of the map.
        target: its place.
        view: see `panel`.
        share: of the image, that the region has whose border is drawn; None for no border.

    Raises:
        InputError: no such target, no such region, or a map without an error.
    """
    k = find_target(target, explanation.targets)
    error = explanation.standard_error[k]
    require(
        view != "error" or np.isfinite(error).any(),
        f"expected a map with an error, got one of {explanation.method['name']}, which gives none.",
    )
    region = None if share is None else explanation.region(k, share=share)
    boxes = explanation.target_boxes
    with _DRAWING:
        figure = panel(
            explanation.image,
            explanation.saliency[k],
            error,
            view=view,
            measures=explanation.method["measures"],
            region=region,
            outlines=() if boxes is None else boxes.boxes[list(explanation.targets[k].indices)],
            size=explanation.image_size,
        )
        return figure_png(figure)


def draw_bar(explanation: Explanation, target: int, view: View) -> bytes:
    """The colours of a map, or of its error, from the least value to the largest, as a PNG file."""
    k = find_target(target, explanation.targets)
    with _DRAWING:
        colours = Colours.over(explanation.saliency[k], explanation.method["measures"])
        shown = colours.bar()
        if view == "error":
            shown = draw_error(Figure().add_subplot(), explanation.standard_error[k])
        values = np.linspace(*shown.get_clim(), BAR)[None]
        painted = (255 * shown.to_rgba(values)[..., :3]).astype(np.uint8)
    return encode_png(painted)


def describe(explanation: Explanation) -> dict[str, Any]:
    """What the page says of a map."""
    measures = explanation.method["measures"]
    targets = []
    for k, target in enumerate(explanation.targets):
        colours = Colours.over(explanation.saliency[k], measures)
        error = explanation.relative_errors[k]
        known = explanation.standard_error[k][np.isfinite(explanation.standard_error[k])]
        targets.append(
            {
                "name": plain(target.name),
                "score": explanation.scores[k],
                "error": error if math.isfinite(error) else None,
                "low": colours.low,
                "high": colours.high,
                "most": float(known.max(initial=0)),
            }
        )
    return {
        "targets": targets,
        "calls": explanation.calls,
        "seconds": explanation.seconds,
        "measures": measures,
        "method": explanation.method["name"],
        "size": list(explanation.saliency.shape[1:]),
        "warnings": [plain(text) for text in explanation.warnings],
    }


def value_at(explanation: Explanation, target: int, row: int, column: int) -> dict[str, Any]:
    """The map and its standard error at a pixel of the map; the error is None if not known.

    Raises:
        InputError: no such target or pixel.
    """
    k = find_target(target, explanation.targets)
    height, width = explanation.saliency.shape[1:]
    if not (0 <= row < height and 0 <= column < width):
        raise InputError(f"expected a pixel within {height} x {width}, got {row}, {column}.")
    error = float(explanation.standard_error[k, row, column])
    return {
        "value": float(explanation.saliency[k, row, column]),
        "error": error if math.isfinite(error) else None,
    }


def pack(explanation: Explanation) -> bytes:
    """A ZIP archive of the files that `iassa explain` writes."""
    buffer = io.BytesIO()
    with TemporaryDirectory() as folder, zipfile.ZipFile(buffer, "w") as archive:
        with _DRAWING:
            explanation.save(folder)
        for path in sorted(Path(folder).iterdir()):
            archive.write(path, f"explanation/{path.name}")
    return buffer.getvalue()
