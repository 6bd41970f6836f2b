"""MS-COCO as pairs of an image and a category, each with the outline of that category's objects.

Reads any file in COCO's instances format (polygons, RLE, compressed RLE) with pycocotools. A crowd
region outlines a heap of objects together with what lies between them, so crowds are left out of
the outlines; a pair says how many it lost, and a category that an image shows as crowds only is no
pair.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO

from iassa.image import load_image

__all__ = ["Pair", "read_pairs"]


@dataclass(frozen=True, eq=False)
class Pair:
    """One category in one image.

    Attributes:
        index: its place among all pairs of the annotation file, whatever images are there.
        image_index: place of the image among all images of the file, by file name.
        image_path: the image file, not read yet.
        category: name of the category, as the file has it.
        annotation: (H, W) bool at the size of the image file: the union of all objects of the
            category that are no crowds.
        num_crowds: crowd regions of the category left out of the annotation.
    """

    index: int
    image_index: int
    image_path: Path
    category: str
    annotation: NDArray[np.bool_]
    num_crowds: int

    @property
    def key(self) -> str:
        """A name that stays the same from run to run."""
        return f"{self.image_path.name} {self.category}"

    def load_image(self) -> NDArray[np.float32]:
        """The image, (H, W, 3) float32 in [0, 1], read from the file on every call."""
        return load_image(self.image_path)


def read_pairs(images: Path, annotations: Path) -> Iterator[Pair]:
    """Pairs of an annotation file, by file name and then by category number.

    Args:
        images: folder of the image files.
        annotations: JSON file in COCO's instances format.

    Yields:
        One pair for each image in the folder and each category that it shows; masks are decoded
        one pair at a time. Images that are not in the folder are passed over.
    """
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        coco = COCO(str(annotations))
    index = 0
    entries = sorted(coco.imgs.values(), key=lambda entry: str(entry["file_name"]))
    for image_index, entry in enumerate(entries):
        path = images / str(entry["file_name"])
        exists = path.is_file()
        for category in sorted(coco.cats):
            found = coco.imgToAnns[entry["id"]]
            objects = [item for item in found if item["category_id"] == category]
            singles = [item for item in objects if not item.get("iscrowd", 0)]
            if not singles:
                continue
            if exists:
                annotation = np.zeros((entry["height"], entry["width"]), dtype=np.bool_)
                for item in singles:
                    annotation |= coco.annToMask(item).astype(np.bool_)
                if annotation.any():
                    yield Pair(
                        index=index,
                        image_index=image_index,
                        image_path=path,
                        category=str(coco.cats[category]["name"]),
                        annotation=annotation,
                        num_crowds=len(objects) - len(singles),
                    )
            index += 1
