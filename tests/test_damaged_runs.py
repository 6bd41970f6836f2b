"""Benchmark runs whose rows hold what none of ours do, with checksums that fit: read or refused."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest

from damaged_runs import CONFIGURATION, put, whole_run
from iassa.benchmark.report.results import compute_results
from iassa.benchmark.report.statistics import Bootstrap
from iassa.benchmark.store.salvage import salvage
from iassa.benchmark.store.store import Store
from iassa.errors import InputError


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return whole_run(tmp_path_factory.mktemp("whole"))


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
