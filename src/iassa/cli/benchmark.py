"""`iassa benchmark`."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from iassa.cli import options, run_options
from iassa.cli.dataset_options import (
    MOSAICS,
    PAIRS,
    SYNTHETIC,
    choose_reading,
    open_dataset,
    open_scenes,
)
from iassa.cli.terminal import (
    BAD,
    complain,
    graceful_interrupt,
    messages,
    say,
    show_json,
    show_path,
    status_of,
    typed,
    warn,
    warnings_as_lines,
    words,
)
from iassa.errors import CancelledError, ImageWarning, InputError, counted, list_some

if TYPE_CHECKING:
    from iassa.benchmark import Outcome, Protocol, Tally
    from iassa.decoding import Reading

DEFAULT_MODELS = {PAIRS: "efficientnet-lite0-features"}


def benchmark(
    context: typer.Context,
    kind: run_options.Kind,
    run_folder: run_options.RunFolder,
    images: run_options.Images = None,
    scenes: run_options.Scenes = None,
    mosaics: run_options.Number = None,
    annotations: run_options.Annotations = None,
    masks: run_options.Masks = None,
    pairs: run_options.Pairs = None,
    boxes: run_options.Boxes = False,
    orientation: run_options.Orientation = None,
    white: options.White = None,
    max_pixels: options.MaxPixels = None,
    methods: run_options.Methods = None,
    method: run_options.Contestant = None,
    calls: run_options.Budgets = "1000",
    limit: run_options.Limit = None,
    min_score: run_options.MinScore = None,
    half: run_options.Half = "both",
    classes: run_options.Classes = None,
    target: run_options.OneTarget = None,
    seed: options.Seed = 0,
    seeds: run_options.Seeds = 1,
    workers: options.Workers = 1,
    ray: options.Ray = None,
    protocol: run_options.ProtocolFields = None,
    as_json: run_options.AsJson = False,
    quiet: options.Quiet = False,
    model: options.Model = None,
    device: options.Device = None,
    range_: options.Range = None,
    mean: options.Mean = None,
    std: options.Std = None,
    softmax: options.Softmax = None,
    sigmoid: options.Sigmoid = None,
    input_size: options.InputSize = None,
    class_names: options.ClassNames = None,
    auth_env: options.AuthEnv = None,
    model_option: options.ModelOption = None,
) -> None:
    """Compare methods on a dataset, at equal numbers of model calls.

    A --method is LABEL=METHOD, then @CALLS, /round and :FIELD=VALUE,... as you
    need them: rise-4000=rise@4000, slic=lime:segmentation=slic, or
    long=iassa-paper@9000/round, measured after every round.

    The same command goes on where it was stopped. `iassa report` reads the run.

    Examples:
        iassa benchmark images --images photos --run run
        iassa benchmark coco --images val --annotations instances.json --run run
        iassa benchmark synthetic --run run --methods iassa,lime --calls 250,500
    """
    from iassa.benchmark import run

    contestants = _contestants(methods, method or [], calls, kind)
    what = _open(context)
    with graceful_interrupt(quiet, "items") as interrupts, _watched(quiet, interrupts) as watching:
        if kind == MOSAICS:
            what |= _compose(context, what, watching, interrupts)
        outcome = run(
            contestants=contestants,
            folder=run_folder,
            seeds=_range(seed, seeds),
            protocol=_protocol(kind, protocol or []),
            command=typed(),
            **{
                name: context.params[name] for name in ("target", "half", "limit", "workers", "ray")
            },
            **what | watching,
        )
    _finish(outcome, context.params, interrupts)


def _open(context: typer.Context) -> dict[str, Any]:
    """The arguments of `run` that say what is explained, and which model is asked."""
    from iassa.gallery.photos import refuse_gallery

    refuse_gallery(context.params["run_folder"], "a benchmark")
    synthetic = context.params["kind"] == SYNTHETIC
    return _open_synthetic(context) if synthetic else _open_dataset(context)


def _open_dataset(context: typer.Context) -> dict[str, Any]:
    """The arguments of `run` that say which images and which model."""
    given = context.params
    kind = given["kind"]
    _refuse(given, kind, "scenes", *(() if kind == MOSAICS else ("mosaics",)))
    reading = _reading(given)
    files = (given["images"], given["annotations"], given["masks"])
    return {
        "dataset": open_dataset(kind, *files, given["boxes"], reading, given["pairs"]),
        "model": options.described_model(context) or DEFAULT_MODELS.get(kind, "efficientnet-lite0"),
        "device": given["device"],
        "classes": given["classes"] or "auto",
        "min_score": given["min_score"],
    }


def _compose(
    context: typer.Context,
    what: dict[str, Any],
    watching: dict[str, Callable[..., Any]],
    interrupts: list[int],
) -> dict[str, Any]:
    """What replaces the images in the arguments of `run`: mosaics of them."""
    from iassa.benchmark import compose_mosaics

    given = context.params
    _refuse(given, MOSAICS, "classes", "target")
    same = {name: given[name] for name in ("device", "seed", "workers", "ray")}
    options: dict[str, Any] = {"model": what["model"], "number": given["mosaics"], **same}
    if given["min_score"] is not None:
        options["min_score"] = given["min_score"]
    try:
        mosaics = compose_mosaics(what["dataset"], given["run_folder"], **options | watching)
    except CancelledError as error:
        complain(f"{error} The same command goes on from here.")
        raise typer.Exit(status_of(interrupts)) from None
    return {"dataset": mosaics, "min_score": None}


def _refuse(given: dict[str, Any], kind: str, *names: str) -> None:
    """Refuse options that belong to other kinds of datasets."""
    for name in names:
        if given[name] is not None:
            raise InputError(f"expected `iassa benchmark {kind}` without --{name}. See --help.")


def _open_synthetic(context: typer.Context) -> dict[str, Any]:
    """The same of `iassa benchmark synthetic`, which brings its own black boxes."""
    from iassa.benchmark.synthetic import SyntheticModel

    given = context.params
    _refuse(given, SYNTHETIC, "mosaics")
    foreign = [name for name in ("annotations", "masks", "pairs", "boxes") if given[name]]
    foreign += [name for name in ("classes", "target", "model", "device") if given[name]]
    if foreign or options.described_model(context):
        wrong = f"--{foreign[0]}"
        raise InputError(
            f"expected `iassa benchmark synthetic` without {wrong}: it brings its own black boxes "
            "and knows their right maps. Leave it out."
        )
    reading = _reading(given)
    scenes = open_scenes(given["run_folder"], given["images"], given["scenes"], reading)
    least = given["min_score"]
    return {"dataset": scenes, "model": SyntheticModel(), "classes": "same", "min_score": least}


def _reading(given: dict[str, Any]) -> Reading:
    return choose_reading(*(given[each] for each in ("kind", "orientation", "white", "max_pixels")))


def _protocol(kind: str, texts: list[str]) -> Protocol:
    """How maps are measured. Where the right place is known, no curve has to stand for it."""
    from iassa.benchmark import Protocol
    from iassa.query import encode_fields, parse_fields

    usual: dict[str, Any] = {"gain_fills": ()} if kind in (SYNTHETIC, MOSAICS) else {}
    usual |= {"other_class": False} if kind == SYNTHETIC else {}  # its classes are black boxes
    return Protocol(**usual | parse_fields(Protocol, encode_fields(texts)))


@contextmanager
def _watched(quiet: bool, interrupts: list[int]) -> Iterator[dict[str, Callable[..., Any]]]:
    """The arguments of `run` that show its progress, and end it after Ctrl-C."""
    with (
        warnings_as_lines(*([ImageWarning] if quiet else [])),
        _bar(quiet) as show,
        redirect_stdout(sys.stderr),  # a module of the user may print while it is imported
    ):
        yield {"progress": show, "cancel": lambda: bool(interrupts)}


def _range(first: int, number: int) -> range:
    from iassa.checks import MOST_ITEMS, Within, take

    return range(first, first + take(number, Annotated[int, Within(1, MOST_ITEMS)], "--seeds"))


def _contestants(
    methods: list[str] | None, own: list[str], calls: str, kind: str
) -> tuple[Any, ...]:
    from iassa.benchmark import read_contestants
    from iassa.methods.registry import METHODS

    usual = [*METHODS] if kind == SYNTHETIC else ["iassa,rise"]
    names = methods or ([] if own else usual)
    labels = [name.strip() for text in names for name in text.split(",")]
    try:
        budgets = sorted({int(one) for one in calls.split(",")})
    except ValueError:
        raise InputError(f"expected --calls as in 500 or 250,500,1000, got {calls!r}.") from None
    return read_contestants(labels, own, budgets)


@contextmanager
def _bar(quiet: bool) -> Iterator[Callable[[Tally], None]]:
    """A progress bar: items done, time gone and left, and how many failed."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskID,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    terminal = messages().is_terminal
    with Progress(
        *(words("{task.description}"), BarColumn(), MofNCompleteColumn()),
        *(TimeElapsedColumn(), TimeRemainingColumn(), words("{task.fields[note]}")),
        console=messages(),
        disable=quiet or not terminal,
    ) as bar:
        tasks: dict[str, TaskID] = {}

        def show(tally: Tally) -> None:
            note = f"{tally.failed} failed" if tally.failed else ""
            if tally.stage not in tasks:
                tasks[tally.stage] = bar.add_task(tally.stage, total=tally.total, note=note)
            bar.update(tasks[tally.stage], completed=tally.done, note=note)
            if tally.last is not None and not quiet and not terminal:
                key = tally.last.key
                say(f"{tally.done}/{tally.total} {key.method}: {key.entry}")

        yield show


