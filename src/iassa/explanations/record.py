"""The files of a saved explanation: a record, arrays beside it, and the sums that tie them."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iassa.errors import InputError

SCHEMA = 2
RECORD = "explanation.json"


def pack_arrays(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """The content of an NPZ file: `np.savez_compressed` in a third of its time.

    Maps are noise in their last bits: of zlib's levels the first makes them as small.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
    return buffer.getvalue()


def write_record(record: Mapping[str, Any], contents: Mapping[str, bytes]) -> bytes:
    """The content of `explanation.json`, with the SHA-256 of the files beside it."""
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    text = json.dumps({**record, "sha256": sums}, indent=2, allow_nan=False)
    return (text + "\n").encode()


def read_record(directory: Path) -> dict[str, Any]:
    """What `write_record` wrote.

    Raises:
        InputError: the file is missing, damaged or of another schema.
    """
    try:
        record = json.loads((directory / RECORD).read_text("utf-8"))
    except FileNotFoundError as missing:
        raise InputError(
            f"expected a saved explanation in {directory}, got no {missing.filename}."
        ) from None
    except (OSError, ValueError) as damage:
        raise InputError(
            f"cannot read the explanation in {directory}: {damage}. Make it again."
        ) from damage
    found = record.get("schema") if isinstance(record, dict) else type(record).__name__
    if found != SCHEMA:
        raise InputError(
            f"expected schema {SCHEMA} in {directory}, got {found}: it was saved by another "
            "version of iassa. Make it again."
        )
    return dict(record)


def read_content(directory: Path, name: str, record: Mapping[str, Any]) -> bytes:
    """A file beside the record, if it is the one that the record was written with.

    Raises:
        InputError: it cannot be read, or is another one.
    """
    try:
        content = (directory / name).read_bytes()
    except OSError as damage:
        raise InputError(
            f"cannot read {name} in {directory}: {damage.strerror}. Make it again."
        ) from damage
    sums = record.get("sha256")
    if not isinstance(sums, dict) or sums.get(name) != hashlib.sha256(content).hexdigest():
        raise InputError(
            f"the {name} in {directory} is not the one that {RECORD} was written with: it is "
            "damaged, or of another run. Make it again."
        )
    return content
