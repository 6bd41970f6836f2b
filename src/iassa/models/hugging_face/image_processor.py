"""What an image processor does to an image, found by asking it about pictures that are known.

Of a hundred kinds each has options of its own: to resize, crop, pad, rescale, normalise, turn
channels about. Asked, they all answer alike, and what is not a plain normalisation of the whole
image is found out, whatever it is called.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from iassa.errors import InputError
from iassa.image import resize
from iassa.models.conventions import Conventions

__all__ = ["Process", "measure_normalisation", "measure_size"]

Process: TypeAlias = Callable[[NDArray[np.uint8]], NDArray[np.float32]]

PLAIN = (72, 72)  # of pictures in one colour; square, as some pad others
RAMPS = ((240, 360), (360, 240))
GREY = 128
CLOSE = 1e-3  # of the span from black to white; a step of 8 bits is four times that
DIGITS = 6  # of mean and std: what float32 holds


def measure_normalisation(process: Process) -> Conventions:
    """Mean, std and order of the channels, in units of [0, 1].

    Args:
        process: from an image (H, W, 3) uint8 to planes (3, height, width) as the model takes them.

    Raises:
        InputError: it does something else to colours, or paints over a part of the image.
    """
    black, red, grey, white = (
        _constant(process, colour)
        for colour in ((0, 0, 0), (255, 0, 0), (GREY,) * 3, (255, 255, 255))
    )
    span = white - black
    orders = {False: np.array([1, 0, 0]), True: np.array([0, 0, 1])}
    found = [bgr for bgr, share in orders.items() if _near(red, black + span * share, span)]
    if not (span > 0).all() or not found or not _near(grey, black + span * GREY / 255, span):
        raise InputError(
            "expected an image processor that takes a mean off each channel and divides it by a "
            f"std, got one that makes {_print(black)} of black, {_print(grey)} of grey, "
            f"{_print(white)} of white and {_print(red)} of red. Write a function that asks the "
            "model."
        )
    mean, std = ([float(f"{x:.{DIGITS}g}") for x in row] for row in (-black / span, 1 / span))
    return Conventions(
        mean=(mean[0] + 0.0, mean[1] + 0.0, mean[2] + 0.0),  # not -0
        std=(std[0], std[1], std[2]),
        bgr=found[0],
    )


def _near(
    values: NDArray[np.float64], expected: NDArray[np.float64], span: NDArray[np.float64]
) -> bool:
    return bool((np.abs(values - expected) <= CLOSE * np.abs(span)).all())


def _constant(process: Process, colour: tuple[int, int, int]) -> NDArray[np.float64]:
    """What becomes of one colour, (3,)."""
    seen = _ask(process, np.full((*PLAIN, 3), colour, np.uint8)).reshape(3, -1)
    low, high = seen.min(axis=1), seen.max(axis=1)
    if (high - low > CLOSE * np.maximum(1, np.abs(high))).any():
        raise InputError(
            "expected an image processor that treats all pixels alike, got one that makes "
            f"{_print(low)} to {_print(high)} of one colour: it pads. Say input_size, mean and std."
        )
    middle: NDArray[np.float64] = (low + high) / 2
    return middle


def measure_size(process: Process, normalisation: Conventions) -> tuple[int, int] | Literal["any"]:
    """The size to which it resizes the whole image; 'any' if it leaves images as they are.

    Its filter is not looked at.

    Args:
        process: see `measure_normalisation`.
        normalisation: what that has found.

    Raises:
        InputError: it crops, pads or keeps the proportions of the image.
    """
    ramps = [_ramp(size) for size in RAMPS]
    seen = [_ask(process, ramp) for ramp in ramps]
    sizes = [(int(planes.shape[1]), int(planes.shape[2])) for planes in seen]
    one_size = sizes[0] == sizes[1]
    whole = all(map(_shows_all, seen, ramps, [normalisation] * 2))
    if whole and (one_size or sizes == [*RAMPS]):
        return sizes[0] if one_size else "any"
    height, width = RAMPS[0]
    advice = f"{sizes[0][0]},{sizes[0][1]}" if one_size else "HEIGHT,WIDTH"
    raise InputError(
        "expected an image processor that resizes the whole image to one size, got one that crops, "
        f"pads or keeps proportions: of {height} x {width} pixels it makes {sizes[0][0]} x "
        f"{sizes[0][1]}, of {width} x {height}, {sizes[1][0]} x {sizes[1][1]}. Say "
        f"input_size={advice} to have the whole image resized to that: the model then sees it in "
        "other proportions, and its scores are not quite those with the processor."
    )


def _ramp(size: tuple[int, int]) -> NDArray[np.uint8]:
    """A picture that every filter leaves as it is: red grows to the right, green to the bottom."""
    rows, columns = (np.linspace(0, 255, number) for number in size)
    ramp = np.stack(np.broadcast_arrays(columns, rows[:, None], GREY), axis=2)
    return ramp.round().astype(np.uint8)


def _shows_all(
    seen: NDArray[np.float64], ramp: NDArray[np.uint8], normalisation: Conventions
) -> bool:
    """Whether planes are the whole ramp, up to what filters do at edges."""
    size = (seen.shape[1], seen.shape[2])
    planes = torch.from_numpy(ramp).permute(2, 0, 1).float() / 255
    expected = normalisation.normalise(resize(planes, size)[None])[0].numpy()
    std = np.asarray(normalisation.std)[:, None, None]
    return bool((np.abs(seen - expected) * std).max() <= 0.5 / min(size) + 2 / 255)


def _ask(process: Process, image: NDArray[np.uint8]) -> NDArray[np.float64]:
    try:
        seen = np.asarray(process(image), np.float64)
    except Exception as error:
        raise InputError(
            f"expected an image processor that takes one image, got {type(error).__name__}: "
            f"{' '.join(str(error).split())[:300]}. Say input_size, mean and std."
        ) from error
    if seen.ndim != 3 or len(seen) != 3 or not np.isfinite(seen).all():
        raise InputError(
            "expected an image processor that makes planes (3, height, width), got "
            f"{seen.shape}. Write a function that asks the model."
        )
    return seen


def _print(values: NDArray[np.float64]) -> str:
    return ",".join(f"{value:.4g}" for value in values)
