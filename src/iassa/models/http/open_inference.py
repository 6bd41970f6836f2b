"""The request form of model servers: the 'V2' or Open Inference Protocol of KServe and Triton.

https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol: `GET
.../v2/models/NAME` answers with names, shapes and datatypes of the inputs and outputs, and `POST
.../v2/models/NAME/infer` with scores. Where `GET .../v2` lists the extension `binary_tensor_data`,
images are sent as bytes behind the JSON, otherwise as numbers in the JSON: those take ten times the
room. The values are the same.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iassa.errors import BlackBoxError, InputError, require
from iassa.models.conventions import to_bytes
from iassa.models.http.connection import Connection
from iassa.models.http.request_forms import (
    Body,
    RequestForm,
    UnexpectedAnswerError,
    as_scores,
)
from iassa.models.http.settings import HttpSettings, Routes

__all__ = ["OpenInferenceForm", "read_form"]

BINARY = "binary_tensor_data"
DATATYPES: dict[str, np.dtype[Any]] = {
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    "UINT8": np.dtype("u1"),
}
LAYOUTS = {"NCHW": 1, "NHWC": 3}  # and the axis of the channels

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class OpenInferenceForm(RequestForm):
    """Tensors in JSON, or behind it; `read_form` makes it.

    Attributes:
        settings: of the model: x in [0, 1] is sent as (scale x - mean) / std.
        input_name: name of the images.
        output_name: name of the scores.
        datatype: of the images: FP32, FP64 or UINT8, which is 255 x.
        layout: NCHW or NHWC.
        has_batch: whether there is an axis for several images.
        binary: whether bytes are sent behind the JSON.
    """

    settings: HttpSettings
    input_name: str
    output_name: str
    datatype: str
    layout: str
    has_batch: bool
    binary: bool

    def images(self, planes: Tensor) -> NDArray[Any]:
        """In the server's layout and datatype; see `RequestForm.images`."""
        values = planes if self.layout == "NCHW" else planes.permute(0, 2, 3, 1)
        if self.datatype == "UINT8":
            values = to_bytes(values)
        elif _normalises(self.settings):
            shape = (3, 1, 1) if self.layout == "NCHW" else (3,)
            mean, std = (
                torch.tensor(one).reshape(shape) for one in (self.settings.mean, self.settings.std)
            )
            values = (values * self.settings.scale - mean) / std
        return np.array(values.numpy(), dtype=DATATYPES[self.datatype], order="C")

    def body(self, images: NDArray[Any]) -> Body:
        """See `RequestForm.body`."""
        content = images.tobytes() if self.binary else b""
        data = (
            {"parameters": {"binary_data_size": len(content)}}
            if self.binary
            else {"data": images.ravel().tolist()}
        )
        tensor = {
            "name": self.input_name,
            "shape": list(images.shape if self.has_batch else images.shape[1:]),
            "datatype": self.datatype,
        }
        request = {"inputs": [tensor | data], "outputs": [{"name": self.output_name}]}
        head = json.dumps(request).encode()
        headers = {"Content-Type": "application/json"}
        if self.binary:
            headers = {
                "Content-Type": "application/octet-stream",
                "Inference-Header-Content-Length": str(len(head)),
            }
        return {"content": head + content, "headers": headers}

    def scores(self, answer: object, count: int) -> NDArray[np.float64]:
        """The output's data in its shape; see `RequestForm.scores`."""
        named = {one["name"]: one for one in _tensors(answer, "outputs")}
        output = named.get(self.output_name, {})
        data, shape = output.get("data"), output.get("shape")
        if not isinstance(data, list):
            raise UnexpectedAnswerError(f"an output {self.output_name!r} with its data")
        if not _is_shape(shape) or min(shape) < 0:
            raise UnexpectedAnswerError("an output with its shape")
        if not self.has_batch and len(shape) == 1:
            shape = [1, *shape]
        if len(shape) != 2:
            raise UnexpectedAnswerError(f"an output of shape [{count}, K] (got {shape})")
        try:
            rows = np.asarray(data).reshape(shape)
        except (ValueError, OverflowError):
            raise UnexpectedAnswerError(f"{math.prod(shape)} numbers for {shape}") from None
        return as_scores(rows, count)


def _normalises(settings: HttpSettings) -> bool:
    return settings.scale != 1 or any(settings.mean) or set(settings.std) != {1}


