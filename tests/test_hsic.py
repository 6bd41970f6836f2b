"""HSIC: the trace of the kernels by a loop, boxes that are known, and memory."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch

import iassa
import iassa.estimators.dependence
from iassa.errors import WeakEvidenceWarning
from iassa.estimators.dependence import Dependence
from iassa.masks.cells import draw_halves
from iassa.masks.rendering import Canvas
from iassa.methods import Hsic
from rounding import steps

pytestmark = pytest.mark.filterwarnings("ignore::iassa.errors.WeakEvidenceWarning")

SIZE = (24, 36)
GRID = (3, 4)
WHITE = np.ones((*SIZE, 3), np.float32)


def looped(bits, scores):
    """The first formula of `Dependence`'s docstring, a pair of masks at a time."""
    N, cells = bits.shape
    width = np.median(scores)
    centre = np.eye(N) - 1 / N
    kernel = np.empty((N, N))
    for n in range(N):
        for m in range(N):
            gap = scores[n] - scores[m]
            if width == 0:
                kernel[n, m] = gap == 0
            else:
                kernel[n, m] = np.exp(-(gap**2) / (2 * width**2))
    found = []
    for cell in range(cells):
        inputs = np.array([[1 + 0.5 - (x - y) ** 2 for y in bits[:, cell]] for x in bits[:, cell]])
        found.append(np.trace(inputs @ centre @ kernel @ centre) / N**2)
    return np.array(found)


def estimate(bits, scores, batch_size=64):
    plan = draw_halves(0, len(scores), GRID, np.random.default_rng(0))
    np.testing.assert_array_equal(plan.values.reshape(len(scores), -1), bits)
    estimator = Dependence(torch.zeros(scores.shape[1], dtype=torch.float64), SIZE, GRID)
    canvas = Canvas(SIZE, batch_size)
    for start in range(0, len(scores), batch_size):
        part = plan[start : start + batch_size]
        given = torch.from_numpy(scores[start : start + batch_size])
        estimator.add(canvas.render(part), given, part, "cells")
    return estimator.estimate()


def draw(masks):
    plan = draw_halves(0, masks, GRID, np.random.default_rng(0))
    bits = plan.values.reshape(masks, -1).astype(np.float64)
    rng = np.random.default_rng(1)
    scores = rng.normal(0, 0.3, (masks, 2)) + bits[:, [0, 5]] * 2 + bits[:, [7, 3]]
    return bits, scores


@pytest.mark.parametrize("block", [1, 100, 2**21])
@pytest.mark.parametrize("masks", [1, 2, 31, 70])
def test_the_criterion_and_its_jackknife_are_those_of_a_loop(masks, block, monkeypatch):
    monkeypatch.setattr(iassa.estimators.dependence, "BLOCK", block)
    bits, scores = draw(masks)
    effect = estimate(bits, scores, batch_size=16)
    expected = np.stack([looped(bits, scores[:, t]) for t in range(2)])
    resized = iassa.image.resize(torch.from_numpy(expected).view(2, *GRID), SIZE)
    np.testing.assert_allclose(effect.saliency, resized, rtol=0, atol=steps(8, 0.1))
    groups = min(32, masks)
    assert len(effect.deviations) == (groups if masks > 1 else 0)
    width = np.median(scores[:, 1])
    for g in range(len(effect.deviations)):
        left = np.arange(masks) % groups != g
        x, f = bits[left], scores[left, 1]
        kernel = np.exp(-((f[:, None] - f) ** 2) / (2 * width**2))  # with the width of all
        z = x - x.mean(0)
        without = 2 * np.einsum("nd,nm,md->d", z, kernel, z) / len(f) ** 2
        found = effect.deviations[g, 1].flatten()
        np.testing.assert_allclose(found, without - expected[1], rtol=0, atol=1e-12)


def test_a_median_of_nothing_tells_equal_scores_from_others():
    bits, _ = draw(40)
    scores = np.maximum(0, bits[:, :1] + bits[:, 1:2] - 1)  # 0 for three of four
    assert np.median(scores) == 0
    effect = estimate(bits, scores)
    expected = iassa.image.resize(torch.from_numpy(looped(bits, scores[:, 0])).view(1, *GRID), SIZE)
    np.testing.assert_allclose(effect.saliency, expected, rtol=0, atol=steps(8, 0.1))


