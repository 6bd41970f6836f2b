"""Occlusion: the map against a loop over pixels and windows, and what its standard error means."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import iassa
from iassa.estimators.occlusion import OcclusionMean
from iassa.explanations.explanation import Explanation
from iassa.masks.rendering import Canvas, DenseMasks
from iassa.masks.windows import plan_windows, sliding_windows
from iassa.methods import Occlusion
from iassa.methods.registry import open_method
from rounding import steps

Array = NDArray[np.float32]
SIZE = (45, 62)  # windows of 10 pixels, every 4.02
PATCH = (slice(12, 20), slice(35, 47))


def photo(seed: int = 0) -> Array:
    """Nowhere the grey that hidden pixels show."""
    return np.random.default_rng(seed).uniform(0.6, 1, (*SIZE, 3)).astype(np.float32)


def two_scores(images: Array) -> NDArray[np.float64]:
    """The patch, and the largest value of a column, which is not linear."""
    patch = images[:, PATCH[0], PATCH[1]].mean(axis=(1, 2, 3), dtype=np.float64)
    return np.stack([patch, images[:, :, 5].max(axis=(1, 2)).astype(np.float64)], axis=1)


class Recorder:
    """A black box that keeps what it is shown."""

    def __init__(self) -> None:
        self.batches: list[Array] = []

    def __call__(self, images: Array) -> NDArray[np.float64]:
        self.batches.append(images.copy())
        return two_scores(images)

    @property
    def images(self) -> Array:
        """Each once: the third batch is one image of the second, asked about again."""
        return np.concatenate([batch for k, batch in enumerate(self.batches) if k != 2])

    def hidden(self) -> NDArray[np.bool_]:
        """(N, H, W), of the masks: the first image is the whole."""
        shown = self.images
        np.testing.assert_array_equal(shown[0], photo())
        hidden: NDArray[np.bool_] = (shown[1:] != photo()).any(axis=3)
        return hidden


def looped(hidden: NDArray[np.bool_], scores: NDArray[np.float64], whole: float) -> Any:
    """The mean of what hiding a pixel cost, a pixel at a time; 0 where none did."""
    expected = np.zeros(SIZE)
    for row in range(SIZE[0]):
        for column in range(SIZE[1]):
            costs = [whole - f for h, f in zip(hidden, scores, strict=True) if h[row, column]]
            expected[row, column] = np.mean(costs) if costs else 0
    return expected


def explain(**options: Any) -> Explanation:
    return iassa.explain(
        photo(), two_scores, method=Occlusion(), target=[0, 1], calls=2000, **options
    )


def test_the_map_is_the_mean_cost_of_the_windows_that_hide_a_pixel() -> None:
    recorder = Recorder()
    found = iassa.explain(
        photo(), recorder, method=Occlusion(), target=[0, 1], calls=2000, batch_size=7
    )
    hidden = recorder.hidden()
    scores = two_scores(recorder.images)
    for t in range(2):
        expected = looped(hidden, scores[1:, t], scores[0, t])
        np.testing.assert_allclose(found.saliency[t], expected, atol=steps(16, scores))
        assert found.scores[t] == pytest.approx(scores[0, t])
    assert found.method["measures"] == "effect"


def test_every_window_is_shown_once_and_the_run_ends() -> None:
    recorder = Recorder()
    found = iassa.explain(photo(), recorder, method=Occlusion(), target=0, calls=2000)
    boxes = []
    for hidden in recorder.hidden():
        rows, columns = np.flatnonzero(hidden.any(1)), np.flatnonzero(hidden.any(0))
        boxes.append((rows[0], columns[0], rows[-1] + 1, columns[-1] + 1))
        assert hidden.sum() == len(rows) * len(columns)
    assert sorted(boxes) == sorted(map(tuple, sliding_windows(SIZE, 10, 20 * 45 / 224).tolist()))
    assert found.stopped == "rounds"
    assert found.complete
    assert [one.masks["window"] for one in found.rounds[:-1]] == [64] * (len(found.rounds) - 1)
    assert found.calls == 2 + len(boxes)


def test_the_defaults_at_the_size_of_most_networks() -> None:
    found = iassa.explain(
        np.ones((224, 224, 3)), lambda x: x[:, :1, 0, 0], method=Occlusion(), calls=1000
    )
    assert found.calls == 2 + 13 * 13
    assert found.saliency[0, 0, 0] == pytest.approx(0.5)
    assert found.saliency[0, 60, 60] == 0


@pytest.mark.parametrize("batch_size", [1, 5, 64])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_seeds_and_batch_sizes_give_one_map(seed: int, batch_size: int) -> None:
    one, other = explain(), explain(seed=seed, batch_size=batch_size)
    np.testing.assert_allclose(other.saliency, one.saliency, atol=steps(32, one.saliency))
    if seed == 0:
        np.testing.assert_allclose(
            other.standard_error, one.standard_error, atol=steps(32, one.saliency)
        )


def test_a_window_that_touches_nothing_has_no_effect_at_all() -> None:
    """Rounding of other windows must not reach it."""
    found = explain(batch_size=3)
    far = np.ones(SIZE, np.bool_)
    far[PATCH[0].start - 10 : PATCH[0].stop + 10, PATCH[1].start - 10 : PATCH[1].stop + 10] = False
    assert (found.saliency[0][far] == 0).all()
    row, column = np.unravel_index(found.saliency[0].argmax(), SIZE)
    assert 12 <= row < 20
    assert 35 <= column < 47


def test_a_linear_black_box_of_one_pixel() -> None:
    """All windows that hide it cost the same: that is its effect."""
    image = photo()

    def one_pixel(images: Array) -> NDArray[np.float64]:
        return images[:, 20, 30, :1].astype(np.float64)

    found = iassa.explain(image, one_pixel, method=Occlusion(), calls=2000)
    assert found.saliency[0, 20, 30] == pytest.approx(image[20, 30, 0] - 0.5, abs=steps(16, image))
    assert found.saliency[0].max() == found.saliency[0, 20, 30]


def test_nothing_is_left_to_sample_when_all_windows_are_scored() -> None:
    found = explain()
    assert (found.standard_error == 0).all()
    assert found.relative_error == 0
    assert found.stopped == "rounds"
    # Of a round more than there is, the run asks for what is left.
    one_less = iassa.explain(
        photo(), two_scores, method=Occlusion(), target=[0, 1], calls=found.calls - 1
    )
    assert (one_less.standard_error > 0).any()
    unknown = one_less.standard_error != 0
    np.testing.assert_allclose(
        one_less.saliency[~unknown], found.saliency[~unknown], atol=steps(32, found.saliency)
    )
    # The pixels of the window that is missing, but for those that no other hides.
    assert 0 < unknown[0].mean() < 0.1


def test_a_tolerance_ends_it_before_all_windows_are_scored() -> None:
    method = Occlusion(round_calls=16)
    found = iassa.explain(photo(), two_scores, method=method, target=0, calls=2000, tolerance=0.3)
    assert found.stopped == "tolerance"
    assert found.relative_error <= 0.3
    assert found.calls < 1 + len(sliding_windows(SIZE, 10, 20 * 45 / 224))
    found = iassa.explain(photo(), two_scores, method=method, target=0, calls=2000, tolerance=1e-9)
    assert (found.stopped, found.relative_error) == ("tolerance", 0)
    assert found.calls == 2 + len(sliding_windows(SIZE, 10, 20 * 45 / 224))


def test_a_budget_that_ends_early_has_seen_all_sides() -> None:
    recorder = Recorder()
    found = iassa.explain(photo(), recorder, method=Occlusion(), target=[0, 1], calls=70)
    assert found.stopped == "calls"
    hidden = recorder.hidden()
    seen = hidden.any(axis=0)
    assert all(half.mean() > 0.6 for side in (0, 1) for half in np.array_split(seen, 2, axis=side))
    assert not seen.all()
    assert (found.saliency[:, ~seen] == 0).all()
    assert np.isinf(found.standard_error[:, ~seen]).all()
    assert np.isfinite(found.standard_error[:, seen]).mean() > 0.6
    for t, scores in enumerate(two_scores(recorder.images).T):
        expected = looped(hidden, scores[1:], scores[0])
        np.testing.assert_allclose(found.saliency[t], expected, atol=steps(16, scores))


def test_a_longer_run_begins_as_a_shorter_one() -> None:
    short, long = Recorder(), Recorder()
    iassa.explain(photo(), short, method=Occlusion(round_calls=16), calls=60, seed=3)
    iassa.explain(photo(), long, method=Occlusion(round_calls=16), calls=140, seed=3)
    np.testing.assert_array_equal(long.hidden()[:58], short.hidden())


WINDOWS = sliding_windows(SIZE, 10, 4)


def partly(scores: NDArray[np.float64], count: int, order: Any, batch_size: int = 64) -> Any:
    """The effect of the first `count` windows of an order, by the scores of all."""
    plan = plan_windows(WINDOWS, SIZE, np.random.default_rng(order))
    places = {tuple(window): i for i, window in enumerate(WINDOWS.tolist())}
    chosen = [places[tuple(window)] for window in plan.windows[:count].tolist()]
    estimator = OcclusionMean(torch.zeros(scores.shape[1], dtype=torch.float64), SIZE, WINDOWS)
    canvas = Canvas(SIZE, batch_size)
    for start in range(0, count, batch_size):
        part = plan[start : min(start + batch_size, count)]
        those = torch.from_numpy(scores[chosen[start : start + batch_size]])
        estimator.add(canvas.render(part), those, part, "window")
    return estimator.estimate(), chosen


def covers() -> NDArray[np.bool_]:
    """(N, H, W), what each window hides."""
    hidden = np.zeros((len(WINDOWS), *SIZE), np.bool_)
    for one, (top, left, bottom, right) in zip(hidden, WINDOWS, strict=True):
        one[top:bottom, left:right] = True
    return hidden


@pytest.mark.parametrize("count", [20, 90, 160])
def test_the_standard_error_is_the_formula_pixel_by_pixel(count: int) -> None:
    """A loop over pixels and windows, from the docstring."""
    scores = np.random.default_rng(1).normal(size=(len(WINDOWS), 2))
    effect, chosen = partly(scores, count, 0)
    hidden = covers()
    scored = hidden[chosen]
    spread, squares, freedom = np.zeros(SIZE), np.zeros((2, *SIZE)), np.zeros(SIZE)
    for row in range(SIZE[0]):
        for column in range(SIZE[1]):
            edges = WINDOWS[hidden[:, row, column]]
            spread[row, column] = edges.var(axis=0, ddof=1).sum() if len(edges) > 1 else 0
            costs = -scores[chosen][scored[:, row, column]]
            if len(costs):
                squares[:, row, column] = len(costs) * costs.var(axis=0)
                freedom[row, column] = len(costs) - 1
    for row in range(0, SIZE[0], 3):
        for column in range(0, SIZE[1], 4):
            all_of_it, n = hidden[:, row, column].sum(), scored[:, row, column].sum()
            near = np.s_[max(0, row - 9) : row + 10, max(0, column - 9) : column + 10]
            expected = np.full(2, np.inf)
            divisor = (freedom * spread)[near].sum()
            if n == all_of_it:
                expected = np.zeros(2)
            elif n and divisor > 0:
                k = squares[:, *near].sum(axis=(1, 2)) / divisor
                expected = np.sqrt((1 - n / all_of_it) * k * spread[row, column] / n)
            found = effect.standard_error[:, row, column]
            np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("count", [70, 120, 180])
def test_the_standard_error_is_that_about_the_map_of_all_windows(count: int) -> None:
    """Costs that change with the window's place: mean SE^2 against the squared error, 100 seeds."""
    centres = (WINDOWS[:, :2] + WINDOWS[:, 2:]) / 2
    near = [np.exp(-((centres - place) ** 2).sum(1) / 150) for place in ((15, 20), (35, 50))]
    scores = np.stack([-near[0] - 0.4 * near[1], near[1] - np.tanh(2 * near[0])], axis=1)
    hidden = covers().astype(np.float64)
    truth = -np.einsum("nt,nhw->thw", scores, hidden) / hidden.sum(0)
    squares, variances, covered = [], [], []
    for seed in range(100):
        effect, _ = partly(scores, count, seed)
        error = effect.standard_error.double().numpy()
        difference = effect.saliency.double().numpy() - truth
        exact = error == 0
        np.testing.assert_allclose(difference[exact], 0, atol=steps(16, truth))
        left = np.isfinite(error) & ~exact
        squares.append(difference[left] ** 2)
        variances.append(error[left] ** 2)
        covered.append((np.abs(difference) <= 1.96 * error)[left])
    ratio = np.concatenate(variances).mean() / np.concatenate(squares).mean()
    assert 0.8 < ratio < 1.3
    assert 0.92 < np.concatenate(covered).mean() < 0.98


