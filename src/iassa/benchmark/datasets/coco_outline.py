"""The outline of one object as MS-COCO has it: polygons, or run lengths, plain or compressed.

Polygons are drawn by pycocotools, which only this file imports. It trusts what it is given: run
lengths that end early become pixels that nobody wrote, a coordinate that is no number takes all
memory. So polygons are checked before it sees them, and run lengths are read here.
"""

from __future__ import annotations

import math
import reprlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iassa.errors import InputError

__all__ = ["draw_outline", "import_pycocotools"]

FEWEST_NUMBERS = 6  # of a polygon: three points
# A polygon may stand out of its image, by the image's own size: one that is farther away is in
# other units, and takes memory by its length.
OVERHANG = 1
LARGEST = 1e9


def import_pycocotools() -> Any:
    """Its masks; an optional package.

    Raises:
        InputError: it is not installed.
    """
    try:
        from pycocotools import mask  # here, so that other datasets need none
    except ImportError:
        raise InputError(
            "COCO annotations need the pycocotools package: pip install 'iassa[coco]'"
        ) from None
    return mask


def draw_outline(outline: Any, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Mask (H, W) of one object.

    Args:
        outline: a list of polygons, or run lengths with their size.
        size: (height, width) of the image.

    Raises:
        InputError: neither; numbers that cannot be drawn.
    """
    if isinstance(outline, list):
        _check_polygons(outline, size)
        mask = import_pycocotools()
        outline = mask.merge(mask.frPyObjects(outline, *size))
    elif not isinstance(outline, dict):
        raise InputError(
            f"expected polygons or run lengths as segmentation, got {reprlib.repr(outline)}."
        )
    runs = _run_lengths(outline, size)
    pixels: NDArray[np.bool_] = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return pixels.reshape(size, order="F")


def _check_polygons(polygons: list[Any], size: tuple[int, int]) -> None:
    if not polygons:
        raise InputError("expected polygons as segmentation, got an empty list.")
    for polygon in polygons:
        numbers = polygon if isinstance(polygon, list) else []
        if len(numbers) < FEWEST_NUMBERS or len(numbers) % 2 or not all(map(_is_number, numbers)):
            raise InputError(
                f"expected a polygon of three points or more, x and y in turn, got "
                f"{reprlib.repr(polygon)}."
            )
        for length, values in zip(size, (numbers[1::2], numbers[::2]), strict=True):
            reach = OVERHANG * length
            if min(values) < -reach or max(values) > length + reach:
                raise InputError(
                    f"expected a polygon in pixels of an image of {size[0]} x {size[1]} (height x "
                    f"width), got one from {min(values):g} to {max(values):g}."
                )


def _is_number(value: Any) -> bool:
    # Compared, as an integer of JSON may be too large for a float; NaN fails every comparison.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST


def _run_lengths(outline: dict[str, Any], size: tuple[int, int]) -> list[int]:
    """Lengths of the runs of 0 and 1 in turn, down the columns, all of the image."""
    counts = outline.get("counts")
    if isinstance(counts, bytes):  # as pycocotools has it
        counts = counts.decode("ascii")
    if outline.get("size") != list(size):
        raise InputError(
            f"expected run lengths of size {list(size)}, that of the image (height, width), got "
            f"{reprlib.repr(outline.get('size'))}."
        )
    runs: Any = _decompress(counts) if isinstance(counts, str) else counts
    if not (isinstance(runs, list) and all(map(_is_length, runs))) or sum(runs) != math.prod(size):
        raise InputError(
            f"expected run lengths that add up to {size[0]} x {size[1]} pixels, got "
            f"{reprlib.repr(counts)}."
        )
    return runs


def _is_length(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _decompress(counts: str) -> list[int] | None:
    """Run lengths from COCO's compressed text; None if it is none.

    Five bits a letter from '0' on, the lowest first; the sixth says that more follow, and the sign
    is that of the last. From the fourth on, a number is the difference to the one two before.
    """
    runs: list[int] = []
    value = shift = 0
    for letter in counts:
        bits = ord(letter) - ord("0")
        if not 0 <= bits < 64:
            return None
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    return None if shift else runs
