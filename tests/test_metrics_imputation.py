"""Noisy linear imputation against a dense solution, and properties that it must have."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from iassa import metrics
from iassa.errors import InputError


def solved_densely(image: NDArray[np.float32], removed: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The same equations, one pixel at a time, in a dense matrix over all pixels."""
    height, width = removed.shape
    matrix, right = np.eye(removed.size), image.reshape(-1, 3).astype(np.float64)
    for row, column in zip(*np.nonzero(removed), strict=True):
        place = row * width + column
        matrix[place], right[place] = 0, 0
        for r in range(max(row - 1, 0), min(row + 2, height)):
            for c in range(max(column - 1, 0), min(column + 2, width)):
                if (r, c) != (row, column):
                    weight = 1 / 6 if r == row or c == column else 1 / 12
                    matrix[place, place] += weight
                    matrix[place, r * width + c] -= weight
    return np.linalg.solve(matrix, right).reshape(image.shape)


@given(
    height=st.integers(1, 6),
    width=st.integers(2, 7),
    share=st.floats(0, 0.97),
    seed=st.integers(0, 999),
)
@settings(max_examples=60, deadline=None)
def test_imputation_equals_the_dense_solution(
    height: int, width: int, share: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    image = rng.random((height, width, 3)).astype(np.float32)
    removed = rng.random((height, width)) < share
    removed.flat[rng.integers(removed.size)] = False
    got = metrics.linear_imputation(image, noise=0)(removed)
    np.testing.assert_allclose(got, solved_densely(image, removed), atol=1e-6)
    np.testing.assert_array_equal(got[~removed], image[~removed])


def test_a_plane_is_restored() -> None:
    """A linear slope solves the equations wherever all eight neighbours are there."""
    rows, columns = np.mgrid[0:9, 0:12]
    image = np.repeat((rows / 30 + columns / 20)[..., None], 3, axis=2).astype(np.float32)
    removed = np.zeros((9, 12), dtype=bool)
    removed[2:7, 3:10] = True
    np.testing.assert_allclose(metrics.linear_imputation(image, noise=0)(removed), image, atol=1e-6)


def test_noise_is_of_the_seed_and_of_the_pixel() -> None:
    image = np.full((8, 11, 3), 0.5, dtype=np.float32)
    first, second = np.zeros((2, 8, 11), dtype=bool)
    first[2:5, 3:6] = second[3:8, 2:9] = True
    remove = metrics.linear_imputation(image, noise=0.05, seed=4)
    both = first & second
    np.testing.assert_array_equal(remove(first)[both], remove(second)[both])
    other = metrics.linear_imputation(image, noise=0.05, seed=5)(first)
    assert (other[first] != remove(first)[first]).all()
    everything = remove(np.ones((8, 11), dtype=bool)).astype(np.float64)
    assert 0.04 < everything.std() < 0.06


def test_where_nothing_is_left_the_mean_colour_stands() -> None:
    image = np.random.default_rng(0).random((5, 7, 3)).astype(np.float32)
    got = metrics.linear_imputation(image, noise=0)(np.ones((5, 7), dtype=bool))
    np.testing.assert_allclose(got, np.broadcast_to(image.mean(axis=(0, 1)), got.shape), atol=1e-6)


def test_a_curve_asks_for_the_removed_pixels_of_every_step() -> None:
    """The black box reads one pixel, which turns to the mean of what is left around it."""
    image = np.zeros((3, 5, 3), dtype=np.float32)
    image[1, 2] = 1
    saliency = np.zeros((3, 5), dtype=np.float32)
    saliency[1, 2] = 1
    remove = metrics.linear_imputation(image, noise=0)
    options = {"baseline": remove, "pixels_per_step": 1}
    curve = metrics.deletion(saliency, image, lambda x: x[:, 1, 2, :1], [1.0], **options)
    np.testing.assert_allclose(curve.scores[:-1], [1.0] + [0.0] * 14, atol=1e-6)
    curves = metrics.relevance_gain(saliency, image, lambda x: x[:, 1, 2, :1], [1.0], **options)
    assert curves.gain > 0.8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"noise": -1}, "noise of 0 or more"), ({"noise": np.nan}, "noise"), ({"seed": -1}, "seed")],
)
def test_bad_input_is_named(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        metrics.linear_imputation(np.zeros((3, 4, 3), np.float32), **arguments)


@pytest.mark.parametrize("removed", [np.zeros((4, 3), dtype=bool), np.zeros((3, 4))])
def test_removed_pixels_are_bool_of_the_size_of_the_image(removed: NDArray[np.bool_]) -> None:
    remove = metrics.linear_imputation(np.zeros((3, 4, 3), np.float32))
    with pytest.raises(InputError, match=r"removed pixels \(3, 4\) of bool"):
        remove(removed)
