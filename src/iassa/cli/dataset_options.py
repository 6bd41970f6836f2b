"""The dataset that the options of a command name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from iassa.errors import InputError

if TYPE_CHECKING:
    from iassa.benchmark.datasets import Dataset
    from iassa.decoding import Reading

SYNTHETIC = "synthetic"
PAIRS = "pairs"
MOSAICS = "mosaics"
KINDS = ("coco", "masks", "images", PAIRS, SYNTHETIC, MOSAICS)
SCENES = "scenes"  # folder of the scenes, in that of their run


def open_dataset(
    kind: str,
    images: Path | None,
    annotations: Path | None,
    masks: Path | None,
    boxes: bool = False,
    reading: Reading | None = None,
    pairs: Path | None = None,
) -> Dataset:
    """The dataset that `iassa benchmark KIND` names.

    Args:
        kind: coco, masks, images or pairs; of mosaics the images that they are made of.
            `open_scenes` opens synthetic.
        images: folder of the images.
        annotations: file in COCO's instances format; for coco only.
        masks: folder of mask PNGs; for masks only.
        boxes: whether a box is a region where there is no outline; for coco only.
        reading: how the images are read; see `choose_reading` for the default.
        pairs: table of pairs; for pairs only.

    Raises:
        InputError: another kind, an option that is missing or belongs to another kind, or see the
            class of the dataset.
    """
    if kind not in KINDS:
        raise InputError(f"expected one of {', '.join(KINDS)}, got {kind!r}.")
    if images is None:
        raise InputError(f"expected `iassa benchmark {kind}` with --images. See --help.")
    for owner, option, value in (
        ("coco", "--annotations", annotations),
        ("masks", "--masks", masks),
        (PAIRS, "--pairs", pairs),
    ):
        if (value is None) is (owner == kind):
            verb = "with" if owner == kind else "without"
            raise InputError(f"expected `iassa benchmark {kind}` {verb} {option}. See --help.")
    if boxes and kind != "coco":
        raise InputError(f"expected `iassa benchmark {kind}` without --boxes. See --help.")
    from iassa.benchmark.datasets import Coco, ImageFolder, ImagePairs, MaskFolder

    reading = reading or choose_reading(kind, None, None, None)
    if annotations is not None:
        return Coco(images, annotations, reading, boxes)
    if pairs is not None:
        return ImagePairs(images, pairs, reading)
    return ImageFolder(images, reading) if masks is None else MaskFolder(images, masks, reading)


def open_scenes(
    run_folder: Path, photographs: Path | None, scenes: int | None, reading: Reading
) -> Dataset:
    """The dataset of `iassa benchmark synthetic`, in the folder of its run.

    Args:
        run_folder: of the run.
        photographs: folder of photographs to lay the scenes on; None to draw them.
        scenes: how many; see `SyntheticScenes`.
        reading: how the photographs are read.

    Raises:
        InputError: see `SyntheticScenes`.
    """
    from iassa.benchmark.datasets import ImageFolder, SyntheticScenes

    images = None if photographs is None else ImageFolder(photographs, reading)
    return SyntheticScenes(run_folder / SCENES, images, scenes)


def choose_reading(
    kind: str, orientation: str | None, white: float | None, max_pixels: int | None
) -> Reading:
    """How the images of a dataset are read.

    Args:
        kind: of the dataset.
        orientation: 'stored' or 'upright'; None for upright where nothing is annotated.
        white: see `Reading`.
        max_pixels: likewise; None for its default.

    Raises:
        InputError: another orientation, or no white or number of pixels.
    """
    from iassa.decoding import MAX_PIXELS, Reading

    chosen = orientation or ("stored" if kind in ("coco", "masks") else "upright")
    if chosen not in ("stored", "upright"):
        raise InputError(f"expected --orientation stored or upright, got {orientation!r}.")
    most = MAX_PIXELS if max_pixels is None else max_pixels
    return Reading(upright=chosen == "upright", white=white, max_pixels=most)
