"""The folders that the page may show: galleries, and benchmark runs with their reports.

A file is served if its name is one that iassa gives and it lies in such a folder. No other is, and
no link leads out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Literal, TypeAlias

from iassa.benchmark.report import write_report
from iassa.benchmark.store.database import DATABASE
from iassa.errors import InputError, require
from iassa.explanations.record import RECORD
from iassa.files import inside, user_path
from iassa.gallery.entry import THUMBNAIL
from iassa.gallery.pages import is_ours
from iassa.gallery.photos import CONFIGURATION, INDEX

Kind: TypeAlias = Literal["gallery", "run"]

DEEPEST = 3  # folders below one that was named, in which others are found
MOST = 200  # folders that are listed
# What a gallery has, by the ending of its name.
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".jpg": "image/jpeg",
}
PICTURE = re.compile(r"(overlay-\d+(-[^/]*)?|sheet)\.png")


@dataclass(frozen=True)
class Shelved:
    """A folder that can be looked at.

    Attributes:
        name: for people, relative to what was named.
        kind: a gallery, or a run of a benchmark.
        folder: its path.
    """

    name: str
    kind: Kind
    folder: Path


class Shelf:
    """What lies in the folders that were named on the command line."""

    def __init__(self, folders: Sequence[Path]) -> None:
        """Look for galleries and runs.

        Args:
            folders: each a gallery, a run, or a folder of these.

        Raises:
            InputError: one is no folder, or has nothing to look at.
        """
        self._places: list[Shelved] = []
        for folder in map(user_path, folders):
            require(folder.is_dir(), f"expected a folder of runs or galleries, got {folder}.")
            found = [*_find(folder.resolve())]
            require(
                found,
                f"expected a gallery or a benchmark run in {folder}, got neither. Make one: iassa "
                "explain FOLDER, or iassa benchmark.",
            )
            self._places += found
        self._reports: dict[int, tuple[int, bytes]] = {}  # with the time of their run

    @property
    def places(self) -> Sequence[Shelved]:
        """What there is."""
        return self._places[:MOST]

    def read(self, number: int, name: str) -> tuple[bytes, str]:
        """A file of a gallery, and its type.

        Args:
            number: of the gallery, from 0.
            name: of the file, relative to it.

        Raises:
            InputError: there is no such file, or it is none of iassa's.
        """
        place = self._place(number, "gallery")
        path = inside(place.folder, name)
        refusal = f"expected a file of the gallery {place.name}, got {name!r}."
        require(path.resolve().is_relative_to(place.folder) and path.is_file(), refusal)
        last = PurePosixPath(name).name
        ours = last in (RECORD, THUMBNAIL) or PICTURE.fullmatch(last)
        require(ours or (last == INDEX and is_ours(path)), refusal)
        return path.read_bytes(), TYPES[path.suffix]

    def report(self, number: int) -> bytes:
        """The page of a run's report. It is made again where the run went on.

        Raises:
            InputError: there is no such run, or nothing of it is finished.
        """
        place = self._place(number, "run")
        changed = (place.folder / DATABASE).stat().st_mtime_ns
        then, page = self._reports.get(number, (0, b""))
        if then != changed:
            with TemporaryDirectory() as folder:
                made = write_report(place.folder, Path(folder))
                page = next(one.read_bytes() for one in made.files if one.suffix == ".html")
            self._reports[number] = (changed, page)
        return page

    def _place(self, number: int, kind: Kind) -> Shelved:
        known = 0 <= number < len(self._places) and self._places[number].kind == kind
        require(known, f"expected the number of a {kind}, got {number}.")
        return self._places[number]


def _find(root: Path, below: str = "") -> Iterator[Shelved]:
    name = f"{root.name}/{below}" if below else root.name
    folder = root / below
    try:
        if (folder / DATABASE).is_file():
            yield Shelved(name, "run", folder)
        elif (folder / CONFIGURATION).is_file() and is_ours(folder / INDEX):
            yield Shelved(name, "gallery", folder)
        elif below.count("/") < DEEPEST - 1:
            for one in sorted(folder.iterdir()):
                if one.is_dir() and not one.is_symlink() and not one.name.startswith("."):
                    yield from _find(root, f"{below}/{one.name}".lstrip("/"))
    except OSError as error:
        raise InputError(f"cannot look into {folder}: {error.strerror}.") from error
