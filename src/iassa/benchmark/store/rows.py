"""Records as rows of the database and back.

A row goes in as a mapping of its columns, in the order of the table, and comes back as an
`sqlite3.Row`. The last column of each table is a checksum of the others; it is written by `insert`
and tested by `select`. The rows that make up an item refer to it by a number.
"""

from __future__ import annotations

import json
import math
import sqlite3
import zlib
from collections.abc import Iterable, Mapping, Sized
from datetime import datetime
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from iassa.benchmark.store.map_archive import pack_map, unpack_map
from iassa.benchmark.store.records import Entry, Item, ItemKey, Snapshot
from iassa.errors import InputError
from iassa.metrics import Curve
from iassa.models.targets import Target

Row: TypeAlias = Mapping[str, int | float | str | bytes | None]

PARTS = ("map", "curve", "evidence")  # tables of an item's parts
OF_KEY = "entry = :entry AND method = :method AND seed = :seed"  # with the values of `key_row`


class DamageError(Exception):
    """A row is missing or is not what was written. The store turns it into an `InputError`."""


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
    except (OverflowError, UnicodeEncodeError) as error:
        raise InputError(
            f"expected numbers of 64 bits and Unicode texts to store, got another: {error}. Rename "
            "it, or choose a smaller one."
        ) from error


def select(
    connection: sqlite3.Connection, table: str, where: str = "TRUE", values: Any = ()
) -> list[sqlite3.Row]:
    """Rows, checked.

    Raises:
        DamageError: a checksum does not hold.
        sqlite3.Error: they cannot be read.
    """
    command = f"SELECT * FROM {table} WHERE {where}"  # noqa: S608  # names of ours
    rows = connection.execute(command, values).fetchall()
    for *content, stored in rows:
        if checksum(table, content) != stored:
            raise DamageError(f"a checksum in table {table} does not hold")
    return rows


# --- keys and entries -----------------------------------------------------------------------


def key_row(key: ItemKey) -> Row:
    """The columns that say what an item is of."""
    return {"entry": key.entry, "method": key.method, "seed": int(key.seed)}


def key_of(row: sqlite3.Row) -> ItemKey:
    """What `key_row` was given."""
    return ItemKey(row["entry"], row["method"], row["seed"])


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


def entry_of(row: sqlite3.Row) -> Entry:
    """What `entry_row` was given."""
    indices, weights = json.loads(row["target_indices"]), json.loads(row["target_weights"])
    same = ("key", "image", "image_index", "category", "score", "annotated", "excluded")
    return Entry(
        size=(row["height"], row["width"]),
        target=Target(row["target"], tuple(indices), tuple(weights)),
        **{name: row[name] for name in same},
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


def _snapshot_of(described: dict[str, Any], curves: dict[str, Curve]) -> Snapshot:
    """What `_describe` was given, with some of the arrays."""
    relative = described["relative_error"]
    arrays = {"saliency": None, "curves": curves}
    error = {"relative_error": math.inf if relative is None else relative}
    return Snapshot(**{**described, **arrays, **error})


def read_item(connection: sqlite3.Connection, row: sqlite3.Row, with_curves: bool) -> Item:
    """An item without maps and evidence, from its row in table `item`.

    Raises:
        DamageError: a checksum does not hold, or a row is missing.
        sqlite3.Error: they cannot be read.
    """
    described = json.loads(row["snapshots"])
    curves: list[dict[str, Curve]] = [{} for _ in described]
    if with_curves:
        found = select(connection, "curve", "item = ?", [row["id"]])
        _check_count("curve", found, sum(len(one["curves"]) for one in described))
        for each in found:
            curve = Curve(_unpack(each["scores"]), _unpack(each["fractions"]))
            curves[each["snapshot"]][each["name"]] = curve
    return Item(
        key=key_of(row),
        calls=row["calls"],
        metric_calls=row["metric_calls"],
        seconds=row["seconds"],
        metric_seconds=row["metric_seconds"],
        warnings=tuple(json.loads(row["warnings"])),
        evidence=None,
        snapshots=tuple(map(_snapshot_of, described, curves)),
        finished=datetime.fromisoformat(row["finished"]),
    )


def read_map(connection: sqlite3.Connection, number: int, snapshot: int) -> NDArray[np.float32]:
    """The map of a snapshot of an item. Raises as `read_item` does."""
    found = select(connection, "map", "item = ? AND snapshot = ?", [number, snapshot])
    _check_count("map", found, 1)
    return unpack_map(found[0]["content"])


def read_evidence(connection: sqlite3.Connection, row: sqlite3.Row) -> bytes | None:
    """The packed evidence of an item, None where it has none. Raises as `read_item` does."""
    found = select(connection, "evidence", "item = ?", [row["id"]])
    _check_count("evidence", found, 0 if row["evidence"] is None else 1)
    return found[0]["content"] if found else None


def copy_item(source: sqlite3.Connection, item: sqlite3.Row, into: sqlite3.Connection) -> None:
    """Add an item of another database, each value as it is there. Raises as `insert_item` does."""
    number = _next_number(into)
    insert(into, "item", {**_content(item), "id": number})
    for table in PARTS:
        for row in select(source, table, "item = ?", [item["id"]]):
            insert(into, table, {**_content(row), "item": number})


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
    if not math.isfinite(number):
        raise InputError(f"expected finite numbers to store, got {number} as {name}. Leave it out.")
    return number + 0.0  # SQLite knows no -0.0


def _pack(values: NDArray[np.float64]) -> bytes:
    return np.asarray(values, "<f8").tobytes()


def _unpack(content: bytes) -> NDArray[np.float64]:
    return np.frombuffer(content, "<f8").astype(np.float64)
