"""Sobol: indices of boxes that are known, Jansen's sum by a loop, and how calls become designs."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import iassa
from iassa.errors import InputError, WeakEvidenceWarning
from iassa.estimators.total_order import FEWEST, TotalOrder
from iassa.masks.cells import draw_designs
from iassa.masks.rendering import Canvas
from iassa.methods import Sobol
from rounding import steps

pytestmark = pytest.mark.filterwarnings("ignore::iassa.errors.WeakEvidenceWarning")

SIZE = (24, 36)
GRID = (2, 3)
WHITE = np.ones((*SIZE, 3), np.float32)
WEIGHTS = np.array([[0.0, 1.0, 2.0], [0.5, -1.5, 0.0]])


def cells_of(images):
    """The mean of 2 x 3 parts, (N, 2, 3): on a white image over black, of the mask."""
    planes = images.astype(np.float64).mean(3)
    return planes.reshape(len(images), 2, 12, 3, 12).mean((2, 4))


def linear(images):
    """Two scores that are linear in the cells."""
    cells = cells_of(images)
    return np.stack([(cells * WEIGHTS).sum((1, 2)), cells[:, 0, 0] * 3 + cells[:, 1, 2]], 1)


def product(images):
    cells = cells_of(images)
    return cells[:, :1, 0] * cells[:, :1, 1] * 4


def explain(box, calls, grid_size=2, target=0, **options):
    method = Sobol(grid_size=grid_size, baseline=0.0)
    return iassa.explain(WHITE, box, method=method, target=target, calls=calls, **options)


def looped(scores, cells, order):
    """The docstring of `TotalOrder`."""
    half = {cell: [] for cell in range(cells)}
    for n, score in enumerate(scores):
        place = n % (cells + 2)
        if place == 0:
            first = score
        if place >= 2:
            half[order[place - 2]].append((first - score) ** 2 / 2)
    return np.array([np.mean(half[cell]) / np.var(scores, ddof=1) for cell in range(cells)])


@pytest.mark.parametrize("batch_size", [1, 5, 300])
@pytest.mark.parametrize("masks", [8, 13, 16, 200, 8 * 40 + 3])
def test_the_index_and_its_jackknife_are_those_of_a_loop(masks, batch_size):
    order = np.array([3, 1, 5, 0, 2, 4])
    plan = draw_designs(0, 64, GRID, order, np.random.default_rng(3))[:masks]
    scores = np.random.default_rng(4).normal(5, 1, (masks, 2))
    estimator = TotalOrder(torch.zeros(2, dtype=torch.float64), SIZE, GRID, order)
    canvas = Canvas(SIZE, batch_size)
    for start in range(0, masks, batch_size):
        part = plan[start : start + batch_size]
        given = torch.from_numpy(scores[start : start + batch_size])
        estimator.add(canvas.render(part), given, part, "design")
    effect = estimator.estimate()
    if masks >= 16:  # else some cells have not been asked about
        expected = np.stack([looped(scores[:, t], 6, order) for t in range(2)])
        resized = iassa.image.resize(torch.from_numpy(expected).view(2, *GRID), SIZE)
        np.testing.assert_allclose(effect.saliency, resized, rtol=1e-6)
    if masks < 8 * FEWEST:
        assert not effect.settled.any()
        assert effect.standard_error.isinf().all()
        return
    assert effect.settled.all()
    design = np.arange(masks) // 8
    groups = min(32, design[-1] + 1)
    assert len(effect.deviations) == groups
    for g in range(groups):
        left = scores[design % groups != g, 1]
        deviation = looped(left, 6, order) - expected[1]
        np.testing.assert_allclose(effect.deviations[g, 1].flatten(), deviation, atol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_a_linear_box_has_the_shares_of_its_squared_weights(seed):
    """Each cell has the variance w^2 / 12, and no part in that of others."""
    grid = iassa.masks.grids.fit_grid(8, SIZE)
    weights = np.random.default_rng(0).normal(size=grid)
    rows, columns = (np.arange(n) * g // n for n, g in zip(SIZE, grid, strict=True))
    number = (rows[:, None] * grid[1] + columns).ravel()

    def box(images):
        planes = images.astype(np.float64).mean(3).reshape(len(images), -1)
        means = np.stack([np.bincount(number, one) / np.bincount(number) for one in planes])
        return means @ weights.reshape(-1, 1)

    calls = 2 + 60 * (weights.size + 2)
    found = iassa.explain(WHITE, box, method=Sobol(baseline=0.0), calls=calls, seed=seed)
    assert found.calls == calls
    assert found.saliency.shape == (1, *SIZE)
    shares = weights**2 / (weights**2).sum()
    wanted = iassa.image.resize(torch.from_numpy(shares)[None], SIZE)[0].numpy()
    assert np.corrcoef(found.saliency[0].ravel(), wanted.ravel())[0, 1] > 0.97
    # The variance that all cells are divided by is that of sixty points.
    np.testing.assert_allclose(found.saliency[0].mean(), wanted.mean(), rtol=0.6)
    inside = np.abs(found.saliency[0] - wanted) <= 2 * found.standard_error[0]
    assert inside.mean() > 0.9


@pytest.mark.parametrize("seed", range(2))
def test_what_two_cells_do_together_counts_for_both(seed):
    """x y of uniform x, y: V = 7/144, and the total index is (1/9 - 1/12) / V = 4/7 for each."""

    def box(images):
        cells = images.astype(np.float64).mean(3)
        return (cells[:, :12, :9].mean((1, 2)) * cells[:, 12:, 9:18].mean((1, 2)))[:, None]

    found = explain(box, 1 + 10 * 400, grid_size=3, seed=seed)  # cells of 12 x 9
    middle = found.saliency[0][6::12, 4::9]
    assert middle.shape == (2, 4)
    expected = np.zeros((2, 4))
    expected[0, 0] = expected[1, 1] = 4 / 7
    np.testing.assert_allclose(middle, expected, atol=0.06)


@pytest.mark.parametrize(
    ("calls", "grid_size", "designs"),
    [(17, 3, 1), (40, 6, 1), (67, 7, 1), (68, 8, 1), (200, 8, 3), (2114, 8, 32)],
)
def test_calls_become_designs_of_the_largest_grid_that_they_can_ask_about(
    calls, grid_size, designs
):
    square = np.ones((32, 32, 3), np.float32)
    shown = 0

    def box(images):
        nonlocal shown
        shown += len(images)
        return images.mean((1, 2, 3))[:, None]

    found = iassa.explain(square, box, method="sobol", calls=calls)
    assert shown == found.calls == calls
    assert found.method["fields"]["grid_size"] == grid_size
    # One call is the whole image and, but for the fewest calls, one is asked again.
    masks = calls - 1 - (calls > 17)
    assert masks // (grid_size**2 + 2) == designs
    assert len(found.evidence) == masks


def test_a_run_with_a_smaller_grid_goes_on_with_it():
    part = iassa.explain(WHITE, linear, method="sobol", calls=40)
    made = iassa.extend(part, linear, calls=100)
    size = part.method["fields"]["grid_size"]
    whole = iassa.explain(WHITE, linear, method=Sobol(grid_size=size), calls=140)
    np.testing.assert_array_equal(made.saliency, whole.saliency)
    assert size < 8


def test_the_error_is_that_of_seeds():
    """The root mean square of the error over what seeds differ by: near 1, rather above."""
    runs = [explain(linear, 1 + 10 * 40, grid_size=3, seed=seed) for seed in range(30)]
    maps = np.stack([one.saliency[0] for one in runs])
    errors = np.stack([one.standard_error[0] for one in runs])
    ratio = math.sqrt((errors**2).mean() / maps.var(0, ddof=1).mean())
    assert 0.8 < ratio < 2


def test_few_designs_have_no_error_and_meet_no_tolerance():
    found = explain(linear, 1 + 10 * (FEWEST - 1), grid_size=3, tolerance=0.99)
    assert np.isinf(found.standard_error).all()
    assert found.stopped == "calls"
    known = explain(linear, 1000, grid_size=3, tolerance=0.99)
    assert known.stopped == "tolerance"
    assert 10 * FEWEST <= known.calls < 1000


def test_a_flat_score_has_a_flat_map():
    with pytest.warns(WeakEvidenceWarning, match="scores the same"):
        found = explain(lambda images: np.full((len(images), 1), 0.3), 90)
    assert (found.saliency == 0).all()


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_the_batch_size_does_not_matter(batch_size):
    one, other = (explain(product, 90, batch_size=size) for size in (batch_size, None))
    np.testing.assert_allclose(one.saliency, other.saliency, atol=steps(4, other.saliency), rtol=0)


def test_another_target_costs_no_call():
    found = explain(linear, 200, target=0)
    again = iassa.retarget(found, 1)
    np.testing.assert_array_equal(again.saliency, explain(linear, 200, target=1).saliency)
    assert found.method["measures"] == "share of the variance"


def test_too_many_cells_are_refused():
    with pytest.raises(InputError, match="expected grid_size of sobol to be"):
        Sobol(grid_size=17)
