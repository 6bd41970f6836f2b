"""The dataset that the options of a command name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from iassa.errors import InputError

if TYPE_CHECKING:
    from iassa.benchmark.datasets import Dataset

KINDS = ("coco", "masks", "images")


def open_dataset(kind: str, images: Path, annotations: Path | None, masks: Path | None) -> Dataset:
    """The dataset that `iassa benchmark KIND` names.

    Args:
        kind: coco, masks or images.
        images: folder of the images.
        annotations: file in COCO's instances format; for coco only.
        masks: folder of mask PNGs; for masks only.

    Raises:
        InputError: another kind, an option that is missing or belongs to another kind, or see the
            class of the dataset.
    """
    if kind not in KINDS:
        raise InputError(f"expected one of {', '.join(KINDS)}, got {kind!r}.")
    for owner, option, value in (
        ("coco", "--annotations", annotations),
        ("masks", "--masks", masks),
    ):
        if (value is None) is (owner == kind):
            verb = "with" if owner == kind else "without"
            raise InputError(f"expected `iassa benchmark {kind}` {verb} {option}. See --help.")
    from iassa.benchmark.datasets import Coco, ImageFolder, MaskFolder

    if annotations is not None:
        return Coco(images, annotations)
    return ImageFolder(images) if masks is None else MaskFolder(images, masks)
