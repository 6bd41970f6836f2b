"""Damaged files in COCO's format, and damaged masks: `python tests/damaged_coco.py 2000 0`."""

from __future__ import annotations

import copy
import json
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import iassa  # noqa: F401 - what it imports is no cost of a file
from damaged_images import FILES as IMAGES
from damaging import damage, try_all
from iassa.benchmark.datasets import Coco, MaskFolder
from iassa.decoding import Reading
from iassa.errors import ImageWarning, InputError

HEIGHT, WIDTH = 7, 11
ROUND = [1.5, 1, 9, 2, 8, 6.25, 2, 5]
ZIGZAG = [[side * WIDTH * 2 - WIDTH, row % HEIGHT] for row in range(3000) for side in (0, 1)]
FAR = [value for point in ZIGZAG for value in point]


DEEP = {f"in {depth} lists": depth for depth in (30, 900, 50_000)}  # no list of Python's, but JSON
# Values that a field may have instead of its own.
HOSTILE: list[Any] = [
    *(None, True, -1, 0, 1, 2, 7, 11, 0.5, 1e9, 1e308, float("nan"), float("inf"), 10**400, 2**63),
    *("", "a", "a.png", "../a.png", "/etc/passwd", "a" * 3000, "\ud800", "\0", "\x1b[2J", "C:\\x"),
    *([], {}, [[]], [None], [ROUND], [ROUND * 5000], [FAR], [[1e308] * 6], [[float("nan")] * 8]),
    *("o" * 20_000, "0" * 100_000, "P" * 100_000, "P" * 20_000 + "0", "0P10", [10**300] * 4),
    *([77], [0, 77], [3] * 40, list(range(77)), [-5, 82], [2.0, 75], *DEEP),
    *({"size": [7, 11], "counts": "0P2"}, {"size": [7, 11], "counts": [70, 7]}, {"size": 7}),
]


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
    made = {
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
    return copy.deepcopy(made)  # each list in it is its own


def places(node: Any, found: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """Each list or dictionary with each of its keys."""
    if isinstance(node, dict | list):
        for key in node if isinstance(node, dict) else range(len(node)):
            found.append((node, key))
            places(node[key], found)
    return found


def damage_table(rng: np.random.Generator) -> bytes:
    """A file with other values, values left out or doubled; every fourth with other bytes, too."""
    made = table()
    for _ in range(rng.integers(1, 4)):
        all_places = places(made, [])
        node, key = all_places[rng.integers(len(all_places))]
        match rng.integers(5):
            case 0:
                del node[key]
            case 1 if isinstance(node, list):
                node += node[key : key + 1] * int(rng.choice([1, 2, 300]))
            case 2:
                other, its = all_places[rng.integers(len(all_places))]
                node[key] = copy.deepcopy(other[its])
            case _:
                node[key] = copy.deepcopy(HOSTILE[rng.integers(len(HOSTILE))])
    content = json.dumps(made).encode()
    for name, depth in DEEP.items():
        content = content.replace(f'"{name}"'.encode(), b"[" * depth + b"]" * depth)
    return damage(content, [content], rng) if rng.random() < 0.25 else content


def attempt(number: int) -> str:
    """Read a damaged file, and draw all that it outlines."""
    rng = np.random.default_rng(number)
    shape = (HEIGHT, WIDTH)
    if number % 4 == 3:
        content = damage(IMAGES[number % len(IMAGES)], IMAGES, rng)
        (FOLDER / "masks" / "a.png").write_bytes(content)
        dataset: Any = MaskFolder(FOLDER / "images", FOLDER / "masks")
        shape = (23, 37)
    else:
        file = FOLDER / "instances.json"
        file.write_bytes(damage_table(rng))
        dataset = Coco(FOLDER / "images", file, Reading(upright=False), boxes=bool(number % 2))
    dataset.describe()
    drawn = 0
    for sample in dataset.samples():
        for one in dataset.annotations(sample, shape):
            assert one.annotation.shape == shape
            assert one.annotation.any() or one.excluded
            assert len(one.excluded) < 2000
            drawn += bool(one.annotation.any())
    return "drawn" if drawn else "nothing to draw"


if __name__ == "__main__":
    warnings.simplefilter("error")
    warnings.simplefilter("ignore", ImageWarning)
    count, first = map(int, sys.argv[1:])
    with tempfile.TemporaryDirectory() as name:
        FOLDER = Path(name)
        for folder in ("images/d", "masks"):
            (FOLDER / folder).mkdir(parents=True)
        for picture in ("a.png", "b.png", "d/c.png"):
            Image.new("RGB", (WIDTH, HEIGHT)).save(FOLDER / "images" / picture)
        try_all(attempt, count, first, (InputError,))
