"""What all commands share: messages, exit statuses, signals, what was typed."""

from __future__ import annotations

import os
import re
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from rich.console import Console
from rich.markup import escape

SOME_FAILED = 1  # of several images
BAD = 2
INTERRUPTED = 130

# A name between colons is a name, no emoji.
messages = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)


def complain(text: str) -> None:
    """Print what went wrong, on one line."""
    messages.print(f"[bold red]error:[/] {escape(' '.join(text.split()))}")


def warn(text: str) -> None:
    """Print a warning."""
    messages.print(f"[yellow]warning:[/] {escape(text)}")


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
