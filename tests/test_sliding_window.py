"""Occlusion: the map against a loop over pixels and windows, and what its standard error means."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from iassa.explanation import Explanation
from iassa.masks import plan_windows, sliding_windows
from iassa.methods import SlidingWindow
from iassa.methods.sliding_window import Occlusion
from iassa.rendering import Canvas, DenseMasks

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

    def hidden(self) -> NDArray[np.bool_]:
        """(N, H, W), of the masks: the first image is the whole."""
        shown = np.concatenate(self.batches)
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
    return SlidingWindow().explain(photo(), two_scores, target=[0, 1], calls=2000, **options)


def test_the_map_is_the_mean_cost_of_the_windows_that_hide_a_pixel() -> None:
    recorder = Recorder()
    found = SlidingWindow().explain(photo(), recorder, target=[0, 1], calls=2000, batch_size=7)
    hidden = recorder.hidden()
    scores = two_scores(np.concatenate(recorder.batches))
    for t in range(2):
        expected = looped(hidden, scores[1:, t], scores[0, t])
        np.testing.assert_allclose(found.saliency[t], expected, atol=1e-6)
        assert found.scores[t] == pytest.approx(scores[0, t])
    assert found.method["measures"] == "effect"


def test_every_window_is_shown_once_and_the_run_ends() -> None:
    recorder = Recorder()
    found = SlidingWindow().explain(photo(), recorder, target=0, calls=2000)
    boxes = []
    for hidden in recorder.hidden():
        rows, columns = np.flatnonzero(hidden.any(1)), np.flatnonzero(hidden.any(0))
        boxes.append((rows[0], columns[0], rows[-1] + 1, columns[-1] + 1))
        assert hidden.sum() == len(rows) * len(columns)
    assert sorted(boxes) == sorted(map(tuple, sliding_windows(SIZE, 10, 20 * 45 / 224).tolist()))
    assert found.stopped == "rounds"
    assert found.complete
    assert [one.masks["window"] for one in found.rounds[:-1]] == [64] * (len(found.rounds) - 1)
    assert found.calls == 1 + len(boxes)


def test_the_defaults_at_the_size_of_most_networks() -> None:
    found = SlidingWindow().explain(np.ones((224, 224, 3)), lambda x: x[:, :1, 0, 0], calls=1000)
    assert found.calls == 1 + 13 * 13
    assert found.saliency[0, 0, 0] == pytest.approx(0.5)
    assert found.saliency[0, 60, 60] == 0


@pytest.mark.parametrize("batch_size", [1, 5, 64])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_seeds_and_batch_sizes_give_one_map(seed: int, batch_size: int) -> None:
    one, other = explain(), explain(seed=seed, batch_size=batch_size)
    np.testing.assert_allclose(other.saliency, one.saliency, atol=1e-6)
    if seed == 0:
        np.testing.assert_allclose(other.standard_error, one.standard_error, atol=1e-6)


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
    """All windows that hide it cost the same: its effect is exact, and surely so."""
    image = photo()

    def one_pixel(images: Array) -> NDArray[np.float64]:
        return images[:, 20, 30, :1].astype(np.float64)

    found = SlidingWindow().explain(image, one_pixel, calls=2000)
    assert found.saliency[0, 20, 30] == pytest.approx(image[20, 30, 0] - 0.5, abs=1e-6)
    assert found.saliency[0].max() == found.saliency[0, 20, 30]
    assert found.standard_error[0, 20, 30] < 0.5 * found.standard_error[0].max()


def test_a_budget_that_ends_early_has_seen_all_sides() -> None:
    recorder = Recorder()
    found = SlidingWindow().explain(photo(), recorder, target=[0, 1], calls=70)
    assert found.stopped == "calls"
    hidden = recorder.hidden()
    seen = hidden.any(axis=0)
    assert all(half.mean() > 0.6 for side in (0, 1) for half in np.array_split(seen, 2, axis=side))
    assert not seen.all()
    assert (found.saliency[:, ~seen] == 0).all()
    assert np.isinf(found.standard_error[:, ~seen]).all()
    assert np.isfinite(found.standard_error[:, seen]).mean() > 0.6
    for t, scores in enumerate(two_scores(np.concatenate(recorder.batches)).T):
        expected = looped(hidden, scores[1:], scores[0])
        np.testing.assert_allclose(found.saliency[t], expected, atol=1e-6)


def test_a_longer_run_begins_as_a_shorter_one() -> None:
    short, long = Recorder(), Recorder()
    SlidingWindow(round_calls=16).explain(photo(), short, calls=60, seed=3)
    SlidingWindow(round_calls=16).explain(photo(), long, calls=140, seed=3)
    np.testing.assert_array_equal(long.hidden()[:59], short.hidden())


def test_the_standard_error_is_that_of_a_mean_of_the_windows() -> None:
    """Windows whose costs are random numbers: s / sqrt(n) of those that hide the pixel, or more."""
    windows = plan_windows(sliding_windows(SIZE, 10, 4), SIZE, np.random.default_rng(0))
    rng = np.random.default_rng(1)
    ratios = []
    for _ in range(30):
        scores = torch.from_numpy(rng.normal(size=(len(windows), 1)))
        estimator = Occlusion(torch.zeros(1, dtype=torch.float64), SIZE)
        estimator.add(Canvas(SIZE, len(windows)).render(windows), scores, windows, "window")
        top, left, bottom, right = windows.windows.T
        told = estimator.estimate().standard_error[0].numpy()
        for row, column in ((8, 9), (22, 31), (40, 55)):
            over = (top <= row) & (row < bottom) & (left <= column) & (column < right)
            costs = -scores[over, 0].numpy()
            ratios.append(told[row, column] / (costs.std(ddof=1) / np.sqrt(len(costs))))
    assert 0.9 < np.median(ratios) < 1.25


@pytest.mark.parametrize("value", [0.0, -2.5, 1e6])
def test_flat_scores(value: float) -> None:
    windows = plan_windows(sliding_windows(SIZE, 10, 4), SIZE, np.random.default_rng(0))
    estimator = Occlusion(torch.full((2,), value, dtype=torch.float64), SIZE)
    scores = torch.full((len(windows), 2), value, dtype=torch.float64)
    estimator.add(Canvas(SIZE, len(windows)).render(windows), scores, windows, "window")
    effect = estimator.estimate()
    assert (effect.saliency == 0).all()
    assert (effect.standard_error == 0).all()


def test_what_masks_hide_is_what_they_do_not_keep() -> None:
    windows = plan_windows(sliding_windows(SIZE, 10, 4), SIZE, np.random.default_rng(0))
    boxes = Canvas(SIZE, len(windows)).render(windows)
    values = boxes.at(torch.arange(SIZE[0]), torch.arange(SIZE[1]))
    weights = torch.from_numpy(np.random.default_rng(1).normal(size=(3, len(windows)))).float()
    expected = np.einsum("rn,nhw->rhw", weights.double().numpy(), 1 - values.double().numpy())
    for masks in (boxes, DenseMasks(values)):
        np.testing.assert_allclose(masks.weigh_hidden(weights), expected, atol=1e-4)
        np.testing.assert_allclose(
            masks.weigh_hidden(weights) + masks.weigh(weights),
            weights.sum(1)[:, None, None].expand(3, *SIZE),
            atol=1e-4,
        )
