"""Small ONNX graphs that are written by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIZE = (6, 10)
SAID = "?range=0-1&softmax=no"


def made(
    nodes: list[onnx.NodeProto],
    weights: dict[str, Any] | None = None,
    shape: tuple[int | str, ...] = ("n", 3, *SIZE),
    notes: dict[str, str] | None = None,
) -> onnx.ModelProto:
    """A graph with an input 'image' and an output 'scores'."""
    one = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(v), name) for name, v in (weights or {}).items()],
    )
    model = helper.make_model(one, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, notes or {})
    return model


def means(**more: Any) -> onnx.ModelProto:
    """Scores are the means of the channels, weighted."""
    nodes = [
        helper.make_node("ReduceMean", ["image", "sides"], ["means"], keepdims=0),
        helper.make_node("MatMul", ["means", "weight"], ["scores"]),
    ]
    return made(nodes, {"sides": np.array([2, 3]), "weight": np.eye(3, dtype=np.float32)}, **more)


def counting(times: str) -> onnx.ModelProto:
    """The means of the channels, handed on by a Loop: `times` is '' for ever, or 'once'."""
    flag = helper.make_tensor_value_info("go", TensorProto.BOOL, ())
    body = helper.make_graph(
        [helper.make_node("Identity", [one], [f"{one}_on"]) for one in ("go", "x")],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, ()),
            flag,
            helper.make_tensor_value_info("x", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, ()),
            helper.make_tensor_value_info("x_on", TensorProto.FLOAT, None),
        ],
    )
    nodes = [
        helper.make_node("ReduceMean", ["image", "sides"], ["means"], keepdims=0),
        helper.make_node("Loop", [times, "yes", "means"], ["scores"], body=body),
    ]
    weights = {"sides": np.array([2, 3]), "yes": np.array(True), "once": np.array(1)}
    return made(nodes, weights)


def outside(model: onnx.ModelProto, **stored: str) -> onnx.ModelProto:
    """The model with its second weight in another file."""
    tensor = model.graph.initializer[1]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": "net.data", "offset": "0", "length": "36", **stored}.items():
        tensor.external_data.add(key=key, value=value)
    return model


def convolutions() -> onnx.ModelProto:
    """Two convolutions, pooling, a softmax, names of classes and an image of 8-bit values."""
    rng = np.random.default_rng(0)
    weights = {
        "one": rng.normal(size=(4, 3, 3, 3)).astype(np.float32),
        "two": rng.normal(size=(4, 4, 3, 3)).astype(np.float32),
        "shape": np.array([0, -1]),
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["planes"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["planes", "one"], ["first"], strides=[2, 2], pads=[1] * 4),
        helper.make_node("Relu", ["first"], ["seen"]),
        helper.make_node("Conv", ["seen", "two"], ["second"], pads=[1] * 4),
        helper.make_node("GlobalAveragePool", ["second"], ["pooled"]),
        helper.make_node("Reshape", ["pooled", "shape"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["scores"], axis=1),
    ]
    notes = {"names": "{0: 'cat', 1: 'dog', 2: 'cow', 3: 'owl'}", "imgsz": "[16, 24]"}
    model = made(nodes, weights, ("n", 3, "h", "w"), notes)
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    return model


def detector() -> onnx.ModelProto:
    """Boxes of two classes, (1, 4 + 2, 42), as YOLOv8 has them for images of 32 x 64."""
    boxes = np.random.default_rng(0).uniform(0, 30, (1, 6, 42)).astype(np.float32)
    boxes[:, 4:] /= 30
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["light"], keepdims=0),
        helper.make_node("Mul", ["boxes", "light"], ["scores"]),
    ]
    notes = {"task": "detect", "names": "['cat', 'dog']", "author": "Ultralytics"}
    model = made(nodes, {"boxes": boxes}, (1, 3, 32, 64), notes)
    shape = helper.make_tensor_value_info("scores", TensorProto.FLOAT, (1, 6, 42))
    model.graph.output[0].CopyFrom(shape)
    return model
