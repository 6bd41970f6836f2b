"""Images and maps at the size that they are drawn at."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from iassa.image import resize

LONGEST = 1200  # pixels of the longer side of what is drawn


def resize_planes(planes: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """(H, W, C) at another size, within its range."""
    channels_first = torch.from_numpy(np.ascontiguousarray(planes.transpose(2, 0, 1)))
    resized = resize(channels_first, size)
    return resized.clamp(float(planes.min()), float(planes.max())).permute(1, 2, 0).numpy()


def resize_plane(plane: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """(H, W) at another size, within its range."""
    return resize_planes(plane[:, :, None], size)[:, :, 0]


def resize_known(error: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """(H, W) at another size, from the finite pixels; NaN where there is none."""
    known = np.isfinite(error)
    weight = resize_plane(known.astype(np.float32), size)
    resized = resize_plane(np.where(known, error, np.float32(0)), size)
    return np.divide(resized, weight, where=weight > 1e-6, out=np.full_like(resized, np.nan))


def drawn_size(size: tuple[int, ...], longest: int = LONGEST) -> tuple[int, int]:
    """The (height, width) at which an image (H, W, ...) is drawn: no longer than a panel needs."""
    factor = max(1.0, max(size[:2]) / longest)
    return max(1, round(size[0] / factor)), max(1, round(size[1] / factor))
