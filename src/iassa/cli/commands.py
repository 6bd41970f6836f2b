"""All commands, and how one is run.

Messages go to stderr, results to stdout. Exit status: 0; 2 for bad usage or input, with one line
`error: ...`; 130 after Ctrl-C and 143 after SIGTERM, with the map so far
saved.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import iassa
from iassa.cli.benchmark import benchmark
from iassa.cli.explain import explain, extend
from iassa.cli.report import report, salvage
from iassa.cli.terminal import BAD, INTERRUPTED, complain
from iassa.errors import IassaError


class _Commands(TyperGroup):
    def invoke(self, ctx: Any) -> Any:
        """Run the command; Typer alone would say nothing of Ctrl-C."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            complain("interrupted.")
            raise typer.Exit(INTERRUPTED) from None


app = typer.Typer(
    cls=_Commands, add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False
)
for command in (explain, extend, benchmark, report, salvage):
    app.command()(command)


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
    """Show which parts of an image a model relies on, from its scores of masked images alone."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit.

    Args:
        arguments: those after the program's name; of the process if None.
    """
    try:
        status = typer.main.get_command(app).main(
            arguments, prog_name="iassa", standalone_mode=False
        )
    except IassaError as error:
        complain(str(error))
        status = BAD
    except Exception as error:
        # Typer's usage errors are Click's, which it carries under a private name.
        if not hasattr(error, "format_message"):
            raise
        complain(error.format_message() or "expected a command, as in: iassa explain photo.jpg")
        status = BAD
    sys.exit(status or 0)
