"""Images in which the part that is not to count tells nothing, with their labels.

Teso, Kersting: Explanatory Interactive Machine Learning, AIES 2019 (CAIPI). Where a model is right
for the wrong reason, a person says which part of the image counts. Copies of the image with other
content in the rest, and the same label, then teach the model that the rest does not matter. It
needs no gradient, so that it serves any trainer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeAlias, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from iassa.checks import Within, take
from iassa.errors import InputError, counted, require, show

Fill: TypeAlias = Literal["backgrounds", "noise", "shuffled"]
Copies: TypeAlias = Annotated[int, Within(1, 1_000_000)]
Seed: TypeAlias = Annotated[int, Within(0)]


@dataclass(frozen=True, eq=False, repr=False)
class Counterexamples(Dataset[tuple[Any, ...]]):
    """A dataset whose images keep the part that counts and show something else in the rest.

    The originals are not in it: `torch.utils.data.ConcatDataset([dataset, counterexamples])` has
    both. A shortcut is only unlearnt if the rest contradicts the label often enough, so leave the
    originals out where all of them have it.

    The content depends on the seed and the place of the item alone: on no order, no worker of a
    `DataLoader` and no global generator.

    All masks and the first image are read when it is made. Every image is held against its mask,
    and against the image that lends its background, when it is taken.

    Attributes:
        dataset: with a length; items (image, label, ...). An image is a tensor of planes (C, H, W)
            or an array (H, W, C) or (H, W), and stays in that layout and dtype. An item shows the
            same part of the same image each time: crop and flip behind this dataset.
        relevant: for each item what counts, (H, W) bool at the size of its image: a list, an array
            (N, H, W), or any sequence that reads its masks when asked. `explanation.region(...)` is
            such a mask where the map is right, `~explanation.region(...)` where it is wrong. All
            may be relevant: such an image stays as it is.
        fill: 'backgrounds' shows the irrelevant part of another image, drawn anew for each; where
            that image has none, pixels drawn from its irrelevant ones. This contradicts a shortcut.
            'noise' has values between the smallest and the largest of the image, by channel.
            'shuffled' has the image's own irrelevant pixels in another order: it keeps their
            colours, and so a shortcut that lies in these.
        copies: how many of each image; item n of copy c is at c * len(dataset) + n.
        seed: of all randomness.

    Raises:
        InputError: when it is made: a dataset without a length or items, other numbers of masks and
            images, a mask of another shape or dtype or that marks nothing, or no such fill. From an
            item: an image of another shape than its mask, or no image whose background could be
            shown in it. The error names the place of the item.

    Example:
        >>> images, labels = torch.rand(6, 3, 24, 32), torch.arange(6)
        >>> relevant = np.zeros((6, 24, 32), bool)
        >>> relevant[:, 6:18, 8:24] = True
        >>> dataset = torch.utils.data.TensorDataset(images, labels)
        >>> made = Counterexamples(dataset, relevant, copies=2)
        >>> len(made), bool((made[6][0] == images[0])[:, 6:18, 8:24].all()), int(made[6][1])
        (12, True, 0)
    """

    dataset: Dataset[Any] | Sequence[Any]
    relevant: Sequence[Any] | NDArray[np.bool_] | Tensor
    fill: Fill = "backgrounds"
    copies: int = 1
    seed: int = 0
    _donors: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        require(
            _has_places(self.dataset),
            f"expected a dataset with a length and places, got {type(self.dataset).__name__}. Put "
            "its items into a list.",
        )
        for name, kind in (("fill", Fill), ("copies", Copies), ("seed", Seed)):
            object.__setattr__(self, name, take(getattr(self, name), kind, name))
        require(
            _has_places(self.relevant),
            f"expected masks with a length and places, got {type(self.relevant).__name__}. Put "
            "them into a list.",
        )
        number = self._number
        require(
            len(self.relevant) == number > 0,
            f"expected a mask for each image, got {counted(len(self.relevant), 'mask')} for "
            f"{counted(number, 'image')}. Give one for each, in their order.",
        )
        whole = [bool(self._mask(place).all()) for place in range(number)]
        object.__setattr__(self, "_donors", np.flatnonzero(~np.array(whole)))
        self._read(0)

    def __len__(self) -> int:
        return self._number * self.copies

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        """The item at a place, from 0: the image, and all that was behind it in the item."""
        if not 0 <= index < len(self):
            raise IndexError(f"expected a place from 0 to {len(self) - 1}, got {index}.")
        place = index % self._number
        item, pixels, hidden = self._read(place)
        rng = np.random.default_rng((self.seed, index))
        made = pixels.copy()
        if not hidden.any():
            pass
        elif self.fill == "backgrounds":
            made[hidden] = self._background(place, pixels.shape, rng)[hidden]
        elif self.fill == "noise":
            made[hidden] = _noise(pixels, rng)[hidden]
        else:
            made[hidden] = rng.permutation(pixels[hidden])
        return (_in_layout_of(item[0], made), *item[1:])

    @property
    def _number(self) -> int:
        return len(cast("Sequence[Any]", self.dataset))

    def _mask(self, place: int) -> NDArray[np.bool_]:
        """(H, W), what counts."""
        mask = np.asarray(self.relevant[place])
        require(
            mask.dtype == np.bool_ and mask.ndim == 2,
            f"expected masks (H, W) of bool, got {mask.shape} of {mask.dtype} at {place}. Say "
            "mask > 0, or mask[..., 0] > 0.",
        )
        require(
            mask.any(),
            f"expected a part that counts in each image, got none at {place}: nothing would go "
            "with its label. Leave that image out.",
        )
        return mask

    def _read(self, place: int) -> tuple[Sequence[Any], NDArray[Any], NDArray[np.bool_]]:
        """The item, its image as (H, W, C), and what does not count of it."""
        item = self.dataset[place]
        if not isinstance(item, tuple | list) or not item:
            raise InputError(
                f"expected items (image, label), got {show(item)} at {place}. Return a tuple."
            )
        pixels = _as_pixels(item[0], place)
        mask = self._mask(place)
        require(
            mask.shape == pixels.shape[:2],
            f"expected a mask of {_size(pixels)}, the size of the image at {place}, got "
            f"{_size(mask)}. Scale it, or say region(full_size=True). Tensors are read as "
            "(C, H, W), arrays as (H, W, C).",
        )
        return item, pixels, ~mask

    def _background(
        self, place: int, size: tuple[int, ...], rng: np.random.Generator
    ) -> NDArray[Any]:
        """The irrelevant part of another image, and more of it where that one has what counts."""
        others = self._donors[self._donors != place]
        require(
            len(others),
            f"expected another image with a part that does not count, got none beside {place}. Use "
            "fill='noise'.",
        )
        donor = int(rng.choice(others))
        _, pixels, hidden = self._read(donor)
        require(
            pixels.shape == size,
            f"expected images of one shape for backgrounds, got {size} at {place} and "
            f"{pixels.shape} at {donor}. Make them alike, or use fill='noise'.",
        )
        made = pixels.copy()
        made[~hidden] = rng.choice(pixels[hidden], int((~hidden).sum()))
        return made


def _has_places(value: object) -> bool:
    numbered = isinstance(value, Sized) and hasattr(value, "__getitem__")
    return numbered and not isinstance(value, Mapping | str) and getattr(value, "ndim", 1) > 0


def _noise(pixels: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    low, high = pixels.min((0, 1)), pixels.max((0, 1))
    shares = rng.random(pixels.shape)
    whole = pixels.dtype.kind in "iu"  # each of these numbers as often as any other
    span = high.astype(np.float64) - low + whole
    made: NDArray[Any] = (low + shares * span).astype(pixels.dtype)
    return made


def _as_pixels(image: Any, place: int) -> NDArray[Any]:
    """(H, W, C), a view."""
    if isinstance(image, Tensor) and image.ndim == 3 and image.dtype != torch.bfloat16:
        return image.numpy(force=True).transpose(1, 2, 0)
    if isinstance(image, np.ndarray) and image.ndim in (2, 3):
        return image.reshape(*image.shape[:2], -1)
    kind = type(image).__name__
    if isinstance(image, Tensor | np.ndarray):
        kind += f" {tuple(image.shape)} of {image.dtype}"
    raise InputError(
        f"expected an image as a tensor (C, H, W) or an array (H, W, C), got {kind} at {place}. "
        "Convert it in the dataset."
    )


def _in_layout_of(image: Any, pixels: NDArray[Any]) -> Any:
    if isinstance(image, Tensor):
        return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))).to(image.device)
    return pixels.reshape(image.shape)


def _size(pixels: NDArray[Any]) -> str:
    return f"{pixels.shape[0]} x {pixels.shape[1]} (height x width)"
