"""A folder of images without annotations."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from iassa.benchmark.datasets.sample import Annotated, Dataset, Sample
from iassa.decoding import UPRIGHT, Reading
from iassa.errors import InputError
from iassa.files import user_path

# The usual formats of photographs that Pillow reads on every system.
IMAGE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


class ImageFolder(Dataset):
    """All images in a folder and its subfolders, by name.

    An image is a file with a suffix in `IMAGE_SUFFIXES`, whatever its case. Other files are
    skipped, and so are names that begin with a dot and links to other folders.
    """

    kind = "images"

    def __init__(self, images: Path, reading: Reading = UPRIGHT) -> None:
        """List the folder.

        Args:
            images: the folder.
            reading: how the images are read: upright by default, as people see them.

        Raises:
            InputError: the folder does not exist, or has no image.
        """
        images = user_path(images)
        files = list_files(images, IMAGE_SUFFIXES)
        if not files:
            suffixes = ", ".join(IMAGE_SUFFIXES)
            raise InputError(
                f"expected images in {images}, got no file named {suffixes}. Name another folder."
            )
        self.reading = reading
        self._samples = tuple(Sample(name, images / name, i) for i, name in enumerate(files))

    def samples(self) -> Sequence[Sample]:
        """All images, by name relative to the folder."""
        return self._samples

    def annotations(self, sample: Sample, size: tuple[int, int]) -> Iterator[Annotated]:
        """Nothing."""
        return iter(())

    def describe(self) -> dict[str, Any]:
        """Names of the images and sizes of the files. No image is read."""
        lines = (f"{each.name}\0{each.path.stat().st_size}" for each in self._samples)
        return {"kind": self.kind, "images": digest_lines(lines), **self.reading.describe()}


def list_files(folder: Path, suffixes: Sequence[str]) -> list[str]:
    """Files in a folder and its subfolders, all of which are there and can be named in a text.

    Args:
        folder: see `find_files`.
        suffixes: likewise.

    Returns:
        Their names, as `find_files` gives them.

    Raises:
        InputError: see `find_files`; or a name is not UTF-8, or is of a link to no file.
    """
    found = find_files(folder, suffixes)
    for name in found:
        if any("\ud800" <= letter <= "\udfff" for letter in name):  # bytes that are no UTF-8
            raise InputError(f"expected file names in UTF-8 in {folder}, got {name!r}. Rename it.")
        if not (folder / name).is_file():
            raise InputError(f"expected files in {folder}, got a link to none: {name}. Remove it.")
    return found


def find_files(folder: Path, suffixes: Sequence[str]) -> list[str]:
    """Files in a folder and its subfolders.

    Args:
        folder: links to other folders in it are not followed.
        suffixes: in lower case; files with other suffixes are skipped.

    Returns:
        Names relative to the folder, with '/' between folders, sorted. Names that begin with a dot
        are skipped: tools leave such files.

    Raises:
        InputError: a folder does not exist or cannot be read.
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
