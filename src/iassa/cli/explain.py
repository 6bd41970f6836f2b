"""`iassa explain` and `iassa extend`."""

from __future__ import annotations

import json
import math
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
)

import iassa
from iassa.cli.asked_model import BoxTexts, MeasureName, SimilarTo, opened
from iassa.cli.model_options import describes_model
from iassa.cli.terminal import BAD, INTERRUPTED, complain, graceful_interrupt, messages
from iassa.errors import BlackBoxError, CancelledError, InputError, WeakEvidenceWarning
from iassa.explanations.explanation import Explanation, RunFailedError
from iassa.files import check_writable
from iassa.image import EXAMPLES
from iassa.masks.baselines import FILLS
from iassa.methods.registry import METHODS, open_method, read_fields
from iassa.models import efficientnet_lite0

__all__ = ["explain", "extend"]

Show = Callable[[iassa.Progress], object]

Seconds = Annotated[float | None, typer.Option(help="Time budget for an image.")]
Tolerance = Annotated[
    float | None,
    typer.Option(
        help="Stop once the map is known this well: the standard error where the map is high, as a "
        "share of its peak. 0.1 takes some hundreds of calls, 0.05 some thousands.",
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option(help="The most images in a batch; 16 on a CPU and 128 on a GPU, if not given."),
]
Device = Annotated[
    str | None,
    typer.Option(help="cpu, cuda, cuda:1, ...; a GPU if there is one, if not given."),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print explanation.json on stdout, a line an image.")
]
Quiet = Annotated[bool, typer.Option(help="No progress and no messages but errors.")]


@describes_model(detectors=True)
def explain(
    images: Annotated[
        list[Path] | None, typer.Argument(metavar="IMAGE...", help="Image files.")
    ] = None,
    example: Annotated[
        str | None,
        typer.Option(help=f"A bundled photograph instead: {' or '.join(EXAMPLES)}."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="efficientnet-lite0 (default), efficientnet-lite0-features (default with "
            "--similar-to), FILE.onnx, hf:NAME or hf:FOLDER (Hugging Face), a URL, or "
            "package.module:attribute, whose code is run."
        ),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            help="What to explain; may be repeated. top-1 (default), top-5, a class by name or "
            "index, a group '281,282,tabby', a contrast 'tabby vs Egyptian cat', or "
            "package.module:function of the scores, (N, K) -> (N,), whose code is run. With "
            "--similar-to its images are the classes, by their file names; all by default. Of a "
            "detector the boxes found are the classes: 'dog', or of several 'dog 2'."
        ),
    ] = None,
    box: BoxTexts = None,
    similar_to: SimilarTo = None,
    measure: MeasureName = None,
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
    seconds: Seconds = None,
    tolerance: Tolerance = None,
    seed: Annotated[int, typer.Option(help="Same seed, same map.")] = 0,
    batch_size: BatchSize = None,
    keep: Annotated[
        str,
        typer.Option(
            help="How many of the highest outputs to keep the scores of, beside the targets', or "
            "all: `iassa extend --target` explains any of them later without a call."
        ),
    ] = "10",
    device: Device = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the results; explanations/IMAGE'S NAME if not given."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="FIELD=VALUE", help="A hyperparameter of the method; repeatable."
        ),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Explain what a model looks at in an image."""
    photos = _photos(images or [], example, out)
    fill = [] if baseline is None else [f"baseline={baseline}"]
    with redirect_stdout(sys.stderr):  # a module of the user's may print while it is imported
        chosen = open_method(method, **read_fields(method, fill + (set_ or [])))
    by_default = range(len(similar_to)) if similar_to else f"top-{len(box) if box else 1}"
    options: dict[str, Any] = {
        "target": target or by_default,
        "calls": calls,
        "max_seconds": seconds,
        "tolerance": tolerance,
        "seed": seed,
        "batch_size": batch_size,
        "keep_scores": "all" if keep == "all" else _whole_number(keep),
        "device": device,
    }

    name = model or (efficientnet_lite0.FEATURES if similar_to else efficientnet_lite0.NAME)
    asked = opened(
        name, device, quiet, similar_to=similar_to, measure=measure, box=box, photos=photos
    )
    with asked as black_box:

        def make(photo: str, progress: Show, cancel: Callable[[], bool]) -> Explanation:
            return iassa.explain(
                photo, black_box, method=chosen, **options, progress=progress, cancel=cancel
            )

        _make_all(photos, make, calls, as_json, quiet)


@describes_model(detectors=True)
def extend(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where it was saved.")],
    model: Annotated[
        str | None,
        typer.Option(
            help="The model that was asked before, as `explain` takes it; only efficientnet-lite0 "
            "and its features need not be named."
        ),
    ] = None,
    similar_to: Annotated[
        list[str] | None,
        typer.Option(
            metavar="IMAGE", help="What it was compared with, as `explain` took it; repeatable."
        ),
    ] = None,
    measure: MeasureName = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            help="Explain another target from the same masks, without a call, in the place of "
            "more masks; may be repeated."
        ),
    ] = None,
    calls: Annotated[
        int | None, typer.Option(help="Model calls to add at most; 1000 if not given.")
    ] = None,
    seconds: Seconds = None,
    tolerance: Tolerance = None,
    batch_size: BatchSize = None,
    device: Device = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the results; DIR if not given.")
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Go on from a saved explanation, as if all calls had been asked for at once."""
    saved = Explanation.load(directory)
    folders = {str(directory): out or directory}
    if target is not None:
        of_run = (model, similar_to, measure, device, calls, seconds, tolerance, batch_size)
        if any(one is not None for one in of_run):
            raise InputError(
                "expected --target without the options of a run, as another target takes no calls. "
                "Explain it first, then extend the result."
            )
        _make_all(folders, lambda *_: iassa.retarget(saved, target), 0, as_json, quiet)
        return
    # A name from a file must not run code, as that of a module would.
    known = efficientnet_lite0.FEATURES if similar_to else saved.model
    if model is None and known not in efficientnet_lite0.NAMES:
        raise InputError(_unknown(saved.model))
    more = 1000 if calls is None else calls
    asked = opened(model or known, device, quiet, similar_to=similar_to, measure=measure)
    with asked as black_box:

        def make(_folder: str, progress: Show, cancel: Callable[[], bool]) -> Explanation:
            return iassa.extend(
                saved,
                black_box,
                calls=more,
                max_seconds=seconds,
                tolerance=tolerance,
                batch_size=batch_size,
                progress=progress,
                cancel=cancel,
            )

        _make_all(folders, make, saved.calls + more, as_json, quiet)


