"""The graph of an ONNX file: its input, outputs and metadata. It reads no weights."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx.external_data_helper import uses_external_data

from iassa.checks import SIDES
from iassa.errors import InputError, list_choices, list_some, require, shorten, show
from iassa.files import inside, refuse_special
from iassa.models.conventions import Layout

Shape = tuple[int | None, ...]  # None where a side is open
Size = tuple[int | None, int | None]  # (height, width), likewise

TYPES = ("float32", "float16", "float64", "uint8")  # of images that a graph takes
NOT_COLOUR = {1, 2, 4}  # channels; no image has so few rows or columns
MOST_PIXELS = int(SIDES.high) ** 2  # of a batch: 200 MB of float32, of which a run takes several
WHOLE = re.compile(r"[0-9]{1,18}")
OWN_FUNCTION = (
    "Export it so, or write a function that makes its inputs and runs it: docs/models.md."
)
# Operators that hand on their numbers, in another shape or type.
PASSING = {
    *("Identity", "Cast", "Flatten", "Reshape", "Squeeze", "Unsqueeze"),
    *("QuantizeLinear", "DequantizeLinear"),
}


@dataclass(frozen=True)
class ImageInput:
    """The one input of a graph.

    Attributes:
        path: of the file, for errors.
        name: of the tensor.
        dtype: float32, float16, float64 or uint8.
        batch: how many images it takes at once; None for any number.
        layout: None where the shape does not tell.
        size: (height, width), None where open.
        shape: as the graph gives it.
    """

    path: str | Path
    name: str
    dtype: np.dtype[Any]
    batch: int | None
    layout: Layout | None
    size: Size
    shape: Shape

    def complete_size(self, wanted: Size | None, default: Size) -> tuple[int, int] | None:
        """The (height, width) at which the graph runs.

        Args:
            wanted: by the user.
            default: for what the graph leaves open, if the user wants nothing.

        Returns:
            None if a side is still open.

        Raises:
            InputError: the user wants another size than that of the graph.
        """
        sides = zip(self.size, wanted or default, strict=True)
        height, width = (fixed or given for fixed, given in sides)
        own = print_shape((height, width))
        require(
            wanted is None or tuple(wanted) == (height, width),
            f"expected input_size to be that of {self.path}, {own}, got {wanted}. Leave it out.",
        )
        number = (self.batch or 1) * (height or 1) * (width or 1)
        require(
            number <= MOST_PIXELS,
            f"expected {self.path} to take {MOST_PIXELS} pixels or fewer in a batch, got "
            f"{self.batch or 1} image(s) of {own}. {OWN_FUNCTION}",
        )
        return None if height is None or width is None else (height, width)


@dataclass(frozen=True)
class Output:
    """An output of a graph.

    Attributes:
        name: of the tensor.
        shape: None where the graph does not tell.
        operator: the last one that computes it, before those that hand numbers on.
    """

    name: str
    shape: Shape | None
    operator: str


def load(path: str | Path) -> onnx.ModelProto:
    """The graph of a file without its external data, which has to be there.

    Raises:
        InputError: no such file, not an ONNX model, names that are not UTF-8, or external data that
            is not beside it, or cut short.
    """
    refuse_special(Path(path))
    try:
        model = onnx.load_model_from_string(Path(path).read_bytes())
    except Exception as error:  # noqa: BLE001 - protobuf's kind, which onnx does not name
        reason = error.strerror if isinstance(error, OSError) else f"something else ({error})"
        raise InputError(
            f"expected an ONNX file, got {path}: {reason}. Check the path, or copy it again."
        ) from None
    nodes = len(model.graph.node)
    require(nodes > 0, f"expected an ONNX file, got {path}: no graph in it. Export it again.")
    require(
        all(isinstance(text, str) for text in _texts(model)),
        f"expected names in UTF-8 in the ONNX file {path}, got other bytes. Copy it again.",
    )
    for beside, needed in _external(model, path).items():
        size = _size_of(beside)
        got = "no such file" if size < 0 else f"{size}: it was cut short"
        require(
            size >= needed,
            f"expected {needed} bytes or more of the weights of {path} in "
            f"{shorten(str(beside), 500)}, got {got}. Copy it beside the model again.",
        )
    return model


def each_graph(model: onnx.ModelProto) -> Iterator[onnx.GraphProto | onnx.FunctionProto]:
    """The graph, the graphs inside of nodes, as those of a Loop, and functions."""
    waiting = [model.graph, *model.functions]
    while waiting:
        one = waiting.pop()
        yield one
        for attribute in (attribute for node in one.node for attribute in node.attribute):
            waiting += [attribute.g] if attribute.HasField("g") else []
            waiting += attribute.graphs


def _sources(makers: Mapping[str, onnx.NodeProto], name: str) -> Iterator[onnx.NodeProto]:
    """The node that makes a tensor, and those before it, along first inputs; each once.

    A graph that is damaged may lead back to a node that was visited.

    Args:
        makers: nodes by the names of their outputs.
        name: of the tensor.
    """
    visited: set[str] = set()
    while name in makers and name not in visited:
        visited.add(name)
        yield makers[name]
        name = next(iter(makers[name].input), "")


def _texts(model: onnx.ModelProto) -> Iterator[object]:
    """All texts of a model that anything here reads; those that are not UTF-8 are bytes."""
    yield model.producer_name
    for note in model.metadata_props:
        yield from (note.key, note.value)
    for one in each_graph(model):
        for node in one.node:
            yield from (node.op_type, *node.input, *node.output)
    for value in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        yield value.name
    for entry in (entry for tensor in _tensors(model) for entry in tensor.external_data):
        yield from (entry.key, entry.value)


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """All tensors that are written down in a model, wherever they are."""
    for one in each_graph(model):
        if isinstance(one, onnx.GraphProto):
            yield from one.initializer
            for sparse in one.sparse_initializer:
                yield from (sparse.values, sparse.indices)
        for attribute in (attribute for node in one.node for attribute in node.attribute):
            yield from (attribute.t, *attribute.tensors)


def _external(model: onnx.ModelProto, path: str | Path) -> dict[Path, int]:
    """Files beside it that hold weights, and how many bytes each needs to have."""
    sizes: dict[Path, int] = {}
    for tensor in filter(uses_external_data, _tensors(model)):
        stored = {entry.key: entry.value for entry in tensor.external_data}
        place = stored.get("location", "")
        span = [stored.get(key, "0") for key in ("offset", "length")]
        require(
            all(map(WHOLE.fullmatch, span)),
            f"expected offset and length of the weights {show(place)} of {path} in bytes, got "
            f"{' and '.join(map(show, span))}. Export it again.",
        )
        beside = _beside(Path(path), place)
        sizes[beside] = max(sizes.get(beside, 0), sum(map(int, span)))
    return sizes


def _beside(path: Path, place: str) -> Path:
    """The file of weights that a model names, which may be a link, but not to another folder.

    Raises:
        InputError: it lies elsewhere.
    """
    beside = inside(path.parent, place)
    # In the cache of a hub the model is a link as well, to the same folder as its weights.
    folders = path.parent.resolve(), path.resolve().parent
    require(
        place and "\0" not in place and any(map(beside.resolve().is_relative_to, folders)),
        f"expected the weights of {path} beside it, got {show(place)}. Save it with them there.",
    )
    return beside


def _size_of(file: Path) -> int:
    """In bytes; -1 where there is no such file."""
    try:
        return file.stat().st_size if file.is_file() else -1
    except OSError:  # a name that is too long
        return -1


def digest(model: onnx.ModelProto, path: str | Path) -> str:
    """SHA-256 of a file and its external data, 16 digits: it is to tell mistakes, not forgers."""
    whole = hashlib.sha256()
    for one in (Path(path), *_external(model, path)):
        with one.open("rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()[:16]


def image_input(model: onnx.ModelProto, path: str | Path, layout: Layout | None) -> ImageInput:
    """The one input of a graph, an image.

    Args:
        model: the graph.
        path: for errors.
        layout: by the user; None reads it from the shape, where that tells.

    Raises:
        InputError: several inputs, or not an image of three channels in one of `TYPES`.
    """
    inputs = _inputs(model)
    names = list_some(value.name for value in inputs)
    require(
        len(inputs) == 1,
        f"expected {path} to take one input, the image, got {names}. {OWN_FUNCTION}",
    )
    (value,) = inputs
    kind, shape = _type(value), shape_of(value) or (None,) * 4
    kinds = ", ".join(TYPES)
    got = f"got {kind}. {OWN_FUNCTION}"
    require(kind in TYPES, f"expected {path} to take {kinds} images, {got}")
    first, last = shape[1:2], shape[3:4]
    if layout is None and (3,) in (first, last) and first != last:
        layout = "NCHW" if first == (3,) else "NHWC"
    channels = {"NCHW": first, "NHWC": last, None: first + last}[layout]
    read = f" read as {layout}" if layout else ""
    require(
        len(shape) == 4
        and (None in channels or 3 in channels)
        and not (layout is None and NOT_COLOUR & {*channels}),
        f"expected {path} to take three channels, (1, 3, H, W) or (1, H, W, 3), got shape "
        f"{print_shape(shape)}{read}. For a grey or multi-band model write a function.",
    )
    height, width = shape[1:3] if layout == "NHWC" else shape[2:]
    return ImageInput(path, value.name, np.dtype(kind), shape[0], layout, (height, width), shape)


def read_outputs(model: onnx.ModelProto) -> tuple[Output, ...]:
    """The outputs of a graph, in its order."""
    makers = {name: node for node in model.graph.node for name in node.output if name}

    def operator(name: str) -> str:
        last = ""
        for node in _sources(makers, name):
            last = node.op_type
            if last not in PASSING:
                break
        return shorten(last)

    return tuple(
        Output(value.name, shape_of(value), operator(value.name)) for value in model.graph.output
    )


def is_dynamically_quantised(model: onnx.ModelProto) -> bool:
    """Whether a scale in it is that of all values of a batch, so that images share a scale."""
    nodes = (node for one in each_graph(model) for node in one.node)
    return any(node.op_type.startswith("DynamicQuantize") for node in nodes)


def describe(model: onnx.ModelProto) -> str:
    """The content of a file for errors: inputs, outputs, metadata, on one line."""
    inputs = [_describe(value) for value in _inputs(model)]
    outputs = [
        f"{_describe(value)} of {output.operator or 'no operator'}"
        for value, output in zip(model.graph.output, read_outputs(model), strict=True)
    ]
    # Cut at 60 characters: names of a thousand classes may be among them.
    notes = [f"{n.key}={' '.join(n.value.split())[:60]}" for n in model.metadata_props]
    text = (
        f"Found: input {list_some(inputs)}; output {list_choices(outputs)}; "
        f"metadata {list_choices(notes)}; made by {shorten(model.producer_name) or 'unknown'}."
    )
    return " ".join(text.split())  # a name may have lines


def _inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    weights = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in weights]


def _type(value: onnx.ValueInfoProto) -> str:
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        return str(kind).removesuffix("_type")
    number = value.type.tensor_type.elem_type
    if number not in onnx.TensorProto.DataType.values():
        return f"type {number}"
    named = str(onnx.TensorProto.DataType.Name(number)).lower()
    return {"float": "float32", "double": "float64"}.get(named, named)


def _describe(value: onnx.ValueInfoProto) -> str:
    return f"{value.name} {_type(value)} {print_shape(shape_of(value))}"


def shape_of(value: onnx.ValueInfoProto) -> Shape | None:
    """Sides of a tensor, None where open; None where the graph does not tell any."""
    if not value.type.tensor_type.HasField("shape"):
        return None
    sides = value.type.tensor_type.shape.dim
    return tuple(side.dim_value if side.dim_value > 0 else None for side in sides)


def print_shape(shape: Shape | None) -> str:
    """A shape for people: (?, 3, 224, 224)."""
    if shape is None:
        return "of unknown shape"
    return f"({', '.join('?' if side is None else str(side) for side in shape)})"
