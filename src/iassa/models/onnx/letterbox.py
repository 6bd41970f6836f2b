"""Letterboxing: an image on a grey field of the size that a detector takes, its aspect kept."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from iassa.image import resize
from iassa.models.detections import Detections

GREY = 114 / 255  # what Ultralytics and YOLOX pad with
ROUNDING = 1e-6  # of a side in pixels; the side that fits exactly must not lose one


@dataclass(frozen=True)
class Letterbox:
    """A grey field with an image on it.

    Attributes:
        size: (height, width) of the field.
        centred: whether the image is in the middle, as Ultralytics has it: its sides are rounded,
            and an odd pixel is below or to the right. Otherwise it is at the top left, as YOLOX has
            it, and its sides are rounded down.
    """

    size: tuple[int, int]
    centred: bool

    def fit(self, size: tuple[int, int]) -> tuple[int, int]:
        """The size of an image on the field; that of one that fits already stays.

        Args:
            size: (height, width) of the image.

        Example:
            >>> Letterbox((640, 640), centred=True).fit((1080, 1920))
            (360, 640)
        """
        scale = min(mine / its for mine, its in zip(self.size, size, strict=True))
        whole = round if self.centred else _floor
        height, width = (max(1, whole(side * scale)) for side in size)
        return height, width

    def put(self, planes: Tensor) -> Tensor:
        """Planes (N, 3, h, w) in [0, 1] of any size on fields (N, 3, H, W)."""
        size = self.fit((planes.shape[2], planes.shape[3]))
        top, left = self._corner(size)
        fields = torch.full((*planes.shape[:2], *self.size), GREY, device=planes.device)
        fields[:, :, top : top + size[0], left : left + size[1]] = resize(planes, size)
        return fields

    def take_out(self, detections: Detections, size: tuple[int, int]) -> Detections:
        """Detections on the field as detections in the image.

        Args:
            detections: boxes in pixels of the field.
            size: (height, width) of the image that was put there.

        Returns:
            Boxes in pixels of that image. They may reach beyond it, as on the field.
        """
        fitted = self.fit(size)
        scale = np.tile(np.divide(size, fitted), 2)
        boxes = (detections.boxes - np.tile(self._corner(fitted), 2)) * scale
        return Detections(boxes.astype(np.float32), detections.class_scores, detections.objectness)

    def _corner(self, size: tuple[int, int]) -> tuple[int, int]:
        """Top and left of an image of this size on the field."""
        if not self.centred:
            return 0, 0
        top, left = ((mine - its) // 2 for mine, its in zip(self.size, size, strict=True))
        return top, left


def _floor(side: float) -> int:
    return int(side + ROUNDING)