@pytest.mark.parametrize("count", [1, 20, 100])
def test_the_error_of_some_windows_does_not_hang_on_the_batch_size(count: int) -> None:
    scores = np.random.default_rng(2).normal(size=(len(WINDOWS), 2))
    one, other = (partly(scores, count, 3, size)[0] for size in (1, 64))
    assert not torch.isnan(one.standard_error).any()
    np.testing.assert_allclose(one.standard_error, other.standard_error, rtol=1e-6)
    if count == 1:
        assert torch.isinf(one.standard_error).all() == (covers().sum(0) > 1).all()


@pytest.mark.parametrize("scale", [1e30, 1e-30])
def test_scores_of_any_size_scale_the_error(scale: float) -> None:
    scores = np.random.default_rng(2).normal(size=(len(WINDOWS), 2))
    plain, scaled = (partly(scores * by, 100, 3)[0].standard_error for by in (1, scale))
    np.testing.assert_allclose(scaled.double() / scale, plain, rtol=1e-5)


def test_windows_larger_than_the_image() -> None:
    """Many are the same, and say the same: until all are scored that is not known."""
    method = Occlusion(window=400.0, stride=100.0, round_calls=16)
    found = iassa.explain(photo(), two_scores, method=method, target=0, calls=1000)
    assert found.stopped == "rounds"
    assert (found.standard_error == 0).all()


