"""Damage to files, drawn from a seed, and the one rule for whoever reads them.

A reader gives a result or raises an `InputError` or a `BlackBoxError`, whatever the file holds, in
less than a GB and 15 seconds.
"""

from __future__ import annotations

import io
import json
import resource
import sys
import time
import traceback
import warnings
import zipfile
from collections import Counter
from copy import deepcopy

import numpy as np

from iassa.errors import BlackBoxError, InputError

MOST_BYTES = 10**9
MOST_SECONDS = 15.0

ODD = [
    *(None, True, False, 0, 1, -1, 3, 2**31, 2**63, -(2**70), 10**400, 0.5, -0.5, 1e-320, 1e308),
    *(float("nan"), float("inf"), -float("inf"), "", "x", "3", "é\x00\x1b[2J\u202e", "\ud800"),
    *("x" * 10_000, "../../x", "a:b", [], [[]], {}, {"": {}}, [0] * 1000, [None, 1], [1e308] * 2),
]


def flip(content: bytes, rng: np.random.Generator) -> bytes:
    """Some bits are other ones, near to each other or anywhere."""
    damaged = np.frombuffer(content, np.uint8).copy()
    if len(damaged):
        at = rng.integers(0, len(damaged), rng.integers(1, 9))
        damaged[at] ^= (1 << rng.integers(0, 8, len(at))).astype(np.uint8)
    return damaged.tobytes()


def tear(content: bytes, rng: np.random.Generator) -> bytes:
    """It ends early, or a part is gone, is there twice, is noise or zeros."""
    first, last = np.sort(rng.integers(0, len(content) + 1, 2))
    part, noise = content[first:last], rng.bytes(int(last - first))
    kinds = [b"", part * 2, noise, b"\0" * len(part), part[::-1]]
    if rng.random() < 0.3:
        return content[:first]
    return content[:first] + kinds[rng.integers(len(kinds))] + content[last:]


def edit(value: object, rng: np.random.Generator) -> object:
    """A value of JSON of which a part is another, gone, or as deep or as long as it can be."""
    copy = json.loads(json.dumps(value))
    for _ in range(rng.integers(1, 3)):
        place = copy
        while isinstance(place, dict | list) and place:
            keys = list(place) if isinstance(place, dict) else range(len(place))
            key = keys[rng.integers(len(keys))]
            if not (isinstance(place[key], dict | list) and place[key]) or rng.random() < 0.3:
                _replace(place, key, rng)
                break
            place = place[key]
    return copy


def _replace(place: dict | list, key: object, rng: np.random.Generator) -> None:
    chance = rng.random()
    if chance < 0.15:
        del place[key]
    elif chance < 0.25:
        place[key] = [place[key]] * 3
    elif chance < 0.3:
        for _ in range(int(rng.integers(2, 400))):
            place[key] = [place[key]]
    elif chance < 0.45 and isinstance(place[key], int | float):
        few = int(rng.integers(-3, 99))
        place[key] = place[key] * few if isinstance(place[key], int) else place[key] / 7 * few
    else:
        place[key] = deepcopy(ODD[rng.integers(len(ODD))])


def edit_text(content: bytes, rng: np.random.Generator) -> bytes:
    """The text of a JSON file with another value in it, or another text."""
    if rng.random() < 0.05:
        return [b"[" * 10**5, b'{"a":' * 10**5, b"9" * 10**5, b"\xff\xfe", b""][rng.integers(5)]
    return json.dumps(edit(json.loads(content), rng)).encode()


