"""Request forms with PNGs: what is sent for some images, and where the scores are in the answer.

`json`: POST of `{"images": ["<base64 of a PNG>", ...]}`, content type `application/json`.

`multipart`: POST of `multipart/form-data` with one part an image, all named `images`, with file
names `0.png`, `1.png`, ... and content type `image/png`.

Both are answered with `{"scores": [[...], ...]}`, a row an image in the order of the request, a
column a class. Other keys of the answer are ignored.

A PNG has 8 bits a channel and masked images are floats, so each value is rounded to the next of
256, always to the same one. The form of `open_inference.py` sends floats.
"""

from __future__ import annotations

import base64
import io
import json
from abc import ABC, abstractmethod
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

__all__ = [
    "Body",
    "JsonForm",
    "MultipartForm",
    "RequestForm",
    "UnexpectedAnswerError",
    "as_scores",
    "to_uint8",
]

Body: TypeAlias = dict[str, Any]
"""Keywords of `httpx.Client.request` that say what is sent."""

COMPRESSION = 1  # of zlib: the highest takes ten times as long for a fifth less


class UnexpectedAnswerError(Exception):
    """An answer of another form; the text says what was expected."""


class RequestForm(ABC):
    """How images are asked about.

    Attributes:
        most: the most images in a request; None for any.
    """

    most: int | None = None

    @abstractmethod
    def images(self, planes: Tensor) -> NDArray[Any]:
        """Images as they are sent, the first axis theirs, of planes (N, 3, H, W) in [0, 1]."""

    @abstractmethod
    def body(self, images: NDArray[Any]) -> Body:
        """A request about such images."""

    @abstractmethod
    def scores(self, answer: object, count: int) -> NDArray[np.float64]:
        """Scores (N, K) in the answer about N = `count` images.

        Raises:
            UnexpectedAnswerError: it is of another form.
        """


class _PngForm(RequestForm):
    def images(self, planes: Tensor) -> NDArray[np.uint8]:
        """(N, H, W, 3) uint8; see `RequestForm.images`."""
        return to_uint8(planes.permute(0, 2, 3, 1))

    def scores(self, answer: object, count: int) -> NDArray[np.float64]:
        """What is under `scores`; see `RequestForm.scores`."""
        if not isinstance(answer, dict) or not isinstance(answer.get("scores"), list):
            raise UnexpectedAnswerError('{"scores": [[...], ...]}')
        return as_scores(answer["scores"], count)


class JsonForm(_PngForm):
    """Base64 in JSON."""

    def body(self, images: NDArray[np.uint8]) -> Body:
        """See `RequestForm.body`."""
        texts = [base64.b64encode(_png(image)).decode() for image in images]
        content = json.dumps({"images": texts}).encode()
        return {"content": content, "headers": {"Content-Type": "application/json"}}


class MultipartForm(_PngForm):
    """A part an image."""

    def body(self, images: NDArray[np.uint8]) -> Body:
        """See `RequestForm.body`."""
        parts = [(f"{k}.png", _png(image), "image/png") for k, image in enumerate(images)]
        return {"files": [("images", part) for part in parts]}


def to_uint8(values: Tensor) -> NDArray[np.uint8]:
    """Values in [0, 1] as the nearest of 0, ..., 255."""
    rounded = (values * 255).round_().clamp_(0, 255).to(torch.uint8)
    return np.ascontiguousarray(rounded.numpy())


def _png(image: NDArray[np.uint8]) -> bytes:
    content = io.BytesIO()
    Image.fromarray(image).save(content, "PNG", compress_level=COMPRESSION)
    return content.getvalue()


def as_scores(rows: object, count: int) -> NDArray[np.float64]:
    """Rows of an answer as (N, K) float64, finite, with N = `count` and K at least 1.

    Raises:
        UnexpectedAnswerError: they are anything else.
    """
    try:
        scores = np.asarray(rows)
    except (ValueError, OverflowError):  # rows of different lengths
        raise UnexpectedAnswerError("as many scores for each image") from None
    if scores.ndim >= 1 and len(scores) != count:
        raise UnexpectedAnswerError(f"scores of {count} images (got {len(scores)})")
    if scores.ndim != 2 or scores.shape[1] == 0 or scores.dtype.kind not in "iuf":
        raise UnexpectedAnswerError(f"{count} rows of numbers, one for each class")
    if not np.isfinite(scores).all():
        raise UnexpectedAnswerError("finite scores (got NaN or infinity)")
    return scores.astype(np.float64)
