"""The binary partition tree: the merges of a loop that looks at all pixels every time."""

from __future__ import annotations

import math

import numpy as np
import pytest

from iassa.masks.partition_tree import grow_tree


def looped(colours):
    """Sets of pixels in the order in which they are merged."""
    height, width = colours.shape[:2]
    regions = [frozenset([(r, c)]) for r, c in np.ndindex(height, width)]

    def outline(region):
        sides = ((0, 1), (1, 0), (0, -1), (-1, 0))
        return sum((r + dr, c + dc) not in region for r, c in region for dr, dc in sides)

    def touch(one, other):
        return any(max(abs(r - s), abs(c - d)) == 1 for r, c in one for s, d in other)

    def distance(both):
        values = np.array([colours[pixel] for pixel in both], float)
        ranges = values.max(0) - values.min(0) + 1
        return (ranges**2).sum() * len(both) * math.sqrt(outline(both))

    merged = []
    while len(regions) > 1:
        pairs = [(a, b) for n, a in enumerate(regions) for b in regions[n + 1 :] if touch(a, b)]
        one, other = min(pairs, key=lambda pair: distance(pair[0] | pair[1]))
        regions = [region for region in regions if region not in (one, other)] + [one | other]
        merged.append(one | other)
    return merged


@pytest.mark.parametrize("size", [(4, 5), (1, 6), (5, 2), (3, 3)])
@pytest.mark.parametrize("seed", range(3))
def test_the_merges_are_those_of_a_loop(size, seed):
    """Colours of random numbers have no ties."""
    colours = np.random.default_rng(seed).uniform(0, 255, (*size, 3))
    tree = grow_tree(colours)
    pixels = math.prod(size)
    found = []
    for node in range(pixels, tree.root + 1):
        leaves = tree.leaves_of(node)
        found.append(frozenset(divmod(leaf, size[1]) for leaf in leaves.tolist()))
        parts = [set(tree.leaves_of(part).tolist()) for part in tree.parts_of(node)]
        assert parts[0] | parts[1] == set(leaves.tolist())
        assert not parts[0] & parts[1]
    assert found == looped(colours)
    assert tree.root == 2 * pixels - 2
    for leaf in range(pixels):
        assert tree.leaves_of(leaf).tolist() == [leaf]
        assert tree.parts_of(leaf) == ()


def test_one_pixel_is_a_tree():
    tree = grow_tree(np.zeros((1, 1, 3)))
    assert (tree.root, tree.parts_of(0), tree.leaves_of(0).tolist()) == (0, (), [0])


def test_regions_of_one_colour_come_together_first():
    colours = np.zeros((12, 17, 3), np.uint8)
    colours[3:9, 5:11] = (200, 30, 90)
    tree = grow_tree(colours)
    below = set(tree.leaves_of(tree.parts_of(tree.root)[0]).tolist())
    patch = {r * 17 + c for r in range(3, 9) for c in range(5, 11)}
    assert below in (patch, set(range(12 * 17)) - patch)
