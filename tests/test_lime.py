"""LIME against the package of its authors, scikit-learn, and the spread over seeds."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from lime.lime_base import LimeBase
from lime.lime_image import LimeImageExplainer
from lime.wrappers.scikit_image import SegmentationAlgorithm
from numpy.typing import NDArray
from sklearn.linear_model import Ridge
from sklearn.metrics import pairwise_distances

import iassa
from iassa.estimators.effect import Effect
from iassa.estimators.jackknife import Lattice
from iassa.estimators.local_regression import LocalRegression
from iassa.image import example_image, resize
from iassa.masks.grids import draw_segments
from iassa.masks.plans import SegmentPlan
from iassa.masks.rendering import Canvas
from iassa.masks.superpixels import Segmentations, segment_once
from iassa.methods import Lime
from rounding import steps

Array = NDArray[np.float64]
SIZE = (30, 43)
WIDTH = 0.25


def kernel(distances: Array, width: float = WIDTH) -> Array:
    """As the package has it."""
    weights: Array = np.sqrt(np.exp(-(distances**2) / width**2))
    return weights


def tiles(rows: int, columns: int) -> Segmentations:
    """Superpixels that are the cells of a grid."""
    row, column = np.indices(SIZE)
    labels = (row * rows // SIZE[0]) * columns + column * columns // SIZE[1]
    return Segmentations(torch.from_numpy(labels[None].astype(np.int32)), rows * columns, (0,))


def toss(num_masks: int, num_segments: int, seed: int) -> SegmentPlan:
    rng = np.random.default_rng(seed)
    return draw_segments(num_masks, num_segments, np.zeros(1, int), (0.5, 0.5), rng)


def estimate(
    segmentations: Segmentations,
    plan: SegmentPlan,
    scores: Array,
    whole: Array,
    batch_size: int = 64,
    width: float = WIDTH,
    ridge: float = 1.0,
) -> Effect:
    canvas = Canvas(SIZE, batch_size, segmentations)
    estimator = LocalRegression(torch.from_numpy(whole), segmentations, width, ridge)
    for start in range(0, len(plan), batch_size):
        part = slice(start, start + batch_size)
        given = torch.from_numpy(scores[part])
        estimator.add(canvas.render(plan[part]), given, plan[part], "segment")
        estimator.close_round()
    return estimator.estimate()


def of_segments(maps: NDArray[Any], labels: NDArray[np.integer]) -> Array:
    """(T, H, W), the same all over a superpixel, to (T, S)."""
    values = []
    for segment in range(labels.max() + 1):
        inside = maps[:, labels == segment]
        assert (inside == inside[:, :1]).all()
        values.append(inside[:, 0])
    return np.stack(values, axis=1).astype(np.float64)


def by_the_package(bits: Array, scores: Array, width: float, selection: str) -> Array:
    """Coefficients (T, S) of the authors' code, the first sample being the whole image."""
    distances = pairwise_distances(bits, bits[:1], metric="cosine").ravel()
    regression = LimeBase(partial(kernel, width=width), random_state=0)
    found = np.zeros((scores.shape[1], bits.shape[1]))
    for t in range(scores.shape[1]):
        weights = regression.explain_instance_with_data(
            bits, scores, distances, t, num_features=100_000, feature_selection=selection
        )[1]
        for segment, weight in weights:
            found[t, segment] = weight
    return found


def nonlinear(bits: Array, seed: int) -> Array:
    """Scores of two targets: effects, a product and noise, far from 0."""
    rng = np.random.default_rng(seed)
    effects = rng.normal(size=(bits.shape[1], 2))
    product = bits[:, :1] * bits[:, -1:]
    scores: Array = 40 + bits @ effects + 2 * product + rng.normal(size=(len(bits), 2))
    return scores


# --- the regression ---------------------------------------------------------------------------


@pytest.mark.parametrize("selection", ["auto", "none"])
@pytest.mark.parametrize("width", [0.25, 0.1, 3.0])
@pytest.mark.parametrize(("num_masks", "batch_size"), [(300, 64), (90, 7), (11, 1)])
def test_coefficients_are_those_of_the_lime_package(
    num_masks: int, batch_size: int, width: float, selection: str
) -> None:
    """'auto', its default, selects all features as 'none' does; fewer masks than bits too."""
    segmentations = tiles(4, 6)
    plan = toss(num_masks, 24, seed=num_masks)
    bits = np.concatenate([np.ones((1, 24)), plan.bits])
    scores = nonlinear(bits, seed=1)
    effect = estimate(segmentations, plan, scores[1:], scores[0], batch_size, width)
    found = of_segments(effect.saliency.numpy(), segmentations.labels[0].numpy())
    expected = by_the_package(bits, scores, width, selection)
    np.testing.assert_allclose(found, expected, atol=steps(8, expected))


