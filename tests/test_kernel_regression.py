"""Kernel regression against a dense solution of the same equations, on stored masks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import dense
from dense import GROUPS, Family, Rounds, reference, run
from iassa.estimators.attention import Attention, spatial_attention
from iassa.estimators.debiased_effect import DebiasedEffect
from iassa.estimators.kernel_regression import (
    PRIOR,
    EffectWithKernelRegression,
    KernelRegression,
    Prior,
)
from iassa.image import resize
from rounding import steps

Array = NDArray[np.float64]
SIZE = (33, 45)
# Loops over 20 x 20 cells take a while, and no value of the default may be taken for another.
FEW = Prior(cells=(6, 8), length=0.2, likeness=0.4, masks=300)


def toy_attention() -> Attention:
    level = torch.from_numpy(np.random.default_rng(0).normal(size=(5, 9, 11))).float()
    return spatial_attention([level], (9, 11))


def true_weights() -> Array:
    """One place for the score and one against it."""
    rows, columns = np.indices(SIZE)
    for_it = np.exp(-((rows - 8) ** 2 + (columns - 12) ** 2) / 30)
    against = np.exp(-((rows - 24) ** 2 + (columns - 33) ** 2) / 30)
    weights: Array = for_it - 0.7 * against
    return weights


def family(num_masks: int, seed: int, *, num_targets: int = 1, noise: float = 0.0) -> Family:
    """Smooth masks, scores linear in them, with noise."""
    weights = np.stack([true_weights() / (t + 1) for t in range(num_targets)])
    one = dense.smooth_family(num_masks, seed, SIZE, weights)
    one.scores += noise * np.random.default_rng(1000 + seed).normal(size=one.scores.shape)
    return one


Kind = Callable[[torch.Tensor, tuple[int, int], Attention | None], Any]


def halves(
    reference: torch.Tensor, size: tuple[int, int], attention: Attention | None
) -> EffectWithKernelRegression:
    return EffectWithKernelRegression(reference, size, attention, share=0.5)


def looped_prior(attention: Attention | None, prior: Prior) -> Array:
    """The module's docstring, a pair of cells at a time."""
    height, width = prior.cells
    P = height * width
    covariance = np.empty((P, P))
    looks = None
    if attention is not None:
        planes = attention.features.T.reshape(-1, *attention.size).double()
        looks = resize(planes, prior.cells).flatten(1).T.numpy()
        looks = looks / np.linalg.norm(looks, axis=1, keepdims=True)
    for a in range(P):
        for b in range(P):
            down = (a // width - b // width) / height
            right = (a % width - b % width) / width
            covariance[a, b] = np.exp(-(down**2 + right**2) / (2 * prior.length**2))
            if looks is not None:
                covariance[a, b] *= np.exp((looks[a] @ looks[b] - 1) / prior.likeness)
    return covariance


def on_cells(masks: Array, cells: tuple[int, int]) -> Array:
    """Masks (N, H, W) at the lattice, averaged to cells, (N, cells).

    Cell i of n over L lattice pixels spans floor(i L / n) to ceil((i + 1) L / n).
    """
    lattice = dense.at_lattice(masks)
    means = np.empty((len(masks), *cells))
    for i in range(cells[0]):
        for j in range(cells[1]):
            rows, columns = (
                slice(k * length // n, -(-(k + 1) * length // n))
                for k, length, n in zip((i, j), lattice.shape[1:], cells, strict=True)
            )
            means[:, i, j] = lattice[:, rows, columns].mean(axis=(1, 2))
    return means.reshape(len(masks), -1)


def stacked(rounds: Rounds, cells: tuple[int, int]) -> tuple[Array, Array, Array]:
    """What z leaves of cells (N, cells) and standardised scores (N, T), and their unit (T,)."""
    parts, unit = dense.residuals(
        [
            {name: replace(f, masks=on_cells(f.masks, cells)) for name, f in one.items()}
            for one in rounds
        ]
    )
    X, f, _ = (np.concatenate(one) for one in zip(*parts, strict=True))
    return X, f, unit


def solve(x: Array, f: Array, covariance: Array, weights: Array, prior: Prior) -> Array:
    """w = K x' (x K x' + s / v)^-1 f, (cells, T): v are weights of n = sum v masks, s = n / m.

    The noise of a mask is 1 where there are m = `Prior.masks` of them, so s is that of n masks for
    them to weigh as much. In terms of masks, where the code solves in terms of cells.
    """
    across = covariance @ x.T
    noise = np.diag(weights.sum() / prior.masks / weights)
    # By torch, which the tests hold to one thread.
    system, right = torch.from_numpy(x @ across + noise), torch.from_numpy(f)
    w: Array = across @ torch.linalg.solve(system, right).numpy()
    return w


def scaled(covariance: Array, x: Array) -> Array:
    """Such that it expects to explain scores of variance 1."""
    return covariance * len(x) / np.trace(x @ covariance @ x.T)


def dense_map(rounds: Rounds, covariance: Array, prior: Prior) -> Array:
    """w at the size of the image, (T, H, W)."""
    X, f, unit = stacked(rounds, prior.cells)
    w = solve(X, f, scaled(covariance, X), np.ones(len(X)), prior)
    cells = (unit * w).T.reshape(-1, *prior.cells)
    return resize(torch.from_numpy(cells), SIZE).numpy()


@pytest.mark.parametrize("attention", [None, toy_attention()], ids=["place", "place and likeness"])
def test_the_prior_equals_the_loop(attention: Attention | None) -> None:
    covariance = FEW.covariance(attention).numpy()
    np.testing.assert_allclose(covariance, looped_prior(attention, FEW), atol=steps(8, 1.0))
    np.testing.assert_allclose(covariance.diagonal(), 1, atol=steps(1024, 1.0, dtype=np.float64))
    assert np.linalg.eigvalsh(covariance).min() > -steps(1024, covariance.trace(), dtype=np.float64)


def make_rounds(case: str, num_targets: int) -> Rounds:
    """Numbers of masks by family and round, and the noise of their scores."""
    sizes: dict[str, list[dict[str, tuple[int, float]]]] = {
        "one round": [{"a": (90, 5)}],
        "few masks": [{"a": (9, 5)}],
        "two families": [{"a": (40, 5), "b": (33, 9)}],
        "three rounds": [
            {"a": (25, 5), "b": (18, 5)},
            {"a": (21, 2)},
            {"b": (70, 50), "c": (5, 5)},
        ],
        "some confined": [
            {"a": (25, 5)},
            {"b confined": (41, 1), "a": (30, 20), "c confined": (12, 1)},
        ],
    }
    return [
        {
            name: replace(
                family(count, 10 * k + i, num_targets=num_targets, noise=noise),
                confined="confined" in name,
            )
            for i, (name, (count, noise)) in enumerate(one.items())
        }
        for k, one in enumerate(sizes[case])
    ]


CASES = ["one round", "few masks", "two families", "three rounds", "some confined"]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("batch_size", [1, 7, 64])
@pytest.mark.parametrize("num_targets", [1, 3])
def test_the_map_equals_the_dense_solution(case: str, batch_size: int, num_targets: int) -> None:
    attention, rounds = toy_attention(), make_rounds(case, num_targets)
    expected = dense_map(rounds, looped_prior(attention, FEW), FEW)
    for interleave in (False, True):
        estimator = KernelRegression(reference(num_targets, 2.0), SIZE, attention, FEW)
        effect = run(estimator, rounds, batch_size, interleave=interleave)
        assert effect.saliency.shape == expected.shape == (num_targets, *SIZE)
        for found, one in zip(effect.saliency.numpy(), expected, strict=True):
            assert np.abs(found - one).max() < steps(512, one)


@pytest.mark.parametrize("attention", [None, toy_attention()], ids=["place", "place and likeness"])
def test_the_map_at_its_own_number_of_cells_equals_the_dense_solution(
    attention: Attention | None,
) -> None:
    rounds = make_rounds("three rounds", 1)
    effect = run(KernelRegression(reference(1), SIZE, attention), rounds, 16)
    expected = dense_map(rounds, looped_prior(attention, PRIOR), PRIOR)
    assert np.abs(effect.saliency.numpy() - expected).max() < steps(512, expected)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("num_targets", [1, 3])
def test_the_deviations_are_the_first_order_of_leaving_groups_out(
    case: str, num_targets: int
) -> None:
    """The dense solution with a group's masks weighed 1 +- 1e-4: its slope, times n / (n - n_g).

    And what each set of masks adds to it, times the change of the unit over that set's spread.
    """
    attention, rounds = toy_attention(), make_rounds(case, num_targets)
    X, f, unit = stacked(rounds, FEW.cells)
    sets = dense.sets(rounds)
    group = np.concatenate([np.arange(len(f.keep)) % GROUPS for one in sets for f in one])
    K = scaled(looped_prior(attention, FEW), X)
    number = np.concatenate([np.full(len(f.keep), s) for s, one in enumerate(sets) for f in one])
    # Spreads times degrees of freedom, (sets, T), as shares.
    freedom = [sum(len(f.keep) - 3 for f in one) for one in sets]
    spread = [dense.residuals([{str(i): f for i, f in enumerate(one)}])[1] for one in sets]
    weights = np.stack(spread) * np.array(freedom)[:, None]
    weights /= weights.sum(0)

    expected = []
    for g in range(max(group) + 1):
        more, less = (
            solve(X, f, K, np.where(group == g, 1 + step, 1), FEW) for step in (1e-4, -1e-4)
        )
        share = len(X) / (len(X) - (group == g).sum())
        moved = (less - more) / 2e-4 * share
        shares = []  # of each set's spread, what it is without the group
        for s in range(len(sets)):
            squares, gone = f[number == s] ** 2, f[(number == s) & (group == g)] ** 2
            total = squares.sum(0)  # the degrees of freedom, as the scores are standardised
            shares.append(np.sqrt((total - gone.sum(0)) / (total - len(gone))))
        for s, share in enumerate(shares):
            own = solve(X, f * (number == s)[:, None], K, np.ones(len(X)), FEW)
            moved += own * ((weights * shares).sum(0) - share)
        cells = (unit * moved).T.reshape(-1, *FEW.cells)
        # Cells to the lattice, without the image between.
        expected.append(resize(torch.from_numpy(cells), (28, 28)).numpy())

    effect = run(KernelRegression(reference(num_targets), SIZE, attention, FEW), rounds, 16)
    found = effect.deviations.numpy()
    assert found.shape == (len(expected), num_targets, 28, 28)
    # Sums over cells are float32. A fit that bends to all of few masks leaves residuals of 1 % of
    # the scores, so deviations have fewer digits than the map.
    tolerance = steps(1024, expected) + steps(512, effect.saliency)
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)


def test_first_order_is_near_to_really_leaving_groups_out() -> None:
    """All is found again without each group: spreads, the prior's scale, what z explains.

    First order takes a group's residuals from a fit that has seen the group, so they are too small
    by the share of them that the fit can bend to: the error is 6 to 10 % too little with 800
    masks, 15 % with 320. Beyond that single deviations differ by what a group moves the spreads.
    """
    rounds: Rounds = [
        {
            "a": family(300, 30, num_targets=2, noise=5),
            "b": family(200, 31, num_targets=2, noise=9),
        },
        {"a": family(300, 32, num_targets=2, noise=2)},
    ]
    attention = toy_attention()
    covariance = looped_prior(attention, FEW)
    without = [dense_map(dense.kept_without(rounds, g), covariance, FEW) for g in range(GROUPS)]
    expected = dense.at_lattice(np.stack(without) - dense_map(rounds, covariance, FEW))
    effect = run(KernelRegression(reference(2), SIZE, attention, FEW), rounds, 64)
    found = effect.deviations.numpy()
    for t in range(2):
        difference = np.linalg.norm(found[:, t] - expected[:, t])
        assert difference < 0.3 * np.linalg.norm(expected[:, t])
        error, told = (np.sqrt(np.square(d[:, t]).sum(0)) for d in (expected, found))
        assert 0.85 < np.median(told / error) < 1


@pytest.mark.parametrize("kind", [KernelRegression, halves])
@pytest.mark.parametrize("attention", [None, toy_attention()], ids=["place", "place and likeness"])
def test_the_map_of_a_linear_black_box_has_its_sign_and_order(
    kind: Kind, attention: Attention | None
) -> None:
    estimator = kind(reference(1), SIZE, attention)
    found = run(estimator, [{"a": family(600, 20)}], 100).saliency[0].numpy()
    assert found[8, 12] > 0 > found[24, 33]
    assert found[8, 12] > 3 * abs(found[28, 6])  # a place that counts for nothing
    assert abs(found[24, 33]) > 3 * abs(found[28, 6])
    assert np.corrcoef(found.ravel(), true_weights().ravel())[0, 1] > 0.6


@pytest.mark.parametrize("kind", [KernelRegression, halves])
@pytest.mark.parametrize("value", [0.0, 0.37, -12.5])
def test_flat_scores_give_zeros(kind: Kind, value: float) -> None:
    flat = family(40, 21, num_targets=2)
    flat.scores[:] = value
    for offset in (value, value + 1):
        effect = run(kind(reference(2, offset), SIZE, None), [{"a": flat}] * 2, 16)
        assert (effect.saliency == 0).all()
        assert (effect.standard_error == 0).all()


@pytest.mark.parametrize("value", [1.0, -1000.0])
def test_small_scores_far_from_that_of_the_whole_image_are_not_flat(value: float) -> None:
    """A model that is sure of the whole image may give its masked ones a millionth."""
    plain = family(60, 28, noise=5)
    small = Family(plain.masks, 1e-8 * plain.scores, plain.keep)
    expected = run(KernelRegression(reference(1), SIZE, None), [{"a": plain}], 16)
    found = run(KernelRegression(reference(1, value), SIZE, None), [{"a": small}], 16)
    for one, other in (
        (found.saliency, expected.saliency),
        (found.deviations, expected.deviations),
    ):
        np.testing.assert_allclose(one * 1e8, other, atol=steps(64, other))


@pytest.mark.parametrize("kind", [KernelRegression, halves])
def test_nothing_added_gives_zeros_that_are_not_known(kind: Kind) -> None:
    estimator = kind(reference(2), SIZE, None)
    estimator.close_round()
    effect = estimator.estimate()
    assert (effect.saliency == 0).all()
    assert torch.isinf(effect.standard_error).all()


@pytest.mark.parametrize("value", [0.5, 0.0])
@pytest.mark.parametrize("flat_first", [True, False])
def test_a_round_that_tells_nothing_spoils_no_other(value: float, flat_first: bool) -> None:
    """All masks of a round score alike, as they do in a black box that decides hard."""
    telling, flat = family(200, 23), family(40, 22)
    flat.scores[:] = value
    rounds = [{"a": flat}, {"a": telling}] if flat_first else [{"a": telling}, {"a": flat}]
    alone = run(KernelRegression(reference(1), SIZE, None), [{"a": telling}], 16)
    both = run(KernelRegression(reference(1), SIZE, None), rounds, 16)
    expected, found = alone.saliency[0].numpy(), both.saliency[0].numpy()
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.95
    assert 0.5 < np.linalg.norm(found) / np.linalg.norm(expected) < 1.5


def test_the_map_is_surer_with_more_masks_and_not_another() -> None:
    """Eight times the masks: the error is 1 / sqrt(8) of what it was, the map as strong."""
    effects = [
        run(KernelRegression(reference(1), SIZE, None), [{"a": family(count, 24, noise=5)}], 50)
        for count in (400, 3200)
    ]
    few, many = (float(effect.standard_error.mean()) for effect in effects)
    assert many / few == pytest.approx(8**-0.5, rel=0.15)
    before, after = (effect.saliency[0].numpy() for effect in effects)
    assert np.vdot(before, after) / np.vdot(after, after) == pytest.approx(1, abs=0.1)


def test_the_combined_map_is_that_of_both_at_the_length_of_the_effect() -> None:
    rounds = [
        {
            "a": family(120, 26, num_targets=2, noise=5),
            "b": family(50, 27, num_targets=2, noise=5),
        }
    ]
    effect, kernel, both = (
        run(estimator, rounds, 16)
        for estimator in (
            DebiasedEffect(reference(2), SIZE),
            KernelRegression(reference(2), SIZE, None),
            EffectWithKernelRegression(reference(2), SIZE, None, share=0.25),
        )
    )

    def weigh(own: Array, other: Array) -> Array:
        return 0.75 * own + 0.25 * other * np.linalg.norm(own) / np.linalg.norm(other)

    for t in range(2):
        expected = weigh(effect.saliency[t].double().numpy(), kernel.saliency[t].double().numpy())
        tolerance = steps(8, expected)
        np.testing.assert_allclose(both.saliency[t], expected, rtol=0, atol=tolerance)
        # Without a group it is the same of both maps without it, lengths included.
        first, second = (resize(e.saliency[t].double(), (28, 28)).numpy() for e in (effect, kernel))
        for g in range(GROUPS):
            without = weigh(
                first + effect.deviations[g, t].numpy(), second + kernel.deviations[g, t].numpy()
            )
            np.testing.assert_allclose(
                both.deviations[g, t], without - weigh(first, second), rtol=0, atol=tolerance
            )
