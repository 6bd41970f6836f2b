"""Shared places: where the maps of one class look, and those of others do not, as at a stamp.

A place is a window of 3 x 3 of the 14 x 14 cells that a map is cut into. Its height in an image is
its positive saliency, as a share of that of the image's highest place. For a class and a place the
mean height over the images of the class is compared with that over all images, in standard errors:

    z = (mean of the class - mean of all) / (standard deviation of all / sqrt(images of the class))

The place where z is largest is the class's. Many places of many classes are looked at, so it is
compared with the largest z of the same images whose classes are dealt again, `DEALS` times
(Westfall and Young, 1993). A place is reported if at most 5 % of the deals have a z as large
anywhere. So where the class of an image has nothing to do with where its map looks, an audit
reports a place in one of twenty runs, however many classes there are. What all classes have in
common, as objects in the middle, is no place of a class.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch.nn.functional import adaptive_avg_pool2d

from iassa.metrics.overlap import as_map, natural_minimum

CELLS = 14  # rows and columns that a map is cut into
WINDOW = 3  # of a place
LOOKS = 0.5  # height from which an image is said to look at a place
FEWEST = 3  # images of a class, and of these those that look there
DEALS = 999
CHANCE = 0.05  # of a report where there is nothing
ROUNDING = 1e-9  # of z


@dataclass(frozen=True)
class SharedPlace:
    """A place that the maps of a class look at more often than those of others.

    Attributes:
        category: the class.
        box: (top, left, bottom, right) as shares of the height and the width.
        images: which look there, by place among the images of the audit.
        of: images of the class.
        others: other images that look there.
        of_others: other images.
        chance: that classes which are dealt at random show as much anywhere.
    """

    category: str
    box: tuple[float, float, float, float]
    images: tuple[int, ...]
    of: int
    others: int
    of_others: int
    chance: float


def measure_places(saliency: ArrayLike) -> NDArray[np.float64]:
    """The share of a map's positive saliency in each cell.

    Args:
        saliency: (H, W) finite.

    Returns:
        (14, 14), of sum 1; all 0 of a flat map.

    Raises:
        InputError: the shape or dtype is another, or values are not finite.
    """
    saliency = as_map(saliency)
    mass = np.maximum(saliency - natural_minimum(saliency), 0)
    peak = mass.max()
    if peak <= 0:
        return np.zeros((CELLS, CELLS))
    cells = adaptive_avg_pool2d(torch.from_numpy(mass / peak)[None], CELLS)[0].numpy()
    return np.asarray(cells / cells.sum(), np.float64)


def find_shared_places(
    places: ArrayLike, categories: Sequence[str], *, seed: int = 0
) -> tuple[SharedPlace, ...]:
    """The place of each class that its maps share, where that is no chance.

    Args:
        places: (N, 14, 14), of each image, see `measure_places`.
        categories: the class of each.
        seed: of the deals.

    Returns:
        At most one of each class, the surest first. None of a class of fewer than three images, and
        none where there is one class: there is nothing to compare it with.
    """
    known = Counter(categories)
    names = [name for name, count in known.items() if count >= FEWEST]
    if len(known) < 2 or not names:
        return ()
    heights = _measure_heights(places)
    spread = heights.std(0)
    scaled = np.where(spread > 0, (heights - heights.mean(0)) / np.where(spread > 0, spread, 1), 0)
    member = np.array([[one == name for one in categories] for name in names])
    weights = member / np.sqrt(member.sum(1, keepdims=True))
    z = weights @ scaled
    rng = np.random.default_rng(seed)
    orders = (rng.permutation(len(heights)) for _ in range(DEALS))
    dealt = np.array([(weights[:, order] @ scaled).max() for order in orders])
    found = []
    for k in np.argsort(-z.max(1), kind="stable").tolist():
        chance = (1 + int((dealt >= z[k].max() - ROUNDING).sum())) / (1 + DEALS)
        window = int(z[k].argmax())
        looking = heights[:, window] >= LOOKS
        if chance <= CHANCE and (looking & member[k]).sum() >= FEWEST:
            found.append(_describe(names[k], window, looking, member[k], chance))
    return tuple(found)


def _measure_heights(places: ArrayLike) -> NDArray[np.float64]:
    """The height of each of P places in N images (N, P)."""
    cells = np.asarray(places, np.float64).reshape(-1, CELLS, CELLS)
    windows = np.lib.stride_tricks.sliding_window_view(cells, (WINDOW, WINDOW), (1, 2))
    mass = windows.sum((3, 4)).reshape(len(cells), -1)
    highest = mass.max(1, keepdims=True)
    return np.asarray(mass / np.where(highest > 0, highest, 1))


def _describe(
    name: str,
    window: int,
    looking: NDArray[np.bool_],
    member: NDArray[np.bool_],
    chance: float,
) -> SharedPlace:
    row, column = divmod(window, CELLS - WINDOW + 1)
    ends = (row, column, row + WINDOW, column + WINDOW)
    return SharedPlace(
        category=name,
        box=(ends[0] / CELLS, ends[1] / CELLS, ends[2] / CELLS, ends[3] / CELLS),
        images=tuple(np.flatnonzero(looking & member).tolist()),
        of=int(member.sum()),
        others=int((looking & ~member).sum()),
        of_others=int((~member).sum()),
        chance=chance,
    )
