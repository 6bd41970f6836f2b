"""How the command line begins: what a command does not need is not imported for it."""

from __future__ import annotations

import dataclasses
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from rich.markup import render

from iassa.cli import COMMANDS, import_command
from iassa.cli.dataset_options import KINDS
from iassa.cli.model_options import PANEL, URL_PANEL, describes_model
from iassa.models.conventions import Conventions

ROOT = Path(__file__).parents[1]
PANELS = (PANEL, URL_PANEL)

# Runs the command line, and says at its end whether torch was imported.
WATCHED = """
import atexit, sys
atexit.register(lambda: print("torch" in sys.modules, file=sys.stderr))
from iassa.__main__ import main
main()
"""


def start(arguments: list[str], first: Path | None = None) -> subprocess.CompletedProcess[str]:
    """In a process of its own; `first` is searched before all else for modules."""
    paths = [*([str(first)] if first else []), *sys.path]
    return subprocess.run(
        [sys.executable, "-c", WATCHED, *arguments],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "COLUMNS": "100"},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--help"], "Which map is better? Methods on a dataset"),
        (["--version"], "iassa "),
        (["report", "--help"], "How many of them, or which"),
        (["salvage", "--help"], "Folder of a damaged run"),
    ],
)
def test_what_needs_no_torch_does_not_wait_for_it(arguments: list[str], text: str) -> None:
    done = start(arguments)
    assert done.returncode == 0, done.stderr
    assert text in done.stdout
    assert done.stderr == "False\n"


def test_what_explains_has_it(tmp_path: Path) -> None:
    done = start(["explain", "--help"])
    assert "--tolerance" in done.stdout
    assert done.stderr == "True\n"


def test_a_command_that_is_not_there() -> None:
    done = start(["explian", "photo.jpg"])
    assert done.returncode == 2
    assert done.stderr == "error: No such command 'explian'. Did you mean 'explain'?\nFalse\n"


def test_all_commands_that_are_told_are_there() -> None:
    files = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("src/**/*.py")]
    told = [
        (file.name, *found)
        for file in files
        for found in re.findall(r"`iassa ([a-z]+)(?: ([a-z]+))?[ `]", file.read_text("utf-8"))
    ]
    assert {"benchmark.md", "README.md", "dataset_options.py"} <= {name for name, *_ in told}
    for name, command, word in told:
        assert command in COMMANDS, name
        assert command != "benchmark" or word in ("", *KINDS), name


def test_ctrl_c_while_torch_is_imported(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise KeyboardInterrupt")
    done = start(["explain", "--example", "cat"], tmp_path)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr.splitlines()[0] == "error: interrupted; nothing was done yet."


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_all_commands_says_what_each_says_of_itself(name: str) -> None:
    command = import_command([name, "--help"])
    assert command is not None
    assert command.__name__ == name
    first, *_ = (inspect.getdoc(command) or "").split("\n\n")
    assert COMMANDS[name][1] == " ".join(first.split())
    assert import_command(["--help", name]) is None


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_is_shown_whole(name: str) -> None:
    command = import_command([name])
    assert command is not None
    texts = [
        option.help
        for each in inspect.signature(command, eval_str=True).parameters.values()
        for option in each.annotation.__metadata__
    ]
    assert texts
    for text in texts:  # what stands in brackets may be taken for markup
        assert render(text).plain == text


@pytest.mark.parametrize("name", COMMANDS)
def test_no_option_of_a_command_takes_the_values_of_another(name: str) -> None:
    command = import_command([name])
    assert command is not None
    app = typer.Typer(add_completion=False)
    app.command()(command)
    shown = typer.main.get_command(app).params
    flags = [flag for each in shown for flag in (*each.opts, *each.secondary_opts)]
    assert len(flags) == len(set(flags))
    of_model = {each.name for each in shown if getattr(each, "rich_help_panel", None) in PANELS}
    own = inspect.signature(inspect.unwrap(command)).parameters.keys()
    assert not of_model & own
    assert of_model | own == {each.name for each in shown} - {"help"}
    fields = {field.name for field in dataclasses.fields(Conventions)}
    detecting = {"detector", "threshold"}
    expected = {"explain": fields, "extend": fields, "benchmark": fields - detecting}
    assert of_model & fields == expected.get(name, set())


def test_an_option_with_the_name_of_one_of_a_model_is_refused() -> None:
    def command(model: str, threshold: float = 0.3) -> None:
        pass

    describes_model(detectors=False)(command)
    with pytest.raises(TypeError, match="of its own for command, got threshold of its model"):
        describes_model(detectors=True)(command)
