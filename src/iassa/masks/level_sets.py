"""Level sets of the last map as masks: what the map calls highest is shown, all else is hidden.

Eq. 7 hides places in the region of Eq. 8 and shows all around it: the masked image is nearly whole,
as it is where deletion begins. These masks ask the reverse, what the highest alone are worth, as
insertion does: each cuts the map at a height of its own, after smooth noise has shuffled its order
a little, so that pixels of about that height come and go.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from iassa.masks.grids import draw_keep_probability
from iassa.masks.plans import GridPlan

GRAIN = 0.06  # standard deviation of the Gaussian that smooths the noise, in sides of the image


def rank_cells(maps: Tensor, cells: tuple[int, int]) -> NDArray[np.float32]:
    """Rank of each cell in a map: 0 for the lowest, 1 for the highest, cells of one height alike.

    Args:
        maps: (T, H, W).
        cells: (rows, columns) over the image.

    Returns:
        (T, rows, columns) float32 in [0, 1].

    Example:
        >>> import torch
        >>> ranks = rank_cells(torch.tensor([[[5.0, 1.0, 1.0, 9.0]]]), (1, 4))
        >>> ranks.astype(float).round(2).tolist()
        [[[0.67, 0.17, 0.17, 1.0]]]
    """
    # In float64, where the mean of equal numbers is that number: a flat map stays flat.
    means = adaptive_avg_pool2d(maps.double(), cells).cpu().numpy()
    return np.stack([_rank(one.ravel()) for one in means]).reshape(means.shape).astype(np.float32)


def draw_level_sets(
    num_masks: int,
    ranks: NDArray[np.float32],
    shown: tuple[float, float],
    shuffle: float,
    rng: np.random.Generator,
) -> GridPlan:
    """Draw level sets of maps, in cells of a fine grid.

    Args:
        num_masks: N.
        ranks: (T, rows, columns) of the maps, see `rank_cells`; they take turns.
        shown: smallest and largest share of the image that a mask keeps.
        shuffle: standard deviation of the noise that is added to the ranks.
        rng: where the randomness comes from.

    Returns:
        The plan of N masks; the keep probability of each is the share that it keeps.
    """
    from skimage.filters import gaussian  # here: slow to import, and few methods need it

    targets, rows, columns = ranks.shape
    share = draw_keep_probability(num_masks, shown, rng)
    noise = rng.standard_normal((num_masks, rows, columns))
    sigma = (0, GRAIN * rows, GRAIN * columns)
    noise = gaussian(noise, sigma, mode="reflect")  # type: ignore[no-untyped-call]
    noise -= noise.mean(axis=(1, 2), keepdims=True)
    noise /= noise.std(axis=(1, 2), keepdims=True).clip(1e-12)
    heights = ranks[np.arange(num_masks) % targets] + shuffle * noise
    order = np.argsort(-heights.reshape(num_masks, -1), axis=1, kind="stable")
    kept = np.empty(order.shape, np.bool_)
    highest = np.arange(rows * columns) < np.round(share * (rows * columns))[:, None]
    np.put_along_axis(kept, order, highest, axis=1)
    nodes = np.pad(kept.reshape(-1, rows, columns), ((0, 0), (1, 1), (1, 1)), mode="edge")
    # A node lies in the middle of its cell, half a cell from where the grid begins.
    return GridPlan(share, nodes, np.full((num_masks, 2), 0.5, np.float32), None)


def _rank(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks from 0 to 1; equal values have the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: NDArray[np.float64] = (np.cumsum(counts) - (counts + 1) / 2)[place]
    return ranks / max(1, len(values) - 1)
