"""The images that a command names by files, folders and patterns, and where each result goes."""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from iassa.benchmark.datasets.image_folder import IMAGE_SUFFIXES, find_files
from iassa.errors import InputError, list_some, require
from iassa.explanations.record import RECORD
from iassa.files import LOCK, folder_name, is_there, user_path

INDEX = "index.html"
CONFIGURATION = "gallery.json"
TABLES = ("audit.csv", "classes.csv")  # of an audit
RESERVED = frozenset({INDEX, CONFIGURATION, LOCK, *TABLES})  # names in the folder of a gallery
PATTERN = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class Photo:
    """An image of a gallery.

    Attributes:
        name: of its file, relative to the folder that all images lie in, with '/' between folders.
        path: of its file.
        folder: of its result, relative to that of the gallery, likewise.
    """

    name: str
    path: Path
    folder: str


@dataclass(frozen=True)
class Photos:
    """All images of a gallery.

    Attributes:
        folder: name of the folder that all of them lie in.
        photos: the images, in the order in which they were named.
        repeated: files that were named more than once; each is one photo.
    """

    folder: str
    photos: tuple[Photo, ...]
    repeated: tuple[str, ...]


def names_several(path: Path) -> bool:
    """Whether a path is a folder, or a pattern such as 'photos/*.jpg' and no file."""
    there = user_path(path)
    return there.is_dir() if is_there(there) else bool(PATTERN.search(str(path)))


def refuse_gallery(folder: Path, wanted: str) -> None:
    """Refuse the folder of a gallery for a result of another kind: no gallery goes on beside it.

    Args:
        folder: where the result goes.
        wanted: what it is.

    Raises:
        InputError: it is the folder of a gallery.
    """
    if is_there(user_path(folder) / CONFIGURATION):
        raise InputError(
            f"expected a folder for {wanted}, got that of a gallery: {folder}. Choose another one."
        )


def find_photos(paths: Sequence[Path]) -> Photos:
    """The images that files, folders and patterns name.

    A folder has the images that are in it and in its subfolders, by their suffixes. A pattern has
    all files that it matches; `**` matches any folders. Pictures beside a saved explanation are
    ours, and left out.

    Args:
        paths: of files, which need not be there; of folders; or patterns.

    Raises:
        InputError: a folder or a pattern without an image, a folder that cannot be read, or images
            whose results would go to one place.
    """
    files: dict[str, Path] = {}  # by whole path: links are images of their own
    roots: list[str] = []
    repeated: dict[str, None] = {}
    for path in paths:
        root, found = _find(path)
        roots.append(os.path.abspath(root))  # noqa: PTH100 - links stay
        for file in found:
            whole = os.path.abspath(file)  # noqa: PTH100
            if whole in files:
                repeated[str(file)] = None
            files.setdefault(whole, file)
    try:
        root = Path(os.path.commonpath(roots))
    except ValueError:  # on Windows
        raise InputError(f"expected images on one drive, got {list_some(roots)}.") from None
    names = [Path(whole).relative_to(root).as_posix() for whole in files]
    photos = map(Photo, names, files.values(), _places(names))
    return Photos(root.name, tuple(photos), (*repeated,))


def _find(path: Path) -> tuple[Path, list[Path]]:
    """The folder that a path is about, and the images that it names."""
    there = user_path(path)
    if not names_several(path):
        return there.parent, [there]
    if there.is_dir():
        names = find_files(there, IMAGE_SUFFIXES)
        found = [*_without_ours(there / name for name in names)]
        wanted = f"no file named {', '.join(IMAGE_SUFFIXES)}"
        require(found, f"expected images in {path}, got {wanted}. Name another folder.")
        return there, found
    parts = there.parts
    first = next(k for k, part in enumerate(parts) if PATTERN.search(part))
    matching = sorted(glob.glob(str(there), recursive=True))  # noqa: PTH207 - Path's has no `~`
    found = [*_without_ours(Path(one) for one in matching if not Path(one).is_dir())]
    require(found, f"expected images named {path}, got no such file. Check the pattern.")
    return Path(*parts[:first]), found


def _without_ours(files: Iterable[Path]) -> Iterator[Path]:
    """Those that do not lie beside a saved explanation, as its pictures do."""
    ours: dict[Path, bool] = {}
    for file in files:
        if file.parent not in ours:
            ours[file.parent] = (file.parent / RECORD).exists()
        if not ours[file.parent]:
            yield file


def _places(names: Sequence[str]) -> list[str]:
    """The folder for each result: the name without its suffix, or with it where that is not one."""
    whole = ["/".join(map(folder_name, name.split("/"))) for name in names]
    stems = [PurePosixPath(name).stem for name in names]
    short = [
        PurePosixPath(long).with_name(folder_name(stem)).as_posix()
        for long, stem in zip(whole, stems, strict=True)
    ]
    taken = Counter(place.casefold() for place in short)
    above = {str(parent).casefold() for place in short for parent in PurePosixPath(place).parents}
    places = [
        long if taken[place.casefold()] > 1 or place.casefold() in above | RESERVED else place
        for place, long in zip(short, whole, strict=True)
    ]
    twice = [place for place, count in Counter(places).items() if count > 1]
    require(
        not twice and RESERVED.isdisjoint(places) and above.isdisjoint(map(str.casefold, places)),
        "expected images with different names, since the name is the folder of the result, got "
        f"two for {list_some(twice or sorted(above & {*places}))}. Rename one, or explain it "
        "alone.",
    )
    return places
