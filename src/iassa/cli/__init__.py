"""The command line: arguments in, calls of the library, files and messages out. No science here.

Messages go to stderr, results to stdout. Exit status: 0; 2 for bad usage or input, with one line
`error: ...`; 130 after Ctrl-C, the map so far saved.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

import iassa
from iassa.cli import benchmark, explain
from iassa.cli.terminal import BAD, INTERRUPTED, complain
from iassa.errors import IassaError

__all__ = ["main"]

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="What an image model looks at, found by asking the model alone.",
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit.

    Args:
        arguments: those after the program's name; of the process if None.
    """
    command = typer.main.get_command(app)
    try:
        status = command.main(
            list(arguments) if arguments is not None else None,
            prog_name="iassa",
            standalone_mode=False,
        )
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


@app.callback()
def _iassa(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    """What an image model looks at, found by asking the model alone."""


app.command()(explain.explain)
app.command()(explain.extend)
app.command()(benchmark.benchmark)
app.command()(benchmark.report)
app.command()(benchmark.salvage)
