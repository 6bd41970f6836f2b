"""Explanations made one after another: a progress bar for each, its files, the exit status."""

from __future__ import annotations

import json
import math
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout, suppress
from datetime import timedelta
from pathlib import Path

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress

import iassa
from iassa.cli.terminal import (
    BAD,
    SOME_FAILED,
    complain,
    graceful_interrupt,
    messages,
    status_of,
    warn,
)
from iassa.errors import CancelledError, IassaError, WeakEvidenceWarning
from iassa.files import check_writable


def make_all(
    folders: Mapping[str, Path],
    make: Callable[..., iassa.Explanation],
    calls: int,
    as_json: bool,
    quiet: bool,
) -> None:
    """Make and save an explanation for each folder, and exit with what became of them.

    Args:
        folders: where the results go, by the name of each image.
        make: called with that name, and `progress` and `cancel` as `iassa.explain` takes them.
        calls: that each explanation makes at most.
        as_json: whether to print `explanation.json` and not the paths of the pictures.
        quiet: whether to print errors only.

    Raises:
        typer.Exit: always; 0, 2 where all images failed, 1 where some of several did, 130
            after Ctrl-C, or 143 after SIGTERM.
    """
    failed = 0
    with graceful_interrupt(quiet) as interrupts:
        for name, folder in folders.items():
            image = f"{name}: " if len(folders) > 1 else ""
            try:
                with _writable(folder), _bar(Path(name).name, calls, quiet) as show:
                    explanation = make(name, progress=show, cancel=lambda: bool(interrupts))
                _save(explanation, folder, as_json, quiet)
            except IassaError as error:  # the next image may do better
                saved = ""
                if isinstance(error, iassa.RunFailedError):
                    partial = error.explanation
                    _save(partial, folder, as_json, quiet)
                    saved = f" The map of the {partial.calls} calls so far is in {folder}."
                complain(f"{image}{error}{saved}")
                failed += not isinstance(error, CancelledError)
            except KeyboardInterrupt:  # the second one
                complain(f"{image}interrupted; nothing of this image was saved.")
            if interrupts:
                raise typer.Exit(status_of(interrupts))
    raise typer.Exit(0 if not failed else BAD if failed == len(folders) else SOME_FAILED)


@contextmanager
def _bar(name: str, calls: int, quiet: bool) -> Iterator[Callable[[iassa.Progress], None]]:
    """A progress bar: calls done, rate, time left, and the standard error so far."""
    bar = Progress(
        *("{task.description}", BarColumn(), MofNCompleteColumn(), "calls {task.fields[note]}"),
        console=messages,
        disable=quiet or not messages.is_terminal,
    )
    # Stdout is for results: what a black box prints is a message.
    with warnings.catch_warnings(), bar, redirect_stdout(sys.stderr):
        warnings.simplefilter("ignore", WeakEvidenceWarning)  # `_save` prints them
        task = bar.add_task(name, total=calls, note="")

        def show(progress: iassa.Progress) -> None:
            left = timedelta(seconds=round(min(progress.seconds_left, 1e8)))
            note = f" {progress.rate:.0f}/s  {left} left"
            latest = progress.explanation
            if latest is not None and math.isfinite(latest.relative_error):
                note += f"  ±{latest.relative_error:.0%}"
            bar.update(task, completed=progress.calls, note=note)

        yield show


@contextmanager
def _writable(folder: Path) -> Iterator[None]:
    """Find out before the calls are spent; after a failure leave no folder that was not there."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    check_writable(folder)
    try:
        yield
    except BaseException:
        for path in missing:
            with suppress(OSError):
                path.rmdir()
        raise


def _save(explanation: iassa.Explanation, folder: Path, as_json: bool, quiet: bool) -> None:
    explanation.save(folder)
    if not quiet:
        _summarise(explanation)
    if as_json:
        print(json.dumps(json.loads((folder / "explanation.json").read_text("utf-8"))))
        return
    for k in range(len(explanation.targets)):
        typer.echo(os.fsencode(folder / f"overlay-{k}.png"))  # bytes: a name need not be UTF-8


def _summarise(explanation: iassa.Explanation) -> None:
    """Print warnings, scores, and what the map cost."""
    for text in explanation.warnings:
        warn(text)
    for target, score in zip(explanation.targets, explanation.scores, strict=True):
        messages.print(f"{escape(target.name)}: {score:.3g}")
    precision = "standard error not known"
    if math.isfinite(explanation.relative_error):
        precision = f"standard error {explanation.relative_error:.1%} of the peak"
    state = "" if explanation.complete else f"; incomplete: {explanation.stopped}"
    messages.print(
        f"{explanation.calls} calls of {escape(explanation.model)} on {explanation.device}, "
        f"{explanation.seconds:.1f} s, {precision}{state}"
    )
