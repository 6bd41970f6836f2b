"""`iassa report` and `iassa salvage`: the commands that read a run.

They import what they need when they are called, so that `--help` does not wait for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from iassa.cli.terminal import say, show_path, typed
from iassa.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from iassa.benchmark import Entry


def report(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of the run.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder for the report; default: report in RUN.")
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(help="Folder of the images, to show maps over some of them on the page."),
    ] = None,
    pictures: Annotated[
        str | None,
        typer.Option(
            help="How many of them, or which: names of entries, separated by ';'; default: 6."
        ),
    ] = None,
    annotations: Annotated[
        Path | None,
        typer.Option(help="File in COCO's instances format, to outline what is annotated in them."),
    ] = None,
    masks: Annotated[Path | None, typer.Option(help="Folder of mask PNGs, for the same.")] = None,
    photographs: Annotated[
        bool, typer.Option(help="Show them in the Markdown as well, and save them beside it.")
    ] = False,
    methods: Annotated[
        str | None, typer.Option(help="Labels to report, comma-separated; default: all.")
    ] = None,
    reference: Annotated[
        str | None, typer.Option(help="Label that the others are compared with.")
    ] = None,
    compare: Annotated[
        list[str] | None,
        typer.Option(metavar="LABEL@CALLS vs LABEL@CALLS", help="Compare these too; repeatable."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print errors only.")] = False,
) -> None:
    """Write what a run shows: Markdown, one HTML page, CSV files and plots."""
    if images is None and (pictures is not None or photographs):
        option = "--photographs" if pictures is None else "--pictures"
        raise InputError(f"expected --images with {option}, got none. Name the images' folder.")
    from iassa.benchmark.report import write_report

    pairs = [_comparison(text) for text in compare or []]
    written = write_report(
        run_folder,
        out,
        images,
        _pictures("6" if pictures is None else pictures),
        photographs=photographs,
        methods=None if methods is None else [label.strip() for label in methods.split(",")],
        reference=reference,
        compare=pairs,
        outline=_outline(run_folder, images, annotations, masks),
        command=typed(),
    )
    if not quiet:
        say(
            f"{written.finished} of {written.expected} items, {len(written.entries)} entries "
            "compared"
        )
    for path in written.files[:2]:
        show_path(path)


def salvage(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a damaged run.")],
    into: Annotated[Path, typer.Argument(metavar="NEW", help="Folder to make.")],
) -> None:
    """Save what a damaged run still holds into a new run that `iassa benchmark` can continue."""
    from iassa.benchmark import salvage as salvage_run

    saved = salvage_run(run_folder, into)
    say(
        f"saved {len(saved.saved)} items and {saved.images} images; lost "
        f"{len(saved.lost) + saved.unknown} items and {saved.lost_images} images, which the same "
        "command makes again"
    )
    for key in saved.lost[:10]:
        say(f"lost {key.method}: {key.entry}")
    show_path(into)


def _pictures(text: str) -> int | list[str]:
    if re.fullmatch(r"\d{1,12}", text):
        return int(text)
    return [name.strip() for name in text.split(";")]


def _outline(
    run_folder: Path, images: Path | None, annotations: Path | None, masks: Path | None
) -> Callable[[Entry], NDArray[np.bool_] | None] | None:
    """A function that gives the annotation of an entry; None without annotations."""
    if annotations is None and masks is None:
        return None
    if images is None or (annotations is not None and masks is not None):
        raise InputError("expected --images with one of --annotations and --masks. See --help.")
    from iassa.benchmark import Store
    from iassa.benchmark.datasets import Coco
    from iassa.benchmark.report.settings import read_settings
    from iassa.benchmark.selection import entry_key
    from iassa.cli.dataset_options import open_dataset
    from iassa.decoding import Reading

    with Store.read(run_folder) as store:
        run, _ = read_settings(store)
        reading = Reading.of(store.configuration.get("dataset", {}))
    of_objects = "objects" in (run.targets or {})
    kind, boxes = "masks" if annotations is None else "coco", run.dataset.boxes
    dataset = open_dataset(kind, images, annotations, masks, boxes, reading)
    samples = {sample.name: sample for sample in dataset.samples()}
    annotated = dataset.objects if isinstance(dataset, Coco) and of_objects else dataset.annotations

    def find(entry: Entry) -> NDArray[np.bool_] | None:
        for each in annotated(samples[entry.image], entry.size):
            if entry_key(entry.image, each.category, each.number) == entry.key:
                return each.annotation
        return None

    return find


def _comparison(text: str) -> tuple[tuple[str, int], tuple[str, int]]:
    match = re.fullmatch(r"(?i)\s*(\S+)@(\d{1,12})\s+vs\s+(\S+)@(\d{1,12})\s*", text)
    if match is None:
        raise InputError(f"expected --compare as in 'iassa@500 vs rise@1000', got {text!r}.")
    return (match[1], int(match[2])), (match[3], int(match[4]))
