"""What a damaged run still holds: image by image and item by item, each whole or lost.

SQLite finds rows through pages that lead to other pages. With one of these gone it finds none of
the rows behind it, though they are still there. So each page that may hold rows is read as if it
were a whole table: in a copy of the database the tables are pointed at that page, and the checksum
in each row tells which table it is of, and that it is what was written. The `.recover` command of
SQLite's shell does likewise; Python's `sqlite3` has none.
"""

from __future__ import annotations

import shlex
import shutil
import sqlite3
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from iassa.archives import read_json
from iassa.benchmark.store import rows
from iassa.benchmark.store.columns import (
    TABLES,
    CurveRow,
    DamageError,
    EntryRow,
    EvidenceRow,
    ImageRow,
    ItemRow,
    MapRow,
    take_row,
)
from iassa.benchmark.store.database import CONFIGURATION, DATABASE, PAGE_SIZE, connect, create
from iassa.benchmark.store.records import Entry, ItemKey
from iassa.errors import InputError, list_some
from iassa.files import read_whole

LEAF = 0x0D  # first byte of a page with rows of a table: https://sqlite.org/fileformat2.html
# A page is read as one of each table in turn, until it is one: those with the most pages first.
IN_TURN = (MapRow, CurveRow, ItemRow, EvidenceRow, EntryRow, ImageRow)


@dataclass(frozen=True)
class Salvage:
    """What can be saved of a damaged run, and what cannot.

    Attributes:
        saved: keys of the items that are whole.
        lost: keys of those that are not.
        unknown: items of which not even the key could be read.
        images: how many are whole, with all of their entries.
        lost_images: how many are not. Their items are saved, where they are whole; the same command
            adds the images again.
    """

    saved: tuple[ItemKey, ...]
    lost: tuple[ItemKey, ...]
    unknown: int
    images: int
    lost_images: int


@dataclass(frozen=True, eq=False)
class Recovery:
    """What a damaged run still holds.

    Attributes:
        rows: a temporary database with all rows whose checksums hold.
        images: name, entries and digest of each image that is whole.
        items: rows of table `item` there, of the items that are whole.
        salvage: the same in numbers, and what is lost.
    """

    rows: sqlite3.Connection
    images: Sequence[tuple[str, list[Entry], str]]
    items: Sequence[ItemRow]
    salvage: Salvage


@contextmanager
def recover(folder: Path) -> Iterator[Recovery]:
    """Look through a run folder for all that is whole. The folder is not written.

    Raises:
        InputError: there is no space for a copy of the database, or it cannot be read.
    """
    with closing(sqlite3.connect("", isolation_level=None)) as found:  # a file of SQLite's own
        found.row_factory = sqlite3.Row
        try:
            with tempfile.TemporaryDirectory() as scratch:
                copy = Path(scratch) / DATABASE
                _copy(folder / DATABASE, copy)
                _collect(copy, found)
        except (OSError, sqlite3.Error) as error:
            raise InputError(
                f"cannot copy {folder / DATABASE} to look for what it still holds: {error}. Make "
                "space in the folder for temporary files, or name another one as TMPDIR."
            ) from error
        yield _assess(found)


