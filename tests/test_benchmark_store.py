"""The store of a run: what was added is there, after kills and on full disks, once and whole."""

from __future__ import annotations

import dataclasses
import io
import json
import multiprocessing
import os
import random
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys
import threading
import zlib
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from iassa.benchmark.store.records import Failure, ItemKey
from iassa.benchmark.store.salvage import salvage
from iassa.benchmark.store.store import Store
from iassa.errors import InputError
from iassa.models.targets import Target
from made_runs import (
    CONFIGURATION,
    SIZE_ADDED,
    adding,
    assert_stored,
    make_entries,
    make_item,
    make_key,
)


@pytest.fixture
def run(tmp_path):
    return tmp_path / "runs" / "one"


def fill(folder, items=4, images=2):
    with Store.open(folder, CONFIGURATION) as store:
        for image in range(images):
            entries = make_entries(image)
            store.add_image(entries[0].image, entries, f"{image:064x}")
        for number in range(items):
            store.add(make_item(number))


# --- what is added ----------------------------------------------------------------------------


def test_what_was_added_is_there_afterwards(run):
    before = datetime.now(UTC)
    fill(run)
    for opened in (Store.read(run), Store.open(run, CONFIGURATION)):
        with opened as store:
            assert store.configuration == CONFIGURATION
            assert store.images() == {f"images/{k:03d}.jpg": f"{k:064x}" for k in (0, 1)}
            by_place = [*make_entries(1), *make_entries(0)]  # the later the earlier
            expected = sorted(by_place, key=lambda entry: (entry.image_index, entry.key))
            assert store.entries() == expected
            assert [e.category for e in store.entries()] == ["cat", "dog", "emu"] * 2
            assert store.finished() == {make_key(k) for k in range(4)}
            for number in range(4):
                assert_stored(store, make_item(number))
            assert [item.key for item in store.items()] == [make_key(k) for k in range(4)]
            for item in store.items():
                assert before <= item.finished <= datetime.now(UTC)
                assert all(not snapshot.curves for snapshot in item.snapshots)
                assert all(snapshot.metrics for snapshot in item.snapshots)


def test_an_image_without_entries_is_an_image(run):
    with Store.open(run, CONFIGURATION) as store:
        store.add_image("empty.jpg", [], "0f")
        assert store.images() == {"empty.jpg": "0f"}
        assert store.entries() == []


def test_an_image_that_was_left_out_is_replaced_whole(run):
    fill(run)
    entries = make_entries(7)
    damaged = dataclasses.replace(entries[0], key=entries[0].image, excluded="damaged")
    with Store.open(run, CONFIGURATION) as store:
        store.add_image(damaged.image, [damaged], "0a")
        others = store.entries()
        others.remove(damaged)
        store.replace_image(damaged.image, entries, "0b")
        assert store.images()[damaged.image] == "0b"
        by_place = [*entries, *others]
        assert store.entries() == sorted(by_place, key=lambda e: (e.image_index, e.key))
        for fewer in ([], entries):  # what is explained stays
            with pytest.raises(InputError, match=r"expected images/007\.jpg with excluded entries"):
                store.replace_image(damaged.image, fewer, "0c")
        taken = dataclasses.replace(make_entries(0)[0], image="other.jpg")
        store.add_image("other.jpg", [dataclasses.replace(damaged, image="other.jpg", key="x")], "")
        with pytest.raises(InputError, match=r"got the image other\.jpg or an entry of it"):
            store.replace_image("other.jpg", [taken], "0c")
        assert store.images()["other.jpg"] == ""
        assert [e.key for e in store.entries() if e.image == "other.jpg"] == ["x"]


def test_odd_names_and_items(run):
    key = ItemKey("ä\0b'; DROP TABLE item; -- \U0001f600", "", -(2**63))
    bare = make_item(0, snapshots=0)
    item = dataclasses.replace(bare, key=key, evidence=b"", warnings=(), calls=2**40)
    with Store.open(run, CONFIGURATION) as store:
        store.add(item)
        assert_stored(store, item)
        assert store.finished() == {key}
        assert store.evidence(key) == b""