def _unknown(model: str) -> str:
    """What to name of a model that a saved file cannot open."""
    option = "model"
    wanted = (
        "it as before: FILE.onnx, hf:NAME or the URL with its options, or package.module:attribute"
    )
    if model.startswith(f"{efficientnet_lite0.FEATURES} "):
        option, wanted = "similar-to", "each image as before, and --measure"
    return (
        f"expected --{option}: how to open {model}, which was asked before, is not saved. "
        f"Name {wanted}."
    )


def _whole_number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise InputError(f"expected --keep to be a whole number or all, got {text!r}.") from None


def _make_all(
    folders: dict[str, Path],
    make: Callable[[str, Show, Callable[[], bool]], Explanation],
    calls: int,
    as_json: bool,
    quiet: bool,
) -> None:
    """Make and save an explanation for each folder, and exit with what became of them."""
    bad = 0
    with graceful_interrupt(quiet) as interrupts:
        for name, folder in folders.items():
            try:
                with _writable(folder), _bar(Path(name).name, calls, quiet) as show:
                    explanation = make(name, show, lambda: bool(interrupts))
                _report(explanation, folder, as_json, quiet)
            except BlackBoxError as error:
                saved = ""
                if isinstance(error, RunFailedError):
                    _report(error.explanation, folder, as_json, quiet)
                    saved = (
                        f" The map of the {error.explanation.calls} calls so far is in {folder}."
                    )
                complain(f"{name}: {error}{saved}" if len(folders) > 1 else f"{error}{saved}")
                bad = BAD
            except CancelledError as error:
                complain(str(error))
            except KeyboardInterrupt:  # the second one; Typer would swallow it
                complain("interrupted; nothing of this image was saved.")
            except InputError as error:
                complain(str(error))  # the other images are not to blame
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


@contextmanager
def _bar(name: str, calls: int, quiet: bool) -> Iterator[Show]:
    """A progress bar: calls done, rate and time left."""
    columns = (
        *(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("calls")),
        *(TextColumn("{task.fields[rate]}"), TextColumn("{task.fields[left]}")),
        TextColumn("{task.fields[known]}"),
    )
    bar = Progress(*columns, console=messages, disable=quiet or not messages.is_terminal)
    # Stdout is for results: what a black box prints is a message.
    with warnings.catch_warnings(), bar, redirect_stdout(sys.stderr):
        warnings.simplefilter("ignore", WeakEvidenceWarning)  # `_report` tells them
        task = bar.add_task(name, total=calls, rate="", left="", known="")

        def show(progress: iassa.Progress) -> None:
            left = timedelta(seconds=round(min(progress.seconds_left, 1e8)))
            latest = progress.explanation
            known = latest is not None and math.isfinite(latest.relative_error)
            bar.update(
                task,
                completed=progress.calls,
                rate=f"{progress.rate:.0f}/s",
                left=f"{left} left",
                known=f"±{latest.relative_error:.0%}" if latest is not None and known else "",
            )

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


def _precision(explanation: Explanation) -> str:
    if not math.isfinite(explanation.relative_error):
        return "standard error not known"
    return f"standard error {explanation.relative_error:.1%} of the peak"


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
            f"{explanation.seconds:.1f} s, {_precision(explanation)}{state}"
        )
    if as_json:
        print(json.dumps(json.loads((folder / "explanation.json").read_text("utf-8"))))
        return
    for k in range(len(explanation.targets)):
        typer.echo(os.fsencode(folder / f"overlay-{k}.png"))  # bytes: a name need not be UTF-8
