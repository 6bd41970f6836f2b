"""Streamed estimators against the formulas on stored masks, in float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

import dense
from dense import GROUPS, Family, Rounds, feed, reference, run
from iassa.estimators.attention import Attention
from iassa.estimators.coverage_mean import CoverageMean
from iassa.estimators.debiased_effect import DebiasedEffect
from iassa.estimators.effect import Effect, adjust, highest_activated_region
from iassa.masks.grids import draw_grids, draw_segments
from iassa.masks.rendering import Canvas, DenseMasks
from iassa.masks.superpixels import Segmentations
from iassa.masks.windows import plan_windows, sliding_windows
from rounding import steps

Array = NDArray[np.float64]
SIZE = (6, 9)


def stored_family(
    num_masks: int, seed: int, *, num_targets: int = 2, constant: bool = False
) -> Family:
    return dense.stored_family(num_masks, seed, SIZE, num_targets=num_targets, constant=constant)


def louder(family: Family, times: float) -> Family:
    return replace(family, scores=times * family.scores)


def assert_relative(actual: torch.Tensor, expected: Array, number: float = 160) -> None:
    """To some steps of the map's size, as a pixel near 0 has no precision of its own.

    So many, as the sums over a batch are float32: of 64 masks they are off by 34.
    """
    assert actual.shape == expected.shape
    assert actual.dtype == torch.float32
    for one, other in zip(actual.numpy(), expected, strict=True):
        assert np.abs(one - other).max() <= steps(number, other)


def jackknife(oracle: Callable[[Rounds], Array], rounds: Rounds) -> Array:
    """The standard error: the masks of each group left out in turn, and all done again."""
    whole, squares = oracle(rounds), 0.0
    for group in range(GROUPS):
        squares = squares + (oracle(dense.kept_without(rounds, group)) - whole) ** 2
    return np.sqrt((GROUPS - 1) / GROUPS * squares)


ROUNDS: dict[str, Rounds] = {
    "one family": [{"a": stored_family(60, 1)}],
    "one target": [{"a": stored_family(60, 2, num_targets=1)}],
    "constant keep probability": [{"a": stored_family(50, 3, constant=True)}],
    "two families": [{"a": stored_family(40, 4), "b": stored_family(31, 5, constant=True)}],
    "three rounds": [
        {"a": stored_family(40, 6), "b": stored_family(33, 7)},
        {"a": stored_family(25, 8)},
        {"b": stored_family(29, 9), "c": stored_family(17, 10, constant=True)},
    ],
    "some confined": [
        {"a": stored_family(40, 6)},
        {
            "b": replace(stored_family(33, 7), confined=True),
            "a": louder(stored_family(25, 8), 30),
            "c": replace(stored_family(31, 9), confined=True),
        },
    ],
}


@pytest.mark.parametrize("case", ROUNDS)
@pytest.mark.parametrize("batch_size", [1, 7, 16, 64])
def test_debiased_effect_equals_the_formula_on_stored_masks(case: str, batch_size: int) -> None:
    rounds = ROUNDS[case]
    num_targets = next(iter(rounds[0].values())).scores.shape[1]
    for interleave in (False, True):
        estimator = DebiasedEffect(reference(num_targets, 1.5), SIZE)
        effect = run(estimator, rounds, batch_size, interleave=interleave)
        assert_relative(effect.saliency, dense.debiased(rounds))
        assert_relative(effect.standard_error, jackknife(dense.debiased, rounds))


@pytest.mark.parametrize("case", ROUNDS)
@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_coverage_mean_equals_the_formula_on_stored_masks(case: str, batch_size: int) -> None:
    rounds = ROUNDS[case]
    num_targets = next(iter(rounds[0].values())).scores.shape[1]
    effect = run(CoverageMean(reference(num_targets, -0.5), SIZE), rounds, batch_size)
    assert_relative(effect.saliency, dense.coverage_mean(rounds))
    families = [family for one in rounds for family in one.values()]
    in_turn = {"all": dense.one_family(families)}
    assert_relative(effect.standard_error, jackknife(dense.coverage_mean, [in_turn]))


@pytest.mark.parametrize("kind", [CoverageMean, DebiasedEffect])
def test_targets_do_not_touch_each_other(kind: type[CoverageMean | DebiasedEffect]) -> None:
    rounds = ROUNDS["three rounds"]
    together = run(kind(reference(2), SIZE), rounds, 16)
    for t in range(2):
        alone = [
            {k: Family(f.masks, f.scores[:, [t]], f.keep) for k, f in one.items()} for one in rounds
        ]
        single = run(kind(reference(1), SIZE), alone, 16)
        assert_relative(single.saliency, together.saliency[t : t + 1].double().numpy(), 8)


@pytest.mark.parametrize("batch_size", [1, 16])
def test_scores_with_a_large_offset_stay_accurate(batch_size: int) -> None:
    """1000 + small: in float32 a tenth of these scores' variation would be rounding."""
    family = stored_family(64, 11)
    small = Family(family.masks, 1e-3 * family.scores, family.keep)
    large = Family(family.masks, 1000 + small.scores, family.keep)
    slope = dense.debiased([{"a": small}])
    effect = run(DebiasedEffect(reference(2, 1000), SIZE), [{"a": large}], batch_size)
    assert_relative(effect.saliency, slope)
    coverage = family.masks.sum(0)
    mean = np.einsum("nt,nhw->thw", small.scores, family.masks) / coverage
    effect = run(CoverageMean(reference(2, 1000), SIZE), [{"a": large}], batch_size)
    # The map itself is float32, so all that is left of it is 1000 to seven digits.
    np.testing.assert_allclose(effect.saliency.numpy(), 1000 + mean, rtol=0, atol=steps(2, 1000))


