"""The parts of the live page that need no server: who may ask, the shelf, the turns."""

from __future__ import annotations

import contextlib
import threading

import pytest

from app_shelf import SECRET, make_shelf
from iassa.app.access import Access, is_loopback, make_token
from iassa.app.looking import find_names, open_photo, read_targets
from iassa.app.shelf import Shelf
from iassa.app.turns import Turns
from iassa.decoding import Reading
from iassa.errors import InputError


@pytest.mark.parametrize(
    ("listens", "header", "known"),
    [
        ("127.0.0.1", "127.0.0.1:7860", True),
        ("127.0.0.1", "localhost:7860", True),
        ("127.0.0.1", "LOCALHOST:7860", True),
        ("127.0.0.1", "[::1]:7860", True),
        ("127.0.0.1", "127.0.0.1", False),
        ("127.0.0.1", "127.0.0.1:80", False),
        ("127.0.0.1", "192.0.2.7:7860", False),
        ("127.0.0.1", "rebound.example:7860", False),
        ("127.0.0.1", "page.example", True),  # as it was named
        ("127.0.0.1", "sub.page.example", False),
        ("0.0.0.0", "192.0.2.7:7860", True),
        ("0.0.0.0", "rebound.example:7860", False),
        ("0.0.0.0", "page.example:443", True),
        ("0.0.0.0", "", False),
        ("0.0.0.0", "192.0.2.7:7860/", False),
        ("192.0.2.7", "192.0.2.7:7860", True),
    ],
)
def test_the_names_of_the_page(listens, header, known):
    access = Access(listens, 7860, names=("page.example",))
    assert access.knows_host(header) is known


def test_a_token_is_made_where_others_can_reach_the_page():
    assert make_token("127.0.0.1", None) is None
    assert make_token("::1", None) is None
    first, second = make_token("0.0.0.0", None), make_token("192.0.2.7", None)
    assert first != second
    assert len(first) >= 40
    assert make_token("127.0.0.1", "sixteen letters!") == "sixteen letters!"
    for short in ("", "fifteen letters", "sixteen lettérs!"):
        with pytest.raises(InputError, match="expected a token of 16 letters"):
            make_token("0.0.0.0", short)


@pytest.mark.parametrize(
    ("host", "only_here"),
    [
        *((host, True) for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost")),
        *((host, False) for host in ("0.0.0.0", "::", "10.0.0.1", "localhost.evil.example")),
    ],
)
def test_which_hosts_are_this_machine_alone(host, only_here):
    assert is_loopback(host) is only_here


def test_the_address_that_is_printed():
    assert Access("0.0.0.0", 80, "abc").url == "http://127.0.0.1:80/?token=abc"
    assert Access("::1", 7860).url == "http://[::1]:7860/"


def test_the_shelf_serves_what_iassa_made_and_nothing_else(tmp_path):
    make_shelf(tmp_path)
    shelf = Shelf([tmp_path])
    assert [(one.name, one.kind) for one in shelf.places] == [
        (f"{tmp_path.name}/cats", "gallery"),
        (f"{tmp_path.name}/first", "run"),
    ]
    served = {}
    for path in (tmp_path / "cats").rglob("*"):
        name = path.relative_to(tmp_path / "cats").as_posix()
        with contextlib.suppress(InputError):
            content, served[name] = shelf.read(0, name)
            assert SECRET.encode() not in content
    pictures = {f"{k}/{name}" for k in (0, 1) for name in ("sheet.png", "thumbnail.jpg")}
    pages = {"index.html", "0/index.html", "1/index.html"}
    assert {*served} == pictures | pages | {"0/explanation.json", "1/explanation.json"}
    assert served["0/sheet.png"] == "image/png"
    outside = ("../notes.txt", "0/../../notes.txt", str(tmp_path / "notes.txt"), "..", "", "C:\\a")
    for name in outside:
        with pytest.raises(InputError, match="expected"):
            shelf.read(0, name)
    for number in (1, 2, -1):
        with pytest.raises(InputError, match="expected the number of a gallery"):
            shelf.read(number, "index.html")
    assert b"<h1>Benchmark first</h1>" in shelf.report(1)


def test_a_folder_without_anything_to_browse_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"or a benchmark run in .*empty, got neither"):
        Shelf([tmp_path / "empty"])
    with pytest.raises(InputError, match="expected a folder of runs or galleries"):
        Shelf([tmp_path / "file"])


def test_questions_are_answered_between_the_batches_of_a_run():
    turns = Turns()
    told, begun, asked = [], threading.Event(), threading.Event()

    def first(give_way):
        told.append("first")
        begun.set()
        asked.wait(10)
        assert not give_way()  # nobody else runs
        told.append("after the question")
        return False

    turns.take(first)
    begun.wait(10)
    answer = turns.ask(lambda: told.append("question"))
    asked.set()
    answer.result(10)
    failing = turns.ask(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        failing.result(10)
    turns.close()
    assert told == ["first", "question", "after the question"]


def test_runs_take_turns(monkeypatch):
    monkeypatch.setattr("iassa.app.turns.TURN", 0.0)
    turns, told, ended = Turns(), [], threading.Event()

    def run(name):
        def step(give_way):
            while told.count(name) < 4:
                told.append(name)
                if give_way():
                    return True
            if len(told) == 8:
                ended.set()
            return False

        return step

    hold = threading.Event()
    turns.take(lambda _: hold.wait(10) and False)  # until both wait
    for name in "ab":
        turns.take(run(name))
    hold.set()
    ended.wait(10)
    turns.close()
    assert "".join(told) == "abababab"


@pytest.mark.parametrize("text", ["os:getcwd", " os:getcwd ", "not os:getcwd", "NOT not a.b:c"])
def test_a_target_runs_no_code(text):
    with pytest.raises(InputError, match="expected a class, a group or a contrast"):
        read_targets([text])


def test_targets_are_read():
    assert read_targets(["tabby", " ", "a vs b", "1,2"]) == ["tabby", "a vs b", "1,2"]
    with pytest.raises(InputError, match="expected one to 10 targets, got 0"):
        read_targets([" "])


def test_names_are_found_by_any_synonym():
    names = ("tench, Tinca tinca", "tabby, tabby cat", "catamaran", "cat")
    assert find_names("CAT", names) == ["cat", "catamaran", "tabby"]
    assert find_names("tinca", names) == ["tench"]
    assert find_names("  ", names) == []


def test_a_file_name_only_shows():
    content = b"P6 2 1 255\n" + bytes(6)
    made = open_photo("../\x1b[2J<b>.ppm", content, Reading())
    assert made.name == ".._" + "_x1b[2J<b>.ppm"  # an escape would steer a terminal
    assert made.size == (1, 2)
    with pytest.raises(InputError, match="at most 1 pixels"):
        open_photo("a.ppm", content, Reading(max_pixels=1))
