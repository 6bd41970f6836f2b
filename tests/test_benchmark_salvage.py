"""Damaged runs: told, never read wrong, and saved as far as they can be read."""

from __future__ import annotations

import dataclasses
import random
import shutil
import sqlite3
import struct

import pytest

from iassa.benchmark.store.records import Failure, ItemKey
from iassa.benchmark.store.recovery import Salvage
from iassa.benchmark.store.rows import PARTS
from iassa.benchmark.store.salvage import salvage
from iassa.benchmark.store.store import Store
from iassa.errors import InputError
from made_runs import CONFIGURATION, assert_stored, make_entries, make_item, make_key

ITEMS, IMAGES, SIZE = 24, 12, (40, 61)
PAGE = 4096


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that is whole."""
    folder = tmp_path_factory.mktemp("whole")
    with Store.open(folder, CONFIGURATION) as store:
        for image in range(IMAGES):
            store.add_image(make_entries(image)[0].image, make_entries(image), f"{image:064x}")
        for number in range(ITEMS):
            store.add(make_item(number, size=SIZE))
        store.add_failure(Failure(make_key(99), "killed"))
    return folder


@pytest.fixture(scope="module")
def rows(whole):
    return rows_of(whole)


def rows_of(folder):
    """All rows of all items by key and table, without the item's number and the checksums."""
    connection = sqlite3.connect(folder / "run.sqlite")
    found = {}
    for number, *item in connection.execute("SELECT * FROM item").fetchall():
        parts = {"item": item[:-1]}
        for table in PARTS:
            command = f"SELECT * FROM {table} WHERE item = ? ORDER BY 1, 2, 3"
            parts[table] = [row[1:-1] for row in connection.execute(command, [number])]
        found[ItemKey(*item[:3])] = parts
    connection.close()
    return found


@pytest.fixture
def damaged(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "damaged")


def change(folder, how):
    path = folder / "run.sqlite"
    content = bytearray(path.read_bytes())
    path.write_bytes(how(content) or content)


def page_of(folder, table):
    connection = sqlite3.connect(folder / "run.sqlite")
    page = connection.execute(
        "SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)
    ).fetchone()[0]
    connection.close()
    return page - 1


def read_all(folder):
    """Everything that a run gives."""
    with Store.read(folder) as store:
        images, entries = store.images(), store.entries()
        keys = store.finished()
        items = list(store.items(with_curves=True))
        maps = [store.saliency(i.key, k) for i in items for k in range(len(i.snapshots))]
        evidence = [store.evidence(item.key) for item in items]
        store.failures()
    return images, entries, keys, items, maps, evidence


def check_saved(saved, into, rows):
    """That what was saved is what was stored, to the bit."""
    assert rows_of(into) == {key: rows[key] for key in saved.saved}
    assert set(saved.lost) <= set(rows) - set(saved.saved)
    with Store.open(into, CONFIGURATION) as store:
        assert store.finished() == set(saved.saved)
        assert len(store.images()) == saved.images
        expected = [e for k in range(IMAGES) for e in make_entries(k) if e.image in store.images()]
        assert {e.key: e for e in store.entries()} == {e.key: e for e in expected}
        for name, digest in store.images().items():
            assert digest == f"{int(name[7:10]):064x}"
        for number in range(ITEMS):  # the same command goes on
            if make_key(number) not in store.finished():
                store.add(make_item(number, size=SIZE))
        assert len(store.finished()) == ITEMS


def test_a_run_that_is_whole_is_saved_whole(whole, rows, tmp_path):
    content = (whole / "run.sqlite").read_bytes()
    saved = salvage(whole, tmp_path / "new")
    keys = tuple(make_key(number) for number in range(ITEMS))
    assert saved == Salvage(keys, (), 0, IMAGES, 0)
    assert (whole / "run.sqlite").read_bytes() == content
    assert salvage(whole, tmp_path / "new") == saved  # again, and nothing is there twice
    check_saved(saved, tmp_path / "new", rows)


def garble(content, rng):
    """Damage as disks and copies do it."""
    kind = rng.choice(["bit", "bytes", "page", "zeros", "end", "swap"])
    pages = len(content) // PAGE
    place = rng.randrange(PAGE, len(content))
    page = rng.randrange(1, pages)
    if kind == "bit":
        content[place] ^= 1 << rng.randrange(8)
    elif kind == "bytes":
        content[place : place + 100] = rng.randbytes(len(content[place : place + 100]))
    elif kind == "page":
        content[page * PAGE : (page + 1) * PAGE] = rng.randbytes(PAGE)
    elif kind == "zeros":
        content[page * PAGE : (page + 1) * PAGE] = bytes(PAGE)
    elif kind == "end":
        del content[place:]
    else:
        other = rng.randrange(1, pages)
        one = content[page * PAGE : (page + 1) * PAGE]
        content[page * PAGE : (page + 1) * PAGE] = content[other * PAGE : (other + 1) * PAGE]
        content[other * PAGE : (other + 1) * PAGE] = one
    return kind


