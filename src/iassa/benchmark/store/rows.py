"""Records as rows of the database and back.

A row goes in as a mapping of its columns, in the order of the table, and comes back as a record of
`columns`. The last column of each table is a checksum of the others; it is written by `insert` and
tested by `select`. The rows that make up an item refer to it by a number.
"""

from __future__ import annotations

import json
import math
import sqlite3
import zlib
from collections.abc import Iterable, Mapping, Sized
from datetime import datetime
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from iassa.benchmark.store.columns import (
    MOST,
    TABLES,
    CurveRow,
    DamageError,
    EntryRow,
    EvidenceRow,
    FailureRow,
    ItemRow,
    MapRow,
    MetaRow,
    Number,
    SavedSnapshot,
    of_row,
    take_column,
    take_row,
)
from iassa.benchmark.store.map_archive import pack_map, unpack_map
from iassa.benchmark.store.records import Entry, Item, ItemKey, Snapshot
from iassa.errors import InputError
from iassa.metrics import Curve
from iassa.models.targets import Target

Row: TypeAlias = Mapping[str, int | float | str | bytes | None]
Record = TypeVar("Record")

PARTS = ("map", "curve", "evidence")  # tables of an item's parts
OF_KEY = "entry = :entry AND method = :method AND seed = :seed"  # with the values of `key_row`


def checksum(table: str, values: Iterable[Any]) -> int:
    """CRC-32 of a row: of its table and values as a JSON array, bytes by their number, then these.

    For example that of (1, 2.5, 'a', None, b'xyz') in table t is the CRC-32 of
    '["t", 1, 2.5, "a", null, 3]xyz'.
    """
    row = list(values)
    plain = [len(value) if isinstance(value, bytes) else value for value in row]
    start = zlib.crc32(json.dumps([table, *plain]).encode())
    return zlib.crc32(b"".join(value for value in row if isinstance(value, bytes)), start)


def insert(connection: sqlite3.Connection, table: str, row: Row) -> None:
    """Add a row with its checksum.

    Raises:
        InputError: a number has more than 64 bits, or a text is not Unicode.
        sqlite3.Error: among others for a row that is there already.
    """
    checked = {**row, "checksum": checksum(table, row.values())}
    columns, values = ", ".join(checked), ", :".join(checked)
    command = f"INSERT INTO {table} ({columns}) VALUES (:{values})"  # noqa: S608  # names of ours
    try:
        connection.execute(command, checked)
    except (OverflowError, UnicodeEncodeError, sqlite3.DataError) as error:
        raise InputError(
            "expected numbers of 64 bits, Unicode texts and at most 256 MB each to store, got "
            f"another: {error}. Rename it, or choose a smaller one."
        ) from error


def select(
    connection: sqlite3.Connection, kind: type[Record], where: str = "TRUE", values: Any = ()
) -> list[Record]:
    """Rows of the table of a kind, checked.

    Raises:
        DamageError: a checksum does not hold, or a column holds what none of ours does.
        sqlite3.Error: they cannot be read.
    """
    return [take_row(row, kind) for row in _read(connection, TABLES[kind], where, values)]


def _read(connection: sqlite3.Connection, table: str, where: str, values: Any) -> list[sqlite3.Row]:
    """Rows as they are, whose checksums hold. Raises as `select` does."""
    command = f"SELECT * FROM {table} WHERE {where}"  # noqa: S608  # names of ours
    rows = connection.execute(command, values).fetchall()
    for *content, stored in rows:
        if checksum(table, content) != stored:
            raise DamageError(f"a checksum in table {table} does not hold")
    return rows


def read_meta(connection: sqlite3.Connection, name: str) -> dict[str, Any]:
    """What is stored under a name; empty if nothing. Raises as `select` does."""
    found = select(connection, MetaRow, "name = ?", [name])
    content: dict[str, Any] = {}
    if found:
        content = dict(take_column(found[0], "value", Mapping[str, object]))
    return content


