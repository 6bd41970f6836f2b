"""The request form of model servers: the 'V2' or Open Inference Protocol of KServe and Triton.

https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol: `GET
.../v2/models/NAME` answers with names, shapes and datatypes of the inputs and outputs, and `POST
.../v2/models/NAME/infer` with scores. Where `GET .../v2` lists the extension `binary_tensor_data`,
images are sent as bytes behind the JSON, otherwise as numbers in the JSON: those take ten times the
room. The values are the same.

A request has an `id`, a digest of its images, and a server has to send it back. So an answer to
another request is found out, as one that a gateway has confused; but not with a server that sends
none.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iassa.checks import SIDES, InputSize, Within, fits
from iassa.errors import BlackBoxError, InputError, list_choices, require, show
from iassa.models.conventions import ASK_RANGE, Conventions, raise_missing, to_bytes
from iassa.models.http.connection import Connection
from iassa.models.http.request_forms import Body, RequestForm, UnexpectedAnswerError, as_scores
from iassa.models.http.score_cache import digest
from iassa.models.http.settings import HttpSettings
from iassa.query import format_fields

Shape: TypeAlias = tuple[int, ...]

BINARY = "binary_tensor_data"
DATATYPES: dict[str, np.dtype[Any]] = {
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    "UINT8": np.dtype("u1"),
}

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class OpenInferenceForm(RequestForm):
    """Tensors in JSON, or behind it; `read_form` makes it.

    Attributes:
        conventions: of the model: range, mean, std and the order of channels.
        input_name: name of the images.
        output_name: name of the scores.
        datatype: of the images: FP32, FP64 or UINT8, which is 255 x.
        layout: NCHW or NHWC.
        has_batch: whether there is an axis for several images.
        binary: whether bytes are sent behind the JSON.
    """

    conventions: Conventions
    input_name: str
    output_name: str
    datatype: str
    layout: str
    has_batch: bool
    binary: bool

    def images(self, planes: Tensor) -> NDArray[Any]:
        """In the server's layout and datatype; see `RequestForm.images`."""
        own = self.conventions
        values = planes.flip(1) if own.bgr else planes
        if self.datatype == "UINT8":
            values = to_bytes(values)
        else:
            mean = torch.tensor(own.mean or (0.0,) * 3)[:, None, None]
            std = torch.tensor(own.std or (1.0,) * 3)[:, None, None]
            values = (values * (own.high - own.low) + own.low - mean) / std
        if self.layout == "NHWC":
            values = values.permute(0, 2, 3, 1)
        return np.array(values.numpy(), dtype=DATATYPES[self.datatype], order="C")

    def body(self, images: NDArray[Any]) -> Body:
        """See `RequestForm.body`."""
        content = images.tobytes()
        tensor: dict[str, Any] = {
            "name": self.input_name,
            "shape": images.shape if self.has_batch else images.shape[1:],
            "datatype": self.datatype,
        }
        if self.binary:
            tensor["parameters"] = {"binary_data_size": len(content)}
        else:
            tensor["data"] = images.ravel().tolist()
        request = {
            "id": digest(content).hex(),
            "inputs": [tensor],
            "outputs": [{"name": self.output_name}],
        }
        head = json.dumps(request).encode()
        if not self.binary:
            return {"content": head, "headers": {"Content-Type": "application/json"}}
        headers = {"Inference-Header-Content-Length": str(len(head))}
        headers["Content-Type"] = "application/octet-stream"
        return {"content": head + content, "headers": headers}

    def scores(self, answer: Any, images: NDArray[Any]) -> NDArray[np.float64]:
        """The output's data in its shape; see `RequestForm.scores`."""
        try:
            (output,) = (one for one in answer["outputs"] if one["name"] == self.output_name)
            shape = tuple(output["shape"])
            rows = np.asarray(output["data"], dtype=object).reshape(shape)
            if not fits(shape, Annotated[Shape, Within(0)]):  # -1 would be any
                raise ValueError
            named = answer.get("id")
        except (LookupError, TypeError, ValueError, OverflowError, AttributeError):
            raise UnexpectedAnswerError(
                f"an output {self.output_name!r} with its shape and as many numbers in its data"
            ) from None
        if rows.ndim == 1 and not self.has_batch:
            rows = rows[None]
        if named not in (None, "", digest(images.tobytes()).hex()):
            raise UnexpectedAnswerError("the answer to this request, by its id (got another's)")
        return as_scores(rows, len(images))


