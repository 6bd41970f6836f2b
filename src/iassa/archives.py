"""Arrays in one NPZ file, and JSON: read with care, as they may be anyone's."""

from __future__ import annotations

import io
import json
import math
import warnings
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from iassa.checks import Within
from iassa.errors import InputError, require, show

# Bytes that the arrays of any file may take. A larger file may hold more: maps of noise are hardly
# compressed. So what is read never takes much more memory than the file took on the way here.
FREE = 256 * 2**20
RATIO = 16
LARGEST = 16 * 2**20  # bytes of JSON; Python's lists take twenty times that at worst
DEEPEST = 50  # levels of it
HEADER = 1024  # bytes before an array, at most
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def pack_arrays(arrays: Mapping[str, NDArray[Any]], unpacked: int = 0) -> bytes:
    """The content of an NPZ file: `np.savez_compressed` in a third of its time.

    Maps are noise in their last bits: of zlib's levels the first makes them as small. What it would
    make so small that `check_promise` refuses it is stored as it is.

    Args:
        arrays: by name.
        unpacked: bytes that will be made of them, if more than there are in them.
    """
    promised = max(unpacked, sum(array.nbytes + HEADER for array in arrays.values()))
    content = _pack(arrays, zipfile.ZIP_DEFLATED)
    fits = promised <= most_promised(len(content))
    return content if fits else _pack(arrays, zipfile.ZIP_STORED)


def _pack(arrays: Mapping[str, NDArray[Any]], method: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method, compresslevel=1) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
    return buffer.getvalue()


def read_arrays(content: bytes) -> dict[str, NDArray[Any]]:
    """The arrays of an NPZ file, by name: of bools and numbers, never of objects.

    Args:
        content: of the file. What it promises is checked before memory is taken for it.

    Raises:
        InputError: it is damaged, promises too much, or holds anything else.
    """
    try:
        with warnings.catch_warnings(), zipfile.ZipFile(io.BytesIO(content)) as archive:
            warnings.simplefilter("error")  # NumPy warns of headers that it did not write
            members = archive.infolist()
            check_promise(sum(member.file_size for member in members), len(content))
            return {one.filename.removesuffix(".npy"): _read(archive, one) for one in members}
    except InputError:
        raise
    except Exception as damage:  # zipfile, zlib and NumPy raise errors of many kinds
        told = f"{type(damage).__name__} {show(str(damage))}"
        raise InputError(f"the arrays cannot be read: {told}.") from damage


def check_promise(promised: int, weight: int) -> None:
    """Refuse content that would take far more memory than its file.

    Args:
        promised: bytes in memory.
        weight: bytes of the file.

    Raises:
        InputError: it does.
    """
    most = most_promised(weight)
    got = min(promised, 2**60) // 2**20  # the number itself may have thousands of digits
    require(
        promised <= most,
        f"expected arrays of at most {most // 2**20} MB in {weight / 1e6:.1f} MB, got {got} MB.",
    )


def most_promised(weight: int) -> int:
    """The most bytes in memory of a file of so many bytes."""
    return max(FREE, RATIO * weight)


def read_json(content: bytes | str, what: str) -> Any:
    """A value of JSON that can be written down again: finite, of Unicode, and not deep.

    Args:
        content: UTF-8.
        what: its name, for the error.

    Raises:
        InputError: it is damaged, or longer or deeper than any of ours.
    """
    require(len(content) <= LARGEST, f"expected {what} of at most {LARGEST} bytes, got more.")
    try:
        found = json.loads(content.decode() if isinstance(content, bytes) else content)
        level = [found]
        for _ in range(DEEPEST):
            level = [part for value in level for part in _parts(value)]
    except (ValueError, RecursionError) as damage:
        raise InputError(f"expected {what} as JSON, got other: {show(str(damage))}.") from damage
    require(not level, f"expected {what} of at most {DEEPEST} levels, got more.")
    return found


def _parts(value: Any) -> Iterable[Any]:
    """Of a value of JSON; raises a ValueError where it cannot be written."""
    if isinstance(value, dict):
        return (*value, *value.values())
    if isinstance(value, str):
        value.encode()
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is not finite")
    return value if isinstance(value, list) else ()


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[Any]:
    require(member.compress_type in METHODS, f"expected {member.filename} deflated.")
    with archive.open(member) as file:
        shape, dtype = _read_header(file)
        promised = file.tell() + math.prod(shape) * dtype.itemsize
    require(
        dtype.kind in "biuf" and min(shape, default=0) >= 0 and promised == member.file_size,
        f"expected numbers of a shape that fits {member.filename}, got {dtype} {shape} in "
        f"{member.file_size} bytes.",
    )
    with archive.open(member) as file:
        array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
        file.read()  # the checksum is tested at the end
    return array


def _read_header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    shape, _, dtype = HEADERS[np.lib.format.read_magic(file)](file)
    return shape, dtype


def take_array(
    arrays: Mapping[str, NDArray[Any]],
    name: str,
    shape: Sequence[int | None],
    kinds: DTypeLike | tuple[DTypeLike, ...],
    rule: Within | None = None,
) -> NDArray[Any]:
    """One of several arrays, if it is what is expected.

    Args:
        arrays: by name.
        name: of that one.
        shape: None for any length along an axis.
        kinds: its type, or those that it may have.
        rule: for every value; None for any.

    Raises:
        InputError: it is missing or another.
    """
    wanted = kinds if isinstance(kinds, tuple) else (kinds,)
    axes = ", ".join("any" if side is None else str(side) for side in shape)
    expected = f"expected {name} ({axes}) {' or '.join(np.dtype(kind).name for kind in wanted)}"
    require(name in arrays, f"{expected}, got none.")
    array = arrays[name]
    fits = len(array.shape) == len(shape) and all(
        side in (None, length) for side, length in zip(shape, array.shape, strict=True)
    )
    require(
        fits and array.dtype in map(np.dtype, wanted),
        f"{expected}, got {array.shape} {array.dtype}.",
    )
    if rule is not None and array.size:
        low, high = array.min().item(), array.max().item()  # NaN if there is any
        require(rule.holds((low, high)), f"{expected}, {rule}, got {low} to {high}.")
    return array
