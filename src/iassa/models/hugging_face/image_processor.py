"""The size and the normalisation of an image processor, measured on pictures that we know.

Reading the processor's options instead would need a reader for each of the hundred classes of
transformers: EfficientNet's normalises twice where `include_top` is set, and ConvNeXT's crops below
384 pixels but not above, whatever their `size`, `image_mean` and `image_std` say. What is measured
holds for all of them. Whatever is not a normalisation of the whole image is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iassa.errors import require
from iassa.models.conventions import Conventions, to_bytes

Process: TypeAlias = Callable[[NDArray[np.uint8]], NDArray[np.float32]]

PLAIN = (72, 72)  # of pictures in one colour; square, as some pad others
COLOURS = np.array([[0, 0, 0], [255, 255, 255], [200, 128, 40]], np.uint8)
CLOSE = 1e-3  # of the span from black to white; a step of 8 bits is four times that
RAMPS = ((240, 360), (360, 240))


def measure_normalisation(process: Process) -> Conventions:
    """Mean, std and order of the channels, in units of [0, 1].

    Args:
        process: from an image (H, W, 3) uint8 to planes (3, height, width) as the model takes them.

    Raises:
        InputError: it does something else to colours, or paints over a part of the image.
    """
    seen = np.stack([_ask(process, np.full((*PLAIN, 3), colour)) for colour in COLOURS])
    black, span = seen[0, :, :1, :1], (seen[1] - seen[0])[:, :1, :1]
    shares = COLOURS[..., None, None] / 255
    orders = [
        step
        for step in (1, -1)
        if (np.abs(black + span * shares[:, ::step] - seen) <= CLOSE * span).all()
    ]
    require(
        (span > 0).all() and orders,
        "expected an image processor that subtracts a mean from each channel and divides it by a "
        f"std, at all pixels, got {seen.min((2, 3)).round(4).tolist()} to "
        f"{seen.max((2, 3)).round(4).tolist()} from the colours {COLOURS.tolist()}. Give "
        "input_size, mean and std, or write a function that asks the model.",
    )
    # Six digits are what float32 holds; a sum with 0.0 is not -0.0.
    mean, std = ([float(f"{x:.6g}") + 0.0 for x in row.flat] for row in (-black / span, 1 / span))
    return Conventions(
        mean=(mean[0], mean[1], mean[2]), std=(std[0], std[1], std[2]), bgr=orders == [-1]
    )


def measure_size(process: Process, normalisation: Conventions) -> tuple[int, int] | Literal["any"]:
    """The size to which it resizes the whole image; 'any' if it leaves images as they are.

    Its filter does not matter.

    Args:
        process: see `measure_normalisation`.
        normalisation: the result of that.

    Raises:
        InputError: it crops, pads or keeps the proportions of the image.
    """
    images = [to_bytes(_ramp(size)).permute(1, 2, 0).numpy() for size in RAMPS]
    seen = [_ask(process, image) for image in images]
    sizes = [(planes.shape[1], planes.shape[2]) for planes in seen]
    std = np.asarray(normalisation.std)[:, None, None]

    def is_whole(planes: NDArray[np.float64], size: tuple[int, int]) -> bool:
        expected = normalisation.normalise(_ramp(size)[None])[0].numpy()
        at_edges = 0.5 / min(size)  # filters differ there
        return bool((np.abs(planes - expected) * std).max() <= at_edges + 2 / 255)

    one_size = sizes[0] == sizes[1]
    advice = f"{sizes[0][0]},{sizes[0][1]}" if one_size else "HEIGHT,WIDTH"
    require(
        all(map(is_whole, seen, sizes)) and (one_size or sizes == [*RAMPS]),
        "expected an image processor that resizes the whole image to one size, got one that crops, "
        f"pads or keeps proportions: it turns the sizes {RAMPS} into {sizes}. Give "
        f"input_size={advice} to have the whole image resized to that: the model then sees it in "
        "other proportions, and its scores are not quite those with the processor.",
    )
    return sizes[0] if one_size else "any"


def _ramp(size: tuple[int, int]) -> Tensor:
    """Planes that stay a ramp at any size: red grows to the right, green to the bottom."""
    rows, columns = ((torch.arange(number) + 0.5) / number for number in size)
    return torch.stack([columns.expand(size), rows[:, None].expand(size), torch.full(size, 0.5)])


def _ask(process: Process, image: NDArray[np.uint8]) -> NDArray[np.float64]:
    seen = np.asarray(process(image), np.float64)
    require(
        seen.ndim == 3 and len(seen) == 3 and np.isfinite(seen).all(),
        f"expected an image processor that makes planes (3, height, width), got {seen.shape}. "
        "Write a function that asks the model.",
    )
    return seen
