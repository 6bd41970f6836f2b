"""`iassa-paper` against the paper's equations in NumPy, on the same masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

import paper_equations as paper
from iassa.image import resize as resize_planes
from iassa.masks.windows import sliding_windows
from iassa.methods import IassaPaper

SIZE, POSITIONS, BETA, THRESHOLD, FILL = (20, 31), 7, 0.5, 0.3, 0.5
ROUNDS = 3


def black_box(images):
    """Near 1 where one patch is red, less so where the other is not blue."""
    one, other = images[:, 4:9, 6:14].mean((1, 2)), images[:, 10:17, 18:27].mean((1, 2))
    value = 8 * (one[:, 0] - 0.8) + 6 * (other[:, 2] - 0.7) * one[:, 0]
    return (1 / (1 + np.exp(-value)))[:, None]


def features(image):
    """Four levels, fine to coarse, of an image (3, H, W)."""
    levels = [resize_planes(image, (side, side)) for side in (7, 5, 4, 2)]
    return [torch.cat([level, level.square()])[: 3 + k] for k, level in enumerate(levels)]


@pytest.fixture(scope="module")
def made():
    """The image, the maps after each iteration, and the windows of each."""
    image = np.random.default_rng(3).uniform(0.3, 0.5, (*SIZE, 3)).astype(np.float32)
    image[4:9, 6:14, 0] = image[10:17, 18:27, 2] = 1
    method = IassaPaper(
        window=80.0,
        stride=40.0,
        window_step=10.0,
        stride_step=4.0,
        max_rounds=ROUNDS,
        beta=BETA,
        threshold=THRESHOLD,
        features=features,
        positions=POSITIONS,
        baseline="grey",
    )
    after = list(method.iterate(image, black_box, target=0, calls=1000, seed=1))
    maps = [one.saliency[0].astype(np.float64) for one in after[:ROUNDS]]
    windows = [one.families["window"].plan.windows for one in after[-1].evidence.rounds]
    assert len(windows) == ROUNDS
    return image, maps, windows


def transcribe(image, windows, sign=1, own=False):
    """S'_k after each iteration, by the equations, on given windows."""
    levels = [
        level.double().numpy() for level in features(torch.from_numpy(image).permute(2, 0, 1))
    ]
    positions = (POSITIONS, POSITIONS)
    matrix = paper.attention(levels, positions, paper.resize)
    masks = [paper.window_masks(each, SIZE) for each in windows]
    scores = [paper.score(black_box, image, each, FILL)[:, 0] for each in masks]
    for k in range(len(windows)):
        first = k if own else 0
        seen = slice(first, k + 1)
        map_ = paper.saliency(np.concatenate(scores[seen]), np.concatenate(masks[seen]))
        yield paper.adjusted(map_, matrix, BETA, positions, paper.resize, sign)


def test_each_map_is_that_of_the_equations(made):
    image, maps, windows = made
    for ours, theirs in zip(maps, transcribe(image, windows), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6, rtol=0)  # float32, scores below 1
        assert np.ptp(theirs) > 0.01


def test_the_next_windows_are_those_that_hide_some_of_the_region(made):
    image, maps, windows = made
    maps = list(transcribe(image, windows))
    for k, later in enumerate(windows[1:], 1):
        unit = min(SIZE) / 224
        edge, stride = round((80 - 10 * k) * unit), (40 - 4 * k) * unit
        lattice = sliding_windows(SIZE, edge, stride)
        har = paper.region(maps[k - 1], THRESHOLD)
        chosen = paper.next_windows(lattice, har)
        assert sorted(map(tuple, chosen)) == sorted(map(tuple, later.tolist()))
        assert 0 < len(chosen) < len(lattice)


def test_what_is_printed_is_another_method(made):
    """The deviations that docs/methods.md lists have an effect, of the kind that it states."""
    image, _, windows = made
    ours = list(transcribe(image, windows))[-1]
    subtracted = list(transcribe(image, windows, sign=-1))[-1]
    alone = list(transcribe(image, windows, own=True))[-1]
    assert spearmanr(ours.ravel(), subtracted.ravel())[0] < 0.99
    assert spearmanr(ours.ravel(), alone.ravel())[0] < 0.999
    # Scores of a sure model all lie above 0.3: with the printed threshold every pixel is in.
    assert paper.region(ours, THRESHOLD, share=False).mean() in (0, 1)
    assert 0 < paper.region(ours, THRESHOLD).mean() < 1
