"""Explanations made one after another: a progress bar for each, its files, the exit status."""

from __future__ import annotations

import functools
import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, redirect_stdout, suppress
from pathlib import Path

import typer

import iassa
from iassa.cli.options import Saving
from iassa.cli.terminal import (
    BAD,
    SOME_FAILED,
    about,
    complain,
    graceful_interrupt,
    messages,
    say,
    show_json,
    show_path,
    status_of,
    warn,
    warnings_as_lines,
)
from iassa.errors import (
    CancelledError,
    IassaError,
    ImageWarning,
    WeakEvidenceWarning,
    counted,
)
from iassa.files import check_writable, is_there


def make_all(
    folders: Mapping[str, Path],
    make: Callable[..., iassa.Explanation],
    saving: Saving,
    differs: Callable[[str, iassa.Explanation], str],
) -> None:
    """Make and save an explanation for each folder, and exit with what became of them.

    Args:
        folders: where the results go, by the name of each image.
        make: called with that name, and `progress` and `cancel` as `iassa.explain` takes them.
        saving: what is written and printed.
        differs: from that name and what a folder holds, in what the new one differs from that, see
            `find_difference`.

    Raises:
        typer.Exit: always; 0, 2 where all images failed, 1 where some of several did, 130
            after Ctrl-C, or 143 after SIGTERM.
    """
    from iassa.methods.engine.replacing import refuse_others

    failed = 0
    with graceful_interrupt(saving.quiet) as interrupts:
        for name, folder in folders.items():
            with about(name) if len(folders) > 1 else nullcontext(), warnings_as_lines():
                try:
                    if not saving.overwrite:
                        refuse_others(folder, functools.partial(differs, name))
                    with _writable(folder), _bar(Path(name).name, saving.quiet) as show:
                        explanation = make(name, progress=show, cancel=lambda: bool(interrupts))
                    _save(explanation, folder, saving, interrupts)
                except IassaError as error:  # the next image may do better
                    saved = ""
                    if isinstance(error, iassa.RunFailedError):
                        partial = error.explanation
                        _save(partial, folder, saving, interrupts)
                        saved = f" The map of the {partial.calls} calls so far is in {folder}."
                    complain(f"{error}{saved}", error)
                    failed += not isinstance(error, CancelledError)
                except KeyboardInterrupt:  # the second one
                    complain("interrupted; nothing of this image was saved.")
            if interrupts:
                raise typer.Exit(status_of(interrupts))
    raise typer.Exit(0 if not failed else BAD if failed == len(folders) else SOME_FAILED)


@contextmanager
def _bar(name: str, quiet: bool) -> Iterator[Callable[[iassa.Progress], object]]:
    """A progress bar: calls done, rate, time left, and the standard error so far."""
    from iassa.methods.live import progress_bar

    # Stdout is for results: what a black box prints is a message.
    unsaid = (WeakEvidenceWarning, *([ImageWarning] if quiet else []))  # `_save` prints the first
    hidden = quiet or not messages().is_terminal
    bar = progress_bar(messages(), name, disable=hidden)
    with warnings_as_lines(*unsaid), bar as show, redirect_stdout(sys.stderr):
        yield show


@contextmanager
def _writable(folder: Path) -> Iterator[None]:
    """Find out before the calls are spent; after a failure leave no folder that was not there."""
    from iassa.explanations.record import list_earlier
    from iassa.gallery.photos import refuse_gallery

    refuse_gallery(folder, "one explanation")
    missing = [path for path in (folder, *folder.parents) if not is_there(path)]
    list_earlier(folder)  # refuses files that `save` would refuse
    check_writable(folder)
    try:
        yield
    except BaseException:
        for path in missing:
            with suppress(OSError):
                path.rmdir()
        raise


def _save(
    explanation: iassa.Explanation, folder: Path, saving: Saving, interrupts: list[int]
) -> None:
    """Write the result first: an end while it is drawn loses pictures only."""
    explanation.save(folder, pictures="none")
    if not saving.quiet:
        _summarise(explanation)
    drawn: Iterable[Path] = explanation.draw(folder, saving.pictures)
    if saving.pictures == "none":
        drawn = [folder / "explanation.json"]
    before = len(interrupts)
    try:
        with _draw_bar(len(explanation.targets), saving.quiet) as advance:
            for path in drawn:
                advance()
                if not saving.as_json:
                    show_path(path)
                if len(interrupts) > before:
                    break
    except KeyboardInterrupt:
        complain(f"interrupted; the map is in {folder}, not all of its pictures.")
    if saving.as_json:
        show_json(json.loads((folder / "explanation.json").read_text("utf-8")))


@contextmanager
def _draw_bar(targets: int, quiet: bool) -> Iterator[Callable[[], object]]:
    """A progress bar of pictures, where there are many."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress

    bar = Progress(
        *("{task.description}", BarColumn(), MofNCompleteColumn(), "pictures"),
        console=messages(),
        disable=quiet or not messages().is_terminal or targets < 5,
        transient=True,
    )
    with bar:
        task = bar.add_task("drawing", total=targets)
        yield lambda: bar.advance(task)


def _summarise(explanation: iassa.Explanation) -> None:
    """Print warnings, scores, and what the map cost."""
    for text in explanation.warnings:
        warn(text)
    for target, score in zip(explanation.targets, explanation.scores, strict=True):
        say(f"{target.name}: {score:.3g}")
    precision = "standard error not known"
    if math.isfinite(explanation.relative_error):
        precision = f"standard error {explanation.relative_error:.1%} of the peak"
    if explanation.fills is not None:
        for t, target in enumerate(explanation.targets):
            least = explanation.fills.agreement(t)
            say(f"{target.name}: rank correlation of the maps under {least}")
    state = "" if explanation.complete else f"; incomplete: {explanation.stopped}"
    say(
        f"{counted(explanation.calls, 'call')} of {explanation.model} on {explanation.device}, "
        f"{explanation.seconds:.1f} s, {precision}{state}"
    )
    if explanation.check is not None:
        for line in explanation.check.lines():
            say(line)
        say(f"verified with {explanation.check.count()}")
