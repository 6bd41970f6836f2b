"""The request form of model servers: the 'V2' or Open Inference Protocol of KServe and Triton.

https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol: the server says
at `GET .../v2/models/NAME` what its inputs and outputs are called and of which shape and datatype
they are, and answers at `POST .../v2/models/NAME/infer`. Where it lists the extension
`binary_tensor_data` at `GET .../v2`, images are sent as bytes behind the JSON, as numbers in the
JSON otherwise: those take ten times the room. The values are the same.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iassa.errors import InputError
from iassa.models.http.request_forms import (
    Body,
    RequestForm,
    UnexpectedAnswerError,
    as_scores,
    to_uint8,
)

__all__ = ["BINARY", "OpenInferenceForm", "Routes", "read_metadata", "routes"]

BINARY = "binary_tensor_data"
DATATYPES: dict[str, np.dtype[Any]] = {
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    "UINT8": np.dtype("u1"),
}
LAYOUTS = {"NCHW": 1, "NHWC": 3}  # and where the channels are


@dataclass(frozen=True)
class Routes:
    """Where a server answers.

    Attributes:
        server: the path of `GET v2`.
        model: of `GET v2/models/NAME`.
        infer: of `POST v2/models/NAME/infer`.
    """

    server: str
    model: str
    infer: str


def routes(path: str) -> Routes | None:
    """The three, from the path of a model, with or without `/infer`; None for another path."""
    found = re.fullmatch(r"(.*/v2)(/models/[^/]+(?:/versions/[^/]+)?)(?:/infer)?/?", path)
    if found is None:
        return None
    model = found[1] + found[2]
    return Routes(found[1], model, f"{model}/infer")


@dataclass(frozen=True, kw_only=True)
class OpenInferenceForm(RequestForm):
    """Tensors in JSON, or behind it; `read_metadata` makes it.

    Attributes:
        input_name: what the server calls the images.
        output_name: and the scores.
        datatype: of the images: FP32, FP64 or UINT8.
        layout: NCHW or NHWC.
        size: (height, width) that it takes; None for any.
        has_batch: whether there is an axis for several images.
        most: the most images in a request.
        binary: whether bytes are sent behind the JSON.
        scale: x in [0, 1] is sent as (scale x - mean) / std; not with UINT8, which is 255 x.
        mean: of each channel.
        std: of each channel.
    """

    input_name: str
    output_name: str
    datatype: str
    layout: str
    size: tuple[int, int] | None
    has_batch: bool
    most: int | None
    binary: bool
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def images(self, planes: Tensor) -> NDArray[Any]:
        """In the server's layout and datatype; see `RequestForm.images`."""
        values = planes if self.layout == "NCHW" else planes.permute(0, 2, 3, 1)
        if self.datatype == "UINT8":
            return to_uint8(values)
        if self.scale != 1 or any(self.mean) or set(self.std) != {1}:
            shape = (3, 1, 1) if self.layout == "NCHW" else (3,)
            mean = torch.tensor(self.mean).reshape(shape)
            values = (values * self.scale - mean) / torch.tensor(self.std).reshape(shape)
        return np.array(values.numpy(), dtype=DATATYPES[self.datatype], order="C")

    def body(self, images: NDArray[Any]) -> Body:
        """See `RequestForm.body`."""
        tensor: dict[str, Any] = {
            "name": self.input_name,
            "shape": list(images.shape if self.has_batch else images.shape[1:]),
            "datatype": self.datatype,
        }
        content = images.tobytes() if self.binary else b""
        if self.binary:
            tensor["parameters"] = {"binary_data_size": len(content)}
        else:
            tensor["data"] = images.ravel().tolist()
        request = {"inputs": [tensor], "outputs": [{"name": self.output_name}]}
        head = json.dumps(request).encode()
        if not self.binary:
            return {"content": head, "headers": {"Content-Type": "application/json"}}
        headers = {
            "Content-Type": "application/octet-stream",
            "Inference-Header-Content-Length": str(len(head)),
        }
        return {"content": head + content, "headers": headers}

    def scores(self, answer: object, count: int) -> NDArray[np.float64]:
        """The output's data in its shape; see `RequestForm.scores`."""
        named = {one.get("name"): one for one in _tensors(answer, "outputs")}
        output = named.get(self.output_name)
        if output is None or not isinstance(output.get("data"), list):
            raise UnexpectedAnswerError(f"an output {self.output_name!r} with its data")
        shape = output.get("shape")
        if not _is_shape(shape) or min(shape) < 0:
            raise UnexpectedAnswerError("an output with its shape")
        if not self.has_batch and len(shape) == 1:
            shape = [1, *shape]
        if len(shape) != 2:
            raise UnexpectedAnswerError(f"an output of shape [{count}, K] (got {shape})")
        if shape[0] != count:
            raise UnexpectedAnswerError(f"scores of {count} images (got {shape[0]})")
        try:
            data = np.asarray(output["data"]).reshape(shape)
        except (ValueError, OverflowError):
            raise UnexpectedAnswerError(f"{math.prod(shape)} numbers for {shape}") from None
        return as_scores(data, count)


