"""The command line: arguments in, calls of the library, files and messages out. No science here.

Messages go to stderr, results to stdout. Exit status: 0; 2 for bad usage or input, with one line
`error: ...`; 130 after Ctrl-C, the map so far saved.
"""

from __future__ import annotations

import ast
import dataclasses
import json
import logging
import os
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

import iassa
from iassa.baselines import FILLS
from iassa.errors import BlackBoxError, CancelledError, IassaError, InputError
from iassa.explainer import Explainer, last
from iassa.explanation import Explanation
from iassa.files import check_writable
from iassa.image import EXAMPLES
from iassa.methods import METHODS, open_method

__all__ = ["main"]

BAD = 2
INTERRUPTED = 130
STOPPING = b"stopping after the batch in flight; Ctrl-C again to stop at once\n"

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="What an image model looks at, found by asking the model alone.",
)
messages = Console(stderr=True, highlight=False, soft_wrap=True)


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
        _complain(str(error))
        status = BAD
    except (KeyboardInterrupt, typer.Abort):
        _complain("interrupted; nothing of this run was saved.")
        status = INTERRUPTED
    except Exception as error:
        # Typer's usage errors are Click's, which it carries under a private name.
        if not hasattr(error, "format_message"):
            raise
        _complain(error.format_message() or "expected a command, as in: iassa explain photo.jpg")
        status = BAD
    sys.exit(status or 0)


def _complain(text: str) -> None:
    messages.print(f"[bold red]error:[/] {escape(' '.join(text.split()))}")


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


