"""An item as rows of six tables, and back.

The rows of an item refer to it by a number, which is their first column.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from iassa.benchmark.store.packed_map import PackedMap, pack_map
from iassa.benchmark.store.records import Item, ItemKey, Snapshot
from iassa.benchmark.store.rows import (
    DamageError,
    Row,
    Value,
    as_float,
    as_int,
    as_list,
    as_real,
    insert,
    key_of,
    key_row,
    select,
)
from iassa.metrics import Curve

__all__ = [
    "PARTS",
    "ItemRows",
    "check_item_rows",
    "insert_item",
    "item_rows",
    "map_of",
    "read_evidence",
    "read_item",
]

PARTS = ("snapshot", "metric", "curve", "map", "evidence")  # tables beside `item`


@dataclass(frozen=True)
class ItemRows:
    """The rows of an item, without their first column: they have no number yet.

    Attributes:
        item: that of table `item`.
        parts: those of the other tables, by table.
    """

    item: Row
    parts: Mapping[str, tuple[Row, ...]]

    @property
    def key(self) -> ItemKey:
        """What the item is of."""
        return key_of(self.item)


def item_rows(item: Item, finished: datetime) -> ItemRows:
    """An item as rows, its maps packed.

    Raises:
        InputError: a value cannot be stored: NaN or infinity among others.
    """
    row = (
        *key_row(item.key),
        int(item.calls),
        as_real("seconds", item.seconds),
        as_real("metric_seconds", item.metric_seconds),
        json.dumps(list(item.warnings)),
        len(item.snapshots),
        None if item.evidence is None else len(item.evidence),
        finished.isoformat(),
    )
    snapshots, metrics, curves, maps = [], [], [], []
    for k, snapshot in enumerate(item.snapshots):
        packed = pack_map(np.asarray(snapshot.saliency))
        maps.append((k, *packed.size, packed.offset, packed.exponent, packed.content))
        snapshots.append(_snapshot_row(k, snapshot, packed))
        for name, value in sorted(snapshot.metrics.items()):
            metrics.append((k, name, as_real(f"metric {name}", value)))
        for name, curve in sorted(snapshot.curves.items()):
            curves.append((k, name, _pack(curve.scores), _pack(curve.fractions)))
    parts: dict[str, tuple[Row, ...]] = {
        "snapshot": tuple(snapshots),
        "metric": tuple(metrics),
        "curve": tuple(curves),
        "map": tuple(maps),
        "evidence": () if item.evidence is None else ((bytes(item.evidence),),),
    }
    return ItemRows(row, parts)


def _snapshot_row(k: int, snapshot: Snapshot, packed: PackedMap) -> Row:
    relative = float(snapshot.relative_error)
    return (
        k,
        None if snapshot.budget is None else int(snapshot.budget),
        int(snapshot.rounds),
        int(snapshot.calls),
        relative if relative == math.inf else as_real("relative_error", relative),
        packed.error,
        len(snapshot.metrics),
        len(snapshot.curves),
    )


def insert_item(connection: sqlite3.Connection, rows: ItemRows) -> None:
    """Add the rows of an item, within a transaction of the caller's.

    Raises:
        sqlite3.IntegrityError: the item is there already.
    """
    last = connection.execute("SELECT max(id) FROM item").fetchone()[0]
    number = (last or 0) + 1
    insert(connection, "item", [(number, *rows.item)])
    for table, part in rows.parts.items():
        insert(connection, table, ((number, *row) for row in part))


def check_item_rows(rows: ItemRows) -> None:
    """See that no row of an item is missing.

    Raises:
        DamageError: one is.
    """
    parts = rows.parts
    _check_count("snapshot", parts["snapshot"], rows.item[7])
    _check_count("map", parts["map"], rows.item[7])
    _check_count("evidence", parts["evidence"], 0 if rows.item[8] is None else 1)
    for row in parts["snapshot"]:
        for table, count in (("metric", row[6]), ("curve", row[7])):
            _check_count(table, [one for one in parts[table] if one[0] == row[0]], count)


def read_item(connection: sqlite3.Connection, row: Row, with_curves: bool) -> Item:
    """An item without maps and evidence, from its row in table `item`.

    Raises:
        DamageError: a checksum does not hold, or a row is missing.
        sqlite3.Error: they cannot be read.
    """
    number, *item = row
    found = select(connection, "snapshot", "item = ?", [number])
    _check_count("snapshot", found, item[7])
    metrics: dict[Value, dict[str, float]] = {one[1]: {} for one in found}
    for _, k, name, value in select(connection, "metric", "item = ?", [number]):
        metrics.setdefault(k, {})[str(name)] = as_float(value)
    curves: dict[Value, dict[str, Curve]] = {one[1]: {} for one in found}
    if with_curves:
        for _, k, name, scores, fractions in select(connection, "curve", "item = ?", [number]):
            curves.setdefault(k, {})[str(name)] = Curve(_unpack(scores), _unpack(fractions))
    snapshots = []
    for _, k, budget, rounds, calls, relative, error, num_metrics, num_curves in found:
        _check_count("metric", metrics[k], num_metrics)
        _check_count("curve", curves[k], num_curves if with_curves else 0)
        snapshots.append(
            Snapshot(
                budget=None if budget is None else as_int(budget),
                rounds=as_int(rounds),
                calls=as_int(calls),
                saliency=None,
                relative_error=as_float(relative),
                saliency_error=as_float(error),
                metrics=metrics[k],
                curves=curves[k],
            )
        )
    return Item(
        key=key_of(tuple(item)),
        calls=as_int(item[3]),
        seconds=as_float(item[4]),
        metric_seconds=as_float(item[5]),
        evidence=None,
        warnings=tuple(as_list(item[6])),
        finished=datetime.fromisoformat(str(item[9])),
        snapshots=tuple(snapshots),
    )


def map_of(row: Row, snapshot: Row) -> PackedMap:
    """A map from its row in table `map` and that in table `snapshot`."""
    _, _, height, width, offset, exponent, content = row
    assert isinstance(content, bytes)
    size = (as_int(height), as_int(width))
    return PackedMap(size, as_float(offset), as_int(exponent), as_float(snapshot[6]), content)


def read_evidence(connection: sqlite3.Connection, number: int) -> bytes | None:
    """The packed evidence of an item; None where it has none.

    Raises:
        DamageError: a checksum does not hold, or a row is missing.
        sqlite3.Error: they cannot be read.
    """
    row = select(connection, "item", "id = ?", [number])[0]
    found = select(connection, "evidence", "item = ?", [number])
    _check_count("evidence", found, 0 if row[9] is None else 1)
    if not found:
        return None
    content = found[0][1]
    assert isinstance(content, bytes)
    return content


def _pack(values: NDArray[np.float64]) -> bytes:
    return np.asarray(values, "<f8").tobytes()


def _unpack(content: Value) -> NDArray[np.float64]:
    assert isinstance(content, bytes)
    return np.frombuffer(content, "<f8").astype(np.float64)


def _check_count(table: str, rows: Sequence[object] | Mapping[str, object], count: object) -> None:
    if len(rows) != count:
        raise DamageError(f"expected {count} rows of an item in table {table}, got {len(rows)}")
