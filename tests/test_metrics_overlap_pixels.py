"""Activated pixels against a loop and hand cases; pixel level against the paper's table."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from iassa.errors import InputError
from iassa.metrics import count_activated, pixel_level

MAPS = st.tuples(st.integers(1, 5), st.integers(1, 7)).flatmap(
    lambda shape: arrays.arrays(np.float32, shape, elements=st.integers(-5, 9).map(float))
)


@given(MAPS, st.integers(0, 9))
def test_equals_the_loop(saliency: NDArray[np.float32], tenths: int) -> None:
    twentieths = 2 * tenths + 1  # a value of these maps is at the limit only where that is exact
    values = [int(value) for value in saliency.ravel()]
    low, high = max(min(values), 0), max(values)
    expected = 0
    for value in values:
        if high > low and 20 * (value - low) > twentieths * (high - low):
            expected += 1
    assert count_activated(saliency, fraction=twentieths / 20) == expected


def test_the_top_30_percent_of_the_range_by_hand() -> None:
    # A map without negatives is stretched from its minimum: 5 to 15, the limit at 12.
    assert count_activated(np.array([[5.0, 11.9, 12.1], [13.0, 15.0, 6.0]])) == 3
    # One with negatives from 0: 0 to 15, the limit at 10.5.
    assert count_activated(np.array([[-5.0, 11.9, 12.1], [10.0, 15.0, 6.0]])) == 3
    assert count_activated(np.array([[-5.0, 11.9, 12.1], [11.0, 15.0, 6.0]])) == 4


@pytest.mark.parametrize("flat", [0.0, 2.5, -2.5])
def test_a_flat_map_activates_nothing(flat: float) -> None:
    assert count_activated(np.full((5, 7), flat)) == 0


@pytest.mark.parametrize(
    ("image_level", "pixels", "reported"),
    [(0.900967, 8302, 10.8526e-5), (0.1847, 3333, 5.5423e-5), (0.18803, 3415, 5.50534e-5)],
)
def test_the_paper_means_a_quotient(image_level: float, pixels: int, reported: float) -> None:
    """Its Table 1 (means of quotients) fits whole numbers of pixels of 50176."""
    assert pixel_level(image_level, pixels) == pytest.approx(reported, rel=1e-3)


def test_pixel_level_of_negative_values() -> None:
    assert pixel_level(-3.0, 4) == -0.75


@pytest.mark.parametrize(
    ("value", "pixels", "message"),
    [
        (1.0, 0, "at least 1 activated pixel, got 0"),
        (math.nan, 3, "a finite value, got nan"),
        (math.inf, 3, "a finite value, got inf"),
    ],
)
def test_bad_values_are_named(value: float, pixels: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        pixel_level(value, pixels)


def test_bad_maps_are_named() -> None:
    with pytest.raises(InputError, match=r"one map \(H, W\)"):
        count_activated(np.zeros((1, 5, 7)))
    with pytest.raises(InputError, match=r"fraction in \[0, 1\)"):
        count_activated(np.zeros((5, 7)), fraction=1.0)
