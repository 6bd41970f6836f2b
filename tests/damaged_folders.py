"""Damaged folders of saved explanations: `python tests/damaged_folders.py 2000`.

The checksums fit, as somebody made the file who wants it read.
"""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
import zipfile
from pathlib import Path

import numpy as np

import iassa
from damage import Reader, damage, edit, print_judgement
from iassa.explanations.explanation import Explanation
from iassa.methods import Iassa

FILES = ("explanation.npz", "evidence.npz")


def bright(images):
    """Twelve pixels."""
    return images[:, ::4, ::4].reshape(len(images), -1)[:, :12]


def saved_files(folder: Path) -> dict[str, bytes]:
    """Files by name, of an explanation with grids, superpixels, level sets and regions."""
    image = np.random.default_rng(0).random((12, 17, 3)).astype(np.float32)
    method = Iassa(
        features="colour-position",
        round_calls=16,
        positions=4,
        segment_counts=(4,),
        fine_segment_counts=(4,),
        compactness=(9.0,),
    )
    targets = [0, "1,2", "3 vs 4"]
    iassa.explain(image, bright, method=method, target=targets, calls=60).save(
        folder, pictures="none"
    )
    return {name: (folder / name).read_bytes() for name in (*FILES, "explanation.json")}


def write(folder, contents, record):
    """Write them with checksums that fit, if the record can still have any."""
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    try:
        whole = json.loads(record)
        if isinstance(whole, dict) and whole.get("sha256"):
            record = json.dumps(whole | {"sha256": sums}).encode()
    except (ValueError, RecursionError):
        pass
    (folder / "explanation.json").write_bytes(record)


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
        members[one] = _break_header(members[one], rng)
    elif kind == 5:
        members[one] = damage(members[one], [members[other]], rng)
    elif kind == 6:
        inner = damage(members[one][8:], [members[other]], rng)
        members[one] = np.lib.format.magic(1, 0) + inner
    if "header" in arrays and (kind == 7 or rng.random() < 0.2):
        text = edit(arrays["header"].tobytes(), rng)
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
        with np.errstate(over="ignore"):  # in half precision the largest is infinite
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


def _break_header(member: bytes, rng: np.random.Generator) -> bytes:
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


def readers(number: int) -> list[Reader]:
    """What was read can be told of, written down, saved and read as another target."""
    rng = np.random.default_rng(number)
    contents, record = {name: SAVED[name] for name in FILES}, SAVED["explanation.json"]
    for name in rng.permutation([*FILES, "explanation.json"])[: rng.choice([1, 1, 2])]:
        bytes_alone = rng.random() < 0.25
        if name == "explanation.json":
            record = damage(record, [record], rng) if bytes_alone else edit(record, rng)
        elif bytes_alone:
            contents[name] = damage(contents[name], [*contents.values()], rng)
        else:
            contents[name] = edit_arrays(contents[name], rng)
    write(FOLDER, contents, record)

    def read() -> str:
        loaded = Explanation.load(FOLDER)
        repr(loaded)
        json.dumps(loaded.as_dict(), allow_nan=False)
        loaded.save(FOLDER / "again", pictures="none")
        Explanation.load(FOLDER / "again")
        iassa.retarget(loaded, 0)
        return "read"

    return [read]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        FOLDER = Path(name)
        SAVED = saved_files(FOLDER)
        print_judgement(readers)
