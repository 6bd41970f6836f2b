"""`iassa audit`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Option

from iassa.cli import completing, options, run_options
from iassa.cli.black_box import opened_model
from iassa.cli.explain import Baseline, Method, Settings
from iassa.cli.galleries import (
    Workers,
    be_silent,
    exit_with,
    find_gallery,
    gallery_bar,
    remark_line,
)
from iassa.cli.terminal import graceful_interrupt, say, show_json, show_path, warn
from iassa.cli.wishes import read_fields_of
from iassa.errors import counted, list_some

if TYPE_CHECKING:
    from iassa.auditing import Audit, Following
    from iassa.cli.options import Saving
    from iassa.gallery.entry import Entry
    from iassa.gallery.photos import Photo

Images = Annotated[Path, Option(metavar="DIR", help="Folder of the images.")]
Run = Annotated[Path, Option("--run", metavar="DIR", help="Folder of the audit.")]
Masks = Annotated[
    Path | None,
    Option(
        metavar="DIR",
        help="Folder of a PNG for each image, not 0 where the object is. The folder that an image "
        "lies in is its class.",
    ),
]
Annotations = Annotated[
    Path | None, Option(metavar="FILE", help="In their place: file in COCO's instances format.")
]
Target = Annotated[
    str,
    Option(
        metavar="TARGET",
        autocompletion=completing.targets,
        help="What to explain in every image, as for `explain`; default: what the model says.",
    ),
]
Calls = Annotated[
    int, Option(metavar="N", help="For each map; two calls more hide the object, and all else.")
]
PASSED = (
    *("masks", "annotations", "target", "calls", "seed", "batch_size"),
    *("device", "workers", "ray", "overwrite"),
)
AsJson = Annotated[bool, Option("--json", help="Print what was found as JSON, not its page.")]


def audit(
    context: typer.Context,
    images: Images,
    run_folder: Run,
    masks: Masks = None,
    annotations: Annotations = None,
    classes: run_options.Classes = None,
    target: Target = "top-1",
    method: Method = "iassa",
    set_: Settings = None,
    baseline: Baseline = None,
    calls: Calls = 200,
    seed: options.Seed = 0,
    batch_size: options.BatchSize = None,
    orientation: run_options.Orientation = None,
    white: options.White = None,
    max_pixels: options.MaxPixels = None,
    workers: options.Workers = 1,
    ray: options.Ray = None,
    overwrite: options.Overwrite = False,
    pictures: options.Pictures = "all",
    as_json: AsJson = False,
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
    """Find the images that a model judges by the wrong thing.

    Each image is explained. With masks or annotations the page shows how much
    of its map is off the object, and the score without the object, and with it
    alone. Without them it shows how much is at the border. Either way it shows
    what the maps of one class have in common, as a stamp.

    The same command goes on where it was stopped.

    Examples:
        iassa audit --images photos --masks masks --run run
        iassa audit --images val --annotations instances.json --run run
        iassa audit --images photos --model net.onnx --calls 500 --run run
    """
    from iassa.auditing import audit as audit_images

    saving = options.read_saving(context)
    total = _count(images, Workers(workers, ray))
    name = options.described_model(context) or "efficientnet-lite0"
    with (
        opened_model(name, device, quiet) as opened,
        graceful_interrupt(quiet, "images" if workers != 1 or ray else "batch") as interrupts,
        redirect_stdout(sys.stderr),  # a black box may print
        gallery_bar(total, saving, _describe) as show,
    ):
        found = audit_images(
            images,
            run_folder,
            name,
            method=_open_method(context),
            reading=_reading(context),
            classes=classes or "auto",
            pictures=saving.pictures,
            following=_follow(show, quiet, interrupts),
            opened=opened,
            **{option: context.params[option] for option in PASSED},
        )
    _print(found, saving)
    failures = {str(images / one): text for one, text in found.failures.items()}
    exit_with(failures, len(found.images), total, interrupts, "audited")


def _count(images: Path, workers: Workers) -> int:
    photos = find_gallery([images], None, workers)
    return 1 if photos is None else len(photos.photos)


def _follow(
    show: Callable[[Photo, Entry | str], object], quiet: bool, interrupts: list[int]
) -> Following:
    from iassa.auditing import Following

    remark = be_silent if quiet else remark_line
    return Following(show, remark, warn, lambda: bool(interrupts))


def _open_method(context: typer.Context) -> Any:
    from iassa.methods.registry import open_method

    given = context.params
    fields = read_fields_of(given["method"], given["baseline"], given["set_"] or [])
    with redirect_stdout(sys.stderr):  # a module of the user may print while it is imported
        return open_method(given["method"], **fields)


def _reading(context: typer.Context) -> Any:
    from iassa.cli.dataset_options import choose_reading

    given = context.params
    kind = "coco" if given["annotations"] else "masks" if given["masks"] else "images"
    return choose_reading(kind, given["orientation"], given["white"], given["max_pixels"])


def _describe(entry: Entry) -> str:
    """What the line of an image says."""
    from iassa.auditing.finding import Finding

    finding = Finding.of(entry.facts)
    assert finding is not None, "an audit makes no other entry"
    said = f"{entry.target}: {entry.score:.3g}"
    if finding.off_object is None:
        return f"{said}, {finding.border:.0%} at the border".replace("%", " %")
    return f"{said}, {finding.off_object} off the object"


def _print(found: Audit, saving: Saving) -> None:
    from iassa.auditing.pages import describe_place
    from iassa.auditing.tables import audit_as_json

    if saving.as_json:
        show_json(audit_as_json(found))
    else:
        show_path(found.page)
    if saving.quiet:
        return
    if found.unlabelled:
        warn(f"it is not known which answers are right: {found.unlabelled}")
    if found.without_mask:
        lacking = counted(len(found.without_mask), "image")
        warn(f"{lacking} without a mask: {list_some(found.without_mask)}")
    for place in found.shared:
        say(describe_place(place))
    say(f"{counted(len(found.images), 'image')}, {counted(found.calls, 'call')}, in {found.run}")