@app.command()
def explain(
    images: Annotated[
        list[Path] | None, typer.Argument(metavar="IMAGE...", help="Image files.")
    ] = None,
    example: Annotated[
        str | None,
        typer.Option(help=f"A bundled photograph instead: {' or '.join(EXAMPLES)}."),
    ] = None,
    model: Annotated[
        str,
        typer.Option(help="efficientnet-lite0, or package.module:attribute, whose code is run."),
    ] = "efficientnet-lite0",
    target: Annotated[
        list[str] | None,
        typer.Option(
            help="What to explain; may be repeated. top-1 (default), top-5, a class by name or "
            "index, a group '281,282,tabby', or a contrast 'tabby vs Egyptian cat'."
        ),
    ] = None,
    method: Annotated[str, typer.Option(help=f"{', '.join(METHODS)}.")] = "iassa",
    baseline: Annotated[
        str | None,
        typer.Option(
            metavar="FILL",
            help="What hidden pixels show: 0.5 or another grey, r,g,b, #rrggbb, "
            f"{', '.join(FILLS)}, or an image file; 0.5 if not given. Short for --set "
            "baseline=FILL.",
        ),
    ] = None,
    calls: Annotated[int, typer.Option(help="Budget of model calls, never exceeded.")] = 1000,
    seconds: Annotated[float | None, typer.Option(help="Time budget for an image.")] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same map.")] = 0,
    batch_size: Annotated[int, typer.Option(help="The most images in a batch.")] = 16,
    device: Annotated[
        str | None,
        typer.Option(help="cpu, cuda, cuda:1, ...; a GPU if there is one, if not given."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the results [default: explanations/<image name>]."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="FIELD=VALUE", help="A hyperparameter of the method; repeatable."
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print explanation.json on stdout, a line an image.")
    ] = False,
    quiet: Annotated[bool, typer.Option(help="No progress and no messages but errors.")] = False,
) -> None:
    """Explain what a model looks at in an image."""
    photos = _photos(images or [], example, out)
    fill = [] if baseline is None else [f"baseline={baseline}"]
    with redirect_stdout(sys.stderr):  # a module of the user's may print while it is imported
        chosen = open_method(method, **_fields(method, fill + (set_ or [])))
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    if not quiet:
        logging.getLogger("iassa").setLevel(logging.INFO)
    with redirect_stdout(sys.stderr):
        black_box = iassa.open_black_box(model, device)
    arguments = {
        "target": target or "top-1",
        "calls": calls,
        "seconds": seconds,
        "seed": seed,
        "batch_size": batch_size,
        "device": device,
    }
    bad = 0
    with _graceful_interrupt(quiet) as interrupts:
        for photo, folder in photos.items():
            try:
                explanation = _explain(
                    photo, folder, chosen, black_box, arguments, interrupts, quiet
                )
                _report(explanation, folder, as_json, quiet)
            except BlackBoxError as error:
                saved = ""
                if error.explanation is not None:
                    _report(error.explanation, folder, as_json, quiet)
                    saved = (
                        f" The map of the {error.explanation.calls} calls so far is in {folder}."
                    )
                _complain(f"{photo}: {error}{saved}" if len(photos) > 1 else f"{error}{saved}")
                bad = BAD
            except CancelledError as error:
                _complain(str(error))
            except KeyboardInterrupt:  # the second one; Typer would swallow it
                _complain("interrupted; nothing of this image was saved.")
            except InputError as error:
                _complain(str(error))  # the other images are not to blame
                bad = BAD
            if interrupts:
                raise typer.Exit(INTERRUPTED)
    raise typer.Exit(bad)


def _photos(images: list[Path], example: str | None, out: Path | None) -> dict[str, Path]:
    """What to explain, and the folder for each."""
    if bool(images) == bool(example):
        raise InputError("expected image files or --example cat, one of the two. See --help.")
    names = {f"example:{example}": example or ""} if example else {str(p): p.stem for p in images}
    if len(set(names.values())) < len(images):
        raise InputError(
            "expected images with different names, since the name is the folder of the result. "
            "Explain them one at a time with --out."
        )
    if out is not None and len(names) == 1:
        return dict.fromkeys(names, out)
    return {photo: (out or Path("explanations")) / name for photo, name in names.items()}


def _fields(method: str, settings: list[str]) -> dict[str, Any]:
    """Hyperparameters from FIELD=VALUE."""
    if method not in METHODS:
        return {}
    known = [field.name for field in dataclasses.fields(METHODS[method])]
    values: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        name = name.replace("-", "_")
        if not equals or name not in known:
            raise InputError(
                f"expected --set FIELD=VALUE with a field of {method}, got {setting!r}. "
                f"Its fields: {', '.join(known)}."
            )
        if name in values:
            raise InputError(f"expected one value for {name}, got another: {text!r}. Give it once.")
        try:
            values[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            values[name] = text  # a word, as in features=none
    return values


def _explain(
    photo: str,
    folder: Path,
    method: Explainer,
    black_box: iassa.Adapter,
    arguments: dict[str, Any],
    interrupts: list[int],
    quiet: bool,
) -> Explanation:
    columns = (
        *(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("calls")),
        *(TextColumn("{task.fields[rate]}"), TimeRemainingColumn(), TextColumn("left")),
    )
    bar = Progress(*columns, console=messages, disable=quiet or not messages.is_terminal)
    with warnings.catch_warnings(), bar:
        warnings.simplefilter("ignore", iassa.WeakEvidenceWarning)  # `_report` tells them
        task = bar.add_task(Path(photo).name, total=arguments["calls"], rate="")

        def show(progress: iassa.Progress) -> None:
            rate = progress.calls / max(progress.seconds, 1e-9)
            bar.update(task, completed=progress.calls, rate=f"{rate:.0f}/s")

        rounds = method.iterate(
            photo, black_box, **arguments, progress=show, cancel=lambda: bool(interrupts)
        )
        # Stdout is for results: what a black box prints is a message.
        with _writable(folder), redirect_stdout(sys.stderr):
            return last(rounds)


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


@contextmanager
def _graceful_interrupt(quiet: bool) -> Iterator[list[int]]:
    """A list that Ctrl-C fills: the run ends after its batch; a second Ctrl-C ends it at once."""
    interrupts: list[int] = []

    def interrupt(number: int, _frame: FrameType | None) -> None:
        if interrupts:
            raise KeyboardInterrupt
        interrupts.append(number)
        if not quiet:  # written at once: a second signal may come while this one is handled
            os.write(sys.stderr.fileno(), STOPPING)

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield interrupts
    finally:
        signal.signal(signal.SIGINT, before)


def _report(explanation: Explanation, folder: Path, as_json: bool, quiet: bool) -> None:
    explanation.save(folder)
    if not quiet:
        for text in explanation.warnings:
            messages.print(f"[yellow]warning:[/] {escape(text)}")
        for target, score in zip(explanation.targets, explanation.scores, strict=True):
            messages.print(f"{escape(target.name)}: {score:.3g}")
        state = "" if explanation.complete else f"; incomplete: {explanation.stopped}"
        messages.print(
            f"{explanation.calls} calls of {escape(explanation.model)} on {explanation.device}, "
            f"{explanation.seconds:.1f} s{state}"
        )
    if as_json:
        print(json.dumps(json.loads((folder / "explanation.json").read_text("utf-8"))))
        return
    for k in range(len(explanation.targets)):
        typer.echo(os.fsencode(folder / f"overlay-{k}.png"))  # bytes: a name need not be UTF-8