def read_form(settings: HttpSettings, connection: Connection) -> OpenInferenceForm:
    """The form in which a model wants its images, from its metadata.

    Args:
        settings: of a model of form v2.
        connection: to its server.

    Raises:
        InputError: the model takes no images, or the metadata are not enough.
        BlackBoxError: no metadata.
    """
    server, model, infer = settings.v2_urls
    metadata = connection.get(model)
    image = _choose(metadata, "inputs", settings.input_name, "input_name", None)
    missing: dict[str, str] = {}
    scores = _choose(metadata, "outputs", settings.output_name, "output_name", missing)
    name, shape, datatype = image["name"], image.get("shape"), str(image.get("datatype"))
    got = f"got {show(name)} of shape {show(shape)} and datatype {show(datatype)}"
    require(
        datatype in DATATYPES,
        f"expected an input of datatype {', '.join(DATATYPES)}, {got}. Wrap the model in one that "
        "converts.",
    )
    given = settings.mean or settings.range
    require(
        datatype != "UINT8" or given in (None, (0, 255)),
        f"expected no range, mean or std for 8-bit images, {got}. Leave them out.",
    )
    if not isinstance(shape, list) or len(shape) not in (3, 4) or not fits(tuple(shape), Shape):
        raise InputError(f"expected an input [N, 3, H, W] or [N, H, W, 3], {got}.")
    batch, *axes = shape if len(shape) == 4 else [1, *shape]
    require(
        batch in (-1, 1),
        f"expected an input for any number of images or for one, {got}. Export it so.",
    )
    layout = _choose_layout(axes, settings.layout, got)
    edges = axes[1:] if layout == "NCHW" else axes[:2]
    if not layout:
        missing["layout=NCHW"] = "Give layout=NCHW or layout=NHWC"
    if settings.input_size is None and min(edges) < 0 < max(edges):
        missing["input_size=224,224"] = "Give input_size=HEIGHT,WIDTH: one edge is fixed"
    if given is None and datatype != "UINT8":
        missing["range=0-1"] = ASK_RANGE
    _raise_missing(settings, missing, got)
    return OpenInferenceForm(
        url=infer,
        size=_choose_size(edges, settings.input_size, got),
        most=1 if batch == 1 else None,
        conventions=settings.conventions,
        input_name=name,
        output_name=scores["name"],
        datatype=datatype,
        layout=layout,
        has_batch=len(shape) == 4,
        binary=_takes_bytes(server, connection),
    )


def _raise_missing(settings: HttpSettings, missing: Mapping[str, str], got: str) -> None:
    """Raise one error for all that is open: texts by 'field=value', as in `OnnxFile`."""
    names = settings.class_names
    shown = vars(settings) | {"class_names": names if isinstance(names, str | Path) else None}
    said = format_fields(HttpSettings, shown)
    url, key, _ = settings.url.partition("?")  # which may be a key
    whole = f"{url}{key and '?...'}#{'&'.join(filter(None, (said, *missing)))}"
    given = f"{said or 'no settings'} and {got.removeprefix('got ')}"
    raise_missing(settings.label, missing, given, whole, "HttpModel")


def _choose(
    metadata: Any, kind: str, wanted: str, setting: str, missing: dict[str, str] | None
) -> Mapping[str, Any]:
    """The input or output of a name, or the only one; the first where `missing` takes the rest."""
    tensors: dict[str, Mapping[str, Any]] = {}
    with suppress(LookupError, TypeError):
        tensors = {str(one["name"]): one for one in metadata[kind]}
    require(
        tensors,
        f"expected {kind} with names in the model's metadata, got none. Check the URL.",
    )
    chosen = [one for name, one in tensors.items() if wanted in ("", name)]
    if missing is not None and len(chosen) > 1:
        first = next(iter(tensors))
        named = list_choices(tensors)
        missing[f"{setting}={first}"] = f"Give {setting}=... of its scores, one of {named}"
        return chosen[0]
    hint = " Wrap a model that needs more than the image in one that does not."
    require(
        len(chosen) == 1,
        f"expected one of the {kind} {list_choices(tensors)}, got "
        f"{wanted or 'no choice'}. Name it with {setting}, or #{setting.replace('_', '-')}=NAME "
        "after the URL." + (hint if kind == "inputs" else ""),
    )
    return chosen[0]


def _choose_layout(axes: Sequence[int], wanted: str, got: str) -> str:
    """The layout of the settings, or else what the axes of an image can have; empty for both."""
    channels = {"NCHW": axes[0], "NHWC": axes[2]}
    likely = [layout for layout, number in channels.items() if number in (3, -1)]
    sure = [layout for layout in likely if channels[layout] == 3]
    require(
        likely,
        f"expected an input with 3 channels, {got}. Iassa shows RGB images: wrap a grey or "
        "multi-band model in one that takes them.",
    )
    possible = [wanted] if wanted else sure if len(sure) == 1 else likely
    require(
        possible[0] in likely,
        f"expected an input with 3 channels for layout {wanted}, {got}. Give layout {likely[0]}.",
    )
    return possible[0] if len(possible) == 1 else ""


def _choose_size(
    edges: Sequence[int], wanted: tuple[int, int] | None, got: str
) -> tuple[int, int] | None:
    """(height, width) of the images; None for any. An edge of -1 takes any number of pixels."""
    if wanted is None and max(edges) < 0:
        return None
    height, width = wanted or edges
    require(
        fits((height, width), InputSize),
        f"expected an input with sides {SIDES}, {got}. Check the model's metadata.",
    )
    require(
        all(edge in (-1, pixels) for edge, pixels in zip(edges, (height, width), strict=True)),
        f"expected images of the size {wanted} of the settings, {got}. Leave input_size out.",
    )
    return height, width


def _takes_bytes(server: str, connection: Connection) -> bool:
    try:
        return BINARY in connection.get(server)["extensions"]
    except (LookupError, TypeError):
        return False
    except BlackBoxError as error:  # a gateway may let requests about models through alone
        log.info("numbers are sent as text, as the server does not list its extensions: %s", error)
        return False
