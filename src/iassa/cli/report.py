"""`iassa report` and `iassa salvage`: the commands that read a run.

They import what they need when they are called, so that `--help` does not wait for it.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from iassa.cli import options
from iassa.cli.terminal import say, show_json, show_path, typed
from iassa.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from iassa.benchmark import Entry
    from iassa.benchmark.report import Report


RunFolder = Annotated[Path, Argument(metavar="RUN", help="Folder of the run.")]
Out = Annotated[
    Path | None, Option(metavar="DIR", help="Folder for the report; default: report in RUN.")
]
Images = Annotated[
    Path | None,
    Option(metavar="DIR", help="Folder of the images, to show maps over some of them on the page."),
]
Pictures = Annotated[
    str | None,
    Option(
        metavar="N|NAMES",
        help="How many of them, or which: names of entries, separated by ';'; default: 6.",
    ),
]
Annotations = Annotated[
    Path | None,
    Option(
        metavar="FILE",
        help="File in COCO's instances format, to outline what is annotated in them.",
    ),
]
Masks = Annotated[Path | None, Option(metavar="DIR", help="Folder of mask PNGs, for the same.")]
Photographs = Annotated[
    bool,
    Option("--photographs", help="Show them in the Markdown as well, and save them beside it."),
]
Methods = Annotated[str | None, Option(metavar="LABEL,...", help="Labels to report; default: all.")]
Reference = Annotated[
    str | None, Option(metavar="LABEL", help="Label that the others are compared with.")
]
Compare = Annotated[
    list[str] | None,
    Option(metavar="LABEL@CALLS vs LABEL@CALLS", help="Compare these too; repeatable."),
]
AsJson = Annotated[bool, Option("--json", help="Print means, differences and files as JSON.")]


def report(
    run_folder: RunFolder,
    out: Out = None,
    images: Images = None,
    pictures: Pictures = None,
    annotations: Annotations = None,
    masks: Masks = None,
    photographs: Photographs = False,
    methods: Methods = None,
    reference: Reference = None,
    compare: Compare = None,
    as_json: AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Write what a run shows: Markdown, one HTML page, CSV files and plots.

    Examples:
        iassa report run
        iassa report run --images photos --compare "iassa@500 vs rise@1000"
    """
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
    if as_json:
        show_json(_as_json(written))
    for path in () if as_json else written.files[:2]:
        show_path(path)


def salvage(
    run_folder: Annotated[Path, Argument(metavar="RUN", help="Folder of a damaged run.")],
    into: Annotated[Path, Argument(metavar="NEW", help="Folder to make.")],
    as_json: Annotated[bool, Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Save what a damaged run still holds into a new run that `iassa benchmark` can continue.

    Example:
        iassa salvage run saved
    """
    from iassa.benchmark import salvage as salvage_run

    saved = salvage_run(run_folder, into)
    say(
        f"saved {len(saved.saved)} items and {saved.images} images; lost "
        f"{len(saved.lost) + saved.unknown} items and {saved.lost_images} images, which the same "
        "command makes again"
    )
    for key in saved.lost[:10]:
        say(f"lost {key.method}: {key.entry}")
    if as_json:
        show_json({"run": str(into), **dataclasses.asdict(saved)})
    else:
        show_path(into)


def _as_json(written: Report) -> dict[str, Any]:
    """The numbers of a report, those that are missing as null, and where they are written."""
    from iassa.benchmark.report.data_files import as_rows

    return {
        "folder": str(written.folder),
        "files": [*map(str, written.files)],
        "finished": written.finished,
        "expected": written.expected,
        "entries": len(written.entries),
        "means": [*map(_without_nan, as_rows(written.means))],
        "differences": [*map(_without_nan, as_rows(written.differences))],
    }


def _without_nan(row: dict[str, Any]) -> dict[str, Any]:
    return {name: None if value != value else value for name, value in row.items()}


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
