"""Model randomisation of ONNX files: the weights in a graph are shuffled, layer by layer.

`randomisation` says what it is for, and how a layer is shuffled: the same way, with the same
numbers drawn. A layer of a graph is a node that takes an image's values and weights, as a
convolution does. Weights are the tensors that are written down in the file, in float or quantised;
those that come to a node through others, as `Transpose` or `DequantizeLinear`, are its own. A
graph does not tell what was learnt from what was typed: constants that are added or multiplied, as
the mean colour at its beginning, count as weights if they have several values. Name `layers` to
leave them out.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from numpy.typing import ArrayLike

from iassa.errors import InputError, list_choices, reason_of, require, show
from iassa.files import user_path
from iassa.metrics.randomisation import (
    Randomisation,
    Stage,
    check_seed,
    compare_stages,
    draw_orders,
)

if TYPE_CHECKING:
    import onnx
    from onnx import TensorProto

# Types of numbers that were learnt. Whole numbers of other types are shapes, axes and indices.
LEARNT = {"FLOAT", "DOUBLE", "FLOAT16", "BFLOAT16", "INT8", "UINT8"}
QUANTISED_BIASES = {"DequantizeLinear", "QLinearConv"}  # these have int32 among their weights
SETTINGS = {"Resize", "Upsample", "Range", "NonMaxSuppression"}  # whose floats say what to do
MOST_BYTES = 2**31 - 1  # of a message of protobuf


def onnx_randomisation(
    explain: Callable[[Path], ArrayLike],
    model: str | Path | bytes,
    *,
    seed: int = 0,
    order: Randomisation = "cascading",
    layers: Sequence[str] | None = None,
) -> tuple[Stage, ...]:
    """Explain an ONNX file once as it is and once for each stage of its randomisation.

    Args:
        explain: (path of an ONNX file) -> map (H, W), with the same image, target and seed each
            time. The file is a temporary one: nothing may hold it after the call.
        model: path of the file, or its content; it is not changed.
        seed: of the randomisation, not negative.
        order: 'cascading' or 'independent'; see `model_randomisation`.
        layers: names of their first output tensors, from the output down. None for all, in the
            reverse order of the graph. A stage costs an explanation, so name a few of a deep
            network: `onnx_layers` lists them.

    Returns:
        One stage for each layer, in their order.

    Raises:
        InputError: not an ONNX file, no weights in it, no such layer, an invalid seed or order, or
            the maps cannot be compared.
    """
    content = bytes(_read(model).SerializeToString())
    names = list(onnx_layers(content))[::-1] if layers is None else list(layers)

    def explain_with(chosen: Sequence[str]) -> ArrayLike:
        with tempfile.TemporaryDirectory(prefix="iassa-") as folder:
            path = Path(folder) / "randomised.onnx"
            path.write_bytes(randomised_onnx(content, seed, chosen))
            return explain(path)

    randomised_onnx(content, seed, names)  # finds a mistake before anything is explained
    return compare_stages(explain_with, names, order)


def onnx_layers(model: str | Path | bytes) -> tuple[str, ...]:
    """Names of the layers of an ONNX file: their first output tensors, in the graph's order.

    Raises:
        InputError: not an ONNX file, or no weights in it.
    """
    return tuple(_layers(_read(model)))


def randomised_onnx(
    model: str | Path | bytes, seed: int, layers: Sequence[str] | None = None
) -> bytes:
    """An ONNX file with the values in the weights of some layers shuffled.

    The result for a layer depends on the seed and on its place in the graph, but not on the other
    layers that are randomised. Weights that several layers share are those of the last.

    Args:
        model: path of the file, or its content; it is not changed.
        seed: not negative.
        layers: see `onnx_randomisation`; None for all.

    Returns:
        The content of the other file, external data included.

    Raises:
        InputError: not an ONNX file, no weights in it, no such layer, or the seed is negative.
    """
    import onnx
    from onnx import TensorProto, numpy_helper

    check_seed(seed)
    proto = _read(model)
    found = _layers(proto)
    unknown = [name for name in layers or () if name not in found]
    if unknown:
        raise InputError(
            f"expected a layer of the graph, by its output tensor, got {show(unknown[0])}. There "
            f"are {list_choices(map(repr, found))}."
        )
    for place, (name, tensors) in enumerate(found.items()):
        if layers is None or name in layers:
            arrays = [numpy_helper.to_array(tensor) for tensor in tensors]
            orders = draw_orders([array.shape for array in arrays], seed, place)
            for tensor, array, order in zip(tensors, arrays, orders, strict=True):
                shuffled = array.ravel()[order.numpy()].reshape(array.shape)
                changed = numpy_helper.from_array(shuffled, tensor.name)
                require(
                    changed.data_type == tensor.data_type,
                    f"expected weights of a type that onnx {onnx.__version__} keeps, got "
                    f"{TensorProto.DataType.Name(tensor.data_type)}. Install a newer one.",
                )
                tensor.CopyFrom(changed)
    return bytes(proto.SerializeToString())


def _read(model: str | Path | bytes) -> onnx.ModelProto:
    """The graph of a file, its external data put in."""
    import onnx  # here, as few measure this: a tenth of a second

    what = "the bytes" if isinstance(model, bytes) else str(model)
    try:
        if isinstance(model, bytes):
            proto = onnx.load_model_from_string(model)
        else:
            proto = onnx.load_model(str(user_path(model)))
        proto.SerializeToString()  # what is too large for it is found here
    except Exception as error:  # of protobuf, of the system, or a size that protobuf cannot write
        raise InputError(
            f"expected an ONNX file of less than 2 GB with its weights, got {what}: "
            f"{reason_of(error)}. Check the path, or export a smaller one."
        ) from error
    there = len(proto.graph.node)
    require(there, f"expected an ONNX file, got {what}: no graph in it. Export it again.")
    return proto


def _layers(proto: onnx.ModelProto) -> dict[str, list[TensorProto]]:
    """The weights of each layer, by the name of its first output, in the graph's order."""
    made_of: dict[str, dict[str, TensorProto]] = {}  # weights of what no image has a part in
    written = {tensor.name: tensor for tensor in proto.graph.initializer}
    found: dict[str, dict[str, TensorProto]] = {}
    for node in proto.graph.node:
        used = [*filter(None, _inputs(node))]
        weights: dict[str, TensorProto] = {}
        for name in used if node.op_type not in SETTINGS else ():
            if name in written and _is_learnt(written[name], node.op_type):
                weights[name] = written[name]
            weights |= made_of.get(name, {})
        if node.op_type == "Constant":
            written.update((node.output[0], one.t) for one in node.attribute if one.name == "value")
        elif all(name in written or name in made_of for name in used):
            made_of |= dict.fromkeys(node.output, weights)
        elif weights:
            found[node.output[0]] = weights
    owners = {name: layer for layer, weights in found.items() for name in weights}
    layers: dict[str, list[TensorProto]] = {}
    for layer, weights in found.items():
        for name, tensor in weights.items():
            if owners[name] == layer:
                layers.setdefault(layer, []).append(tensor)
    require(layers, "expected an ONNX file with weights, got one without. Pass the network.")
    return layers


def _inputs(node: onnx.NodeProto) -> Iterator[str]:
    """Names that a node takes, those inside of the graphs of a Loop or an If included."""
    yield from node.input
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for one in graph.node:
                yield from _inputs(one)


def _is_learnt(tensor: TensorProto, operator: str) -> bool:
    kind = tensor.DataType.Name(tensor.data_type)
    is_bias = kind == "INT32" and operator in QUANTISED_BIASES
    return (kind in LEARNT or is_bias) and math.prod(tensor.dims) > 1
