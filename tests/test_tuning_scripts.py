"""benchmarks/constants.py and segment_hierarchy.py: what they compare differs in what they say."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

import iassa
from iassa.benchmark import Contestant
from iassa.image import example_image, resize
from iassa.methods import Iassa
from iassa.methods.engine.loop import Setting
from scripts import loaded


@pytest.fixture(scope="module")
def constants():
    with loaded("constants") as module:
        yield module


@pytest.fixture(scope="module")
def hierarchy():
    with loaded("segment_hierarchy") as module:
        yield module


def test_each_arm_has_another_value_of_what_its_label_names(constants):
    for label, method in constants.METHODS.items():
        Contestant(label, method, (500,))  # refuses a label
        default = type(method)()
        changed = [
            field.name
            for field in dataclasses.fields(method)
            if getattr(method, field.name) != getattr(default, field.name)
        ]
        named = label.rsplit("-", 2)[0].split("-")[0]
        assert (named in changed) == bool(changed) == (label != "iassa"), label
        assert len(changed) == 1 + (named == "segment_counts") or label == "iassa", label


def brightness(images):
    return images[:, 10:40, 20:60].mean(axis=(1, 2, 3))[:, None]


def test_the_default_prior_is_that_of_iassa_and_another_one_is_not(constants):
    image = example_image("cat")[:90, :120]
    maps = [
        iassa.explain(image, brightness, method=method, calls=120).saliency
        for method in (Iassa(), constants.IassaWithPrior(), constants.IassaWithPrior(masks=256))
    ]
    np.testing.assert_array_equal(maps[0], maps[1])
    assert not np.array_equal(maps[0], maps[2])


def photo():
    return resize(torch.from_numpy(example_image("cat")).permute(2, 0, 1), (96, 128))


def test_a_segment_of_a_cut_is_a_union_of_those_of_the_next(hierarchy):
    found = hierarchy.MergedSegments().segmentations(photo())
    labels, wanted = found.labels.numpy(), np.array(found.wanted)
    assert labels.shape == (12, 96, 128)
    for place in range(9):
        pairs = np.unique(np.stack([labels[place + 3].ravel(), labels[place].ravel()]), axis=1)
        assert pairs.shape[1] == len(np.unique(labels[place + 3])) == wanted[place + 3]
    mixed = hierarchy.METHODS["mixed"].segmentations(photo())
    assert sorted(mixed.wanted) == sorted(found.wanted)


def test_level_sets_of_segments_show_the_highest(hierarchy):
    method = hierarchy.LevelSegments(level_shuffle=0.0)
    segmentations = method.segmentations(photo())
    setting = Setting((96, 128), (96, 128), 3, torch.zeros(1).double(), segmentations)
    ranks = np.linspace(0, 1, 28, dtype=np.float32)[None, None].repeat(28, 1)  # to the right
    plan = method._draw(50, ranks, setting, 1)
    assert np.ptp(plan.keep_probability) > 0.6
    for bits, place, share in zip(plan.bits, plan.segmentation, plan.keep_probability, strict=True):
        labels = segmentations.labels[place].numpy()
        shown = bits[labels]
        assert shown.mean() == pytest.approx(share, abs=1e-6)
        means = np.array([np.nonzero(labels == n)[1].mean() for n in range(labels.max() + 1)])
        inside, outside = means[bits[: len(means)]], means[~bits[: len(means)]]
        if len(inside) and len(outside):
            assert inside.min() > outside.max() - 3  # ranks are of cells of five pixels
