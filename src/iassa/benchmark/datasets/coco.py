"""MS-COCO: images, and for each category that one shows the outline of that category's objects.

Reads any file in COCO's instances format: polygons, run lengths (RLE) as a list, and compressed run
lengths. A crowd region outlines a heap of objects together with what lies between them, so crowds
are left out of the annotation and counted; a category that an image shows as crowds only is none of
the image's categories.
"""

from __future__ import annotations

import hashlib
import json
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np

from iassa.benchmark.datasets.coco_outline import draw_outline, import_pycocotools
from iassa.benchmark.datasets.sample import Annotated, Dataset, Sample
from iassa.errors import InputError

__all__ = ["Coco"]

Entry = dict[str, Any]

# What an entry must have. Image numbers are sometimes texts, in files that are not COCO's own.
FIELDS: dict[str, dict[str, tuple[type, ...]]] = {
    "images": {"id": (int, str), "file_name": (str,), "height": (int,), "width": (int,)},
    "categories": {"id": (int,), "name": (str,)},
    "annotations": {"image_id": (int, str), "category_id": (int,)},
}


class Coco(Dataset):
    """A folder of images and a file in COCO's instances format.

    Samples are in the order of their file names, categories in that of their numbers. Images of the
    file that are not in the folder are in `missing`.
    """

    kind = "coco"

    def __init__(self, images: Path, annotations: Path) -> None:
        """Read the annotation file; masks are drawn when they are asked for.

        Args:
            images: folder of the image files, where the file names of the annotations are.
            annotations: JSON file in COCO's instances format.

        Raises:
            InputError: pycocotools is not installed; no such folder or file; the file is not JSON
                or not of that format; a file name twice or outside the folder; an annotation of an
                image or a category that is not there; none of the images in the folder.
        """
        import_pycocotools()
        self._file = annotations
        content = _read(annotations)
        self._digest = hashlib.sha256(content).hexdigest()
        table = _parse(content, annotations)
        names = _image_names(table["images"], annotations)
        categories = _category_names(table["categories"], annotations)
        self.categories = tuple(categories.values())
        objects = _group(table["annotations"], names, categories, annotations)
        if not images.is_dir():
            raise InputError(f"expected a folder of images, got {images}. Check the path.")

        samples = []
        missing = []
        self._entries: dict[str, Entry] = {}
        self._objects: dict[str, dict[str, list[Entry]]] = {}
        self._first: dict[str, int] = {}
        num_pairs = 0
        entries = sorted(table["images"], key=lambda entry: str(entry["file_name"]))
        for index, entry in enumerate(entries):
            name = names[entry["id"]]
            found = objects.get(entry["id"], {})
            shown = {
                category: found[number]
                for number, category in categories.items()
                if any(not item.get("iscrowd") for item in found.get(number, []))
            }
            if (images / name).is_file():
                samples.append(Sample(name, images / name, index, tuple(shown)))
                self._entries[name], self._objects[name] = entry, shown
                self._first[name] = num_pairs
            else:
                missing.append(name)
            num_pairs += len(shown)
        if not samples:
            raise InputError(
                f"expected images of {annotations} in {images}, got none of its {len(entries)}"
                + (f", such as {missing[0]}" if missing else "")
                + ". Name the folder that the file names start from."
            )
        self._samples = tuple(samples)
        self.missing = tuple(missing)

    def samples(self) -> Sequence[Sample]:
        """Images in the folder, by file name."""
        return self._samples

    def annotations(self, sample: Sample, size: tuple[int, int]) -> Iterator[Annotated]:
        """For each category the union of its objects that are no crowds; see `Dataset`."""
        entry = self._entries[sample.name]
        declared = (entry["height"], entry["width"])
        if declared != tuple(size):
            raise InputError(
                f"{sample.name}: expected an image of {declared[0]} x {declared[1]} (height x "
                f"width), the size in {self._file.name}, got {size[0]} x {size[1]}. Use the image "
                "that was annotated, neither scaled nor turned."
            )
        return self._draw(sample, declared)

    def describe(self) -> dict[str, Any]:
        """The content of the annotation file; the images have their names and sizes in it."""
        return {"kind": self.kind, "annotations": self._digest}

    def _draw(self, sample: Sample, size: tuple[int, int]) -> Iterator[Annotated]:
        for place, (category, objects) in enumerate(self._objects[sample.name].items()):
            singles = [item for item in objects if not item.get("iscrowd")]
            annotation = np.zeros(size, dtype=np.bool_)
            excluded = ""
            for item in singles:
                try:
                    annotation |= draw_outline(item.get("segmentation"), size)
                except InputError as error:
                    excluded = f"{sample.name}, {category}, annotation {item.get('id')}: {error}"
                    annotation = np.zeros(size, dtype=np.bool_)
                    break
            if not excluded and not annotation.any():
                excluded = "its outlines hold no pixel"
            yield Annotated(
                category,
                annotation,
                num_crowds=len(objects) - len(singles),
                excluded=excluded,
                index=self._first[sample.name] + place,
            )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            f"cannot read the annotations {path}: {error.strerror or error}. Check the path."
        ) from None


