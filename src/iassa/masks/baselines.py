"""Baselines: what hidden pixels show. A fill stands where the mask is 0 and nowhere else.

What an effect means depends on it: 'how the score changes when this is grey' is another question
than '... when this is blurred'. None is right for all images (Sturmfels et al., *Visualizing the
Impact of Feature Attribution Baselines*, Distill 2020): hide by several where it matters.

A fill lies in image space, as the black box sees the image before its own normalisation, and is
made once for a run, before the first call. A baseline is one fill, or several that the masks are
dealt to (`dealing`).
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any, TypeAlias, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iassa.checks import convert, fits
from iassa.errors import InputError, list_some, require, show, suggest
from iassa.files import is_there
from iassa.image import as_image, to_planes

Planes: TypeAlias = NDArray[np.float32]

# Of the blur, as a share of the shorter side: 20 pixels of 224, the largest of extremal
# perturbations (Fong et al., ICCV 2019, and TorchRay's default) and twice that of Fong and Vedaldi
# (ICCV 2017). It is to hide: at 5 of 224 EfficientNet-Lite0 still gives the bundled cat 0.15 of
# its 0.79, at 10 0.003, at 20 0.0006.
BLUR_SHARE = 20 / 224
# Stands in the place of a round in the noise's generator, (seed, this): no run has as many rounds,
# so the masks are those of any other baseline.
NOISE_STREAM = 2**32 - 1
MOST_FILLS = 8  # each has sums of its own, of the size of the image
SAME = 1 / 255  # what no pixel of two fills that are equal differs by more


@dataclass(frozen=True)
class FillImage:
    """A baseline given as an array: compared, hashed and recorded as its shape and SHA-256.

    Attributes:
        shape: (H, W, 3).
        sha256: of the pixels as little-endian float32 in C order, in hexadecimal.
        pixels: (H, W, 3) float32 in [0, 1], read-only.
    """

    shape: tuple[int, ...]
    sha256: str
    pixels: NDArray[np.float32] = field(compare=False, repr=False)

    def as_dict(self) -> dict[str, Any]:
        """Shape and SHA-256, as JSON holds them."""
        return {"shape": list(self.shape), "sha256": self.sha256}


Fill: TypeAlias = float | tuple[float, float, float] | str | FillImage
FillLike: TypeAlias = Fill | PurePath | NDArray[Any]
Baseline: TypeAlias = Fill | tuple[Fill, ...]
BaselineLike: TypeAlias = FillLike | tuple[FillLike, ...] | list[FillLike]


def zero(image: Planes, seed: int) -> Planes:
    """Black, (3, 1, 1): what I * M, as RISE and the paper write it, shows in image space."""
    del image, seed
    return _plane(0.0, 0.0, 0.0)


def grey(image: Planes, seed: int) -> Planes:
    """Mid-grey, (3, 1, 1), as the square of Zeiler and Fergus (ECCV 2014); the default's 0.5."""
    del image, seed
    return _plane(0.5, 0.5, 0.5)


def mean(image: Planes, seed: int) -> Planes:
    """The mean colour of this image, (3, 1, 1)."""
    del seed
    colour: Planes = image.mean((1, 2), dtype=np.float64, keepdims=True).astype(np.float32)
    return colour


def blur(image: Planes, seed: int) -> Planes:
    """The image under a Gaussian of `BLUR_SHARE`, reflected at its borders, (3, H, W)."""
    del seed
    from skimage.filters import gaussian  # here: slow to import, and few runs need it

    sigma = BLUR_SHARE * min(image.shape[1:])
    options = {"mode": "reflect", "preserve_range": True, "channel_axis": 0}
    blurred: Planes = gaussian(image, sigma, **options)  # type: ignore[no-untyped-call]
    return blurred.clip(0, 1)


def noise(image: Planes, seed: int) -> Planes:
    """Uniform in [0, 1) for each pixel and channel, (3, H, W), the same behind every mask."""
    rng = np.random.default_rng((seed, NOISE_STREAM))
    return rng.random(image.shape, dtype=np.float32)