@pytest.mark.parametrize("value", [0.0, -2.5, 1e6])
def test_flat_scores(value: float) -> None:
    windows = plan_windows(WINDOWS, SIZE, np.random.default_rng(0))[:100]
    estimator = OcclusionMean(torch.full((2,), value, dtype=torch.float64), SIZE, WINDOWS)
    scores = torch.full((len(windows), 2), value, dtype=torch.float64)
    estimator.add(Canvas(SIZE, len(windows)).render(windows), scores, windows, "window")
    effect = estimator.estimate()
    assert (effect.saliency == 0).all()
    known = effect.sampled.expand(2, -1, -1)
    assert (effect.standard_error[known] == 0).all()
    assert known.float().mean() > 0.8


def test_what_masks_hide_is_what_they_do_not_keep() -> None:
    windows = plan_windows(sliding_windows(SIZE, 10, 4), SIZE, np.random.default_rng(0))
    boxes = Canvas(SIZE, len(windows)).render(windows)
    values = boxes.at(torch.arange(SIZE[0]), torch.arange(SIZE[1]))
    weights = torch.from_numpy(np.random.default_rng(1).normal(size=(3, len(windows)))).float()
    expected = np.einsum("rn,nhw->rhw", weights.double().numpy(), 1 - values.double().numpy())
    for masks in (boxes, DenseMasks(values)):
        np.testing.assert_allclose(masks.weigh_hidden(weights), expected, atol=steps(32, expected))
        exact = masks.weigh_hidden(weights.double())
        assert exact.dtype == torch.float64
        np.testing.assert_allclose(exact, expected, atol=steps(64, expected, dtype=np.float64))
        np.testing.assert_allclose(
            masks.weigh_hidden(weights) + masks.weigh(weights),
            weights.sum(1)[:, None, None].expand(3, *SIZE),
            atol=steps(50, weights.sum(1)),
        )


def test_the_method_has_the_fields_name_as_well() -> None:
    assert open_method("occlusion", window=48) == open_method("sliding-window", window=48)
    assert open_method("occlusion").name == "sliding-window"