@pytest.mark.parametrize("seed", range(24))
def test_whatever_the_damage_nothing_is_read_wrong_and_the_rest_is_saved(
    damaged, whole, rows, tmp_path, seed
):
    rng = random.Random(seed)
    kinds = []
    change(damaged, lambda content: kinds.append(garble(content, rng)))
    expected = read_all(whole)
    told = ""
    try:
        found = read_all(damaged)
    except InputError as error:
        told = str(error)
    else:  # it hit nothing that is read
        assert found[:3] == expected[:3]
        assert found[5] == expected[5]
        for number in range(ITEMS):
            with Store.read(damaged) as store:
                assert_stored(store, make_item(number, size=SIZE))
    assert not told or f"the run in {damaged} is damaged: " in told
    saved = salvage(damaged, tmp_path / "new")
    check_saved(saved, tmp_path / "new", rows)
    # A page holds a few items or curves of them; the end may be all but one page.
    assert len(saved.saved) >= (0 if kinds == ["end"] else ITEMS // 2), kinds


def test_a_map_that_is_garbage_costs_its_item_alone(damaged, rows, tmp_path):
    saliency = rows[make_key(7)]["map"][1][-1]
    middle = saliency[len(saliency) // 2 :][:50]

    def hit(content):
        place = content.index(middle)
        content[place : place + 5] = b"xxxxx"

    change(damaged, hit)
    with Store.open(damaged, CONFIGURATION) as store:  # it opens, and all else is read
        assert len(list(store.items(with_curves=True))) == ITEMS
        assert_stored(store, make_item(6, size=SIZE))
        with pytest.raises(InputError) as told:
            store.saliency(make_key(7), 1)
    message = str(told.value)
    assert f"the run in {damaged} is damaged: a checksum in table map does not hold" in message
    assert "23 of its 24 items (lost: images/003.jpg dog by b, seed 7)" in message
    assert f"12 of its 12 images can be saved, with `iassa salvage {damaged} NEW`" in message
    saved = salvage(damaged, tmp_path / "new")
    assert saved.lost == (make_key(7),)
    assert len(saved.saved) == ITEMS - 1
    check_saved(saved, tmp_path / "new", rows)


def assert_refused(folder, match):
    """By what goes on with a run and by what looks at it."""
    for use in (lambda: Store.open(folder, CONFIGURATION), lambda: Store.read(folder)):
        with pytest.raises(InputError, match=match):
            use()


@pytest.mark.parametrize("fill", [bytes, random.Random(0).randbytes])
@pytest.mark.parametrize("table", ["map", "evidence"])
def test_a_page_that_is_gone_is_told_at_once(damaged, rows, tmp_path, table, fill):
    """Also one of what is not read to go on, or for a report without pictures."""
    content = rows[make_key(7)][table][0][-1]

    def hit(database):  # where it begins; the rest is on pages of its own
        page = database.index(content[:100]) // PAGE
        database[page * PAGE : (page + 1) * PAGE] = fill(PAGE)

    change(damaged, hit)
    assert_refused(damaged, r"is damaged: .* can be saved, with `iassa salvage ")
    saved = salvage(damaged, tmp_path / "new")
    assert make_key(7) in saved.lost
    check_saved(saved, tmp_path / "new", rows)


def test_a_score_that_was_changed_behind_its_back_is_told(damaged):
    connection = sqlite3.connect(damaged / "run.sqlite")
    connection.execute("UPDATE item SET snapshots = replace(snapshots, '0.', '1.') WHERE id = 3")
    connection.execute("UPDATE curve SET scores = fractions WHERE item = 5 AND snapshot = 1")
    connection.execute("DELETE FROM curve WHERE item = 6 AND snapshot = 2")
    connection.execute("UPDATE entry SET score = 1 WHERE category = 'dog' AND image LIKE '%004%'")
    connection.commit()
    connection.close()
    with Store.read(damaged) as store:
        with pytest.raises(InputError, match="checksum in table item does not hold"):
            list(store.items())
        with pytest.raises(InputError, match="checksum in table entry does not hold"):
            store.entries()
        with pytest.raises(InputError, match="checksum in table item does not hold"):
            store.finished()
        with pytest.raises(InputError, match="checksum in table item does not hold"):
            store.evidence(make_key(2))
        assert store.evidence(make_key(5)) == make_item(5, size=SIZE).evidence
    saved = salvage(damaged, damaged / "new")
    assert set(saved.lost) == {make_key(number) for number in (4, 5)}
    assert saved.unknown == 1
    assert (saved.images, saved.lost_images) == (IMAGES - 1, 1)


@pytest.mark.parametrize(
    ("table", "read"),
    [("item", Store.finished), ("entry", Store.entries), ("image", Store.images)],
)
def test_rows_that_vanish_from_a_page_are_missed(damaged, table, read, monkeypatch):
    """A page that says it holds fewer than it does is read by SQLite as any other."""
    page = page_of(damaged, table)

    def hit(content):
        if content[page * PAGE] == 0x05:  # it points to others: the first of these
            (place,) = struct.unpack_from(">H", content, page * PAGE + 12)
            (child,) = struct.unpack_from(">I", content, page * PAGE + place)
        else:
            child = page + 1
        start = (child - 1) * PAGE
        assert content[start] == 0x0D
        (count,) = struct.unpack_from(">H", content, start + 3)
        struct.pack_into(">H", content, start + 3, count - 1)

    change(damaged, hit)
    with pytest.raises(InputError, match="is damaged"):
        Store.read(damaged)
    monkeypatch.setattr(
        "iassa.benchmark.store.store.check_pages", lambda _: None
    )  # damaged after it
    with Store.read(damaged) as store, pytest.raises(InputError, match=r"1 rows of table .* are"):
        read(store)


def test_the_file_for_people_stands_in_for_a_configuration_that_is_lost(damaged, rows, tmp_path):
    page = page_of(damaged, "meta")

    def hit(content):
        content[page * PAGE : (page + 1) * PAGE] = bytes(PAGE)

    change(damaged, hit)
    assert_refused(damaged, r"24 of its 24 items and 12 of its 12 images can be")
    saved = salvage(damaged, tmp_path / "new")
    assert len(saved.saved) == ITEMS
    check_saved(saved, tmp_path / "new", rows)
    (damaged / "configuration.json").write_text("[]")
    with pytest.raises(InputError, match="its configuration cannot be read"):
        salvage(damaged, tmp_path / "newer")
    assert not (tmp_path / "newer").exists()
    with pytest.raises(InputError, match="None of its items can be saved"):
        Store.read(damaged)


@pytest.mark.parametrize("content", [b"not a database at all" * 999, bytes(9999), b"SQLite", b""])
def test_what_is_no_database_is_told(damaged, tmp_path, content):
    (damaged / "run.sqlite").write_bytes(content)
    for use in (lambda: Store.open(damaged, CONFIGURATION), lambda: Store.read(damaged)):
        with pytest.raises(InputError, match=r"None of its items can be saved\. Restore it from"):
            use()
    assert (damaged / "run.sqlite").read_bytes() == content
    assert salvage(damaged, tmp_path / "new").saved == ()


@pytest.mark.parametrize(("share", "least"), [(0.99, 0.9), (0.67, 0.5), (0.3, 0.1)])
def test_a_file_cut_short_gives_back_its_front(tmp_path, share, least):
    damaged, number = tmp_path / "damaged", 150
    with Store.open(damaged, CONFIGURATION) as store:
        for k in range(number):
            store.add(make_item(k, size=SIZE))
    change(damaged, lambda content: content[: int(len(content) * share)])
    # The names of the last ones may be lost with them.
    with pytest.raises(InputError, match=r"of its \d+ items .*can be saved, with `iassa"):
        Store.open(damaged, CONFIGURATION)
    saved = salvage(damaged, tmp_path / "new")
    print(share, len(saved.saved), len(saved.lost), saved.unknown)
    assert number * least <= len(saved.saved) < number
    assert saved.saved[: number // 20] == tuple(make_key(k) for k in range(number // 20))
    with Store.read(tmp_path / "new") as store:
        for key in (*saved.saved[:9], saved.saved[-1]):
            assert_stored(store, make_item(key.seed, size=SIZE))


@pytest.mark.parametrize("table", ["map", "item", "curve", "entry", None])
def test_a_root_that_is_gone_costs_no_rows_but_its_own(damaged, rows, tmp_path, table):
    """Nor does the schema with the header of the file, of which SQLite can make nothing."""
    page = 0 if table is None else page_of(damaged, table)

    def hit(content):
        content[page * PAGE : (page + 1) * PAGE] = bytes(PAGE)

    change(damaged, hit)
    with pytest.raises(InputError, match="is damaged"):
        read_all(damaged)
    saved = salvage(damaged, tmp_path / "new")
    assert len(saved.saved) >= ITEMS // 3
    check_saved(saved, tmp_path / "new", rows)


@pytest.mark.parametrize("content", [b"garbage" * 999, b""])
def test_what_is_only_in_the_log_is_saved(whole, rows, tmp_path, content):
    with Store.open(tmp_path / "open", CONFIGURATION) as store:
        for number in range(ITEMS):
            store.add(make_item(number, size=SIZE))
        damaged = shutil.copytree(tmp_path / "open", tmp_path / "damaged")
    assert (damaged / "run.sqlite-wal").stat().st_size > 100 * PAGE
    (damaged / "run.sqlite").write_bytes(content)
    if not content:  # SQLite would delete the log
        for use in (lambda: Store.read(damaged), lambda: Store.open(damaged, CONFIGURATION)):
            with pytest.raises(InputError, match=r"24 of its 24 items and .* can be saved"):
                use()
    saved = salvage(damaged, tmp_path / "new")
    assert len(saved.saved) == ITEMS
    got, expected = (
        {key: {table: parts[table] for table in PARTS} for key, parts in each.items()}
        for each in (rows_of(tmp_path / "new"), rows)
    )
    assert got == expected


def test_an_image_that_was_replaced_is_never_saved_as_it_was_before(tmp_path):
    """Neither while the new one is in the log alone, nor from pages that are no longer of use."""
    entries = [
        dataclasses.replace(entry, key=f"a.jpg {k} {'x' * 200}", image="a.jpg")
        for k in range(60)
        for entry in make_entries(0)[:1]
    ]
    damaged = [dataclasses.replace(entry, excluded="damaged") for entry in entries[:50]]
    other = make_entries(1)
    run = tmp_path / "run"
    with Store.open(run, CONFIGURATION) as store:
        store.add_image("a.jpg", damaged, "0a")
        store.add_image(other[0].image, other, "0c")
    assert b"damaged" in (run / "run.sqlite").read_bytes()
    with Store.open(run, CONFIGURATION) as store:
        store.replace_image("a.jpg", entries, "0b")  # in the log alone
        assert b"damaged" in (run / "run.sqlite").read_bytes()
        saved = [salvage(run, tmp_path / "one")]
    assert b"damaged" not in (run / "run.sqlite").read_bytes()
    saved.append(salvage(run, tmp_path / "two"))
    for number, folder in enumerate(("one", "two")):
        assert (saved[number].images, saved[number].lost_images) == (2, 0)
        with Store.read(tmp_path / folder) as store:
            assert store.images() == {"a.jpg": "0b", other[0].image: "0c"}
            assert {e.key: e for e in store.entries()} == {e.key: e for e in (*entries, *other)}


def test_a_run_of_another_schema_is_not_salvaged(damaged, tmp_path):
    connection = sqlite3.connect(damaged / "run.sqlite")
    connection.execute("PRAGMA user_version=1")
    connection.close()
    with pytest.raises(InputError, match=r"expected schema 2 in .*, got 1: another version of ia"):
        salvage(damaged, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_without_a_place_for_a_copy_that_is_told(damaged, tmp_path, monkeypatch):
    change(damaged, lambda content: content[: len(content) // 2])
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    expected = r"cannot copy .* No such file .* or name another one as TMPDIR"
    with pytest.raises(InputError, match=f"is damaged: .*{expected}"):
        Store.read(damaged)
    with pytest.raises(InputError, match=expected):
        salvage(damaged, tmp_path / "new")


def test_what_salvage_refuses(whole, tmp_path):
    with pytest.raises(InputError, match=r"expected a run in .*, got no run\.sqlite"):
        salvage(tmp_path, tmp_path / "new")
    with pytest.raises(InputError, match="into, got itself"):
        salvage(whole, whole / ".." / whole.name)
    with Store.open(tmp_path / "other", CONFIGURATION | {"dataset": "other"}) as store:
        store.add(make_item(0, size=SIZE))  # with nothing in it, it could still be another
    with pytest.raises(InputError, match='dataset: "other" in the run, "made" asked for'):
        salvage(whole, tmp_path / "other")
