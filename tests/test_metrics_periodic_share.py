"""The share of a lattice against sums of waves, closed forms, and windows that leave lines."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from iassa.errors import InputError
from iassa.masks.windows import sliding_windows
from iassa.metrics import periodic_share

SIZE = (96, 135)


def grating(period: float, angle: float = 0.0) -> NDArray[np.float64]:
    """Waves of a period, that run across, or turned by an angle."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    along = columns * math.cos(angle) + rows * math.sin(angle)
    return np.cos(2 * np.pi * along / period + 0.4)


def summed_share(saliency: NDArray[np.float64], period: float) -> float:
    """By the definition: a sum over all pixels for each frequency, without NumPy's transform."""
    height, width = saliency.shape
    taper = np.array(
        [
            [
                math.sin(math.pi * (row + 0.5) / height) ** 2
                * math.sin(math.pi * (column + 0.5) / width) ** 2
                for column in range(width)
            ]
            for row in range(height)
        ]
    )
    tapered = taper * (saliency - (taper * saliency).sum() / taper.sum())
    rows, columns = np.mgrid[:height, :width]
    near = whole = 0.0
    for down in range(-(height // 2), (height + 1) // 2):
        for across in range(-(width // 2), (width + 1) // 2):
            u, v = down / height, across / width
            angles = 2 * np.pi * (u * rows + v * columns)
            power = (tapered * np.cos(angles)).sum() ** 2 + (tapered * np.sin(angles)).sum() ** 2
            whole += power
            peaks = [(1 / period, 0), (-1 / period, 0), (0, 1 / period), (0, -1 / period)]
            if any(math.dist((u, v), peak) <= 1 / (8 * period) for peak in peaks):
                near += power
    return near / whole


@pytest.mark.parametrize(("size", "period"), [((42, 43), 2.5), ((45, 42), 2.6)])
def test_equals_the_sums_of_the_definition(size: tuple[int, int], period: float) -> None:
    saliency = np.random.default_rng(size[0]).normal(size=size) + 3
    expected = summed_share(saliency, period)
    assert 0.01 < expected < 0.2
    assert periodic_share(saliency, period) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("period", [2.5, 4, 5.357, 6])
def test_stripes_are_all_share_and_a_blob_is_none(period: float) -> None:
    stripes = grating(period)
    assert periodic_share(stripes, period) > 0.999
    assert periodic_share(grating(period, math.pi / 2), period) > 0.999
    assert periodic_share(grating(period, math.pi / 4), period) < 1e-3  # neither down nor across
    for other in (2 * period / 3, 3 * period / 2):
        if 2.5 <= other <= 6:
            assert periodic_share(stripes, other) < 1e-3
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    blob = np.exp(-(((rows - 30) / 15) ** 2) - ((columns - 80) / 20) ** 2)
    assert periodic_share(blob, period) < 1e-6


@pytest.mark.parametrize("height", [0.05, 0.5, 2.0])
def test_the_share_of_two_waves_is_that_of_their_squares(height: float) -> None:
    """Parseval: waves of two periods have powers in proportion to the squares of their heights."""
    mixed = height * grating(5) + grating(40)
    assert periodic_share(mixed, 5) == pytest.approx(height**2 / (height**2 + 1), rel=0.02)
    both = height * (grating(5) + grating(5, math.pi / 2)) + grating(40)
    assert periodic_share(both, 5) == pytest.approx(2 * height**2 / (2 * height**2 + 1), rel=0.02)


def test_neither_scale_nor_offset_nor_turning_matters() -> None:
    saliency = np.random.default_rng(3).normal(size=SIZE)
    share = periodic_share(saliency, 5)
    for other in (saliency * 1e300, saliency[::-1], saliency.T, saliency + 7, -saliency):
        assert periodic_share(other, 5) == pytest.approx(share, rel=1e-9)
    assert periodic_share(np.full(SIZE, 0.1), 5) == periodic_share(np.zeros(SIZE), 5) == 0


@pytest.mark.parametrize(("window", "lines"), [(20, False), (18, True), (17, True), (25, False)])
def test_windows_that_are_no_multiple_of_the_stride_leave_lines(window: int, lines: bool) -> None:
    """How many of the windows hide a pixel: alike everywhere, or up and down with the stride."""
    hidden = np.zeros(SIZE)
    for top, left, bottom, right in sliding_windows(SIZE, window, 5.0):
        hidden[top:bottom, left:right] += 1
    inside = hidden[5:-5, 5:-5]  # where the last window is cut there may be fewer
    assert (np.ptp(inside) > 0) == lines
    assert (periodic_share(inside, 5) > 0.5) == lines


@pytest.mark.parametrize(
    ("saliency", "period", "message"),
    [
        (np.zeros((1, 50, 70)), 3.0, r"one map \(H, W\)"),
        (np.full((50, 70), np.nan), 3.0, "finite values"),
        (np.zeros((50, 70), np.int64), 3.0, "floating point values, got int64"),
        (np.zeros((50, 70)), 2.0, "period to be a number, 2.5 or more, got 2.0"),
        (np.zeros((50, 70)), math.nan, "period"),
        (np.zeros((48, 70)), 3.1, "a sixteenth of the shorter side, 3 pixels, got 3.1"),
    ],
)
def test_what_cannot_be_measured_is_named(
    saliency: NDArray[np.float64], period: float, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        periodic_share(saliency, period)