# --- keys and entries -----------------------------------------------------------------------


def key_row(key: ItemKey) -> Row:
    """The columns that say what an item is of."""
    return {"entry": key.entry, "method": key.method, "seed": int(key.seed)}


def key_of(row: ItemRow | FailureRow) -> ItemKey:
    """What `key_row` was given."""
    return ItemKey(row.entry, row.method, row.seed)


def entry_row(entry: Entry) -> Row:
    """An entry; of a function that is a target only the name is kept."""
    target = entry.target
    return {
        "key": entry.key,
        "image": entry.image,
        "image_index": int(entry.image_index),
        "height": int(entry.size[0]),
        "width": int(entry.size[1]),
        "category": entry.category,
        "target": target.name,
        "target_indices": json.dumps([int(index) for index in target.indices]),
        "target_weights": json.dumps([_finite("weights", weight) for weight in target.weights]),
        "score": _finite("score", entry.score),
        "annotated": None if entry.annotated is None else _finite("annotated", entry.annotated),
        "excluded": entry.excluded,
    }


def entry_of(row: EntryRow) -> Entry:
    """What `entry_row` was given.

    Raises:
        DamageError: the target is none.
    """
    indices = take_column(row, "target_indices", tuple[Number, ...])
    weights = take_column(row, "target_weights", tuple[float, ...])
    if len(indices) != len(weights):
        raise DamageError(f"entry {row.key} has not a weight for each of its outputs")
    same = ("key", "image", "image_index", "category", "score", "annotated", "excluded")
    return Entry(
        size=(row.height, row.width),
        target=Target(row.target, indices, weights),
        **{name: getattr(row, name) for name in same},
    )


# --- items ----------------------------------------------------------------------------------


def insert_item(connection: sqlite3.Connection, item: Item, finished: datetime) -> None:
    """Add an item, within a transaction of the caller's.

    Raises:
        InputError: a value cannot be stored, NaN or infinity among others.
        sqlite3.IntegrityError: the item is there already.
    """
    number = _next_number(connection)
    described = []
    for k, snapshot in enumerate(item.snapshots):
        place = {"item": number, "snapshot": k}
        content, error = pack_map(snapshot.saliency)
        insert(connection, "map", {**place, "content": content})
        for name, curve in snapshot.curves.items():
            arrays = {"scores": _pack(curve.scores), "fractions": _pack(curve.fractions)}
            insert(connection, "curve", {**place, "name": name, **arrays})
        described.append(_describe(snapshot, error))
    if item.evidence is not None:
        insert(connection, "evidence", {"item": number, "content": bytes(item.evidence)})
    row: Row = {
        "id": number,
        **key_row(item.key),
        "calls": int(item.calls),
        "metric_calls": int(item.metric_calls),
        "seconds": _finite("seconds", item.seconds),
        "metric_seconds": _finite("metric_seconds", item.metric_seconds),
        "warnings": json.dumps(item.warnings),
        "snapshots": json.dumps(described),
        "evidence": None if item.evidence is None else len(item.evidence),
        "finished": finished.isoformat(),
    }
    insert(connection, "item", row)


def _describe(snapshot: Snapshot, error: float) -> dict[str, Any]:
    """A snapshot as JSON, but for its arrays."""
    relative = float(snapshot.relative_error)
    return {
        "budget": None if snapshot.budget is None else int(snapshot.budget),
        "rounds": int(snapshot.rounds),
        "calls": int(snapshot.calls),
        "relative_error": None if relative == math.inf else _finite("relative_error", relative),
        "saliency_error": error,
        "metrics": {
            name: _finite(f"metric {name}", value) for name, value in snapshot.metrics.items()
        },
        "curves": list(snapshot.curves),
    }


