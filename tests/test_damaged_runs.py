"""Benchmark runs whose rows hold what none of ours do, with checksums that fit: read or refused."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing

import numpy as np
import pytest

from damage import ODD, assert_read_or_refused, edit, edit_arrays, flip, tear
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


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The content of a database with rows in all tables."""
    folder = tmp_path_factory.mktemp("whole")
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
        return json.dumps(edit(json.loads(value), rng))
    if isinstance(value, bytes) and rng.random() < 0.8:
        change = edit_arrays if value[:2] == b"PK" and rng.random() < 0.6 else (flip, tear)
        return (change if callable(change) else change[rng.integers(2)])(value, rng)
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


def reader(content, folder, every):
    """Reads the rows of a mutant; of one in so many all that can be made of it as well."""
    count = iter(range(10**9))

    def read(rng):
        with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
            connection.deserialize(content)
            connection.row_factory = sqlite3.Row
            mutate(connection, rng)
            number = next(count)
            if number % every == 0:
                place = folder / str(number)
                place.mkdir()
                use(place, connection.serialize())
            try:
                read_rows(connection)
            except DamageError as damage:
                raise InputError(str(damage)) from damage

    return read


def test_damaged_rows_are_read_or_refused(whole, tmp_path):
    found = assert_read_or_refused(reader(whole, tmp_path, every=15), 40, seed=1)
    assert min(found["read"], found["refused"]) > 5


@pytest.mark.thorough
def test_two_thousand_damaged_rows_are_read_or_refused(whole, tmp_path):
    count = int(os.environ.get("IASSA_DAMAGED", "2000"))
    found = assert_read_or_refused(reader(whole, tmp_path, every=100), count)
    assert min(found["read"], found["refused"]) > count / 20


def read_all(store):
    store.images()
    store.entries()
    list(store.items(with_curves=True))


@pytest.mark.parametrize(
    ("table", "changes", "told"),
    [
        ("item", {"snapshots": "[{}]"}, r"row 1 of table item: expected snapshots\[0\]\.budget"),
        ("item", {"snapshots": "[" * 10**5}, "row 1 of table item: expected snapshots as JSON"),
        ("item", {"snapshots": "[1e999]"}, "inf is not finite"),
        ("item", {"warnings": "[1]"}, "row 1 of table item: expected warnings to be a tuple"),
        ("item", {"seconds": -1.0}, "row 1 of table item: expected seconds to be a number, from 0"),
        ("item", {"finished": "x"}, "item 1 has no time at which it was finished"),
        ("entry", {"target_weights": "[1.0]"}, "has not a weight for each of its outputs"),
        ("entry", {"height": -3}, r"row 'images/000\.png:0' of table entry: expected height"),
        ("image", {"digest": b"x"}, "row 'images/000.png' of table image: expected digest"),
        ("curve", {"scores": b"x" * 9}, "row 1 of table curve: expected scores and fractions"),
        ("curve", {"snapshot": 7}, "item 1 has other curves than its snapshots name"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_row_that_is_none_of_ours_is_named_and_the_rest_is_saved(
    whole, tmp_path, table, changes, told
):
    (tmp_path / "run.sqlite").write_bytes(whole)
    with closing(sqlite3.connect(tmp_path / "run.sqlite", isolation_level=None)) as connection:
        put(connection, table, 1, changes)
    with pytest.raises(InputError, match=told) as refusal, Store.read(tmp_path) as store:
        read_all(store)
    assert "can be saved, with `iassa salvage" in str(refusal.value)
    assert len(str(refusal.value)) < 1000
    saved = salvage(tmp_path, tmp_path / "new")
    assert len(saved.saved) == (9 if table in ("item", "curve") else 10)
    assert saved.images == (2 if table in ("entry", "image") else 3)
    with Store.read(tmp_path / "new") as store:
        assert len(list(store.items(with_curves=True))) == len(saved.saved)


def test_a_view_in_the_place_of_a_table_is_not_asked(whole, tmp_path):
    """Its rows would have no end."""
    (tmp_path / "run.sqlite").write_bytes(whole)
    (tmp_path / "configuration.json").write_text(json.dumps(CONFIGURATION))
    endless = "WITH RECURSIVE n(k) AS (SELECT 1 UNION ALL SELECT k + 1 FROM n) SELECT k FROM n"
    with closing(sqlite3.connect(tmp_path / "run.sqlite", isolation_level=None)) as connection:
        connection.execute("DROP TABLE failure")
        connection.execute(f"CREATE VIEW failure AS {endless}")
    with pytest.raises(InputError, match=r"its tables are not those of a run.* 10 of its 10 items"):
        Store.read(tmp_path)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"methods": {}}, "expected methods, got none"),
        ({"seeds": 3}, "expected seeds to be a tuple of whole numbers, from 0 to"),
        ({"methods": {"rise": {"calls": [-1]}}}, r"expected methods\.rise\.calls to be a tuple"),
        ({"dataset": []}, r"expected dataset with its parts, got \[\]"),
    ],
    ids=str,
)
def test_a_configuration_that_cannot_be_reported_is_told(whole, tmp_path, changes, told):
    (tmp_path / "run.sqlite").write_bytes(whole)
    with closing(sqlite3.connect(tmp_path / "run.sqlite", isolation_level=None)) as connection:
        value = json.dumps(CONFIGURATION | changes)
        ((place,),) = connection.execute("SELECT rowid FROM meta WHERE name = 'configuration'")
        put(connection, "meta", place, {"value": value})
    with pytest.raises(InputError, match=told), Store.read(tmp_path) as store:
        compute_results(store, None, None, (), Bootstrap(10, 0))