@pytest.mark.parametrize("value", [0.0, 0.37, -12.5, 1e6])
@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_flat_scores_have_no_effect_at_all(value: float, batch_size: int) -> None:
    family = stored_family(50, 12)
    flat = [{"a": Family(family.masks, np.full((50, 2), value), family.keep)}] * 2
    for offset in (value, value + 1):  # the whole image may score otherwise than all masked ones
        effect = run(DebiasedEffect(reference(2, offset), SIZE), flat, batch_size)
        assert (effect.saliency == 0).all()
        assert (effect.standard_error == 0).all()
    mean = run(CoverageMean(reference(2, value), SIZE), flat, batch_size)
    assert (mean.saliency == np.float32(value)).all()
    assert (mean.standard_error == 0).all()


def test_one_flat_target_beside_one_that_moves() -> None:
    family = stored_family(50, 13)
    scores = family.scores.copy()
    scores[:, 0] = 0.25
    rounds = [{"a": Family(family.masks, scores, family.keep)}]
    effect = run(DebiasedEffect(reference(2), SIZE), rounds, 8)
    assert (effect.saliency[0] == 0).all()
    expected = dense.debiased([{"a": family}])
    assert_relative(effect.saliency[1:], expected[1:])


def test_a_round_that_tells_nothing_hides_no_later_one() -> None:
    """A black box that decides hard scores all masks of a small first round alike."""
    flat, moving = stored_family(16, 18), stored_family(60, 19)
    flat.scores[:] = 0.5
    effect = run(DebiasedEffect(reference(2), SIZE), [{"a": flat}, {"a": moving}], 8)
    alone = dense.debiased([{"a": moving}])
    # The flat round's masks count as ones that showed no effect.
    share = 1 / (1 + mask_squares(flat) / mask_squares(moving))
    assert_relative(effect.saliency, alone * share)


def test_rounds_with_fewer_masks_than_the_regression_has_columns_are_ignored() -> None:
    family = stored_family(60, 20)
    before = run(DebiasedEffect(reference(2), SIZE), [{"a": family}], 8)
    for num_masks in (1, 2, 3):
        tail = {"a": stored_family(num_masks, 21), "b": stored_family(1, 22, constant=True)}
        after = run(DebiasedEffect(reference(2), SIZE), [{"a": family}, tail], 8)
        assert_relative(after.saliency, before.saliency.double().numpy())


def mask_squares(family: Family) -> Array:
    """Sum of M~^2 at each pixel."""
    flat = family.masks.reshape(len(family.keep), -1)
    return (dense.residual(family.keep, flat) ** 2).sum(0).reshape(SIZE)


def test_pixels_that_no_mask_hides_have_no_effect_and_infinite_error() -> None:
    family = stored_family(40, 14)
    family.masks[:, 2:4, 3:7] = 1
    effect = run(DebiasedEffect(reference(2), SIZE), [{"a": family}], 8)
    never = np.zeros(SIZE, np.bool_)
    never[2:4, 3:7] = True
    assert (effect.saliency.numpy()[:, never] == 0).all()
    assert np.isinf(effect.standard_error.numpy()[:, never]).all()
    assert np.isfinite(effect.standard_error.numpy()[:, ~never]).all()


