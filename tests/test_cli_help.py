"""The help of every command, at any width, and its colours."""

from __future__ import annotations

import io
import os
import pty
import re
import shlex
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import typer

from iassa.cli import app, main
from iassa.cli.terminal import messages, warn

GROUP: Any = typer.main.get_command(app)
COMMANDS = {"": GROUP, **GROUP.commands}
# What Python calls a type. 'list' and 'tuple' are English, too, but not with a bracket.
PYTHON = r"<[a-z]+>|\b(int|str|bool|float|Path|None|NoneType|Annotated|Optional)\b|(list|tuple)\["

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    """The command line, in a terminal of some columns: exit status, stdout, stderr."""

    def run(*arguments: str, columns: int = 80) -> tuple[int, str, str]:
        monkeypatch.setenv("COLUMNS", str(columns))
        with pytest.raises(SystemExit) as exit_:
            main(arguments)
        out, err = capsys.readouterr()
        return int(exit_.value.code or 0), out, err

    return run


def words(text: str) -> str:
    return " ".join(text.split())


def examples(command: Any) -> list[str]:
    return re.findall(r"^ +(iassa .*)$", command.help, re.M)


@pytest.mark.parametrize("columns", [80, 40, 20])
@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_fits_and_is_whole(call: Call, name: str, columns: int) -> None:
    status, out, err = call(*filter(None, [name]), "-h", columns=columns)
    assert (status, err) == (0, "")
    assert "…" not in out
    assert not re.search(PYTHON, out)
    if columns >= 40:
        assert [line for line in out.splitlines() if len(line) > columns] == []
    shown = words(out)
    for each in COMMANDS[name].params:
        assert not each.help or words(each.help) in shown, each.name
        assert all(flag in shown for flag in each.opts if flag.startswith("-"))
    # An example is whole as a shell takes it: on its lines, or behind a backslash.
    joined = [words(line) for line in re.sub(r"\\\n", "", out).splitlines()]
    assert {*examples(COMMANDS[name])} <= {*joined}


@pytest.mark.parametrize("name", COMMANDS)
def test_both_names_of_the_help(call: Call, name: str) -> None:
    before = [*filter(None, [name])]
    assert call(*before, "-h") == call(*before, "--help")


@pytest.mark.parametrize("name", COMMANDS)
def test_the_examples_can_be_typed(name: str) -> None:
    assert examples(COMMANDS[name]) or name == ""
    for line in examples(COMMANDS[name]):
        typed = shlex.split(line)[1:]
        command = GROUP.commands[typed[0]]
        context = command.make_context(typed[0], typed[1:])
        assert context.command.name == name


@pytest.mark.parametrize("name", COMMANDS)
def test_an_option_says_in_words_what_it_takes(name: str) -> None:
    for each in COMMANDS[name].params:
        takes = each.param_type_name == "argument" or not each.is_flag
        assert not takes or re.search(r"[A-Za-z]", each.metavar or ""), each.name


def test_what_an_option_means_stands_beside_it_or_below_where_columns_are_few(call: Call) -> None:
    wide, narrow = (call("salvage", "-h", columns=columns)[1] for columns in (80, 40))
    assert "\n  --json      Print the outcome as JSON.\n" in wide
    assert "\n  --json\n      Print the outcome as JSON.\n" in narrow
    assert wide.startswith("Usage: iassa salvage [OPTIONS] RUN NEW\n\nSave what a damaged run")


def test_without_a_command_it_says_the_help_and_an_error(call: Call) -> None:
    status, out, err = call()
    assert (status, out) == (2, call("-h")[1])
    assert err == "error: expected a command, as in: iassa explain photo.jpg\n"


@pytest.mark.parametrize(
    ("variable", "value", "coloured"),
    [
        ("TERM", "xterm-256color", True),
        ("TERM", "dumb", False),
        ("NO_COLOR", "1", False),
        ("NO_COLOR", "", True),
    ],
)
def test_colours_are_for_terminals_that_want_them(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, coloured: bool
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv(variable, value)
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stdout", terminal)
        monkeypatch.setattr(sys, "stderr", terminal)
        for write in (lambda: main(["salvage", "-h"]), lambda: warn("a [red]word")):
            messages.cache_clear()
            with suppress(SystemExit):
                write()
            terminal.flush()
            shown = os.read(ours, 65536).decode()
            assert ("\x1b[" in shown) is coloured
            assert "a damaged run" in shown or "a [red]word" in shown
    os.close(ours)
    messages.cache_clear()


def test_what_is_piped_has_no_colours(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    messages.cache_clear()
    outputs = [call("explain", "-h"), call("methods"), call("methods", "nothing")]
    assert "\x1b" not in "".join(out + err for _, out, err in outputs)
    assert isinstance(sys.stdout, io.TextIOBase)


@pytest.mark.parametrize(
    ("option", "wrong", "kind"),
    [
        ("--batch-size", "ten", "a whole number"),
        ("--seed", "1.5", "a whole number"),
        ("--tolerance", "5%", "a number"),
    ],
)
def test_a_text_in_place_of_a_number(call: Call, option: str, wrong: str, kind: str) -> None:
    said = f"error: expected {option} to be {kind}, got {wrong!r}. Change it.\n"
    assert call("explain", "photo.jpg", option, wrong) == (2, "", said)
