"""How the command line begins: what a command does not need is not imported for it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from iassa.cli import app
from iassa.cli.dataset_options import KINDS
from iassa.image import EXAMPLES
from iassa.masks.baselines import FILLS
from iassa.methods.registry import METHODS
from iassa.models.similarity import MEASURES

COMMANDS = {command.callback.__name__: command.callback for command in app.registered_commands}
ROOT = Path(__file__).parents[1]

# Runs commands, one after another, and says at its end which of some modules were imported.
WATCHED = """
import atexit, os, shlex, sys
atexit.register(lambda: print(*(set(HEAVY) & set(sys.modules)), file=sys.stderr))
HEAVY = "torch onnxruntime onnx scipy skimage matplotlib PIL numpy rich".split()
import iassa
for line in sys.argv[1:]:
    try:
        iassa.__version__
        from iassa.cli import main
        main(shlex.split(line))
    except SystemExit as exit_:
        status = exit_.code
sys.exit(status if sys.argv[1:] else 0)
"""


def start(*lines: str, first: Path | None = None) -> subprocess.CompletedProcess[str]:
    """In a process of its own; `first` is searched before all else for modules."""
    paths = [*([str(first)] if first else []), *sys.path]
    return subprocess.run(
        [sys.executable, "-c", WATCHED, *lines],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "COLUMNS": "100"},
        capture_output=True,
        text=True,
    )


def test_the_package_and_help_import_nothing_that_is_heavy() -> None:
    helps = ["-h", "--help", "--version", *(f"{name} -h" for name in COMMANDS)]
    done = start(*helps)
    assert (done.returncode, done.stderr) == (0, "\n")
    assert all(text in done.stdout for text in ("--protocol", "How many of them", "iassa 0."))


def test_lists_import_numpy_alone_of_what_is_heavy() -> None:
    done = start("models", "methods --json", "models URL", "methods iassa")
    assert (done.returncode, done.stderr) == (0, "numpy\n")
    assert all(text in done.stdout for text in ("FILE.onnx", "kernel_share", "longest_wait"))


def test_a_command_that_is_not_there() -> None:
    done = start("explian photo.jpg")
    assert done.returncode == 2
    assert done.stderr == "error: No such command 'explian'. Did you mean 'explain'?\nrich\n"


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
    done = start("explain --example cat", first=tmp_path)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr.splitlines()[0] == "error: interrupted."


def test_the_help_names_all_that_may_be_chosen() -> None:
    explain = typer.main.get_command(app).commands["explain"]  # type: ignore[attr-defined]
    shown = {each.name: each for each in explain.params}
    assert set(re.findall(r"[\w-]+", shown["method"].help.partition(".")[0])) == METHODS.keys()
    assert FILLS.keys() <= set(re.findall(r"\w+", shown["baseline"].help))
    for name, choices in (("measure", MEASURES), ("example", EXAMPLES)):
        assert shown[name].metavar == "|".join(choices)


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
