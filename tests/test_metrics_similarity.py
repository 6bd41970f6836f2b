"""Likeness of maps against SciPy, loops and cases worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from scipy.stats import spearmanr

from iassa.errors import InputError
from iassa.metrics import random_logit, rank_correlation, structural_similarity, top_overlap
from rounding import steps

Map = NDArray[np.float32]

SHAPES = st.tuples(st.integers(1, 5), st.integers(1, 7))
VALUES = st.integers(-2, 2).map(float) | st.floats(-1e6, 1e6, width=32)
PAIRS = SHAPES.flatmap(
    lambda shape: st.tuples(*[arrays.arrays(np.float32, shape, elements=VALUES)] * 2)
)


def random_map(height: int, width: int, seed: int) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(size=(height, width))


@given(PAIRS)
def test_rank_correlation_equals_scipys(pair: tuple[Map, Map]) -> None:
    first, second = pair
    correlation = rank_correlation(first, second)
    if np.ptp(first) > 0 and np.ptp(second) > 0:
        expected = spearmanr(first.ravel(), second.ravel()).statistic
        assert correlation == pytest.approx(expected, abs=steps(64, 1.0, dtype=np.float64))
    else:
        assert correlation == 0
    assert rank_correlation(second, first) == correlation
    assert -1 <= correlation <= 1


@pytest.mark.parametrize("seed", range(3))
def test_random_logit_is_the_likeness_of_two_maps(seed: int) -> None:
    first, second = random_map(13, 17, seed), random_map(13, 17, seed + 9)
    found = random_logit(first, second)
    expected = spearmanr(first.ravel(), second.ravel()).statistic
    assert found.rank_correlation == pytest.approx(expected, abs=1e-12)
    assert found.structural_similarity == structural_similarity(first, second)
    same = random_logit(first, 3 * first + 1)
    assert same.rank_correlation == pytest.approx(1)
    assert same.structural_similarity == pytest.approx(1)
    with pytest.raises(InputError, match="maps of one size"):
        random_logit(first, second[:, :-1])


def test_rank_correlation_by_hand() -> None:
    first = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    second = np.array([[2.0, 1.0, 4.0], [3.0, 6.0, 5.0]])  # six differences of one rank
    assert rank_correlation(first, second) == pytest.approx(1 - 6 * 6 / (6 * 35))
    # Two ties: ranks 1.5 1.5 3 against 1 2 3.
    assert rank_correlation(np.array([[0.0, 0.0, 1.0]]), np.array([[1.0, 2.0, 3.0]])) == (
        pytest.approx(1.5 / math.sqrt(1.5 * 2))
    )


@pytest.mark.parametrize("seed", range(3))
def test_only_the_order_counts(seed: int) -> None:
    saliency, other = random_map(9, 14, seed), random_map(9, 14, seed + 50)
    assert rank_correlation(saliency, np.exp(saliency) * 7 + 3) == pytest.approx(1)
    assert rank_correlation(saliency, -(saliency**3)) == pytest.approx(-1)
    assert rank_correlation(saliency, other) == pytest.approx(
        rank_correlation(np.exp(saliency), np.arctan(other))
    )


def looped_top(saliency: Map, share: float) -> set[tuple[int, int]]:
    """The pixels whose value no more than a share of all pixels reach."""
    height, width = saliency.shape
    points = [(row, column) for row in range(height) for column in range(width)]
    wanted = max(1, round(share * len(points)))
    lowest = min(saliency[point] for point in points)
    return {
        point
        for point in points
        if saliency[point] > lowest
        and sum(saliency[other] >= saliency[point] for other in points) <= wanted
    }


@given(PAIRS, st.floats(0.01, 0.99))
def test_top_overlap_equals_sets(pair: tuple[Map, Map], share: float) -> None:
    first, second = (looped_top(saliency, share) for saliency in pair)
    expected = len(first & second) / len(first | second) if first | second else 0.0
    assert top_overlap(*pair, share=share) == pytest.approx(expected)
    assert top_overlap(pair[1], pair[0], share=share) == pytest.approx(expected)


def test_pixels_tied_across_the_share_are_left_out_together() -> None:
    """Three of the five zeros would have to come first for no reason; both maps say so alike."""
    first = np.array([[9.0, 0, 0], [0, 0, 0]])
    second = np.array([[0.0, 0, 0], [0, 0, 8]])
    assert top_overlap(first, second, share=0.5) == 0
    assert top_overlap(first, first, share=0.5) == 1


def test_maps_without_relation_have_the_overlap_of_chance() -> None:
    overlaps = [top_overlap(random_map(60, 90, s), random_map(60, 90, s + 99)) for s in range(20)]
    assert np.mean(overlaps) == pytest.approx(0.1 / 1.9, rel=0.1)


def looped_ssim(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Wang et al., one window at a time, of maps stretched to [0, 1]."""
    first, second = ((each - each.min()) / (each.max() - each.min()) for each in (first, second))
    height, width = first.shape
    taps = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window = np.outer(taps, taps) / taps.sum() ** 2
    values = []
    for row in range(height - 10):
        for column in range(width - 10):
            x = first[row : row + 11, column : column + 11]
            y = second[row : row + 11, column : column + 11]
            mean_x, mean_y = (window * x).sum(), (window * y).sum()
            variance_x = (window * (x - mean_x) ** 2).sum()
            variance_y = (window * (y - mean_y) ** 2).sum()
            covariance = (window * (x - mean_x) * (y - mean_y)).sum()
            values.append(
                (2 * mean_x * mean_y + 0.01**2)
                * (2 * covariance + 0.03**2)
                / (mean_x**2 + mean_y**2 + 0.01**2)
                / (variance_x + variance_y + 0.03**2)
            )
    return float(np.mean(values))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("size", [(11, 11), (13, 18), (20, 12)])
