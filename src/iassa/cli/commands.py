"""All commands, and how one is run.

Messages go to stderr, results to stdout. Exit status: 0; 2 for bad usage or input, with one line
`error: ...`; 130 after Ctrl-C and 143 after SIGTERM, with the map so far
saved.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated, Any

import typer

import iassa
from iassa.cli import live_page
from iassa.cli.audit import audit
from iassa.cli.benchmark import benchmark
from iassa.cli.checking import verify
from iassa.cli.explain import explain, extend
from iassa.cli.exporting import export
from iassa.cli.features import features
from iassa.cli.help import Command, Commands
from iassa.cli.listing import methods, models
from iassa.cli.report import report, salvage
from iassa.cli.terminal import BAD, INTERRUPTED, SOME_FAILED, complain, warnings_as_lines
from iassa.errors import IassaError
from iassa.files import user_path

CANNOT_PRINT = (errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EIO)


class _Commands(Commands):
    def invoke(self, ctx: Any) -> Any:
        """Run the command; Typer alone would say nothing of Ctrl-C."""
        try:
            with warnings_as_lines():
                return super().invoke(ctx)
        except KeyboardInterrupt:
            complain("interrupted.")
            raise typer.Exit(INTERRUPTED) from None


app = typer.Typer(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command in (
    *(explain, extend, verify, export, audit, benchmark, report, salvage),
    *(models, methods, features, live_page.app),
):
    app.command(cls=Command)(command)


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
    """Show which parts of an image a model relies on, using only its scores for masked images.

    With IASSA_TRACEBACK=1 in the environment an error shows the traceback of your code, too.
    """


def _at_home(argument: str) -> str:
    """`--out=~/maps` with the home folder, as the shell has it in `--out ~/maps` alone."""
    dashed = argument.startswith("--")
    option, equals, path = argument.partition("=") if dashed else ("", "", argument)
    home = path.startswith("~/")
    return f"{option}{equals}{user_path(path) if home else path}"


def _in_words(error: Any) -> str:
    """What a usage error says; of a text where a number belongs Typer says it in Python's words."""
    found = getattr(error.__context__, "errors", None)
    if found is None:
        return str(error.format_message())
    first = found()[0]
    kind = "a whole number" if first["type"].startswith("int") else "a number"
    for bound, words in (("ge", "at least"), ("le", "at most")):
        if bound in first.get("ctx", {}):
            kind = f"{words} {first['ctx'][bound]}"
    return f"expected {error.param.opts[0]} to be {kind}, got {first['input']!r}. Change it."


def _give_up_printing(error: OSError) -> None:
    """Say why, unless the reader of a pipe has left, and drop what is still to be printed."""
    if error.errno != errno.EPIPE:
        with suppress(OSError):
            complain(
                f"cannot print: {error.strerror}. Send stdout and stderr elsewhere; what was saved "
                "is kept."
            )
    for stream in (sys.stdout, sys.stderr):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit.

    Args:
        arguments: those after the program's name; of the process if None.
    """
    given = sys.argv[1:] if arguments is None else arguments
    try:
        status = typer.main.get_command(app).main(
            [*map(_at_home, given)], prog_name="iassa", standalone_mode=False
        )
        sys.stdout.flush()  # a full disk shows here, not when the interpreter is gone
    except IassaError as error:
        complain(str(error), error)
        status = BAD
    except OSError as error:
        if error.errno not in CANNOT_PRINT:
            raise
        status = SOME_FAILED if error.errno == errno.EPIPE else BAD
        _give_up_printing(error)
    except Exception as error:
        # Typer's usage errors are Click's, which it carries under a private name.
        if not hasattr(error, "format_message"):
            raise
        said = _in_words(error)
        if type(error).__name__ == "NoArgsIsHelpError":  # which says the help
            typer.echo(said)
            said = "expected a command, as in: iassa explain photo.jpg"
        complain(said)
        status = BAD
    sys.exit(status or 0)
