"""A binary partition tree: regions of one image that are merged, two at a time, to the whole.

After Salembier and Garrido (IEEE Trans. Image Processing, 2000), with the order of merges of
ShapBPT (Rashid et al., AAAI 2026).
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class PartitionTree:
    """A tree over S leaves, numbered from 0; inner nodes have the numbers from S on, the root last.

    Attributes:
        children: (S - 1, 2) the two parts of each inner node.
        leaves: (S,) all leaves, in an order in which those of each node stand together.
        spans: (2 S - 1, 2) first and end of each node's leaves in that order.
    """

    children: NDArray[np.intp]
    leaves: NDArray[np.intp]
    spans: NDArray[np.intp]

    @property
    def root(self) -> int:
        """The node of all leaves."""
        return len(self.spans) - 1

    def leaves_of(self, node: int) -> NDArray[np.intp]:
        """The leaves below a node, or the leaf itself."""
        first, end = self.spans[node]
        return self.leaves[first:end]

    def parts_of(self, node: int) -> tuple[int, ...]:
        """The two parts of a node, none of a leaf."""
        inner = node - len(self.leaves)
        return tuple(self.children[inner].tolist()) if inner >= 0 else ()


def grow_tree(colours: NDArray[np.generic]) -> PartitionTree:
    """Merge the pixels of an image into a tree, the two nearest neighbours first.

    The distance of two regions is

        (r_1^2 + r_2^2 + r_3^2) a sqrt(p)

    with r the ranges of the three colours in both together, plus 1, a their area and p the length
    of their outline. Pixels are neighbours that share an edge or a corner.

    Args:
        colours: (H, W, 3), each colour from 0 to 255 as ShapBPT has those of Lab.

    Returns:
        The tree; leaf r W + c is pixel (r, c). Ties go to the regions that are older.
    """
    height, width = colours.shape[:2]
    pixels = colours.reshape(-1, 3).astype(float).tolist()
    number = np.arange(height * width).reshape(height, width)
    regions = [_Region(pixel, pixel, 1, 4, {}) for pixel in pixels]
    waiting = []
    for one, other, border in _neighbours(number):
        regions[one].borders[other] = regions[other].borders[one] = border
        waiting.append((_distance(regions[one], regions[other], border), one, other))
    heapq.heapify(waiting)
    gone = bytearray(2 * len(regions))
    children = []
    while waiting:
        _, one, other = heapq.heappop(waiting)
        if gone[one] or gone[other]:
            continue
        new = len(regions)
        gone[one] = gone[other] = 1
        children.append((one, other))
        merged = _merge(regions[one], regions[other], one, other)
        regions.append(merged)
        for near, border in merged.borders.items():
            around = regions[near].borders
            around.pop(one, None)
            around.pop(other, None)
            around[new] = border
            heapq.heappush(waiting, (_distance(regions[near], merged, border), near, new))
        regions[one].borders = regions[other].borders = {}
    return _number(np.array(children, np.intp).reshape(-1, 2), len(pixels))


@dataclass(eq=False)
class _Region:
    """The least and the largest of each colour, area, outline, and borders with neighbours."""

    low: list[float]
    high: list[float]
    area: int
    outline: int
    borders: dict[int, int]


def _neighbours(number: NDArray[np.integer]) -> Iterator[tuple[int, int, int]]:
    """Pairs of pixels, by their numbers (H, W), and the length of the edge that they share."""
    for one, other, border in (
        (number[:, :-1], number[:, 1:], 1),
        (number[:-1], number[1:], 1),
        (number[:-1, :-1], number[1:, 1:], 0),
        (number[:-1, 1:], number[1:, :-1], 0),
    ):
        for pair in zip(one.ravel().tolist(), other.ravel().tolist(), strict=True):
            yield *pair, border


def _distance(one: _Region, other: _Region, border: int) -> float:
    ranges = 0.0
    for low, low_, high, high_ in zip(one.low, other.low, one.high, other.high, strict=True):
        ranges += (max(high, high_) - min(low, low_) + 1) ** 2
    outline = one.outline + other.outline - 2 * border
    return ranges * (one.area + other.area) * math.sqrt(outline)


def _merge(one: _Region, other: _Region, a: int, b: int) -> _Region:
    """Both together; a and b are their numbers."""
    border = one.borders[b]
    few, many = sorted((one.borders, other.borders), key=len)
    borders = dict(many)
    for near, length in few.items():
        borders[near] = borders.get(near, 0) + length
    del borders[a], borders[b]
    return _Region(
        list(map(min, one.low, other.low)),
        list(map(max, one.high, other.high)),
        one.area + other.area,
        one.outline + other.outline - 2 * border,
        borders,
    )


def _number(children: NDArray[np.intp], leaves: int) -> PartitionTree:
    """The tree, its leaves in an order from the root down, the left part first."""
    sizes = np.ones(2 * leaves - 1, np.intp)
    for inner, (left, right) in enumerate(children.tolist()):
        sizes[leaves + inner] = sizes[left] + sizes[right]
    first = np.zeros(2 * leaves - 1, np.intp)
    for inner in range(leaves - 2, -1, -1):
        left, right = children[inner].tolist()
        first[left] = first[leaves + inner]
        first[right] = first[left] + sizes[left]
    order = np.empty(leaves, np.intp)
    order[first[:leaves]] = np.arange(leaves)
    return PartitionTree(children, order, np.stack([first, first + sizes], 1))
