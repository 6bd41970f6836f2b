"""Superpixels: every pixel labelled, at the size of the image, near the number asked for."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from iassa.image import example_image
from iassa.masks.superpixels import segment

COUNTS, COMPACTNESS = (16, 64), (5.0, 20.0)


def photo(height: int, width: int) -> Tensor:
    image = torch.from_numpy(example_image("cat")).permute(2, 0, 1)
    return image[:, :height, :width].contiguous()


def test_every_pixel_has_a_segment_of_every_segmentation() -> None:
    image = photo(120, 170)
    found = segment(image, COUNTS, COMPACTNESS)
    assert found.labels.shape == (4, 120, 170)
    assert found.wanted == (16, 16, 64, 64)
    largest = 0
    for labels in found.labels.numpy():
        present = np.unique(labels)
        assert present.tolist() == list(range(len(present)))  # none is missing
        largest = max(largest, len(present))
    assert found.num_segments == largest


def test_the_number_of_segments_is_near_what_was_asked_for() -> None:
    """SLIC merges what is small: at a low compactness a third may be left."""
    found = segment(photo(300, 451), (16, 32, 64, 128), (5.0, 10.0, 20.0))
    for wanted, labels in zip(found.wanted, found.labels, strict=True):
        assert wanted / 3 <= len(labels.unique()) <= 1.3 * wanted
    squarest = [len(labels.unique()) for labels in found.labels[2::3]]
    np.testing.assert_allclose(squarest, (16, 32, 64, 128), rtol=0.3)


def test_segments_follow_colours() -> None:
    """Two flat halves, split between the squares of a grid: no segment has pixels of both."""
    image = torch.zeros(3, 60, 90)
    image[:, :, 40:] = 1
    labels = segment(image, (24,), (5.0,)).labels[0].numpy()
    assert not set(np.unique(labels[:, :40])) & set(np.unique(labels[:, 40:]))


def test_segmentations_by_the_count_asked_for() -> None:
    found = segment(photo(40, 60), (8, 16, 32), (5.0, 20.0))
    assert found.of((8, 16, 32)).tolist() == [0, 1, 2, 3, 4, 5]
    assert found.of((16,)).tolist() == [2, 3]
    assert found.of((32, 8)).tolist() == [0, 1, 4, 5]


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (2, 2), (3, 2), (4, 7), (9, 30), (40, 60)])
@pytest.mark.parametrize("value", [0.0, 0.4, 1.0])
def test_constant_and_tiny_images(size: tuple[int, int], value: float) -> None:
    found = segment(torch.full((3, *size), value), COUNTS, COMPACTNESS)
    assert found.labels.shape == (4, *size)
    assert int(found.labels.min()) == 0
    assert int(found.labels.max()) == found.num_segments - 1
    assert found.num_segments <= size[0] * size[1]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("size", [(1, 1), (3, 2), (5, 11), (30, 21)])
def test_noise(size: tuple[int, int], seed: int) -> None:
    pixels = np.random.default_rng(seed).random((3, *size))
    found = segment(torch.from_numpy(pixels).float(), COUNTS, COMPACTNESS)
    assert found.labels.shape == (4, *size)
    assert int(found.labels.min()) == 0
    assert int(found.labels.max()) == found.num_segments - 1


def test_labels_of_a_large_image_are_at_its_size_and_each_segment_is_one_piece_of_it() -> None:
    """600 x 300 is segmented at 316 x 158 and enlarged: outlines are those of the larger image."""
    image = torch.zeros(3, 600, 300)
    image[:, 150:450, 100:200] = 1
    found = segment(image, (32,), (10.0,))
    assert found.labels.shape == (1, 600, 300)
    labels = found.labels[0].numpy()
    inside = np.zeros((600, 300), np.bool_)
    inside[154:446, 104:196] = True  # two pixels of the smaller image off the outline
    outside = np.ones((600, 300), np.bool_)
    outside[146:454, 96:204] = False
    assert not set(np.unique(labels[inside])) & set(np.unique(labels[outside]))
    for row, column in itertools.product((0, 599), (0, 299)):  # the corners hold labels too
        assert (labels == labels[row, column]).sum() > 100


def test_the_same_image_has_the_same_segments() -> None:
    one, other = (segment(photo(90, 140), COUNTS, COMPACTNESS) for _ in range(2))
    assert torch.equal(one.labels, other.labels)
    assert one.num_segments == other.num_segments