def edit_arrays(content: bytes, rng: np.random.Generator) -> bytes:
    """The content of an NPZ file with other arrays in it; its own checksums fit."""
    with np.load(io.BytesIO(content)) as archive:
        members = {name: _member(array) for name, array in archive.items()}
        arrays = dict(archive)
    one, other = (list(members)[k] for k in rng.integers(0, len(members), 2))
    kind = rng.integers(8)
    if kind == 0:
        members[one], members[other] = members[other], members[one]
    elif kind == 1:
        del members[one]
    elif kind == 2:
        members[one] = _member(_odd_array(arrays[one], rng))
    elif kind == 3:
        members[one] = _lie(members[one], rng)
    elif kind == 4:
        members[one] = edit_header(members[one], rng)
    elif kind == 5:
        members[one] = flip(members[one], rng)
    elif kind == 6:
        members[one] = np.lib.format.magic(1, 0) + tear(members[one][8:], rng)
    if "header" in arrays and (kind == 7 or rng.random() < 0.2):
        text = json.dumps(edit(json.loads(arrays["header"].tobytes()), rng)).encode()
        members["header"] = _member(np.frombuffer(text, np.uint8))
    buffer = io.BytesIO()
    method = zipfile.ZIP_LZMA if rng.random() < 0.02 else zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, member in members.items():
            archive.writestr(f"{name}.npy", member)
    whole = buffer.getvalue()
    return _promise(whole, rng) if rng.random() < 0.05 else whole


def _member(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _odd_array(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    kind = rng.integers(7)
    if kind == 0:
        return array.astype(rng.choice([np.int8, np.float64, np.complex64, np.float16, np.str_]))
    if kind == 1:
        return array.reshape(-1)[: rng.integers(0, array.size + 1)]
    if kind == 2:
        return np.array([{}, "pickled"], object)
    if kind == 3:
        return np.zeros(tuple(int(side) for side in rng.integers(0, 9, rng.integers(0, 5))))
    if kind == 4:
        return np.zeros(8, [("a", np.float32), ("b", "S3")])
    if kind == 5:
        return array[..., None]
    changed = array.copy().reshape(-1)
    if changed.size and changed.dtype.kind == "f":
        values = np.array([np.nan, np.inf, -np.inf, 3e38, -1, 1e-45], changed.dtype)
        changed[rng.integers(changed.size)] = rng.choice(values)
    return changed.reshape(array.shape)


def _lie(member: bytes, rng: np.random.Generator) -> bytes:
    """The header promises another shape or type than there is."""
    shape = tuple(int(2 ** rng.integers(0, 40)) for _ in range(rng.integers(0, 4)))
    header = {
        "descr": str(rng.choice(["<f4", "|u1", "<f8", "|O", "<U9999"])),
        "fortran_order": False,
    }
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, header | {"shape": shape})
    return buffer.getvalue() + member[128:]


def edit_header(member: bytes, rng: np.random.Generator) -> bytes:
    """The text of the header of a member is no header."""
    texts = [b"[" * 9000, b"{" * 9000, b"'" * 90, b"9" * 9000, b"(" * 9000 + b")" * 9000, b""]
    text = texts[rng.integers(len(texts))]
    return np.lib.format.magic(1, 0) + len(text).to_bytes(2, "little") + text + member[128:]


def _promise(content: bytes, rng: np.random.Generator) -> bytes:
    """The directory of the archive promises another size."""
    damaged = bytearray(content)
    at = content.find(b"PK\x01\x02")
    size = int(2 ** rng.integers(0, 32)) - 1
    damaged[at + 24 : at + 28] = size.to_bytes(4, "little")
    return bytes(damaged)


def assert_read_or_refused(read, count, seed=0):
    """Read as many damaged things, each of its own generator, and count what became of them.

    Args:
        read: called with a generator; damages something and reads it.
        count: how many.
        seed: of all.
    """
    found, faults = Counter(), []
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(count):
        started = time.monotonic()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                read(np.random.default_rng((seed, number)))
            found["read"] += 1
        except (InputError, BlackBoxError) as refusal:
            found["refused"] += 1
            if "\n" in str(refusal):
                faults.append(f"{number}: several lines: {refusal}")
        except Exception:  # noqa: BLE001 - of any kind, to be told of
            faults.append(f"{number}: {traceback.format_exc()[-1500:]}")
        seconds = time.monotonic() - started
        if seconds > MOST_SECONDS:
            faults.append(f"{number}: {seconds:.0f} s")
        if len(faults) > 9:
            break
    unit = 1 if sys.platform == "darwin" else 1024
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit
    print(f"{dict(found)}, {grown / 1e6:.0f} MB")
    assert not faults, "\n".join(faults)
    assert grown < MOST_BYTES
    return found
