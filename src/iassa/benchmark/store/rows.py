"""Records as rows of the database and back, each row with a checksum that is checked when read.

A row here is a tuple of what SQLite holds, in the order of the table's columns, without the
checksum. Those of items are made in `item_rows`.
"""

from __future__ import annotations

import json
import math
import sqlite3
import zlib
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

from iassa.benchmark.store.records import Entry, Failure, ItemKey
from iassa.errors import InputError
from iassa.models.targets import Target

__all__ = [
    "DamageError",
    "Row",
    "Value",
    "as_float",
    "as_int",
    "as_list",
    "as_real",
    "checksum",
    "entry_of",
    "entry_row",
    "failure_of",
    "failure_row",
    "insert",
    "key_of",
    "key_row",
    "select",
]

Value: TypeAlias = int | float | str | bytes | None
Row: TypeAlias = tuple[Value, ...]


class DamageError(Exception):
    """A row is not what was written. It does not leave the store."""


def checksum(table: str, row: Sequence[Value]) -> int:
    """CRC-32 of a row: of its table and values as a JSON array, bytes by their number, then these.

    For example that of (1, 2.5, 'a', None, b'xyz') in table t is the CRC-32 of
    '["t", 1, 2.5, "a", null, 3]xyz'.
    """
    plain = [len(value) if isinstance(value, bytes) else value for value in row]
    start = zlib.crc32(json.dumps([table, *plain]).encode())
    return zlib.crc32(b"".join(value for value in row if isinstance(value, bytes)), start)


def insert(connection: sqlite3.Connection, table: str, rows: Iterable[Row]) -> None:
    """Add rows, with their checksums.

    Raises:
        InputError: a number of more than 64 bits, or a text that is not Unicode.
        sqlite3.Error: among others for a row that is there already.
    """
    try:
        for row in rows:
            places = ", ".join("?" * (len(row) + 1))
            command = f"INSERT INTO {table} VALUES ({places})"  # noqa: S608  # a name of ours
            connection.execute(command, (*row, checksum(table, row)))
    except (OverflowError, UnicodeEncodeError) as error:
        raise InputError(
            f"expected numbers of 64 bits and Unicode texts to store, got another: {error}. Rename "
            "it, or choose a smaller one."
        ) from error


def select(
    connection: sqlite3.Connection, table: str, where: str = "TRUE", values: Sequence[Value] = ()
) -> list[Row]:
    """Rows, checked.

    Raises:
        DamageError: a checksum does not hold.
        sqlite3.Error: they cannot be read.
    """
    command = f"SELECT * FROM {table} WHERE {where}"  # noqa: S608  # names of ours
    rows: list[Row] = []
    for *row, stored in connection.execute(command, values):
        if checksum(table, row) != stored:
            raise DamageError(f"a checksum in table {table} does not hold")
        rows.append(tuple(row))
    return rows


# --- entries and failures ---------------------------------------------------------------------


def entry_row(entry: Entry) -> Row:
    """An entry; of a function that is a target only the name is kept."""
    target = entry.target
    return (
        entry.key,
        entry.image,
        int(entry.image_index),
        int(entry.size[0]),
        int(entry.size[1]),
        entry.category,
        target.name,
        json.dumps([int(index) for index in target.indices]),
        json.dumps([as_real("weights", weight) for weight in target.weights]),
        as_real("score", entry.score),
        None if entry.annotated is None else as_real("annotated", entry.annotated),
        entry.excluded,
    )


def entry_of(row: Row) -> Entry:
    """What `entry_row` was given."""
    key, image, place, height, width, category, name, indices, weights, *others = row
    return Entry(
        key=str(key),
        image=str(image),
        image_index=as_int(place),
        size=(as_int(height), as_int(width)),
        category=str(category),
        target=Target(str(name), tuple(as_list(indices)), tuple(as_list(weights))),
        score=as_float(others[0]),
        annotated=None if others[1] is None else as_float(others[1]),
        excluded=str(others[2]),
    )


def failure_row(failure: Failure) -> Row:
    """A failure."""
    return (*key_row(failure.key), failure.error)


def failure_of(row: Row) -> Failure:
    """What `failure_row` was given."""
    return Failure(key_of(row), str(row[3]))


def key_of(row: Row) -> ItemKey:
    """From its first three columns."""
    return ItemKey(str(row[0]), str(row[1]), as_int(row[2]))


def key_row(key: ItemKey) -> Row:
    """What `key_of` is given."""
    return (key.entry, key.method, int(key.seed))


# --- values -----------------------------------------------------------------------------------


def as_real(name: str, value: float) -> float:
    """A number to store.

    Raises:
        InputError: it is not finite.
    """
    number = float(value)
    if not math.isfinite(number):
        raise InputError(f"expected finite numbers to store, got {number} as {name}. Leave it out.")
    return number + 0.0  # SQLite knows no -0.0


def as_int(value: Value) -> int:
    """What was stored as a whole number, in a row whose checksum held."""
    assert isinstance(value, int)
    return value


def as_float(value: Value) -> float:
    """What was stored as a number, likewise."""
    assert isinstance(value, float)
    return value


def as_list(value: Value) -> list[Any]:
    """What was stored as JSON, likewise."""
    assert isinstance(value, str)
    content: list[Any] = json.loads(value)
    return content
