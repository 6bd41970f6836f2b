"""Insertion and deletion against plain loops and curves known in closed form."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from iassa.errors import BlackBoxError, InputError
from iassa.metrics import Curve, Normalisation, causal_curve, deletion, insertion
from iassa.metrics.causal import gaussian_blur
from rounding import steps

Array = NDArray[np.float32]
Scorer = Callable[[Array], NDArray[np.float64]]


def brightness(images: Array) -> NDArray[np.float64]:
    """One output: the mean of each image."""
    return np.asarray(images.mean(axis=(1, 2, 3), dtype=np.float64)[:, None])


def linear_black_box(height: int, width: int, num_outputs: int, seed: int) -> Scorer:
    """Outputs that are inner products with fixed random patterns."""
    patterns = np.random.default_rng(seed).normal(size=(num_outputs, height, width, 3))

    def black_box(images: Array) -> NDArray[np.float64]:
        return np.asarray(np.einsum("nhwc,khwc->nk", images.astype(np.float64), patterns))

    return black_box


def random_image(height: int, width: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).random((height, width, 3)).astype(np.float32)


def looped_curve(
    saliency: Array,
    black_box: Scorer,
    weights: list[float],
    start: Array,
    end: Array,
    pixels_per_step: int,
) -> list[float]:
    """The protocol, one image and one pixel at a time."""
    height, width = saliency.shape
    ranking = sorted(
        ((row, column) for row in range(height) for column in range(width)),
        key=lambda point: (-saliency[point], point),
    )

    def score(image: Array) -> float:
        outputs = black_box(image[None])[0]
        return sum(float(w) * float(o) for w, o in zip(weights, outputs, strict=True))

    current = start.copy()
    scores = [score(current)]
    while ranking:
        for point in ranking[:pixels_per_step]:
            current[point] = end[point]
        ranking = ranking[pixels_per_step:]
        scores.append(score(current))
    return scores


@pytest.mark.parametrize("batch_size", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("pixels_per_step", [1, 4, 5, 35, 36])
def test_curve_equals_the_loop(batch_size: int, pixels_per_step: int) -> None:
    height, width = 5, 7
    rng = np.random.default_rng(3)
    saliency = rng.integers(-2, 3, size=(height, width)).astype(np.float32)  # with ties
    start, end = random_image(height, width, 1), random_image(height, width, 2)
    black_box = linear_black_box(height, width, num_outputs=3, seed=4)
    weights = [1.0, -1.0, 0.5]
    curve = causal_curve(
        saliency,
        black_box,
        weights,
        start=start,
        end=end,
        pixels_per_step=pixels_per_step,
        batch_size=batch_size,
    )
    scores = curve.scores
    changed = np.arange(0, height * width + pixels_per_step, pixels_per_step) / (height * width)
    np.testing.assert_allclose(curve.fractions, changed.clip(max=1), rtol=1e-12)
    assert scores.shape == (math.ceil(height * width / pixels_per_step) + 1,)
    expected = looped_curve(saliency, black_box, weights, start, end, pixels_per_step)
    np.testing.assert_allclose(
        scores, expected, rtol=1e-9, atol=steps(64, expected, dtype=np.float64)
    )


@settings(max_examples=30, deadline=None)
@given(
    height=st.integers(1, 6),
    width=st.integers(1, 6),
    pixels_per_step=st.integers(1, 40),
    batch_size=st.integers(1, 9),
    levels=st.integers(1, 5),
    seed=st.integers(0, 2**16),
)
def test_any_size_equals_the_loop(
    height: int, width: int, pixels_per_step: int, batch_size: int, levels: int, seed: int
) -> None:
    saliency = np.random.default_rng(seed).integers(0, levels, (height, width)).astype(np.float32)
    image = random_image(height, width, seed + 1)
    black_box = linear_black_box(height, width, num_outputs=2, seed=seed)
    curve = deletion(
        saliency,
        image,
        black_box,
        [0.25, 1.0],
        pixels_per_step=pixels_per_step,
        batch_size=batch_size,
    )
    expected = looped_curve(
        saliency, black_box, [0.25, 1.0], image, np.full_like(image, 0.5), pixels_per_step
    )
    np.testing.assert_allclose(
        curve.scores, expected, rtol=1e-9, atol=steps(64, expected, dtype=np.float64)
    )


@pytest.mark.parametrize("pixels_per_step", [1, 6, 11, 63])
def test_deletion_of_a_constant_image_is_a_straight_line(pixels_per_step: int) -> None:
    image = np.full((7, 9, 3), 0.75, dtype=np.float32)
    saliency = random_image(7, 9)[..., 0]
    curve = deletion(
        saliency, image, brightness, [1.0], pixels_per_step=pixels_per_step, baseline=0.0
    )
    np.testing.assert_allclose(
        curve.scores, 0.75 * (1 - curve.fractions), atol=steps(16, 0.75, dtype=np.float64)
    )
    assert curve.fractions[0] == 0
    assert curve.fractions[-1] == 1
    # A shorter last step must not bend the area: the fraction is the axis, not the step's number.
    assert curve.area == pytest.approx(0.375, abs=steps(16, 0.375, dtype=np.float64))


def test_insertion_of_a_constant_image_is_flat() -> None:
    image = np.full((8, 6, 3), 0.5, dtype=np.float32)
    curve = insertion(random_image(8, 6)[..., 0], image, brightness, [2.0], pixels_per_step=5)
    np.testing.assert_allclose(curve.scores, 1.0, atol=steps(16, 1.0, dtype=np.float64))
    assert curve.area == pytest.approx(1.0, abs=steps(16, 1.0, dtype=np.float64))


def test_a_black_box_of_one_pixel_steps_where_its_pixel_goes() -> None:
    image = np.ones((5, 7, 3), dtype=np.float32)
    saliency = np.zeros((5, 7), dtype=np.float32)
    saliency[3, 2] = 1.0  # goes first
    saliency[0, 6] = 0.5  # goes second
    first = deletion(
        saliency, image, lambda x: x[:, 3, 2, :1], [1.0], pixels_per_step=1, baseline=0.0
    )
    second = deletion(
        saliency, image, lambda x: x[:, 0, 6, :1], [1.0], pixels_per_step=1, baseline=0.0
    )
    assert first.scores.tolist() == [1.0] + [0.0] * 35
    assert second.scores.tolist() == [1.0, 1.0] + [0.0] * 34
    assert first.area == pytest.approx(0.5 / 35)
    assert second.area == pytest.approx(1.5 / 35)


@pytest.mark.parametrize("pixels_per_step", [1, 3, 4, 12])
def test_a_black_box_of_a_patch_falls_in_a_line_and_stays_down(pixels_per_step: int) -> None:
    """Mean brightness of 12 of 60 pixels, which the map names: the curve is known everywhere."""
    image = np.ones((6, 10, 3), dtype=np.float32)
    saliency = random_image(6, 10)[..., 0]
    saliency[1:4, 5:9] += 1
    curve = deletion(
        saliency,
        image,
        lambda images: images[:, 1:4, 5:9].mean(axis=(1, 2, 3), dtype=np.float64)[:, None],
        [1.0],
        pixels_per_step=pixels_per_step,
        baseline=0.0,
    )
    np.testing.assert_allclose(
        curve.scores,
        np.maximum(0, 1 - curve.fractions * 60 / 12),
        atol=steps(4, 1.0, dtype=np.float64),
    )
    assert curve.area == pytest.approx(12 / 60 / 2)  # a triangle


@pytest.mark.parametrize("place", [0, 5, 76])
def test_insertion_of_a_bright_pixel_is_known_from_the_kernel(place: int) -> None:
    """One bright pixel, which is what the black box sees, comes back at the step of its rank."""
    image = np.zeros((7, 11, 3), dtype=np.float32)
    image[3, 5] = 1
    ranks = np.delete(np.arange(77), place)
    saliency = -np.insert(np.random.default_rng(0).permutation(ranks), 3 * 11 + 5, place)
    curve = insertion(
        saliency.reshape(7, 11).astype(np.float32),
        image,
        lambda images: images[:, 3, 5, :1],
        [1.0],
        blur_size=5,
        blur_sigma=2.0,
        pixels_per_step=1,
    )
    centre = 1 / sum(math.exp(-(tap**2) / 8) for tap in range(-2, 3))
    expected = np.where(np.arange(78) > place, 1.0, centre**2)
    np.testing.assert_allclose(curve.scores, expected, rtol=1e-6)


def test_equal_pixels_go_in_row_order() -> None:
    image = np.ones((2, 3, 3), dtype=np.float32)
    seen: list[list[int]] = []

    def black_box(images: Array) -> NDArray[np.float64]:
        seen.extend(np.flatnonzero(picture[..., 0] == 0).tolist() for picture in images)
        return np.zeros((len(images), 1))

    deletion(np.zeros((2, 3), np.float32), image, black_box, [1.0], pixels_per_step=2, baseline=0.0)
    assert seen == [[], [0, 1], [0, 1, 2, 3], [0, 1, 2, 3, 4, 5]]


def test_linear_score_ranks_the_true_map_best() -> None:
    """With score = sum of (effect x pixel), deleting by effect beats any other order."""
    effect = random_image(6, 8, 5)[..., 0]
    image = np.ones((6, 8, 3), dtype=np.float32)

    def black_box(images: Array) -> NDArray[np.float64]:
        scores = np.einsum("nhw,hw->n", images[..., 0].astype(np.float64), effect)
        return np.asarray(scores[:, None])

    best = deletion(effect, image, black_box, [1.0], pixels_per_step=4).area
    worst = deletion(-effect, image, black_box, [1.0], pixels_per_step=4).area
    for seed in range(10):
        other = random_image(6, 8, 100 + seed)[..., 0]
        area = deletion(other, image, black_box, [1.0], pixels_per_step=4).area
        assert best <= area <= worst


def test_reversed_map_reverses_the_curve() -> None:
    """Insertion by the negated map retraces the deletion curve, for any black box."""
    saliency = np.random.default_rng(0).permutation(35).reshape(5, 7).astype(np.float32)
    image, other = random_image(5, 7, 1), random_image(5, 7, 2)

    def black_box(images: Array) -> NDArray[np.float64]:
        return np.asarray(np.tanh(linear_black_box(5, 7, 2, 3)(images)))

    there = causal_curve(
        saliency, black_box, [1.0, 2.0], start=image, end=other, pixels_per_step=7
    ).scores
    back = causal_curve(
        -saliency, black_box, [1.0, 2.0], start=other, end=image, pixels_per_step=7
    ).scores
    np.testing.assert_allclose(there, back[::-1], atol=steps(64, there, dtype=np.float64))


@pytest.mark.parametrize("batch_size", [1, 4, 5, 16])
def test_batches_are_planar_views_of_the_right_sizes(batch_size: int) -> None:
    sizes = []

    def black_box(images: Array) -> NDArray[np.float64]:
        sizes.append(len(images))
        assert images.dtype == np.float32
        assert images.shape[1:] == (4, 9, 3)
        assert images.transpose(0, 3, 1, 2).flags.c_contiguous
        return brightness(images)

    saliency = random_image(4, 9)[..., 0]
    image = random_image(4, 9, 1)
    deletion(saliency, image, black_box, [1.0], pixels_per_step=4, batch_size=batch_size)
    assert sum(sizes) == 10
    assert max(sizes) <= batch_size
    assert all(size == batch_size for size in sizes[:-1])


def test_one_buffer_serves_all_batches() -> None:
    addresses = set()

    def black_box(images: Array) -> NDArray[np.float64]:
        addresses.add(images.__array_interface__["data"][0])
        return brightness(images)

    image = random_image(6, 8)
    deletion(image[..., 0], image, black_box, [1.0], pixels_per_step=3, batch_size=4)
    assert len(addresses) == 1


def test_a_black_box_that_writes_to_its_images_does_no_harm() -> None:
    def rude(images: Array) -> NDArray[np.float64]:
        scores = brightness(images)
        images[:] = 9.0
        return scores

    image = random_image(5, 7)
    kept = image.copy()
    saliency = random_image(5, 7, 1)[..., 0]
    polite = deletion(saliency, image, brightness, [1.0], pixels_per_step=2, batch_size=3)
    harmed = deletion(saliency, image, rude, [1.0], pixels_per_step=2, batch_size=3)
    np.testing.assert_array_equal(harmed.scores, polite.scores)
    np.testing.assert_array_equal(image, kept)


@pytest.mark.parametrize(
    ("baseline", "left"),
    [
        (0.25, 0.25),
        ([0.0, 0.3, 0.6], 0.3),
        (np.full((5, 7, 3), 0.5, dtype=np.float32), 0.5),
    ],
)
def test_deletion_ends_at_the_baseline(baseline: object, left: float) -> None:
    image = random_image(5, 7)
    curve = deletion(image[..., 0], image, brightness, [1.0], baseline=baseline)  # type: ignore[arg-type]
    assert curve.scores.shape == (2,)
    assert curve.scores[0] == pytest.approx(float(image.mean(dtype=np.float64)))
    assert curve.scores[1] == pytest.approx(left)


def test_insertion_goes_from_the_blur_to_the_image() -> None:
    image = random_image(12, 15)
    black_box = linear_black_box(12, 15, 2, 0)
    curve = insertion(
        image[..., 0],
        image,
        black_box,
        [1.0, 0.0],
        blur_size=5,
        blur_sigma=1.5,
        pixels_per_step=50,
    )
    blurred = gaussian_blur(image, size=5, sigma=1.5)
    assert curve.scores[0] == pytest.approx(black_box(blurred[None])[0, 0], rel=1e-6)
    assert curve.scores[-1] == pytest.approx(black_box(image[None])[0, 0], rel=1e-6)


@pytest.mark.parametrize(("size", "sigma"), [(11, 5.0), (3, 0.8), (1, 2.0)])
def test_blur_equals_the_loop(size: int, sigma: float) -> None:
    height, width = 6, 9
    image = random_image(height, width)
    reach = size // 2

    def mirror(index: int, length: int) -> int:
        while not 0 <= index < length:
            index = -1 - index if index < 0 else 2 * length - 1 - index
        return index

    expected = np.zeros((height, width, 3))
    for row in range(height):
        for column in range(width):
            total = 0.0
            for down in range(-reach, reach + 1):
                for right in range(-reach, reach + 1):
                    weight = math.exp(-(down**2 + right**2) / (2 * sigma**2))
                    total += weight
                    source = mirror(row + down, height), mirror(column + right, width)
                    expected[row, column] += weight * image[source]
            expected[row, column] /= total
    np.testing.assert_allclose(
        gaussian_blur(image, size=size, sigma=sigma), expected, atol=steps(16, expected)
    )


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_blur_stays_in_range(value: float) -> None:
    image = np.full((5, 30, 3), value, dtype=np.float32)
    np.testing.assert_allclose(gaussian_blur(image), image, atol=steps(8, 1.0))
    assert gaussian_blur(image).max() <= 1


def test_normalised_deletion_is_worked_by_hand() -> None:
    """From 0.75 to 0.25 in a straight line, whatever the map."""
    image = np.full((6, 9, 3), 0.75, dtype=np.float32)

    def curve(normalise: Normalisation) -> Curve:
        return deletion(
            random_image(6, 9)[..., 0],
            image,
            brightness,
            [2.0],
            baseline=0.25,
            pixels_per_step=9,
            normalise=normalise,
        )

    np.testing.assert_allclose(
        curve("none").scores, np.linspace(1.5, 0.5, 7), atol=steps(16, 1.5, dtype=np.float64)
    )
    np.testing.assert_allclose(
        curve("score").scores, np.linspace(1, 1 / 3, 7), atol=steps(16, 1.5, dtype=np.float64)
    )
    np.testing.assert_allclose(
        curve("range").scores, np.linspace(1, 0, 7), atol=steps(16, 1.5, dtype=np.float64)
    )
    assert curve("score").area == pytest.approx(2 / 3)
    assert curve("range").area == pytest.approx(1 / 2)


@pytest.mark.parametrize("seed", range(5))
def test_normalised_curves_are_the_curve_by_its_own_ends(seed: int) -> None:
    image, saliency = random_image(7, 12, seed), random_image(7, 12, seed + 100)[..., 0]
    effect = linear_black_box(7, 12, 1, seed)

    def black_box(images: Array) -> NDArray[np.float64]:
        return np.asarray(np.exp(effect(images) / 20))

    # Which end is the image, and whether it scores more than the other, is turned by the weight.
    for measure, image_end in ((deletion, 0), (insertion, -1)):
        scores = measure(saliency, image, black_box, [1.0], pixels_per_step=5).scores
        sign = 1.0 if scores[image_end] > scores[-1 - image_end] else -1.0
        ranged = measure(
            saliency, image, black_box, [sign], pixels_per_step=5, normalise="range"
        ).scores
        by_hand = [
            (score - scores[-1 - image_end]) / (scores[image_end] - scores[-1 - image_end])
            for score in scores
        ]
        np.testing.assert_allclose(ranged, by_hand, rtol=1e-9)
        assert ranged[image_end] == 1
        assert ranged[-1 - image_end] == 0
        shared = measure(
            saliency, image, black_box, [3.0], pixels_per_step=5, normalise="score"
        ).scores
        np.testing.assert_allclose(shared, scores / scores[image_end], rtol=1e-9)


@pytest.mark.parametrize(
    ("value", "baseline", "normalise", "message"),
    [
        (0.0, 0.0, "score", r"scores above 0 \(0\) to normalise by 'score', got 0\."),
        (0.25, 0.75, "range", r"scores above what hides it \(0\.75\).*'range', got 0\.25"),
        (0.5, 0.5, "range", r"scores above what hides it \(0\.5\)"),
        (0.5, 0.0, "image", "normalise among 'none', 'score', 'range', got 'image'"),
    ],
)
def test_scores_that_cannot_be_normalised_by_are_named(
    value: float, baseline: float, normalise: Normalisation, message: str
) -> None:
    image = np.full((5, 7, 3), value, dtype=np.float32)
    with pytest.raises(InputError, match=message):
        deletion(
            random_image(5, 7)[..., 0],
            image,
            brightness,
            [1.0],
            baseline=baseline,
            normalise=normalise,
        )


def test_an_unknown_normalisation_is_refused_before_the_black_box_is_asked() -> None:
    def never(images: Array) -> NDArray[np.float64]:
        raise AssertionError

    image = random_image(5, 7)
    for measure in (deletion, insertion):
        with pytest.raises(InputError, match="normalise among"):
            measure(image[..., 0], image, never, [1.0], normalise="max")


def test_area_is_the_trapezoid_rule() -> None:
    curve = Curve(np.array([1.0, 0.5, 0.5, 0.0]), np.array([0.0, 0.4, 0.8, 1.0]))
    points = list(zip(curve.fractions, curve.scores, strict=True))
    by_hand = sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairwise(points))
    assert curve.area == pytest.approx(by_hand)
    assert curve.area == pytest.approx(0.3 + 0.2 + 0.05)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"saliency": np.zeros((7, 5), np.float32)}, r"saliency of shape \(5, 7\).*got \(7, 5\)"),
        (
            {"saliency": np.zeros((1, 5, 7), np.float32)},
            r"one map \(H, W\), got shape \(1, 5, 7\)",
        ),
        ({"saliency": np.zeros((5, 7), np.int64)}, "floating point values, got int64"),
        ({"saliency": np.full((5, 7), np.nan, np.float32)}, "finite values in the map"),
        ({"image": np.zeros((3, 5, 7), np.float32)}, r"expected an image \(H, W, 3\)"),
        ({"image": np.full((5, 7, 3), 200.0, np.float32)}, r"image values in \[0, 1\]"),
        ({"weights": [[1.0]]}, r"finite weights \(K,\).*got shape \(1, 1\)"),
        ({"weights": [math.nan]}, r"finite weights \(K,\)"),
        ({"baseline": [0.0, 1.0]}, r"baseline that is a number.*got shape \(2,\)"),
        ({"baseline": 1.5}, r"image values in \[0, 1\]"),
        ({"pixels_per_step": 0}, "pixels_per_step of at least 1, got 0"),
        ({"batch_size": 0}, "batch_size of at least 1, got 0"),
    ],
)
def test_bad_input_is_named(changes: dict[str, object], message: str) -> None:
    image = random_image(5, 7)
    arguments: dict[str, object] = {
        "saliency": image[..., 0],
        "image": image,
        "black_box": brightness,
        "weights": [1.0],
    }
    with pytest.raises(InputError, match=message):
        deletion(**(arguments | changes))  # type: ignore[arg-type]


def test_start_and_end_must_have_the_size_of_the_image() -> None:
    image, other = random_image(5, 7), random_image(7, 5)
    with pytest.raises(InputError, match=r"expected end of shape \(5, 7, 3\)"):
        causal_curve(image[..., 0], brightness, [1.0], start=image, end=other)


@pytest.mark.parametrize("size", [0, 4])
def test_blur_needs_an_odd_size(size: int) -> None:
    with pytest.raises(InputError, match="odd number of taps"):
        gaussian_blur(random_image(5, 7), size=size)


def test_blur_needs_a_positive_sigma() -> None:
    with pytest.raises(InputError, match="sigma above 0"):
        gaussian_blur(random_image(5, 7), sigma=0.0)


@pytest.mark.parametrize(
    ("black_box", "message"),
    [
        (lambda images: brightness(images)[:, 0], r"the black box returned \(2,\)"),
        (lambda images: np.zeros((len(images), 3)), r"the black box returned \(2, 3\)"),
        (lambda images: np.full((len(images), 1), np.inf), "expected finite scores"),
    ],
)
def test_bad_scores_are_named(black_box: Scorer, message: str) -> None:
    image = random_image(5, 7)
    with pytest.raises(BlackBoxError, match=message):
        deletion(image[..., 0], image, black_box, [1.0])