def test_pixels_that_no_mask_keeps_get_the_lowest_value_of_the_coverage_mean() -> None:
    family = stored_family(40, 15)
    family.masks[:, 0, :5] = 0
    effect = run(CoverageMean(reference(2), SIZE), [{"a": family}], 8)
    for one, error in zip(effect.saliency, effect.standard_error, strict=True):
        assert (one[0, :5] == one.min()).all()
        assert torch.isinf(error[0, :5]).all()
        assert torch.isfinite(error[1:]).all()


@pytest.mark.parametrize("kind", [CoverageMean, DebiasedEffect])
def test_nothing_added_gives_a_flat_map_that_is_not_known(
    kind: type[CoverageMean | DebiasedEffect],
) -> None:
    estimator = kind(reference(1), SIZE)
    estimator.close_round()
    assert torch.isinf(estimator.estimate().standard_error).all()


def test_an_open_round_does_not_count_yet() -> None:
    closed, pending = ROUNDS["three rounds"][:2]
    estimator = DebiasedEffect(reference(2), SIZE)
    before = run(estimator, [closed], 16)
    feed(estimator, pending["a"], "a", 16)
    assert torch.equal(estimator.estimate().saliency, before.saliency)
    estimator.close_round()
    assert not torch.equal(estimator.estimate().saliency, before.saliency)


def test_an_effect_of_the_keep_probability_alone_is_no_effect_of_a_pixel() -> None:
    """Plain RISE would show every pixel as important when the score is the share kept."""
    family = stored_family(400, 16)
    scores = np.stack([2 + 3 * family.keep, 5 * family.keep**2 - family.keep], axis=1)
    rounds = [{"a": Family(family.masks, scores, family.keep)}]
    effect = run(DebiasedEffect(reference(2), SIZE), rounds, 16)
    assert effect.saliency.abs().max() < steps(2, scores)


@settings(max_examples=25)
@given(
    scores=arrays.arrays(np.float64, (24, 1), elements=st.floats(-100, 100, width=32)),
    scale=st.floats(0.01, 100),
    shift=st.floats(-50, 50),
)
def test_the_effect_is_in_units_of_the_score(scores: Array, scale: float, shift: float) -> None:
    """S(a f + b) = a S(f), whatever the scores."""
    family = stored_family(24, 17, constant=True)
    plain = run(
        DebiasedEffect(reference(1), SIZE), [{"a": Family(family.masks, scores, family.keep)}], 8
    )
    moved = Family(family.masks, scale * scores + shift, family.keep)
    other = run(DebiasedEffect(reference(1, shift), SIZE), [{"a": moved}], 8)
    tolerance = steps(64, scale * scores, 1e-6 * scale)
    assert torch.allclose(other.saliency, scale * plain.saliency, rtol=1e-3, atol=tolerance)


# --- an analytic black box: the score is a known linear function of the kept pixels ------------


def spline(distance: Array) -> Array:
    """Covariance, over p (1 - p), of a grid at two places so many cells apart.

    Between nodes the mask is a triangle kernel on independent bits, at a uniform shift: the
    triangle correlated with itself, which is the cubic B-spline.
    """
    d = np.abs(distance)
    near = 2 / 3 - d**2 + d**3 / 2
    far = (2 - d) ** 3 / 6
    return np.where(d < 1, near, np.where(d < 2, far, 0))


def expected_effect(weights: Array, grid: tuple[int, int]) -> Array:
    """What the slopes converge to: sum_y w(y) cov(M(x), M(y)) / var(M(x))."""
    kernels = []
    for length, cells in zip(weights.shape, grid, strict=True):
        place = np.arange(length) * cells / length
        kernels.append(spline(place[:, None] - place[None]) / spline(np.zeros(1)))
    mapped: Array = kernels[0] @ weights @ kernels[1].T
    return mapped


def linear_weights(size: tuple[int, int]) -> Array:
    """Two places that count for the score and one against it."""
    rows, columns = np.indices(size)
    weights = np.zeros(size)
    for row, column, strength in ((3, 4, 1.0), (9, 14, 0.6), (4, 16, -0.8)):
        weights += strength * (np.hypot(rows - row, columns - column) < 2.5)
    return weights


LINEAR_SIZE, GRID = (12, 20), (3, 5)


