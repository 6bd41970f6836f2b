"""Gini index against the mean difference of all pairs, hand cases and what must hold of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from iassa.errors import InputError
from iassa.metrics import gini_index
from rounding import steps

MAPS = st.tuples(st.integers(1, 5), st.integers(1, 7)).flatmap(
    lambda shape: arrays.arrays(
        np.float32, shape, elements=st.integers(-4, 4).map(float) | st.floats(-1e6, 1e6, width=32)
    )
)


def looped_gini(saliency: NDArray[np.float32]) -> float:
    """Half the mean absolute difference of all pairs of pixels, over the mean."""
    values = [abs(float(value)) for value in saliency.ravel()]
    total = sum(values)
    if total == 0:
        return 0.0
    return sum(abs(a - b) for a in values for b in values) / (2 * len(values) * total)


@given(MAPS)
def test_equals_the_loop(saliency: NDArray[np.float32]) -> None:
    gini = gini_index(saliency)
    assert gini == pytest.approx(looped_gini(saliency), abs=steps(64, 1.0, dtype=np.float64))
    assert 0 <= gini <= 1 - 1 / saliency.size + steps(8, 1.0, dtype=np.float64)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([[0, 0, 0, 0, 5]], 4 / 5),
        ([[0, -7], [0, 0], [0, 0]], 5 / 6),
        ([[1, 3]], 1 / 4),
        ([[1, 2, 3], [4, 5, 6]], 5 / 18),  # (-5 - 3 2 - 3 + 4 + 3 5 + 5 6) / (6 21)
        ([[0, 0], [0, 0]], 0),
        ([[3, -3], [-3, 3]], 0),
        ([[2]], 0),
    ],
)
def test_hand_cases(values: list[list[float]], expected: float) -> None:
    assert gini_index(np.array(values, dtype=np.float32)) == pytest.approx(
        expected, abs=steps(4, 1.0, dtype=np.float64)
    )


def test_the_formula_of_the_source() -> None:
    """1 - 2 sum_k v_k / V (N - k + 1/2) / N, term by term."""
    saliency = np.random.default_rng(0).normal(size=(9, 13))
    values = sorted(abs(saliency).ravel().tolist())
    total = sum(values)
    terms = (v / total * (117 - k + 0.5) / 117 for k, v in enumerate(values, start=1))
    assert gini_index(saliency) == pytest.approx(
        1 - 2 * sum(terms), abs=steps(64, 1.0, dtype=np.float64)
    )


@given(MAPS, st.integers(-60, 60), st.integers(2, 4))
def test_neither_scale_nor_sign_nor_order_nor_copies_matter(
    saliency: NDArray[np.float32], power: int, copies: int
) -> None:
    gini = gini_index(saliency)
    assert gini_index(-saliency.astype(np.float64) * 2.0**power) == pytest.approx(
        gini, abs=steps(64, 1.0, dtype=np.float64)
    )
    assert gini_index(saliency[::-1, ::-1].T) == pytest.approx(
        gini, abs=steps(64, 1.0, dtype=np.float64)
    )
    assert gini_index(np.tile(saliency, (copies, 1))) == pytest.approx(
        gini, abs=steps(64, 1.0, dtype=np.float64)
    )


@given(MAPS, st.floats(0.1, 100))
def test_an_offset_makes_a_map_less_sparse(saliency: NDArray[np.float32], offset: float) -> None:
    magnitude = abs(saliency).astype(np.float64)
    assume(np.ptp(magnitude) > 1e-3)
    assert gini_index(magnitude + offset) < gini_index(magnitude)


@pytest.mark.parametrize("scale", [1e-310, 1e300])
def test_extreme_scales_are_exact(scale: float) -> None:
    saliency = np.zeros((30, 50))
    saliency[:3] = scale
    assert gini_index(saliency) == pytest.approx(0.9)


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
        gini_index(saliency)
