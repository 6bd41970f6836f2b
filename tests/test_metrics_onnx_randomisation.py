"""Randomisation of ONNX files: against the same network in torch, and what counts as weights."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

import iassa
from iassa.errors import InputError
from iassa.metrics import (
    model_randomisation,
    onnx_layers,
    onnx_randomisation,
    randomised,
    randomised_onnx,
)
from onnx_graphs import counting, made, outside
from test_metrics_randomisation import HEIGHT, WIDTH, draw_pictures

SEEDS = st.integers(0, 2**40)
LAYERS = ("first", "normal", "second", "scores")


@cache
def network() -> nn.Sequential:
    """Two convolutions, a batch norm and a linear layer; it tells the direction of stripes."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = nn.Sequential(
            *(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.AdaptiveMaxPool2d(1)),
            *(nn.Flatten(), nn.Linear(16, 2)),
        )
    optimiser = torch.optim.Adam(module.parameters(), lr=0.01)
    for step in range(50):
        images, classes = draw_pictures(64, step)
        logits = module(torch.from_numpy(images).permute(0, 3, 1, 2))
        loss = nn.functional.cross_entropy(logits, torch.from_numpy(classes))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return module.eval()


@cache
def in_onnx() -> bytes:
    """The same network, node by node."""
    state = {name: value.numpy() for name, value in network().state_dict().items()}
    norm = [f"1.{each}" for each in ("weight", "bias", "running_mean", "running_var")]
    nodes = [
        helper.make_node("Conv", ["image", "0.weight", "0.bias"], ["first"], pads=[1] * 4),
        helper.make_node("BatchNormalization", ["first", *norm], ["normal"], epsilon=1e-5),
        helper.make_node("Relu", ["normal"], ["a"]),
        helper.make_node("MaxPool", ["a"], ["b"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["b", "4.weight", "4.bias"], ["second"], pads=[1] * 4),
        helper.make_node("Relu", ["second"], ["c"]),
        helper.make_node("GlobalMaxPool", ["c"], ["d"]),
        helper.make_node("Flatten", ["d"], ["e"]),
        helper.make_node("Gemm", ["e", "8.weight", "8.bias"], ["scores"], transB=1),
    ]
    state = {name: value for name, value in state.items() if "num_batches" not in name}
    return made(nodes, state, ("n", 3, HEIGHT, WIDTH)).SerializeToString()


def scores(content: bytes) -> NDArray[np.float32]:
    import onnxruntime

    images, _ = draw_pictures(6, 10**5)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (found,) = session.run(["scores"], {"image": images.transpose(0, 3, 1, 2)})
    return np.asarray(found)


def weights(content: bytes) -> dict[str, NDArray[np.generic]]:
    model = onnx.load_model_from_string(content)
    return {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}


def changed(before: bytes, after: bytes) -> set[str]:
    old, new = weights(before), weights(after)
    assert old.keys() == new.keys()
    return {name for name in old if not np.array_equal(old[name], new[name])}


@settings(max_examples=10, deadline=None)
@given(SEEDS, st.sets(st.sampled_from(["0", "1", "4", "8"])))
def test_the_same_seed_does_to_a_graph_what_it_does_to_a_module(seed: int, names: set[str]) -> None:
    of_graph = dict(zip(["0", "1", "4", "8"], LAYERS, strict=True))
    module = randomised(network(), seed, sorted(names))
    content = randomised_onnx(in_onnx(), seed, [of_graph[name] for name in sorted(names)])
    for name, array in weights(content).items():
        np.testing.assert_array_equal(array, module.state_dict()[name].numpy())
    images, _ = draw_pictures(6, 10**5)
    with torch.no_grad():
        expected = module(torch.from_numpy(images).permute(0, 3, 1, 2)).numpy()
    np.testing.assert_allclose(scores(content), expected, rtol=1e-3, atol=1e-3)


def test_layers_are_named_by_their_outputs_and_nothing_else_changes(tmp_path: Path) -> None:
    assert onnx_layers(in_onnx()) == LAYERS
    assert changed(in_onnx(), randomised_onnx(in_onnx(), 0, ())) == set()
    whole = randomised_onnx(in_onnx(), 3)
    assert changed(in_onnx(), whole) == weights(in_onnx()).keys()
    for name, array in weights(whole).items():
        old = weights(in_onnx())[name]
        assert array.dtype == old.dtype
        np.testing.assert_array_equal(np.sort(array, axis=None), np.sort(old, axis=None))
    path = tmp_path / "net.onnx"
    path.write_bytes(in_onnx())
    assert randomised_onnx(path, 3) == randomised_onnx(str(path), 3) == whole
    assert path.read_bytes() == in_onnx()


def test_cascading_goes_from_the_output_down() -> None:
    seen: list[set[str]] = []

    def explain(path: Path) -> NDArray[np.float64]:
        seen.append(changed(in_onnx(), path.read_bytes()))
        return np.random.default_rng(len(seen)).random((12, 17))

    stages = onnx_randomisation(explain, in_onnx(), seed=3)
    assert [stage.layer for stage in stages] == list(LAYERS[::-1])
    of_norm = {"1.weight", "1.bias", "1.running_mean", "1.running_var"}
    parts = [{"8.weight", "8.bias"}, {"4.weight", "4.bias"}, of_norm, {"0.weight", "0.bias"}]
    assert seen == [set(), *(set().union(*parts[: k + 1]) for k in range(4))]
    seen.clear()
    onnx_randomisation(explain, in_onnx(), seed=3, order="independent", layers=["second", "first"])
    assert seen == [set(), parts[1], parts[3]]


def test_the_map_of_a_file_falls_as_that_of_the_module() -> None:
    """The figures of the two agree stage by stage, as the randomised networks are the same."""
    images, classes = draw_pictures(1, seed=10**6)
    options = {
        "method": iassa.methods.Rise(grid_size=7),
        "target": int(classes[0]),
        "calls": 300,
        "seed": 0,
    }

    def of_module(module: nn.Module) -> NDArray[np.float32]:
        return iassa.explain(images[0], iassa.models.TorchModel(module), **options).saliency[0]

    def of_file(path: Path) -> NDArray[np.float32]:
        return iassa.explain(images[0], f"{path}?range=0-1&softmax=no", **options).saliency[0]

    in_torch = model_randomisation(of_module, network(), seed=1)
    in_file = onnx_randomisation(of_file, in_onnx(), seed=1)
    for one, other in zip(in_torch, in_file, strict=True):
        assert one.rank_correlation == pytest.approx(other.rank_correlation, abs=0.02)
    assert abs(in_file[-1].rank_correlation) < 0.8


def test_an_edge_detector_is_found_out() -> None:
    image = draw_pictures(1, seed=3)[0][0].mean(axis=2)
    stages = onnx_randomisation(lambda path: np.hypot(*np.gradient(image)), in_onnx())
    assert [stage.rank_correlation for stage in stages] == pytest.approx([1.0] * 4)


# --- what counts as weights ---------------------------------------------------------------------


def floats(*shape: int) -> NDArray[np.float32]:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def test_settings_of_operators_are_no_weights() -> None:
    nodes = [
        helper.make_node("Resize", ["image", "roi", "scales"], ["resized"]),
        helper.make_node("Clip", ["resized", "low", "high"], ["clipped"]),
        helper.make_node("Reshape", ["clipped", "shape"], ["flat"]),
        helper.make_node("Gather", ["flat", "places"], ["some"], axis=1),
        helper.make_node("MatMul", ["some", "matrix"], ["scores"]),
    ]
    tensors = {
        "roi": floats(8),
        "scales": floats(4),
        "low": np.float32(0),
        "high": np.float32(1),
        "shape": np.array([0, -1]),
        "places": np.array([1, 0, 2]),
        "matrix": floats(3, 2),
    }
    content = made(nodes, tensors).SerializeToString()
    assert onnx_layers(content) == ("scores",)
    assert changed(content, randomised_onnx(content, 1)) == {"matrix"}


def test_weights_come_through_other_nodes_and_constants() -> None:
    constant = numpy_helper.from_array(floats(5), "value")
    nodes = [
        helper.make_node("Transpose", ["matrix"], ["turned"], perm=[1, 0]),
        helper.make_node("DequantizeLinear", ["quantised", "scale", "zero"], ["bias"], axis=0),
        helper.make_node("Constant", [], ["more"], value=constant),
        helper.make_node("Gemm", ["image", "turned", "bias"], ["product"]),
        helper.make_node("Add", ["product", "more"], ["scores"]),
    ]
    tensors = {
        "matrix": floats(5, 4),
        "quantised": np.arange(5, dtype=np.int32),
        "scale": floats(5),
        "zero": np.zeros(5, np.int32),
    }
    content = made(nodes, tensors, ("n", 4)).SerializeToString()
    assert onnx_layers(content) == ("product", "scores")
    changed_ones = changed(content, randomised_onnx(content, 0, ["product"]))
    assert changed_ones == {"matrix", "quantised", "scale"}
    vectors = weights(randomised_onnx(content, 0, ["product"]))
    np.testing.assert_array_equal(vectors["quantised"], vectors["scale"])  # shuffled alike
    other = onnx.load_model_from_string(randomised_onnx(content, 0, ["scores"]))
    (kept,) = [node for node in other.graph.node if node.op_type == "Constant"]
    value = numpy_helper.to_array(kept.attribute[0].t)
    assert sorted(value) == list(range(5)) != value.tolist()


def test_weights_that_two_layers_share_are_those_of_the_last() -> None:
    nodes = [
        helper.make_node("MatMul", ["image", "matrix"], ["once"]),
        helper.make_node("MatMul", ["once", "matrix"], ["scores"]),
    ]
    content = made(nodes, {"matrix": floats(3, 3)}, ("n", 3)).SerializeToString()
    assert onnx_layers(content) == ("scores",)


def test_weights_of_a_loop_and_of_a_file_beside(tmp_path: Path) -> None:
    model = counting("once")
    weight = numpy_helper.from_array(floats(3), "weight")
    model.graph.initializer.append(weight)
    body = model.graph.node[1].attribute[0].g
    body.node[1].CopyFrom(helper.make_node("Mul", ["x", "weight"], ["x_on"]))
    assert onnx_layers(model.SerializeToString()) == ("scores",)
    nodes = [helper.make_node("MatMul", ["image", "matrix"], ["scores"])]
    alone = made(nodes, {"unused": floats(1), "matrix": floats(3, 3)}, ("n", 3))
    (tmp_path / "net.data").write_bytes(floats(3, 3).tobytes())
    (tmp_path / "net.onnx").write_bytes(outside(alone).SerializeToString())
    found = weights(randomised_onnx(tmp_path / "net.onnx", 0))["matrix"]
    assert sorted(found.ravel()) == list(range(9)) != found.ravel().tolist()


def test_bad_input_is_named(tmp_path: Path) -> None:
    def explain(path: Path) -> NDArray[np.float64]:
        raise AssertionError("nothing is explained")

    pooled = made([helper.make_node("GlobalAveragePool", ["image"], ["scores"])])
    for arguments, told in (
        ({"model": b"no graph at all"}, "expected an ONNX file .* got the bytes"),
        ({"model": b""}, "the bytes: no graph in it"),
        ({"model": tmp_path / "not.onnx"}, r"got .*not\.onnx: .*No such file"),
        ({"model": pooled.SerializeToString()}, "an ONNX file with weights, got one without"),
        ({"layers": ["third"]}, r"by its output tensor, got 'third'\. There are 'first', 'normal'"),
        ({"seed": -1}, "seed of 0 or more, got -1"),
    ):
        with pytest.raises(InputError, match=told):
            onnx_randomisation(explain, **({"model": in_onnx()} | arguments))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="order among 'cascading', 'independent', got 'up'"):
        onnx_randomisation(explain, in_onnx(), order="up")  # type: ignore[arg-type]
    assert TensorProto.FLOAT == 1
