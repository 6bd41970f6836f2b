"""Level sets of a map as masks, against sorting by hand and what must hold of any draw."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from iassa.masks.grids import fit_grid
from iassa.masks.level_sets import draw_level_sets, rank_cells
from iassa.masks.plans import GridPlan
from iassa.masks.rendering import Canvas
from rounding import steps

CELLS = (6, 9)


def _ranks(seed: int, targets: int = 1) -> np.ndarray:
    """Ranks of different heights, drawn at random."""
    rng = np.random.default_rng(seed)
    order = np.stack([rng.permutation(CELLS[0] * CELLS[1]) for _ in range(targets)])
    return (order / (order.shape[1] - 1)).reshape(targets, *CELLS).astype(np.float32)


def _kept(plan: GridPlan) -> np.ndarray:
    """(N, rows, columns), without the nodes beyond the border."""
    return plan.cells[:, 1:-1, 1:-1]


def test_ranks_are_those_of_the_cells_means():
    rng = np.random.default_rng(0)
    maps = torch.from_numpy(rng.normal(size=(3, 24, 45)))
    found = rank_cells(maps, CELLS)
    assert found.shape == (3, *CELLS)
    assert found.dtype == np.float32
    for one, ranks in zip(maps.numpy(), found, strict=True):
        means = one.reshape(6, 4, 9, 5).mean(axis=(1, 3))
        # Each cell's rank is the share of the others that are lower, counted one by one.
        by_hand = [[(means < means[r, c]).sum() / 53 for c in range(9)] for r in range(6)]
        np.testing.assert_allclose(ranks, by_hand, atol=steps(8, 1.0))


def test_cells_of_one_height_share_a_rank():
    flat = rank_cells(torch.full((1, 8, 8), 2.5), (2, 4))
    np.testing.assert_array_equal(flat, 0.5)
    steps = rank_cells(torch.tensor([[[1.0, 3.0, 3.0, 7.0]]]), (1, 4))
    np.testing.assert_allclose(steps, [[[0, 0.5, 0.5, 1]]])
    assert rank_cells(torch.ones(2, 3, 5), (1, 1)).tolist() == [[[0.0]], [[0.0]]]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_without_noise_each_mask_is_a_level_set(seed):
    ranks = _ranks(seed, targets=2)
    shown = (0.2, 0.9)
    plan = draw_level_sets(33, ranks, shown, 0.0, np.random.default_rng(seed))
    assert len(plan) == 33
    assert plan.region is None
    assert shown[0] <= plan.keep_probability.min() <= plan.keep_probability.max() <= shown[1]
    for n, kept in enumerate(_kept(plan)):
        heights = ranks[n % 2].ravel()  # the maps take turns
        number = round(float(plan.keep_probability[n]) * heights.size)
        order = sorted(range(heights.size), key=lambda i: heights[i], reverse=True)
        assert set(np.flatnonzero(kept)) == set(order[:number])


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 40),
    st.integers(1, 3),
    st.floats(0, 2),
    st.floats(0.02, 0.98),
    st.floats(0.02, 0.98),
    st.integers(0, 2**31),
)
def test_a_mask_keeps_the_share_that_it_says(count, targets, shuffle, one, other, seed):
    shown = (min(one, other), max(one, other))
    ranks = _ranks(seed % 7, targets)
    plan = draw_level_sets(count, ranks, shown, shuffle, np.random.default_rng(seed))
    share = _kept(plan).mean(axis=(1, 2))
    np.testing.assert_allclose(share, plan.keep_probability, atol=0.5001 / (CELLS[0] * CELLS[1]))
    again = draw_level_sets(count, ranks, shown, shuffle, np.random.default_rng(seed))
    assert again == plan


@pytest.mark.parametrize("seed", range(3))
def test_noise_shuffles_the_order_and_keeps_its_tendency(seed):
    ranks = _ranks(seed)
    shown = (0.5, 0.5)
    plan = draw_level_sets(400, ranks, shown, 0.25, np.random.default_rng(seed))
    often = _kept(plan).mean(axis=0).ravel()
    order = ranks[0].ravel().argsort()
    assert often[order[-9:]].mean() > 0.9  # the highest are nearly always kept
    assert often[order[:9]].mean() < 0.1
    assert 0.3 < often[order[22:32]].mean() < 0.7  # at the level it is a matter of chance
    assert len({kept.tobytes() for kept in _kept(plan)}) > 390


def test_noise_is_smooth():
    """Neighbours move together: fewer edges between kept and hidden than by chance."""
    flat = np.full((1, 28, 40), 0.5, np.float32)
    plan = draw_level_sets(64, flat, (0.5, 0.5), 1.0, np.random.default_rng(3))
    kept = _kept(plan)
    edges = (kept[:, :, 1:] != kept[:, :, :-1]).mean()
    assert edges < 0.25  # by chance one half


def test_masks_have_their_cells_where_the_map_has_them():
    ranks = _ranks(5)
    plan = draw_level_sets(8, ranks, (0.3, 0.7), 0.1, np.random.default_rng(0))
    size = (6 * 7, 9 * 5)  # an odd number of pixels for each cell: one is in its middle
    values = Canvas(size, 8).render(plan).values.numpy()
    np.testing.assert_allclose(values[:, 3::7, 2::5], _kept(plan), atol=steps(8, 1.0))
    # To the border a cell stays what it is.
    np.testing.assert_allclose(values[:, 0, 2::5], _kept(plan)[:, 0], atol=steps(8, 1.0))
    assert fit_grid(28, (300, 451)) == (23, 34)
