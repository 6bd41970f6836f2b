"""Scores that were paid for, kept on disk, so that no image is sent to a model twice.

The key of a row is the model (a digest of its identity) and the image (a digest of the values that
are sent). A row takes 8 bytes a class. Nothing is ever removed, as that would be to pay again:
delete the folder when it is no longer needed.
"""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from iassa.errors import BlackBoxError, IassaError, InputError
from iassa.files import private_folder, user_path

FILE = "scores.sqlite"
WAIT = 60.0  # seconds for another process that writes
TABLE = """
CREATE TABLE IF NOT EXISTS score (
    model BLOB,     -- digest
    image BLOB,     -- digest
    scores BLOB,    -- little-endian float64
    PRIMARY KEY (model, image)
)
"""
# A view or a trigger of that name may compute without end.
OTHERS = """
SELECT count(*) FROM sqlite_master WHERE tbl_name != 'score' OR type NOT IN ('table', 'index')
"""
LONGEST = 2**24  # bytes of a row, as the file may promise more than there is memory


def digest(content: bytes | str, *more: object) -> bytes:
    """16 bytes that tell one content, and the `repr` of `more`, from any other."""
    whole = hashlib.sha256(repr(more).encode())
    whole.update(content.encode() if isinstance(content, str) else content)
    return whole.digest()[:16]


class ScoreCache:
    """The cache of one model in a folder. Threads may share it, and processes the folder.

    Attributes:
        num_outputs: K of the model's scores when it was opened; None if there were none.
    """

    def __init__(self, folder: Path, model: str) -> None:
        """Open it.

        Args:
            folder: made if it is not there.
            model: the model's identity.

        Raises:
            InputError: it cannot be made, read or written, is the file of another program, or can
                be written by another user.
        """
        self._path = user_path(folder) / FILE
        self._model = digest(model)
        self._lock = threading.Lock()
        with self._failures_as(InputError), ExitStack() as undo:
            private_folder(self._path.parent, FILE)
            self._database = sqlite3.connect(
                self._path, timeout=WAIT, isolation_level=None, check_same_thread=False
            )
            undo.callback(self._database.close)
            self._database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST)
            with self._database:
                self._database.execute("BEGIN IMMEDIATE")  # fails where nothing can be written
                if self._database.execute(OTHERS).fetchone() != (0,):
                    raise sqlite3.DatabaseError("it is the file of another program")
                self._database.execute(TABLE)
            query = "SELECT length(scores) / 8 FROM score WHERE model = ? LIMIT 1"
            row = self._database.execute(query, (self._model,)).fetchone()
            undo.pop_all()
        self.num_outputs: int | None = row[0] if row else None

    @contextmanager
    def _failures_as(self, kind: type[IassaError]) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            raise kind(
                f"cannot use the cache {self._path}: {error}. Free space there, delete the file if "
                "it is damaged, or choose another folder."
            ) from None

    def find(self, images: Sequence[bytes]) -> list[NDArray[np.float64] | None]:
        """Scores (K,) of each image, by digest; None where there are none."""
        query = "SELECT scores FROM score WHERE model = ? AND image = ?"
        with self._failures_as(BlackBoxError), self._lock:
            rows = [self._database.execute(query, (self._model, k)).fetchone() for k in images]
            return [row and _read(row[0]) for row in rows]

    def add(self, images: Sequence[bytes], scores: NDArray[np.float64]) -> None:
        """Keep the scores (N, K) of images, by digest: all of them or none."""
        rows = [
            (self._model, image, row.astype("<f8").tobytes())
            for image, row in zip(images, scores, strict=True)
        ]
        with self._failures_as(BlackBoxError), self._lock, self._database:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.executemany(
                "REPLACE INTO score (model, image, scores) VALUES (?, ?, ?)", rows
            )

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()


def _read(scores: object) -> NDArray[np.float64]:
    if not isinstance(scores, bytes) or len(scores) % 8:
        raise sqlite3.DatabaseError("a row of it holds no scores")
    return np.frombuffer(scores, "<f8").astype(np.float64)