def test_numbers_of_numpy_are_numbers(run):
    snapshot = make_item(1).snapshots[0]
    odd = dataclasses.replace(
        snapshot,
        budget=np.int64(7),
        metrics={"f1": np.float32(0.1), "zero": -0.0, "whole": 3},
    )
    item = dataclasses.replace(
        make_item(1),
        key=ItemKey("x", "a", np.int64(5)),
        calls=np.int32(9),
        seconds=3,
        snapshots=(odd,),
    )
    with Store.open(run, CONFIGURATION) as store:
        store.add(item)
        assert_stored(store, item)


def test_a_function_that_was_a_target_is_stored_by_its_name(run):
    entry = dataclasses.replace(make_entries(0)[0], target=Target("margin", function=max))
    with Store.open(run, CONFIGURATION) as store:
        store.add_image(entry.image, [entry], "0f")
        assert store.entries()[0].target == Target("margin")


def test_nothing_is_there_twice(run):
    fill(run)
    entries = make_entries(0)
    taken = dataclasses.replace(entries[0], image="other.jpg")
    with Store.open(run, CONFIGURATION) as store:
        for name, of_it in ((entries[0].image, []), ("other.jpg", [taken])):
            with pytest.raises(InputError, match=f"got the image {name} or an entry of it, which"):
                store.add_image(name, of_it, "0f")
        assert len(store.images()) == 2  # not half of the second
        with pytest.raises(InputError, match=r"item images/001\.jpg dog by b, seed 3, which"):
            store.add(make_item(3))
        with pytest.raises(InputError, match=r"entries of the image x\.jpg, got images/000"):
            store.add_image("x.jpg", entries, "0f")
    fill_again = make_item(4)
    with Store.open(run, CONFIGURATION) as store:
        store.add(fill_again)
        assert len(store.finished()) == 5
        assert len(list(store.items())) == 5


def test_failures_until_they_succeed(run):
    keys = [make_key(number) for number in range(3)]
    with Store.open(run, CONFIGURATION) as store:
        for key in reversed(keys):
            store.add_failure(Failure(key, "out of memory"))
        store.add_failure(Failure(keys[0], "killed"))
        store.add(make_item(1))
        left = [Failure(keys[0], "killed"), Failure(keys[2], "out of memory")]
        assert store.failures() == sorted(left, key=lambda failure: failure.key)
        assert store.finished() == {keys[1]}
        with pytest.raises(InputError, match="which it has"):
            store.add_failure(Failure(keys[1], "late"))
        assert len(store.failures()) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"saliency": np.full((2, 3), np.nan, np.float32)}, "expected a finite map"),
        ({"metrics": {"f1": float("nan")}}, "finite numbers of .* got nan as metric f1"),
        ({"relative_error": float("nan")}, "got nan as relative_error"),
        ({"relative_error": -float("inf")}, "got -inf as relative_error"),
    ],
)
def test_what_cannot_be_stored_is_refused_and_leaves_nothing(run, change, message):
    item = make_item(0)
    odd = dataclasses.replace(item.snapshots[2], **change)
    bad = dataclasses.replace(item, snapshots=(*item.snapshots[:2], odd))
    with Store.open(run, CONFIGURATION) as store:
        with pytest.raises(InputError, match=message):
            store.add(bad)
        assert store.finished() == set()
        store.add(item)
        assert_stored(store, item)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"calls": 2**64}, "numbers of 64 bits"),
        ({"key": ItemKey("\ud800", "a", 0)}, "Unicode texts"),
        ({"seconds": float("inf")}, "got inf as seconds"),
    ],
)
def test_an_item_that_cannot_be_stored_is_refused_and_leaves_nothing(run, change, message):
    with Store.open(run, CONFIGURATION) as store:
        with pytest.raises(InputError, match=message):
            store.add(dataclasses.replace(make_item(0), **change))
        assert store.finished() == set()
        assert list(store.items()) == []


