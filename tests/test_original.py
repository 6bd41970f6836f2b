"""Maps at another size: that of the photograph, or of what is kept of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from iassa.explanations.original import resize_maps
from iassa.image import resize
from rounding import steps


def triangles(length: int, wanted: int) -> NDArray[np.float64]:
    """(wanted, length), what each pixel is made of: a triangle over others, wide when shrinking."""
    rows = []
    for i in range(wanted):
        scale = length / wanted
        distance = np.abs(np.arange(length) + 0.5 - (i + 0.5) * scale) / max(scale, 1.0)
        row = np.clip(1 - distance, 0, None)
        rows.append(row / row.sum())
    return np.array(rows)


lengths = st.integers(1, 40)


@settings(max_examples=80)
@given(lengths, lengths, lengths, lengths)
def test_resized_planes_are_sums_over_triangles(h, w, rows, columns):
    """Single columns too, which torch alone fills with the first row."""
    planes = np.random.default_rng(h).random((2, h, w)).astype(np.float32)
    expected = triangles(h, rows) @ planes @ triangles(w, columns).T
    found = resize(torch.from_numpy(planes), (rows, columns))
    np.testing.assert_allclose(found, expected, atol=steps(160, planes))


@settings(max_examples=80)
@given(lengths, lengths, lengths, lengths, st.integers(0, 99), st.floats(0.0, 0.2))
def test_an_error_is_infinite_where_it_is_made_of_an_infinite_one(h, w, rows, columns, seed, share):
    rng = np.random.default_rng(seed)
    unknown = rng.random((h, w)) < share
    error = np.where(unknown, np.inf, rng.random((h, w)) + 1).astype(np.float32)
    found = resize_maps(torch.from_numpy(error)[None], (rows, columns))[0]
    lost = triangles(h, rows) @ unknown @ triangles(w, columns).T
    assert np.isinf(found[lost > 0.01]).all()
    assert np.isfinite(found[lost < 1e-5]).all()
    whole = triangles(h, rows) @ np.where(unknown, 0, error) @ triangles(w, columns).T
    known = lost < 1e-5
    np.testing.assert_allclose(found[known], whole[known], rtol=1e-4)


@pytest.mark.parametrize("size", [(100, 100), (97, 151), (300, 451), (20, 20)])
def test_a_corner_that_is_not_known_stays_a_corner(size):
    """Photographs smaller than the masks: the weights of a resize add up to 0.9999999."""
    error = torch.ones((1, 224, 224))
    error[0, :5, :5] = torch.inf
    found = resize_maps(error, size)[0]
    assert np.isinf(found[0, 0])
    reach = [5 * length // 224 + 2 for length in size]
    assert np.isfinite(found[reach[0] :]).all()
    assert np.isfinite(found[:, reach[1] :]).all()