@pytest.mark.parametrize("ridge", [1e-3, 1.0, 50.0])
def test_coefficients_are_those_of_scikit_learn(ridge: float) -> None:
    segmentations = tiles(5, 3)
    plan = toss(120, 15, seed=4)
    bits = np.concatenate([np.ones((1, 15)), plan.bits])
    scores = nonlinear(bits, seed=2)
    kept = plan.bits.sum(1) / 15
    weights = np.concatenate([[1.0], kernel(1 - np.sqrt(kept))])
    model = Ridge(alpha=ridge).fit(bits, scores, sample_weight=weights)
    effect = estimate(segmentations, plan, scores[1:], scores[0], ridge=ridge)
    found = of_segments(effect.saliency.numpy(), segmentations.labels[0].numpy())
    np.testing.assert_allclose(found, model.coef_, atol=steps(8, model.coef_))


def test_a_mask_that_hides_everything_has_a_distance() -> None:
    """The cosine to nothing is 0 by scikit-learn's convention, and so the distance 1."""
    plan = toss(40, 6, seed=0)
    bits = plan.bits.copy()
    bits[3], bits[9] = False, True
    plan = SegmentPlan(plan.keep_probability, bits, plan.segmentation, None)
    rows = np.concatenate([np.ones((1, 6)), bits])
    scores = nonlinear(rows, seed=3)
    effect = estimate(tiles(2, 3), plan, scores[1:], scores[0])
    found = of_segments(effect.saliency.numpy(), tiles(2, 3).labels[0].numpy())
    expected = by_the_package(rows, scores, WIDTH, "none")
    np.testing.assert_allclose(found, expected, atol=steps(8, expected))


def test_deviations_are_those_of_regressions_without_each_group() -> None:
    """Times the root of 1 - h, h the leverage of a mask, the mean over the masks."""
    segmentations = tiles(4, 6)
    plan = toss(200, 24, seed=7)
    bits = np.concatenate([np.ones((1, 24)), plan.bits])
    scores = nonlinear(bits, seed=5)
    effect = estimate(segmentations, plan, scores[1:], scores[0], batch_size=9)
    all_of_them = by_the_package(bits, scores, WIDTH, "none")
    lattice = Lattice.over(SIZE, torch.device("cpu"))
    labels = lattice.of(segmentations.labels[0]).numpy()
    assert effect.deviations.shape == (32, 2, *lattice.size)
    design = np.concatenate([np.ones((201, 1)), bits], axis=1)
    weights = kernel(1 - np.sqrt(bits.mean(1)))[:, None]
    inverse = np.linalg.inv(design.T @ (weights * design) + np.diag([0.0] + [1.0] * 24))
    leverage = np.einsum("nc,cd,nd->n", weights * design, inverse, design)[1:]
    for g in range(32):
        stays = np.ones(201, np.bool_)
        stays[1 + g :: 32] = False
        without = by_the_package(bits[stays], scores[stays], WIDTH, "none")
        expected = (without - all_of_them)[:, labels] * np.sqrt(1 - leverage.mean())
        np.testing.assert_allclose(
            effect.deviations[g], expected, atol=steps(256, all_of_them, dtype=np.float64)
        )
    assert effect.settled.all()
    assert effect.sampled.all()


def test_the_standard_error_covers_a_linear_black_box() -> None:
    """95 % intervals, 120 draws of masks and noise, of 24 effects each; and it is the spread."""
    segmentations = tiles(4, 6)
    labels = segmentations.labels[0].numpy()
    truth = np.random.default_rng(0).uniform(-0.3, 0.3, 24)
    covered, found, told = [], [], []
    middle = [np.argwhere(labels == s).mean(0).astype(int) for s in range(24)]
    for seed in range(120):
        plan = toss(400, 24, seed)
        noise = np.random.default_rng((seed, 1)).normal(0, 0.4, (400, 1))
        scores = plan.bits @ truth[:, None] + noise
        effect = estimate(segmentations, plan, scores, truth.sum()[None])
        error = effect.standard_error[0].numpy()
        error = np.array([error[row, column] for row, column in middle])
        mine = of_segments(effect.saliency.numpy(), labels)[0]
        covered.append(np.abs(mine - truth) < 2.04 * error)  # Student's t of 31
        found.append(mine)
        told.append(error)
    assert 0.92 < np.mean(covered) < 0.98
    spread = np.std(found, axis=0).mean()
    assert 0.9 * spread < np.mean(told) < 1.2 * spread


