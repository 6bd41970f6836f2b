"""Saved explanations that are damaged or hostile, with checksums that fit: read or refused."""

from __future__ import annotations

import io
import json
import os
import zipfile

import numpy as np
import psutil
import pytest

from damaged_folders import FILES, saved_files, write
from iassa import archives
from iassa.archives import check_promise
from iassa.errors import InputError
from iassa.explanations.explanation import Explanation


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return saved_files(tmp_path_factory.mktemp("saved"))


def changed(saved, **changes):
    return {**json.loads(saved["explanation.json"]), **changes}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"scores": 3}, "expected scores to be a tuple of numbers, got 3"),
        ({"scores": [1]}, "expected scores of 3 targets, got 1"),
        ({"scores": [1, 2, "3"]}, "expected scores to be a tuple of numbers"),
        (
            {"scores": [1, 2, float("nan")]},
            "expected explanation.json as JSON, got .*nan is not finite",
        ),
        ({"seed": -1}, "expected seed to be a whole number, 0 or more, got -1"),
        ({"calls": None}, "expected calls to be a whole number, 0 or more, got None"),
        ({"calls": True}, "expected calls to be a whole number"),
        ({"model": 7}, "expected model to be a text, got 7"),
        ({"image": []}, r"expected image with its parts, got \[\]"),
        ({"image": {"path": None}}, r"expected image\.size, got none"),
        ({"image": {"path": None, "size": [12, 18]}}, r"expected image \(12, 18, 3\) uint8"),
        ({"targets": []}, "expected targets, got none"),
        (
            {"targets": [{"name": "a", "indices": [0]}] * 3},
            r"expected targets\[0\]\.weights, got n",
        ),
        ({"method": {"name": "iassa", "measures": "effect"}}, r"expected method\.fields, got none"),
        ({"rounds": {"0": 1}}, "expected rounds to be a tuple of Rounds"),
        ({"versions": {"iassa": 1}}, r"expected versions\.iassa to be a text, got 1"),
        (
            {"boxes": [{"name": "a", "box": [0, 0, 1], "confidence": 1}]},
            r"expected boxes\[0\]\.box",
        ),
        (
            {"boxes": [{"name": "a", "box": [0, 0, 1, 1], "confidence": 1}]},
            r"expected targets\[1\]",
        ),
        ({"stopped": "x" * 2**24}, "of at most 16777216 bytes, got more"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_does_not_fit_is_named(saved, tmp_path, changes, told):
    record = json.dumps(changed(saved, **changes)).encode()
    write(tmp_path, {name: saved[name] for name in FILES}, record)
    with pytest.raises(InputError, match=told) as refusal:
        Explanation.load(tmp_path)
    assert len(str(refusal.value)) < 900


@pytest.mark.parametrize(
    "shape", [[10**400], [2**31] * 40, [0, 2**63], [0, 10**400], [2**31, 0] * 9]
)
def test_a_shape_of_any_size_is_refused(saved, tmp_path, shape):
    with np.load(io.BytesIO(saved["evidence.npz"])) as archive:
        arrays = dict(archive)
    header = json.loads(arrays["header"].tobytes())
    header["bits"]["0/grid/cells"] = shape
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    contents = {"explanation.npz": saved["explanation.npz"], "evidence.npz": npz(arrays)}
    write(tmp_path, contents, saved["explanation.json"])
    with pytest.raises(InputError, match="cannot read the evidence: expected"):
        Explanation.load(tmp_path)


@pytest.mark.parametrize("bits", [True, False])
def test_a_bomb_is_refused_before_memory_is_taken(saved, tmp_path, bits):
    """Three MB that would be three GB, of a size that the record promises too."""
    name = "evidence.npz" if bits else "explanation.npz"
    with np.load(io.BytesIO(saved[name])) as archive:
        arrays = dict(archive)
    if bits:
        header = json.loads(arrays["header"].tobytes())
        header["bits"]["0/grid/cells"] = [3, 10**5, 10**4]
        arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
        content = npz(arrays)
    else:
        zeros = np.zeros((4, 16_000, 16_000), np.uint8)  # read as (T, H, W) float32
        content = npz({"saliency": zeros})
    write(
        tmp_path, {**{one: saved[one] for one in FILES}, name: content}, saved["explanation.json"]
    )
    before = memory()
    with pytest.raises(InputError, match=r"expected arrays of at most 256 MB in .* got \d+ MB"):
        Explanation.load(tmp_path)
    assert memory() - before < 100e6


def memory():
    return psutil.Process().memory_info().rss


def npz(arrays):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array)
    return buffer.getvalue()


def test_a_large_file_may_hold_much():
    """Maps of noise, which hardly any file of maps is not, are never refused."""
    check_promise(256 * 2**20, 1)
    check_promise(16 * 10**9, 10**9)
    for promised, weight in ((256 * 2**20 + 1, 1), (16 * 10**9 + 1, 10**9)):
        with pytest.raises(InputError, match="expected arrays of at most"):
            check_promise(promised, weight)


def test_what_is_packed_is_read_however_flat(monkeypatch):
    """Zeros that zlib makes a thousandth of are stored as they are where they would be refused."""
    monkeypatch.setattr(archives, "FREE", 100_000)
    for side in (100, 400):
        zeros = np.zeros((side, side), np.float32)
        content = archives.pack_arrays({"saliency": zeros})
        np.testing.assert_array_equal(archives.read_arrays(content)["saliency"], zeros)
        assert (len(content) > zeros.nbytes) == (side == 400)
    bits = archives.pack_arrays({"bits": np.zeros(40_000, np.uint8)}, 320_000)
    archives.check_promise(320_000, len(bits))


@pytest.mark.parametrize("name", ["explanation.json", *FILES])
def test_a_pipe_in_the_place_of_a_file_does_not_wait(saved, tmp_path, name):
    write(tmp_path, {one: saved[one] for one in FILES}, saved["explanation.json"])
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    with pytest.raises(InputError, match=f"expected a file, got .*{name}"):
        Explanation.load(tmp_path)
