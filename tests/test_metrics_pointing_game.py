"""Pointing game against a loop over all pixels and cases worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from iassa.errors import InputError
from iassa.metrics import pointing_game

SHAPES = st.tuples(st.integers(1, 5), st.integers(1, 7))
CASES = SHAPES.flatmap(
    lambda shape: st.tuples(
        arrays.arrays(np.float32, shape, elements=st.integers(-2, 2).map(float)),
        arrays.arrays(np.bool_, shape).filter(lambda annotation: bool(annotation.any())),
    )
)


def one_pixel(row: int, column: int) -> NDArray[np.bool_]:
    mask = np.zeros((5, 7), dtype=np.bool_)
    mask[row, column] = True
    return mask


def looped_peak(saliency: NDArray[np.float32]) -> tuple[int, int]:
    peak = (0, 0)
    for row in range(saliency.shape[0]):
        for column in range(saliency.shape[1]):
            if saliency[row, column] > saliency[peak]:
                peak = (row, column)
    return peak


@given(CASES, st.floats(0, 8))
def test_equals_the_loop(
    case: tuple[NDArray[np.float32], NDArray[np.bool_]], tolerance: float
) -> None:
    saliency, annotation = case
    peak = looped_peak(saliency)
    nearest = min(math.dist(peak, point) for point in np.argwhere(annotation).tolist())
    pointing = pointing_game(saliency, annotation, tolerance=tolerance)
    assert pointing.peak == peak
    assert pointing.distance == pytest.approx(nearest)
    assert pointing.hit == (pointing.distance <= tolerance)


@given(CASES)
def test_without_tolerance_only_the_annotation_counts(
    case: tuple[NDArray[np.float32], NDArray[np.bool_]],
) -> None:
    saliency, annotation = case
    pointing = pointing_game(saliency, annotation)
    assert pointing.hit == bool(annotation[pointing.peak])
    assert (pointing.distance == 0) == pointing.hit


@pytest.mark.parametrize(
    ("tolerance", "hit"), [(0.0, False), (4.9, False), (5.0, True), (15.0, True)]
)
def test_the_tolerance_is_a_distance_in_pixels(tolerance: float, hit: bool) -> None:
    saliency = one_pixel(4, 1).astype(np.float32)
    pointing = pointing_game(saliency, one_pixel(1, 5), tolerance=tolerance)
    assert pointing.distance == 5  # 3 rows up, 4 columns right
    assert pointing.hit is hit


def test_the_first_of_equal_peaks_in_row_order_counts() -> None:
    saliency = np.zeros((5, 7), dtype=np.float32)
    saliency[1, 6] = saliency[2, 0] = 3.0
    assert pointing_game(saliency, one_pixel(1, 6)).hit
    assert not pointing_game(saliency, one_pixel(2, 0)).hit


def test_a_map_below_zero_still_has_a_peak() -> None:
    saliency = np.full((5, 7), -3.0, dtype=np.float32)
    saliency[3, 2] = -1.0
    assert pointing_game(saliency, one_pixel(3, 2)).hit


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"annotation": np.zeros((5, 7), np.bool_)}, "got an empty one"),
        ({"annotation": np.ones((7, 5), np.bool_)}, r"annotation of shape \(5, 7\)"),
        ({"annotation": np.ones((5, 7), np.float32)}, "dtype bool, got float32"),
        ({"saliency": np.zeros((1, 5, 7), np.float32)}, r"one map \(H, W\)"),
        ({"saliency": np.full((5, 7), np.inf, np.float32)}, "finite values in the map"),
        ({"tolerance": -1.0}, "tolerance of 0 pixels or more, got -1"),
        ({"tolerance": math.nan}, "tolerance of 0 pixels or more, got nan"),
    ],
)
def test_bad_input_is_named(changes: dict[str, object], message: str) -> None:
    arguments: dict[str, object] = {
        "saliency": np.zeros((5, 7), np.float32),
        "annotation": one_pixel(2, 3),
    }
    with pytest.raises(InputError, match=message):
        pointing_game(**(arguments | changes))  # type: ignore[arg-type]
