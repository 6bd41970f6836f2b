"""MS-COCO: images, and for each category in an image the outline of its objects.

Reads any file in COCO's instances format: polygons, run lengths (RLE) as a list, and compressed run
lengths. A crowd region outlines several objects together with what lies between them. So crowds are
not drawn, and a category that an image shows only as crowds does not count as one of the image's
categories.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np

from iassa.benchmark.datasets.coco_outline import (
    box_corners,
    box_outline,
    check_units,
    draw_outline,
    extent,
    import_pycocotools,
)
from iassa.benchmark.datasets.sample import Annotated, Dataset, Sample
from iassa.decoding import STORED, Reading
from iassa.errors import InputError, list_some, show
from iassa.files import read_whole, user_path

Record = dict[str, Any]

# The fields that a record must have. Some files that are not COCO's own have texts as image ids.
FIELDS: dict[str, dict[str, tuple[type, ...]]] = {
    "images": {"id": (int, str), "file_name": (str,), "height": (int,), "width": (int,)},
    "categories": {"id": (int,), "name": (str,)},
    "annotations": {"image_id": (int, str), "category_id": (int,)},
}
LARGEST_SIDE = 1_000_000  # pixels
UNIQUE = {"images": ("id",), "categories": ("id", "name"), "annotations": ()}


@dataclass(frozen=True)
class _Image:
    """An image of the annotation file.

    Attributes:
        size: (height, width) in the file.
        objects: records of the objects, by name of their category.
    """

    size: tuple[int, int]
    objects: Mapping[str, list[Record]]


class Coco(Dataset):
    """A folder of images and a file in COCO's instances format.

    Samples are in the order of their file names, categories in that of their ids. Images of the
    file that are not in the folder are in `missing`.
    """

    kind = "coco"

    def __init__(
        self, images: Path, annotations: Path, reading: Reading = STORED, boxes: bool = False
    ) -> None:
        """Read the annotation file. Masks are drawn later, when `annotations` is called.

        Args:
            images: folder of the image files; the file names of the annotations start from it.
            annotations: JSON file in COCO's instances format.
            reading: how the images are read: as stored by default, as COCO's outlines are of these.
            boxes: whether the box of an object is its region where it has no outline.

        Raises:
            InputError: pycocotools is not installed; a folder or file does not exist; the file is
                not JSON or not of that format; its outlines are in shares of the image; a file name
                occurs twice or lies outside the folder; an annotation has an unknown image or
                category; the folder has none of the images.
        """
        import_pycocotools()
        images, annotations = user_path(images), user_path(annotations)
        self._file, self._boxes, self.reading = annotations, boxes, reading
        content = read_whole(annotations, "the annotations")
        self._digest = hashlib.sha256(content).hexdigest()
        table = _parse(content, annotations)
        check_units(
            (
                item.get("segmentation") or (boxes and [item.get("bbox")])
                for item in table["annotations"]
            ),
            annotations,
        )
        names = _image_names(table["images"], images, annotations)
        categories = dict(sorted((each["id"], each["name"]) for each in table["categories"]))
        self.categories = tuple(categories.values())
        objects = _group_objects(table["annotations"], names, categories, annotations)
        if not images.is_dir():
            raise InputError(f"expected a folder of images, got {images}. Check the path.")
        samples = []
        missing = []
        self._images: dict[str, _Image] = {}
        records = sorted(table["images"], key=lambda record: str(record["file_name"]))
        for index, record in enumerate(records):
            name = names[record["id"]]
            found = objects.get(record["id"], {})
            shown = {label: found[key] for key, label in categories.items() if key in found}
            if _is_there(images, name, annotations):
                samples.append(Sample(name, images / name, index, tuple(shown)))
                size = (record["height"], record["width"])
                self._images[name] = _Image(size, shown)
            else:
                missing.append(name)
        if not samples:
            raise InputError(
                f"expected images of {annotations} in {images}, got none of its {len(records)}"
                + (f", such as {list_some(missing[:1])}" if missing else "")
                + ". Name the folder that the file names start from."
            )
        self._samples = tuple(samples)
        self.missing = tuple(missing)

    def samples(self) -> Sequence[Sample]:
        """Images in the folder, by file name."""
        return self._samples

    def annotations(self, sample: Sample, size: tuple[int, int]) -> Iterator[Annotated]:
        """For each category the union of its objects; see `Dataset`."""
        return self._draw(self._image(sample, size))

    def objects(self, sample: Sample, size: tuple[int, int]) -> Iterator[Annotated]:
        """Each object by itself, with its box; see `annotations`.

        The box of an object is its region where it has no outline. The extent of its outline is its
        box where the file has none.
        """
        for category, objects in self._image(sample, size).objects.items():
            for number, item in enumerate(objects, 1):
                yield _one_object(category, number, item, size)

    def _image(self, sample: Sample, size: tuple[int, int]) -> _Image:
        image = self._images[sample.name]
        if image.size != tuple(size):
            height, width = image.size
            raise InputError(
                f"expected an image of {height} x {width} (height x width), the size in "
                f"{self._file.name}, got {size[0]} x {size[1]}. Use the annotated image, "
                f"neither scaled nor turned.{self._turned(image.size, size)}"
            )
        return image

    def describe(self) -> dict[str, Any]:
        """The digest of the annotation file, which holds names and sizes of the images."""
        boxes = {"boxes": True} if self._boxes else {}
        described = {"kind": self.kind, "annotations": self._digest}
        return described | boxes | self.reading.describe()

    def _outline(self, item: Record) -> Any:
        outline = item.get("segmentation")
        return box_outline(item.get("bbox")) if self._boxes and not outline else outline

    def _draw(self, image: _Image) -> Iterator[Annotated]:
        for category, objects in image.objects.items():
            annotation = np.zeros(image.size, dtype=np.bool_)
            excluded = ""
            for item in objects:
                try:
                    annotation |= draw_outline(self._outline(item), image.size)
                except InputError as error:
                    alone = item.get("bbox") and not (item.get("segmentation") or self._boxes)
                    hint = " It has a box; to take boxes, say --boxes." if alone else ""
                    excluded = f"{error}{hint}"
                    annotation = np.zeros(image.size, dtype=np.bool_)
                    break
            if not excluded and not annotation.any():
                excluded = "its outlines hold no pixel"
            yield Annotated(category, annotation, excluded)


def _one_object(category: str, number: int, item: Record, size: tuple[int, int]) -> Annotated:
    outline, box = item.get("segmentation"), item.get("bbox")
    try:
        annotation = draw_outline(outline or box_outline(box), size)
        if not annotation.any():
            raise InputError("its outlines hold no pixel")
        corners = extent(annotation) if box is None else box_corners(box)
    except InputError as error:
        return Annotated(category, np.zeros(size, np.bool_), str(error), number=number)
    return Annotated(category, annotation, number=number, box=corners)


def _parse(content: bytes, path: Path) -> dict[str, list[Record]]:
    """The three lists of the file, each record with the fields that it must have."""
    try:
        table = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"expected JSON in COCO's instances format in {path}, got something else ({error}). "
            "Name another file."
        ) from None
    found = table if isinstance(table, dict) else {}
    for part, fields in FIELDS.items():
        if not isinstance(found.get(part), list):
            got = show(list(found)) if found else type(table).__name__
            raise InputError(
                f"expected lists of images, annotations and categories in {path}, got {got} and no "
                f"list of {part}. Name a file in COCO's instances format."
            )
        for place, record in enumerate(found[part]):
            for field, kinds in fields.items():
                value = record.get(field) if isinstance(record, dict) else None
                if not isinstance(value, kinds) or isinstance(value, bool):
                    expected = " or ".join(kind.__name__ for kind in kinds)
                    raise InputError(
                        f"expected {field} ({expected}) in {part}[{place}] of {path}, got "
                        f"{show(value)}. Correct the file."
                    )
                # A category becomes a name in a database. A name of a file has its own error.
                if field == "name" and not _is_text(str(value)):
                    raise InputError(
                        f"expected text without lone surrogates and NUL in {part}[{place}] of "
                        f"{path}, got {show(value)}. Correct the file."
                    )
        for field in UNIQUE[part]:
            _check_unique(field, [record[field] for record in found[part]], f"{part} of {path}")
    return {part: found[part] for part in FIELDS}


def _image_names(records: list[Record], images: Path, path: Path) -> dict[int | str, str]:
    """File names by image id, with '/' between folders, all inside the folder."""
    names = {}
    for record in records:
        name, height, width = record["file_name"], record["height"], record["width"]
        parts = PureWindowsPath(name)  # knows the separators and drives of POSIX, too
        if not parts.parts or parts.anchor or ".." in parts.parts or not _is_text(name):
            got = show(name)
            raise InputError(f"expected file names inside the folder in {path}, got {got}.")
        if not (1 <= height <= LARGEST_SIDE and 1 <= width <= LARGEST_SIDE):
            raise InputError(
                f"expected images of 1 x 1 pixel or more in {path}, with sides of at most "
                f"{LARGEST_SIDE}, got {show(height)} x {show(width)} for {show(name)}. Correct the "
                "file."
            )
        plain = PurePosixPath(name).as_posix()
        # A file of Windows; elsewhere a backslash may be a letter of a name.
        names[record["id"]] = plain if _is_there(images, plain, path) else parts.as_posix()
    _check_unique("file_name", list(names.values()), f"images of {path}")
    return names


def _is_there(images: Path, name: str, path: Path) -> bool:
    try:
        return (images / name).is_file()
    except OSError as error:  # of a name that is too long, and of a folder that may not be read
        raise InputError(
            f"cannot look for {show(name)} of {path} in {images}: {error.strerror or error}. "
            "Correct the name, or the rights of the folder."
        ) from None


def _check_unique(field: str, values: list[Any], where: str) -> None:
    twice = [value for value, count in Counter(values).items() if count > 1]
    if twice:
        raise InputError(f"expected each {field} once in {where}, got {show(twice[0])} twice.")


def _is_text(name: str) -> bool:
    """Whether a file may have this name: no lone surrogates, no NUL."""
    return not any("\ud800" <= letter <= "\udfff" or letter == "\0" for letter in name)


def _group_objects(
    annotations: list[Record],
    names: Mapping[int | str, str],
    categories: Mapping[int, str],
    path: Path,
) -> dict[int | str, dict[int, list[Record]]]:
    """Annotations that are no crowds, by image id, then by category id."""
    groups: dict[int | str, dict[int, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for place, item in enumerate(annotations):
        for field, known in (("image_id", names), ("category_id", categories)):
            if item[field] not in known:
                raise InputError(
                    f"expected the {field} of an entry in {path}, got {show(item[field])} in "
                    f"annotations[{place}]. Correct the file."
                )
        if not item.get("iscrowd"):
            groups[item["image_id"]][item["category_id"]].append(item)
    return groups
