"""Regions of a map: its level sets, the part that a share, a mass or a level asks for, its boxes.

A level set holds all pixels above some height. So a region never cuts through pixels that the map
calls equal, as those of one superpixel are.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, TypeAlias

import numpy as np
from numpy.typing import NDArray

from iassa.checks import Within, take
from iassa.errors import list_some, require

Share: TypeAlias = Annotated[float | None, Within(0, 1, above=True)]
Smallest: TypeAlias = Annotated[float, Within(0, 1)]

# Heights that are told apart, over the range of a map. To enlarge a map and shrink it again leaves
# equal pixels equal but for rounding, which is a tenth of this.
HEIGHTS = 2**20
LEVEL = 0.3  # of the peak, as `relative_error` and F1 have it
SMALLEST = 0.05  # of the largest component


@dataclass(frozen=True, eq=False)
class LevelSets:
    """The level sets of a map, each within the next: set 0 is empty, the last is all of the image.

    Attributes:
        depth: (h, w) int64, the number of the first set that holds a pixel, from 1.
        shares: (n + 1,) float64, the share of the pixels that is in each set.
    """

    depth: NDArray[np.int64]
    shares: NDArray[np.float64]

    def __getitem__(self, number: int) -> NDArray[np.bool_]:
        """(h, w), the pixels of one of them."""
        return self.depth <= number

    @property
    def last(self) -> int:
        """The number of the whole image."""
        return len(self.shares) - 1


def level_sets(saliency: NDArray[np.floating]) -> LevelSets:
    """The level sets of a map (h, w), from its highest pixels on.

    Example:
        >>> sets = level_sets(np.array([[0.5, -1.0, 0.5, 2.0]]))
        >>> sets.shares.tolist(), sets[2].tolist()
        ([0.0, 0.25, 0.75, 1.0], [[True, False, True, True]])
    """
    values = saliency.astype(np.float64)
    height = values.max() - values
    whole = height.max()
    steps = np.round(height / whole * HEIGHTS) if whole > 0 else np.zeros_like(height)
    _, place, counts = np.unique(steps, return_inverse=True, return_counts=True)
    shares = np.concatenate([[0.0], np.cumsum(counts) / values.size])
    return LevelSets(1 + place.reshape(values.shape).astype(np.int64), shares)


def refuse_flat(maps: Iterable[NDArray[np.floating]], why: str = "") -> None:
    """Refuse maps that are all the same everywhere: none has a highest part.

    Args:
        maps: (h, w) each.
        why: what goes on the error's first sentence.

    Raises:
        InputError: they are.
    """
    require(
        any(one.min() < one.max() for one in maps),
        f"expected a map with a highest part, got one that is the same everywhere{why}. Explain "
        "with more calls, or another target.",
    )


def choose_region(
    saliency: NDArray[np.float32],
    *,
    share: float | None = None,
    mass: float | None = None,
    level: float | None = None,
) -> NDArray[np.bool_]:
    """The highest part of a map, by one of three rules; `level` 0.3 without any.

    Args:
        saliency: (h, w).
        share: the smallest level set with this share of the pixels, above 0.
        mass: the smallest level set with this share of the sum of all positive pixels, above 0.
        level: all pixels of this share of the peak or more, above 0.

    Returns:
        (h, w), at least one pixel.

    Raises:
        InputError: several rules, a number beyond (0, 1], a map that is the same everywhere, or,
            but for a share, one that is positive nowhere: such a region has no pixels.
    """
    rule, number = choose_rule(share, mass, level) or ("level", LEVEL)
    peak = float(saliency.max())
    require(
        rule == "share" or peak > 0,
        f"expected a map that is positive somewhere, got {peak:g} at most: a region by {rule} has "
        "no pixels. Ask for a share, or explain the other side, as 'not NAME'.",
    )
    refuse_flat([saliency], f": a region by {rule} is no part of it")
    if rule == "share":
        sets = level_sets(saliency)
        return sets[int(np.searchsorted(sets.shares, number - 1e-12))]
    if rule == "level":
        return saliency >= np.float64(number) * peak
    sets = level_sets(saliency)
    positive = np.maximum(saliency, 0).astype(np.float64).ravel()
    sums = np.cumsum(np.bincount(sets.depth.ravel(), weights=positive))
    return sets[int(np.searchsorted(sums, number * sums[-1]))]


def choose_rule(
    share: float | None, mass: float | None, level: float | None
) -> tuple[str, float] | None:
    """Which of the rules of `choose_region` is given; None for none.

    Raises:
        InputError: several, or a number beyond (0, 1].
    """
    rules = {"share": share, "mass": mass, "level": level}
    given = {name: take(value, Share, name) for name, value in rules.items() if value is not None}
    require(
        len(given) <= 1,
        f"expected a share, a mass or a level, got {list_some(given)}. Leave one.",
    )
    return next(iter(given.items()), None)


@dataclass(frozen=True)
class RegionBox:
    """The box of one component of a region.

    Attributes:
        top: of its first row, in pixels of the image as it was given.
        left: of its first column.
        bottom: behind its last row.
        right: behind its last column.
        share: of the image's pixels that are in the component.
        mean: saliency of its pixels, in score units.
        peak: the highest of them.
    """

    top: int
    left: int
    bottom: int
    right: int
    share: float
    mean: float
    peak: float


@dataclass(frozen=True, eq=False)
class Component:
    """Connected pixels of a region, without what is around them: a region may have 100,000.

    Attributes:
        size: (height, width) of the region.
        top: its first row there.
        left: its first column.
        mask: (h, w) bool, its pixels in the smallest box around it.
    """

    size: tuple[int, int]
    top: int
    left: int
    mask: NDArray[np.bool_]

    def box(self, size: tuple[int, int]) -> tuple[int, int, int, int]:
        """Top, left, bottom, right: all that it touches in an image of a (height, width)."""
        sides = []
        for first, behind, length, full in (
            (self.top, self.top + self.mask.shape[0], self.size[0], size[0]),
            (self.left, self.left + self.mask.shape[1], self.size[1], size[1]),
        ):
            sides.append((first * full // length, -(-behind * full // length)))
        (top, bottom), (left, right) = sides
        return top, left, bottom, right


def split_region(region: NDArray[np.bool_], smallest: float = SMALLEST) -> tuple[Component, ...]:
    """The connected components of a region, the largest first; specks are left out.

    Args:
        region: (h, w).
        smallest: the fewest pixels of a component, as a share of those of the largest one; 0 for
            all components.

    Returns:
        Pixels that touch at a corner are connected.

    Raises:
        InputError: a share beyond [0, 1], or a region without pixels.
    """
    from scipy import ndimage  # here: half a second to import

    smallest = take(smallest, Smallest, "smallest")
    require(region.any(), "expected a region, got one without pixels. Ask for a larger one.")
    labels, _ = ndimage.label(region, np.ones((3, 3)))
    places = ndimage.find_objects(labels)
    counts = np.bincount(labels.ravel())[1:]
    order = np.argsort(-counts, kind="stable").tolist()
    size = (region.shape[0], region.shape[1])
    return tuple(
        Component(size, places[k][0].start, places[k][1].start, labels[places[k]] == 1 + k)
        for k in order
        if counts[k] >= smallest * counts[order[0]]
    )


def box_component(
    component: Component, saliency: NDArray[np.float32], size: tuple[int, int]
) -> RegionBox:
    """The box of a component.

    Args:
        component: of a region of the map.
        saliency: (h, w), the map.
        size: (height, width) of the image as it was given.
    """
    height, width = component.mask.shape
    top, left = component.top, component.left
    values = saliency[top : top + height, left : left + width][component.mask].astype(np.float64)
    share = values.size / saliency.size
    return RegionBox(*component.box(size), share, float(values.mean()), float(values.max()))
