"""The black boxes whose right maps are known: what they read, and the right maps by other means."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

import iassa
from iassa import metrics
from iassa.benchmark.synthetic import (
    BOXES,
    REGIONS,
    KnownBox,
    SyntheticModel,
    draw_scene,
    place_on_photograph,
    read_regions,
    right_map,
)
from iassa.benchmark.synthetic.boxes import JOINED, NEEDED, PARTS
from iassa.benchmark.synthetic.model import measure_regions
from iassa.benchmark.synthetic.scenes import DRAWN, SIZE, Scene, areas, tints

MULTILINEAR = ("linear", "and", "or", "k-of-n", "distractor", "texture", "border", "upper-half")
SCENES = [(0, SIZE), (1, (64, 96)), (2, (96, 62))]


def as_floats(scene: Scene) -> np.ndarray:
    return scene.pixels.astype(np.float32) / 255


def as_planes(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)[None]


def shares(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """What a mask shows of each region, by counting pixels."""
    return np.array([mask[region].mean() for region in read_regions(image)])


# --- scenes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "size"), SCENES)
def test_the_reader_finds_what_was_drawn(number: int, size: tuple[int, int]) -> None:
    scene = draw_scene(number, size)
    assert scene.pixels.shape == (*size, 3)
    again = draw_scene(number, size)
    assert np.array_equal(scene.pixels, again.pixels)
    assert not np.array_equal(scene.pixels, draw_scene(number + 1, size).pixels)
    regions = read_regions(as_floats(scene))
    for place in range(len(DRAWN)):
        drawn = (scene.labels == 1 + place).repeat(2, 0).repeat(2, 1)
        np.testing.assert_array_equal(regions[place], drawn)
    assert regions[: len(DRAWN)].sum(0).max() == 1  # none over another
    counts = regions[: len(DRAWN)].sum((1, 2)) / 4
    np.testing.assert_array_equal(counts, areas((size[0] // 2, size[1] // 2)))


def test_a_block_has_no_colour_and_its_own_tint() -> None:
    scene = draw_scene(3, (48, 66))
    for row, column in itertools.product(range(24), range(33)):
        block = scene.pixels[2 * row : 2 * row + 2, 2 * column : 2 * column + 2].astype(int)
        assert len(set(block.mean((0, 1)))) == 1  # grey on the whole
        tint = tints()[scene.labels[row, column]]
        np.testing.assert_array_equal(block[0, 0] - block.mean((0, 1)), tint)
        np.testing.assert_array_equal(block[0, 0], block[1, 1])
        np.testing.assert_array_equal(block[0, 1], block[1, 0])


@pytest.mark.parametrize("size", [(300, 451), (90, 64), (49, 77)])
def test_a_photograph_keeps_its_shape_and_gets_all_regions(size: tuple[int, int]) -> None:
    photograph = np.random.default_rng(5).random((*size, 3), np.float32)
    scene = place_on_photograph(photograph, 0)
    height, width = scene.pixels.shape[:2]
    assert height * width <= 1.05 * SIZE[0] * SIZE[1]
    assert abs(height / width - size[0] / size[1]) < 0.03 * size[0] / size[1]
    assert measure_regions(as_planes(as_floats(scene)))[0].min() > 1 - 1e-6


# --- what the black box sees ------------------------------------------------------------------


@pytest.mark.parametrize(("number", "size"), SCENES)
@pytest.mark.parametrize("grey", [0.0, 0.37, 0.5, 1.0])
def test_behind_a_grey_any_mask_is_read_exactly(
    number: int, size: tuple[int, int], grey: float
) -> None:
    image = as_floats(draw_scene(number, size))
    rng = np.random.default_rng(number)
    hard = (rng.random(size) < 0.5).astype(np.float32)  # cuts nearly every block
    for mask in (hard, rng.random(size, np.float32), np.ones(size, np.float32), 0 * hard):
        masked = image * mask[:, :, None] + grey * (1 - mask[:, :, None])
        found = measure_regions(as_planes(masked.astype(np.float32)))[0].numpy()
        np.testing.assert_allclose(found, shares(image, mask), atol=2e-6)


@pytest.mark.parametrize("fill", ["zero", "grey", "mean", "blur"])
def test_behind_other_fills_a_soft_mask_is_read_nearly(fill: str) -> None:
    image = as_floats(draw_scene(0))
    planes = as_planes(image)
    soft = torch.nn.functional.interpolate(
        torch.rand(1, 1, 7, 9, generator=torch.Generator().manual_seed(1)),
        size=SIZE,
        mode="bilinear",
    )
    hidden = torch.from_numpy(iassa.masks.baselines.FILLS[fill](planes[0].numpy(), 0))
    for colour in (hidden, torch.tensor([0.9, 0.2, 0.1])[:, None, None]):
        found = measure_regions(planes * soft + colour * (1 - soft))[0].numpy()
        np.testing.assert_allclose(found, shares(image, soft[0, 0].numpy()), atol=0.02)


def test_a_black_box_of_images_scores_each_image_by_itself() -> None:
    images = np.stack([as_floats(draw_scene(number)) for number in range(3)])
    images[1, :, 100:] = 0.5
    model = SyntheticModel()
    together = model(images)
    assert together.shape == (3, len(BOXES))
    for image, scores in zip(images, together, strict=True):
        np.testing.assert_allclose(model(image[None])[0], scores, atol=1e-6)
    assert np.abs(model(np.full((1, 30, 41, 3), 0.5, np.float32))[0]).max() < 0.02  # sigmoid(-4)


# --- the right maps ---------------------------------------------------------------------------


def shapley(value: Callable[[frozenset[str]], float], players: tuple[str, ...]) -> dict[str, float]:
    """By its definition: the mean over all orders of what each player adds."""
    sums = dict.fromkeys(players, 0.0)
    for order in itertools.permutations(players):
        for place, player in enumerate(order):
            before = frozenset(order[:place])
            sums[player] += value(before | {player}) - value(before)
    return {player: total / math.factorial(len(players)) for player, total in sums.items()}


RULES: dict[str, Callable[[frozenset[str]], float]] = {
    "linear": lambda shown: len(shown & set(PARTS)) / len(PARTS),
    "and": lambda shown: float(set(JOINED) <= shown),
    "or": lambda shown: float(bool(shown & set(JOINED))),
    "k-of-n": lambda shown: float(len(shown & set(PARTS)) >= NEEDED),
    "distractor": lambda shown: len(shown & set(PARTS)) / 5 - 0.5 * ("distractor" in shown),
}


@pytest.mark.parametrize("name", RULES)
def test_a_box_of_parts_is_its_rule_and_its_right_map_shapleys_value(name: str) -> None:
    players = (*PARTS, "distractor")
    box = BOXES[name]
    for shown in itertools.product([0.0, 1.0], repeat=len(players)):
        there = frozenset(p for p, yes in zip(players, shown, strict=True) if yes)
        seen = torch.zeros(1, len(REGIONS), dtype=torch.float64)
        for player in there:
            seen[0, REGIONS.index(player)] = 1
        assert float(box.score(seen)) == pytest.approx(RULES[name](there), abs=1e-12)
    expected = shapley(RULES[name], players)
    for player in players:
        assert box.right.get(player, 0.0) == pytest.approx(expected[player], abs=1e-12)


@pytest.mark.parametrize("name", BOXES)
def test_the_right_map_is_the_mean_gradient_from_hidden_to_whole(name: str) -> None:
    box = BOXES[name]
    steps = torch.linspace(0, 1, 4001, dtype=torch.float64)[:, None]
    seen = steps.expand(-1, len(REGIONS)).clone().requires_grad_()
    (slopes,) = torch.autograd.grad(box.score(seen).sum(), seen)
    means = torch.trapezoid(slopes, steps[:, :1].expand_as(slopes), dim=0)
    for region, mean in zip(REGIONS, means.tolist(), strict=True):
        assert box.right.get(region, 0.0) == pytest.approx(mean, abs=1e-5)


@pytest.mark.parametrize("name", BOXES)
def test_pixels_shown_in_random_order_add_what_the_right_map_says(name: str) -> None:
    # Each pixel's value is tiny, so the sums over the regions are compared, over many orders.
    size = (64, 96)
    regions = read_regions(as_floats(draw_scene(1, size)))
    flat = torch.from_numpy(regions.reshape(len(REGIONS), -1)).double()
    box = BOXES[name]
    rng = np.random.default_rng(3)
    sums = torch.zeros(len(REGIONS), dtype=torch.float64)
    orders = 40
    for _ in range(orders):
        ordered = flat[:, rng.permutation(flat.shape[1])]
        seen = torch.cumsum(ordered, 1) / flat.sum(1, keepdim=True)
        scores = box.score(torch.cat([torch.zeros_like(seen[:, :1]), seen], 1).T)
        sums += ordered @ scores.diff() / orders
    # A pixel at the border in the upper half belongs to both, so what others add is there as well.
    right = torch.from_numpy(right_map(box, regions).reshape(-1)).double()
    np.testing.assert_allclose(sums, flat @ right, atol=0.03)


def test_the_right_map_of_a_linear_box_is_its_weight() -> None:
    image = as_floats(draw_scene(2, (64, 96)))
    regions = read_regions(image)
    model = SyntheticModel()
    whole = model(image[None])[0]
    rng = np.random.default_rng(0)
    for name in ("linear", "distractor", "texture", "border", "upper-half"):
        right = right_map(BOXES[name], regions)
        assert right.shape == (64, 96)
        place = list(BOXES).index(name)
        for _ in range(20):
            row, column = rng.integers(0, 64), rng.integers(0, 96)
            hidden = image.copy()
            hidden[row, column] = 0.5
            drop = whole[place] - model(hidden[None])[0, place]
            assert drop == pytest.approx(right[row, column], abs=2e-7)


@pytest.mark.parametrize("name", BOXES)
def test_the_right_map_adds_up_to_the_score(name: str) -> None:
    image = as_floats(draw_scene(0))
    place = list(BOXES).index(name)
    model = SyntheticModel()
    scores = model(np.stack([image, np.full_like(image, 0.5)]))[:, place]
    right = right_map(BOXES[name], read_regions(image))
    assert right.sum() == pytest.approx(scores[0] - scores[1], abs=1e-5)


# --- metrics ----------------------------------------------------------------------------------


def judged(saliency: np.ndarray, right: np.ndarray) -> list[float]:
    return [
        metrics.overlap_at(saliency, right > 0).iou,
        metrics.average_precision(saliency, right > 0),
        metrics.right_signs(saliency, right),
        metrics.right_order(saliency, right),
    ]


@pytest.mark.parametrize("box", BOXES.values(), ids=list(BOXES))
def test_the_right_map_has_all_and_a_flat_map_what_chance_has(box: KnownBox) -> None:
    right = right_map(box, read_regions(as_floats(draw_scene(0))))
    assert judged(right, right) == [1.0, 1.0, 1.0, 1.0]
    share = float((right > 0).mean())
    assert judged(np.zeros_like(right), right) == pytest.approx([0.0, share, 0.5, 0.0])
    noise = np.random.default_rng(0).normal(size=right.shape)
    chance = judged(noise, right)
    assert chance[1:] == pytest.approx([share, 0.5, 0.0], abs=0.04)
    assert chance[0] < share + 0.02
    assert judged(-right, right)[2:] == [0.0, -1.0]