def test_what_is_not_there_is_refused(run):
    fill(run)
    with Store.read(run) as store:
        with pytest.raises(InputError, match="expected a finished item, got x by a, seed 0"):
            store.saliency(ItemKey("x", "a", 0), 0)
        with pytest.raises(InputError, match="expected a finished item"):
            store.evidence(ItemKey("x", "a", 0))
        for snapshot in (3, -1):
            with pytest.raises(
                InputError, match=f"expected one of the 3 snapshots .* from 0, got {snapshot}"
            ):
                store.saliency(make_key(0), snapshot)
        with pytest.raises(InputError, match="opened to be read"):
            store.add(make_item(9))


# --- who may --------------------------------------------------------------------------------


def test_another_configuration_is_shown_and_nothing_is_written(run):
    fill(run)
    other = json.loads(json.dumps(CONFIGURATION))
    other["metrics"]["pixels_per_step"] = 224
    other["methods"]["b"]["x"] = 1
    other["methods"]["c"] = {}
    content = {path.name: path.read_bytes() for path in run.iterdir()}
    with pytest.raises(InputError) as refusal:
        Store.open(run, other)
    assert "metrics.pixels_per_step: 896 in the run, 224 asked for" in str(refusal.value)
    assert "methods.b.x: nothing in the run, 1 asked for" in str(refusal.value)
    assert {path.name: path.read_bytes() for path in run.iterdir()} == content
    fill_more = CONFIGURATION | {"methods": {"c": {"method": "lime"}}}
    with Store.open(run, fill_more) as store:
        assert set(store.configuration["methods"]) == {"a", "b", "c"}
    with Store.open(run, CONFIGURATION) as store:
        assert store.configuration["methods"]["c"] == {"method": "lime"}
    shown = json.loads((run / "configuration.json").read_text("utf-8"))
    with Store.read(run) as store:
        assert store.configuration == shown


def test_the_file_for_people_is_mended_from_the_database(run):
    fill(run)
    (run / "configuration.json").write_text("{}")
    with Store.open(run, CONFIGURATION):
        assert json.loads((run / "configuration.json").read_text("utf-8")) == CONFIGURATION


def run_python(code, *arguments, **options):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


HOLD = """
import sys
from pathlib import Path
from made_runs import CONFIGURATION
from iassa.benchmark.store.store import Store
with Store.open(Path(sys.argv[1]), CONFIGURATION) as store:
    print("open", flush=True)
    sys.stdin.read()
"""


def test_one_process_at_a_time_goes_on_and_others_may_read(run):
    holder = run_python(HOLD, run, stdin=subprocess.PIPE)
    assert holder.stdout.readline() == "open\n"
    with pytest.raises(InputError, match=f"another process works on {run}. Wait for it"):
        Store.open(run, CONFIGURATION)
    with Store.read(run) as store:
        assert store.finished() == set()
    holder.kill()
    holder.communicate()
    fill(run)


def test_one_store_at_a_time_within_a_process(run):
    with Store.open(run, CONFIGURATION):  # noqa: SIM117
        with pytest.raises(InputError, match="another process works on"):
            Store.open(run, CONFIGURATION)
    Store.open(run, CONFIGURATION).close()


def test_a_reader_sees_what_is_added_meanwhile(run):
    with Store.open(run, CONFIGURATION) as store, Store.read(run) as reader:
        for number in range(12):  # further than one checkpoint
            before = reader.items()
            store.add(make_item(number, size=(160, 190)))
            assert len(reader.finished()) == len(list(before)) == number + 1
            assert_stored(reader, make_item(number, size=(160, 190)))


def in_child(store, results):
    try:
        store.add(make_item(1))
        results.put("added")
    except InputError as error:
        results.put(str(error))
    store.close()


def test_a_reader_leaves_the_folder_as_it_was(run):
    """SQLite needs files beside the database; a connection that may not write leaves them."""
    with Store.open(run, CONFIGURATION):
        pass
    before = {path.name for path in run.iterdir()}
    for left in ("", "run.sqlite-wal"):  # by a version of before
        if left:
            (run / left).touch()
        with Store.read(run) as store, Store.read(run) as other:
            assert store.configuration == other.configuration
            assert {path.name for path in run.iterdir()} > before
        assert {path.name for path in run.iterdir()} == before


