"""Scenes: an object of five parts, its rival, a distractor and a texture, drawn or on a photograph.

A scene is grey to the eye, and written in blocks of 2 x 2 pixels of one grey each. What a block
belongs to is a faint tint: it is added to two pixels of the block and taken from the other two,
like the fields of a chessboard, so that a block has no colour on the whole. `model` reads the tints
again. Every region has as many blocks in all scenes of a size, so that nobody has to tell the
reader how many there are.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from iassa.benchmark.synthetic.boxes import DRAWN, PARTS
from iassa.image import resize

Blocks = NDArray[np.intp]

SIZE = (168, 224)  # of drawn scenes; photographs are shrunk to as many pixels
LEAST = 48  # pixels along a side, so that every part has blocks enough
BLOCK = 2  # pixels along a side
TINT = 14  # length of a tint, in steps of 8 bits
DARKEST, BRIGHTEST = 26, 229  # greys; a tint fits on either side
# Shares of the image, of each region but the background: a part, ..., all of the texture.
SHARES = {**dict.fromkeys(PARTS, 1 / 60), "distractor": 1 / 25, "rival": 1 / 20, "texture": 1 / 20}
PATCHES = 3  # of the texture
TEXTURE = len(DRAWN)  # its label; 0 is the background, the others follow the order of `DRAWN`


@dataclass(frozen=True, eq=False)
class Scene:
    """An image, and what is where in it.

    Attributes:
        pixels: (H, W, 3) uint8.
        labels: (H / 2, W / 2), of each block: 0 for the background, else 1 + its place in `DRAWN`.
    """

    pixels: NDArray[np.uint8]
    labels: Blocks

    def png(self) -> bytes:
        """The image as a file."""
        content = io.BytesIO()
        Image.fromarray(self.pixels).save(content, "png")
        return content.getvalue()


def tints() -> NDArray[np.int64]:
    """(9, 3) steps of 8 bits that are added for each label; each sums to 0, so no grey has any."""
    angle = 2 * np.pi * np.arange(1 + len(DRAWN)) / (1 + len(DRAWN))
    along, across = np.cos(angle) / math.sqrt(2), np.sin(angle) / math.sqrt(6)
    red, green = np.rint(TINT * (along + across)), np.rint(TINT * (across - along))
    return np.stack([red, green, -red - green], 1).astype(np.int64)


def signs(size: tuple[int, int]) -> NDArray[np.int64]:
    """(H, W) of a chessboard: 1 where a tint is added, -1 where it is taken."""
    rows, columns = np.ogrid[: size[0], : size[1]]
    return np.asarray(1 - 2 * ((rows + columns) % 2))


def areas(size: tuple[int, int]) -> NDArray[np.int64]:
    """(8,) blocks of each of `DRAWN`, in any scene of (H / 2, W / 2) blocks."""
    number = size[0] * size[1]
    shares = [SHARES[name] for name in DRAWN]
    found = [max(1, round(number * share)) for share in shares]
    found[TEXTURE - 1] = PATCHES * max(1, round(number * shares[TEXTURE - 1] / PATCHES))
    return np.array(found)


def draw_scene(number: int, size: tuple[int, int] = SIZE) -> Scene:
    """A scene on a drawn background: slopes of grey, and some discs and bars that mean nothing.

    Args:
        number: of the scene, from 0: the same number is the same scene.
        size: (height, width) in pixels, even.
    """
    rng = np.random.default_rng((number, 0))
    height, width = size[0] // BLOCK, size[1] // BLOCK
    rows, columns = np.mgrid[0:height, 0:width] / max(height, width)
    slope = rng.uniform(-0.3, 0.3, 2)
    grey = 0.5 + slope[0] * (rows - rows.mean()) + slope[1] * (columns - columns.mean())
    for _ in range(12):
        row, column = rng.uniform(0, rows.max()), rng.uniform(0, columns.max())
        tall, wide = rng.uniform(0.03, 0.12, 2)
        far = np.hypot((rows - row) / tall, (columns - column) / wide)
        straight = np.maximum(abs(rows - row) / tall, abs(columns - column) / wide)
        grey[(far if rng.random() < 0.5 else straight) < 1] += rng.uniform(-0.2, 0.2)
    grey += rng.normal(0, 0.015, grey.shape)
    return _paint(grey, rng)


def place_on_photograph(photograph: NDArray[np.float32], number: int) -> Scene:
    """A scene on a photograph, which becomes grey and has as many pixels as drawn scenes at most.

    Args:
        photograph: (H, W, 3) float32 in [0, 1].
        number: draws the regions.
    """
    height, width = photograph.shape[:2]
    shrink = min(1.0, math.sqrt(SIZE[0] * SIZE[1] / (height * width)))
    size = tuple(max(1, round(side * shrink / BLOCK)) for side in (height, width))
    planes = torch.from_numpy(photograph).permute(2, 0, 1)
    luma = (planes * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(0, keepdim=True)
    grey = resize(luma, (size[0], size[1]))[0].double().numpy()
    return _paint(grey, np.random.default_rng((number, 1)))


def _paint(grey: NDArray[np.float64], rng: np.random.Generator) -> Scene:
    """Regions on a background (H / 2, W / 2), and the tints of all."""
    labels = _lay_out((grey.shape[0], grey.shape[1]), rng)
    grey = grey.copy()
    fields = signs((grey.shape[0] // 2 + 1, grey.shape[1] // 2 + 1)).repeat(2, 0).repeat(2, 1)
    fields = fields[: grey.shape[0], : grey.shape[1]]
    for first, last in ((1, len(PARTS)), *((n, n) for n in range(len(PARTS) + 1, TEXTURE + 1))):
        whole = (labels >= first) & (labels <= last)
        under = float(grey[whole].mean())
        step = rng.uniform(0.2, 0.35) * (1 if under < 0.5 else -1)
        grey[whole] = under + step + rng.normal(0, 0.015, int(whole.sum()))
        if first == TEXTURE:
            grey[whole] += 0.15 * fields[whole]
        for part in range(first + 1, last + 1, 2):
            grey[labels == part] += 0.08 if step < 0 else -0.08
    steps = np.clip(np.rint(grey * 255), DARKEST, BRIGHTEST).astype(np.int64)
    large = steps.repeat(BLOCK, 0).repeat(BLOCK, 1)
    tint = tints()[labels].repeat(BLOCK, 0).repeat(BLOCK, 1)
    pixels = large[:, :, None] + signs((large.shape[0], large.shape[1]))[:, :, None] * tint
    return Scene(pixels.astype(np.uint8), labels)


def _lay_out(size: tuple[int, int], rng: np.random.Generator) -> Blocks:
    """(h, w) labels: six blobs about the centres of six fields, which are dealt at random."""
    labels = np.zeros(size, np.intp)
    wanted = areas(size)
    fields = (2, 3) if size[0] <= size[1] else (3, 2)
    dealt = rng.permutation(fields[0] * fields[1])
    pieces = [(1, int(wanted[: len(PARTS)].sum())), (len(PARTS) + 2, int(wanted[-2]))]
    pieces += [(len(PARTS) + 1, int(wanted[-3]))]
    pieces += [(TEXTURE, int(wanted[-1]) // PATCHES)] * PATCHES
    for (label, count), field in zip(pieces, dealt, strict=True):
        place = np.array(np.unravel_index(field, fields)) + 0.5 + rng.uniform(-0.12, 0.12, 2)
        blob = _grow(labels == 0, place * size / fields, count, rng)
        labels[blob] = label
        if label == 1:
            _cut(labels, rng)
    return labels


def _grow(
    free: NDArray[np.bool_], centre: NDArray[np.float64], count: int, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """A blob of so many free blocks: those nearest to its centre, by a distance with bulges."""
    rows, columns = np.ogrid[: free.shape[0], : free.shape[1]]
    down, right = rows - centre[0], columns - centre[1]
    angle = np.arctan2(down, right)
    bulge = 1 + 0.2 * np.cos(2 * angle + rng.uniform(0, 2 * np.pi))
    bulge += 0.12 * np.cos(5 * angle + rng.uniform(0, 2 * np.pi))
    distance = np.where(free, np.hypot(down, right) / bulge, np.inf)
    blob = np.zeros(free.size, np.bool_)
    blob[np.argsort(distance, axis=None, kind="stable")[:count]] = True
    return blob.reshape(free.shape)


def _cut(labels: Blocks, rng: np.random.Generator) -> None:
    """Cut the object, label 1, into parts of one size, like a cake."""
    rows, columns = np.nonzero(labels == 1)
    angle = np.arctan2(rows - rows.mean(), columns - columns.mean()) + rng.uniform(0, 2 * np.pi)
    order = np.argsort(angle % (2 * np.pi), kind="stable")
    for number, some in enumerate(np.split(order, len(PARTS))):
        labels[rows[some], columns[some]] = 1 + number
