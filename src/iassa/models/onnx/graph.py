"""What an ONNX file says of its model: inputs, outputs, metadata. Weights are left alone."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import onnx
from onnx.external_data_helper import ExternalDataInfo, uses_external_data

from iassa.errors import InputError
from iassa.models.conventions import Layout

__all__ = [
    "ImageInput",
    "Output",
    "describe",
    "digest_files",
    "image_input",
    "metadata",
    "print_shape",
    "read_graph",
    "read_outputs",
    "shape_of",
]

Shape = tuple[int | None, ...]  # None where a side is open

TYPES: dict[int, np.dtype[Any]] = {
    onnx.TensorProto.FLOAT: np.dtype("float32"),
    onnx.TensorProto.FLOAT16: np.dtype("float16"),
    onnx.TensorProto.DOUBLE: np.dtype("float64"),
    onnx.TensorProto.UINT8: np.dtype("uint8"),
}
# What hands on the numbers that it is given, though in another shape or type.
PASSING = {"Identity", "Cast", "Flatten", "Reshape", "Squeeze", "Unsqueeze"} | {
    "QuantizeLinear",
    "DequantizeLinear",
}


@dataclass(frozen=True)
class ImageInput:
    """The one input of a graph.

    Attributes:
        name: of the tensor.
        dtype: float32, float16, float64 or uint8.
        batch: how many images it takes at once; None for any number.
        layout: None where the shape does not tell.
        size: (height, width), None where open.
        shape: as the graph gives it.
    """

    name: str
    dtype: np.dtype[Any]
    batch: int | None
    layout: Layout | None
    size: tuple[int | None, int | None]
    shape: Shape


@dataclass(frozen=True)
class Output:
    """An output of a graph.

    Attributes:
        name: of the tensor.
        shape: None where nothing is known of it.
        operator: the last one that computes it, before those that hand numbers on.
    """

    name: str
    shape: Shape | None
    operator: str


def read_graph(path: str | Path) -> onnx.ModelProto:
    """The graph of a file without its external data, which has to be there.

    Raises:
        InputError: no such file, not an ONNX model, or its external data is not beside it, or cut
            short.
    """
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError:
        raise InputError(f"no such ONNX file: {path}. Check the path.") from None
    except IsADirectoryError:
        raise InputError(f"expected an ONNX file, got a folder: {path}. Name a file.") from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}. Check it.") from None
    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:  # noqa: BLE001 - protobuf's kind, which onnx does not name
        raise InputError(
            f"expected an ONNX file, got something else or a damaged one: {path} ({error}). "
            "Export or copy it again."
        ) from None
    if not model.graph.node:
        raise InputError(
            f"expected an ONNX file, got one without a graph: {path}. Export it again."
        )
    for beside, size in _external(model, path).items():
        if not beside.is_file():
            raise InputError(
                f"expected the weights of {path} in {beside}, got no such file. "
                "Put it beside the model."
            )
        found = beside.stat().st_size
        if found < size:
            raise InputError(
                f"expected {size} bytes or more of the weights of {path} in {beside}, got {found}: "
                "it was cut short. Copy it again."
            )
    return model


def _external(model: onnx.ModelProto, path: str | Path) -> dict[Path, int]:
    """Files beside it that hold weights, and how many bytes each needs to have."""
    sizes: dict[Path, int] = {}
    for tensor in filter(uses_external_data, model.graph.initializer):
        stored = ExternalDataInfo(tensor)
        place = PurePath(stored.location)
        if place.is_absolute() or ".." in place.parts:
            raise InputError(
                f"expected the weights of {path} beside it, got {stored.location}, which leads "
                "elsewhere. Put them there and save it again."
            )
        beside = Path(path).parent / place
        sizes[beside] = max(sizes.get(beside, 0), (stored.offset or 0) + (stored.length or 0))
    return sizes


def digest_files(model: onnx.ModelProto, path: str | Path) -> str:
    """SHA-256 of a file and its external data, 16 digits: it is to tell mistakes, not forgers."""
    digest = hashlib.sha256()
    for one in (Path(path), *_external(model, path)):
        with one.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def image_input(model: onnx.ModelProto, path: str | Path, layout: Layout | None) -> ImageInput:
    """The one input of a graph, an image.

    Args:
        model: the graph.
        path: for errors.
        layout: what was said of it; None reads it from the shape, where that tells.

    Raises:
        InputError: several inputs, or not an image of three channels in a type that is known.
    """
    inputs = _inputs(model)
    if len(inputs) != 1:
        raise InputError(
            f"expected {path} to take one input, the image, got "
            f"{', '.join(value.name for value in inputs) or 'none'}. Export the part of the model "
            "that takes the image alone."
        )
    (value,) = inputs
    kind = value.type.tensor_type.elem_type
    if kind not in TYPES:
        raise InputError(
            f"expected {path} to take float32, float16, float64 or uint8 images, got "
            f"{_type(value)}. Export it with one of these."
        )
    shape = shape_of(value) or (None,) * 4
    if len(shape) != 4:
        raise InputError(
            f"expected {path} to take an image (1, 3, H, W) or (1, H, W, 3), got shape "
            f"{print_shape(shape)}."
        )
    layout = layout or _layout(shape, path)
    last = layout == "NHWC"
    channels, size = shape[3 if last else 1], shape[1:3] if last else shape[2:]
    if layout is not None and channels not in (None, 3):
        raise InputError(
            f"expected {path} to take three channels, got {channels} in its input "
            f"{print_shape(shape)} read as {layout}. Iassa shows RGB images: for a grey or "
            "multi-band model write a function."
        )
    return ImageInput(value.name, TYPES[kind], shape[0], layout, (size[0], size[1]), shape)


def _layout(shape: Shape, path: str | Path) -> Layout | None:
    first, last = shape[1], shape[3]
    if first == 3 != last:
        return "NCHW"
    if last == 3 != first:
        return "NHWC"
    if None not in (first, last) and 3 not in (first, last):
        raise InputError(
            f"expected {path} to take three channels, (1, 3, H, W) or (1, H, W, 3), got shape "
            f"{print_shape(shape)}. Iassa shows RGB images: for a grey or multi-band model write "
            "a function."
        )
    return None


def read_outputs(model: onnx.ModelProto) -> tuple[Output, ...]:
    """What a graph gives, in its order."""
    makers = {name: node for node in model.graph.node for name in node.output if name}

    def operator(name: str) -> str:
        node = makers.get(name)
        while node is not None and node.op_type in PASSING and node.input[0] in makers:
            node = makers[node.input[0]]
        return node.op_type if node is not None else ""

    return tuple(
        Output(value.name, shape_of(value), operator(value.name)) for value in model.graph.output
    )


def metadata(model: onnx.ModelProto) -> dict[str, str]:
    """What an exporter wrote into the file beside the graph."""
    return {entry.key: entry.value for entry in model.metadata_props}


def describe(model: onnx.ModelProto) -> str:
    """What was found in a file, for errors: inputs, outputs, metadata, on one line."""
    inputs = [f"{value.name} {_type(value)} {_shape(value)}" for value in _inputs(model)]
    operators = {output.name: output.operator for output in read_outputs(model)}
    outputs = [
        f"{value.name} {_type(value)} {_shape(value)} of {operators[value.name] or 'no operator'}"
        for value in model.graph.output
    ]
    notes = [f"{key}={_short(value)}" for key, value in metadata(model).items()]
    return (
        f"Found: input {', '.join(inputs) or 'none'}; output {', '.join(outputs) or 'none'}; "
        f"metadata {', '.join(notes) or 'none'}; made by {model.producer_name or 'unknown'}."
    )


def _inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    weights = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in weights]


def _type(value: onnx.ValueInfoProto) -> str:
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        return str(kind).removesuffix("_type")
    named = str(onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type)).lower()
    return {"float": "float32", "double": "float64"}.get(named, named)


def _shape(value: onnx.ValueInfoProto) -> str:
    shape = shape_of(value)
    return "of unknown shape" if shape is None else print_shape(shape)


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 60 else f"{text[:57]}..."


def shape_of(value: onnx.ValueInfoProto) -> Shape | None:
    """Sides of a tensor, None where open; None if nothing is known of them."""
    if not value.type.tensor_type.HasField("shape"):
        return None
    sides = value.type.tensor_type.shape.dim
    return tuple(side.dim_value if side.dim_value > 0 else None for side in sides)


def print_shape(shape: Shape) -> str:
    """A shape for people: (?, 3, 224, 224)."""
    return f"({', '.join('?' if side is None else str(side) for side in shape)})"
