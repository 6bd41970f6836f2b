"""Where scores move, against loops; no unit and no zero of the scores makes a difference."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from iassa.estimators.saturation import (
    informative_range,
    is_flat,
    is_gone,
    stays_sure,
    telling_share,
)

Array = NDArray[np.float64]


def looped_range(scores: Array, keep: NDArray[np.float32], low: float, high: float):
    """The same, mask by mask and in Python's numbers."""
    edges = [low + (high - low) * quarter / 4 for quarter in range(5)]
    members: list[list[int]] = [[], [], [], []]
    for i, p in enumerate(keep.tolist()):
        quarter = 0
        while quarter < 3 and p >= edges[quarter + 1]:
            quarter += 1
        members[quarter].append(i)
    if min(map(len, members)) < 8:
        return None
    telling = set()
    for column in scores.T.tolist():
        if max(column) - min(column) <= 1e-6 * max(map(abs, column)):
            continue
        variances = []
        for some in members:
            mean = math.fsum(column[i] for i in some) / len(some)
            variances.append(math.fsum((column[i] - mean) ** 2 for i in some) / len(some))
        telling |= {q for q in range(4) if variances[q] >= 0.1 * max(variances)}
    if not telling or (min(telling), max(telling)) == (0, 3):
        return None
    return edges[min(telling)], edges[max(telling) + 1]


@settings(max_examples=200)
@given(
    st.integers(0, 10_000),
    st.integers(20, 200),
    st.integers(1, 3),
    st.tuples(st.floats(0.05, 0.5), st.floats(0.55, 0.95)),
    st.lists(st.sampled_from([0.0, 0.05, 0.2, 0.5, 1.0]), min_size=12, max_size=12),
)
def test_the_range_is_that_of_a_loop(seed, number, targets, limits, spread):
    rng = np.random.default_rng(seed)
    low, high = limits
    keep = rng.uniform(low, high, number).astype(np.float32)
    quarter = np.clip(((keep - low) / (high - low) * 4).astype(int), 0, 3)
    scale = np.array(spread).reshape(3, 4)[:targets, quarter].T  # of each target in each quarter
    scores = scale * rng.normal(size=(number, targets)) + rng.normal(size=targets)
    expected = looped_range(scores, keep, low, high)
    found = informative_range(scores, keep, limits)
    assert (found is None) == (expected is None)
    if found is not None:
        assert found == pytest.approx(expected, abs=1e-6)


def saturated(keep: NDArray[np.float32], first: int, last: int, seed: int = 0) -> Array:
    """Scores (N, 1) that move in some of the quarters of (0.1, 0.9)."""
    quarter = np.clip(((keep - 0.1) / 0.2).astype(int), 0, 3)
    noise = np.random.default_rng(seed).normal(size=len(keep))
    return np.where((quarter >= first) & (quarter <= last), noise, 0.0)[:, None]


KEEP = np.random.default_rng(5).uniform(0.1, 0.9, 256).astype(np.float32)
LIMITS = (0.1, 0.9)


@pytest.mark.parametrize(("first", "last"), [(a, b) for a in range(4) for b in range(a, 4)])
@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_the_quarters_that_move_are_found(first, last, scale):
    found = informative_range(scale * saturated(KEEP, first, last), KEEP, LIMITS)
    expected = (round(0.1 + 0.2 * first, 6), round(0.3 + 0.2 * last, 6))
    assert found == (None if (first, last) == (0, 3) else expected)


def test_every_target_has_its_say():
    both = np.hstack([saturated(KEEP, 0, 0), saturated(KEEP, 2, 2)])
    assert informative_range(both, KEEP, LIMITS) == (0.1, 0.7)


@pytest.mark.parametrize("value", [0.0, 0.25, 1e9])
def test_a_flat_target_has_none(value):
    """Its rounding varies as much in one quarter as in another."""
    rounding = np.random.default_rng(1).normal(size=(256, 1)) * 1e-8 * value
    both = np.hstack([value + rounding, saturated(KEEP, 1, 1)])
    assert informative_range(both, KEEP, LIMITS) == (0.3, 0.5)
    assert informative_range(both[:, :1], KEEP, LIMITS) is None


