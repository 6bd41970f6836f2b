"""The outline of one object in MS-COCO: polygons, or run lengths, plain or compressed.

pycocotools, which only this file imports, draws the polygons. It does not check its input: run
lengths that end early become garbage, and a coordinate that is not a number takes all memory. So
this file checks polygons first, and reads run lengths itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iassa.errors import InputError, show

FEWEST_NUMBERS = 6  # of a polygon: three points
# A polygon may leave its image by the image's own size. One that goes farther has other units, and
# takes memory by its length.
OVERHANG = 1
LARGEST = 1e9
# Pixels along all polygons of an object, which take pycocotools 80 bytes each. A polygon of a
# thousand points that runs to and fro across its image is as long as a million.
LONGEST_OUTLINE = 5_000_000
MOST_BITS = 60  # of a run length: a number of a million letters would take minutes


def import_pycocotools() -> Any:
    """The module `pycocotools.mask` of an optional package.

    Raises:
        InputError: it is not installed.
    """
    try:
        from pycocotools import mask  # here, as other datasets do not need it
    except ImportError:
        raise InputError("COCO annotations need pycocotools: pip install pycocotools.") from None
    return mask


def box_outline(box: Any) -> Any:
    """A box of MS-COCO, [x, y, width, height], as a list of one polygon."""
    top, left, bottom, right = box_corners(box)
    return [[left, top, right, top, right, bottom, left, bottom]]


def box_corners(box: Any) -> tuple[float, float, float, float]:
    """A box of MS-COCO, [x, y, width, height], as top, left, bottom and right.

    Raises:
        InputError: it is none.
    """
    if not (isinstance(box, list) and len(box) == 4 and all(map(_is_number, box))):
        raise InputError(f"expected a box [x, y, width, height], got {show(box)}.")
    left, top, width, height = box
    return top, left, top + height, left + width


def extent(annotation: NDArray[np.bool_]) -> tuple[float, float, float, float]:
    """Top, left, bottom and right of what is set in (H, W), one pixel at least."""
    (top, bottom), (left, right) = (
        np.flatnonzero(annotation.any(axis))[[0, -1]].tolist() for axis in (1, 0)
    )
    return top, left, bottom + 1, right + 1


def check_units(outlines: Iterable[Any], path: Path) -> None:
    """Refuse a file whose polygons are in shares of the image: each would mark one pixel at most.

    Raises:
        InputError: all coordinates are in [0, 1], and some are no whole numbers.
    """
    numbers = (
        number
        for outline in outlines
        if isinstance(outline, list)
        for polygon in outline
        if isinstance(polygon, list)
        for number in polygon
        if _is_number(number)
    )
    broken = False
    for number in numbers:  # most often the first says it
        if not 0 <= number <= 1:
            return
        broken = broken or number != int(number)
    if broken:
        raise InputError(
            f"expected outlines in pixels in {path}, got all coordinates in [0, 1], shares of the "
            "image. Multiply x by the width and y by the height of its image."
        )


def draw_outline(outline: Any, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Mask (H, W) of one object.

    Args:
        outline: a list of polygons, or run lengths with their size.
        size: (height, width) of the image.

    Raises:
        InputError: it is neither, or has numbers that cannot be drawn.
    """
    if isinstance(outline, list):
        _check_polygons(outline, size)
        mask = import_pycocotools()
        outline = mask.merge(mask.frPyObjects(outline, *size))
    elif not isinstance(outline, dict):
        raise InputError(f"expected polygons or run lengths, got {show(outline)}.")
    runs = _run_lengths(outline, size)
    pixels: NDArray[np.bool_] = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return pixels.reshape(size, order="F")


def _check_polygons(polygons: list[Any], size: tuple[int, int]) -> None:
    if not polygons:
        raise InputError("expected polygons as segmentation, got an empty list.")
    length_of_all = 0.0
    for polygon in polygons:
        numbers = polygon if isinstance(polygon, list) else []
        if len(numbers) < FEWEST_NUMBERS or len(numbers) % 2 or not all(map(_is_number, numbers)):
            got = show(polygon)
            raise InputError(f"expected a polygon of three points or more, x and y, got {got}.")
        for length, values in zip(size, (numbers[1::2], numbers[::2]), strict=True):
            reach = OVERHANG * length
            if min(values) < -reach or max(values) > length + reach:
                raise InputError(
                    f"expected a polygon in pixels of an image of {size[0]} x {size[1]} (height x "
                    f"width), got one from {min(values):g} to {max(values):g}."
                )
        points = np.array(numbers, np.float64).reshape(-1, 2)
        length_of_all += float(np.abs(points - np.roll(points, 1, axis=0)).max(axis=1).sum())
    if length_of_all > LONGEST_OUTLINE:
        raise InputError(
            f"expected polygons of at most {LONGEST_OUTLINE} pixels along them, got "
            f"{length_of_all:.0f}. Give the object as run lengths."
        )


def _is_number(value: Any) -> bool:
    # A comparison, as an integer of JSON may be too large for a float. NaN fails any comparison.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST


def _run_lengths(outline: dict[str, Any], size: tuple[int, int]) -> list[int]:
    """Lengths of the runs of 0 and 1 in turn, down the columns, all of the image."""
    counts = outline.get("counts")
    if isinstance(counts, bytes):  # as pycocotools has it
        counts = counts.decode("ascii")
    if outline.get("size") != list(size):
        got = show(outline.get("size"))
        raise InputError(f"expected run lengths of size {list(size)}, as the image, got {got}.")
    runs: Any = _decompress(counts) if isinstance(counts, str) else counts
    if not (isinstance(runs, list) and all(map(_is_length, runs))) or sum(runs) != math.prod(size):
        got, pixels = show(counts), f"{size[0]} x {size[1]} pixels"
        raise InputError(f"expected run lengths that add up to {pixels}, got {got}.")
    return runs


def _is_length(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _decompress(counts: str) -> list[int] | None:
    """Run lengths from COCO's compressed text; None if the text is not one.

    Each letter, counted from '0', holds five bits of a number, the lowest bits first. A sixth bit
    says that more letters follow. The highest bit of the last letter is the sign. From the fourth
    number on, a number is the difference from the number two places before.
    """
    runs: list[int] = []
    value = shift = 0
    for letter in counts:
        bits = ord(letter) - ord("0")
        if not 0 <= bits < 64:
            return None
        value |= (bits & 31) << shift
        shift += 5
        if shift > MOST_BITS:
            return None
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    return None if shift else runs
