"""Views of an image: crops, flips, quarter turns and changes of colour, of known geometry."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
import torch
from torch import Tensor

from iassa.image import resize

Domain: TypeAlias = Literal["photo", "aerial", "xray", "thermal", "texture"]
DOMAINS: tuple[str, ...] = get_args(Domain)
STRETCH = 4 / 3  # of the sides of a crop whose size varies, at most
SAME = 0.51  # share of the image that a view of 160 pixels shows in the size that attention sees


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What may change from view to view without a change of meaning.

    Attributes:
        mirrored: left and right may be exchanged.
        turned: quarter turns, and with them up and down exchanged: where there is no up.
        shares: of the image that a view shows, the smallest and the largest. Where they are equal
            sizes mean something: the distance of the camera is always the same.
        light: largest change of the brightness, of [0, 1], and of the contrast, as a share of it.
        saturation: largest change of it, as a share.
        hue: largest turn of the hues, in degrees.
    """

    mirrored: bool = True
    turned: bool = False
    shares: tuple[float, float] = (0.3, 1.0)
    light: float = 0.2
    saturation: float = 0.0
    hue: float = 0.0


CHANGES: Mapping[str, Changes] = {
    "photo": Changes(light=0.25, saturation=0.3, hue=15.0),
    "aerial": Changes(turned=True, saturation=0.2),
    "xray": Changes(light=0.15),
    "thermal": Changes(),
    "texture": Changes(turned=True, shares=(SAME, SAME)),
}


@dataclass(frozen=True)
class Place:
    """Where a view lies in its image.

    Attributes:
        box: (top, left, bottom, right) in shares of the image, half-open.
        mirrored: whether left and right are exchanged after the crop.
        turns: quarter turns, counter-clockwise, after that.
    """

    box: tuple[float, float, float, float]
    mirrored: bool
    turns: int

    def show(self, planes: Tensor, size: int) -> Tensor:
        """The view (3, size, size) of planes (3, H, W)."""
        height, width = planes.shape[-2:]
        top, left, bottom, right = (
            round(share * side) for share, side in zip(self.box, (height, width) * 2, strict=True)
        )
        return self._turn(resize(planes[..., top:bottom, left:right], (size, size)))

    def look_up(self, labels: Tensor, size: int) -> Tensor:
        """The label of the image's position below the centre of each position of the view.

        Args:
            labels: (h, w) of the image.
            size: positions along the sides of the view.

        Returns:
            (size, size).
        """
        top, left, bottom, right = self.box
        centres = (torch.arange(size) + 0.5) / size
        rows = ((top + (bottom - top) * centres) * labels.shape[0]).long()
        columns = ((left + (right - left) * centres) * labels.shape[1]).long()
        return self._turn(labels[rows[:, None], columns[None, :]])

    def _turn(self, planes: Tensor) -> Tensor:
        mirrored = planes.flip(-1) if self.mirrored else planes
        return mirrored.rot90(self.turns, (-2, -1))


def draw_place(changes: Changes, pixels: tuple[int, int], rng: np.random.Generator) -> Place:
    """Where a view lies; its edges are between pixels of an image of a (height, width)."""
    low, high = changes.shares
    share = rng.uniform(low, high)
    stretch = STRETCH ** (rng.uniform(-0.5, 0.5) if low < high else 0)
    edges = []
    for side, factor in zip(pixels, (stretch, 1 / stretch), strict=True):
        length = min(side, max(1, round(side * math.sqrt(share) * factor)))
        first = int(rng.integers(side - length + 1))
        edges.append((first / side, (first + length) / side))
    (top, bottom), (left, right) = edges
    mirrored = bool(rng.random() < 0.5) and changes.mirrored
    turns = int(rng.integers(4)) if changes.turned else 0
    return Place((top, left, bottom, right), mirrored, turns)


def change_colours(planes: Tensor, changes: Changes, rng: np.random.Generator) -> Tensor:
    """Planes (3, H, W) in another light, in [0, 1]."""
    brightness, contrast, saturation, hue = rng.uniform(-1, 1, 4)
    mean = planes.mean()
    planes = mean + (planes - mean) * (1 + changes.light * contrast)
    planes = planes + changes.light * brightness
    if changes.saturation or changes.hue:
        turn = _colour_turn(1 + changes.saturation * saturation, changes.hue * hue)
        planes = torch.einsum("dc,chw->dhw", turn.to(planes), planes)
    return planes.clamp(0, 1)


def _colour_turn(saturation: float, degrees: float) -> Tensor:
    """(3, 3): turns colours about the axis of greys, and moves them away from it."""
    grey = np.full((3, 3), 1 / 3)
    across = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    angle = math.radians(degrees)
    turned = (np.eye(3) - grey) * math.cos(angle) + across * math.sin(angle)
    return torch.from_numpy(grey + saturation * turned)
