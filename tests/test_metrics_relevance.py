"""Relevance gain, mass and rank, average precision: against loops and cases worked by hand."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from iassa import metrics
from iassa.errors import InputError

Array = NDArray[np.float32]
SIZES = st.tuples(st.integers(1, 6), st.integers(1, 7))


def drawn(size: tuple[int, int], seed: int, levels: int) -> tuple[Array, NDArray[np.bool_]]:
    """A map with ties, and an annotation with a pixel set."""
    rng = np.random.default_rng(seed)
    saliency = (rng.integers(0, levels, size) - levels // 2).astype(np.float32)
    annotation = rng.random(size) < 0.4
    annotation.flat[rng.integers(annotation.size)] = True
    return saliency, annotation


def left_half(images: Array) -> NDArray[np.float64]:
    return np.asarray(images[:, :, :3].mean(axis=(1, 2, 3), dtype=np.float64)[:, None])


@given(size=SIZES, seed=st.integers(0, 1000), levels=st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_average_precision_equals_the_loop(size: tuple[int, int], seed: int, levels: int) -> None:
    saliency, annotation = drawn(size, seed, levels)
    pairs = list(zip(saliency.ravel().tolist(), annotation.ravel().tolist(), strict=True))
    wanted = last = 0.0
    for threshold in sorted({value for value, _ in pairs}, reverse=True):
        marked = [inside for value, inside in pairs if value >= threshold]
        recall = sum(marked) / annotation.sum()
        wanted += (recall - last) * sum(marked) / len(marked)
        last = recall
    assert metrics.average_precision(saliency, annotation) == pytest.approx(wanted, rel=1e-12)


@given(size=SIZES, seed=st.integers(0, 1000), levels=st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_mass_equals_the_loop(size: tuple[int, int], seed: int, levels: int) -> None:
    saliency, annotation = drawn(size, seed, levels)
    lowest = max(0.0, min(saliency.ravel().tolist()))
    inside = everywhere = 0.0
    for value, marked in zip(saliency.ravel().tolist(), annotation.ravel().tolist(), strict=True):
        everywhere += max(value - lowest, 0.0)
        inside += max(value - lowest, 0.0) if marked else 0.0
    wanted = inside / everywhere if everywhere else 0.0
    assert metrics.relevance_mass(saliency, annotation) == pytest.approx(wanted, rel=1e-12)


@given(size=st.tuples(st.integers(1, 2), st.integers(1, 3)), seed=st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_rank_accuracy_is_the_mean_over_the_orders_of_ties(
    size: tuple[int, int], seed: int
) -> None:
    saliency, annotation = drawn(size, seed, levels=3)
    values, marked = saliency.ravel(), annotation.ravel()
    num_top = int(marked.sum())
    shares = [
        marked[list(order[:num_top])].mean()
        for order in permutations(range(values.size))
        if all(values[a] >= values[b] for a, b in pairwise(order))
    ]
    wanted = float(np.mean(shares))
    got = metrics.relevance_rank_accuracy(saliency, annotation)
    assert got == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize(
    "metric", [metrics.average_precision, metrics.relevance_mass, metrics.relevance_rank_accuracy]
)
def test_the_annotation_itself_is_the_best_map(metric: Callable[..., float]) -> None:
    _, annotation = drawn((5, 7), 3, 2)
    assert metric(annotation.astype(np.float32), annotation) == 1.0
    assert metric(annotation.astype(np.float32) * 1e38, annotation) == 1.0
    assert metric(-annotation.astype(np.float32), annotation) < annotation.mean() + 0.01


@pytest.mark.parametrize("value", [-2.0, 0.0, 3.0])
def test_a_flat_map_has_the_share_of_the_annotation_but_no_mass(value: float) -> None:
    _, annotation = drawn((5, 7), 3, 2)
    flat = np.full((5, 7), value, dtype=np.float32)
    assert metrics.average_precision(flat, annotation) == pytest.approx(annotation.mean())
    assert metrics.relevance_rank_accuracy(flat, annotation) == pytest.approx(annotation.mean())
    assert metrics.relevance_mass(flat, annotation) == 0.0


@pytest.mark.parametrize(
    "metric", [metrics.average_precision, metrics.relevance_mass, metrics.relevance_rank_accuracy]
)
@pytest.mark.parametrize(
    ("saliency", "annotation", "message"),
    [
        (np.zeros((2, 3)), np.zeros((2, 3), dtype=bool), "a pixel set"),
        (np.zeros((2, 3)), np.ones((3, 2), dtype=bool), r"shape \(2, 3\)"),
        (np.zeros((1, 2, 3)), np.ones((2, 3), dtype=bool), r"one map \(H, W\)"),
        (np.full((2, 3), np.nan), np.ones((2, 3), dtype=bool), "finite"),
        (np.zeros((2, 3)), np.ones((2, 3)), "dtype bool"),
    ],
)
def test_bad_input_of_localisation_is_named(
    metric: Callable[..., float], saliency: Array, annotation: Array, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        metric(saliency, annotation)


@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_gain_is_the_difference_of_two_loops(batch_size: int) -> None:
    rng = np.random.default_rng(5)
    image = rng.random((5, 7, 3)).astype(np.float32)
    saliency = rng.integers(-2, 3, (5, 7)).astype(np.float32)
    fill = np.array([0.1, 0.6, 0.9], dtype=np.float32)

    def area(ordered: Array) -> float:
        ranking = sorted(np.ndindex(5, 7), key=lambda point: (-ordered[point], point))
        current, scores, shares = image.copy(), [left_half(image[None])[0, 0]], [0.0]
        for first in range(0, 35, 8):
            for point in ranking[first : first + 8]:
                current[point] = fill
            scores.append(left_half(current[None])[0, 0])
            shares.append(min(first + 8, 35) / 35)
        return float(np.trapezoid(scores, shares))

    curves = metrics.relevance_gain(
        saliency,
        image,
        left_half,
        [1.0],
        baseline=fill,
        pixels_per_step=8,
        batch_size=batch_size,
    )
    wanted = area(-saliency) - area(saliency)
    assert curves.gain == pytest.approx(wanted, abs=1e-6)


def test_gain_changes_its_sign_with_the_map_and_a_flat_map_has_none() -> None:
    rng = np.random.default_rng(2)
    image = rng.random((6, 8, 3)).astype(np.float32)
    saliency = rng.permutation(48).reshape(6, 8).astype(np.float32)

    def gain(saliency: Array) -> float:
        return metrics.relevance_gain(saliency, image, left_half, [1.0], pixels_per_step=5).gain

    assert gain(-saliency) == -gain(saliency) != 0
    assert gain(np.zeros((6, 8), np.float32)) == 0


@pytest.mark.parametrize("fill", [0.0, 0.5, [0.2, 0.3, 0.4]])
def test_the_true_map_of_a_linear_box_gains_most(fill: object) -> None:
    image = np.random.default_rng(7).random((4, 6, 3)).astype(np.float32)
    rng = np.random.default_rng(8)
    weights = rng.random((4, 6, 3))
    effect = ((image - np.asarray(fill)) * weights).sum(axis=2)  # of removing each pixel

    def black_box(images: Array) -> NDArray[np.float64]:
        return np.asarray((images * weights).sum(axis=(1, 2, 3))[:, None])

    def gain(saliency: NDArray[np.float64]) -> float:
        options = {"baseline": fill, "pixels_per_step": 1}
        return metrics.relevance_gain(saliency, image, black_box, [1.0], **options).gain

    best = gain(effect)
    assert all(gain(rng.permutation(effect.ravel()).reshape(4, 6)) < best for _ in range(20))


def test_normalised_gain_is_the_gain_by_the_range_of_the_scores() -> None:
    image = np.full((4, 6, 3), 0.75, dtype=np.float32)
    saliency = np.arange(24, dtype=np.float32).reshape(4, 6)
    options = {"baseline": 0.25, "pixels_per_step": 4}
    plain = metrics.relevance_gain(saliency, image, left_half, [2.0], **options)
    by_range = metrics.relevance_gain(
        saliency, image, left_half, [2.0], normalise="range", **options
    )
    assert by_range.gain == pytest.approx(plain.gain / (2 * 0.75 - 2 * 0.25), rel=1e-6)