def test_a_reader_does_not_move_a_log_into_the_database(run):
    """A killed writer leaves a log, which the next one takes over."""
    code = """
import os, signal, sys
from pathlib import Path
from iassa.benchmark.store.store import Store
store = Store.open(Path(sys.argv[1]), {"a": 1})
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", code, str(run)], check=False)
    names = ("run.sqlite", "run.sqlite-wal")
    before = [(run / name).read_bytes() for name in names]
    assert len(before[1]) > 0
    with Store.read(run) as store:
        assert store.configuration == {"a": 1}
    assert [(run / name).read_bytes() for name in names] == before


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_neither_writes_nor_lets_go(run):
    context = multiprocessing.get_context("fork")
    with Store.open(run, CONFIGURATION) as store:
        store.add(make_item(0))
        results = context.SimpleQueue()
        child = context.Process(target=in_child, args=(store, results))
        child.start()
        assert "got a fork of it" in results.get()
        child.join()
        other = run_python(HOLD, run, stdin=subprocess.DEVNULL)
        assert "another process works on" in other.communicate()[1]
        store.add(make_item(2))
        assert store.finished() == {make_key(0), make_key(2)}


def test_a_child_that_outlives_it_does_not_keep_the_lock(run):
    """As a worker may, after the driver was killed."""
    code = HOLD.replace(
        "    print(", "    import os, time\n    if not os.fork(): time.sleep(60)\n    print("
    )
    holder = run_python(code, run, stdin=subprocess.PIPE, start_new_session=True)
    assert holder.stdout.readline() == "open\n"
    holder.kill()
    holder.wait()
    try:
        fill(run)
    finally:
        os.killpg(holder.pid, signal.SIGKILL)
        holder.communicate()


def test_another_thread_is_told(run):
    told = []

    def work(store):
        try:
            store.add(make_item(0))
        except sqlite3.ProgrammingError as error:
            told.append(str(error))

    with Store.open(run, CONFIGURATION) as store:
        thread = threading.Thread(target=work, args=(store,))
        thread.start()
        thread.join()
        assert "thread" in told[0]
        store.add(make_item(0))


# --- where ------------------------------------------------------------------------------------


def test_folders_that_will_not_do(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match=r"cannot write to .*Choose another folder"):
        Store.open(tmp_path / "file", CONFIGURATION)
    with pytest.raises(InputError, match=r"cannot write to .*Choose another folder"):
        Store.open(Path("/proc/self/fd/none"), CONFIGURATION)
    with pytest.raises(InputError, match=r"expected a run in .*, got no run\.sqlite"):
        Store.read(tmp_path)
    (tmp_path / "folder" / "run.sqlite").mkdir(parents=True)
    with pytest.raises(InputError, match="cannot use the database"):
        Store.open(tmp_path / "folder", CONFIGURATION)


def test_other_files_are_left_alone_and_another_database_too(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    fill(tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    with sqlite3.connect(foreign / "run.sqlite") as connection:
        connection.execute("CREATE TABLE runs (distance REAL)")
    connection.close()
    content = (foreign / "run.sqlite").read_bytes()
    for use in (lambda: Store.open(foreign, CONFIGURATION), lambda: Store.read(foreign)):
        with pytest.raises(InputError, match=r"got a run\.sqlite of another program"):
            use()
    assert (foreign / "run.sqlite").read_bytes() == content


def test_another_schema_is_refused(run):
    fill(run)
    with sqlite3.connect(run / "run.sqlite") as connection:
        connection.execute("PRAGMA user_version=1")
    connection.close()
    for use in (lambda: Store.open(run, CONFIGURATION), lambda: Store.read(run)):
        with pytest.raises(
            InputError, match=r"expected schema 2 in .*, got 1: another version of iassa made it"
        ):
            use()


def test_a_run_that_was_killed_before_it_began(run):
    run.mkdir(parents=True)
    (run / "run.sqlite").touch()
    with pytest.raises(InputError, match="one that has not begun"):
        Store.read(run)
    fill(run)
    with Store.read(run) as store:
        assert len(store.finished()) == 4


@pytest.mark.parametrize("left", ["nothing", "header", "no file"])
def test_a_run_whose_database_is_gone_is_not_begun_again(run, left):
    fill(run)
    for log in run.glob("run.sqlite-*"):
        log.unlink()
    (run / "run.sqlite").unlink()
    if left == "header":  # as in a copy without the log
        connection = sqlite3.connect(run / "run.sqlite")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.close()
    elif left == "nothing":
        (run / "run.sqlite").touch()
    uses = [lambda: Store.open(run, CONFIGURATION), lambda: Store.read(run)]
    for use in (uses * 2)[: 1 if left == "no file" else 4]:
        with pytest.raises(
            InputError, match=r"run\.sqlite holds nothing, .* is gone\. None .* delete"
        ):
            use()
    with pytest.raises(InputError):
        Store.read(run)
    shutil.rmtree(run)  # as it says
    fill(run)


UNSHARED = shutil.which("unshare") is not None and (
    subprocess.run(
        ["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True
    ).returncode
    == 0
)


@pytest.mark.skipif(not UNSHARED, reason="no rights to mount")
@pytest.mark.parametrize("killed", [False, True])
def test_a_run_on_a_medium_that_cannot_be_written_is_read(run, killed):
    fill(run)
    if killed:
        assert add_and_kill(run, 0.5, first=100)
    code = """
