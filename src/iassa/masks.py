"""Masks as plans: what to hide, drawn from a seed in this file and nowhere else.

One polarity: mask 1 = pixel kept, 0 = pixel replaced by the baseline. A plan holds cells, bits or
boxes, never masks: a thousand masks take a tenth of a megabyte, can be pickled, compared and
hashed, and are rendered a batch at a time (`rendering`). All of a plan is drawn before any of it is
rendered, so the masks cannot depend on the batch size, the number of threads or the device.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from iassa.errors import InputError

__all__ = [
    "GridPlan",
    "MaskPlan",
    "SegmentPlan",
    "WindowPlan",
    "draw_grids",
    "draw_keep_probability",
    "draw_segments",
    "fit_grid",
    "plan_windows",
    "select_windows",
    "sliding_windows",
    "sum_windows",
]

# Keep probabilities are stratified in blocks of this many masks, so that any prefix of a plan,
# where a budget ends, is spread over the range but for its last block.
STRATA = 16


@dataclass(frozen=True, eq=False)
class MaskPlan(ABC):
    """N masks of one family. The fields whose first axis is N are listed in `PER_MASK`."""

    PER_MASK: ClassVar[tuple[str, ...]] = ("keep_probability",)

    keep_probability: NDArray[np.float32]  # (N,), the chance with which a cell is kept

    def __post_init__(self) -> None:
        for array in self._arrays():
            array.setflags(write=False)

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self.__post_init__()  # unpickled arrays can be written to

    def __len__(self) -> int:
        return len(self.keep_probability)

    def __getitem__(self, masks: slice) -> Self:
        """The plan of some of the masks, in order; shared data are shared, not copied."""
        parts = {name: getattr(self, name)[masks] for name in self.PER_MASK}
        return dataclasses.replace(self, **parts)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.digest() == self.digest()

    def __hash__(self) -> int:
        return hash(self.digest())

    @abstractmethod
    def reach(self, size: tuple[int, int]) -> float:
        """Share of the image, (height, width), that the masks could hide."""

    @property
    def confined(self) -> bool:
        """Whether there is a region outside of which nothing is hidden: the scores move less."""
        return False

    @property
    def num_cells(self) -> int | None:
        """Cells or segments that the masks decide on one by one; None where that says nothing."""
        return None

    @property
    def population(self) -> int | None:
        """How many masks these are drawn from without replacement; None where each is its own."""
        return None

    def digest(self) -> str:
        """SHA-256 of the family, the shapes and the content, the same in every process."""
        content = hashlib.sha256(type(self).__name__.encode())
        for array in self._arrays():
            content.update(f"{array.dtype.str}{array.shape}".encode())
            content.update(np.ascontiguousarray(array).tobytes())
        return content.hexdigest()

    def _arrays(self) -> list[NDArray[np.generic]]:
        values = (getattr(self, field.name) for field in dataclasses.fields(self))
        return [value for value in values if isinstance(value, np.ndarray)]


@dataclass(frozen=True, eq=False)
class GridPlan(MaskPlan):
    """Random grids (RISE): cells kept or hidden, shifted, with bilinear edges.

    With G = (rows, columns) cells over the image, pixel (r, c) of mask n lies at
    u = (r + 0.5) rows / H + shift[n, 0] among the nodes `cells[n]`, and between nodes floor(u) and
    floor(u) + 1 the mask is interpolated; columns likewise. Two nodes more than cells are drawn, so
    that every pixel, those at the border too, has the same distribution.
    """

    PER_MASK: ClassVar[tuple[str, ...]] = ("keep_probability", "cells", "shifts")

    cells: NDArray[np.bool_]  # (N, rows + 2, columns + 2), True = kept
    shifts: NDArray[np.float32]  # (N, 2) down and right, in cells, [0, 1)
    region: NDArray[np.bool_] | None  # (H, W): outside of it nothing is hidden; None = everywhere

    @property
    def num_cells(self) -> int:
        """Cells over the image."""
        rows, columns = self.cells.shape[1:]
        return int((rows - 2) * (columns - 2))

    @property
    def confined(self) -> bool:
        """Whether there is a region."""
        return self.region is not None

    def reach(self, size: tuple[int, int]) -> float:
        """Share of the image that the masks could hide: that of the region."""
        return 1.0 if self.region is None else float(self.region.mean())


@dataclass(frozen=True, eq=False)
class SegmentPlan(MaskPlan):
    """Random subsets of superpixels: bit s of mask n says whether segment s is kept."""

    PER_MASK: ClassVar[tuple[str, ...]] = ("keep_probability", "bits", "segmentation")

    bits: NDArray[np.bool_]  # (N, S), True = kept; S the most segments of any segmentation
    segmentation: NDArray[np.uint8]  # (N,), the number of the segmentation
    region: NDArray[np.bool_] | None  # (H, W): outside of it nothing is hidden; None = everywhere

    @property
    def num_cells(self) -> int | None:
        """Segments, if all masks are of one segmentation; several smooth each other."""
        return self.bits.shape[1] if len(np.unique(self.segmentation)) == 1 else None

    @property
    def confined(self) -> bool:
        """Whether there is a region."""
        return self.region is not None

    def reach(self, size: tuple[int, int]) -> float:
        """Share of the image that the masks could hide: that of the region."""
        return 1.0 if self.region is None else float(self.region.mean())


@dataclass(frozen=True, eq=False)
class WindowPlan(MaskPlan):
    """Sliding windows: each mask hides one box and keeps all else.

    `keep_probability` is the share of the image that the mask keeps. A part of a plan knows of how
    many windows the whole is, a plan that was stored does not: `lattice_size` is no part of it.
    """

    PER_MASK: ClassVar[tuple[str, ...]] = ("keep_probability", "windows")

    windows: NDArray[np.int32]  # (N, 4): top, left, bottom, right of the *hidden* box, half-open
    lattice_size: int | None = None  # windows that these are some of, each at most once

    @property
    def population(self) -> int | None:
        """Windows of the lattice."""
        return self.lattice_size

    def reach(self, size: tuple[int, int]) -> float:
        """Share of the image in any of the windows."""
        return float((sum_windows(self.windows, size) > 0).mean())


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


def sliding_windows(size: tuple[int, int], window: int, stride: float) -> NDArray[np.int32]:
    """All windows of one edge length at one stride, those that overhang the border included.

    The first starts at stride - window, so that the pixels at the border are hidden as often as the
    others; boxes are cut at the border. On 224 x 224 with window 45 and stride 8 they are 33 x 33.

    Args:
        size: (height, width).
        window: edge length in pixels, at least 1.
        stride: in pixels, above 0 and at most `window`; a fraction is carried, then rounded.

    Returns:
        (N, 4) int32 top, left, bottom, right, half-open, in raster order.

    Raises:
        InputError: a window or stride out of range.

    Example:
        >>> sliding_windows((4, 6), 2, 2).tolist()[:3], len(sliding_windows((224, 224), 45, 8))
        ([[0, 0, 2, 2], [0, 2, 2, 4], [0, 4, 2, 6]], 1089)
    """
    if window < 1 or not 0 < stride <= window:
        raise InputError(
            f"expected 0 < stride <= window >= 1, got window {window}, stride {stride}."
        )
    edges = []
    for length in size:
        starts = np.round(np.arange(stride - window, length, stride)).astype(np.int32)
        edges.append(np.stack([starts.clip(0), (starts + window).clip(max=length)], axis=1))
    rows, columns = (
        edges[0][edges[0][:, 0] < edges[0][:, 1]],
        edges[1][edges[1][:, 0] < edges[1][:, 1]],
    )
    boxes = np.empty((len(rows), len(columns), 4), np.int32)
    boxes[:, :, 0::2] = rows[:, None]
    boxes[:, :, 1::2] = columns[None]
    return boxes.reshape(-1, 4)


def select_windows(windows: NDArray[np.int32], region: NDArray[np.bool_]) -> NDArray[np.int32]:
    """The windows whose *hidden* box holds at least one pixel of the region (Eq. 7).

    The authors' code asks whether the *kept* part touches the region, as nearly every mask's does.

    Args:
        windows: (N, 4) top, left, bottom, right.
        region: (H, W) bool.

    Returns:
        (M, 4), in the order given.
    """
    integral = np.pad(region.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    top, left, bottom, right = windows.T
    inside = integral[bottom, right] - integral[top, right] - integral[bottom, left]
    touching: NDArray[np.int32] = windows[inside + integral[top, left] > 0]
    return touching


def sum_windows(
    windows: NDArray[np.int32], size: tuple[int, int], values: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """Sum of a value of each window over those that hide a pixel.

    Args:
        windows: (N, 4) top, left, bottom, right.
        size: (height, width).
        values: (N,); None for ones, which counts the windows.

    Returns:
        (H, W) int64.

    Example:
        >>> sum_windows(np.array([[0, 0, 1, 2], [0, 1, 2, 3]], np.int32), (2, 3)).tolist()
        [[1, 2, 1], [0, 1, 1]]
    """
    values = np.ones(len(windows), np.int64) if values is None else values
    changes = np.zeros((size[0] + 1, size[1] + 1), np.int64)  # of the sum, at the boxes' corners
    top, left, bottom, right = windows.T
    for rows, columns, sign in (
        *((top, left, 1), (top, right, -1)),
        *((bottom, left, -1), (bottom, right, 1)),
    ):
        np.add.at(changes, (rows, columns), sign * values)
    return changes.cumsum(0).cumsum(1)[:-1, :-1]


def plan_windows(
    windows: NDArray[np.int32], size: tuple[int, int], rng: np.random.Generator
) -> WindowPlan:
    """Windows in random order, so that a budget that ends early leaves no side of the image unseen.

    The first n of them are a random sample of the N, without replacement.

    Args:
        windows: (N, 4) hidden boxes.
        size: (height, width) of the image.
        rng: where the order comes from.

    Returns:
        The plan of N masks.
    """
    windows = windows[rng.permutation(len(windows))]
    area = (windows[:, 2] - windows[:, 0]) * (windows[:, 3] - windows[:, 1])
    return WindowPlan((1 - area / (size[0] * size[1])).astype(np.float32), windows, len(windows))
