"""Scores of masked images: a plan is rendered a batch at a time, and the black box is asked.

Masks that were scored before are rendered again, but nothing is asked about them.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iassa.errors import BlackBoxError
from iassa.masks.plans import MaskPlan
from iassa.masks.rendering import Canvas, Masks
from iassa.models.black_box import BlackBox, ask
from iassa.models.readout import Readout

__all__ = ["cap_batch", "score_masks"]

# Of masked images in one batch; 1024 x 1024 pixels take 12 MB each.
BATCH_BYTES = {"cpu": 32 * 2**20}
ACCELERATOR_BATCH_BYTES = 512 * 2**20
BATCH_SIZE = {"cpu": 16}
ACCELERATOR_BATCH_SIZE = 128  # fewer leave a GPU idle


def cap_batch(batch_size: int | None, size: tuple[int, int], device: torch.device) -> int:
    """The batch size that is asked for, or fewer where images are so large that memory counts.

    Args:
        batch_size: the most; None takes 16 on a CPU and 128 on an accelerator.
        size: (height, width) of the images.
        device: where they are.
    """
    wanted = batch_size or BATCH_SIZE.get(device.type, ACCELERATOR_BATCH_SIZE)
    most = BATCH_BYTES.get(device.type, ACCELERATOR_BATCH_BYTES)
    return max(1, min(wanted, most // (3 * 4 * size[0] * size[1])))


def score_masks(
    black_box: BlackBox,
    image: Tensor,
    baseline: Tensor,
    plan: MaskPlan,
    canvas: Canvas,
    readout: Readout,
    known: NDArray[np.float64] | None = None,
    threads: int | None = None,
) -> Iterator[tuple[slice, Masks, Tensor, int]]:
    """Readings of f(I * M_i + baseline * (1 - M_i)) of the masks of a plan, a batch at a time.

    Args:
        black_box: whom to ask.
        image: (3, H, W), on the black box's device.
        baseline: (3, H, W), what hidden pixels show.
        plan: the masks.
        canvas: renders them; its batch size is used.
        readout: what to keep of the answers.
        known: (n, C) readings of the first masks, which are not asked about again.
        threads: of torch, for the black box; see `one_thread`.

    Yields:
        Which masks, the masks themselves (valid until the next batch), their readings (N, C), and
        how many of them the black box was asked about.

    Raises:
        BlackBoxError: see `ask` and `Readout.read`.
    """
    masked = image.new_empty((canvas.batch_size, *image.shape))
    known = np.empty((0, readout.columns)) if known is None else known
    for start in range(0, len(plan), canvas.batch_size):
        batch = slice(start, min(start + canvas.batch_size, len(plan)))
        masks = canvas.render(plan[batch])
        readings = torch.from_numpy(known[batch].copy()).to(image.device)
        asked = batch.stop - start - len(readings)
        if asked:
            planes = masks.blend(image, baseline, masked[: batch.stop - start])[len(readings) :]
            try:
                answers = ask(black_box, planes, readout.num_outputs, threads)
                readings = torch.cat([readings, _read(readout, answers)])
            except BlackBoxError:
                if len(readings):  # what was known of the batch is not lost with the rest
                    batch = slice(start, start + len(readings))
                    yield batch, canvas.render(plan[batch]), readings, 0
                raise
        yield batch, masks, readings, asked


def _read(readout: Readout, answers: Tensor) -> Tensor:
    try:
        return readout.read(answers)
    except BlackBoxError as error:
        error.images = len(answers)  # they were asked about, and are lost
        raise