import sys
from pathlib import Path
from made_runs import CONFIGURATION
from iassa.benchmark.store.store import Store
from iassa.errors import InputError
with Store.read(Path(sys.argv[1])) as store:
    print(len(list(store.items(with_curves=True))))
    assert len(store.finished()) >= 4
try:
    Store.open(Path(sys.argv[1]), CONFIGURATION)
except InputError as error:
    print(error)
"""
    mount = f"mount --bind {run} {run} && mount -o remount,bind,ro {run} && exec "
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", mount + '"$@"', "sh", sys.executable, "-c", code, str(run)],
        env=environment,
        capture_output=True,
        text=True,
    )
    with Store.read(run) as store:
        number = len(store.finished())
    assert done.stdout.startswith(f"{number}\n"), done.stderr
    assert "cannot" in done.stdout
    assert "rite" in done.stdout


def test_a_folder_copied_while_the_run_goes_on(run, tmp_path):
    """Whatever moment it was: what the copy gives is what was stored."""
    copies = []
    with adding(run) as (_, told):
        for _ in range(8):
            told.recv()
        for k in range(4):
            told.recv()
            copies.append(tmp_path / f"copy {k}")
            shutil.copytree(run, copies[-1])
    whole = 0
    for copy in copies:
        try:
            with Store.open(copy, CONFIGURATION) as store:
                keys = store.finished()
                for key in sorted(keys):
                    assert_stored(store, make_item(key.seed, size=SIZE_ADDED))
                whole += len(keys) >= 8
        except InputError:  # damaged: a page of the database is older than the log beside it
            salvage(copy, copy / "new")
            with Store.read(copy / "new") as store:
                for key in store.finished():
                    assert_stored(store, make_item(key.seed, size=SIZE_ADDED))
    assert whole


# --- kill -9 ----------------------------------------------------------------------------------


def add_and_kill(run, seconds, first=0):
    """Numbers of the items whose `add` returned, before a kill `seconds` after the first."""
    with adding(run, first) as (writer, told):
        numbers = [told.recv()]
        timer = threading.Timer(seconds, writer.kill)
        timer.start()
        with suppress(EOFError):
            while True:
                numbers.append(told.recv())
        timer.join()
    return numbers


@pytest.mark.parametrize("seed", range(3))
def test_killed_at_any_moment_nothing_is_lost_and_nothing_is_half_there(run, seed):
    rng = random.Random(seed)
    reported = set()
    for _ in range(4):
        added = add_and_kill(run, rng.random() * 0.3)
        assert not reported & set(added)  # nothing twice
        reported.update(added)
        with Store.read(run) as store:  # recovers the WAL that was left
            found = {key.seed for key in store.finished()}
            images = store.images()
            assert len(store.entries()) == 3 * len(images)
            for number in found:
                assert f"images/{number:03d}.jpg" in images
        assert reported <= found
        assert len(found - reported) <= 1  # stored, killed before it could say so
        reported = found
    with Store.open(run, CONFIGURATION) as store:
        assert len(list(store.items())) == len(reported)
        for number in rng.sample(sorted(reported), min(8, len(reported))):
            assert_stored(store, make_item(number, size=SIZE_ADDED))
    with sqlite3.connect(run / "run.sqlite") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


KILL_EVERYWHERE = """
import os, shutil, signal, sqlite3, sys
from pathlib import Path
from made_runs import CONFIGURATION, assert_stored, make_entries, make_item
from iassa.benchmark.store.store import Store
folder = Path(sys.argv[1])
connect, left = sqlite3.connect, 0

