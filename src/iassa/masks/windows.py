"""Windows that are hidden: all of a lattice, those that touch a region, and their plan."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from iassa.errors import InputError, require
from iassa.masks.plans import WindowPlan

MOST_WINDOWS = 1_000_000  # of one lattice: a hundred bytes each


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
        InputError: a window or stride out of range, or too many windows.

    Example:
        >>> sliding_windows((4, 6), 2, 2).tolist()[:3], len(sliding_windows((224, 224), 45, 8))
        ([[0, 0, 2, 2], [0, 2, 2, 4], [0, 4, 2, 6]], 1089)
    """
    if window < 1 or not 0 < stride <= window:
        raise InputError(
            f"expected 0 < stride <= window >= 1, got window {window}, stride {stride}."
        )
    number = math.prod(math.ceil((length + window) / stride) for length in size)
    require(
        number <= MOST_WINDOWS,
        f"expected at most {MOST_WINDOWS} windows, got about {number}. Take a larger stride or a "
        "smaller image.",
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