def test_structural_similarity_equals_the_loop(size: tuple[int, int], seed: int) -> None:
    first = random_map(*size, seed)
    second = first + random_map(*size, seed + 9)
    similarity = structural_similarity(first, second)
    assert similarity == pytest.approx(
        looped_ssim(first, second), abs=steps(128, 1.0, dtype=np.float64)
    )
    assert similarity == pytest.approx(structural_similarity(second, first))
    assert similarity == pytest.approx(structural_similarity(first * 4 + 7, second / 3 - 1))
    assert structural_similarity(first, first) == pytest.approx(1)


def test_flat_maps_are_like_no_order_but_the_same_picture() -> None:
    flat, other = np.zeros((12, 15)), random_map(12, 15, 0)
    assert rank_correlation(flat, flat) == rank_correlation(flat, other) == 0
    assert top_overlap(flat, flat) == top_overlap(flat, other) == 0
    assert structural_similarity(flat, flat + 3) == pytest.approx(1)
    assert structural_similarity(flat, other) < 0.1


@pytest.mark.parametrize("measure", [rank_correlation, top_overlap, structural_similarity])
@pytest.mark.parametrize(
    ("second", "message"),
    [
        (np.zeros((15, 12)), r"maps of one size, got \(12, 15\) and \(15, 12\)"),
        (np.zeros((1, 12, 15)), r"one map \(H, W\)"),
        (np.full((12, 15), np.inf), "finite values"),
        (np.zeros((12, 15), np.bool_), "floating point values, got bool"),
    ],
)
def test_bad_input_is_named(measure: object, second: object, message: str) -> None:
    assert callable(measure)
    with pytest.raises(InputError, match=message):
        measure(random_map(12, 15, 0), second)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 10.0, math.nan])
def test_the_share_is_a_fraction(share: float) -> None:
    with pytest.raises(InputError, match=r"share of the pixels in \(0, 1\)"):
        top_overlap(random_map(5, 7, 0), random_map(5, 7, 1), share=share)


def test_structural_similarity_needs_a_window() -> None:
    with pytest.raises(InputError, match=r"maps of 11 x 11 pixels or more, got \(10, 40\)"):
        structural_similarity(random_map(10, 40, 0), random_map(10, 40, 1))
