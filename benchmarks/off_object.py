"""How often the interval of the share off an object covers it: the table of docs/audit.md.

The right share is that of the mean map of all runs, whose errors are a tenth of a run's.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import iassa
from iassa.auditing import off_object

SIZE = (72, 96)
OBJECT = (18, 30, 48, 66)  # top, left, bottom, right
INSIDE, OUTSIDE = (24, 36, 44, 60), (0, 0, 16, 20)  # what the black boxes look at
TILES = [(y, x, y + 12, x + 12) for y in range(0, SIZE[0], 12) for x in range(0, SIZE[1], 12)]
Box = tuple[int, int, int, int]
Images = NDArray[np.float32]


def photo() -> Images:
    """A smooth pattern of colours."""
    coarse = torch.from_numpy(np.random.default_rng(0).random((6, 8, 3)).astype(np.float32))
    planes = coarse.permute(2, 0, 1)[None]
    fine = torch.nn.functional.interpolate(planes, SIZE, mode="bicubic").clamp(0, 1)
    return fine[0].permute(1, 2, 0).contiguous().numpy()


def black_boxes(image: Images) -> dict[str, Callable[[Images], Any]]:
    """By name; each box counts by how much of it is still as in the image."""

    def left(images: Images, box: Box) -> Any:
        part = (slice(box[0], box[2]), slice(box[1], box[3]))
        whole = np.abs(0.5 - image[part]).mean()
        return 1 - np.abs(images[:, *part] - image[part]).mean((1, 2, 3)) / whole

    weights = np.random.default_rng(5).random(len(TILES)) ** 3
    weights /= weights.sum()

    def many(images: Images) -> Any:
        return sum(w * left(images, box) for w, box in zip(weights, TILES, strict=True))

    def both(images: Images, share: float) -> Any:
        return share * left(images, INSIDE) + (1 - share) * left(images, OUTSIDE)

    return {
        "on the object": lambda x: both(x, 1.0),
        "off the object": lambda x: both(x, 0.0),
        "the mean of both": lambda x: both(x, 0.5),
        "a sigmoid of both": lambda x: 1 / (1 + np.exp(-8 * (both(x, 0.6) - 0.5))),
        "many boxes": many,
        "on the object, times a wave": lambda x: (
            (0.7 + 0.3 * np.sin(25 * many(x))) / (1 + np.exp(-6 * (left(x, INSIDE) - 0.5)))
        ),
    }


def main() -> None:
    """Print a row of each black box."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=100)
    given = parser.parse_args()
    image, mask = photo(), np.zeros(SIZE, np.bool_)
    mask[OBJECT[0] : OBJECT[2], OBJECT[1] : OBJECT[3]] = True
    method = iassa.methods.Iassa(features="none")
    for name, look in black_boxes(image).items():
        scored = lambda images, look=look: look(images)[:, None]  # noqa: E731
        runs = [
            iassa.explain(image, scored, method=method, calls=given.calls, seed=seed, target=0)
            for seed in range(given.seeds)
        ]
        mean = np.maximum(np.mean([one.saliency[0] for one in runs], 0), 0)
        right = float(mean[~mask].sum() / mean.sum())
        found = [off_object(one, mask) for one in runs]
        plain = [1 - iassa.metrics.relevance_mass(one.saliency[0], mask) for one in runs]
        ends = [one.interval or (0.0, 1.0) for one in found]
        covered = np.mean([low <= right <= high for low, high in ends])
        share = np.mean([one.share for one in found])
        print(
            f"{name}: {right:.2f}, mean {share:.2f}, of plain shares {np.mean(plain):.2f}, "
            f"covered {covered:.0%}",
            flush=True,
        )


if __name__ == "__main__":
    main()
