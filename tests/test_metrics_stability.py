"""Stability against SciPy, sets, and relations that must hold."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from scipy.stats import spearmanr

import iassa
from iassa.errors import InputError
from iassa.metrics import Stability, rank_correlation, stability, top_overlap
from rounding import steps

STACKS = st.tuples(st.integers(2, 4), st.integers(1, 5), st.integers(2, 7)).flatmap(
    lambda shape: arrays.arrays(np.float32, shape, elements=st.integers(-3, 3).map(float))
)


def random_maps(number: int, seed: int) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(size=(number, 8, 15))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("number", [2, 3, 5])
def test_equals_scipy_and_sets(number: int, seed: int) -> None:
    maps = random_maps(number, seed) + 2 * random_maps(1, seed + 50)
    correlations, overlaps = [], []
    for i, j in permutations(range(number), 2):  # both orders: the mean is the same
        correlations.append(spearmanr(maps[i].ravel(), maps[j].ravel()).statistic)
        first, second = (set(np.argsort(maps[k].ravel())[-30:].tolist()) for k in (i, j))
        overlaps.append(len(first & second) / len(first | second))
    result = stability(maps, share=0.25)
    assert result.rank_correlation == pytest.approx(np.mean(correlations))
    assert result.top_overlap == pytest.approx(np.mean(overlaps))


@given(STACKS)
def test_equals_the_mean_over_pairs(maps: NDArray[np.float32]) -> None:
    pairs = [(maps[j], maps[i]) for i in range(len(maps)) for j in range(i)]
    result = stability(list(maps), share=0.3)
    assert result.rank_correlation == pytest.approx(
        np.mean([rank_correlation(*pair) for pair in pairs]), abs=steps(16, 1.0, dtype=np.float64)
    )
    assert result.top_overlap == pytest.approx(
        np.mean([top_overlap(*pair, share=0.3) for pair in pairs]),
        abs=steps(16, 1.0, dtype=np.float64),
    )
    turned = stability(maps[::-1], share=0.3)
    assert turned.rank_correlation == pytest.approx(
        result.rank_correlation, abs=steps(16, 1.0, dtype=np.float64)
    )
    assert turned.top_overlap == pytest.approx(
        result.top_overlap, abs=steps(16, 1.0, dtype=np.float64)
    )


def test_the_same_map_is_perfectly_stable() -> None:
    (saliency,) = random_maps(1, 0)
    result = stability([saliency, saliency * 5 + 1, saliency])
    assert result.rank_correlation == pytest.approx(1)
    assert result.top_overlap == 1


def test_flat_maps_agree_with_none() -> None:
    flat = np.zeros((8, 15))
    assert stability([flat, flat]) == Stability(rank_correlation=0, top_overlap=0)


def test_more_calls_make_a_method_more_stable() -> None:
    """RISE of a black box of one patch, four seeds each."""
    image = np.random.default_rng(0).random((24, 36, 3)).astype(np.float32)

    def maps(calls: int) -> list[NDArray[np.float32]]:
        return [
            iassa.explain(
                image,
                lambda images: images[:, 5:12, 20:30].mean(axis=(1, 2, 3))[:, None],
                target=0,
                method="rise",
                calls=calls,
                seed=seed,
            ).saliency[0]
            for seed in range(4)
        ]

    few, many = stability(maps(60)), stability(maps(2000))
    assert few.rank_correlation < many.rank_correlation - 0.1
    assert few.top_overlap < many.top_overlap - 0.1


@pytest.mark.parametrize(
    ("maps", "message"),
    [
        ([], "2 maps or more, got 0"),
        ([np.zeros((5, 7))], "2 maps or more, got 1"),
        ([np.zeros((5, 7)), np.zeros((7, 5))], r"maps of one size, got \[\(5, 7\), \(7, 5\)\]"),
        (np.zeros((5, 7)), r"one map \(H, W\), got shape \(7,\)"),
        ([np.zeros((5, 7)), np.full((5, 7), np.nan)], "finite values"),
    ],
)
def test_bad_input_is_named(maps: list[NDArray[np.float64]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        stability(maps)


def test_the_share_is_a_fraction() -> None:
    with pytest.raises(InputError, match=r"share of the pixels in \(0, 1\)"):
        stability(random_maps(2, 0), share=10)
