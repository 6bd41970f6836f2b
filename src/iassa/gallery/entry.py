"""What a gallery shows of an image, and the mark that the image is done.

`entry.json` lies beside the saved explanation. It is written twice: first as a mark of what is made
there, last as an entry. So where it is an entry all else is there, too.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import binary_dilation

from iassa.archives import read_json
from iassa.checks import Within, take_json
from iassa.errors import InputError
from iassa.explanations.explanation import Explanation
from iassa.explanations.record import RECORD, Value
from iassa.files import read_whole
from iassa.image import encode_jpeg
from iassa.metrics.border_share import border_share

ENTRY = "entry.json"
THUMBNAIL = "thumbnail.jpg"
LONGEST = 320  # pixels of the longer side of a thumbnail
QUALITY = 82  # of its JPEG, of 100
LARGEST = 2**20  # bytes of an entry


@dataclass(frozen=True, kw_only=True)
class Mark:
    """What a folder is for.

    Attributes:
        run: digest of the settings of the gallery.
        image: SHA-256 of the image file, and of what else the task was made of.
    """

    run: str
    image: str


@dataclass(frozen=True, kw_only=True)
class Entry(Mark):
    """An image of a gallery that is done.

    Attributes:
        run: see `Mark`.
        image: likewise.
        record: SHA-256 of `explanation.json`.
        target: name of the first target.
        score: of the image, for that target.
        further: how many targets there are besides.
        error: the largest relative error of the targets' maps; None where it is not known.
        border: the largest border share of them, see `metrics.border_share`.
        warnings: how many there are.
        size: (width, height) of the thumbnail.
        pictures: names of the files of the pictures, of that with all targets first.
        facts: see `Explained`.
    """

    record: str
    target: str
    score: float
    further: Annotated[int, Within(0)]
    error: Annotated[float | None, Within(0)]
    border: Annotated[float, Within(0, 1)]
    warnings: Annotated[int, Within(0)]
    size: Annotated[tuple[int, int], Within(1, LONGEST)]
    pictures: tuple[str, ...]
    facts: Mapping[str, Value] | None = None


def make_entry(
    explanation: Explanation,
    pictures: Collection[str],
    mark: Mark,
    record: str,
    facts: Mapping[str, Value] | None = None,
    outline: NDArray[np.bool_] | None = None,
) -> tuple[Entry, bytes]:
    """The entry of an explanation that was saved, and its thumbnail.

    Args:
        explanation: of the image.
        pictures: names of the files of its pictures, as `render` gives them.
        mark: of its folder.
        record: see `Entry`.
        facts: likewise.
        outline: see `Explained`.
    """
    content, size = _draw_thumbnail(explanation, outline)
    error = explanation.relative_error
    entry = Entry(
        run=mark.run,
        image=mark.image,
        record=record,
        target=explanation.targets[0].name,
        score=explanation.scores[0],
        further=len(explanation.targets) - 1,
        error=error if math.isfinite(error) else None,
        border=max(border_share(one) for one in explanation.saliency),
        warnings=len(explanation.warnings),
        size=size,
        pictures=tuple(sorted(pictures, key=lambda name: name.startswith("overlay"))),
        facts=facts,
    )
    return entry, content


def pack_mark(mark: Mark) -> bytes:
    """The content of `entry.json`, for a mark or an entry."""
    return json.dumps(dataclasses.asdict(mark), indent=1, allow_nan=False).encode() + b"\n"


def read_mark(folder: Path) -> Mark | Entry | None:
    """What `pack_mark` wrote into a folder; None where nothing is, or other than that."""
    try:
        with (folder / ENTRY).open("rb") as file:
            content = read_json(file.read(LARGEST), ENTRY)
        kind = Entry if isinstance(content, dict) and "record" in content else Mark
        mark: Mark = take_json(content, kind, ENTRY)
    except (OSError, InputError):
        return None
    return mark


def digest_record(folder: Path) -> str:
    """SHA-256 of the record of the explanation in a folder.

    Raises:
        InputError: it cannot be read.
    """
    return hashlib.sha256(read_whole(folder / RECORD)).hexdigest()


def _draw_thumbnail(
    explanation: Explanation, outline: NDArray[np.bool_] | None
) -> tuple[bytes, tuple[int, int]]:
    """The first map over the image as a JPEG, and its (width, height)."""
    from iassa.explanations.drawing import Colours  # here: half a second to import

    saliency, error = explanation.saliency[0], explanation.standard_error[0]
    colours = Colours.over(saliency, explanation.method["measures"])
    painted = colours.paint(explanation.image, saliency, error)
    picture = Image.fromarray(np.ascontiguousarray(painted[:, :, :3]))
    picture.thumbnail((LONGEST, LONGEST))
    if outline is not None:
        picture = _outline(picture, outline)
    return encode_jpeg(picture, QUALITY), picture.size


def _outline(picture: Image.Image, region: NDArray[np.bool_]) -> Image.Image:
    """A line around a region, white on black so that it is seen on anything."""
    mask = np.asarray(Image.fromarray(region).resize(picture.size))
    pixels = np.array(picture)
    line = binary_dilation(mask) & ~mask
    pixels[binary_dilation(line) & ~mask] = 0
    pixels[line] = 255
    return Image.fromarray(pixels)
