"""Request forms with PNGs: the request about some images, and the scores in its answer.

`json`: POST of `{"images": ["<base64 of a PNG>", ...]}`, content type `application/json`.

`multipart`: POST of `multipart/form-data` with one part an image, all named `images`, with file
names `0.png`, `1.png`, ... and content type `image/png`.

Both are answered with `{"scores": [[...], ...]}`, a row an image in the order of the request, a
column a class. A row may be a number, or have more axes of length 1, as the scores of a function,
see `drop_trailing`. Other keys of the answer are ignored.

A PNG has 8 bits a channel and masked images are floats, so each value is rounded to the next of
256, always to the same one. The form of `open_inference.py` sends floats.
"""

from __future__ import annotations

import base64
import io
import json
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from iassa.models.answers import drop_trailing
from iassa.models.conventions import to_bytes

Body: TypeAlias = dict[str, Any]
"""Keywords of `httpx.Client.stream` for the content of a request."""

COMPRESSION = 1  # of zlib: the highest takes ten times as long for a fifth less


class UnexpectedAnswerError(Exception):
    """An answer of another form; the text says what was expected."""


@dataclass(frozen=True, kw_only=True)
class RequestForm(ABC):
    """How a request asks about images.

    Attributes:
        url: of the POST.
        size: (height, width) of the images; None for any.
        most: the most images in a request; None for any.
    """

    url: str
    size: tuple[int, int] | None
    most: int | None = None

    @abstractmethod
    def images(self, planes: Tensor) -> NDArray[Any]:
        """Images (N, ...) as they are sent, of planes (N, 3, H, W) in [0, 1]."""

    @abstractmethod
    def body(self, images: NDArray[Any]) -> Body:
        """A request about such images."""

    @abstractmethod
    def scores(self, answer: object, images: NDArray[Any]) -> NDArray[np.float64]:
        """Scores (N, K) in the answer to the request about such images.

        Raises:
            UnexpectedAnswerError: it is of another form, or to another request.
        """


@dataclass(frozen=True, kw_only=True)
class PngForm(RequestForm):
    """PNGs as base64 in JSON, or as parts of a multipart request.

    Attributes:
        multipart: whether they are parts.
    """

    multipart: bool

    def images(self, planes: Tensor) -> NDArray[np.uint8]:
        """(N, H, W, 3) uint8; see `RequestForm.images`."""
        return np.ascontiguousarray(to_bytes(planes.permute(0, 2, 3, 1)).numpy())

    def body(self, images: NDArray[np.uint8]) -> Body:
        """See `RequestForm.body`."""
        pngs = [_png(image) for image in images]
        if self.multipart:
            parts = [(f"{k}.png", png, "image/png") for k, png in enumerate(pngs)]
            return {"files": [("images", part) for part in parts]}
        content = json.dumps({"images": [base64.b64encode(png).decode() for png in pngs]})
        return {"content": content.encode(), "headers": {"Content-Type": "application/json"}}

    def scores(self, answer: object, images: NDArray[np.uint8]) -> NDArray[np.float64]:
        """The rows under `scores`; see `RequestForm.scores`."""
        if not isinstance(answer, dict) or not isinstance(answer.get("scores"), list):
            raise UnexpectedAnswerError('{"scores": [[...], ...]}')
        return as_scores(answer["scores"], len(images))


def _png(image: NDArray[np.uint8]) -> bytes:
    content = io.BytesIO()
    Image.fromarray(image).save(content, "PNG", compress_level=COMPRESSION)
    return content.getvalue()


def as_scores(rows: object, count: int) -> NDArray[np.float64]:
    """Rows of an answer as (N, K) float64, finite, with N = `count` and K at least 1.

    Args:
        rows: of the JSON; (N,) and (N, K, 1, ...) as well, see `drop_trailing`.
        count: N.

    Raises:
        UnexpectedAnswerError: they are anything else.
    """
    values = _as_objects(rows)
    if values.ndim >= 1 and len(values) != count:
        raise UnexpectedAnswerError(f"scores of {count} images (got {len(values)})")
    kinds = {*map(type, values.flat)}
    if list in kinds:
        raise UnexpectedAnswerError("as many scores for each image")
    if not kinds <= {int, float}:  # True, which NumPy takes for 1, is neither
        raise UnexpectedAnswerError(f"{count} rows of numbers, one for each class")
    try:
        scores = values.astype(np.float64)
    except OverflowError:  # a whole number of hundreds of digits
        scores = np.full(values.shape, np.inf)
    table = drop_trailing(torch.from_numpy(scores), count).numpy()
    if table.ndim != 2 or table.shape[1] == 0:
        raise UnexpectedAnswerError(f"{count} rows of numbers, one for each class")
    if not np.isfinite(table).all():
        raise UnexpectedAnswerError("finite scores (got NaN or infinity)")
    return table


def _as_objects(rows: object) -> NDArray[Any]:
    """What JSON has as lists in lists; where they do not fit, the array holds lists."""
    try:
        return np.asarray(rows, dtype=object)
    except ValueError:
        raise UnexpectedAnswerError("as many scores for each image") from None
