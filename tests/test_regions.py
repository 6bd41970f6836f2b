"""Regions of maps: level sets, rules and boxes against loops over pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import iassa
from iassa.errors import InputError
from iassa.explanations.regions import (
    box_component,
    choose_region,
    level_sets,
    split_region,
)

SIZE = (7, 11)
RNG = np.random.default_rng(3)
SMOOTH = RNG.normal(size=SIZE).astype(np.float32)
COARSE = RNG.integers(-3, 4, SIZE).astype(np.float32)  # many pixels of one height


@settings(max_examples=40)
@given(arrays(np.float32, (4, 5), elements=st.integers(-4, 4).map(np.float32)))
def test_each_level_set_is_all_above_a_height(saliency):
    sets = level_sets(saliency)
    heights = sorted(set(saliency.ravel().tolist()), reverse=True)
    assert sets.last == len(heights)
    assert not sets[0].any()
    for number, height in enumerate(heights, 1):
        np.testing.assert_array_equal(sets[number], saliency >= height)
        assert sets.shares[number] == pytest.approx(np.mean(saliency >= height))


def test_heights_that_differ_by_the_rounding_of_a_resize_are_one():
    saliency = np.array([[1.0, 1.0 + 2e-7, 0.0, 0.5]], np.float32)
    assert level_sets(saliency).shares.tolist() == [0, 0.5, 0.75, 1]


@pytest.mark.parametrize("saliency", [SMOOTH, COARSE, SMOOTH * np.float32(1e30)])
@pytest.mark.parametrize("number", [1e-6, 0.1, 0.37, 0.5, 1.0])
def test_a_region_is_the_smallest_set_that_its_rule_asks_for(saliency, number):
    heights = sorted(set(saliency.ravel().tolist()), reverse=True)
    total = sum(max(float(v), 0.0) for v in saliency.ravel())
    for rule in ("share", "mass"):
        for height in heights:  # the first that is enough
            part = saliency >= height
            mass = sum(max(float(v), 0.0) for v in saliency[part])
            reached = part.mean() if rule == "share" else mass / total
            if reached >= number - 1e-9:
                break
        found = choose_region(saliency, **{rule: number})
        if rule == "share" or number < 1:
            np.testing.assert_array_equal(found, part)
        else:  # of the whole mass all positive pixels, but for those that the sum rounds away
            assert (saliency[found] > 0).all()
    expected = [[v >= number * saliency.max() for v in row] for row in saliency.tolist()]
    np.testing.assert_array_equal(choose_region(saliency, level=number), expected)


def test_without_a_rule_it_is_what_is_above_a_third_of_the_peak_or_so():
    np.testing.assert_array_equal(choose_region(SMOOTH), choose_region(SMOOTH, level=0.3))


@pytest.mark.parametrize(
    ("saliency", "rules", "text"),
    [
        (SMOOTH, {"share": 0.1, "mass": 0.2}, "a share, a mass or a level, got share, mass"),
        (SMOOTH, {"share": 0.0}, "expected share to be a number or None, above 0 and at most 1"),
        (SMOOTH, {"level": 1.5}, "level to be"),
        (SMOOTH, {"mass": "all"}, "mass to be"),
        (np.zeros(SIZE, np.float32), {"share": 0.1}, "the same everywhere"),
        (np.full(SIZE, 0.5, np.float32), {}, "the same everywhere: a region by level"),
        (np.full(SIZE, 0.5, np.float32), {"mass": 0.5}, "the same everywhere: a region by mass"),
        (np.zeros(SIZE, np.float32), {}, "positive somewhere, got 0 at most"),
        (-np.abs(SMOOTH) - 1, {"mass": 0.5}, "a region by mass has no pixels"),
    ],
)
def test_bad_input_is_told_in_one_line(saliency, rules, text):
    with pytest.raises(InputError, match=text) as caught:
        choose_region(saliency, **rules)
    assert "\n" not in str(caught.value)


def test_components_are_connected_and_specks_are_left_out():
    region = np.zeros((9, 12), np.bool_)
    region[1:4, 1:6] = True  # 15 pixels
    region[4, 6] = True  # touches at a corner: one more
    region[6:8, 9:11] = True  # 4
    region[8, 0] = True  # a speck: 1 of 16
    large, small = split_region(region, 0.1)
    assert (large.mask.sum(), small.mask.sum()) == (16, 4)
    assert len(split_region(region, 0)) == 3
    assert [part.mask.sum() for part in split_region(region, 1)] == [16]
    with pytest.raises(InputError, match="one without pixels"):
        split_region(np.zeros(SIZE, np.bool_))
    with pytest.raises(InputError, match="smallest"):
        split_region(region, 2)


def test_components_of_any_number_take_the_memory_of_one_region():
    """56,000 dots of one size, each as large as the region, would be 12 GB."""
    dots = np.zeros((439, 512), np.bool_)
    dots[::2, ::2] = True
    parts = split_region(dots)
    assert len(parts) == dots.sum()
    assert sum(part.mask.nbytes for part in parts) == dots.sum()
    again = np.zeros_like(dots)
    for part in parts:
        again[part.top, part.left] = part.mask[0, 0]
    np.testing.assert_array_equal(again, dots)


def test_a_box_is_in_pixels_of_the_image_and_holds_its_component():
    region = np.zeros((10, 20), np.bool_)
    region[2:5, 7] = True
    (component,) = split_region(region)
    saliency = np.arange(200, dtype=np.float32).reshape(10, 20)
    box = box_component(component, saliency, (10, 20))
    assert (box.top, box.left, box.bottom, box.right) == (2, 7, 5, 8)
    assert box.share == pytest.approx(3 / 200)
    assert (box.mean, box.peak) == (67.0, 87.0)
    wide = box_component(component, saliency, (25, 50))  # 2.5 pixels for each
    assert (wide.top, wide.left, wide.bottom, wide.right) == (5, 17, 13, 20)


def test_an_explanation_gives_regions_and_boxes_at_the_size_that_is_asked_for():
    image = np.full((600, 800, 3), 0.2, np.float32)
    image[100:250, 400:700] = 1

    def bright(images):
        return images[:, 4:10, 16:28].mean((1, 2, 3))[:, None]

    model = iassa.models.FunctionModel(bright, input_size=(24, 32))
    made = iassa.explain(image, model, method="rise", calls=200)
    assert made.region().shape == (384, 512)
    whole = made.region(0, share=0.1, full_size=True)
    assert whole.shape == (600, 800)
    assert whole.mean() == pytest.approx(0.1, abs=0.01)
    (box, *_) = made.boxes("class 0", share=0.05)
    middle = ((box.top + box.bottom) / 2, (box.left + box.right) / 2)
    assert 75 < middle[0] < 275
    assert 380 < middle[1] < 720
    assert box.peak >= box.mean > 0
    with pytest.raises(InputError, match="target's place"):
        made.region("no such class")