# A fill: planes (3, H, W) of the image as the black box sees it, and the run's seed -> planes in
# [0, 1] that can be broadcast to the image's.
FILLS: dict[str, Callable[[Planes, int], Planes]] = {
    fill.__name__: fill for fill in (zero, grey, mean, blur, noise)
}
EXPECTED = (
    f"a grey or (r, g, b) in [0, 1], {', '.join(map(repr, FILLS))}, '#rrggbb', the path of an "
    "image or an array (H, W, 3), or several of these"
)


def is_built_in(text: str) -> bool:
    """Whether a text leads to no file of a user's."""
    return text in FILLS or _is_colour(text) or text.startswith("example:")


def read_baseline(value: BaselineLike, owner: str) -> Baseline:
    """Check a baseline as far as it can be without the image, and make a value of it.

    Args:
        value: one fill: a grey in [0, 1], an RGB triple in [0, 1], a name in `FILLS`, '#rrggbb',
            the path of an image file or 'example:cat', or an array as `as_image` takes it. A string
            is a path if it has a folder or an ending, whether or not there is such a file. Or
            several of these, in a sequence, or in a text between commas. Three numbers alone in a
            sequence, or three in a row in a text, are one colour.
        owner: whose field it is, for the message.

    Returns:
        The same; a `Path` as a string, an array as a `FillImage`, which has its own copy, several
        fills as a tuple of them.

    Raises:
        InputError: none of these, or fills that are too many or equal.

    Example:
        >>> read_baseline("blur", "rise"), read_baseline(Path("fill.png"), "rise")
        ('blur', './fill.png')
        >>> read_baseline(np.zeros((4, 6, 3)), "rise").shape
        (4, 6, 3)
        >>> read_baseline("grey, 0.1,0.2,0.3", "rise")
        ('grey', (0.1, 0.2, 0.3))
    """
    fills = tuple(_read_fill(one, owner) for one in _split(value))
    if len(fills) == 1:
        return fills[0]
    names = list_some(map(name_fill, fills))
    require(
        len({*fills}) == len(fills),
        f"expected baseline of {owner} to be fills that differ, got {names}. Give each once.",
    )
    require(
        0 < len(fills) <= MOST_FILLS,
        f"expected baseline of {owner} to be one to {MOST_FILLS} fills, got {len(fills)}. Give "
        "those that matter, such as grey,blur.",
    )
    return fills


def list_fills(baseline: Baseline) -> tuple[Fill, ...]:
    """The fills of a baseline that `read_baseline` has read."""
    several = isinstance(baseline, tuple) and not _is_triple(baseline)
    return cast("tuple[Fill, ...]", baseline if several else (baseline,))


def name_fill(fill: Fill) -> str:
    """A fill for people: as a command line takes it, where that can be."""
    if fill == 0.5:
        return "grey"
    if isinstance(fill, FillImage):
        return f"array {fill.sha256[:8]}"
    return ",".join(map(str, fill)) if isinstance(fill, tuple) else str(fill)


def open_fills(baseline: BaselineLike, image: Tensor, seed: int) -> Tensor:
    """What hidden pixels of an image show, under each fill of a baseline.

    Args:
        baseline: see `read_baseline`.
        image: (3, H, W) float32 in [0, 1], as the black box sees it.
        seed: of the noise.

    Returns:
        (F, 3, H, W) float32 in [0, 1], contiguous, on the image's device.

    Raises:
        InputError: a file that cannot be read, or fills that show the same in this image.
    """
    fills = list_fills(read_baseline(baseline, "the run"))
    opened = [open_baseline(fill, image, seed) for fill in fills]
    for (first, a), (second, b) in itertools.combinations(zip(fills, opened, strict=True), 2):
        require(
            float((a - b).abs().max()) > SAME,
            f"expected fills that differ, got {name_fill(first)} and {name_fill(second)}, which "
            "show the same in this image. Leave one out.",
        )
    return torch.stack(opened)


