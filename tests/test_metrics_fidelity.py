"""Mu-fidelity against a loop and linear black boxes; stability under noise against known maps."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import spearmanr

from iassa import metrics
from iassa.errors import BlackBoxError, InputError

Array = NDArray[np.float32]
RNG = np.random.default_rng(6)
IMAGE = RNG.random((8, 12, 3)).astype(np.float32)
WEIGHTS = RNG.normal(size=(8, 12, 3))


def linear(images: Array) -> NDArray[np.float64]:
    return np.asarray((images * WEIGHTS).sum(axis=(1, 2, 3))[:, None])


@pytest.mark.parametrize("cells", [1, 3, 5])
@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_the_effects_of_a_linear_box_are_perfect(cells: int, batch_size: int) -> None:
    effects = ((IMAGE - np.float32(0.5)) * WEIGHTS).sum(axis=2)
    got = metrics.mu_fidelity(
        effects, IMAGE, linear, [1.0], cells=cells, num_sets=20, batch_size=batch_size
    )
    np.testing.assert_allclose(got.sums, got.drops, atol=1e-5)
    if cells > 1:  # one cell is always in the set: nothing varies
        assert got.correlation > 0.99
        assert (
            metrics.mu_fidelity(
                -effects, IMAGE, linear, [1.0], cells=cells, num_sets=20
            ).correlation
            < -0.99
        )


def test_sets_sums_and_drops_agree_with_what_the_black_box_was_shown() -> None:
    seen: list[Array] = []

    def watching(images: Array) -> NDArray[np.float64]:
        seen.extend(images.copy())
        return linear(images)

    saliency = RNG.normal(size=(8, 12))
    got = metrics.mu_fidelity(
        saliency, IMAGE, watching, [2.0], baseline=[2 / 3, 1, 0], cells=4, share=0.25, num_sets=30
    )
    assert len(seen) == 31
    sums, drops = [], []
    for image in seen[1:]:
        hidden = (image != seen[0]).any(axis=2)
        assert hidden.sum() == 4 * (8 // 4) * (12 // 4)  # a quarter of 16 cells of 2 x 3 pixels
        sums.append(saliency[hidden].sum())
        drops.append(2 * float((linear(seen[0][None]) - linear(image[None]))[0, 0]))
    np.testing.assert_allclose(got.sums, sums, atol=1e-9)
    np.testing.assert_allclose(got.drops, drops, atol=1e-9)
    assert got.correlation == pytest.approx(spearmanr(sums, drops).statistic, abs=1e-9)
    assert len({each.tobytes() for each in seen}) > 25


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cells": 0}, "cells from 1 to 8"),
        ({"cells": 9}, "cells from 1 to 8"),
        ({"share": 0.0}, "share"),
        ({"share": 1.0}, "share"),
        ({"num_sets": 1}, "2 sets"),
        ({"seed": -1}, "seed"),
        ({"batch_size": 0}, "batch_size"),
        ({"baseline": [1, 2]}, "baseline"),
        ({"saliency": np.zeros((12, 8))}, r"a map \(8, 12\)"),
    ],
)
def test_bad_input_is_named(changes: dict[str, object], message: str) -> None:
    arguments = {"saliency": np.zeros((8, 12)), "image": IMAGE, "black_box": linear, "cells": 3}
    with pytest.raises(InputError, match=message):
        metrics.mu_fidelity(weights=[1.0], **{**arguments, **changes})


def test_scores_of_another_shape_are_the_black_boxes_fault() -> None:
    with pytest.raises(BlackBoxError, match=r"scores \(1, 1\)"):
        metrics.mu_fidelity(np.zeros((8, 12)), IMAGE, lambda x: np.zeros(3), [1.0], cells=3)


def test_a_map_that_ignores_the_image_is_stable() -> None:
    fixed = RNG.normal(size=(8, 12))
    got = metrics.input_stability(lambda image: fixed, IMAGE)
    assert (got.top_overlap, got.max_sensitivity) == (1.0, 0.0)
    assert got.rank_correlation == pytest.approx(1.0)


def test_the_noise_of_the_image_is_what_a_map_of_it_shows() -> None:
    """The map is the image's red plane, so its change is the noise itself."""
    maps: list[Array] = []

    def red(image: Array) -> Array:
        maps.append(image[..., 0])
        return image[..., 0]

    got = metrics.input_stability(red, IMAGE, noise=0.1, repeats=3, seed=2)
    original, *copies = maps
    assert len(copies) == 3
    lengths = [np.linalg.norm(copy - original) / np.linalg.norm(original) for copy in copies]
    assert got.max_sensitivity == pytest.approx(max(lengths), rel=1e-5)
    correlations = [spearmanr(original.ravel(), copy.ravel()).statistic for copy in copies]
    assert got.rank_correlation == pytest.approx(np.mean(correlations), abs=1e-9)
    assert all(np.abs(copy - original).max() <= 0.1 + 1e-6 for copy in copies)
    assert all(copy.min() >= 0 and copy.max() <= 1 for copy in copies)


def test_a_map_of_zeros_has_an_infinite_change_once_it_is_another() -> None:
    answers = iter([np.zeros((8, 12)), np.ones((8, 12))])
    got = metrics.input_stability(lambda image: next(answers), IMAGE, repeats=1)
    assert got.max_sensitivity == float("inf")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"noise": 0.0}, "noise"),
        ({"repeats": 0}, "repeat"),
        ({"seed": -1}, "seed"),
        ({"share": 2}, "share"),
    ],
)
def test_bad_input_of_stability_is_named(changes: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        metrics.input_stability(lambda image: image[..., 0], IMAGE, **changes)
