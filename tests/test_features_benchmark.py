"""benchmarks/features.py: its black box knows the flaw, and its images are what they are called."""

from __future__ import annotations

import math

import numpy as np
import pytest

from scripts import loaded


@pytest.fixture(scope="module")
def features():
    with loaded("features") as module:
        yield module


@pytest.mark.parametrize("number", [0, 1, 30])
def test_a_flaw_is_a_part_of_the_weave_that_is_no_brighter(features, number):
    image, flaw = features.draw_weave(number)
    assert image.shape == (*features.SIZE, 3)
    assert image.dtype == np.float32
    assert 0 <= image.min() < image.max() <= 1
    assert 0.015 < flaw.mean() < 0.085
    again, _ = features.draw_weave(number)
    assert (again == image).all()
    other, _ = features.draw_weave(number + 2)
    assert np.abs(other - image).mean() > 0.02
    grey = image.mean(2)
    assert abs(grey[flaw].mean() - grey[~flaw].mean()) < 2 * grey.std()


def test_the_black_box_scores_the_share_of_the_flaw_that_is_seen(features):
    image, flaw = features.draw_weave(3)
    box = features.FlawDetector(image, flaw, 3)
    box._weights[1] = 0  # without what is of no account

    def score(seen):
        shown = np.where(seen[:, :, None], image, np.float32(features.GREY))
        return float(box(shown[None])[0, 0])

    rows, _ = np.nonzero(flaw)
    half = np.zeros_like(flaw)
    half[: int(np.median(rows))] = True
    everything, nothing = np.ones_like(flaw), np.zeros_like(flaw)
    for seen in (everything, nothing, flaw, ~flaw, half):
        share = (seen & flaw).sum() / flaw.sum()
        # A pixel that happens to be grey is not seen even in the whole image.
        assert score(seen) == pytest.approx(1 / (1 + math.exp(3 - 6 * share)), abs=0.02)


def test_a_thermal_image_is_dark_where_the_photograph_is_bright(features):
    photograph = np.zeros((40, 60, 3), np.float32)
    photograph[:, 30:] = 1
    thermal = features.as_thermal(photograph)
    assert thermal.shape == photograph.shape
    assert (thermal[:, :, 0] == thermal[:, :, 2]).all()
    assert thermal[:, :28].min() > 0.9
    assert thermal[:, 32:].max() < 0.1
