"""Plans of masks: drawn once, cut anywhere, and the paper's windows counted by hand."""

from __future__ import annotations

import dataclasses
import math
import pickle
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from iassa.errors import InputError
from iassa.masks.grids import STRATA, draw_grids, draw_keep_probability, draw_segments, fit_grid
from iassa.masks.plans import GridPlan, MaskPlan, SegmentPlan, WindowPlan, sum_windows
from iassa.masks.rendering import Canvas, Masks
from iassa.masks.superpixels import Segmentations
from iassa.masks.windows import plan_windows, select_windows, sliding_windows
from rounding import steps

Windows = NDArray[np.int32]
SIZE = (13, 22)
SIZES = st.tuples(st.integers(1, 16), st.integers(1, 16))


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def half_region() -> NDArray[np.bool_]:
    region = np.zeros(SIZE, np.bool_)
    region[3:9, 5:16] = True
    return region


def make_plans(num_masks: int, seed: int = 0) -> dict[str, MaskPlan]:
    """One plan of each family."""
    windows = sliding_windows(SIZE, 5, 2)[:num_masks]
    return {
        "grid": draw_grids(num_masks, (3, 5), (0.1, 0.9), generator(seed)),
        "grid in a region": draw_grids(
            num_masks, (4, 4), (0.1, 0.9), generator(seed), half_region()
        ),
        "segment": draw_segments(num_masks, 6, np.array([0, 2]), (0.2, 0.8), generator(seed)),
        "window": plan_windows(windows, SIZE, generator(seed)),
    }


FAMILIES = sorted(make_plans(2))


