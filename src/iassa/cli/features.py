"""`iassa features`: features of attention for a domain of the user's."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from typer import Argument, Option

from iassa.cli import completing, options
from iassa.cli.terminal import (
    complain,
    graceful_interrupt,
    log_lines,
    messages,
    say,
    show_json,
    show_path,
    status_of,
    words,
)
from iassa.errors import CancelledError, IassaError, counted, require

if TYPE_CHECKING:
    from iassa.adapting import Adapted, Step
    from iassa.adapting.views import Domain

DOMAINS = ("photo", "aerial", "xray", "thermal", "texture")  # tests compare them with the views'

Action = Annotated[
    str,
    Argument(
        metavar="ACTION",
        autocompletion=completing.among("adapt"),
        help="adapt, the one that there is: features of attention for images of yours.",
    ),
]
Images = Annotated[
    Path, Option(metavar="DIR", help="Folder of images of the domain, of any sizes.")
]
Out = Annotated[
    Path, Option(metavar="FILE.onnx", help="File to make; --set features=FILE.onnx uses it.")
]
Views = Annotated[
    str,
    Option(
        metavar="|".join(DOMAINS),
        autocompletion=completing.among(*DOMAINS),
        help="What may change without a change of meaning. photo: mirror, light, colours. aerial "
        "and texture: any turn as well. xray and thermal: no colours.",
    ),
]
Minutes = Annotated[
    float,
    Option(metavar="N", help="Most minutes of epochs. No epoch begins that would end later."),
]
Epochs = Annotated[
    int,
    Option(
        metavar="N",
        help="Epochs of DeepCluster, at most; 0: none. As many give the same features.",
    ),
]
Clusters = Annotated[int, Option(metavar="N", help="Clusters of places in the images.")]
Masks = Annotated[
    Path | None,
    Option(
        metavar="DIR",
        help="Folder of mask PNGs of the same names, to judge by objects too. They train nothing.",
    ),
]
EvenIfWorse = Annotated[
    bool, Option("--even-if-worse", help="Save the features also where they got worse.")
]
Overwrite = Annotated[
    bool, Option("--overwrite", help="Write over FILE.onnx, and begin the training anew.")
]
AsJson = Annotated[bool, Option("--json", help="Print what became of it as JSON.")]


def features(
    action: Action,
    images: Images,
    out: Out,
    views: Views = "photo",
    minutes: Minutes = 10.0,
    epochs: Epochs = 2,
    clusters: Clusters = 32,
    masks: Masks = None,
    seed: options.Seed = 0,
    device: Annotated[
        str | None, Option(metavar="NAME", help="cpu, cuda, cuda:1; default: a GPU, if any.")
    ] = None,
    even_if_worse: EvenIfWorse = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Adapt the features of attention to a domain, without labels.

    The embedded network takes over half of the statistics of your images, and is
    trained on them by DeepCluster. It says whether the features got better, on
    images held out. The same command goes on where it was killed.
    `iassa explain --set features=FILE.onnx` uses them.

    Example:
        iassa features adapt --images scans --out scans.onnx --views xray
    """
    require(action == "adapt", f"expected `iassa features adapt`, got {action!r}. See --help.")
    from iassa.adapting import Adaptation, adapt_features

    log_lines(quiet)
    settings = Adaptation(
        views=cast("Domain", views),  # which it checks
        minutes=minutes,
        epochs=epochs,
        clusters=clusters,
        seed=seed,
    )
    with graceful_interrupt(quiet) as interrupts, _bar(quiet) as show:
        try:
            done = adapt_features(
                *(images, out, settings),
                masks=masks,
                even_if_worse=even_if_worse,
                overwrite=overwrite,
                device=device,
                progress=show,
                cancel=lambda: bool(interrupts),
            )
        except CancelledError:
            complain("interrupted. The same command goes on from the last whole epoch.")
            raise typer.Exit(status_of(interrupts)) from None
    _finish(done, as_json=as_json, quiet=quiet)


@contextmanager
def _bar(quiet: bool) -> Iterator[Callable[[Step], object]]:
    """A progress bar: batches of all epochs, the loss, time gone."""
    from rich.progress import BarColumn, Progress, TimeElapsedColumn

    with Progress(
        *(words("epoch {task.fields[epoch]}"), BarColumn(), TimeElapsedColumn()),
        words("{task.fields[note]}"),
        console=messages(),
        disable=quiet or not messages().is_terminal,
    ) as bar:
        task = bar.add_task("", total=None, epoch="1", note="reading images")

        def show(step: Step) -> None:
            bar.update(
                task,
                completed=(step.epoch - 1) * step.steps + step.step,
                total=step.epochs * step.steps,
                epoch=f"{step.epoch}/{step.epochs}",
                note=f"loss {step.loss:.3f}",
            )

        yield show


def _finish(done: Adapted, *, as_json: bool, quiet: bool) -> None:
    """Print what became of it.

    Raises:
        IassaError: the features got worse and were not saved.
    """
    if not quiet:
        say(
            f"trained on {counted(done.images, 'image')}, {counted(done.epochs, 'epoch')} in "
            f"{done.seconds:.0f} s; --epochs {done.epochs} gives the same features again"
        )
        for one in done.judgements:
            say(str(one))
    if as_json:
        show_json(_as_json(done))
    elif done.saved:
        show_path(done.out)
    if not done.saved:
        raise IassaError(
            f"the features got worse, so {done.out} was not written. Try other --views or fewer "
            "--epochs with another --out, or save them with --even-if-worse."
        )


def _as_json(done: Adapted) -> dict[str, Any]:
    """What became of it; no interval, of a single image, is null."""
    found = dataclasses.asdict(done) | {"out": str(done.out)}
    for one in found["judgements"]:
        gap = one["difference"]
        one["difference"] = {k: None if v != v else v for k, v in gap.items()}
    return found