def _snapshot_of(saved: SavedSnapshot, curves: dict[str, Curve]) -> Snapshot:
    """What `_describe` was given, with some of the arrays."""
    relative = math.inf if saved.relative_error is None else saved.relative_error
    other = {"saliency": None, "curves": curves, "relative_error": relative}
    return Snapshot(**{**vars(saved), **other})


def read_item(connection: sqlite3.Connection, row: ItemRow, with_curves: bool) -> Item:
    """An item without maps and evidence, from its row in table `item`.

    Raises:
        DamageError: a checksum does not hold, or a row is missing.
        sqlite3.Error: they cannot be read.
    """
    saved: tuple[SavedSnapshot, ...] = take_column(row, "snapshots", tuple[SavedSnapshot, ...])
    curves: list[dict[str, Curve]] = [{} for _ in saved]
    if with_curves:
        found = select(connection, CurveRow, "item = ?", [row.id])
        named = {(k, name) for k, one in enumerate(saved) for name in one.curves}
        if {(each.snapshot, each.name) for each in found} != named:
            raise DamageError(f"item {row.id} has other curves than its snapshots name")
        for each in found:
            curves[each.snapshot][each.name] = Curve(_unpack(each.scores), _unpack(each.fractions))
    try:
        finished = datetime.fromisoformat(row.finished)
    except ValueError as error:
        raise DamageError(f"item {row.id} has no time at which it was finished") from error
    return Item(
        key=key_of(row),
        calls=row.calls,
        metric_calls=row.metric_calls,
        seconds=row.seconds,
        metric_seconds=row.metric_seconds,
        warnings=take_column(row, "warnings", tuple[str, ...]),
        evidence=None,
        snapshots=tuple(map(_snapshot_of, saved, curves)),
        finished=finished,
    )


def read_map(connection: sqlite3.Connection, number: int, snapshot: int) -> NDArray[np.float32]:
    """The map of a snapshot of an item. Raises as `read_item` does."""
    found = select(connection, MapRow, "item = ? AND snapshot = ?", [number, snapshot])
    _check_count("map", found, 1)
    with of_row("map", number):
        return unpack_map(found[0].content)


def read_evidence(connection: sqlite3.Connection, row: ItemRow) -> bytes | None:
    """The packed evidence of an item, None where it has none. Raises as `read_item` does."""
    found = select(connection, EvidenceRow, "item = ?", [row.id])
    _check_count("evidence", found, 0 if row.evidence is None else 1)
    return found[0].content if found else None


def copy_item(source: sqlite3.Connection, item: ItemRow, into: sqlite3.Connection) -> None:
    """Add an item of another database, each value as it is there. Raises as `insert_item` does."""
    number = _next_number(into)
    for table, column in (("item", "id"), *((part, "item") for part in PARTS)):
        for row in _read(source, table, f"{column} = ?", [item.id]):
            insert(into, table, {**_content(row), column: number})


def _content(row: sqlite3.Row) -> Row:
    return {name: row[name] for name in row.keys() if name != "checksum"}  # noqa: SIM118  # else values


def _next_number(connection: sqlite3.Connection) -> int:
    (last,) = connection.execute("SELECT max(id) FROM item").fetchone()
    return (last or 0) + 1


def _check_count(table: str, rows: Sized, count: int) -> None:
    if len(rows) != count:
        raise DamageError(f"expected {count} rows of an item in table {table}, got {len(rows)}")


# --- values ---------------------------------------------------------------------------------


def _finite(name: str, value: float) -> float:
    number = float(value)
    if not abs(number) <= MOST:
        raise InputError(
            f"expected finite numbers of at most {MOST:g} to store, got {number} as {name}. Leave "
            "it out."
        )
    return number + 0.0  # SQLite knows no -0.0


def _pack(values: NDArray[np.float64]) -> bytes:
    return np.asarray(values, "<f8").tobytes()


def _unpack(content: bytes) -> NDArray[np.float64]:
    return np.frombuffer(content, "<f8").astype(np.float64)
