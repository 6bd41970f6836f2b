"""Packed maps: as exact as said in any unit, small, and read by the schema's words alone."""

from __future__ import annotations

import math
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import iassa
from iassa.benchmark.store.packed_map import PackedMap, pack_map, unpack_map
from iassa.errors import InputError
from iassa.image import resize

SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 7))


@given(arrays.arrays(np.float32, SHAPES, elements=st.floats(width=32, allow_nan=False)))
def test_any_finite_map_comes_back_to_within_what_is_said(saliency):
    if not np.isfinite(saliency).all():
        with pytest.raises(InputError, match="expected a finite map"):
            pack_map(saliency)
        return
    packed = pack_map(saliency)
    found = unpack_map(packed)
    assert found.dtype == np.float32
    assert found.shape == packed.size == saliency.shape
    off = np.abs(found.astype(np.float64) - saliency)
    assert packed.error == off.max()
    exact = saliency.astype(np.float64)
    width = max(exact.max() - packed.offset, packed.offset - exact.min())
    # Half a step of a float16 below its peak; where a float32 is coarser, half a step of that.
    assert packed.error <= max(width * 2**-11, np.abs(exact).max() * 2**-23, 1e-45)


@pytest.mark.parametrize("scale", [1e-37, 1e-12, 1.0, 6e4, 5e37])
@pytest.mark.parametrize("shift", [0.0, 1.0, -3.0])
def test_scores_of_any_unit_lose_no_more(scale, shift):
    rng = np.random.default_rng(0)
    unit = rng.normal(size=(30, 41)) / 6
    saliency = np.float32((unit + shift) * scale)
    error = pack_map(saliency).error
    assert 0 < error <= np.ptp(saliency.astype(np.float64)) / 2000


def test_what_all_have_in_common_costs_no_precision():
    """Maps such as RISE's, 0.66 to 0.72: without the offset their errors are twenty times it."""
    saliency = np.float32(0.66 + 0.05 * np.random.default_rng(0).random((30, 41)))
    plain = np.abs(saliency.astype(np.float16).astype(np.float64) - saliency).max()
    for map_ in (saliency, -saliency):
        assert pack_map(map_).error < plain / 10


@pytest.mark.parametrize("value", [0.0, -2.5, 1e-45, 3.4028235e38])
def test_a_flat_map_is_exact(value):
    packed = pack_map(np.full((5, 3), value, np.float32))
    assert packed.error == 0
    np.testing.assert_array_equal(unpack_map(packed), np.full((5, 3), value, np.float32))


def test_zero_stays_zero_and_signs_stay():
    saliency = np.float32([[0.0, 1e-9, -0.5], [1.0, -1e-9, 0.0]])
    found = unpack_map(pack_map(saliency))
    assert (np.sign(found) * np.sign(saliency) >= 0).all()
    assert found[0, 0] == found[1, 2] == 0


def decode_as_documented(packed):
    """Pixel by pixel, from what the comments of the schema say."""
    height, width = packed.size
    planes = zlib.decompress(packed.content)
    area = height * width
    rest = []
    for pixel in range(area):
        n = planes[pixel] * 256 + planes[area + pixel]
        rest.append(n >> 1 if n % 2 == 0 else ~(n >> 1))
    found = np.empty(packed.size)
    for row in range(height):
        for column in range(width):
            above = [rest[i * width + j] for i in range(row + 1) for j in range(column + 1)]
            s = sum(above) % 2**16
            bits = s ^ 0x8000 if s & 0x8000 else 2**16 + ~s
            half = np.frombuffer(bits.to_bytes(2, "little"), "<f2")[0]
            found[row, column] = packed.offset + math.ldexp(float(half), packed.exponent)
    return found.astype(np.float32)


@pytest.mark.parametrize("seed", range(4))
def test_the_schema_says_how_to_read_it(seed):
    rng = np.random.default_rng(seed)
    saliency = np.float32(rng.normal(size=(7, 11)) * 10.0 ** rng.integers(-5, 5) + 3 * (seed % 2))
    packed = pack_map(saliency)
    np.testing.assert_array_equal(unpack_map(packed), decode_as_documented(packed))


@pytest.mark.parametrize("shape", [(3,), (2, 3, 4), (0, 4)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(InputError, match=r"expected a finite map \(H, W\) to store, got shape"):
        pack_map(np.zeros(shape, np.float32))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_what_is_not_finite_is_refused(value):
    with pytest.raises(InputError, match="got NaN or infinity"):
        pack_map(np.array([[0.0, value]]))


def test_other_bytes_are_refused():
    packed = pack_map(np.float32([[1, 2, 3]]))
    for content in (b"", b"what", packed.content[:-6], zlib.compress(b"123456789")):
        with pytest.raises(InputError, match="expected the bytes of a packed map"):
            unpack_map(PackedMap(packed.size, 0.0, 0, 0.0, content))


def test_a_real_map_takes_less_than_150_kilobytes():
    """The default method's map of a photograph at 640 x 480, the worst that we know."""
    planes = torch.from_numpy(iassa.example_image("cat")).permute(2, 0, 1)
    image = resize(planes, (480, 640)).permute(1, 2, 0).clamp(0, 1).numpy()
    saliency = iassa.explain(image, calls=120).saliency[0]
    packed = pack_map(saliency)
    print(f"{len(packed.content) / 1e3:.0f} kB of {saliency.nbytes / 1e3:.0f}")
    assert saliency.shape == (480, 640)
    assert len(packed.content) < 150_000
    assert packed.error < np.abs(saliency).max() / 2000
