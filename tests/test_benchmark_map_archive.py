"""Stored maps: within the error that is stated, in any unit, and as the schema describes them."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import iassa
from iassa.benchmark.store.map_archive import pack_map, unpack_map
from iassa.errors import InputError
from iassa.image import resize

SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 7))
LARGEST = float(np.finfo(np.float32).max)


def exponents(low, high):
    """Maps whose values are of any order of magnitude, not of the large ones above all."""
    values = st.builds(
        lambda mantissa, exponent: float(np.float32(mantissa * 2.0**exponent)),
        st.floats(-1, 1),
        st.integers(low, high),
    )
    return arrays.arrays(np.float32, SHAPES, elements=values)


MAPS = st.one_of(
    arrays.arrays(np.float32, SHAPES, elements=st.floats(width=32, allow_nan=False)),
    exponents(-149, -100),
    exponents(100, 127),
    exponents(-149, 127),
    exponents(-3, 0).map(lambda saliency: saliency + np.float32(100)),
)


@given(MAPS)
@example(np.float32([[LARGEST, -LARGEST]]))
@example(np.float32([[1e-45, -1e-45, 0]]))
def test_any_finite_map_comes_back_to_within_what_is_said(saliency):
    if not np.isfinite(saliency).all():
        with pytest.raises(InputError, match="expected a finite map"):
            pack_map(saliency)
        return
    content, error = pack_map(saliency)
    found = unpack_map(content)
    assert found.dtype == np.float32
    assert found.shape == saliency.shape
    exact = saliency.astype(np.float64)
    assert error == np.abs(found.astype(np.float64) - exact).max()
    # Half a step of a float16 below 1, of the range of the map, or its peak where zero is in it;
    # where a float32 is coarser, half a step of that.
    one_sign = exact.min() >= 0 or exact.max() <= 0
    width = np.ptp(exact) if one_sign else np.abs(exact).max()
    assert error <= max(width * 2.0**-12, np.abs(exact).max() * 2.0**-24, 2.0**-149)


@pytest.mark.parametrize("scale", [1e-37, 1e-12, 1.0, 6e4, 5e37])
@pytest.mark.parametrize("shift", [0.0, 1.0, -3.0])
def test_scores_of_any_unit_lose_no_more(scale, shift):
    rng = np.random.default_rng(0)
    unit = rng.normal(size=(30, 41)) / 6
    saliency = np.float32((unit + shift) * scale)
    assert 0 < pack_map(saliency)[1] <= np.ptp(saliency.astype(np.float64)) / 4000


def test_what_all_have_in_common_costs_no_precision():
    """Maps such as RISE's, 0.66 to 0.72: without the offset their errors are ten times it."""
    saliency = np.float32(0.66 + 0.05 * np.random.default_rng(0).random((30, 41)))
    plain = np.abs(saliency.astype(np.float16).astype(np.float64) - saliency).max()
    for map_ in (saliency, -saliency):
        assert pack_map(map_)[1] < plain / 10


@pytest.mark.parametrize("value", [0.0, -2.5, 1e-45, LARGEST])
def test_a_flat_map_is_exact(value):
    content, error = pack_map(np.full((5, 3), value, np.float32))
    assert error == 0
    np.testing.assert_array_equal(unpack_map(content), np.full((5, 3), value, np.float32))


def test_zero_stays_zero_and_signs_stay():
    saliency = np.float32([[0.0, 1e-9, -0.5], [1.0, -1e-9, 0.0]])
    found = unpack_map(pack_map(saliency)[0])
    assert (np.sign(found) * np.sign(saliency) >= 0).all()
    assert found[0, 0] == found[1, 2] == 0


def test_it_is_what_numpy_alone_reads():
    saliency = np.float32([[0.5, 0.25], [1.5, 1.0], [0.75, 0.25]])
    with np.load(io.BytesIO(pack_map(saliency)[0])) as archive:
        assert sorted(archive) == ["offset", "scale", "values"]
        assert (archive["offset"], archive["scale"]) == (0.25, 1.25)
        assert archive["values"].dtype == np.float16
        np.testing.assert_array_equal(archive["values"], np.float16((saliency - 0.25) / 1.25))


@pytest.mark.parametrize("shape", [(3,), (2, 3, 4), (0, 4)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(InputError, match=r"expected a finite map \(H, W\) to store, got shape"):
        pack_map(np.zeros(shape, np.float32))


def test_no_map_is_refused():
    with pytest.raises(InputError, match=r"expected a finite map \(H, W\) to store, got shape"):
        pack_map(None)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_what_is_not_finite_is_refused(value):
    with pytest.raises(InputError, match="got NaN or infinity"):
        pack_map(np.array([[0.0, value]]))


def test_a_real_map_takes_less_than_100_kilobytes():
    """The default method's map of a photograph at the size that the default model looks at."""
    planes = torch.from_numpy(iassa.example_image("cat")).permute(2, 0, 1)
    image = resize(planes, (224, 224)).permute(1, 2, 0).clamp(0, 1).numpy()
    saliency = iassa.explain(image, calls=120).saliency[0]
    content, error = pack_map(saliency)
    print(f"{len(content) / 1e3:.0f} kB of {saliency.nbytes / 1e3:.0f}")
    assert saliency.shape == (224, 224)
    assert len(content) < 100_000
    assert error < np.abs(saliency).max() / 4000