def open_baseline(baseline: FillLike, image: Tensor, seed: int) -> Tensor:
    """What hidden pixels of an image show, of one fill.

    Args:
        baseline: see `read_baseline`.
        image: (3, H, W) float32 in [0, 1], as the black box sees it.
        seed: of the noise.

    Returns:
        (3, H, W) float32 in [0, 1], contiguous, on the image's device.

    Raises:
        InputError: a file that cannot be read.

    Example:
        >>> open_baseline("#ff0000", torch.zeros(3, 4, 6), seed=0)[:, 0, 0].tolist()
        [1.0, 0.0, 0.0]
    """
    known = _read_fill(baseline, "the run")
    size = (image.shape[1], image.shape[2])
    if isinstance(known, FillImage):
        fill = to_planes(known.pixels.copy(), size).numpy()  # torch takes no read-only array
    elif isinstance(known, tuple):
        fill = _plane(*known)
    elif not isinstance(known, str):
        fill = _plane(known, known, known)
    elif known in FILLS:
        fill = FILLS[known](image.cpu().numpy(), seed)
    elif _is_colour(known):
        red, green, blue = bytes.fromhex(known[1:])
        fill = _plane(red / 255, green / 255, blue / 255)
    else:
        try:
            fill = to_planes(as_image(known), size).numpy()
        except InputError as error:
            raise InputError(f"baseline: {error}") from None
    full = np.array(np.broadcast_to(fill, tuple(image.shape)), order="C")
    return torch.from_numpy(full).to(image.device)


def _split(value: BaselineLike) -> Sequence[FillLike]:
    """The fills of a sequence or text, or the one that it is."""
    if isinstance(value, str):
        # A file may have commas in its name.
        return [*_split_text(value)] if "," in value and not _is_file(value) else [value]
    several = isinstance(value, list | tuple) and not _is_triple(value)
    return cast("Sequence[FillLike]", value if several else (value,))


def _split_text(text: str) -> Iterator[FillLike]:
    parts = [part.strip() for part in text.split(",")]
    for is_number, run in itertools.groupby(parts, _is_number):
        if is_number:
            numbers = tuple(map(float, run))
            yield from (numbers,) if len(numbers) == 3 else numbers
        else:
            yield from run


def _read_fill(value: FillLike, owner: str) -> Fill:
    """One fill; see `read_baseline`."""
    value = convert(value, Fill)
    if hasattr(value, "ndim"):
        try:
            return _keep(as_image(cast("NDArray[Any]", value)))
        except InputError as error:
            raise InputError(f"baseline of {owner}: {error}") from None
    if isinstance(value, PurePath):
        # With a folder, so that it is taken for nothing else: a file may be called 'blur'.
        return str(value) if value.parent != type(value)() else f"./{value}"
    if isinstance(value, FillImage):
        return value
    if isinstance(value, str):
        known = value in FILLS or _is_colour(value) or _is_path(value)
    elif isinstance(value, tuple):
        known = len(value) == 3 and all(map(_is_share, value))
    else:
        known = _is_share(value)
    if known:
        return value
    raise InputError(
        f"expected baseline of {owner} to be {EXPECTED}, got {show(value)}{_advise(value)}"
    )


def _keep(pixels: NDArray[np.float32]) -> FillImage:
    pixels.setflags(write=False)
    content = np.ascontiguousarray(pixels, dtype="<f4").tobytes()
    return FillImage(pixels.shape, hashlib.sha256(content).hexdigest(), pixels)


def _plane(*rgb: float) -> Planes:
    return np.array(rgb, np.float32).reshape(3, 1, 1)


def _is_triple(value: Sequence[object]) -> bool:
    """Whether a sequence is a colour: as fills, three greys would look like one."""
    return len(value) == 3 and all(fits(convert(one, float), float) for one in value)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_file(text: str) -> bool:
    try:
        return _is_path(text) and is_there(Path(text))
    except ValueError:  # no name that a file can have
        return False


def _is_share(value: object) -> bool:
    return fits(value, float) and 0 <= cast("float", value) <= 1


def _is_colour(text: str) -> bool:
    return re.fullmatch("#[0-9a-fA-F]{6}", text) is not None


def _is_path(text: str) -> bool:
    folder = "/" in text or "\\" in text
    return folder or Path(text).suffix != "" or text.startswith("example:")


def _advise(value: object) -> str:
    if isinstance(value, dict) and "sha256" in value:
        return ". This is the record of an array: pass that array."
    if not isinstance(value, str):
        return ". Give one of these."
    return f"{suggest(value, FILLS)}. If it is a file, write ./{value}."
