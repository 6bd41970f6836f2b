"""Masks as plans: what to hide, as cells, bits of superpixels or boxes.

One polarity: mask 1 = pixel kept, 0 = pixel replaced by the baseline. A plan never holds masks: a
thousand masks take a tenth of a megabyte, can be pickled, compared and hashed, and are rendered a
batch at a time (`rendering`). `grids`, `cells`, `windows` and `level_sets` draw a plan whole before
any of it is rendered, so the masks cannot depend on the batch size, the number of threads or the
device.
"""

from __future__ import annotations

import dataclasses
import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray


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

    def __getitem__(self, masks: slice | NDArray[np.intp]) -> Self:
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

    @property
    def together(self) -> int:
        """Masks in a row that make one design: they are read together, so they show one fill."""
        return 1

    def repeat(self, times: int) -> Self:
        """The plan in which each mask stands so many times in a row."""
        parts = {name: np.repeat(getattr(self, name), times, axis=0) for name in self.PER_MASK}
        return dataclasses.replace(self, **parts)

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


class _RegionalPlan(MaskPlan):
    """Masks that may be confined to a region."""

    region: NDArray[np.bool_] | None  # (H, W): outside of it nothing is hidden; None = everywhere

    @property
    def confined(self) -> bool:
        """Whether there is a region."""
        return self.region is not None

    def reach(self, size: tuple[int, int]) -> float:
        """Share of the image that the masks could hide: that of the region."""
        return 1.0 if self.region is None else float(self.region.mean())


@dataclass(frozen=True, eq=False)
class GridPlan(_RegionalPlan):
    """Random grids (RISE): cells kept or hidden, shifted, with bilinear edges.

    With G = (rows, columns) cells over the image, pixel (r, c) of mask n lies at
    u = (r + 0.5) rows / H + shift[n, 0] among the nodes `cells[n]`, and between nodes floor(u) and
    floor(u) + 1 the mask is interpolated; columns likewise. Two nodes more than cells are drawn, so
    that every pixel, those at the border too, has the same distribution.
    """

    PER_MASK: ClassVar[tuple[str, ...]] = ("keep_probability", "cells", "shifts")

    cells: NDArray[np.bool_]  # (N, rows + 2, columns + 2), True = kept
    shifts: NDArray[np.float32]  # (N, 2) down and right, in cells, [0, 1)
    region: NDArray[np.bool_] | None

    @property
    def num_cells(self) -> int:
        """Cells over the image."""
        rows, columns = self.cells.shape[1:]
        return int((rows - 2) * (columns - 2))


@dataclass(frozen=True, eq=False)
class SegmentPlan(_RegionalPlan):
    """Random subsets of superpixels: bit s of mask n says whether segment s is kept."""

    PER_MASK: ClassVar[tuple[str, ...]] = ("keep_probability", "bits", "segmentation")

    bits: NDArray[np.bool_]  # (N, S), True = kept; S the most segments of any segmentation
    segmentation: NDArray[np.uint8]  # (N,), the number of the segmentation
    region: NDArray[np.bool_] | None

    @property
    def num_cells(self) -> int | None:
        """Segments, if all masks are of one segmentation; several smooth each other."""
        return self.bits.shape[1] if len(np.unique(self.segmentation)) == 1 else None


@dataclass(frozen=True, eq=False)
class CellPlan(MaskPlan):
    """Grids of cells, each kept to a degree of its own, with hard edges and no shifts.

    With G = (rows, columns) cells over the image, pixel (r, c) of mask n has the value of cell
    (floor(r rows / H), floor(c columns / W)).
    """

    PER_MASK: ClassVar[tuple[str, ...]] = ("keep_probability", "values")

    values: NDArray[np.float32]  # (N, rows, columns) in [0, 1], 1 = kept
    design_length: int | None = None  # masks of a design, if there are; a stored plan has none

    @property
    def together(self) -> int:
        """Masks of a design."""
        return self.design_length or 1

    @property
    def num_cells(self) -> int:
        """Cells over the image."""
        return int(np.prod(self.values.shape[1:]))

    def reach(self, size: tuple[int, int]) -> float:
        """All of the image."""
        del size
        return 1.0


@dataclass(frozen=True, eq=False)
class WindowPlan(MaskPlan):
    """Sliding windows: each mask hides one box and keeps all else.

    `keep_probability` is the share of the image that the mask keeps. A part of a plan keeps the
    number of windows of the whole. A stored plan does not: `lattice_size` is not stored.
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
