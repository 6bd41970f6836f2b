"""Grids of cells and bits of superpixels, drawn at random from a generator."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from iassa.masks.plans import GridPlan, SegmentPlan

# Keep probabilities are stratified in blocks of this many masks, so that any prefix of a plan,
# where a budget ends, is spread over the range but for its last block.
STRATA = 16


def fit_grid(grid_size: int, size: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of nearly square cells, about `grid_size` squared in all.

    Args:
        grid_size: cells per side of a square image.
        size: (height, width) of the image whose aspect ratio counts.

    Returns:
        (rows, columns), at least 1 and at most one per pixel.

    Example:
        >>> fit_grid(7, (224, 224)), fit_grid(7, (300, 451)), fit_grid(7, (1, 1))
        ((7, 7), (6, 8), (1, 1))
    """
    height, width = size
    cells = grid_size * grid_size
    rows = min(max(1, round(math.sqrt(cells * height / width))), cells, height)
    columns = min(max(1, round(cells / rows)), width)
    return rows, columns


def draw_keep_probability(
    num_masks: int, limits: tuple[float, float], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Keep probabilities, one in each of `STRATA` strata for every block of as many masks.

    Args:
        num_masks: N.
        limits: smallest and largest; equal for a constant.
        rng: where the randomness comes from.

    Returns:
        (N,) float32.
    """
    blocks = math.ceil(num_masks / STRATA)
    strata = rng.permuted(np.tile(np.arange(STRATA), (blocks, 1)), axis=1)
    share = (strata + rng.random((blocks, STRATA))) / STRATA
    low, high = limits
    return (low + (high - low) * share).reshape(-1)[:num_masks].astype(np.float32)


def draw_grids(
    num_masks: int,
    grid: tuple[int, int],
    keep_probability: tuple[float, float],
    rng: np.random.Generator,
    region: NDArray[np.bool_] | None = None,
) -> GridPlan:
    """Draw random grids (Petsiuk et al., RISE, 2018), each with a keep probability of its own.

    Args:
        num_masks: N.
        grid: (rows, columns), see `fit_grid`.
        keep_probability: smallest and largest chance that a cell is kept.
        rng: where the randomness comes from.
        region: (H, W) bool, confines what may be hidden.

    Returns:
        The plan of N masks.
    """
    probability = draw_keep_probability(num_masks, keep_probability, rng)
    uniform = rng.random((num_masks, grid[0] + 2, grid[1] + 2), dtype=np.float32)
    shifts = rng.random((num_masks, 2), dtype=np.float32)
    return GridPlan(probability, uniform < probability[:, None, None], shifts, _copy(region))


def draw_segments(
    num_masks: int,
    num_segments: int,
    segmentations: NDArray[np.integer],
    keep_probability: tuple[float, float],
    rng: np.random.Generator,
    region: NDArray[np.bool_] | None = None,
) -> SegmentPlan:
    """Draw random subsets of superpixels, each mask with a segmentation drawn from several.

    Args:
        num_masks: N.
        num_segments: S, the most segments of any segmentation.
        segmentations: numbers of the segmentations to draw from.
        keep_probability: smallest and largest chance that a segment is kept.
        rng: where the randomness comes from.
        region: (H, W) bool, confines what may be hidden.

    Returns:
        The plan of N masks.
    """
    probability = draw_keep_probability(num_masks, keep_probability, rng)
    chosen = rng.choice(segmentations, num_masks).astype(np.uint8)
    uniform = rng.random((num_masks, num_segments), dtype=np.float32)
    return SegmentPlan(probability, uniform < probability[:, None], chosen, _copy(region))


def _copy(region: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
    """The plan's own, since a plan makes its arrays read-only."""
    return None if region is None else region.copy()
