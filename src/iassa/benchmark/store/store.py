"""The folder of a benchmark run, which can be killed at any moment and gone on with.

A run is a folder with a database, `run.sqlite`, and for people `configuration.json`. The database
decides; `database.py` describes its tables. An item is one transaction: after `add` has returned it
is there whole, whatever happens, and before that nothing of it is. One process writes, any number
read.

Opening a run checks that the pages of its database fit together. That finds a page of noise, and a
page of zeros unless a row ended there; also in maps and evidence, which neither going on nor a
report reads. Reading a row checks its checksum. The error message for either says what can be
saved; `salvage` reads all of a run.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from iassa.benchmark.configuration import DATA, IMAGES, OF_ITEMS, as_json, join_methods
from iassa.benchmark.store import rows
from iassa.benchmark.store.columns import (
    TABLES,
    DamageError,
    EntryRow,
    FailureRow,
    ImageRow,
    ItemRow,
    Row,
)
from iassa.benchmark.store.database import CONFIGURATION, check_pages, create
from iassa.benchmark.store.records import Entry, Failure, Item, ItemKey
from iassa.benchmark.store.session import Session
from iassa.errors import InputError, list_choices, list_some
from iassa.files import read_whole, user_path, write_whole


class Store:
    """A run, opened by `open` to go on with it or by `read` to look at it. A context manager.

    It belongs to the thread that opened it. Every method raises an `InputError` where the run is
    damaged, where its folder cannot be read or written, or its disk is full.

    Attributes:
        folder: of the run.
        configuration: of the run, with all methods that it has.
    """

    def __init__(self, folder: Path, session: Session) -> None:
        self.folder = folder
        self._session = session
        self.configuration: dict[str, Any] = {}
        if session.has_run:
            with self._closing_on_error(), session.reading() as connection:
                check_pages(connection)
                self.configuration = self._meta("configuration")
                if not self.configuration:
                    raise DamageError("the configuration is missing")

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
                'methods', label -> definition: labels may be new, or not asked for this time. In a
                run without a finished item, it has to agree in what its entries depend on, and if
                it has no entry to explain, in nothing.
            tell_images: given the image names of the stored run, returns a text about which images
                differ, used in the error message; None for no detail.

        Raises:
            InputError: another process works on the run; it has another configuration (the message
                names each difference, and nothing is written); another version of iassa made it; it
                is damaged; or the folder cannot be written.
        """
        asked = as_json(configuration)
        folder = user_path(folder)
        store = cls(folder, Session(folder, writing=True))
        with store._closing_on_error():
            if store._session.has_run:
                store._continue_run(asked, tell_images)
            else:
                store._create_run(asked)
            store._write_configuration()
        return store

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Look at a run, also while another process goes on with it. Nothing can be added.

        Raises:
            InputError: there is no run, another version of iassa made it, or it is damaged.
        """
        folder = user_path(folder)
        return cls(folder, Session(folder, writing=False))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let other processes go on with the run. A second call does nothing."""
        self._session.close()

    def remember(self, last: Mapping[str, Any]) -> None:
        """Store settings of the latest command that may change between commands; see `last`."""
        with self._session.writing("what was asked for") as connection:
            _set_meta(connection, "last", last)

    @property
    def last(self) -> dict[str, Any]:
        """What `remember` kept; empty if nothing."""
        return self._meta("last")

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
            raise InputError(f"expected entries of the image {name}, got {list_some(strange)}.")
        with self._session.writing(f"the image {name} or an entry of it") as connection:
            _insert_image(connection, name, entries, digest)

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
        with self._session.writing(f"the image {name} or an entry of it") as connection:
            had = rows.select(connection, EntryRow, "image = ?", [name])
            if len(entries) < len(had) or not all(row.excluded for row in had):
                raise InputError(
                    f"expected {name} with excluded entries alone, {len(entries)} at most, got "
                    f"{len(had)}. Leave it as it is."
                )
            connection.execute("DELETE FROM entry WHERE image = ?", [name])
            connection.execute("DELETE FROM image WHERE name = ?", [name])
            _insert_image(connection, name, entries, digest)

    def images(self) -> dict[str, str]:
        """Name -> digest of the images that were added."""
        return {row.name: row.digest for row in self._all(ImageRow)}

    def entries(self) -> list[Entry]:
        """All of them, by place of the image in the dataset, then by key."""
        stored = self._all(EntryRow)
        with self._session.reading():
            found = [rows.entry_of(row) for row in stored]
        return sorted(found, key=lambda entry: (entry.image_index, entry.key))

    # --- items --------------------------------------------------------------------------------

    def add(self, item: Item) -> None:
        """Store a finished item. When this returns it is on the disk, whole.

        An earlier failure of it is forgotten.

        Raises:
            InputError: it is there already, or holds NaN or infinity.
        """
        with self._session.writing(f"the item {item.key}") as connection:
            rows.insert_item(connection, item, datetime.now(UTC))
            _forget_failure(connection, item.key)

    def copy_item(self, source: sqlite3.Connection, row: ItemRow) -> None:
        """Store a finished item of another database, each value as it is there; see `add`.

        Args:
            source: that database.
            row: of the item in its table `item`.
        """
        key = rows.key_of(row)
        with self._session.writing(f"the item {key}") as connection:
            rows.copy_item(source, row, connection)
            _forget_failure(connection, key)

    def add_failure(self, failure: Failure) -> None:
        """Remember that an item could not be made; an earlier failure of it is forgotten.

        Raises:
            InputError: the item is finished.
        """
        with self._session.writing(f"the item {failure.key}") as connection:
            if rows.select(connection, ItemRow, rows.OF_KEY, rows.key_row(failure.key)):
                raise sqlite3.IntegrityError
            _forget_failure(connection, failure.key)
            row = {**rows.key_row(failure.key), "error": failure.error}
            rows.insert(connection, "failure", row)

    def finished(self) -> set[ItemKey]:
        """Keys of the items that were added."""
        return {rows.key_of(row) for row in self._all(ItemRow)}

    def failures(self) -> list[Failure]:
        """Of items that are not finished, in order of their keys."""
        with self._session.reading() as connection:
            found = rows.select(connection, FailureRow, "TRUE ORDER BY entry, method, seed")
        return [Failure(rows.key_of(row), row.error) for row in found]

    def items(self, with_curves: bool = False) -> Iterator[Item]:
        """The items that are finished by now, in the order in which they were.

        Args:
            with_curves: whether to read these too, which are most of what is read then.
        """
        for row in self._all(ItemRow):
            with self._session.reading() as connection:
                item = rows.read_item(connection, row, with_curves)
            yield item

    def saliency(self, key: ItemKey, snapshot: int) -> NDArray[np.float32]:
        """The map (H, W) of a snapshot, to within its `saliency_error`.

        Args:
            key: of a finished item.
            snapshot: which of its snapshots, from 0.

        Raises:
            InputError: there is no such item or snapshot.
        """
        row = self._item(key)
        with self._session.reading() as connection:
            snapshots = rows.read_item(connection, row, with_curves=False).snapshots
            if not 0 <= snapshot < len(snapshots):
                raise InputError(
                    f"expected one of the {len(snapshots)} snapshots of the item {key}, counted "
                    f"from 0, got {snapshot}."
                )
            return rows.read_map(connection, row.id, snapshot)

    def evidence(self, key: ItemKey) -> bytes | None:
        """The packed evidence of a finished item; None where its method keeps none.

        Raises:
            InputError: there is no such item.
        """
        row = self._item(key)
        with self._session.reading() as connection:
            return rows.read_evidence(connection, row)

    # --- inside -------------------------------------------------------------------------------

    @contextmanager
    def _closing_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.close()
            raise

    def _create_run(self, asked: dict[str, Any]) -> None:
        with self._session.writing("the run") as connection:
            create(connection)
            _set_meta(connection, "created", datetime.now(UTC).isoformat())
            _set_meta(connection, "configuration", asked)
        self.configuration = asked

    def _continue_run(
        self, asked: dict[str, Any], tell_images: Callable[[Collection[str]], str] | None
    ) -> None:
        stored = self.configuration
        self.configuration, differing = join_methods(stored, asked)
        unused: tuple[str, ...] = ()  # tables with what was made with the other, which is no result
        if differing and not self.finished():
            if all(entry.excluded for entry in self.entries()):
                unused, known = ("failure", "entry", "image"), asked
            else:
                unused, known = ("failure",), stored | {name: asked.get(name) for name in OF_ITEMS}
            self.configuration, differing = join_methods(known, asked)
        if differing:
            paths = [line.partition(":")[0] for line in differing]
            if IMAGES in paths and tell_images is not None:
                differing[paths.index(IMAGES)] += f" ({tell_images(self.images())})"
            listed = list_choices(differing, "; ")
            data = DATA.keys() & {*paths}
            raise InputError(
                f"expected the configuration of the run in {self.folder}, got another: {listed}. "
                f"Ask for the same{', of the data as it was' if data else ''}, or choose another "
                "folder for the run."
            )
        if self.configuration != stored:
            with self._session.writing("the configuration") as connection:
                for table in unused:
                    connection.execute(f"DELETE FROM {table}")  # noqa: S608
                _set_meta(connection, "configuration", self.configuration)

    def _write_configuration(self) -> None:
        """Write it for people, where what they see is not what is."""
        text = json.dumps(self.configuration, indent=2, ensure_ascii=False) + "\n"
        with suppress(InputError):
            if read_whole(self.folder / CONFIGURATION) == text.encode():
                return
        write_whole(self.folder, {CONFIGURATION: text.encode()})

    def _meta(self, name: str) -> dict[str, Any]:
        """What is stored under a name; empty if nothing."""
        with self._session.reading() as connection:
            return rows.read_meta(connection, name)

    def _all(self, kind: type[Row]) -> list[Row]:
        """All rows of a table that never has fewer than before."""
        table = TABLES[kind]
        with self._session.reading() as connection:
            # Counted by its index, so that rows which vanish with a page are missed.
            (count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608
            found = rows.select(connection, kind)
            if len(found) < count:
                raise DamageError(f"{count - len(found)} rows of table {table} are missing")
        return found

    def _item(self, key: ItemKey) -> ItemRow:
        """The row of a finished item."""
        with self._session.reading() as connection:
            for row in rows.select(connection, ItemRow, rows.OF_KEY, rows.key_row(key)):
                return row
        raise InputError(
            f"expected a finished item, got {key}, which is not. Choose one of `finished()`."
        )


def _set_meta(connection: sqlite3.Connection, name: str, value: Any) -> None:
    connection.execute("DELETE FROM meta WHERE name = ?", [name])
    rows.insert(connection, "meta", {"name": name, "value": json.dumps(value, allow_nan=False)})


def _insert_image(
    connection: sqlite3.Connection, name: str, entries: Sequence[Entry], digest: str
) -> None:
    rows.insert(connection, "image", {"name": name, "digest": digest, "entries": len(entries)})
    for entry in entries:
        rows.insert(connection, "entry", rows.entry_row(entry))


def _forget_failure(connection: sqlite3.Connection, key: ItemKey) -> None:
    connection.execute(f"DELETE FROM failure WHERE {rows.OF_KEY}", rows.key_row(key))  # noqa: S608