class Fatal(sqlite3.Connection):
    def execute(self, *arguments):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().execute(*arguments)

    def __exit__(self, *arguments):  # it commits
        self.execute("SELECT 1")
        return super().__exit__(*arguments)

def work():
    with Store.open(folder, CONFIGURATION) as store:
        for image in set(range(2)) - {int(name[7:10]) for name in store.images()}:
            store.add_image(make_entries(image)[0].image, make_entries(image), "0f")
        for number in range(3):
            if make_item(number).key not in store.finished():
                store.add(make_item(number))

kills = 0
for budget in range(10**6):
    shutil.rmtree(folder, ignore_errors=True)
    child = os.fork()
    if child == 0:
        left = budget
        sqlite3.connect = lambda *a, **k: connect(*a, **k, factory=Fatal)
        work()
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    killed = os.WIFSIGNALED(status)
    work()
    with Store.read(folder) as store:
        assert len(store.images()) == 2 and len(store.entries()) == 6
        assert len(list(store.items())) == 3
        for number in range(3):
            assert_stored(store, make_item(number))
    if not killed:
        assert status == 0
        break
    kills += 1
print(kills)
"""


def test_killed_before_any_of_its_statements_the_same_command_goes_on(run):
    """The making of the run included."""
    done = run_python(KILL_EVERYWHERE, run)
    output, errors = done.communicate()
    assert done.returncode == 0, errors
    assert int(output) > 60


# --- full disks -------------------------------------------------------------------------------

FILL = """
import resource, sys
from pathlib import Path
from made_runs import CONFIGURATION, make_item, make_key
from iassa.benchmark.store.store import Store
from iassa.errors import InputError
folder, limit = Path(sys.argv[1]), int(sys.argv[2])
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
with Store.open(folder, CONFIGURATION) as store:
    for number in range(400):
        try:
            store.add(make_item(number, size=(120, 161)))
        except InputError as error:
            print(error)
            break
        print(number)
    print(len(store.finished()), "are there")  # it can be read on
    try:
        store.add(make_item(999, size=(120, 161)))
    except InputError as error:
        print(error)
