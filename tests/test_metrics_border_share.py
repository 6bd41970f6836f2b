"""The share at the border against a loop over a tenth of each pixel, and hand cases."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from iassa.errors import InputError
from iassa.metrics import border_share
from rounding import steps

MAPS = st.tuples(st.integers(1, 7), st.integers(1, 12)).flatmap(
    lambda shape: arrays.arrays(
        np.float32, shape, elements=st.integers(-4, 4).map(float) | st.floats(-1e6, 1e6, width=32)
    )
)


def looped_share(saliency: NDArray[np.float32]) -> float:
    """Each pixel in 10 x 10 parts: of 10 H x 10 W parts the border has exactly H and W."""
    height, width = saliency.shape
    offset = 0.0 if saliency.min() < 0 else float(saliency.min())
    at_border = everywhere = 0.0
    for row in range(10 * height):
        for column in range(10 * width):
            value = max(float(saliency[row // 10, column // 10]) - offset, 0.0)
            everywhere += value
            if not (height <= row < 9 * height and width <= column < 9 * width):
                at_border += value
    return at_border / everywhere if everywhere else 0.0


@given(MAPS)
def test_equals_the_loop(saliency: NDArray[np.float32]) -> None:
    share = border_share(saliency)
    assert share == pytest.approx(looped_share(saliency), abs=steps(8000, 1.0, dtype=np.float64))
    assert 0 <= share <= 1


@pytest.mark.parametrize("size", [(10, 20), (7, 3), (300, 451)])
def test_saliency_that_is_even_is_at_the_border_by_its_area(size: tuple[int, int]) -> None:
    even = np.ones(size)
    assert border_share(even) == border_share(-even) == 0  # flat; and all against the target
    even[size[0] // 2, size[1] // 2] = -1e-9  # so that 0 is no effect
    expected = 0.36 * even.size / (even.size - 1)
    assert border_share(even) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("place", "expected"),
    [((0, 9), 1.0), ((1, 9), 0.0), ((5, 0), 1.0), ((5, 2), 0.0), ((9, 19), 1.0), ((5, 17), 0.0)],
)
def test_a_peak_is_at_the_border_or_is_not(place: tuple[int, int], expected: float) -> None:
    saliency = np.zeros((10, 20), np.float32)
    saliency[place] = 7
    assert border_share(saliency) == pytest.approx(expected, abs=1e-12)
    assert border_share(saliency + 3) == pytest.approx(expected, abs=1e-12)  # with an offset


def test_neither_scale_nor_turning_nor_what_is_negative_matters() -> None:
    saliency = np.random.default_rng(3).normal(size=(13, 29))
    share = border_share(saliency)
    assert 0.2 < share < 0.5
    for other in (saliency * 1e300, saliency[::-1], saliency.T, np.maximum(saliency, -1e-9)):
        assert border_share(other) == pytest.approx(share, abs=steps(8000, 1.0, dtype=np.float64))


@pytest.mark.parametrize(
    ("saliency", "message"),
    [
        (np.zeros((1, 5, 7)), r"one map \(H, W\)"),
        (np.full((5, 7), np.nan), "finite values"),
        (np.zeros((5, 7), np.int64), "floating point values, got int64"),
    ],
)
def test_bad_maps_are_named(saliency: NDArray[np.float64], message: str) -> None:
    with pytest.raises(InputError, match=message):
        border_share(saliency)