def _copy(path: Path, copy: Path) -> None:
    """Copy a database with its log, and give the copy a first page that SQLite can read."""
    copy.touch()
    if path.exists():
        shutil.copyfile(path, copy)
    log = path.with_name(f"{path.name}-wal")
    if log.exists():
        shutil.copyfile(log, copy.with_name(f"{copy.name}-wal"))
        _replace_first_page(copy)
        with closing(sqlite3.connect(copy, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")  # opens the log; closing moves it into the file
    _replace_first_page(copy)


def _replace_first_page(copy: Path) -> None:
    """Write the first page of an empty database. Ours holds no rows but those of the schema."""
    with closing(sqlite3.connect(":memory:")) as empty:
        empty.execute(f"PRAGMA page_size={PAGE_SIZE}")
        empty.execute("PRAGMA user_version=1")  # any change, so that there is a page
        page = bytearray(empty.serialize())
    page[28:32] = bytes(4)  # number of pages: SQLite takes it from the size of the file
    with copy.open("r+b") as file:
        file.write(page)
        size = max(copy.stat().st_size, PAGE_SIZE)
        file.truncate(-(-size // PAGE_SIZE) * PAGE_SIZE)


def _collect(copy: Path, found: sqlite3.Connection) -> None:
    """Insert the rows on all pages of the copy whose checksums hold into `found`."""
    numbers = np.flatnonzero(np.memmap(copy, np.uint8, "r")[::PAGE_SIZE] == LEAF) + 1
    found.execute("BEGIN")
    create(found)
    with closing(sqlite3.connect(copy, isolation_level=None)) as pages:
        # No transaction: in one SQLite writes no more once it has met a damaged page.
        pages.execute("PRAGMA journal_mode=OFF")
        pages.execute("PRAGMA synchronous=OFF")
        pages.row_factory = sqlite3.Row
        create(pages)  # behind the pages that are there
        for number in numbers.tolist():
            pages.execute("PRAGMA writable_schema=ON")
            pages.execute("UPDATE sqlite_master SET rootpage = ? WHERE type = 'table'", [number])
            pages.execute("PRAGMA writable_schema=RESET")
            for table in IN_TURN:
                own = list(_rows_on_page(pages, table))
                if own:
                    values = ", ".join("?" * len(own[0]))
                    command = f"INSERT OR IGNORE INTO {TABLES[table]} VALUES ({values})"  # noqa: S608
                    found.executemany(command, own)
                    break


def _rows_on_page(pages: sqlite3.Connection, kind: type[Any]) -> Iterator[sqlite3.Row]:
    """The rows of a table on the page that it is pointed at, if they are what ours are."""
    table = TABLES[kind]
    command = f"FROM {table} NOT INDEXED"
    with suppress(sqlite3.DatabaseError):
        (count,) = pages.execute(f"SELECT count(*) {command}").fetchone()
        for place in range(count):
            with suppress(sqlite3.DatabaseError, DamageError):
                for row in pages.execute(f"SELECT * {command} LIMIT 1 OFFSET ?", [place]):
                    if rows.checksum(table, row[:-1]) == row[-1]:
                        take_row(row, kind)
                        yield row


def _assess(found: sqlite3.Connection) -> Recovery:
    """Find out which images and items are whole in a database with some rows of a run."""
    entries: dict[str, list[Entry]] = defaultdict(list)
    for row in rows.select(found, EntryRow):
        with suppress(DamageError):
            entries[row.image].append(rows.entry_of(row))
    stored = rows.select(found, ImageRow)
    images = [
        (row.name, entries[row.name], row.digest)
        for row in stored
        if len(entries[row.name]) == row.entries
    ]
    names = entries.keys() | {row.name for row in stored}
    items = rows.select(found, ItemRow, "TRUE ORDER BY id")
    whole = [row for row in items if _is_whole(found, row)]
    saved = {rows.key_of(row): None for row in whole}
    lost = tuple(key for key in map(rows.key_of, items) if key not in saved)
    parts = " UNION ".join(f"SELECT item FROM {table}" for table in rows.PARTS)  # noqa: S608
    command = f"SELECT count(*) FROM ({parts} EXCEPT SELECT id FROM item)"  # noqa: S608
    (unknown,) = found.execute(command).fetchone()
    salvage = Salvage(tuple(saved), lost, unknown, len(images), len(names) - len(images))
    return Recovery(found, images, whole, salvage)


def _is_whole(found: sqlite3.Connection, row: ItemRow) -> bool:
    """Whether all rows of an item are there, by reading it."""
    with suppress(DamageError):
        item = rows.read_item(found, row, with_curves=True)
        for k in range(len(item.snapshots)):
            rows.read_map(found, row.id, k)
        rows.read_evidence(found, row)
        return True
    return False


def stored_configuration(folder: Path) -> dict[str, Any] | None:
    """The configuration of a run, from its database or else the file beside it; None without both.

    Raises:
        InputError: another program or another version of iassa made the database.
    """
    try:
        connection, _ = connect(folder / DATABASE, writing=False)
        with closing(connection):
            return rows.read_meta(connection, "configuration")
    except (sqlite3.Error, DamageError):
        try:
            content = read_json(read_whole(folder / CONFIGURATION), CONFIGURATION)
        except InputError:
            return None
    return content if isinstance(content, dict) else None


def damage_error(folder: Path, reason: object) -> InputError:
    """The error for a damaged run: what of it can be saved, and how.

    Args:
        folder: of the run.
        reason: what shows the damage.
    """
    damage = f"the run in {folder} is damaged: {reason}."
    try:
        known = stored_configuration(folder) is not None
        with recover(folder) as recovery:
            salvage = recovery.salvage
    except InputError as refusal:
        return InputError(f"{damage} {refusal}")
    if not known or not salvage.saved:
        return InputError(
            f"{damage} None of its items can be saved. Restore it from a copy, or begin again: "
            "delete it, or choose another folder."
        )
    lost = [str(key) for key in salvage.lost]
    named = f" (lost: {list_some(lost, '; ')})" if lost else ""
    items = len(salvage.saved) + len(lost) + salvage.unknown
    command = shlex.join(["iassa", "salvage", str(folder), "NEW"])
    return InputError(
        f"{damage} {len(salvage.saved)} of its {items} items{named} and {salvage.images} of its "
        f"{salvage.images + salvage.lost_images} images can be saved, with `{command}`; then go on "
        "with NEW."
    )
