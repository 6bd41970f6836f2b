"""`iassa benchmark`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Annotated, cast, get_args

import typer
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from iassa.benchmark import Outcome, Protocol, Tally, read_contestants, run
from iassa.cli.dataset_options import open_dataset
from iassa.cli.model_options import describes_model
from iassa.cli.terminal import BAD, INTERRUPTED, complain, graceful_interrupt, messages, typed
from iassa.errors import InputError
from iassa.methods.registry import METHODS
from iassa.metrics import Normalisation

__all__ = ["benchmark"]


@describes_model(detectors=False)  # it has no measure for boxes
def benchmark(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="coco|masks|images",
            help="What the images come with: annotations in MS-COCO's format, a mask PNG each, or "
            "nothing (insertion and deletion only).",
        ),
    ],
    images: Annotated[Path, typer.Option(help="Folder of the images.")],
    run_folder: Annotated[Path, typer.Option("--run", help="Folder of the run.")],
    annotations: Annotated[
        Path | None, typer.Option(help="coco: file in COCO's instances format.")
    ] = None,
    masks: Annotated[
        Path | None,
        typer.Option(
            help="masks: folder of PNGs named as the images; what is not 0 is the object."
        ),
    ] = None,
    methods: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Methods with their defaults, comma-separated; repeatable: {', '.join(METHODS)}. "
            "iassa,rise if neither this nor --method is given."
        ),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LABEL=METHOD[@CALLS][/round][:FIELD=VALUE,...]",
            help="A method with settings; repeatable. rise-4000=rise@4000, "
            "slic=lime:segmentation=slic, long=iassa-paper@9000/round (measured after every "
            "round).",
        ),
    ] = None,
    calls: Annotated[
        str,
        typer.Option(
            help="Budgets of model calls at which maps are measured: 500, or 250,500,1000. A "
            "method that keeps its evidence makes no more calls for all than for the last."
        ),
    ] = "1000",
    limit: Annotated[
        int | None,
        typer.Option(help="The most entries to explain, those with the highest scores first."),
    ] = None,
    min_score: Annotated[
        float | None,
        typer.Option(help="That a target must have for the whole image, to be explained."),
    ] = None,
    half: Annotated[
        str,
        typer.Option(
            help="even or odd: the images at such places only, to choose settings on one half and "
            "report on the other; or both."
        ),
    ] = "both",
    classes: Annotated[
        str,
        typer.Option(
            help="Which outputs stand for a category: same (the model's classes are the "
            "categories), imagenet (the shipped table), a JSON file of the classes of each "
            "category; auto looks at the model's class names."
        ),
    ] = "auto",
    target: Annotated[
        str | None,
        typer.Option(
            help="One target to explain in every image: a class, a group or a contrast, "
            "top-1; the classes of the category if not given, top-1 in a dataset without."
        ),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            help="efficientnet-lite0, FILE.onnx, hf:NAME or hf:FOLDER (Hugging Face), a URL, or "
            "package.module:attribute, whose code is run."
        ),
    ] = "efficientnet-lite0",
    device: Annotated[
        str | None,
        typer.Option(help="cpu, cuda, cuda:1, ...; a GPU if there is one, if not given."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same results.")] = 0,
    seeds: Annotated[
        int, typer.Option(help="Explain each with so many seeds, from --seed: how stable are maps?")
    ] = 1,
    workers: Annotated[int, typer.Option(help="Processes on this machine, each on one core.")] = 1,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="A Ray cluster in the place of --workers: auto, ray://host:port.",
        ),
    ] = None,
    pixels_per_step: Annotated[
        int, typer.Option(help="That a step of the insertion and deletion curves changes.")
    ] = 224,
    curve_size: Annotated[
        int | None,
        typer.Option(
            help="Edge in pixels at which insertion and deletion are measured; that which the "
            "model looks at, if not given."
        ),
    ] = None,
    fill: Annotated[float, typer.Option(help="Grey in [0, 1] that deleted pixels show.")] = 0.5,
    normalise: Annotated[
        str,
        typer.Option(
            help="The scores of the curves: none, score (by that of the whole image) or range "
            "(also by that of the image with nothing left)."
        ),
    ] = "none",
    threshold: Annotated[
        float,
        typer.Option(
            help="Of the region whose F1 and IoU are taken: a share of the map's range in [0, 1)."
        ),
    ] = 0.3,
    tolerance: Annotated[
        float, typer.Option(help="Of the tolerant pointing game, in pixels of the image file.")
    ] = 15.0,
    quiet: Annotated[bool, typer.Option(help="No progress and no messages but errors.")] = False,
) -> None:
    """Which map is better? Methods on a dataset, at equal numbers of model calls.

    The same command goes on where it was stopped, however that was. `iassa report` reads the run.
    """
    dataset = open_dataset(kind, images, annotations, masks)
    if methods is None and method is None:
        methods = ["iassa,rise"]
    names = [name.strip() for text in methods or [] for name in text.split(",")]
    contestants = read_contestants(names, method or [], _budgets(calls))
    protocol = Protocol(
        size=None if curve_size is None else (curve_size, curve_size),
        pixels_per_step=pixels_per_step,
        fill=fill,
        normalise=_normalisation(normalise),
        threshold=threshold,
        tolerance=tolerance,
    )
    with (
        _telling_of_interrupts(),
        graceful_interrupt(quiet, "items") as interrupts,
        _bar(quiet) as show,
        redirect_stdout(sys.stderr),  # a module of the user's may print while it is imported
    ):
        outcome = run(
            dataset,
            run_folder,
            contestants,
            model=model,
            device=device,
            classes=classes,
            target=target,
            min_score=min_score,
            half=half,
            limit=limit,
            seeds=range(seed, seed + seeds),
            protocol=protocol,
            workers=workers,
            ray=ray,
            command=typed(),
            progress=show,
            cancel=lambda: bool(interrupts),
        )
    _finish(outcome, run_folder, quiet)


@contextmanager
def _telling_of_interrupts() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:  # the second one; Typer would swallow it
        complain("interrupted; every finished item is kept. The same command goes on from here.")
        raise typer.Exit(INTERRUPTED) from None


def _normalisation(text: str) -> Normalisation:
    for known in get_args(Normalisation):
        if text == known:
            return cast("Normalisation", known)
    known = ", ".join(get_args(Normalisation))
    raise InputError(f"expected --normalise to be one of {known}, got {text!r}.")


def _budgets(text: str) -> tuple[int, ...]:
    try:
        return tuple(sorted({int(one) for one in text.split(",")}))
    except ValueError:
        raise InputError(f"expected --calls as in 500 or 250,500,1000, got {text!r}.") from None


@contextmanager
def _bar(quiet: bool) -> Iterator[Callable[[Tally], None]]:
    """A progress bar: items done, time gone and left, and what the last one was."""
    columns = (
        *(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()),
        *(TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.fields[note]}")),
    )
    terminal = messages.is_terminal
    with Progress(*columns, console=messages, disable=quiet or not terminal) as bar:
        tasks: dict[str, TaskID] = {}

        def show(tally: Tally) -> None:
            note = f"{tally.failed} failed" if tally.failed else ""
            if tally.stage not in tasks:
                tasks[tally.stage] = bar.add_task(tally.stage, total=tally.total, note=note)
            bar.update(tasks[tally.stage], completed=tally.done, note=note)
            if tally.last is not None and not quiet and not terminal:
                key = tally.last.key
                messages.print(escape(f"{tally.done}/{tally.total} {key.method}: {key.entry}"))

        yield show


def _finish(outcome: Outcome, folder: Path, quiet: bool) -> None:
    """Say what became of a run, and exit with it."""
    if not quiet:
        reasons = sorted(outcome.excluded.items(), key=lambda one: -one[1])
        if reasons:
            some = "; ".join(f"{reason} ({count})" for reason, count in reasons[:3])
            more = f"; and {len(reasons) - 3} other reasons" if len(reasons) > 3 else ""
            messages.print(f"left out {sum(outcome.excluded.values())}: {escape(some)}{more}")
        if outcome.missing:
            some = ", ".join(outcome.missing[:3])
            messages.print(
                f"[yellow]warning:[/] {len(outcome.missing)} images are not in the folder: "
                f"{escape(some)}{', ...' if len(outcome.missing) > 3 else ''}"
            )
        messages.print(
            f"{outcome.items} of {outcome.wanted} items, {outcome.made} of them new, in "
            f"{escape(str(folder))}"
        )
    for failure in outcome.failures[:10]:
        complain(f"{failure.key.method}, {failure.key.entry}: {failure.error}")
    if outcome.cancelled:
        complain("interrupted; all that was done is kept. The same command goes on from here.")
        raise typer.Exit(INTERRUPTED)
    if outcome.failures:
        complain(f"{len(outcome.failures)} failed. The same command tries them again.")
        raise typer.Exit(BAD)
    if outcome.items < outcome.wanted:
        complain(f"{outcome.wanted - outcome.items} items are missing. Run the same command again.")
        raise typer.Exit(BAD)
    typer.echo(os.fsencode(folder))  # bytes: a name need not be UTF-8