def run_linear(
    num_masks: int,
    seed: int,
    keep: tuple[float, float] = (0.1, 0.9),
    num_rounds: int = 1,
) -> Effect:
    """Grid masks, and as the score the weighted sum of what they keep."""
    weights = torch.from_numpy(linear_weights(LINEAR_SIZE)).float()
    estimator = DebiasedEffect(reference(1, float(weights.sum())), LINEAR_SIZE)
    canvas = Canvas(LINEAR_SIZE, num_masks)
    for k in range(num_rounds):
        plan = draw_grids(num_masks, GRID, keep, np.random.default_rng((seed, k)))
        masks = canvas.render(plan)
        assert isinstance(masks, DenseMasks)
        scores = (masks.values.double() * weights).sum((1, 2))[:, None]
        estimator.add(masks, scores, plan, "grid")
        estimator.close_round()
    return estimator.estimate()


@pytest.mark.parametrize("keep", [(0.1, 0.9), (0.5, 0.5)])
def test_the_debiased_map_is_the_known_map(keep: tuple[float, float]) -> None:
    known = expected_effect(linear_weights(LINEAR_SIZE), GRID)
    found = run_linear(8000, 0, keep).saliency[0].double().numpy()
    assert np.abs(found - known).max() < 0.08 * np.abs(known).max()
    clear = np.abs(known) > 0.1 * np.abs(known).max()
    np.testing.assert_array_equal(np.sign(found[clear]), np.sign(known[clear]))
    ranks = [np.argsort(np.argsort(m.ravel())) for m in (found, known)]
    assert np.corrcoef(ranks[0], ranks[1])[0, 1] > 0.98
    # And the known map has the sign of the weights themselves, at each of the three places.
    for row, column, sign in ((3, 4, 1), (9, 14, 1), (4, 16, -1)):
        assert np.sign(found[row, column]) == sign
    assert np.unravel_index(found.argmin(), found.shape) == pytest.approx((4, 16), abs=1)


def root_mean_square_error(num_masks: int, seeds: range) -> float:
    known = expected_effect(linear_weights(LINEAR_SIZE), GRID)
    errors = [run_linear(num_masks, seed).saliency[0].numpy() - known for seed in seeds]
    return float(np.sqrt(np.mean(np.square(errors))))


def test_the_error_shrinks_like_one_over_root_n() -> None:
    few = root_mean_square_error(100, range(40))
    many = root_mean_square_error(1600, range(40, 60))
    assert 3 < few / many < 5.5


@pytest.mark.parametrize(
    ("keep", "num_rounds"), [((0.5, 0.5), 1), ((0.1, 0.9), 1), ((0.1, 0.9), 3)]
)
def test_the_standard_error_is_the_spread_over_seeds(
    keep: tuple[float, float], num_rounds: int
) -> None:
    effects = [run_linear(128, seed, keep, num_rounds) for seed in range(150)]
    spread = np.std([effect.saliency[0].numpy() for effect in effects], axis=0, ddof=1)
    told = np.mean([effect.standard_error[0].numpy() for effect in effects], axis=0)
    assert np.median(told / spread) == pytest.approx(1, abs=0.15)


def test_segments_share_the_effect_of_their_pixels() -> None:
    """Bits are independent: the slope of every pixel is its segment's summed weight."""
    size = (8, 12)
    labels = np.indices(size)[0] // 4 * 3 + np.indices(size)[1] // 4  # 2 x 3 squares
    weights = np.random.default_rng(3).normal(size=size)
    plan = draw_segments(4000, 6, np.array([0]), (0.3, 0.7), np.random.default_rng(4))
    segmentations = Segmentations(torch.from_numpy(labels[None]), 6, (6,))
    masks = Canvas(size, 4000, segmentations).render(plan)
    assert isinstance(masks, DenseMasks)
    scores = (masks.values.double() * torch.from_numpy(weights)).sum((1, 2))[:, None]
    estimator = DebiasedEffect(reference(1), size)
    estimator.add(masks, scores, plan, "segment")
    estimator.close_round()
    effect = estimator.estimate()
    sums = np.array([weights[labels == s].sum() for s in range(6)])
    deviation = np.abs(effect.saliency[0].numpy() - sums[labels])
    assert (deviation < 4 * effect.standard_error[0].numpy()).all()
    for s in range(6):
        assert len(np.unique(effect.saliency[0].numpy()[labels == s])) == 1


