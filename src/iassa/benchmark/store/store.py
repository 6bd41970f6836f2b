"""The folder of a benchmark run, which can be killed at any moment and gone on with.

A run is a folder with a database, `run.sqlite`, and for people `configuration.json`. The database
decides; `database.py` describes its tables. An item is one transaction: after `add` has returned it
is there whole, whatever happens, and before that nothing of it is. One process writes, and holds a
lock meanwhile, which the system takes off it when it dies; any number read.

Opening a run looks whether its pages fit together, so that noise in the place of one is found at
once, and zeros unless a row ended there; also in maps and evidence, which neither going on nor a
report reads. What is wrong within a row is found when that is read, by its checksum. Both are told
with what can be saved; see `salvage`, which reads all of a run.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import filelock
import numpy as np
from numpy.typing import NDArray

from iassa.benchmark.configuration import DATA, IMAGES, as_json, join_methods
from iassa.benchmark.store import item_rows, rows
from iassa.benchmark.store.database import (
    CONFIGURATION,
    DATABASE,
    check_pages,
    create,
    open_reader,
    open_writer,
    refusal,
    transaction,
)
from iassa.benchmark.store.packed_map import unpack_map
from iassa.benchmark.store.records import Entry, Failure, Item, ItemKey
from iassa.benchmark.store.remains import describe
from iassa.errors import InputError
from iassa.files import write_whole

__all__ = ["Store"]

LOCK = "run.lock"


class Store:
    """A run, opened by `open` to go on with it or by `read` to look at it. A context manager.

    It belongs to the thread that opened it. Every method raises an `InputError` where the run is
    damaged, where its folder cannot be read or written, or its disk is full.

    Attributes:
        folder: of the run.
        configuration: of the run, with all methods that it has.
    """

    folder: Path
    configuration: dict[str, Any]

    def __init__(
        self, folder: Path, connection: sqlite3.Connection, lock: filelock.BaseFileLock | None
    ) -> None:
        self.folder = folder
        self.configuration = {}
        self._connection = connection
        self._lock = lock
        self._process = os.getpid()

    @classmethod
    def open(
        cls,
        folder: Path,
        configuration: Mapping[str, Any],
        tell_images: Callable[[Collection[str]], str] | None = None,
    ) -> Self:
        """Begin a run, or go on with it.

        Args:
            folder: made if it is not there; other files in it are left alone.
            configuration: of JSON values. That of a run to go on with has to agree but for
                'methods', label -> definition: labels may be new, or not asked for this time.
            tell_images: given the image names of the stored run, returns a text about which images
                differ, used in the error message; None for no detail.

        Raises:
            InputError: another process works on the run, it was begun with another configuration
                (each difference is named, and nothing written), it is of another schema or
                damaged, or the folder cannot be written.
        """
        asked = as_json(configuration)
        folder = Path(folder)
        lock = _hold(folder)
        try:
            with _refusing(folder):
                connection, made = open_writer(folder / DATABASE)
            store = cls(folder, connection, lock)
        except BaseException:
            lock.release()
            raise
        try:
            if made:
                store._check_pages()
                store._go_on(asked, tell_images)
            else:
                store._begin(asked)
            store._show_configuration()
        except BaseException:
            store.close()
            raise
        return store

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Look at a run, also while another process goes on with it. Nothing can be added.

        Raises:
            InputError: there is no run, one of another schema, or a damaged one.
        """
        folder = Path(folder)
        if not (folder / DATABASE).is_file():
            raise InputError(
                f"expected a run in {folder}, got no {DATABASE} there. Name the folder of a run."
            )
        with _refusing(folder):
            store = cls(folder, open_reader(folder / DATABASE), None)
        try:
            store._check_pages()
            store.configuration = store._stored_configuration()
        except BaseException:
            store.close()
            raise
        return store

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let others go on with the run. Once is enough, and twice does no harm."""
        if os.getpid() != self._process:
            return  # the run is its parent's
        with suppress(sqlite3.Error):  # what was added is safe already
            self._connection.close()
        if self._lock is not None:
            self._lock.release()

    def remember(self, last: Mapping[str, Any]) -> None:
        """Store settings of the latest command that may change between commands; see `last`."""
        with self._writing("what was asked for") as connection:
            connection.execute("DELETE FROM meta WHERE name = 'last'")
            rows.insert(connection, "meta", [("last", json.dumps(last, allow_nan=False))])

    @property
    def last(self) -> dict[str, Any]:
        """What `remember` kept; empty if nothing."""
        found = self._select("meta", "name = 'last'")
        content: dict[str, Any] = json.loads(str(found[0][1])) if found else {}
        return content

    # --- images and entries -------------------------------------------------------------------

    def add_image(self, name: str, entries: Sequence[Entry], digest: str) -> None:
        """Add an image with all of its entries, which may be none.

        Args:
            name: of the file, the `image` of each entry.
            entries: with keys that the run does not have.
            digest: SHA-256 of the file.

        Raises:
            InputError: the image or an entry is there already, or an entry is of another image.
        """
        strange = [entry.key for entry in entries if entry.image != name]
        if strange:
            raise InputError(f"expected entries of the image {name}, got {', '.join(strange)}.")
        self.add_image_rows(name, [rows.entry_row(entry) for entry in entries], digest)

    def add_image_rows(self, name: str, entries: Sequence[rows.Row], digest: str) -> None:
        """The same from rows; see `add_image`."""
        with self._writing(f"the image {name} or an entry of it") as connection:
            rows.insert(connection, "image", [(name, digest, len(entries))])
            rows.insert(connection, "entry", entries)

    def replace_image(self, name: str, entries: Sequence[Entry], digest: str) -> None:
        """Put another content of an image in the place of one that could not be used.

        Args:
            name: of an image that was added, with excluded entries alone.
            entries: see `add_image`. At least as many as before, so that a concurrent reader that
                counted the rows first does not miss any.
            digest: see there.

        Raises:
            InputError: an entry of it is explained, or it had more; see also `add_image`.
        """
        with self._writing(f"the image {name} or an entry of it") as connection:
            found = rows.select(connection, "entry", "image = ?", [name])
            had = [rows.entry_of(row) for row in found]
            if len(entries) < len(had) or not all(entry.excluded for entry in had):
                raise InputError(
                    f"expected {name} with excluded entries alone, {len(entries)} at most, got "
                    f"{len(had)}. Leave it as it is."
                )
            connection.execute("DELETE FROM entry WHERE image = ?", [name])
            connection.execute("DELETE FROM image WHERE name = ?", [name])
            rows.insert(connection, "image", [(name, digest, len(entries))])
            rows.insert(connection, "entry", [rows.entry_row(entry) for entry in entries])

    def images(self) -> dict[str, str]:
        """Name -> digest of the images that were added."""
        return {str(row[0]): str(row[1]) for row in self._all("image")}

    def entries(self) -> list[Entry]:
        """All of them, by place of the image in the dataset, then by key."""
        found = [rows.entry_of(row) for row in self._all("entry")]
        return sorted(found, key=lambda entry: (entry.image_index, entry.key))

    # --- items --------------------------------------------------------------------------------

    def add(self, item: Item) -> None:
        """Store a finished item. When this returns it is on the disk, whole.

        An earlier failure of it is forgotten.

        Raises:
            InputError: it is there already, or holds NaN or infinity.
        """
        self.add_rows(item_rows.item_rows(item, datetime.now(UTC)))

    def add_rows(self, item: item_rows.ItemRows) -> None:
        """The same from rows; see `add`."""
        with self._writing(f"the item {_name(item.key)}") as connection:
            item_rows.insert_item(connection, item)
            self._forget_failure(item.key)

    def add_failure(self, failure: Failure) -> None:
        """Remember that an item could not be made; an earlier failure of it is forgotten.

        Raises:
            InputError: the item is finished.
        """
        with self._writing(f"the item {_name(failure.key)}") as connection:
            if self._number(failure.key) is not None:
                raise sqlite3.IntegrityError
            self._forget_failure(failure.key)
            rows.insert(connection, "failure", [rows.failure_row(failure)])

    def finished(self) -> set[ItemKey]:
        """Keys of the items that were added."""
        return {rows.key_of(row[1:]) for row in self._all("item")}

    def failures(self) -> list[Failure]:
        """Of items that are not finished, in order of their keys."""
        found = [rows.failure_of(row) for row in self._select("failure")]
        return sorted(found, key=lambda failure: failure.key)

    def items(self, with_curves: bool = False) -> Iterator[Item]:
        """The items that are finished by now, in the order in which they were.

        Args:
            with_curves: whether to read these too, which are most of what is read then.
        """
        for row in self._all("item"):
            with self._reading() as connection:
                item = item_rows.read_item(connection, row, with_curves)
            yield item

    def saliency(self, key: ItemKey, snapshot: int) -> NDArray[np.float32]:
        """The map (H, W) of a snapshot, to within its `saliency_error`.

        Args:
            key: of a finished item.
            snapshot: which of its snapshots, from 0.

        Raises:
            InputError: there is no such item or snapshot.
        """
        with self._reading() as connection:
            number = self._finished_number(key)
            place = [number, snapshot]
            where = "item = ? AND snapshot = ?"
            taken = rows.select(connection, "snapshot", where, place)
            if not taken:
                raise InputError(
                    f"expected a snapshot of the item {_name(key)}, got {snapshot}, which it does "
                    "not have. They are counted from 0."
                )
            found = rows.select(connection, "map", where, place)
            if not found:
                raise rows.DamageError("a map is missing")
        return unpack_map(item_rows.map_of(found[0], taken[0]))

    def evidence(self, key: ItemKey) -> bytes | None:
        """The packed evidence of a finished item; None where its method keeps none.

        Raises:
            InputError: there is no such item.
        """
        with self._reading() as connection:
            number = self._finished_number(key)
            return item_rows.read_evidence(connection, number)

    # --- inside -------------------------------------------------------------------------------

    def _check_pages(self) -> None:
        with self._reading() as connection:
            check_pages(connection)

    def _begin(self, asked: dict[str, Any]) -> None:
        with self._writing("the run") as connection:
            create(connection)
            created = json.dumps(datetime.now(UTC).isoformat())
            rows.insert(connection, "meta", [("created", created)])
            rows.insert(connection, "meta", [_configuration_row(asked)])
        self.configuration = asked

    def _go_on(
        self, asked: dict[str, Any], tell_images: Callable[[Collection[str]], str] | None
    ) -> None:
        stored = self._stored_configuration()
        self.configuration, differing = join_methods(stored, asked)
        if differing and not self.images() and not self.finished():
            self.configuration, differing = asked, []  # nothing was made with the other
        if differing:
            paths = [line.partition(":")[0] for line in differing]
            if IMAGES in paths and tell_images is not None:
                differing[paths.index(IMAGES)] += f" ({tell_images(self.images())})"
            listed = "; ".join(differing)
            data = DATA.keys() & {*paths}
            raise InputError(
                f"expected the configuration of the run in {self.folder}, got another: {listed}. "
                f"Ask for the same{', of the data as it was' if data else ''}, or choose another "
                "folder for the run."
            )
        if self.configuration != stored:
            with self._writing("the configuration") as connection:
                connection.execute("DELETE FROM meta WHERE name = 'configuration'")
                rows.insert(connection, "meta", [_configuration_row(self.configuration)])

    def _stored_configuration(self) -> dict[str, Any]:
        found = self._select("meta", "name = 'configuration'")
        with self._reading():
            if not found:
                raise rows.DamageError("the configuration is missing")
        content: dict[str, Any] = json.loads(str(found[0][1]))
        return content

    def _show_configuration(self) -> None:
        """Write it for people, where what they see is not what is."""
        text = json.dumps(self.configuration, indent=2, ensure_ascii=False) + "\n"
        with suppress(OSError):
            if (self.folder / CONFIGURATION).read_bytes() == text.encode():
                return
        write_whole(self.folder, {CONFIGURATION: text.encode()})

    def _select(self, table: str, where: str = "TRUE") -> list[rows.Row]:
        with self._reading() as connection:
            return rows.select(connection, table, where)

    def _all(self, table: str) -> list[rows.Row]:
        """All rows of a table that never has fewer than before."""
        with self._reading() as connection:
            # Counted by its index, so that rows which vanish with a page are missed.
            count = connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608
            found = rows.select(connection, table)
            if len(found) < count:
                raise rows.DamageError(f"{count - len(found)} rows of table {table} are missing")
        return found

    def _number(self, key: ItemKey) -> int | None:
        """Of an item, in the database."""
        found = self._connection.execute(
            "SELECT id FROM item WHERE entry = ? AND method = ? AND seed = ?",
            rows.key_row(key),
        ).fetchone()
        return None if found is None else int(found[0])

    def _finished_number(self, key: ItemKey) -> int:
        number = self._number(key)
        if number is None:
            raise InputError(
                f"expected a finished item, got {_name(key)}, which is not. Choose one of "
                "`finished()`."
            )
        return number

    def _forget_failure(self, key: ItemKey) -> None:
        self._connection.execute(
            "DELETE FROM failure WHERE entry = ? AND method = ? AND seed = ?",
            rows.key_row(key),
        )

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        if os.getpid() != self._process:
            raise InputError(
                f"expected the process that opened the run in {self.folder}, got a fork of it. "
                "Hand results to that one, or read the run."
            )
        with _refusing(self.folder):
            yield self._connection

    @contextmanager
    def _writing(self, what: str) -> Iterator[sqlite3.Connection]:
        if self._lock is None:
            raise InputError(
                f"expected a run that was opened to go on with it, got {self.folder} opened to be "
                "read. Use `Store.open`."
            )
        with self._reading() as connection:
            try:
                with transaction(connection):
                    yield connection
            except sqlite3.IntegrityError:
                raise InputError(
                    f"expected what the run in {self.folder} does not have yet, got {what}, which "
                    "it has. Add each once."
                ) from None


def _hold(folder: Path) -> filelock.BaseFileLock:
    """The lock of a run's folder, which is made if it is not there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(folder / LOCK)
        lock.acquire(blocking=False)
    except filelock.Timeout:
        raise InputError(
            f"another process works on {folder}. Wait for it, or choose another folder."
        ) from None
    except OSError as error:
        raise InputError(
            f"cannot write to {folder}: {error.strerror or error}. Choose another folder."
        ) from None
    return lock


@contextmanager
def _refusing(folder: Path) -> Iterator[None]:
    """Turn what SQLite and the checksums say into what the user can do."""
    try:
        yield
    except rows.DamageError as damage:
        raise describe(folder, damage) from damage
    except (sqlite3.ProgrammingError, sqlite3.InterfaceError):
        raise  # another thread, or closed: a mistake in the program, and said clearly
    except sqlite3.Error as error:
        raise refusal(error, folder) or describe(folder, error) from error


def _configuration_row(configuration: dict[str, Any]) -> rows.Row:
    return ("configuration", json.dumps(configuration, allow_nan=False))


def _name(key: ItemKey) -> str:
    return f"{key.entry} by {key.method}, seed {key.seed}"
