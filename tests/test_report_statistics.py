"""Intervals against SciPy's bootstrap, closed forms and loops; what a verdict needs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from iassa.benchmark.report.statistics import Bootstrap, Estimate, judge
from rounding import steps


def one_each(count):
    return [f"image {number}" for number in range(count)]


def ends(estimate):
    return np.array([estimate.low, estimate.high])


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_interval_is_that_of_scipy(seed):
    rng = np.random.default_rng(seed)
    values = rng.gamma(2.0, size=(60, 1)) * 0.1
    (estimate,) = Bootstrap(seed=seed).estimate_means(values, one_each(60))
    other = stats.bootstrap(
        (values[:, 0],), np.mean, n_resamples=10_000, method="percentile", rng=seed + 100
    ).confidence_interval
    assert estimate.mean == pytest.approx(values.mean(), rel=1e-12)
    # Two drawings of 10 000: their ends differ by chance, by a few per cent of the width.
    np.testing.assert_allclose(ends(estimate), other, atol=0.06 * (other.high - other.low))


def test_interval_of_normal_values_is_the_closed_form():
    values = np.random.default_rng(3).normal(0.4, 0.1, size=(400, 1))
    (estimate,) = Bootstrap().estimate_means(values, one_each(400))
    half = 1.96 * values.std() / math.sqrt(400)
    np.testing.assert_allclose(
        ends(estimate), values.mean() + np.array([-half, half]), atol=0.06 * half
    )


def test_copies_of_entries_in_their_images_narrow_nothing():
    values = np.random.default_rng(4).normal(size=(30, 2))
    once = Bootstrap().estimate_means(values, one_each(30))
    thrice = Bootstrap().estimate_means(
        np.repeat(values, 3, axis=0), np.repeat(one_each(30), 3).tolist()
    )
    for one, three in zip(once, thrice, strict=True):
        np.testing.assert_allclose(ends(three), ends(one), rtol=1e-10)
        assert (three.num_entries, three.num_images) == (90, 30)
    apart = Bootstrap().estimate_means(np.repeat(values, 3, axis=0), one_each(90))
    assert np.ptp(ends(apart[0])) < 0.7 * np.ptp(ends(once[0]))


def test_images_of_several_sizes_against_a_loop():
    rng = np.random.default_rng(5)
    sizes = rng.integers(1, 6, size=25)
    groups = [rng.normal(rng.normal(), 0.3, size=size) for size in sizes]
    images = [image for image, group in enumerate(groups) for _ in group]
    shuffled = rng.permutation(len(images))  # an image's entries need not follow each other
    values = np.concatenate(groups)[shuffled, None]
    (estimate,) = Bootstrap().estimate_means(values, [images[place] for place in shuffled])
    means = []
    for _ in range(10_000):
        drawn = [groups[image] for image in rng.integers(25, size=25)]
        means.append(np.concatenate(drawn).mean())
    low, high = np.percentile(means, [2.5, 97.5])
    np.testing.assert_allclose(ends(estimate), [low, high], atol=0.06 * (high - low))


def test_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(6)
    hits = 0
    for trial in range(300):
        values = rng.normal(size=(40, 1))
        (estimate,) = Bootstrap(1000, trial).estimate_means(values, one_each(40))
        hits += estimate.low <= 0 <= estimate.high
    assert 0.90 <= hits / 300 <= 0.98


def test_many_columns_are_drawn_alike():
    column = np.random.default_rng(7).normal(size=(12, 1))
    (alone,) = Bootstrap(700).estimate_means(column, one_each(12))
    for estimate in Bootstrap(700).estimate_means(np.repeat(column, 300, axis=1), one_each(12)):
        np.testing.assert_allclose(ends(estimate), ends(alone), rtol=1e-12)


def test_one_image_has_no_interval():
    (estimate,) = Bootstrap().estimate_means(np.array([[1.0], [3.0]]), ["a", "a"])
    assert estimate.mean == 2
    assert math.isnan(estimate.low)
    assert math.isnan(estimate.high)
    assert judge(estimate) == "not shown"


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.floats(-100, 100), min_size=2, max_size=12),
    st.floats(-10, 10),
    st.floats(0.1, 10),
    st.integers(0, 5),
)
def test_scaling_and_shifting_move_the_interval_along(values, shift, scale, seed):
    column = np.array(values)[:, None]
    images = [number // 2 for number in range(len(values))]
    bootstrap = Bootstrap(200, seed)
    (one,) = bootstrap.estimate_means(column, images)
    (other,) = bootstrap.estimate_means(column * scale + shift, images)
    (negated,) = bootstrap.estimate_means(-column, images)
    np.testing.assert_allclose(
        ends(other),
        ends(one) * scale + shift,
        atol=steps(64, column * scale, shift, dtype=np.float64),
    )
    np.testing.assert_allclose(
        ends(negated), -ends(one)[::-1], atol=steps(64, column, dtype=np.float64)
    )
    if len(set(images)) > 1:
        hair = steps(64, column, dtype=np.float64)
        assert column.min() - hair <= one.low <= one.high <= column.max() + hair


@pytest.mark.parametrize(
    ("low", "high", "images", "verdict"),
    [
        (0.01, 0.02, 6, "better"),
        (-0.02, -0.01, 6, "worse"),
        (-0.01, 0.01, 100, "not shown"),
        (0.0, 0.01, 100, "not shown"),
        (-0.01, 0.0, 100, "not shown"),
        (0.0, 0.0, 100, "not shown"),
        (0.01, 0.02, 5, "not shown"),
    ],
)
def test_verdict(low, high, images, verdict):
    difference = Estimate((low + high) / 2, low, high, 2 * images, images)
    turned = {"better": "worse", "worse": "better"}.get(verdict, verdict)
    assert judge(difference) == verdict
    assert judge(difference, lower_is_better=True) == turned