def test_windows_and_the_dense_masks_that_they_are_give_the_same_map() -> None:
    size = (9, 13)
    plan = plan_windows(sliding_windows(size, 4, 2), size, np.random.default_rng(5))
    hidden = Canvas(size, len(plan)).render(plan)
    dense = DenseMasks(hidden.at(torch.arange(size[0]), torch.arange(size[1])))
    scores = torch.from_numpy(np.random.default_rng(6).normal(size=(len(plan), 2)))
    for kind in (CoverageMean, DebiasedEffect):
        maps = []
        for masks in (hidden, dense):
            estimator = kind(reference(2), size)
            estimator.add(masks, scores, plan, "window")
            estimator.close_round()
            effect = estimator.estimate()
            maps.append(torch.cat([effect.saliency, effect.standard_error]).double().numpy())
        # A mask that keeps nearly all is nearly 1: its residual has lost some of its digits.
        np.testing.assert_allclose(maps[0], maps[1], atol=steps(1600, maps[1]))


# --- Eq. 6 and 8 ------------------------------------------------------------------------------


def averaging_attention() -> Attention:
    """Over 1 x 3 positions: all features alike, so every row of A is 1/3, 1/3, 1/3."""
    return Attention(torch.ones(3, 1), (1, 3), scale=2.0, bounded=True)


def three_pixels(deviations: Array, settled: list[bool]) -> Effect:
    """A map 0 3 6 and one of ones, with deviations (G, 2, 3)."""
    return Effect(
        saliency=torch.tensor([[[0.0, 3.0, 6.0]], [[1.0, 1.0, 1.0]]]),
        sampled=torch.tensor([settled]),
        deviations=torch.from_numpy(deviations)[:, :, None],
        settled=torch.tensor([settled]),
        signed=True,
    )


@pytest.mark.parametrize("beta", [0.0, 0.25, 1.0])
def test_adjust_by_hand(beta: float) -> None:
    """Two groups: the error is the root of 1 / 2 times the sum of two squared deviations."""
    first, second = np.array([[3.0, 0, 0], [1, 2, 3]]), np.array([[-3.0, 0, 3], [0, 0, 0]])
    effect = three_pixels(np.stack([first, second]), [True] * 3)
    adjusted = adjust(effect, averaging_attention(), beta)
    saliency = beta * np.array([0, 3, 6]) + (1 - beta) * 3
    np.testing.assert_allclose(adjusted.saliency[0, 0], saliency, atol=steps(4, effect.saliency))
    np.testing.assert_allclose(adjusted.saliency[1, 0], 1, atol=steps(8, 1.0))
    moved = [
        beta * first + (1 - beta) * np.array([[1.0], [2]]),
        beta * second + (1 - beta) * np.array([[0.0], [0]]),
    ]
    error = np.sqrt((moved[0] ** 2 + moved[1] ** 2) / 2)
    np.testing.assert_allclose(adjusted.standard_error[:, 0], error, atol=steps(4, error))


def test_adjust_keeps_what_is_not_known_infinite_and_spoils_nothing_else() -> None:
    deviations = np.stack([[[1.0, 0, -1], [1, 0, 1]], [[-1.0, 0, 1], [1, 0, 1]]])
    effect = three_pixels(deviations, [True, False, True])
    error = adjust(effect, averaging_attention(), 0.5).standard_error
    assert (error[:, 0, 1] == math.inf).all()
    np.testing.assert_allclose(error[0, 0, [0, 2]], 0.5, atol=steps(16, 0.5))
    np.testing.assert_allclose(error[1, 0, [0, 2]], 0.5 + 1 / 3, atol=steps(16, 0.5 + 1 / 3))


def test_region_by_hand() -> None:
    """Ranges -2..8 and 0..1: above 1 at threshold 0.3, above 0.3; then the union."""
    saliency = torch.tensor(
        [
            [[-2.0, 0.0, 1.0], [1.1, 8.0, 0.9]],
            [[0.0, 0.31, 0.3], [0.0, 0.0, 1.0]],
        ]
    )
    first = [[False, False, False], [True, True, False]]
    assert highest_activated_region(saliency[:1], 0.3).tolist() == first
    both = [[False, True, False], [True, True, True]]
    assert highest_activated_region(saliency, 0.3).tolist() == both


@given(
    maps=arrays.arrays(np.float32, (2, 3, 4), elements=st.integers(-8, 8).map(float)),
    threshold=st.sampled_from([0.0, 0.25, 0.5, 0.75]),
)
def test_region_equals_the_loop(maps: NDArray[np.float32], threshold: float) -> None:
    region = highest_activated_region(torch.from_numpy(maps), threshold).numpy()
    for row in range(3):
        for column in range(4):
            above = [
                one[row, column] > one.min() + threshold * (one.max() - one.min()) for one in maps
            ]
            assert region[row, column] == any(above)


def test_a_flat_map_has_no_region() -> None:
    assert not highest_activated_region(torch.full((2, 3, 4), 0.7), 0.0).any()