@pytest.mark.parametrize("value", [0.0, -2.5, 1e6])
def test_flat_scores(value: float) -> None:
    effect = estimate(tiles(3, 4), toss(60, 12, 0), np.full((60, 2), value), np.full(2, value))
    assert (effect.saliency == 0).all()
    assert (effect.standard_error == 0).all()


def test_a_superpixel_that_was_never_hidden_has_no_effect_and_no_error_bar() -> None:
    plan = toss(50, 12, seed=0)
    bits = plan.bits.copy()
    bits[:, 5] = True  # never hidden
    bits[:, 7] = np.arange(50) != 20  # hidden once
    plan = SegmentPlan(plan.keep_probability, bits, plan.segmentation, None)
    segmentations = tiles(3, 4)
    effect = estimate(segmentations, plan, nonlinear(bits.astype(float), 0), np.array([40.0, 40.0]))
    labels = segmentations.labels[0].numpy()
    assert (effect.saliency.numpy()[:, labels == 5] == 0).all()
    np.testing.assert_array_equal(effect.sampled, labels != 5)
    assert np.isinf(effect.standard_error.numpy()[:, labels == 5]).all()
    unsettled = Lattice.over(SIZE, torch.device("cpu")).of(segmentations.labels[0]).numpy()
    np.testing.assert_array_equal(effect.settled, (unsettled != 5) & (unsettled != 7))


def test_before_the_first_mask_there_is_no_map() -> None:
    whole = torch.zeros(2, dtype=torch.float64)
    effect = LocalRegression(whole, tiles(2, 2), WIDTH, ridge=1.0).estimate()
    assert (effect.saliency == 0).all()
    assert not effect.sampled.any()
    assert effect.standard_error.isinf().all()


# --- the whole method -------------------------------------------------------------------------


def cat(height: int, width: int) -> NDArray[np.float32]:
    planes = torch.from_numpy(example_image("cat").copy()).permute(2, 0, 1)
    return resize(planes, (height, width)).permute(1, 2, 0).contiguous().numpy().clip(0, 1)


def left_and_right(images: NDArray[np.float32]) -> Array:
    width = images.shape[2] // 2
    left = images[:, :, :width].mean(axis=(1, 2, 3), dtype=np.float64)
    right = images[:, :, width:].mean(axis=(1, 2, 3), dtype=np.float64)
    return np.stack([left, left * right], axis=1)


Segmenter = Callable[..., NDArray[np.integer]]
PACKAGE: dict[str, Segmenter] = {
    "quickshift": SegmentationAlgorithm(
        "quickshift", kernel_size=4, max_dist=200, ratio=0.2, random_seed=0
    ),
    "slic": SegmentationAlgorithm("slic", n_segments=100, compactness=10, sigma=1, start_label=0),
}


@pytest.mark.parametrize("size", [(100, 161), (224, 224)])
@pytest.mark.parametrize("algorithm", PACKAGE)
def test_superpixels_are_those_of_the_lime_package(algorithm: str, size: tuple[int, int]) -> None:
    image = cat(*size)
    found = segment_once(torch.from_numpy(image).permute(2, 0, 1), algorithm, 100)
    expected = PACKAGE[algorithm](image)
    np.testing.assert_array_equal(found.labels[0], expected)
    assert found.num_segments == len(np.unique(expected)) > 5


@pytest.mark.parametrize("algorithm", PACKAGE)
def test_a_large_image_has_no_more_superpixels(algorithm: str) -> None:
    image = torch.from_numpy(cat(500, 700)).permute(2, 0, 1)
    found = segment_once(image, algorithm, 100)
    assert found.labels.shape == (1, 500, 700)
    assert 10 < found.num_segments < 110
    assert found.labels.unique().tolist() == list(range(found.num_segments))