"""
FULL = "What was finished is whole. Free space on its disk"


def check_filled(output, run):
    lines = output.splitlines()
    added = [int(line) for line in lines if line.isdigit()]
    assert len(added) >= 5
    assert f"{len(added)} are there" in lines
    assert len([line for line in lines if FULL in line]) in (1, 2)
    with Store.open(run, CONFIGURATION) as store:
        found = store.finished() - {make_key(999)}
        assert found == {make_key(number) for number in added}
        assert_stored(store, make_item(added[-1], size=SIZE_ADDED))
        goes_on = make_item(added[-1] + 1, size=SIZE_ADDED)
        store.add(goes_on)
        assert_stored(store, goes_on)


@pytest.mark.parametrize("limit", [2_000_000, 5_500_000])  # in the WAL; in the database, say
def test_a_file_that_must_not_grow(run, limit):
    writer = run_python(FILL, run, limit)
    output, errors = writer.communicate()
    assert writer.returncode == 0, errors
    check_filled(output, run)


@pytest.mark.skipif(not UNSHARED, reason="no rights to mount")
def test_a_disk_that_is_full(run, tmp_path):
    """A disk of 7 MB, mounted for one process; what is left on it is copied off afterwards."""
    disk, code = tmp_path / "disk", tmp_path / "fill.py"
    disk.mkdir()
    code.write_text(FILL)
    script = (
        f"mount -t tmpfs -o size=7m none {disk} && {sys.executable} {code} {disk}/run 0; "
        f"code=$?; cp -r {disk}/run {run}; exit $code"
    )
    run.parent.mkdir()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    check_filled(done.stdout, run)


@pytest.mark.skipif(not UNSHARED, reason="no rights to mount")
def test_a_disk_that_is_full_from_the_start(tmp_path):
    code = FILL.replace("with Store.open", "(folder.parent / 'big').write_bytes(bytes(990_000))\n#")
    code = code.split("#")[0] + "Store.open(folder, CONFIGURATION)\n"
    (tmp_path / "full.py").write_text(code)
    (tmp_path / "disk").mkdir()
    script = (
        f"mount -t tmpfs -o size=1000k none {tmp_path}/disk && "
        f"{sys.executable} {tmp_path}/full.py {tmp_path}/disk/run 0"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("iassa.errors.InputError: cannot ")
    assert "ree space" in done.stderr or "Choose another folder" in done.stderr


def test_a_database_that_must_not_grow(run):
    fill(run, items=2)
    with Store.open(run, CONFIGURATION) as store:
        pages = store._session._connection.execute("PRAGMA page_count").fetchone()[0]
        store._session._connection.execute(f"PRAGMA max_page_count={pages + 10}")
        with pytest.raises(InputError, match=FULL):
            store.add(make_item(5, size=SIZE_ADDED))
        with pytest.raises(InputError, match=FULL):
            store.add_image("x.jpg", make_many_entries("x.jpg"), "0f")
        assert len(store.finished()) == 2
        assert "x.jpg" not in store.images()
        store._session._connection.execute("PRAGMA max_page_count=1000000")
        store.add(make_item(5, size=SIZE_ADDED))
    with Store.read(run) as store:
        assert_stored(store, make_item(5, size=SIZE_ADDED))


def make_many_entries(image):
    one = make_entries(0)[0]
    return [dataclasses.replace(one, image=image, key=f"{image} {k}" * 99) for k in range(400)]


# --- with sqlite3 alone -----------------------------------------------------------------------


def test_the_schema_is_enough_to_read_scores_curves_maps_and_checksums(run):
    fill(run)
    item = make_item(3)
    connection = sqlite3.connect(run / "run.sqlite")
    found = connection.execute(
        "SELECT name, value FROM result WHERE entry = ? AND method = 'b' AND snapshot = 2",
        (item.key.entry,),
    ).fetchall()
    # SQLite reads the digits of a number as some program of C does, not always to the last bit.
    assert dict(found) == pytest.approx(dict(item.snapshots[2].metrics), rel=1e-14)
    scores, number, checksum = connection.execute(
        "SELECT c.scores, c.item, c.checksum FROM curve c JOIN item i ON c.item = i.id"
        " WHERE i.seed = 3 AND c.snapshot = 1 AND c.name = 'deletion'"
    ).fetchone()
    curve = item.snapshots[1].curves["deletion"]
    assert struct.unpack(f"<{len(scores) // 8}d", scores) == tuple(curve.scores)
    fractions = struct.pack(f"<{len(curve.fractions)}d", *curve.fractions)
    text = f'["curve", {number}, 1, "deletion", {len(scores)}, {len(fractions)}]'
    assert zlib.crc32(text.encode() + scores + fractions) == checksum
    (content,) = connection.execute(
        "SELECT m.content FROM map m JOIN item i ON m.item = i.id"
        " WHERE i.seed = 3 AND m.snapshot = 1"
    ).fetchone()
    (schema,) = connection.execute("SELECT sql FROM sqlite_master WHERE name = 'map'").fetchone()
    assert ".npz of NumPy; saliency = offset + scale * values" in schema
    archive = np.load(io.BytesIO(content))
    saliency = archive["offset"] + archive["scale"] * archive["values"].astype(np.float64)
    with Store.read(run) as store:
        np.testing.assert_array_equal(saliency.astype(np.float32), store.saliency(item.key, 1))
    connection.close()