def read_form(settings: HttpSettings, routes: Routes, connection: Connection) -> OpenInferenceForm:
    """The form in which a model wants its images, from its metadata.

    Args:
        settings: of the model.
        routes: URLs of the server.
        connection: to it.

    Raises:
        InputError: the model takes no images, or the metadata are not enough.
        BlackBoxError: no metadata.
    """
    metadata = connection.ask(routes.model, _as_it_is)
    image = _choose(metadata, "inputs", settings.input_name, "input_name")
    scores = _choose(metadata, "outputs", settings.output_name, "output_name")
    name, shape, datatype = image["name"], image.get("shape"), image.get("datatype")
    got = f"got {name!r} of shape {shape} and datatype {datatype}"
    require(
        datatype in DATATYPES,
        f"expected an input of datatype {', '.join(DATATYPES)}, {got}. Wrap the model in one that "
        "converts.",
    )
    require(
        datatype != "UINT8" or not _normalises(settings),
        f"expected no scale, mean or std for 8-bit images, {got}. Leave them out.",
    )
    if not _is_shape(shape) or len(shape) not in (3, 4):
        raise InputError(f"expected an input [N, 3, H, W] or [N, H, W, 3], {got}.")
    batched = shape if len(shape) == 4 else [1, *shape]
    require(
        batched[0] in (-1, 1),
        f"expected an input for any number of images or for one, {got}. Export it so.",
    )
    layout = _layout(batched, settings.layout, got)
    height, width = batched[2:] if layout == "NCHW" else batched[1:3]
    return OpenInferenceForm(
        url=routes.infer,
        size=_size(height, width, settings.input_size, got),
        most=1 if batched[0] == 1 else None,
        settings=settings,
        input_name=name,
        output_name=scores["name"],
        datatype=str(datatype),
        layout=layout,
        has_batch=len(shape) == 4,
        binary=_takes_bytes(routes, connection),
    )


def _as_it_is(answer: object) -> object:
    return answer


def _takes_bytes(routes: Routes, connection: Connection) -> bool:
    try:
        server = connection.ask(routes.server, _as_it_is)
    except BlackBoxError as error:  # a gateway may let requests about models through alone
        log.info("numbers are sent as text, as the server does not list its extensions: %s", error)
        return False
    extensions = server.get("extensions") if isinstance(server, dict) else None
    return isinstance(extensions, list) and BINARY in extensions


def _layout(batched: Sequence[int], wanted: str, got: str) -> str:
    """The layout that was asked for, or else the only one that the shape can be."""
    likely = [layout for layout, axis in LAYOUTS.items() if batched[axis] in (3, -1)]
    require(
        bool(likely),
        f"expected an input with 3 channels, {got}. Iassa shows RGB images: wrap a grey or "
        "multi-band model in one that takes them.",
    )
    sure = [layout for layout in likely if batched[LAYOUTS[layout]] == 3]
    possible = [wanted] if wanted else sure if len(sure) == 1 else likely
    require(
        len(possible) == 1 and possible[0] in likely,
        f"expected an input with 3 channels whose place is plain, {got}. Give layout NCHW or NHWC "
        "as the model has it.",
    )
    return possible[0]


def _size(
    height: int, width: int, wanted: tuple[int, int] | None, got: str
) -> tuple[int, int] | None:
    """(height, width) of the images; an edge of the input is -1 where any will do."""
    if wanted is not None:
        require(
            height in (-1, wanted[0]) and width in (-1, wanted[1]),
            f"expected images of the size {wanted} of the settings, {got}. Leave input_size out.",
        )
        return wanted
    if height > 0 and width > 0:
        return height, width
    require(
        height <= 0 and width <= 0,
        f"expected a size, as one edge is fixed: {got}. Give input_size.",
    )
    return None


def _choose(metadata: object, kind: str, wanted: str, setting: str) -> Mapping[str, Any]:
    try:
        tensors = _tensors(metadata, kind)
    except UnexpectedAnswerError as error:
        raise InputError(f"expected {error} in the model's metadata, got none.") from None
    names = [one["name"] for one in tensors]
    chosen = [one for one in tensors if wanted in ("", one["name"])]
    hint = " Wrap a model that needs more than the image in one that does not."
    require(
        len(chosen) == 1,
        f"expected one of the {kind} {', '.join(names)}, got {wanted or 'no choice'}. Name it with "
        f"{setting}, or #{setting.replace('_', '-')}=NAME after the URL."
        + (hint if kind == "inputs" else ""),
    )
    return chosen[0]


def _tensors(answer: object, kind: str) -> Sequence[Mapping[str, Any]]:
    tensors = answer.get(kind) if isinstance(answer, dict) else None
    if not isinstance(tensors, list) or not tensors:
        raise UnexpectedAnswerError(kind)
    if not all(isinstance(one, dict) and isinstance(one.get("name"), str) for one in tensors):
        raise UnexpectedAnswerError(f"{kind} with names")
    return tensors


def _is_shape(shape: object) -> TypeGuard[list[int]]:
    return (
        isinstance(shape, list)
        and bool(shape)
        and all(isinstance(edge, int) and not isinstance(edge, bool) for edge in shape)
    )