def blocks_as_segments() -> Segmentations:
    labels = np.stack([np.indices(SIZE)[1] * n // SIZE[1] for n in (2, 4, 6)])
    return Segmentations(torch.from_numpy(labels), 6, (2, 4, 6))


def render(plan: MaskPlan) -> NDArray[np.float32]:
    masks: Masks = Canvas(SIZE, len(plan), blocks_as_segments()).render(plan)
    return masks.at(torch.arange(SIZE[0]), torch.arange(SIZE[1])).numpy()


# --- the grid ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("grid_size", "size", "expected"),
    [
        (7, (224, 224), (7, 7)),
        (7, (300, 451), (6, 8)),  # 49 cells of about 52 x 52 pixels
        (4, (100, 400), (2, 8)),
        (4, (400, 100), (8, 2)),
        (2, (10, 1000), (1, 4)),
        (7, (3, 3), (3, 3)),  # one cell per pixel is the finest
        (16, (1, 1), (1, 1)),
        (3, (1, 50), (1, 9)),
        (3, (50, 1), (9, 1)),
    ],
)
def test_fit_grid_by_hand(grid_size: int, size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert fit_grid(grid_size, size) == expected


@given(grid_size=st.integers(1, 32), size=st.tuples(st.integers(1, 900), st.integers(1, 900)))
def test_fit_grid_never_has_more_cells_than_pixels(grid_size: int, size: tuple[int, int]) -> None:
    rows, columns = fit_grid(grid_size, size)
    assert 1 <= rows <= size[0]
    assert 1 <= columns <= size[1]
    assert rows * columns <= 1.5 * grid_size**2


@given(
    grid_size=st.integers(5, 16),
    height=st.integers(100, 300),
    width=st.integers(100, 300),
)
def test_fit_grid_has_nearly_square_cells(grid_size: int, height: int, width: int) -> None:
    rows, columns = fit_grid(grid_size, (height, width))
    assert rows * columns == pytest.approx(grid_size**2, rel=0.2)
    shape = (height / rows) / (width / columns)
    assert 1 / 1.45 < shape < 1.45


# --- keep probabilities -----------------------------------------------------------------------


@given(
    num_masks=st.integers(1, 150),
    prefix=st.integers(1, 150),
    low=st.floats(0.01, 0.6),
    width=st.floats(0.05, 0.39),
    seed=st.integers(0, 2**32),
)
def test_each_full_block_of_any_prefix_has_one_mask_in_each_stratum(
    num_masks: int, prefix: int, low: float, width: float, seed: int
) -> None:
    high = low + width
    drawn = draw_keep_probability(num_masks, (low, high), generator(seed))
    assert drawn.shape == (num_masks,)
    assert drawn.dtype == np.float32
    assert low - steps(8, 1.0) <= drawn.min()
    assert drawn.max() <= high + steps(8, 1.0)
    # float32 may round a probability onto the edge of its stratum: look a hair inside.
    hair = steps(4, 1.0) / width * STRATA
    place = (drawn[:prefix].astype(np.float64) - low) / width * STRATA
    for start in range(0, len(place) - STRATA + 1, STRATA):
        block = np.sort(place[start : start + STRATA])
        edges = np.arange(STRATA)
        assert (block > edges - hair).all()
        assert (block < edges + 1 + hair).all()
    # The block that a budget cuts has no stratum twice.
    rest = place[len(place) // STRATA * STRATA :]
    inner = rest[np.abs(rest - np.round(rest)) > hair]
    assert len(set(np.floor(inner))) == len(inner)


def test_equal_limits_give_a_constant() -> None:
    drawn = draw_keep_probability(50, (0.3, 0.3), generator())
    np.testing.assert_array_equal(drawn, np.float32(0.3))


def test_cells_are_kept_with_the_probability_of_their_mask() -> None:
    plan = draw_grids(400, (8, 9), (0.1, 0.9), generator(4))
    assert plan.cells.shape == (400, 10, 11)
    share = plan.cells.mean(axis=(1, 2))
    # Binomial: standardised deviations have unit variance, whatever the probability.
    deviation = (share - plan.keep_probability) / np.sqrt(
        plan.keep_probability * (1 - plan.keep_probability) / 110
    )
    assert abs(deviation.mean()) < 4 / math.sqrt(400)
    assert deviation.std() == pytest.approx(1, abs=0.15)
    assert plan.shifts.min() >= 0
    assert plan.shifts.max() < 1
    assert plan.shifts.mean(axis=0) == pytest.approx([0.5, 0.5], abs=0.06)


def test_segments_are_drawn_from_the_segmentations_that_were_named() -> None:
    plan = draw_segments(300, 40, np.array([1, 5, 11]), (0.2, 0.6), generator(1))
    counts = Counter(plan.segmentation.tolist())
    assert set(counts) == {1, 5, 11}
    assert min(counts.values()) > 60
    assert plan.bits.shape == (300, 40)
    assert plan.bits.mean(axis=1) == pytest.approx(plan.keep_probability, abs=0.35)
    assert plan.bits.mean() == pytest.approx(0.4, abs=0.02)


# --- plans are values -------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_a_plan_survives_pickling(family: str) -> None:
    plan = make_plans(20)[family]
    copy = pickle.loads(pickle.dumps(plan))
    assert copy is not plan
    assert copy == plan
    assert hash(copy) == hash(plan)
    assert copy.digest() == plan.digest()
    assert {plan: "found"}[copy] == "found"
    np.testing.assert_array_equal(render(copy), render(plan))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_seed_draws_the_same_plan_and_another_another(family: str) -> None:
    assert make_plans(20, seed=3)[family] == make_plans(20, seed=3)[family]
    assert make_plans(20, seed=3)[family] != make_plans(20, seed=4)[family]


def test_equality_looks_at_all_content() -> None:
    plans = make_plans(16)
    assert len({plan.digest() for plan in plans.values()}) == len(plans)
    plan = plans["grid in a region"]
    assert isinstance(plan, GridPlan)
    assert plan != dataclasses.replace(plan, region=None)
    assert plan != dataclasses.replace(plan, region=~half_region())
    assert plan != dataclasses.replace(plan, cells=~plan.cells)
    assert plan != dataclasses.replace(plan, shifts=1 - plan.shifts)
    assert plan == dataclasses.replace(plan, region=half_region())
    assert plan != plan[:15]
    assert plan != "a plan"


def test_a_digest_is_the_same_in_every_process() -> None:
    """Python's own hash of strings is salted; what goes into a file must not be."""
    plans = list(make_plans(5).values())
    program = """
import pickle, sys
for plan in pickle.loads(bytes.fromhex(sys.argv[1])):
    print(plan.digest())
"""
    command = [sys.executable, "-c", program, pickle.dumps(plans).hex()]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    assert answer.stdout.split() == [plan.digest() for plan in plans]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("part", [slice(0, 7), slice(3, 12), slice(13, None), slice(5, 5)])
def test_a_slice_of_a_plan_renders_as_the_slice_of_its_masks(family: str, part: slice) -> None:
    plan = make_plans(20)[family]
    piece = plan[part]
    assert type(piece) is type(plan)
    assert len(piece) == len(range(20)[part])
    np.testing.assert_array_equal(piece.keep_probability, plan.keep_probability[part])
    if len(piece):
        np.testing.assert_array_equal(render(piece), render(plan)[part])


@pytest.mark.parametrize("family", FAMILIES)
def test_a_plan_cannot_be_changed(family: str) -> None:
    plan = make_plans(20)[family]
    for field in dataclasses.fields(plan):
        value = getattr(plan, field.name)
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(plan, field.name, value)
        if isinstance(value, np.ndarray):
            with pytest.raises(ValueError, match="read-only"):
                value[...] = 0
    with pytest.raises(ValueError, match="read-only"):
        plan[2:5].keep_probability[0] = 0


@pytest.mark.parametrize(
    "plan",
    [
        draw_grids(1000, (7, 7), (0.1, 0.9), generator()),
        draw_grids(1000, (7, 7), (0.1, 0.9), generator(), np.ones((224, 224), np.bool_)),
        draw_segments(1000, 128, np.arange(12), (0.1, 0.9), generator()),
        plan_windows(sliding_windows((224, 224), 45, 8), (224, 224), generator())[:1000],
    ],
    ids=["grid", "grid in a region", "segment", "window"],
)
def test_a_thousand_masks_are_some_kilobytes(plan: MaskPlan) -> None:
    assert len(plan) == 1000
    assert len(pickle.dumps(plan)) < 200_000  # rendered at 224 x 224: 200 million


# --- windows ----------------------------------------------------------------------------------


def test_windows_counted_by_hand() -> None:
    """5 x 7 pixels, window 3, stride 2: rows start at -1, 1, 3 and columns at -1, 1, 3, 5."""
    rows = [(0, 2), (1, 4), (3, 5)]
    columns = [(0, 2), (1, 4), (3, 6), (5, 7)]
    expected = [[top, left, bottom, right] for top, bottom in rows for left, right in columns]
    windows = sliding_windows((5, 7), 3, 2)
    assert windows.tolist() == expected
    assert windows.dtype == np.int32


def test_a_fraction_of_a_stride_is_carried() -> None:
    """Stride 1.5: starts -0.5, 1, 2.5, 4 of 5 columns become 0, 1, 2, 4, half to even."""
    windows = sliding_windows((1, 5), 2, 1.5)
    assert windows[:, [1, 3]].tolist() == [[0, 2], [1, 3], [2, 4], [4, 5]]


def test_the_paper_has_1089_windows() -> None:
    windows = sliding_windows((224, 224), 45, 8)
    assert len(windows) == 33 * 33 == 1089
    assert windows[0].tolist() == [0, 0, 8, 8]
    assert windows[-1].tolist() == [219, 219, 224, 224]
    assert (windows[:, 2:] - windows[:, :2]).max() == 45


@given(size=SIZES, window=st.integers(1, 20), share=st.floats(0.05, 1))
def test_windows_cover_every_pixel_and_stay_inside(
    size: tuple[int, int], window: int, share: float
) -> None:
    windows = sliding_windows(size, window, window * share)
    covered = np.zeros(size, np.bool_)
    for top, left, bottom, right in windows:
        assert 0 <= top < bottom <= size[0]
        assert 0 <= left < right <= size[1]
        assert max(bottom - top, right - left) <= window
        covered[top:bottom, left:right] = True
    assert covered.all()


@given(size=SIZES, stride=st.integers(1, 6), times=st.integers(1, 4))
def test_windows_hide_every_pixel_equally_often(
    size: tuple[int, int], stride: int, times: int
) -> None:
    """Where the stride divides the window, border and corners included."""
    hidden = np.zeros(size, np.int64)
    for top, left, bottom, right in sliding_windows(size, stride * times, stride):
        hidden[top:bottom, left:right] += 1
    np.testing.assert_array_equal(hidden, times * times)


@pytest.mark.parametrize(
    ("window", "stride"), [(0, 1), (-3, 1), (5, 0), (5, -1), (5, 5.5), (5, math.nan)]
)
def test_windows_out_of_range_are_refused(window: int, stride: float) -> None:
    with pytest.raises(InputError, match="stride"):
        sliding_windows((10, 12), window, stride)


REGIONS = st.tuples(st.integers(1, 12), st.integers(1, 15)).flatmap(
    lambda size: arrays.arrays(np.bool_, size, elements=st.integers(0, 9).map(lambda v: v == 0))
)


@settings(max_examples=200)
@given(region=REGIONS, window=st.integers(1, 6), share=st.floats(0.2, 1))
def test_select_windows_equals_the_loop(
    region: NDArray[np.bool_], window: int, share: float
) -> None:
    windows = sliding_windows(region.shape, window, window * share)
    expected = [
        [top, left, bottom, right]
        for top, left, bottom, right in windows.tolist()
        if any(region[row, column] for row in range(top, bottom) for column in range(left, right))
    ]
    assert select_windows(windows, region).tolist() == expected


def test_the_windows_that_hide_some_of_the_region_are_chosen() -> None:
    """Not those that keep some of it, which nearly all do: the error in the authors' code.

    A region of 32 x 32 pixels: of the 33 starts -37, -29, ..., 219 those from 100 - 44 = 56 to 131,
    that is 59, 67, ..., 131, touch it, ten in each direction.
    """
    region = np.zeros((224, 224), np.bool_)
    region[100:132, 100:132] = True
    windows = sliding_windows((224, 224), 45, 8)
    chosen = select_windows(windows, region)
    assert len(chosen) == 10 * 10
    keeping = [
        region.sum() > region[top:bottom, left:right].sum() for top, left, bottom, right in windows
    ]
    assert sum(keeping) > 1000


def test_no_region_no_windows_and_all_of_it_all() -> None:
    windows = sliding_windows((9, 14), 4, 2)
    assert select_windows(windows, np.zeros((9, 14), np.bool_)).shape == (0, 4)
    np.testing.assert_array_equal(select_windows(windows, np.ones((9, 14), np.bool_)), windows)


def test_planned_windows_are_a_shuffle_that_knows_what_each_keeps() -> None:
    size = (9, 14)
    windows = sliding_windows(size, 4, 2)
    plan = plan_windows(windows, size, generator(2))
    assert isinstance(plan, WindowPlan)
    assert sorted(map(tuple, plan.windows)) == sorted(map(tuple, windows))
    assert plan.windows.tolist() != windows.tolist()
    for share, (top, left, bottom, right) in zip(plan.keep_probability, plan.windows, strict=True):
        mask = np.ones(size)
        mask[top:bottom, left:right] = 0
        assert share == pytest.approx(mask.mean(), abs=steps(8, 1.0))


def test_a_part_of_planned_windows_knows_of_how_many_it_is() -> None:
    windows = sliding_windows((9, 14), 4, 2)
    plan = plan_windows(windows, (9, 14), generator(2))
    for part in (plan, plan[3:9], plan[:0], pickle.loads(pickle.dumps(plan[5:]))):
        assert part.population == len(windows)
    stored = WindowPlan(plan.keep_probability.copy(), plan.windows.copy())
    assert stored.population is None
    assert stored == plan  # the same masks
    assert make_plans(4)["grid"].population is None


@settings(max_examples=100)
@given(
    size=st.tuples(st.integers(1, 12), st.integers(1, 15)),
    window=st.integers(1, 20),
    share=st.floats(0.2, 1),
    seed=st.integers(0, 99),
)
def test_sums_of_windows_equal_the_loop(
    size: tuple[int, int], window: int, share: float, seed: int
) -> None:
    windows = sliding_windows(size, window, window * share)
    values = np.random.default_rng(seed).integers(-9, 9, len(windows))
    expected, number = np.zeros((2, *size), np.int64)
    for value, (top, left, bottom, right) in zip(values, windows, strict=True):
        expected[top:bottom, left:right] += value
        number[top:bottom, left:right] += 1
    np.testing.assert_array_equal(sum_windows(windows, size, values), expected)
    np.testing.assert_array_equal(sum_windows(windows, size), number)


def test_the_families_are_told_apart_by_type() -> None:
    plans = make_plans(4)
    assert isinstance(plans["grid"], GridPlan)
    assert isinstance(plans["segment"], SegmentPlan)
    assert isinstance(plans["window"], WindowPlan)
