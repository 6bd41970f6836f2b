"""Damaged runs of a benchmark: `python tests/damaged_runs.py 2000`.

Their rows hold what none of ours do, with checksums that fit.
"""

from __future__ import annotations

import json
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

import numpy as np

from damage import ODD, Reader, damage, edit, print_judgement
from damaged_folders import edit_arrays
from iassa.benchmark.report.results import compute_results
from iassa.benchmark.report.statistics import Bootstrap
from iassa.benchmark.store import rows
from iassa.benchmark.store.columns import (
    TABLES,
    DamageError,
    EntryRow,
    FailureRow,
    ImageRow,
    ItemRow,
)
from iassa.benchmark.store.salvage import salvage
from iassa.benchmark.store.store import Store
from iassa.errors import InputError
from reported_runs import PLAIN, make_run

CONFIGURATION = PLAIN | {"seeds": [0, 1]}
EVERY = 100  # of so many mutants one is reported and salvaged whole
OF_JSON = ("value", "target_indices", "target_weights", "warnings", "snapshots")
DEEP = [
    "[" * 10**5,
    '{"a":' * 10**5,
    "9" * 10**5,
    "[NaN]",
    "1e999",
    '"\\ud800"',
    "[" * 99 + "]" * 99,
]


def whole_run(folder: Path) -> bytes:
    """The content of a database with rows in all tables."""
    make_run(folder, 2, configuration=CONFIGURATION, failed={(0, "rise")})
    with Store.open(folder, CONFIGURATION) as store:
        store.remember({"limit": None, "command": "iassa benchmark", "missing": ["a.png"]})
    with closing(sqlite3.connect(folder / "run.sqlite", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
        rows.insert(connection, "evidence", {"item": 1, "content": b"kept"})
        put(connection, "item", 1, {"evidence": 4})
    return (folder / "run.sqlite").read_bytes()


def put(connection, table, place, changes):
    """Give a row other values, and a checksum that fits these."""
    setting = ", ".join(f"{name} = ?" for name in changes)
    command = f"UPDATE {table} SET {setting} WHERE rowid = ? RETURNING rowid"
    ((place,),) = connection.execute(command, [*changes.values(), place]).fetchall()
    command = f"SELECT * FROM {table} WHERE rowid = ?"
    *stored, _ = connection.execute(command, [place]).fetchone()
    command = f"UPDATE {table} SET checksum = ? WHERE rowid = ?"
    connection.execute(command, [rows.checksum(table, stored), place])


def mutate(connection, rng):
    """Change one value, or two, and their checksums."""
    for _ in range(rng.integers(1, 3)):
        table = rng.choice([*TABLES.values(), "item", "item", "meta"])
        found = connection.execute(f"SELECT rowid AS place, * FROM {table}").fetchall()
        row = found[rng.integers(len(found))]
        names = [name for name in row.keys()[1:-1] for _ in range(4 if name in OF_JSON else 1)]
        name = names[rng.integers(len(names))]
        try:
            value = damaged(row[name], name in OF_JSON, rng)
            put(connection, table, row["place"], {name: value})
        except (sqlite3.IntegrityError, OverflowError, ValueError):
            continue  # SQLite holds no such row, or the text is no JSON any more


def damaged(value, is_json, rng):
    if is_json and rng.random() < 0.85:
        if rng.random() < 0.1:
            return DEEP[rng.integers(len(DEEP))]
        return edit(value.encode(), rng).decode("utf-8", "replace")
    if isinstance(value, bytes) and rng.random() < 0.8:
        if value[:2] == b"PK" and rng.random() < 0.6:
            return edit_arrays(value, rng)
        return damage(value, [value], rng)
    odd = ODD[rng.integers(len(ODD))]
    if isinstance(odd, list | dict):
        return json.dumps(odd).encode()
    if isinstance(odd, str):
        return odd.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    return float(min(odd, 10**300)) if isinstance(odd, int) and abs(odd) >= 2**63 else odd


def read_rows(connection):
    """All that a run gives, but for what it was asked for."""
    for name in ("configuration", "last"):
        rows.read_meta(connection, name)
    for row in rows.select(connection, EntryRow):
        repr(rows.entry_of(row))
    rows.select(connection, ImageRow)
    rows.select(connection, FailureRow)
    for row in rows.select(connection, ItemRow):
        item = rows.read_item(connection, row, with_curves=True)
        repr(item)
        for k in range(len(item.snapshots)):
            assert np.isfinite(rows.read_map(connection, row.id, k)).all()
        rows.read_evidence(connection, row)


def use(folder, content):
    """A report's numbers and a salvage, of a database with some content."""
    (folder / "run.sqlite").write_bytes(content)
    new = folder / "new"
    try:
        with Store.read(folder) as store:
            compute_results(store, None, None, (), Bootstrap(10, 0))
    finally:
        salvage(folder, new)
        with Store.read(new) as store:
            store.entries()
            list(store.items(with_curves=True))


def prepare(content: bytes, number: int, folder: Path) -> list[Reader]:
    """Readers of a mutant: of its rows, and of one in `EVERY` all that can be made of it."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.deserialize(content)
        connection.row_factory = sqlite3.Row
        mutate(connection, np.random.default_rng(number))
        mutant = connection.serialize()

    def read() -> str:
        with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
            connection.deserialize(mutant)
            connection.row_factory = sqlite3.Row
            try:
                read_rows(connection)
            except DamageError as damaged:
                raise InputError(str(damaged)) from damaged
        return "read"

    def make() -> str:
        place = folder / str(number)
        place.mkdir()
        use(place, mutant)
        return "read"

    return [read, make] if number % EVERY == 0 else [read]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        run = Path(name) / "whole"
        run.mkdir()
        content = whole_run(run)
        print_judgement(lambda number: prepare(content, number, Path(name)))
