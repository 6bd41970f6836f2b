"""All commands by name, and how one is run.

Messages go to stderr, results to stdout. Exit status: 0; 2 for bad usage or input, with one line
`error: ...`; 130 after Ctrl-C, the map so far saved.

A command is imported when it is called: most of them import torch, which takes seconds that
`--help` and the others need not wait for.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from typing import Annotated

import typer

import iassa
from iassa.cli.terminal import BAD, INTERRUPTED, complain
from iassa.errors import IassaError

__all__ = ["COMMANDS", "import_command", "main"]

# The file of each, and what `iassa --help` says of it: the first paragraph of its docstring.
COMMANDS = {
    "explain": ("explain", "Explain what a model looks at in an image."),
    "extend": (
        "explain",
        "Go on from a saved explanation, as if all calls had been asked for at once.",
    ),
    "benchmark": (
        "benchmark",
        "Which map is better? Methods on a dataset, at equal numbers of model calls.",
    ),
    "report": ("report", "Write what a run shows: Markdown, one HTML page, CSV files and plots."),
    "salvage": (
        "report",
        "Save what a damaged run still holds into a new one, which `iassa benchmark` goes on with.",
    ),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit.

    Args:
        arguments: those after the program's name; of the process if None.
    """
    words = sys.argv[1:] if arguments is None else [*arguments]
    command = typer.main.get_command(_app(words))
    try:
        status = command.main(words, prog_name="iassa", standalone_mode=False)
    except IassaError as error:
        complain(str(error))
        status = BAD
    except (KeyboardInterrupt, typer.Abort):
        complain("interrupted.")
        status = INTERRUPTED
    except Exception as error:
        # Typer's usage errors are Click's, which it carries under a private name.
        if not hasattr(error, "format_message"):
            raise
        complain(error.format_message() or "expected a command, as in: iassa explain photo.jpg")
        status = BAD
    sys.exit(status or 0)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"iassa {iassa.__version__}")
        raise typer.Exit


def _iassa(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    """What an image model looks at, found by asking the model alone."""


def import_command(words: Sequence[str]) -> Callable[..., None] | None:
    """The command that the first of the words names; None if it names none."""
    if not words or words[0] not in COMMANDS:
        return None
    module, _ = COMMANDS[words[0]]
    command: Callable[..., None] = getattr(importlib.import_module(f"iassa.cli.{module}"), words[0])
    return command


def _app(words: Sequence[str]) -> typer.Typer:
    """All commands by name, the one that is called with what it does."""
    app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
    app.callback()(_iassa)
    called = import_command(words)
    for name, (_, summary) in COMMANDS.items():
        if called is not None and name == words[0]:
            app.command(name)(called)
        else:
            app.command(name, help=summary)(_not_called)
    return app


def _not_called() -> None:
    """Stands for the commands that are not called."""