def test_memory_does_not_grow_with_pairs_of_masks():
    """The kernel of 12000 masks would take 1.2 GB, and a copy for each cell 74 GB."""
    code = """
    import resource
    import numpy as np, torch
    from iassa.estimators.dependence import Dependence
    from iassa.masks.cells import draw_halves
    plan = draw_halves(0, 12_000, (8, 8), np.random.default_rng(0))
    scores = torch.from_numpy(plan.values[:, :1, 0] + plan.values[:, :1, 1] + 0.5).double()
    estimator = Dependence(scores[0], (16, 16), (8, 8))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    estimator.add(None, scores, plan, "cells")
    estimator.estimate()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    """
    said = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )
    assert int(said.stdout) < 200 * 1024  # KB


def three_cells(images):
    """Of 8 x 12 cells of the image: one for, one against, and one that is seen as a square."""
    cells = images.astype(np.float64).mean(3)
    one, two, three = cells[:, :8, :9], cells[:, 8:16, 9:18], cells[:, 16:, 27:]
    one, two, three = (cell.mean((1, 2)) for cell in (one, two, three))
    return np.stack([1 + one - two, 1 + three * one], 1)


def explain(calls=600, **options):
    method = Hsic(grid_size=3, round_calls=64, baseline=0.0)
    return iassa.explain(WHITE, three_cells, method=method, calls=calls, **options)


@pytest.mark.parametrize("seed", range(3))
def test_cells_that_the_score_depends_on_are_high_and_others_near_0(seed):
    assert iassa.masks.grids.fit_grid(3, SIZE) == (2, 4)
    method = Hsic(grid_size=4, baseline=0.0)
    grid = iassa.masks.grids.fit_grid(4, SIZE)
    height, width = SIZE[0] // grid[0], SIZE[1] // grid[1]
    assert grid == (3, 5)

    def box(images):
        masks = images.astype(np.float64).mean(3)
        top = masks[:, :height, :width].mean((1, 2))
        low = masks[:, 2 * height :, 3 * width + 3 : 4 * width].mean((1, 2))
        return np.stack([1 + top - low, 1 + top * low], 1)

    found = iassa.explain(WHITE, box, method=method, target=[0, 1], calls=600, seed=seed)
    for saliency in found.saliency:
        centres = saliency[4::8, 3::7][:, :5]
        order = centres.ravel().argsort()
        assert set(order[-2:]) == {0, 13}
        assert centres.ravel()[order[-3]] < 0.2 * centres.ravel()[order[-2]]
    assert found.method["measures"] == "dependence"


def test_rounds_double():
    every = list(Hsic(grid_size=3, round_calls=32).iterate(WHITE, three_cells, target=0, calls=300))
    assert [one.rounds[-1].masks["cells"] for one in every] == [32, 64, 128, 74]
    assert every[-1].calls == 300


def test_the_error_is_rather_above_what_seeds_differ_by():
    """Of a score in which all cells have a part: the points of the sequence are spread evenly."""
    one, two = np.random.default_rng(0).normal(size=(2, SIZE[0] * SIZE[1]))

    def box(images):
        planes = images.astype(np.float64).mean(3).reshape(len(images), -1)
        return (2 + np.tanh(planes @ one / 15) * np.cos(planes @ two / 10))[:, None]

    method = Hsic(grid_size=4, baseline=0.0)
    runs = [iassa.explain(WHITE, box, method=method, calls=260, seed=seed) for seed in range(30)]
    maps = np.stack([one.saliency[0] for one in runs])
    errors = np.stack([one.standard_error[0] for one in runs])
    ratio = ((errors**2).mean() / maps.var(0, ddof=1).mean()) ** 0.5
    assert 1 < ratio < 2.5


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_the_batch_size_does_not_matter(batch_size):
    one, other = (explain(90, batch_size=size) for size in (batch_size, None))
    np.testing.assert_array_equal(one.saliency, other.saliency)


def test_a_flat_score_has_a_flat_map():
    with pytest.warns(WeakEvidenceWarning, match="scores the same"):
        found = iassa.explain(
            WHITE, lambda images: np.full((len(images), 1), 0.3), method="hsic", calls=90
        )
    assert (found.saliency == 0).all()


def test_another_target_costs_no_call():
    again = iassa.retarget(explain(200, target=0), 1)
    np.testing.assert_array_equal(again.saliency, explain(200, target=1).saliency)
