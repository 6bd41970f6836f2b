"""A folder of images without annotations."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from iassa.benchmark.datasets.sample import Annotated, Dataset, Sample
from iassa.errors import InputError

__all__ = ["IMAGE_SUFFIXES", "ImageFolder", "digest_lines", "list_files"]

# Of what people keep photographs in and Pillow reads everywhere; other files are passed over.
IMAGE_SUFFIXES = (
    ".bmp",
    ".gif",
    ".jpeg",
    ".jpg",
    ".pgm",
    ".png",
    ".ppm",
    ".tif",
    ".tiff",
    ".webp",
)


class ImageFolder(Dataset):
    """All images in a folder and its subfolders, by name.

    An image is a file with a suffix in `IMAGE_SUFFIXES`, whatever its case. Other files are passed
    over, and so is what begins with a dot and what links to other folders hold.
    """

    kind = "images"

    def __init__(self, images: Path) -> None:
        """List the folder.

        Args:
            images: the folder.

        Raises:
            InputError: no such folder, or no image in it.
        """
        files = list_files(images, IMAGE_SUFFIXES)
        if not files:
            raise InputError(
                f"expected images in {images}, got no file whose name ends in "
                f"{', '.join(IMAGE_SUFFIXES)}. Name the folder that holds them."
            )
        self._samples = tuple(Sample(name, images / name, i) for i, name in enumerate(files))

    def samples(self) -> Sequence[Sample]:
        """All images, by name relative to the folder."""
        return self._samples

    def annotations(self, sample: Sample, size: tuple[int, int]) -> Iterator[Annotated]:
        """None."""
        del sample, size
        return iter(())

    def describe(self) -> dict[str, Any]:
        """Names of the images, and the bytes that each takes: none of them is read."""
        lines = (f"{each.name}\0{each.path.stat().st_size}" for each in self._samples)
        return {"kind": self.kind, "images": digest_lines(lines)}


def list_files(folder: Path, suffixes: Sequence[str]) -> list[str]:
    """Files in a folder and its subfolders.

    Args:
        folder: links to other folders in it are not followed.
        suffixes: in lower case; files with others are passed over.

    Returns:
        Names relative to the folder, with '/' between folders, sorted; none with a part that
        begins with a dot, as what tools leave beside the files does.

    Raises:
        InputError: no such folder; one that cannot be read; a name that is no text.
    """
    if not folder.is_dir():
        raise InputError(f"expected a folder, got {folder}. Check the path.")
    found: list[str] = []
    for place, folders, names in os.walk(folder, onerror=_refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        relative = Path(place).relative_to(folder)
        found += [
            (relative / name).as_posix()
            for name in names
            if Path(name).suffix.lower() in suffixes and not name.startswith(".")
        ]
    for name in found:
        if any("\ud800" <= letter <= "\udfff" for letter in name):  # bytes that are no UTF-8
            raise InputError(f"expected file names in UTF-8 in {folder}, got {name!r}. Rename it.")
        if not (folder / name).is_file():
            raise InputError(f"expected files in {folder}, got a link to none: {name}. Remove it.")
    return sorted(found)


def digest_lines(lines: Iterable[str]) -> str:
    """SHA-256 of lines of text."""
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line.encode() + b"\n")
    return digest.hexdigest()


def _refuse(error: OSError) -> None:
    raise InputError(
        f"cannot read the folder {error.filename}: {error.strerror}. Check its rights."
    ) from None
