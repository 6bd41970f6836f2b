"""The dataset that the options of a command name."""

from __future__ import annotations

from pathlib import Path

from iassa.benchmark.datasets import Coco, Dataset, ImageFolder, MaskFolder
from iassa.errors import InputError

__all__ = ["open_dataset"]

KINDS = ("coco", "masks", "images")


def open_dataset(kind: str, images: Path, annotations: Path | None, masks: Path | None) -> Dataset:
    """A dataset of a kind that is typed.

    Args:
        kind: coco, masks or images.
        images: folder of the images.
        annotations: file in COCO's instances format, with the first kind alone.
        masks: folder of mask PNGs, with the second alone.

    Raises:
        InputError: another kind, or the options of another one; see the classes.
    """
    if kind not in KINDS:
        raise InputError(f"expected one of {', '.join(KINDS)}, got {kind!r}.")
    wanted = {"coco": ("--annotations", annotations), "masks": ("--masks", masks)}
    for name, (option, value) in wanted.items():
        if (value is None) is (name == kind):
            verb = "with" if name == kind else "without"
            raise InputError(f"expected `iassa benchmark {kind}` {verb} {option}. See --help.")
    if kind == "coco" and annotations is not None:
        return Coco(images, annotations)
    if kind == "masks" and masks is not None:
        return MaskFolder(images, masks)
    return ImageFolder(images)
