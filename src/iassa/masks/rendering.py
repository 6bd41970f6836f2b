"""From a plan to masks: one batch at a time, into memory that is used again for the next."""

from __future__ import annotations

from dataclasses import dataclass
from functools import singledispatchmethod
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iassa.masks.plans import CellPlan, GridPlan, MaskPlan, SegmentPlan, WindowPlan
from iassa.masks.superpixels import Segmentations


@dataclass(frozen=True, eq=False)
class DenseMasks:
    """Masks with a value at every pixel.

    Attributes:
        values: (N, H, W) float32 in [0, 1], 1 = kept. A view of the canvas: valid until it renders
            the next batch.
    """

    values: Tensor
    binary: ClassVar[bool] = False  # 0/1 masks: M^2 = M

    def pick(self, rows: NDArray[np.intp]) -> DenseMasks:
        """Some of the masks, copied."""
        return DenseMasks(self.values[torch.from_numpy(rows).to(self.values.device)])

    def blend(self, image: Tensor, baseline: Tensor, out: Tensor) -> Tensor:
        """I * M + baseline * (1 - M), written into `out` (N, 3, H, W).

        `baseline` is (3, H, W), or (N, 3, H, W), which may be `out`.
        """
        torch.lerp(baseline, image, self.values[:, None], out=out)
        return out

    def weigh(self, weights: Tensor) -> Tensor:
        """Sum of the masks under each row of weights, (R, N) -> (R, H, W)."""
        sums = weights @ self.values.flatten(1)
        return sums.view(len(weights), *self.values.shape[1:])

    def weigh_hidden(self, weights: Tensor) -> Tensor:
        """Sum of what the masks hide, 1 - M, under each row of weights, (R, N) -> (R, H, W)."""
        sums = weights @ (1 - self.values).flatten(1).to(weights)
        return sums.view(len(weights), *self.values.shape[1:])

    def squares(self) -> Tensor:
        """Sum of the squared masks, (H, W)."""
        return self.values.square().sum(0)

    def band(self, rows: slice) -> DenseMasks:
        """The same masks on some rows of the image."""
        return DenseMasks(self.values[:, rows])

    def at(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Their values where these rows and columns cross, (N, len(rows), len(columns))."""
        return self.values.index_select(1, rows).index_select(2, columns)


@dataclass(frozen=True, eq=False)
class HiddenWindows:
    """Masks that hide one box each: never rendered, since all that is asked of them factors.

    Attributes:
        windows: (N, 4) int32 hidden boxes.
        rows: (N, H) float32, 1 where the box is; the mask is 1 - rows * columns.
        columns: (N, W) float32.
    """

    windows: NDArray[np.int32]
    rows: Tensor
    columns: Tensor
    binary: ClassVar[bool] = True

    def pick(self, rows: NDArray[np.intp]) -> HiddenWindows:
        """Some of the masks, copied."""
        index = torch.from_numpy(rows).to(self.rows.device)
        return HiddenWindows(self.windows[rows], self.rows[index], self.columns[index])

    def blend(self, image: Tensor, baseline: Tensor, out: Tensor) -> Tensor:
        """The image with the baseline pasted into each box; see `DenseMasks.blend`."""
        each = zip(out, baseline.expand_as(out), self.windows.tolist(), strict=True)
        for picture, fill, (top, left, bottom, right) in each:
            hidden = fill[:, top:bottom, left:right].clone()
            # The whole image again, not only the last boxes: a black box may write to its input.
            picture.copy_(image)
            picture[:, top:bottom, left:right] = hidden
        return out

    def weigh(self, weights: Tensor) -> Tensor:
        """Sum of the masks under each row of weights, (R, N) -> (R, H, W)."""
        return weights.sum(1)[:, None, None] - self.weigh_hidden(weights)

    def weigh_hidden(self, weights: Tensor) -> Tensor:
        """Sum of the boxes under each row of weights, (R, N) -> (R, H, W), as R S C^T."""
        return (weights[:, :, None] * self.rows).transpose(1, 2) @ self.columns.to(weights)

    def squares(self) -> Tensor:
        """Sum of the squared masks, (H, W)."""
        return self.weigh(torch.ones(1, len(self.rows), device=self.rows.device))[0]

    def band(self, rows: slice) -> HiddenWindows:
        """The same masks on some rows of the image."""
        return HiddenWindows(self.windows, self.rows[:, rows], self.columns)

    def at(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Their values where these rows and columns cross, (N, len(rows), len(columns))."""
        return 1 - self.rows[:, rows, None] * self.columns[:, None, columns]


Masks = DenseMasks | HiddenWindows


class Canvas:
    """Renders batches of masks of one size on one device, into one buffer."""

    def __init__(
        self,
        size: tuple[int, int],
        batch_size: int,
        segmentations: Segmentations | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        """Reserve the buffer.

        Args:
            size: (height, width) of the masks.
            batch_size: the most masks in a batch.
            segmentations: what segment plans refer to.
            device: where the masks are wanted.
        """
        self.size = size
        self.batch_size = batch_size
        self.device = torch.device(device)
        self._segmentations = segmentations
        self._values = torch.empty((batch_size, *size), device=self.device)

    @singledispatchmethod
    def render(self, plan: MaskPlan) -> Masks:
        """Masks of all of a plan, which must fit the batch size; they live until the next call."""
        raise TypeError(f"expected a grid, cell, segment or window plan, got {type(plan).__name__}")

    @render.register
    def _(self, plan: GridPlan) -> DenseMasks:
        nodes = torch.tensor(plan.cells, dtype=torch.float32, device=self.device)
        rows = self._interpolation(plan.shifts[:, 0], plan.cells.shape[1] - 2, self.size[0])
        columns = self._interpolation(plan.shifts[:, 1], plan.cells.shape[2] - 2, self.size[1])
        values = self._values[: len(plan)]
        torch.bmm(rows @ nodes, columns.transpose(1, 2), out=values)
        return DenseMasks(_confine(values, plan.region))

    @render.register
    def _(self, plan: CellPlan) -> DenseMasks:
        values = torch.tensor(plan.values, device=self.device)
        rows, columns = (
            torch.arange(pixels, device=self.device) * cells // pixels
            for pixels, cells in zip(self.size, values.shape[1:], strict=True)
        )
        wide = values.index_select(2, columns)
        torch.index_select(wide, 1, rows, out=self._values[: len(plan)])
        return DenseMasks(self._values[: len(plan)])

    @render.register
    def _(self, plan: SegmentPlan) -> DenseMasks:
        assert self._segmentations is not None, "a segment plan needs its segmentations"
        kept = torch.tensor(plan.bits, dtype=torch.float32, device=self.device)
        values = self._values[: len(plan)]
        for n, number in enumerate(plan.segmentation.tolist()):
            labels = self._segmentations.labels[number].view(-1)
            torch.index_select(kept[n], 0, labels, out=values[n].view(-1))
        return DenseMasks(_confine(values, plan.region))

    @render.register
    def _(self, plan: WindowPlan) -> HiddenWindows:
        boxes = torch.tensor(plan.windows, device=self.device)
        inside = []
        for length, first, last in ((self.size[0], 0, 2), (self.size[1], 1, 3)):
            pixel = torch.arange(length, device=self.device)
            after = pixel >= boxes[:, first, None]
            inside.append((after & (pixel < boxes[:, last, None])).to(torch.float32))
        return HiddenWindows(plan.windows, *inside)

    def _interpolation(self, shifts: NDArray[np.float32], cells: int, pixels: int) -> Tensor:
        """Bilinear weights of the nodes at each pixel, (N, pixels, cells + 2), two to a row."""
        centre = (torch.arange(pixels, device=self.device) + 0.5) * (cells / pixels)
        position = centre + torch.tensor(shifts, device=self.device)[:, None]
        node = torch.arange(cells + 2, device=self.device)
        return (1 - (position[:, :, None] - node).abs()).clamp_(min=0)


def _confine(values: Tensor, region: NDArray[np.bool_] | None) -> Tensor:
    """Keep all that lies outside of the region."""
    if region is None:
        return values
    outside = torch.tensor(~region, dtype=torch.float32, device=values.device)
    return torch.maximum(values, outside, out=values)
