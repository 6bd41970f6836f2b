"""ShapBPT: Owen values by enumeration, their sum, and a budget that is kept."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

import iassa
from iassa.errors import BlackBoxError, CancelledError, InputError
from iassa.masks.partition_tree import grow_tree
from iassa.masks.superpixels import shrink
from iassa.methods import ShapBpt
from iassa.methods.shap_bpt import MAX_PIXELS, _lab
from rounding import steps

pytestmark = pytest.mark.filterwarnings("ignore::iassa.errors.WeakEvidenceWarning")


class Table:
    """A score of its own for each subset of the pixels that are not black; counts images."""

    def __init__(self, pixels, seed=0, targets=2):
        self.scores = np.random.default_rng(seed).normal(size=(2**pixels, targets))
        self.images = 0

    def __call__(self, images):
        self.images += len(images)
        shown = images.reshape(len(images), -1, 3).max(2) > 0
        return self.scores[shown @ (1 << np.arange(shown.shape[1]))]


def orders(tree, node):
    """All orders of the leaves in which those of each node come one after another."""
    parts = tree.parts_of(node)
    if not parts:
        yield [node]
        return
    one, other = (list(orders(tree, part)) for part in parts)
    for first, second in itertools.product(one, other):
        yield first + second
        yield second + first


def enumerated(tree, table):
    """Each pixel's marginal contribution, the mean over those orders."""
    found = []
    for order in orders(tree, tree.root):
        scores = table.scores[np.cumsum([0, *(1 << np.array(order))])]
        contributions = np.empty((len(order), scores.shape[1]))
        contributions[order] = np.diff(scores, axis=0)
        found.append(contributions)
    return np.mean(found, 0)


@pytest.mark.parametrize("size", [(2, 3), (1, 5), (4, 2)])
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("step_calls", [2, 10])
def test_with_enough_calls_the_values_are_owens(size, seed, step_calls):
    image = np.random.default_rng(seed).uniform(0.2, 1, (*size, 3)).astype(np.float32)
    table = Table(size[0] * size[1], seed)
    method = ShapBpt(step_calls=step_calls, baseline=0.0)
    found = iassa.explain(image, table, method=method, target=[0, 1], calls=2000)
    assert found.stopped == "rounds"
    tree = grow_tree(_lab(torch.from_numpy(image.transpose(2, 0, 1).copy())))
    expected = enumerated(tree, table).T.reshape(2, *size)
    np.testing.assert_allclose(found.saliency, expected, rtol=0, atol=steps(16, expected))
    assert np.isinf(found.standard_error).all()


PHOTO = np.random.default_rng(1).uniform(0.2, 0.4, (24, 36, 3)).astype(np.float32)
PHOTO[6:14, 20:30] += 0.5
WEIGHTS = np.random.default_rng(2).random((24, 36))


class Box:
    def __init__(self, fails_at=None):
        self.images = 0
        self.fails_at = fails_at

    def __call__(self, images):
        self.images += len(images)
        if self.fails_at is not None and self.images >= self.fails_at:
            raise RuntimeError("out of paper")
        bright = images.astype(np.float64).mean(3) * WEIGHTS
        one, other = bright[:, 6:14, 20:30].mean((1, 2)), bright[:, 12:, :20].mean((1, 2))
        return np.stack([np.tanh(3 * one), one * other], 1)


def explain(box, calls, step_calls=10, **options):
    method = ShapBpt(step_calls=step_calls, baseline="blur")
    return iassa.explain(PHOTO, box, method=method, calls=calls, **{"target": [0, 1]} | options)


@pytest.mark.parametrize("calls", [17, 18, 35, 60, 301])
def test_the_values_sum_to_what_the_image_adds_to_the_baseline(calls):
    box = Box()
    found = explain(box, calls)
    assert found.calls == box.images <= calls
    assert found.calls >= calls - 1
    planes = torch.from_numpy(PHOTO.transpose(2, 0, 1).copy())
    nothing = iassa.masks.baselines.open_baseline("blur", planes, 0).permute(1, 2, 0).numpy()
    whole, empty = Box()(np.stack([PHOTO, nothing]))
    np.testing.assert_allclose(
        found.saliency.astype(np.float64).sum((1, 2)), whole - empty, rtol=1e-5
    )


def test_a_large_image_has_leaves_of_several_pixels_and_the_same_sum():
    image = np.kron(PHOTO, np.ones((8, 8, 1), np.float32))
    shown = shrink(torch.from_numpy(image.transpose(2, 0, 1).copy()), MAX_PIXELS)[0]
    assert shown.shape[0] * shown.shape[1] <= MAX_PIXELS < image.shape[0] * image.shape[1]

    def box(images):
        return Box()(images.reshape(-1, 24, 8, 36, 8, 3).mean((2, 4)))

    found = iassa.explain(image, box, method=ShapBpt(baseline=0.0), calls=60)
    whole, empty = box(np.stack([image, np.zeros_like(image)]))[:, 0]
    assert found.saliency.sum(dtype=np.float64) == pytest.approx(whole - empty, rel=1e-5)


@pytest.mark.parametrize("batch_size", [1, 7, 64])
@pytest.mark.parametrize("seed", [0, 3])
def test_neither_batch_nor_seed_matters(batch_size, seed):
    one = explain(Box(), 60, batch_size=batch_size, seed=seed)
    np.testing.assert_array_equal(one.saliency, explain(Box(), 60).saliency)


def test_a_run_that_is_cut_short_is_one_with_fewer_calls():
    # The whole image, the baseline, ten a step, and one of the first again.
    for calls, answered in ((44, 43), (50, 43)):
        stops = iter([False] * (calls - 1))
        cut = explain(Box(), 200, batch_size=1, cancel=lambda stops=stops: next(stops, True))
        assert (cut.calls, cut.stopped) == (calls, "cancelled")
        np.testing.assert_array_equal(cut.saliency, explain(Box(), answered).saliency)
    with pytest.raises(iassa.RunFailedError) as caught:
        explain(Box(fails_at=50), 200, batch_size=1)
    np.testing.assert_array_equal(caught.value.explanation.saliency, explain(Box(), 43).saliency)


def test_what_ends_before_a_step_has_no_map():
    stops = iter([False] * 2)
    with pytest.raises(CancelledError, match="needs all of its calls"):
        explain(Box(), 200, batch_size=1, cancel=lambda: next(stops, True))
    with pytest.raises(BlackBoxError, match="out of paper"):
        explain(Box(fails_at=2), 200)


def test_it_has_no_error_and_refuses_a_tolerance():
    with pytest.raises(InputError, match="no tolerance for shap-bpt"):
        explain(Box(), 200, tolerance=0.1)
    with pytest.raises(InputError, match="shap-bpt keeps none"):
        iassa.extend(explain(Box(), 60), Box(), calls=10)
