"""A run that shows itself: a bar on a terminal, the map so far in a notebook.

Ctrl-C ends such a run after the batch in flight, and its map is kept. The Stop button of a notebook
sends the same signal.
"""

from __future__ import annotations

import html
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeAlias

from iassa.errors import plain
from iassa.explanations.explanation import Explanation
from iassa.explanations.failure import RunFailedError
from iassa.methods.engine.budget import Progress

if TYPE_CHECKING:
    from types import FrameType

    from rich.console import Console

Show: TypeAlias = Callable[[Progress], object]
Cancel: TypeAlias = Callable[[], bool]
Following: TypeAlias = Show | bool | None  # what the verbs take as `progress`

MOST_OFTEN = 0.2  # seconds between two lines of a notebook
DRAWING = 4.0  # times as long as it took to draw a map is left to the model before the next one


def follow(
    run: Callable[[Show | None, Cancel | None], Explanation],
    progress: Following,
    cancel: Cancel | None,
    name: str,
) -> Explanation:
    """Run, and show how far it is where that is asked for.

    Args:
        run: called with `progress` and `cancel`, as a method's `iterate` takes them.
        progress: True for a bar on a terminal, or the map so far in a notebook; or what is called
            after every batch; None or False for neither.
        cancel: called after every batch, if it is not None.
        name: of what is done, for the bar.

    Returns:
        What the run returned.

    Raises:
        RunFailedError: the run raised it.
    """
    if not isinstance(progress, bool) or not progress:
        return run(None if progress is False else progress, cancel)
    with _display(name) as (show, finish), _interrupts() as interrupted:

        def stop() -> bool:
            return interrupted() or (cancel is not None and cancel())

        try:
            made = run(show, stop)
        except RunFailedError as error:
            finish(error.explanation)
            raise
        finish(made)
    return made


@contextmanager
def progress_bar(console: Console, name: str, *, disable: bool = False) -> Iterator[Show]:
    """A bar on a terminal: calls done, rate, time left, and the standard error so far.

    Args:
        console: where it is.
        name: at its left.
        disable: whether it is not shown.

    Yields:
        What to call after every batch.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar

    bar = Bar(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("calls {task.fields[note]}", markup=False),
        console=console,
        disable=disable,
    )
    with bar:
        task = bar.add_task(plain(name), total=None, note="")

        def show(progress: Progress) -> None:
            note = _describe(progress)
            bar.update(task, completed=progress.calls, total=progress.budget, note=note)

        yield show


def _describe(progress: Progress) -> str:
    """Rate, time left, and the error of the map so far, as ' 58/s  0:00:07 left  ±12%'."""
    left = timedelta(seconds=round(min(progress.seconds_left, 1e8)))
    latest = progress.explanation
    known = latest is not None and math.isfinite(latest.relative_error)
    error = f"  ±{latest.relative_error:.0%}" if latest is not None and known else ""
    return f" {progress.rate:.0f}/s  {left} left{error}"


Display: TypeAlias = AbstractContextManager[tuple[Show, Callable[[Explanation], object]]]


def _display(name: str) -> Display:
    """What shows a run here: what to call after every batch, and with the result."""
    from rich.console import Console

    console = Console(stderr=True, highlight=False, emoji=False, markup=False)
    return _in_notebook() if console.is_jupyter else _on_terminal(console, name)


@contextmanager
def _on_terminal(
    console: Console, name: str
) -> Iterator[tuple[Show, Callable[[Explanation], object]]]:
    with progress_bar(console, name, disable=not console.is_terminal) as show:
        yield show, lambda _: None


@contextmanager
def _in_notebook() -> Iterator[tuple[Show, Callable[[Explanation], object]]]:
    """A line and a picture below the cell; both are replaced in place."""
    ipython: Any = import_module("IPython.display")  # it has no types
    line, picture = (ipython.display(ipython.HTML(""), display_id=True) for _ in range(2))
    drawn: Explanation | None = None
    next_line = next_picture = 0.0

    def draw(explanation: Explanation) -> None:
        nonlocal drawn, next_picture
        began = time.monotonic()
        picture.update(explanation)
        drawn = explanation
        ended = time.monotonic()
        next_picture = ended + DRAWING * (ended - began)

    def show(progress: Progress) -> None:
        nonlocal next_line
        if (now := time.monotonic()) < next_line:
            return
        next_line = now + MOST_OFTEN
        line.update(ipython.HTML(_as_html(progress)))
        latest = progress.explanation
        if latest is not None and latest is not drawn and now >= next_picture:
            draw(latest)

    def finish(explanation: Explanation) -> None:
        line.update(ipython.HTML(""))
        draw(explanation)

    yield show, finish


def _as_html(progress: Progress) -> str:
    bar = f'<progress value="{progress.calls}" max="{progress.budget}"></progress>'
    words = f"{progress.calls}/{progress.budget} calls {_describe(progress)}"
    return f"<div>{bar} {html.escape(words)}</div>"


@contextmanager
def _interrupts() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C was pressed. A second one interrupts at once.

    Signals come to the main thread alone; in another one nothing is caught.
    """
    caught: list[int] = []

    def interrupt(number: int, _frame: FrameType | None) -> None:
        if caught:
            raise KeyboardInterrupt
        caught.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before: Any = signal.signal(signal.SIGINT, interrupt)
    try:
        yield lambda: bool(caught)
    finally:
        signal.signal(signal.SIGINT, before)