def read_metadata(
    metadata: object,
    *,
    binary: bool,
    layout: str,
    size: tuple[int, int] | None,
    input_name: str,
    output_name: str,
    scale: float,
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> OpenInferenceForm:
    """The form in which a model wants its images, from what the server says of it.

    Args:
        metadata: the server's answer, parsed.
        binary: whether the server takes bytes behind the JSON.
        layout: NCHW, NHWC, or empty where the shape says it.
        size: (height, width) of the images; None for what the shape says.
        input_name: which input; may be empty if there is one.
        output_name: which output; may be empty if there is one.
        scale: see `OpenInferenceForm`.
        mean: see `OpenInferenceForm`.
        std: see `OpenInferenceForm`.

    Raises:
        InputError: the model takes no images, or what it says is not enough.
    """
    image = _choose(metadata, "inputs", input_name, "input_name")
    scores = _choose(metadata, "outputs", output_name, "output_name")
    name, shape, datatype = image["name"], image.get("shape"), image.get("datatype")
    found = f"got {name!r} of shape {shape} and datatype {datatype}"
    if datatype not in DATATYPES:
        raise InputError(
            f"expected an input of datatype {', '.join(DATATYPES)}, {found}. Wrap the model in one "
            "that converts."
        )
    if datatype == "UINT8" and (scale != 1 or any(mean) or set(std) != {1.0}):
        raise InputError(f"expected no scale, mean or std for 8-bit images, {found}. Leave them.")
    if not _is_shape(shape) or len(shape) not in (3, 4):
        raise InputError(f"expected an input [N, 3, H, W] or [N, H, W, 3], {found}.")
    batched = list(shape) if len(shape) == 4 else [1, *shape]
    if batched[0] not in (-1, 1):
        raise InputError(
            f"expected an input for any number of images or for one, {found}. Export it so."
        )
    there = _layout(batched, layout, found)
    height, width = batched[2:] if there == "NCHW" else batched[1:3]
    if size is None and height > 0 and width > 0:
        size = (height, width)
    if size is not None and not (height in (-1, size[0]) and width in (-1, size[1])):
        raise InputError(f"expected images of the size {size} that was given, {found}. Leave it.")
    if size is None and (height > 0 or width > 0):
        raise InputError(f"expected a size, as one edge is fixed: {found}. Give input_size.")
    return OpenInferenceForm(
        input_name=name,
        output_name=scores["name"],
        datatype=datatype,
        layout=there,
        size=size,
        has_batch=len(shape) == 4,
        most=1 if batched[0] == 1 else None,
        binary=binary,
        scale=scale,
        mean=mean,
        std=std,
    )


def _layout(batched: Sequence[int], layout: str, found: str) -> str:
    """Where the channels are, by the shape or by what was said."""
    likely = [one for one, axis in LAYOUTS.items() if batched[axis] in (3, -1)]
    if not likely:
        raise InputError(
            f"expected an input with 3 channels, {found}. Iassa shows RGB images: wrap a grey or "
            "multi-band model in one that takes them."
        )
    sure = [one for one, axis in LAYOUTS.items() if batched[axis] == 3]
    possible = sure if len(sure) == 1 else likely
    if layout and layout in likely:
        possible = [layout]
    if len(possible) != 1 or (layout and layout != possible[0]):
        raise InputError(
            f"expected an input with 3 channels whose place is plain, {found}. Give layout NCHW or "
            "NHWC as the model has it."
        )
    return possible[0]


def _choose(metadata: object, kind: str, wanted: str, setting: str) -> Mapping[str, Any]:
    try:
        tensors = _tensors(metadata, kind)
    except UnexpectedAnswerError as error:
        raise InputError(f"expected {error} in the model's metadata, got none.") from None
    names = [one["name"] for one in tensors]
    chosen = [one for one in tensors if one["name"] == wanted] if wanted else tensors
    if len(chosen) != 1:
        alone = " A model that needs more than the image has to be wrapped in one that does not."
        raise InputError(
            f"expected one of the {kind} {', '.join(names)}, got {wanted or 'no choice'}. Name it "
            f"with {setting}, or #{setting.replace('_', '-')}=NAME after the URL."
            + (alone if kind == "inputs" and not wanted else "")
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