@pytest.mark.parametrize("algorithm", PACKAGE)
def test_the_map_is_what_the_package_makes_of_the_same_images(algorithm: str) -> None:
    """The package draws the bits, shows its images and explains; we are given its scores."""
    image = cat(80, 113)
    labels = PACKAGE[algorithm](image)
    shown: list[NDArray[np.float32]] = []

    def black_box(images: NDArray[np.float32]) -> Array:
        shown.extend(images.copy())
        return left_and_right(images)

    found = LimeImageExplainer(random_state=1).explain_instance(
        image,
        black_box,
        top_labels=2,
        hide_color=0.5,
        num_samples=150,
        segmentation_fn=PACKAGE[algorithm],
    )
    hidden = (np.stack(shown) != image).any(axis=3)
    assert not hidden[0].any()
    S = labels.max() + 1
    kept = np.stack([~hidden[:, labels == s].any(axis=1) for s in range(S)], axis=1)
    segmentations = segment_once(torch.from_numpy(image).permute(2, 0, 1), algorithm, 100)
    half = np.full(149, 0.5, np.float32)
    plan = SegmentPlan(half, kept[1:], np.zeros(149, np.uint8), None)
    scores = left_and_right(np.stack(shown))
    estimator = LocalRegression(torch.from_numpy(scores[0]), segmentations, WIDTH, 1.0)
    masks = Canvas((80, 113), 149, segmentations).render(plan)
    estimator.add(masks, torch.from_numpy(scores[1:]), plan, "segment")
    maps = of_segments(estimator.estimate().saliency.numpy(), labels)
    for t in range(2):
        expected = np.zeros(S)
        for segment, weight in found.local_exp[t]:
            expected[segment] = weight
        np.testing.assert_allclose(maps[t], expected, atol=steps(64, expected))


@pytest.mark.parametrize("method", [Lime(), Lime(segmentation="slic", num_segments=30)])
@pytest.mark.parametrize("calls", [300, 90])
def test_a_run_is_the_regression_on_what_the_black_box_saw(method: Lime, calls: int) -> None:
    image = cat(80, 113)
    shown: list[NDArray[np.float32]] = []

    def black_box(images: NDArray[np.float32]) -> Array:
        shown.extend(images.copy())
        if len(shown) == 1 + 11 + 1:  # one of the first batch, asked about again
            shown.pop()
        return left_and_right(images)

    found = iassa.explain(
        image, black_box, method=method, target=[0, 1], calls=calls, batch_size=11, seed=2
    )
    labels = method.segmentations(torch.from_numpy(image).permute(2, 0, 1)).labels[0].numpy()
    images = np.stack(shown)
    hidden = (images != image).any(axis=3)
    np.testing.assert_allclose(images[hidden], 0.5)  # the baseline
    S = labels.max() + 1
    bits = np.stack([~hidden[:, labels == s].any(axis=1) for s in range(S)], axis=1).astype(float)
    assert bits.shape == (calls - 1, S)
    assert bits[0].all()
    assert 0.45 < bits[1:].mean() < 0.55
    expected = by_the_package(bits, left_and_right(images), WIDTH, "auto")
    np.testing.assert_allclose(
        of_segments(found.saliency, labels), expected, atol=steps(64, expected)
    )
    assert found.calls == calls
    assert found.stopped == "calls"
    assert found.method["measures"] == "effect"


def test_a_linear_black_box_has_its_own_effects() -> None:
    """The score is a mean over the left half: an effect is what hiding a superpixel takes off."""
    image = cat(80, 113)
    found = iassa.explain(
        image, lambda x: left_and_right(x)[:, :1], method=Lime(ridge=1e-6), calls=400
    )
    labels = Lime().segmentations(torch.from_numpy(image).permute(2, 0, 1)).labels[0].numpy()
    for segment, value in enumerate(of_segments(found.saliency, labels)[0]):
        filled = np.where((labels == segment)[:, :, None], np.float32(0.5), image)
        expected = left_and_right(image[None])[0, 0] - left_and_right(filled[None])[0, 0]
        assert value == pytest.approx(expected, abs=steps(16, left_and_right(image[None])))
    assert found.standard_error.max() < steps(16, left_and_right(image[None]))


def test_only_a_known_segmentation_is_accepted() -> None:
    with pytest.raises(ValueError, match="expected segmentation of lime to be 'quickshift' or"):
        Lime(segmentation="watershed")