def _as_json(outcome: Outcome, folder: Path) -> dict[str, Any]:
    """What became of a run."""
    return {
        "run": str(folder),
        **dataclasses.asdict(outcome),
        "failures": [
            dataclasses.asdict(one.key) | {"error": one.error} for one in outcome.failures
        ],
    }


def _finish(outcome: Outcome, given: dict[str, Any], interrupts: list[int]) -> None:
    """Print what became of a run, and exit with it."""
    from iassa.benchmark.store.records import list_reasons

    folder = given["run_folder"]
    if given["as_json"]:
        show_json(_as_json(outcome, folder))
    if not given["quiet"]:
        if outcome.excluded:
            count = sum(map(len, outcome.excluded.values()))
            say(f"left out {count}: {list_reasons(outcome.excluded)}")
        if outcome.missing:
            some = f"not in the folder, {counted(len(outcome.missing), 'image')}: "
            warn(some + list_some(outcome.missing))
        say(f"{outcome.items} of {outcome.wanted} items, {outcome.made} of them new, in {folder}")
    for failure in outcome.failures[:10]:
        complain(f"{failure.key.method}, {failure.key.entry}: {failure.error}")
    if outcome.cancelled:
        complain("interrupted; all that was done is kept. The same command goes on from here.")
        raise typer.Exit(status_of(interrupts))
    if outcome.failures:
        complain(f"{len(outcome.failures)} failed. The same command tries them again.")
        raise typer.Exit(BAD)
    if outcome.items < outcome.wanted:
        lacking = counted(outcome.wanted - outcome.items, "item")
        complain(f"{lacking} not made yet. Run the same command again.")
        raise typer.Exit(BAD)
    if not given["as_json"]:
        show_path(folder)
