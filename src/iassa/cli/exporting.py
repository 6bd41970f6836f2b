"""`iassa export`: regions in a format that others read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

import iassa
from iassa.cli import options
from iassa.cli.dataset_options import choose_reading
from iassa.cli.terminal import say, show_json, show_path
from iassa.errors import InputError, counted, list_some, require
from iassa.files import is_there, write_whole

Saved = Annotated[
    Path,
    Argument(metavar="DIR", help="Folder of a saved explanation, or of several folders with one."),
]
Coco = Annotated[bool, Option("--coco", help="Instances of MS-COCO as run lengths, and masks.")]
Share = Annotated[
    float | None, Option(metavar="SHARE", help="The highest part of the map: so much of the image.")
]
Mass = Annotated[
    float | None, Option(metavar="SHARE", help="... so much of the sum of all positive pixels.")
]
Level = Annotated[
    float | None,
    Option(metavar="SHARE", help="... all from this share of the peak on; default: 0.3."),
]
AsJson = Annotated[bool, Option("--json", help="Print the annotations, not where they are.")]
Out = Annotated[Path | None, Option(metavar="DIR", help="Folder for the files; default: DIR/coco.")]


def export(
    directory: Saved,
    coco: Coco = False,
    share: Share = None,
    mass: Mass = None,
    level: Level = None,
    max_pixels: options.MaxPixels = None,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Write the regions of maps as COCO annotations and mask PNGs.

    Without --share, --mass and --level it is the region that was verified to
    keep the score, where there is one. Each connected component is an
    annotation, the name of the target its category.

    Example:
        iassa export explanations/photo --coco
    """
    require(coco, "expected --coco, the one format there is, got none. Add it.")
    from iassa.explanations.coco import INSTANCES, export_coco, find_saved, list_exported

    found = find_saved(directory)
    saved = ((name, _load(folder, max_pixels)) for name, folder in found.items())
    files = export_coco(saved, share=share, mass=mass, level=level)
    folder = out or directory / "coco"
    earlier = list_exported(folder)
    there = [name for name in files if name not in earlier and is_there(folder / name)]
    require(
        not there,
        f"expected {folder} without files of yours that have names of ours, got "
        f"{list_some(there)}. Move them, or choose another --out.",
    )
    write_whole(folder, files)
    for name in earlier - files.keys():
        (folder / name).unlink(missing_ok=True)
    say(f"{counted(len(files) - 1, 'mask')} of {counted(len(found), 'explanation')}")
    if as_json:
        show_json(json.loads(files[INSTANCES]))
    else:
        show_path(folder / INSTANCES)


def _load(folder: Path, max_pixels: int | None) -> iassa.Explanation:
    try:
        one = iassa.Explanation.load(folder)
    except InputError as error:  # it may be one of many
        raise InputError(f"{folder}: {error}") from error
    most = choose_reading("images", None, None, max_pixels).max_pixels
    height, width = one.image_size
    require(
        height * width <= most,
        f"expected the map of an image of at most {most} pixels in {folder}, got {height} x "
        f"{width} (height x width), to which it would be enlarged. Allow more: --max-pixels N.",
    )
    return one
