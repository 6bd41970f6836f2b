"""Kernel regression against an explicit Gaussian process over cells, on stored masks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from iassa import kernel_regression
from iassa.attention import Attention, spatial_attention
from iassa.image import resize
from iassa.kernel_regression import (
    CELLS,
    LENGTH,
    LIKENESS,
    NOISE_SHARE,
    EffectWithKernelRegression,
    KernelRegression,
    prior_covariance,
)
from iassa.rendering import DenseMasks
from iassa.saliency import DebiasedEffect, Estimator

Array = NDArray[np.float64]
SIZE = (33, 45)


def toy_attention() -> Attention:
    level = torch.from_numpy(np.random.default_rng(0).normal(size=(5, 9, 11))).float()
    return spatial_attention([level], (9, 11))


def stored_masks(num_masks: int, seed: int) -> tuple[Array, Array]:
    """Smooth masks and their keep probabilities."""
    rng = np.random.default_rng(seed)
    keep = rng.uniform(0.2, 0.8, num_masks)
    coarse = torch.from_numpy(rng.random((num_masks, 6, 8)) < keep[:, None, None]).float()
    return resize(coarse, SIZE).double().numpy(), keep


def true_weights() -> Array:
    """One place for the score and one against it."""
    rows, columns = np.indices(SIZE)
    for_it = np.exp(-((rows - 8) ** 2 + (columns - 12) ** 2) / 30)
    against = np.exp(-((rows - 24) ** 2 + (columns - 33) ** 2) / 30)
    weights: Array = for_it - 0.7 * against
    return weights


def feed(
    estimator: Estimator, masks: Array, scores: Array, keep: Array, family: str, batch_size: int
) -> None:
    for start in range(0, len(masks), batch_size):
        batch = slice(start, start + batch_size)
        estimator.add(
            DenseMasks(torch.from_numpy(masks[batch]).float()),
            torch.from_numpy(scores[batch]),
            torch.from_numpy(keep[batch]),
            family,
        )


Kind = Callable[[torch.Tensor, tuple[int, int], Attention | None], Any]


def halves(
    reference: torch.Tensor, size: tuple[int, int], attention: Attention | None
) -> EffectWithKernelRegression:
    return EffectWithKernelRegression(reference, size, attention, share=0.5)


def looped_prior(attention: Attention | None) -> Array:
    """The module's docstring, a pair of cells at a time."""
    P = CELLS[0] * CELLS[1]
    covariance = np.empty((P, P))
    looks = None
    if attention is not None:
        planes = attention.features.T.reshape(-1, *attention.size).double()
        looks = resize(planes, CELLS).flatten(1).T.numpy()
        looks = looks / np.linalg.norm(looks, axis=1, keepdims=True)
    for a in range(P):
        for b in range(P):
            down = (a // CELLS[1] - b // CELLS[1]) / CELLS[0]
            right = (a % CELLS[1] - b % CELLS[1]) / CELLS[1]
            covariance[a, b] = np.exp(-(down**2 + right**2) / (2 * LENGTH**2))
            if looks is not None:
                covariance[a, b] *= np.exp((looks[a] @ looks[b] - 1) / LIKENESS)
    return covariance


def residual(keep: Array, values: Array) -> Array:
    design = np.stack([np.ones_like(keep), keep, keep**2], axis=1)
    return values - design @ np.linalg.lstsq(design, values, rcond=None)[0]


def shrunk(masks: Array) -> Array:
    """Means over cells, flat."""
    means = np.empty((len(masks), *CELLS))
    for i in range(CELLS[0]):
        for j in range(CELLS[1]):
            rows = slice(i * SIZE[0] // CELLS[0], -(-(i + 1) * SIZE[0] // CELLS[0]))
            columns = slice(j * SIZE[1] // CELLS[1], -(-(j + 1) * SIZE[1] // CELLS[1]))
            means[:, i, j] = masks[:, rows, columns].mean(axis=(1, 2))
    return means.reshape(len(masks), -1)


@pytest.fixture
def few_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    """The double loop over 784 cells takes a while; 6 x 8 of them are the same formula."""
    monkeypatch.setattr(kernel_regression, "CELLS", (6, 8))
    monkeypatch.setitem(globals(), "CELLS", (6, 8))


@pytest.mark.usefixtures("few_cells")
@pytest.mark.parametrize("attention", [None, toy_attention()], ids=["place", "place and likeness"])
def test_the_prior_equals_the_loop(attention: Attention | None) -> None:
    covariance = prior_covariance(attention, CELLS).numpy()
    np.testing.assert_allclose(covariance, looped_prior(attention), atol=1e-6)
    np.testing.assert_allclose(covariance.diagonal(), 1, atol=1e-9)
    assert np.linalg.eigvalsh(covariance).min() > -1e-9


@pytest.mark.usefixtures("few_cells")
@pytest.mark.parametrize("batch_size", [1, 7, 64])
@pytest.mark.parametrize("num_targets", [1, 3])
def test_map_and_error_equal_the_dense_posterior(batch_size: int, num_targets: int) -> None:
    """w | f ~ N(K X' C^-1 f, K - K X' C^-1 X K) with C = X K X' + noise, in terms of masks."""
    attention = toy_attention()
    rounds = []
    for k, counts in enumerate([{"a": 25, "b": 18}, {"a": 21}]):
        families = {}
        for f, (name, count) in enumerate(counts.items()):
            masks, keep = stored_masks(count, 10 * k + f)
            noise = np.random.default_rng((k, f)).normal(size=(count, num_targets))
            scores = np.einsum("hw,nhw->n", true_weights(), masks)[:, None] / (k + 1) + noise
            families[name] = (masks, scores, keep)
        rounds.append(families)

    estimator = KernelRegression(torch.full((num_targets,), 2.0).double(), SIZE, attention)
    cells, targets, freedom, unit = [], [], 0, None
    for families in rounds:
        left = []
        for name, (masks, scores, keep) in families.items():
            feed(estimator, masks, scores, keep, name, batch_size)
            left.append((residual(keep, shrunk(masks)), residual(keep, scores)))
        estimator.close_round()
        free = sum(len(scores) for _, scores in left) - 3 * len(left)
        spread = np.sqrt(sum((scores**2).sum(0) for _, scores in left) / free)
        unit = spread if unit is None else unit
        freedom += free
        cells += [masks for masks, _ in left]
        targets += [scores / spread for _, scores in left]
    X, f = np.concatenate(cells), np.concatenate(targets)
    K = looped_prior(attention)
    K = K * freedom / np.trace(X @ K @ X.T)  # expected to explain scores of variance 1
    C = X @ K @ X.T + NOISE_SHARE * np.eye(len(X))
    mean = K @ X.T @ np.linalg.solve(C, f)
    variance = np.diag(K - K @ X.T @ np.linalg.solve(C, X @ K))

    effect = estimator.estimate()
    assert effect.saliency.shape == effect.standard_error.shape == (num_targets, *SIZE)
    assert unit is not None
    for t in range(num_targets):
        for told, expected in (
            (effect.saliency[t], unit[t] * mean[:, t]),
            (effect.standard_error[t], unit[t] * np.sqrt(variance)),
        ):
            enlarged = resize(torch.from_numpy(expected.reshape(1, *CELLS)), SIZE)[0].numpy()
            assert np.abs(told.numpy() - enlarged).max() < 1e-4 * np.abs(enlarged).max()


@pytest.mark.parametrize("kind", [KernelRegression, halves])
@pytest.mark.parametrize("attention", [None, toy_attention()], ids=["place", "place and likeness"])
def test_the_map_of_a_linear_black_box_has_its_sign_and_order(
    kind: Kind, attention: Attention | None
) -> None:
    masks, keep = stored_masks(600, 20)
    scores = np.einsum("hw,nhw->n", true_weights(), masks)[:, None]
    estimator = kind(torch.zeros(1).double(), SIZE, attention)
    feed(estimator, masks, scores, keep, "a", 100)
    estimator.close_round()
    found = estimator.estimate().saliency[0].numpy()
    assert found[8, 12] > 0 > found[24, 33]
    assert found[8, 12] > 3 * abs(found[28, 6])  # a place that counts for nothing
    assert abs(found[24, 33]) > 3 * abs(found[28, 6])
    assert np.corrcoef(found.ravel(), true_weights().ravel())[0, 1] > 0.6


@pytest.mark.parametrize("kind", [KernelRegression, halves])
@pytest.mark.parametrize("value", [0.0, 0.37, -12.5])
def test_flat_scores_give_zeros(kind: Kind, value: float) -> None:
    masks, keep = stored_masks(40, 21)
    for offset in (value, value + 1):
        estimator = kind(torch.full((2,), offset).double(), SIZE, None)
        for _ in range(2):
            feed(estimator, masks, np.full((40, 2), value), keep, "a", 16)
            estimator.close_round()
        effect = estimator.estimate()
        assert (effect.saliency == 0).all()
        assert torch.isfinite(effect.standard_error).all()


@pytest.mark.parametrize("kind", [KernelRegression, halves])
def test_nothing_added_gives_zeros_that_are_not_known(
    kind: Kind,
) -> None:
    estimator = kind(torch.zeros(2).double(), SIZE, None)
    estimator.close_round()
    effect = estimator.estimate()
    assert (effect.saliency == 0).all()


@pytest.mark.parametrize("value", [0.5, 0.0])
@pytest.mark.parametrize("flat_first", [True, False])
def test_a_round_that_tells_nothing_spoils_no_other(value: float, flat_first: bool) -> None:
    """All masks of a round score alike, as they do in a black box that decides hard."""
    masks, keep = stored_masks(200, 23)
    scores = np.einsum("hw,nhw->n", true_weights(), masks)[:, None]
    few, their_keep = stored_masks(40, 22)
    rounds = [(masks, scores, keep), (few, np.full((40, 1), value), their_keep)]
    alone = KernelRegression(torch.zeros(1).double(), SIZE, None)
    feed(alone, *rounds[0], "a", 16)
    alone.close_round()
    both = KernelRegression(torch.zeros(1).double(), SIZE, None)
    for one in reversed(rounds) if flat_first else rounds:
        feed(both, *one, "a", 16)
        both.close_round()
    expected = alone.estimate().saliency[0].numpy()
    found = both.estimate().saliency[0].numpy()
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.95
    assert 0.5 < np.linalg.norm(found) / np.linalg.norm(expected) < 1.5


def test_the_posterior_is_surer_with_more_masks() -> None:
    errors = []
    for count in (50, 400):
        masks, keep = stored_masks(count, 24)
        noise = np.random.default_rng(25).normal(size=(count, 1))
        estimator = KernelRegression(torch.zeros(1).double(), SIZE, None)
        feed(estimator, masks, noise, keep, "a", 50)
        estimator.close_round()
        errors.append(float(estimator.estimate().standard_error.mean()))
    assert errors[1] < 0.6 * errors[0]


def test_the_combined_map_is_that_of_both_at_the_length_of_the_effect() -> None:
    masks, keep = stored_masks(120, 26)
    scores = np.einsum("hw,nhw->n", true_weights(), masks)[:, None]
    maps = []
    for estimator in (
        DebiasedEffect(torch.zeros(1).double(), SIZE),
        KernelRegression(torch.zeros(1).double(), SIZE, None),
        EffectWithKernelRegression(torch.zeros(1).double(), SIZE, None, share=0.25),
    ):
        feed(estimator, masks, scores, keep, "a", 16)
        estimator.close_round()
        maps.append(estimator.estimate().saliency[0].double().numpy())
    effect, kernel, both = maps
    expected = 0.75 * effect + 0.25 * kernel * np.linalg.norm(effect) / np.linalg.norm(kernel)
    np.testing.assert_allclose(both, expected, atol=1e-5 * np.abs(expected).max())
