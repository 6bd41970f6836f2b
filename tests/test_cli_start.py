"""How the command line begins: what a command does not need is not imported for it."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from rich.markup import render

from iassa.cli import app
from iassa.cli.dataset_options import KINDS
from iassa.image import EXAMPLES
from iassa.masks.baselines import FILLS
from iassa.methods.registry import METHODS
from iassa.models.similarity import MEASURES

COMMANDS = {command.callback.__name__: command.callback for command in app.registered_commands}
ROOT = Path(__file__).parents[1]

# Runs the command line, and says at its end whether torch was imported.
WATCHED = """
import atexit, sys
atexit.register(lambda: print("torch" in sys.modules, file=sys.stderr))
from iassa.cli import main
main()
"""


def start(
    arguments: list[str], first: Path | None = None, columns: int = 100
) -> subprocess.CompletedProcess[str]:
    """In a process of its own; `first` is searched before all else for modules."""
    paths = [*([str(first)] if first else []), *sys.path]
    return subprocess.run(
        [sys.executable, "-c", WATCHED, *arguments],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "COLUMNS": str(columns)},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--help"], "Compare methods on a dataset"),
        (["--version"], "iassa "),
        (["explain", "--help"], "--tolerance"),
        (["extend", "--help"], "--tolerance"),
        (["benchmark", "--help"], "--protocol"),
        (["report", "--help"], "How many of them, or which"),
        (["salvage", "--help"], "Folder of a damaged run"),
    ],
)
def test_what_needs_no_torch_does_not_wait_for_it(arguments: list[str], text: str) -> None:
    done = start(arguments)
    assert done.returncode == 0, done.stderr
    assert text in done.stdout
    assert done.stderr == "False\n"


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
    assert done.stderr.splitlines()[0] == "error: interrupted."


def texts_of_options(name: str) -> dict[str, str]:
    """The help of each option, by its parameter."""
    parameters = inspect.signature(COMMANDS[name], eval_str=True).parameters
    annotated = {
        key: getattr(one.annotation, "__metadata__", ()) for key, one in parameters.items()
    }
    return {key: found[0].help for key, found in annotated.items() if found}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_is_shown_whole(name: str) -> None:
    shown = texts_of_options(name)
    assert shown
    for text in (*shown.values(), inspect.getdoc(COMMANDS[name]) or ""):
        assert render(text).plain == text  # what stands in brackets may be taken for markup
    done = start([name, "--help"], columns=80)
    assert done.returncode == 0, done.stderr
    assert "…" not in done.stdout
    assert all(len(line) <= 80 for line in done.stdout.splitlines())


def test_the_help_names_all_that_may_be_chosen() -> None:
    shown = texts_of_options("explain")
    assert set(re.findall(r"[\w-]+", shown["method"].partition(".")[0])) == METHODS.keys()
    assert FILLS.keys() <= set(re.findall(r"\w+", shown["baseline"]))
    parameters = inspect.signature(COMMANDS["explain"], eval_str=True).parameters
    for name, choices in (("measure", MEASURES), ("example", EXAMPLES)):
        assert parameters[name].annotation.__metadata__[0].metavar == "|".join(choices)


@pytest.mark.parametrize("name", COMMANDS)
def test_no_option_of_a_command_takes_the_values_of_another(name: str) -> None:
    alone = typer.Typer(add_completion=False)
    alone.command()(COMMANDS[name])
    shown = typer.main.get_command(alone).params
    flags = [flag for each in shown for flag in (*each.opts, *each.secondary_opts)]
    assert len(flags) == len(set(flags))


@pytest.mark.parametrize("name", ["explain", "extend", "benchmark"])
def test_eight_options_describe_a_model(name: str) -> None:
    alone = typer.Typer(add_completion=False)
    alone.command()(COMMANDS[name])
    of_model = {
        each.opts[0]
        for each in typer.main.get_command(alone).params
        if getattr(each, "rich_help_panel", None) == "The model"
    }
    describing = "--range --mean --std --softmax --sigmoid --input-size --class-names --auth-env"
    assert of_model == {*describing.split(), "--model", "--model-option", "--device"}
