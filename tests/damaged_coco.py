"""Damaged files in COCO's format, and damaged masks: `python tests/damaged_coco.py 2000`."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import iassa  # noqa: F401 - what it imports is no cost of a file
from damage import ODD, Reader, damage, edit, print_judgement
from damaged_images import damage_image
from iassa.benchmark.datasets import Coco, MaskFolder
from iassa.decoding import Reading

HEIGHT, WIDTH = 7, 11
ROUND = [1.5, 1, 9, 2, 8, 6.25, 2, 5]
ZIGZAG = [[side * WIDTH * 2 - WIDTH, row % HEIGHT] for row in range(3000) for side in (0, 1)]
FAR = [value for point in ZIGZAG for value in point]

OUTLINES = (
    *(2, 7, 11, 1e9, "a.png", "a" * 3000, "o" * 20_000, "0" * 100_000, "P" * 100_000, "0P10"),
    *([None], [ROUND], [ROUND * 5000], [FAR], [[1e308] * 6], [[float("nan")] * 8], [10**300] * 4),
    *("P" * 20_000 + "0", [77], [0, 77], [3] * 40, list(range(77)), [-5, 82], [2.0, 75]),
    *({"size": [7, 11], "counts": "0P2"}, {"size": [7, 11], "counts": [70, 7]}, {"size": 7}),
)


def table() -> dict[str, Any]:
    """Images, categories, and an outline of each form."""
    box = [2, 1, 5, 4]
    forms: list[Any] = [
        [ROUND],
        [ROUND, [0, 0, 4, 0, 4, 4]],
        {"size": [HEIGHT, WIDTH], "counts": [10, 7, 60]},
        {"size": [HEIGHT, WIDTH], "counts": ":7l1"},
        [],
    ]
    names = ("a.png", "b.png", "d/c.png", "gone.png")
    return {
        "images": [
            {"id": k, "file_name": name, "height": HEIGHT, "width": WIDTH}
            for k, name in enumerate(names)
        ],
        "categories": [{"id": 18, "name": "dog"}, {"id": 3, "name": "car"}],
        "annotations": [
            {
                "id": k,
                "image_id": k % 4,
                "category_id": (18, 3)[k % 2],
                "segmentation": form,
                "bbox": box,
                "iscrowd": int(k == 7),
            }
            for k, form in enumerate(forms * 3)
        ],
    }


def damage_table(rng: np.random.Generator) -> bytes:
    """A file with other values, values left out or doubled; every fourth with other bytes, too."""
    content = edit(json.dumps(table()).encode(), rng, (*ODD, *OUTLINES))
    return damage(content, [content], rng) if rng.random() < 0.25 else content


def readers(number: int) -> list[Reader]:
    """A damaged file, of which all that it outlines is drawn."""
    rng = np.random.default_rng(number)
    shape = (HEIGHT, WIDTH)
    masked = number % 4 == 3
    if masked:
        (FOLDER / "masks" / "a.png").write_bytes(damage_image(number, rng))
        shape = (23, 37)
    else:
        (FOLDER / "instances.json").write_bytes(damage_table(rng))

    def read() -> str:
        images = FOLDER / "images"
        dataset: Any = (
            MaskFolder(images, FOLDER / "masks")
            if masked
            else Coco(images, FOLDER / "instances.json", Reading(upright=False), number % 2 > 0)
        )
        dataset.describe()
        drawn = 0
        for sample in dataset.samples():
            for one in dataset.annotations(sample, shape):
                assert one.annotation.shape == shape
                assert one.annotation.any() or one.excluded
                assert len(one.excluded) < 2000
                drawn += bool(one.annotation.any())
        return "drawn" if drawn else "nothing to draw"

    return [read]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        FOLDER = Path(name)
        for folder in ("images/d", "masks"):
            (FOLDER / folder).mkdir(parents=True)
        for picture in ("a.png", "b.png", "d/c.png"):
            Image.new("RGB", (WIDTH, HEIGHT)).save(FOLDER / "images" / picture)
        print_judgement(readers)
