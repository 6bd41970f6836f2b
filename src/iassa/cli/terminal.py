"""What all commands share: messages, exit statuses, Ctrl-C, what was typed."""

from __future__ import annotations

import os
import re
import shlex
import signal
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from rich.console import Console
from rich.markup import escape

SOME_FAILED = 1  # of several images
BAD = 2
INTERRUPTED = 130
TRACEBACK = "IASSA_TRACEBACK"

# A name between colons is a name, no emoji.
messages = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)


def complain(text: str, error: BaseException | None = None) -> None:
    """Print what went wrong, on one line, below its traceback where `TRACEBACK` asks for that."""
    if error is not None and os.environ.get(TRACEBACK):
        traceback.print_exception(error)
    messages.print(f"[bold red]error:[/] {escape(' '.join(text.split()))}")


def warn(text: str) -> None:
    """Print a warning."""
    messages.print(f"[yellow]warning:[/] {escape(text)}")


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
    """A list that Ctrl-C fills: the run ends after its batch; a second Ctrl-C ends it at once."""
    interrupts: list[int] = []
    stopping = f"stopping after the {what} in flight; Ctrl-C again to stop at once\n".encode()

    def interrupt(number: int, _frame: FrameType | None) -> None:
        if interrupts:
            raise KeyboardInterrupt
        interrupts.append(number)
        if not quiet:  # written at once: a second signal may come while this one is handled
            os.write(sys.stderr.fileno(), stopping)

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield interrupts
    finally:
        signal.signal(signal.SIGINT, before)


def typed() -> str:
    """The command as it was typed, to be stored with what it makes.

    Without the query of a URL, which may be a key.
    """
    shown = [re.sub(r"(?i)(https?://[^?#]*)\?[^#]*", r"\1?...", one) for one in sys.argv[1:]]
    return shlex.join(["iassa", *shown])