def _parse(content: bytes, path: Path) -> dict[str, list[Entry]]:
    """The three lists of the file, each entry with the fields that it must have."""
    try:
        table = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"expected JSON in COCO's instances format in {path}, got what is none: {error}."
        ) from None
    found = list(table) if isinstance(table, dict) else type(table).__name__
    for part, fields in FIELDS.items():
        entries = table.get(part) if isinstance(table, dict) else None
        if not isinstance(entries, list):
            raise InputError(
                f"expected lists of images, annotations and categories in {path}, got "
                f"{reprlib.repr(found)} and no list of {part}. Name a file in COCO's instances "
                "format."
            )
        for place, entry in enumerate(entries):
            for field, kinds in fields.items():
                value = entry.get(field) if isinstance(entry, dict) else None
                if not isinstance(value, kinds) or isinstance(value, bool):
                    raise InputError(
                        f"expected {field} ({' or '.join(kind.__name__ for kind in kinds)}) in "
                        f"{part}[{place}] of {path}, got {reprlib.repr(value)}."
                    )
    return {part: table[part] for part in FIELDS}


def _image_names(entries: list[Entry], path: Path) -> dict[int | str, str]:
    """File names by number of the image, with '/' between folders, all inside the folder."""
    names = {}
    for entry in entries:
        name = entry["file_name"]
        parts = PureWindowsPath(name)  # its separators and drives, and those of POSIX
        if not parts.parts or parts.anchor or ".." in parts.parts or not _is_text(name):
            raise InputError(
                f"expected file names inside the folder of images in {path}, got {name!r}."
            )
        if entry["height"] < 1 or entry["width"] < 1:
            raise InputError(
                f"expected images of 1 x 1 pixel or more in {path}, got {entry['height']} x "
                f"{entry['width']} for {name}."
            )
        names[entry["id"]] = PurePosixPath(name).as_posix()
    _check_unique([entry["id"] for entry in entries], "numbers of images", path)
    _check_unique(list(names.values()), "file names", path)
    return names


def _category_names(entries: list[Entry], path: Path) -> dict[int, str]:
    """Names by number of the category, in the order of the numbers."""
    _check_unique([entry["id"] for entry in entries], "numbers of categories", path)
    _check_unique([entry["name"] for entry in entries], "names of categories", path)
    return {entry["id"]: entry["name"] for entry in sorted(entries, key=lambda each: each["id"])}


def _check_unique(values: list[Any], what: str, path: Path) -> None:
    seen = set()
    for value in values:
        if value in seen:
            raise InputError(f"expected different {what} in {path}, got {value!r} twice.")
        seen.add(value)


def _is_text(name: str) -> bool:
    """Whether a file may have this name: no lone surrogates, no NUL."""
    return not any("\ud800" <= letter <= "\udfff" or letter == "\0" for letter in name)


def _group(
    annotations: list[Entry],
    names: Mapping[int | str, str],
    categories: Mapping[int, str],
    path: Path,
) -> dict[int | str, dict[int, list[Entry]]]:
    """Annotations by number of the image, then of the category."""
    groups: dict[int | str, dict[int, list[Entry]]] = {}
    for place, item in enumerate(annotations):
        for field, known in (("image_id", names), ("category_id", categories)):
            if item[field] not in known:
                raise InputError(
                    f"expected the {field} of an entry in {path}, got {item[field]!r} in "
                    f"annotations[{place}], which is none."
                )
        group = groups.setdefault(item["image_id"], {})
        group.setdefault(item["category_id"], []).append(item)
    return groups
