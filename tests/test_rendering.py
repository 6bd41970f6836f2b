"""Rendered masks against loops over pixels, and what is asked of masks against dense arrays."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from iassa.masks.grids import draw_grids, draw_segments
from iassa.masks.plans import CellPlan, GridPlan, MaskPlan, SegmentPlan
from iassa.masks.rendering import Canvas, DenseMasks, HiddenWindows, Masks
from iassa.masks.superpixels import Segmentations
from iassa.masks.windows import plan_windows, sliding_windows
from rounding import steps

Array = NDArray[np.float64]


def generator(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def random_region(size: tuple[int, int], seed: int) -> NDArray[np.bool_]:
    return generator(100 + seed).random(size) < 0.6


def looped_grids(plan: GridPlan, size: tuple[int, int]) -> Array:
    """The docstring of `GridPlan`, a pixel at a time."""
    height, width = size
    rows, columns = plan.cells.shape[1] - 2, plan.cells.shape[2] - 2
    masks = np.empty((len(plan), height, width))
    for n in range(len(plan)):
        for r in range(height):
            for c in range(width):
                u = (r + 0.5) * rows / height + float(plan.shifts[n, 0])
                v = (c + 0.5) * columns / width + float(plan.shifts[n, 1])
                i, j = math.floor(u), math.floor(v)
                down, right = u - i, v - j
                corner = plan.cells[n].astype(float)
                top = corner[i, j] * (1 - right) + corner[i, j + 1] * right
                bottom = corner[i + 1, j] * (1 - right) + corner[i + 1, j + 1] * right
                masks[n, r, c] = top * (1 - down) + bottom * down
                if plan.region is not None and not plan.region[r, c]:
                    masks[n, r, c] = 1
    return masks


def looped_windows(windows: NDArray[np.int32], size: tuple[int, int]) -> Array:
    masks = np.ones((len(windows), *size))
    for mask, (top, left, bottom, right) in zip(masks, windows, strict=True):
        for r in range(top, bottom):
            for c in range(left, right):
                mask[r, c] = 0
    return masks


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("size", "grid"), [((14, 23), (3, 5)), ((23, 14), (7, 4)), ((6, 5), (6, 5)), ((1, 9), (1, 2))]
)
@pytest.mark.parametrize("confined", [False, True])
def test_grids_equal_the_loop(
    size: tuple[int, int], grid: tuple[int, int], seed: int, confined: bool
) -> None:
    region = random_region(size, seed) if confined else None
    plan = draw_grids(6, grid, (0.2, 0.8), generator(seed), region)
    masks = Canvas(size, 6).render(plan)
    assert isinstance(masks, DenseMasks)
    # Places in a grid are rounded before their parts between nodes are taken.
    np.testing.assert_allclose(masks.values.numpy(), looped_grids(plan, size), atol=steps(32, 1.0))


def test_a_grid_at_the_resolution_of_the_image_and_no_shift_is_sharp_only_between_nodes() -> None:
    """One row by hand: nodes 1 0 0 1, two cells over four pixels, at u = 0.25, 0.75, 1.25, 1.75."""
    plan = GridPlan(
        np.array([0.5], np.float32),
        np.array([[[1, 0, 0, 1]] * 3], np.bool_),
        np.zeros((1, 2), np.float32),
        None,
    )
    values = everywhere(Canvas((1, 4), 1).render(plan), (1, 4))
    assert values.flatten().tolist() == [0.75, 0.25, 0.0, 0.0]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("confined", [False, True])
def test_segments_equal_plain_indexing(seed: int, confined: bool) -> None:
    size = (11, 17)
    labels = generator(seed).integers(0, 9, (4, *size))
    segmentations = Segmentations(torch.from_numpy(labels), 9, (9, 9, 9, 9))
    region = random_region(size, seed) if confined else None
    plan = draw_segments(8, 9, np.array([0, 1, 3]), (0.3, 0.7), generator(seed), region)
    values = everywhere(Canvas(size, 8, segmentations).render(plan), size).numpy()
    for n in range(8):
        expected = plan.bits[n][labels[plan.segmentation[n]]].astype(float)
        if region is not None:
            expected[~region] = 1
        np.testing.assert_array_equal(values[n], expected)


@pytest.mark.parametrize("grid", [(1, 1), (3, 4), (12, 19), (5, 25)])
def test_cells_have_hard_edges(grid: tuple[int, int]) -> None:
    """More cells than pixels, too: some are at no pixel."""
    size = (12, 19)
    plan = CellPlan(np.full(5, 0.5, np.float32), generator(1).random((5, *grid), np.float32))
    assert (plan.num_cells, plan.reach(size)) == (grid[0] * grid[1], 1)
    found = everywhere(Canvas(size, 7).render(plan), size).numpy()
    for n, row, column in np.ndindex(5, *size):
        cell = (row * grid[0] // size[0], column * grid[1] // size[1])
        assert found[n, row, column] == plan.values[n][cell]


@pytest.mark.parametrize("num_masks", [1, 2, 7])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("family", ["window", "grid"])
def test_what_is_asked_of_masks_equals_dense_arrays(family: str, seed: int, num_masks: int) -> None:
    """blend, weigh, squares, band and at, of boxes that are never rendered and of dense masks."""
    height, width = size = (12, 19)
    rng = generator(seed)
    if family == "window":
        plan = plan_windows(sliding_windows(size, 5, 2.5), size, rng)[:num_masks]
        dense = looped_windows(plan.windows, size)
    else:
        grids = draw_grids(num_masks, (4, 6), (0.2, 0.8), rng, random_region(size, seed))
        plan, dense = grids, looped_grids(grids, size)
    masks = Canvas(size, 7).render(plan)
    assert isinstance(masks, HiddenWindows if family == "window" else DenseMasks)

    image, baseline = rng.random((3, height, width)), rng.random((3, height, width))
    weights = rng.normal(size=(4, num_masks))
    buffer = torch.full((num_masks, 3, height, width), torch.nan)
    blended = masks.blend(
        torch.from_numpy(image).float(), torch.from_numpy(baseline).float(), buffer
    )
    assert blended is buffer
    expected = image * dense[:, None] + baseline * (1 - dense[:, None])
    np.testing.assert_allclose(blended.numpy(), expected, atol=steps(32, 1.0))

    sums = masks.weigh(torch.from_numpy(weights).float()).numpy()
    expected = np.einsum("rn,nhw->rhw", weights, dense)
    np.testing.assert_allclose(sums, expected, atol=steps(32, np.abs(weights).sum(axis=1)))

    np.testing.assert_allclose(
        masks.squares().numpy(), (dense**2).sum(0), atol=steps(64, num_masks)
    )

    rows = slice(3, 10)
    band = masks.band(rows).weigh(torch.from_numpy(weights).float()).numpy()
    np.testing.assert_allclose(band, expected[:, rows], atol=steps(32, np.abs(weights).sum(axis=1)))

    for some_rows, some_columns in (
        ([0], [18]),
        ([1, 4, 11], [0, 2, 7, 18]),
        ([7, 3, 3], [5, 5]),  # in the order asked for, and twice if asked for twice
        (list(range(height)), list(range(width))),
    ):
        values = masks.at(torch.tensor(some_rows), torch.tensor(some_columns)).numpy()
        assert values.shape == (num_masks, len(some_rows), len(some_columns))
        for i, row in enumerate(some_rows):
            for j, column in enumerate(some_columns):
                np.testing.assert_allclose(
                    values[:, i, j], dense[:, row, column], atol=steps(32, 1.0)
                )


@pytest.mark.parametrize("family", ["window", "grid"])
def test_values_that_were_asked_for_outlive_the_next_batch(family: str) -> None:
    """The canvas renders into the same memory; estimators keep what they asked for."""
    size = (9, 13)
    windows = plan_windows(sliding_windows(size, 4, 2), size, generator(0))
    grids = draw_grids(12, (3, 4), (0.2, 0.8), generator(0))
    plan = windows if family == "window" else grids
    canvas = Canvas(size, 6)
    values = everywhere(canvas.render(plan[:6]), size)
    before = values.clone()
    canvas.render(plan[6:12])
    assert torch.equal(values, before)


def everywhere(masks: Masks, size: tuple[int, int]) -> torch.Tensor:
    """Their values at every pixel."""
    return masks.at(torch.arange(size[0]), torch.arange(size[1]))


def test_a_canvas_renders_into_the_same_memory() -> None:
    size = (9, 13)
    labels = torch.zeros((1, *size), dtype=torch.int64)
    canvas = Canvas(size, 8, Segmentations(labels, 1, (1,)))
    addresses = set()
    for seed in range(3):
        for plan in (
            draw_grids(8, (3, 3), (0.5, 0.5), generator(seed), random_region(size, seed)),
            draw_grids(5, (2, 4), (0.5, 0.5), generator(seed)),
            draw_segments(8, 1, np.array([0]), (0.5, 0.5), generator(seed)),
        ):
            masks = canvas.render(plan)
            assert isinstance(masks, DenseMasks)
            addresses.add(masks.values.data_ptr())
    assert len(addresses) == 1


def test_a_smaller_batch_leaves_no_trace_of_the_one_before() -> None:
    size = (9, 13)
    first = draw_grids(8, (3, 3), (0.9, 0.9), generator(0))
    second = draw_grids(3, (3, 4), (0.2, 0.2), generator(1))
    used = Canvas(size, 8)
    used.render(first)
    fresh = everywhere(Canvas(size, 8).render(second), size)
    np.testing.assert_array_equal(everywhere(used.render(second), size), fresh)


def test_masks_are_values_between_hidden_and_kept() -> None:
    plan = draw_grids(300, (5, 7), (0.1, 0.9), generator(5))
    masks = Canvas((33, 41), 300).render(plan)
    assert isinstance(masks, DenseMasks)
    assert masks.values.min() >= 0
    assert masks.values.max() <= 1 + steps(8, 1.0)


@pytest.mark.parametrize("probability", [0.3, 0.7])
def test_every_pixel_is_kept_equally_often(probability: float) -> None:
    """Border and corners too: RISE's cropped upsampling favours none."""
    size, count = (12, 21), 6000
    canvas = Canvas(size, 500)
    plan = draw_grids(count, (3, 5), (probability, probability), generator(8))
    total, squares = np.zeros(size), np.zeros(size)
    for start in range(0, count, 500):
        masks = canvas.render(plan[start : start + 500])
        total += masks.weigh(torch.ones(1, 500))[0].numpy()
        squares += masks.squares().numpy()
    mean = total / count
    spread = np.sqrt(squares / count - mean**2)
    error = spread / math.sqrt(count)
    assert np.abs((mean - probability) / error).max() < 5
    # The variance of a bilinear blend of nodes at a uniform place is p (1 - p) (2 / 3)^2.
    expected = math.sqrt(probability * (1 - probability)) * 2 / 3
    np.testing.assert_allclose(spread, expected, rtol=0.08)


def test_segment_plans_need_their_segmentations_and_unknown_plans_are_refused() -> None:
    class OtherPlan(MaskPlan):
        def reach(self, size: tuple[int, int]) -> float:
            return 1.0

    with pytest.raises(TypeError, match="OtherPlan"):
        Canvas((4, 5), 2).render(OtherPlan(np.full(2, 0.5, np.float32)))
    segments = SegmentPlan(
        np.full(1, 0.5, np.float32), np.ones((1, 2), np.bool_), np.zeros(1, np.uint8), None
    )
    with pytest.raises(AssertionError, match="segmentations"):
        Canvas((4, 5), 2).render(segments)
