"""What all commands share: messages, exit statuses, signals, what was typed."""

from __future__ import annotations

import functools
import json
import logging
import os
import re
import shlex
import signal
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TextIO

import typer

from iassa.errors import plain

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TextColumn

SOME_FAILED = 1  # of several images
BAD = 2
INTERRUPTED = 130
TRACEBACK = "IASSA_TRACEBACK"

_ABOUT: list[str] = []  # the image that lines are about, where there are several


@functools.cache
def messages() -> Console:
    """Where messages go, and progress bars. Rich is imported here, as help does without it."""
    from rich.console import Console

    # A name between colons is a name, no emoji; one in brackets is no colour.
    return Console(stderr=True, highlight=False, soft_wrap=True, emoji=False, markup=False)


def is_coloured(stream: TextIO) -> bool:
    """Whether a stream is to have colours; rich decides in the same way."""
    wanted = not os.environ.get("NO_COLOR") and os.environ.get("TERM") not in ("dumb", "unknown")
    return wanted and stream.isatty()


def say(text: str, kind: str = "", style: str = "") -> None:
    """Print a line, with the image that it is about where there are several."""
    from rich.text import Text

    messages().print(Text.assemble((kind, style), plain("".join([*_ABOUT, text]))))


def show_json(value: Any) -> None:
    """Print a result as JSON, on one line."""
    typer.echo(json.dumps(value, allow_nan=False))


def show_path(path: Path) -> None:
    """Print where a result is: its bytes, as a name need not be UTF-8; on a terminal, plainly."""
    typer.echo(plain(str(path)) if sys.stdout.isatty() else os.fsencode(path))


def words(column: str) -> TextColumn:
    """A column of a progress bar, whose fields come from outside."""
    from rich.progress import TextColumn

    return TextColumn(column, markup=False)


def complain(text: str, error: BaseException | None = None) -> None:
    """Print what went wrong, on one line, below its traceback where `TRACEBACK` asks for that."""
    if error is not None and os.environ.get(TRACEBACK):
        for line in "".join(traceback.format_exception(error)).splitlines():
            say(line)
    say(" ".join(text.split()), "error: ", "bold red")


def warn(text: str) -> None:
    """Print a warning, on one line."""
    say(" ".join(text.split()), "warning: ", "yellow")


@contextmanager
def about(image: str) -> Iterator[None]:
    """Name an image in each line."""
    _ABOUT[:] = [f"{image}: "]
    try:
        yield
    finally:
        _ABOUT.clear()


class _Lines(logging.Handler):
    """Prints what is logged as a line of the command."""

    def emit(self, record: logging.LogRecord) -> None:
        say(self.format(record))


def log_lines(quiet: bool) -> None:
    """Print warnings that are logged, and what iassa logs on the way."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[_Lines()])
    if not quiet:
        logging.getLogger("iassa").setLevel(logging.INFO)


@contextmanager
def warnings_as_lines(*ignored: type[Warning]) -> Iterator[None]:
    """Print each warning on one line, without its line of code, but for those of some kinds."""
    with warnings.catch_warnings():
        for kind in ignored:
            warnings.simplefilter("ignore", kind)
        warnings.showwarning = lambda message, *_, **__: warn(str(message))
        yield


@contextmanager
def graceful_interrupt(quiet: bool, what: str = "batch") -> Iterator[list[int]]:
    """A list of the signals that ask for an end: Ctrl-C, SIGTERM, and SIGHUP but under nohup.

    The run ends after its batch. A second Ctrl-C ends it at once. The others may come repeatedly:
    systems send them to the process and to its group.
    """
    interrupts: list[int] = []
    stopping = f"stopping after the {what} in flight; Ctrl-C again to stop at once\n".encode()
    terminals = [file for file in (1, 2) if os.isatty(file)]

    def interrupt(number: int, _frame: FrameType | None) -> None:
        for file in terminals:
            if not os.isatty(file):  # it was closed: a message there would be an error
                os.dup2(os.open(os.devnull, os.O_WRONLY), file)
        if interrupts and number == signal.SIGINT:
            raise KeyboardInterrupt
        interrupts.append(number)
        if not quiet:  # written at once: a second signal may come while this one is handled
            with suppress(OSError):
                os.write(2, stopping)

    caught = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        caught.append(signal.SIGHUP)
    before = {number: signal.signal(number, interrupt) for number in caught}
    try:
        yield interrupts
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def status_of(interrupts: list[int]) -> int:
    """The exit status of a command that signals ended: 130 after Ctrl-C, 143 after SIGTERM."""
    return 128 + interrupts[0]


def typed() -> str:
    """The command as it was typed, to be stored with what it makes.

    Without the query of a URL, which may be a key.
    """
    shown = [re.sub(r"(?i)(https?://[^?#]*)\?[^#]*", r"\1?...", one) for one in sys.argv[1:]]
    return shlex.join(["iassa", *shown])