def test_too_few_masks_and_a_constant_keep_probability_tell_nothing():
    scores = saturated(KEEP, 3, 3)
    assert informative_range(scores[:24], KEEP[:24], LIMITS) is None
    constant = np.full(256, 0.5, np.float32)
    assert informative_range(scores, constant, (0.5, 0.5)) is None
    assert informative_range(scores, constant, LIMITS) is None


# --- how many masks tell ----------------------------------------------------------------------


def test_the_share_of_masks_that_tell_by_hand():
    assert telling_share(np.array([0.0, 1.0] * 8)) == 1
    # 1 of 16: deviations 15/16 once and 1/16 fifteen times.
    squares, fourths = (225 + 15) / 256, (50625 + 15) / 65536
    one = np.eye(16)[3]
    assert telling_share(one) == pytest.approx(squares**2 / 16 / fourths)
    assert telling_share(np.full(9, 0.3)) == 0
    normal = np.random.default_rng(0).normal(size=200_000)
    assert telling_share(normal) == pytest.approx(1 / 3, abs=0.01)


@settings(max_examples=60)
@given(st.integers(0, 999), st.floats(-6, 6), st.floats(-1e3, 1e3))
def test_neither_unit_nor_zero_makes_a_difference(seed, exponent, offset):
    rng = np.random.default_rng(seed)
    kinds = [
        rng.normal(size=128),
        1 - (rng.random(128) < 0.05),
        (rng.random(128) < 0.05) * 1.0,
        rng.random(128) ** 8,
        1 - rng.random(128) ** 8,
    ]
    scores = kinds[seed % 5]
    whole, scale = (1.0, 10**exponent)
    moved = scale * (scores + offset)
    at = scale * (whole + offset)
    assert telling_share(moved) == pytest.approx(telling_share(scores), rel=1e-4)
    assert stays_sure(moved, at) == stays_sure(scores, whole)
    assert is_gone(moved, at) == is_gone(scores, whole)


@pytest.mark.parametrize("share", [0.004, 0.02, 0.06])
@pytest.mark.parametrize("seed", range(5))
def test_a_few_that_fall_and_a_few_that_are_left(share, seed):
    few = np.random.default_rng(seed).permutation(np.arange(256) < share * 256) * 1.0
    assert stays_sure(1 - few, 1.0)
    assert not is_gone(1 - few, 1.0)
    assert is_gone(few, 1.0)
    assert not stays_sure(few, 1.0)
    # A class that the whole image has little of, and a few masks bring out, is neither.
    assert not is_gone(few, 0.0)
    assert not stays_sure(few, 0.0)


def test_all_masks_alike_and_far_from_the_whole_image_are_gone():
    scores = 0.001 * np.random.default_rng(0).random(256)
    assert is_gone(scores, 0.9)
    assert not is_gone(0.9 - scores, 0.001)  # what the image speaks against is another matter


@pytest.mark.parametrize("seed", range(20))
def test_what_moves_is_neither(seed):
    rng = np.random.default_rng(seed)
    uniform, normal = rng.random(64), rng.normal(size=64)
    for scores in (uniform, normal, rng.random(64) < 0.3, 1 / (1 + np.exp(-2 * normal))):
        for whole in (float(np.max(scores)), float(np.mean(scores)), float(np.min(scores))):
            assert not stays_sure(np.asarray(scores, np.float64), whole)
            assert not is_gone(np.asarray(scores, np.float64), whole)


@pytest.mark.parametrize("scale", [1e-30, 1.0, -1e30])
def test_flat_is_relative(scale):
    for low, high, flat in ((0.5, 0.5, True), (0.5, 0.5000001, True), (0.5, 0.50001, False)):
        assert is_flat(*sorted((scale * low, scale * high))) is flat
    assert is_flat(0.0, 0.0)
    assert not is_flat(-1e-9, 1e-9)
