"""Pairs of images of a folder, as a table names them."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from iassa.benchmark.datasets.image_folder import ImageFolder, digest_lines
from iassa.benchmark.datasets.sample import Annotated, Dataset, Sample
from iassa.decoding import UPRIGHT, Reading
from iassa.errors import InputError, list_some, show
from iassa.files import read_whole, user_path

HEADER = ["image", "query"]
FORM = "a CSV file with the columns image,query"


class ImagePairs(Dataset):
    """Images, and the query images that each is compared with.

    The table is a CSV file in UTF-8. Its first row is `image,query`; each other row names two
    images of the folder, with '/' between folders. The samples are the images of the first column,
    and their categories are the names of their queries.
    """

    kind = "pairs"

    def __init__(self, images: Path, pairs: Path, reading: Reading = UPRIGHT) -> None:
        """List the folder, and read the table and the files of all queries.

        Args:
            images: folder of the images; see `ImageFolder`.
            pairs: the table.
            reading: how the images are read: upright by default, as people see them.

        Raises:
            InputError: the folder has no image, or the table is none: it has other columns, no
                pair, a name of no image, one pair twice, or an image that is paired with itself.
        """
        self.reading = reading
        self._images = ImageFolder(images, reading)
        self._pairs = _read_pairs(user_path(pairs))
        self._by_name = {sample.name: sample for sample in self._images.samples()}
        named = dict.fromkeys(name for pair in self._pairs for name in pair)
        unknown = [show(name) for name in named if name not in self._by_name]
        if unknown:
            raise InputError(
                f"expected names of images in {images} in {pairs}, got {list_some(unknown)}. "
                "Names start from the folder; correct them, or add the images."
            )
        queries: dict[str, list[str]] = {}
        for image, query in self._pairs:
            queries.setdefault(image, []).append(query)
        self._samples = tuple(
            replace(sample, categories=tuple(queries[name]))
            for name, sample in self._by_name.items()
            if name in queries
        )
        self.categories = tuple(sorted({query for _, query in self._pairs}))
        self._digests = {name: _digest(self._read(name)) for name in self.categories}

    def samples(self) -> Sequence[Sample]:
        """The images that have a query, by name relative to the folder."""
        return self._samples

    def annotations(self, sample: Sample, size: tuple[int, int]) -> Iterator[Annotated]:
        """Nothing."""
        return iter(())

    def read_query(self, name: str) -> bytes:
        """The content of the file of a query.

        Raises:
            InputError: it cannot be read, or has changed since the table was read.
        """
        content = self._read(name)
        if _digest(content) != self._digests[name]:
            raise InputError(
                f"the query {name} is not as it was when the run began. Put it back, or begin "
                "another run."
            )
        return content

    def describe(self) -> dict[str, Any]:
        """As `ImageFolder`, with the pairs and the content of the queries."""
        pairs = digest_lines("\0".join(pair) for pair in sorted(self._pairs))
        queries = digest_lines(f"{name}\0{digest}" for name, digest in self._digests.items())
        return self._images.describe() | {"kind": self.kind, "pairs": pairs, "queries": queries}

    def _read(self, name: str) -> bytes:
        return read_whole(self._by_name[name].path, "the query")


def _read_pairs(path: Path) -> list[tuple[str, str]]:
    content = read_whole(path, "the pairs")
    try:
        rows = list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"expected {FORM} in UTF-8, got {path}: {error}. Correct it.") from None
    rows = [[cell.strip() for cell in row] for row in rows]
    if not rows or rows[0] != HEADER:
        got = show(",".join(rows[0])) if rows else "an empty file"
        raise InputError(f"expected {FORM} as its first row, got {got} in {path}. Correct it.")
    pairs: dict[tuple[str, str], None] = {}
    for number, row in enumerate(rows[1:], 2):
        if not any(row):
            continue
        if len(row) != len(HEADER) or not all(row):
            raise InputError(
                f"expected an image and a query in row {number} of {path}, got "
                f"{show(','.join(row))}. Correct it."
            )
        image, query = row
        if image == query or (image, query) in pairs:
            wrong = "an image with itself" if image == query else "a pair twice"
            raise InputError(
                f"expected pairs of two images, each once, got {wrong} in row {number} of {path}: "
                f"{show(','.join(row))}. Leave it out."
            )
        pairs[image, query] = None
    if not pairs:
        raise InputError(f"expected {FORM} and a row for each pair, got none in {path}. Add some.")
    return [*pairs]


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
