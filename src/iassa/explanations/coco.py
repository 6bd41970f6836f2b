"""Regions as others read them: instances in the format of MS-COCO, and a mask of each target.

An annotation is one connected component of the region of one target, as `boxes` has it. Its run
lengths count pixels down the columns of the image as it was given, those outside of it first.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iassa.archives import read_json
from iassa.errors import InputError, require, warn
from iassa.explanations.explanation import Explanation
from iassa.explanations.original import digest_image
from iassa.explanations.record import RECORD
from iassa.explanations.regions import Component, choose_rule, split_region
from iassa.files import read_whole
from iassa.image import encode_png

INSTANCES = "instances.json"
MASK = re.compile(r"[^/\\\0]+-\d+\.png")  # as `export_coco` names them
DESCRIPTION = "Regions that a model relies on, by iassa"


def export_coco(
    explanations: Iterable[tuple[str, Explanation]],
    *,
    share: float | None = None,
    mass: float | None = None,
    level: float | None = None,
) -> dict[str, bytes]:
    """The regions of explanations as files.

    Without a rule it is the region that keeps the score by the first fill, where the explanation
    was verified; else that of `Explanation.region` at 0.3 of the peak.

    Args:
        explanations: each with a name of its own.
        share: see `Explanation.region`.
        mass: see there.
        level: see there.

    Returns:
        By name: `instances.json`, and `<name>-<k>.png` for each target with a region, (H, W) of 8
        bits, 255 inside.

    Raises:
        InputError: several rules, or no region with a pixel in any of them.

    Warns:
        UserWarning: a target has no region.
    """
    by_rule = choose_rule(share, mass, level) is not None
    files: dict[str, bytes] = {}
    images: dict[str, dict[str, Any]] = {}
    categories: dict[str, int] = {}
    annotations: list[dict[str, Any]] = []
    for name, one in explanations:
        digest = digest_image(one.image, one.original)
        image = images.setdefault(digest, _describe_image(name, one, 1 + len(images)))
        for k, target in enumerate(one.targets):
            try:
                kept = None if by_rule or one.check is None else one.check.statements[k][0].keeps
                if kept is None:
                    region = one.region(k, share=share, mass=mass, level=level, full_size=True)
                else:
                    region = one.enlarge(kept.region.astype(np.float32)) >= np.float32(0.5)
                parts = split_region(region)
            except InputError as error:
                warn(f"{name}, {target.name}: no region is exported: {error}", UserWarning)
                continue
            files[f"{name}-{k}.png"] = _mask_png(region)
            category = categories.setdefault(target.name, 1 + len(categories))
            for part in parts:
                about = {"image_id": image["id"], "category_id": category, "score": one.scores[k]}
                annotations.append({"id": 1 + len(annotations), **about, **_describe_part(part)})
    require(
        annotations,
        "expected a map with a region to export, got none: no map is positive anywhere. Choose a "
        "region by --share.",
    )
    names = Counter(image["file_name"] for image in images.values())
    for image in images.values():  # two files of one name in two folders
        path = image.pop("path")
        image["file_name"] = image["file_name"] if names[image["file_name"]] == 1 else path
    content = {
        "info": {"description": DESCRIPTION, "masks": [*files]},
        "images": [*images.values()],
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for name, number in categories.items()],
    }
    return {INSTANCES: (json.dumps(content) + "\n").encode(), **files}


def find_saved(directory: Path) -> dict[str, Path]:
    """The saved explanations of a folder, by name: it is one, or holds one in each of its own.

    Raises:
        InputError: there is none.
    """
    if (directory / RECORD).exists():
        return {directory.resolve().name: directory}
    folders = sorted(directory.iterdir()) if directory.is_dir() else []
    found = {folder.name: folder for folder in folders if (folder / RECORD).exists()}
    require(
        found,
        f"expected a saved explanation in {directory}, or folders with one each, got no {RECORD}. "
        "Name the --out of iassa explain.",
    )
    return found


def list_exported(directory: Path) -> set[str]:
    """The files of an earlier export in a folder, whose place a new one may take; none else."""
    try:
        content = read_json(read_whole(directory / INSTANCES), INSTANCES)
    except InputError:
        return set()
    info = content.get("info") if isinstance(content, dict) else None
    if not isinstance(info, dict) or info.get("description") != DESCRIPTION:
        return set()
    masks = info.get("masks")
    named = [name for name in masks if isinstance(name, str)] if isinstance(masks, list) else []
    # The file may be anyone's: it can name files of this folder alone, and only pictures.
    return {INSTANCES, *(name for name in named if MASK.fullmatch(name))}


def run_lengths(component: Component) -> list[int]:
    """Lengths of the runs of 0 and of 1 in turn, down the columns of its region, from 0 on.

    Example:
        >>> run_lengths(Component((2, 2), 0, 0, np.array([[True, False], [True, True]])))
        [0, 2, 1, 1]
    """
    height, width = component.size
    columns, rows = np.nonzero(component.mask.T)
    pixels = (component.left + columns) * height + component.top + rows
    breaks = np.flatnonzero(np.diff(pixels) != 1)
    begins, ends = pixels[np.r_[0, breaks + 1]], pixels[np.r_[breaks, -1]] + 1
    turns = np.column_stack([begins, ends]).ravel()
    lengths: list[int] = np.diff(np.r_[0, turns, height * width]).tolist()
    return lengths if lengths[-1] else lengths[:-1]


def _describe_image(name: str, one: Explanation, number: int) -> dict[str, Any]:
    height, width = one.image_size
    path = f"{name}.png" if one.source is None else one.source
    file_name = Path(path).name
    return {
        "id": number,
        "file_name": file_name,
        "path": path,
        "height": height,
        "width": width,
    }


def _describe_part(part: Component) -> dict[str, Any]:
    top, left, bottom, right = part.box(part.size)
    return {
        "segmentation": {"size": list(part.size), "counts": run_lengths(part)},
        "area": int(part.mask.sum()),
        "bbox": [left, top, right - left, bottom - top],
        "iscrowd": 0,
    }


def _mask_png(region: NDArray[np.bool_]) -> bytes:
    return encode_png(region.astype(np.uint8) * np.uint8(255))
