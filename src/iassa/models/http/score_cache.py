"""Scores that were paid for, kept on disk: what was answered once is not asked again.

A row is found by the model (a digest of all that makes an endpoint another) and by the image (a
digest of the values that are sent). It takes 8 bytes a class: nothing is ever thrown away, as that
would be to pay again. Delete the folder when it is no longer needed.
"""

from __future__ import annotations

import hashlib
import logging
import sqlite3
import threading
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iassa.errors import BlackBoxError, InputError

__all__ = ["FILE", "ScoreCache", "digest"]

FILE = "scores.sqlite"
WAIT = 60.0  # seconds for another process that writes
APPLICATION = int.from_bytes(b"IASC", "big")  # tells it from other programs' databases
SCHEMA = 1
TABLE = """
CREATE TABLE score (
    model BLOB,         -- digest
    image BLOB,         -- digest
    scores BLOB,        -- little-endian float64
    checksum INTEGER,   -- CRC-32 of them
    PRIMARY KEY (model, image)
)
"""

log = logging.getLogger(__name__)


def digest(content: bytes | str, *more: object) -> bytes:
    """16 bytes that tell one content, and what else is said of it, from any other."""
    whole = hashlib.sha256(repr(more).encode())
    whole.update(content.encode() if isinstance(content, str) else content)
    return whole.digest()[:16]


class ScoreCache:
    """The cache of one model in a folder. Threads may share it, and processes the folder."""

    def __init__(self, folder: Path, model: str) -> None:
        """Open it.

        Args:
            folder: made if it is not there.
            model: all that makes the model another one.

        Raises:
            InputError: it cannot be made, read or written, or is none of ours.
        """
        self._path = folder / FILE
        self._model = digest(model)
        self._lock = threading.Lock()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(
                self._path, timeout=WAIT, isolation_level=None, check_same_thread=False
            )
        except (OSError, sqlite3.Error) as error:
            raise InputError(
                f"cannot use the cache {self._path}: {error}. Choose another folder."
            ) from None
        try:
            self._make()
        except sqlite3.Error as error:
            self._database.close()
            raise InputError(
                f"cannot use the cache {self._path}: {error}. Delete it if it is damaged, or "
                "choose another folder."
            ) from None
        except BaseException:
            self._database.close()
            raise

    def _make(self) -> None:
        self._database.execute("BEGIN IMMEDIATE")  # fails here where nothing can be written
        (application,) = self._database.execute("PRAGMA application_id").fetchone()
        (version,) = self._database.execute("PRAGMA user_version").fetchone()
        (tables,) = self._database.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if not (application or version or tables):
            self._database.execute(TABLE)
            self._database.execute(f"PRAGMA application_id={APPLICATION}")
            self._database.execute(f"PRAGMA user_version={SCHEMA}")
        elif (application, version) != (APPLICATION, SCHEMA):
            raise InputError(
                f"expected a cache of scores, got a file of another program or version: "
                f"{self._path}. Choose another folder."
            )
        self._database.execute("COMMIT")

    def num_outputs(self) -> int | None:
        """K of the model's scores; None if there are none yet."""
        found = self._read("SELECT scores FROM score WHERE model = ? LIMIT 1", (self._model,))
        return len(found[0]) // 8 if found else None

    def find(self, images: Sequence[bytes]) -> list[NDArray[np.float64] | None]:
        """Scores (K,) of each image, by digest; None where they are not known."""
        return [self._find(image) for image in images]

    def _find(self, image: bytes) -> NDArray[np.float64] | None:
        query = "SELECT scores, checksum FROM score WHERE model = ? AND image = ?"
        found = self._read(query, (self._model, image))
        if found is None:
            return None
        if zlib.crc32(found[0]) != found[1] or len(found[0]) % 8:
            log.warning("a damaged row of %s is not used", self._path)
            return None
        return np.frombuffer(found[0], "<f8").astype(np.float64)

    def _read(self, query: str, values: tuple[bytes, ...]) -> Any:
        try:
            with self._lock:
                return self._database.execute(query, values).fetchone()
        except sqlite3.Error as error:
            raise BlackBoxError(f"cannot read the cache {self._path}: {error}.") from None

    def add(self, images: Sequence[bytes], scores: NDArray[np.float64]) -> None:
        """Keep the scores (N, K) of images, by digest: all of them or none."""
        contents = [row.astype("<f8").tobytes() for row in scores]
        rows = [
            (self._model, image, content, zlib.crc32(content))
            for image, content in zip(images, contents, strict=True)
        ]
        try:
            with self._lock:
                self._database.execute("BEGIN IMMEDIATE")
                try:
                    self._database.executemany("REPLACE INTO score VALUES (?, ?, ?, ?)", rows)
                    self._database.execute("COMMIT")
                except BaseException:
                    if self._database.in_transaction:
                        self._database.execute("ROLLBACK")
                    raise
        except sqlite3.Error as error:
            raise BlackBoxError(
                f"cannot write the cache {self._path}: {error}. Free space there, or go on without "
                "it."
            ) from None

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._database.close()
