"""ONNX files as black boxes: the scores of the same network in NumPy and in torch."""

from __future__ import annotations

import json
import pickle
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from torch import nn

import iassa
import pages
from iassa.benchmark.workers.tasks import Model
from iassa.cli import main
from iassa.errors import BlackBoxError, InputError
from iassa.image import resize
from iassa.models import efficientnet_lite0
from iassa.models.conventions import ConventionFields, Conventions
from iassa.models.opening import add_conventions, open_model
from rounding import steps

SIZE = (6, 10)
CLASSES = 4
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
KINDS = {
    "float32": TensorProto.FLOAT,
    "float16": TensorProto.FLOAT16,
    "float64": TensorProto.DOUBLE,
    "uint8": TensorProto.UINT8,
}
WEIGHT = np.random.default_rng(0).normal(size=(6, CLASSES)).astype(np.float32)
BIAS = np.random.default_rng(1).normal(size=CLASSES).astype(np.float32)


def logits_of(values: NDArray[Any]) -> NDArray[np.float64]:
    """The network on planes (N, 3, H, W): it tells rows, columns and channels apart."""
    planes = values.astype(np.float64)
    slopes = np.maximum(0.7 * planes[..., :-1] - planes[..., 1:], 0)  # along a row
    seen = np.concatenate([planes.mean((2, 3)), slopes.mean((2, 3))], axis=1)
    return seen @ WEIGHT + BIAS


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    exponents = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(exponents / exponents.sum(1, keepdims=True))


def graph(
    path: Path,
    shape: tuple[int | str, ...] = ("n", 3, *SIZE),
    kind: str = "float32",
    *,
    layout: str | None = None,
    last: tuple[str, ...] = (),
    outputs: tuple[str, ...] = ("scores",),
    notes: dict[str, str] | None = None,
    extra: tuple[onnx.NodeProto, ...] = (),
    more_inputs: tuple[onnx.ValueInfoProto, ...] = (),
    input_type: int | None = None,
    external: bool = False,
) -> Path:
    """`logits_of` as nodes written by hand, with `last` behind them."""
    rows, columns = (
        (2, 3) if (layout or ("NHWC" if shape[-1] == 3 else "NCHW")) == "NCHW" else (1, 2)
    )
    constants = {
        "begin": np.array([0]),
        "end": np.array([-1]),
        "one": np.array([1]),
        "most": np.array([2**31]),
        "columns": np.array([columns]),
        "places": np.array([rows, columns]),
        "share": np.float32(0.7),
        "weight": WEIGHT,
        "bias": BIAS,
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["planes"], to=TensorProto.FLOAT),
        helper.make_node("Slice", ["planes", "begin", "end", "columns"], ["left"]),
        helper.make_node("Slice", ["planes", "one", "most", "columns"], ["right"]),
        helper.make_node("Mul", ["left", "share"], ["smaller"]),
        helper.make_node("Sub", ["smaller", "right"], ["slope"]),
        helper.make_node("Relu", ["slope"], ["slopes"]),
        helper.make_node("ReduceMean", ["planes", "places"], ["means"], keepdims=0),
        helper.make_node("ReduceMean", ["slopes", "places"], ["steps"], keepdims=0),
        helper.make_node("Concat", ["means", "steps"], ["seen"], axis=1),
        helper.make_node("Gemm", ["seen", "weight", "bias"], ["logits"]),
        *extra,
    ]
    source = "logits"
    for k, operator in enumerate(last):
        to = {"to": TensorProto.FLOAT} if operator == "Cast" else {}
        nodes.append(helper.make_node(operator, [source], [f"last{k}"], **to))
        source = f"last{k}"
    nodes.append(helper.make_node("Identity", [source], ["scores"]))
    image = helper.make_tensor_value_info("image", input_type or KINDS[kind], shape)
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "network",
            [image, *more_inputs],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
            [numpy_helper.from_array(value, name) for name, value in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=10,
        producer_name="hand",
    )
    helper.set_model_props(model, notes or {})
    if external:
        data = f"{path.name}.data"
        onnx.save(model, path, save_as_external_data=True, location=data, size_threshold=64)
    else:
        onnx.save(model, path)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "net.onnx"


def pixels(count: int = 5, size: tuple[int, int] = SIZE, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).random((count, 3, *size)).astype(np.float32)


def scores(black_box: iassa.models.BlackBox, planes: NDArray[np.float32]) -> NDArray[Any]:
    return black_box.score(torch.from_numpy(planes)).numpy()


# --- the same scores --------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch", ["n", 1, 3])
def test_layouts_types_and_batches(path: Path, layout: str, kind: str, batch: int | str) -> None:
    graph(path, (batch, 3, *SIZE) if layout == "NCHW" else (batch, *SIZE, 3), kind)
    bytes_ = kind == "uint8"
    said = {} if bytes_ else {"mean": MEAN, "std": STD}
    black_box = iassa.models.OnnxModel(path, softmax=not bytes_, **said)
    assert black_box.input_size == SIZE
    for count in (1, 2, 3, 7):
        planes = pixels(count, seed=count)
        if bytes_:
            expected = logits_of(np.round(planes * 255))
        else:
            mean, std = (np.float32(v)[:, None, None] for v in (MEAN, STD))
            expected = softmax(logits_of(((planes - mean) / std).astype(kind)))
        before = planes.copy()
        found = scores(black_box, planes)
        assert found.shape == (count, CLASSES)
        loose = 2e-3 if kind == "float16" else 2e-5
        atol = steps(2, 1.0, dtype=np.float16) if kind == "float16" else steps(32, expected)
        np.testing.assert_allclose(found, expected, rtol=loose, atol=atol)
        np.testing.assert_array_equal(planes, before)


@pytest.mark.parametrize(
    ("fields", "values"),
    [
        ({"range": (0, 1)}, lambda x: x),
        ({"range": (0, 255)}, lambda x: x * 255),
        ({"range": (-1, 1)}, lambda x: x * 2 - 1),
        ({"range": (0, 255), "bgr": True}, lambda x: x[:, ::-1] * 255),
    ],
)
def test_ranges_and_order(path: Path, fields: dict[str, Any], values: Any) -> None:
    black_box = iassa.models.OnnxModel(graph(path), softmax=False, **fields)
    expected = logits_of(values(pixels()))
    np.testing.assert_allclose(
        scores(black_box, pixels()), expected, rtol=1e-4, atol=steps(64, expected)
    )


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_any_size(path: Path, layout: str) -> None:
    graph(path, ("n", 3, "h", "w") if layout == "NCHW" else ("n", "h", "w", 3))
    black_box = iassa.models.OnnxModel(path, input_size="any", range=(0, 1), softmax=False)
    assert black_box.input_size is None
    for size in (SIZE, (9, 4)):
        expected = logits_of(pixels(3, size))
        np.testing.assert_allclose(
            scores(black_box, pixels(3, size)), expected, atol=steps(64, expected)
        )
    fixed = iassa.models.OnnxModel(path, input_size=SIZE, range=(0, 1), softmax=False)
    images = pixels(2, (13, 8)).transpose(0, 2, 3, 1)
    planes = resize(torch.from_numpy(pixels(2, (13, 8))), SIZE).numpy()
    np.testing.assert_allclose(fixed(images), logits_of(planes), atol=steps(64, logits_of(planes)))


def test_a_layout_that_is_said(path: Path) -> None:
    for layout in ("NCHW", "NHWC"):
        graph(path, ("n", "a", "b", "c"), layout=layout)
        said = {"layout": layout, "input_size": SIZE, "range": (0, 1), "softmax": False}
        np.testing.assert_allclose(
            scores(iassa.models.OnnxModel(path, **said), pixels()),
            logits_of(pixels()),
            atol=steps(64, logits_of(pixels())),
        )


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 5, 3, stride=2, padding=1)
        self.head = nn.Linear(5, CLASSES)

    def forward(self, planes: torch.Tensor) -> torch.Tensor:
        return self.head(self.conv(planes).relu().mean((2, 3)))


def normalise(planes: torch.Tensor) -> torch.Tensor:
    return (planes - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


@pytest.mark.parametrize("external", [False, True])
def test_the_same_as_the_torch_module_that_was_exported(
    path: Path, external: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = Network().eval()
    with efficientnet_lite0._quiet():
        torch.onnx.export(
            module,
            (torch.zeros(2, 3, *SIZE),),
            path,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            external_data=external,
            dynamo=True,
            verbose=False,
        )
    monkeypatch.chdir("/")  # external data is looked for beside the file, not here
    black_box = iassa.models.OnnxModel(path, mean=MEAN, std=STD, softmax=True)
    expected = iassa.models.TorchModel(module, normalise=normalise, softmax=True)
    for count in (1, 6):
        np.testing.assert_allclose(
            scores(black_box, pixels(count)), scores(expected, pixels(count)), atol=steps(8, 1.0)
        )


def test_the_same_map_as_the_default_model_whose_file_it_is() -> None:
    default = open_model("efficientnet-lite0", "cpu")
    file = open_model(
        f"{efficientnet_lite0.exported_graph()}?range=0-1&output_name=probabilities", "cpu"
    )
    assert file.input_size == default.input_size
    image = iassa.example_image("cat")
    maps = [
        iassa.explain(image, box, target=285, method="rise", calls=48).saliency
        for box in (default, file)
    ]
    np.testing.assert_array_equal(*maps)


# --- what is read -----------------------------------------------------------------------------


@pytest.mark.parametrize("last", [("Softmax",), ("Sigmoid",), ("Softmax", "Cast", "Identity")])
def test_probabilities_are_told_from_the_last_operator(path: Path, last: tuple[str, ...]) -> None:
    graph(path, last=last)
    logits = logits_of(pixels())
    expected = 1 / (1 + np.exp(-logits)) if "Sigmoid" in last else softmax(logits)
    for said in ({}, {"softmax": False}):
        black_box = iassa.models.OnnxModel(path, range=(0, 1), **said)
        np.testing.assert_allclose(scores(black_box, pixels()), expected, atol=steps(8, 1.0))
    for said in ({"softmax": True}, {"sigmoid": True}):
        with pytest.raises(InputError, match=f"is that of {last[0]} already"):
            iassa.models.OnnxModel(path, range=(0, 1), **said)


def test_sigmoid(path: Path) -> None:
    black_box = iassa.models.OnnxModel(graph(path), range=(0, 1), sigmoid=True)
    expected = 1 / (1 + np.exp(-logits_of(pixels())))
    np.testing.assert_allclose(scores(black_box, pixels()), expected, atol=steps(8, 1.0))


@pytest.mark.parametrize(
    ("noted", "values"),
    [
        ("NominalRange_0_255", lambda x: x * 255),
        ("normalized_0_1", lambda x: x),
        ("Normalized_1_1", lambda x: 2 * x - 1),
        ("NominalRange_16_235", lambda x: 16 + 219 * x),
    ],
)
@pytest.mark.parametrize("order", [None, "Rgb8", "Bgr8"])
def test_metadata_of_onnx(path: Path, noted: str, values: Any, order: str | None) -> None:
    notes = {"Image.NominalPixelRange": noted, "Image.ColorSpaceGamma": "SRGB"}
    graph(path, notes=notes | ({"image.bitmapPixelFormat": order} if order else {}))
    expected = values(pixels())[:, :: -1 if order == "Bgr8" else 1]
    black_box = iassa.models.OnnxModel(path, softmax=False)
    np.testing.assert_allclose(
        scores(black_box, pixels()),
        logits_of(expected),
        rtol=1e-4,
        atol=steps(64, logits_of(expected)),
    )
    said = iassa.models.OnnxModel(
        path, softmax=False, range=(0, 1), bgr=False
    )  # which counts first
    np.testing.assert_allclose(
        scores(said, pixels()), logits_of(pixels()), atol=steps(64, logits_of(pixels()))
    )


def test_metadata_of_ultralytics(path: Path) -> None:
    """Names as Python prints them, and the size that the graph leaves open."""
    names = {0: "cat", 1: "dog's", 2: "a, b", 3: "é"}
    notes = {"names": str(names), "imgsz": str([*SIZE]), "task": "classify"}
    graph(path, ("n", 3, "h", "w"), last=("Softmax",), notes=notes)
    black_box = iassa.models.OnnxModel(path, range=(0, 1))
    assert black_box.input_size == SIZE
    assert black_box.class_names == tuple(names.values())
    for given in ("class_names", "names"):
        graph(path, notes={given: json.dumps(names)})
        black_box = iassa.models.OnnxModel(path, range=(0, 1), softmax=False)
        assert black_box.class_names == tuple(names.values())


def test_class_names_of_a_file_and_of_a_list(path: Path) -> None:
    names = ["cat", "dog", "cow", "é"]
    file = path.with_name("my names.txt")
    file.write_text("\n".join(names), "utf-8")
    said = {"range": (0, 1), "softmax": True}
    for given in (names, file, str(file)):
        black_box = iassa.models.OnnxModel(graph(path), class_names=given, **said)
        assert list(black_box.class_names or ()) == names
        assert pickle.loads(pickle.dumps(black_box)).class_names == black_box.class_names
    explanation = iassa.explain(
        pixels(1)[0].transpose(1, 2, 0), black_box, target="cow", method="rise", calls=30
    )
    assert explanation.targets[0].name == "cow"


@pytest.mark.parametrize("batch", ["n", 3])
@pytest.mark.parametrize("declared", [False, True])
def test_outputs_with_other_axes_are_taken_as_those_of_functions_are(
    path: Path, declared: bool, batch: int | str
) -> None:
    """(N, K, 1, 1), as before a flattening, and (N,), as of one score."""
    four = helper.make_node("Unsqueeze", ["logits", "places"], ["four"])
    one = helper.make_node("ReduceMean", ["logits", "one"], ["alone"], keepdims=0)
    expected = logits_of(pixels())
    for name, node, sides, wanted in (
        ("four", four, (batch, CLASSES, 1, 1), expected),
        ("alone", one, (batch,), expected.mean(1, keepdims=True)),
    ):
        graph(path, (batch, 3, *SIZE), outputs=(name,), extra=(node,))
        if declared:
            model = onnx.load(path)
            value = helper.make_tensor_value_info(name, TensorProto.FLOAT, sides)
            model.graph.output[0].CopyFrom(value)
            onnx.save(model, path)
        adapter = iassa.models.OnnxModel(path, range=(0, 1), softmax=False)
        np.testing.assert_allclose(scores(adapter, pixels()), wanted, atol=steps(64, wanted))


def test_one_of_several_outputs(path: Path) -> None:
    graph(path, outputs=("seen", "scores", "planes"))
    with pytest.raises(InputError, match=r"one of 'seen', 'scores', 'planes'\.") as caught:
        iassa.models.OnnxModel(path, softmax=False)
    assert f"'{path}?softmax=no&range=0-1&output_name=seen'" in str(caught.value)
    open_model(f"{path}?softmax=no&output_name=seen&range=0-1")
    with pytest.raises(InputError, match="got 'nowhere'"):
        iassa.models.OnnxModel(path, range=(0, 1), softmax=False, output_name="nowhere")
    black_box = iassa.models.OnnxModel(path, range=(0, 1), softmax=False, output_name="seen")
    assert scores(black_box, pixels()).shape == (5, 6)
    with pytest.raises(InputError, match=r"to be scores \(N, K\), got \(1, 3, 6, 10\)"):
        iassa.models.OnnxModel(path, range=(0, 1), softmax=False, output_name="planes")


# --- what is refused --------------------------------------------------------------------------


def refusal(path: Path | str, **said: Any) -> str:
    with pytest.raises(InputError) as caught:
        iassa.models.OnnxModel(path, **{"range": (0, 1), "softmax": False, **said})
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_what_was_not_said_is_told_at_once_with_what_was_found(path: Path) -> None:
    graph(path, ("n", 3, "h", "w"), notes={"task": "classify"})
    with pytest.raises(InputError) as caught:
        open_model(str(path))
    text = str(caught.value)
    for word in ("range=0-1, range=0-255 or range=-1..1", "mean=... and std=...", "softmax=yes"):
        assert word in text
    assert "input_size=HEIGHT,WIDTH of its training: its input is (?, 3, ?, ?)" in text
    assert "got nothing" in text
    assert (
        "input image float32 (?, 3, ?, ?); output scores float32 of unknown shape of Gemm" in text
    )
    assert "metadata task=classify; made by hand" in text
    assert f"'{path}?input_size=224,224&range=0-1&softmax=yes'" in text
    assert "bgr=yes if its channels are blue, green, red" in text
    assert "add --input-size 224,224 --range 0-1 --softmax, with your values" in text
    open_model(f"{path}?input_size=224,224&range=0-1&softmax=yes")
    graph(path)
    with pytest.raises(InputError, match="range=0-1, range=0-255") as caught:
        iassa.models.OnnxModel(path, softmax=True, bgr=True)
    assert "got bgr=yes&softmax=yes" in str(caught.value)
    assert "input_size=HEIGHT" not in str(caught.value)
    with pytest.raises(InputError, match=r"several may be, softmax=no .* from Gemm\."):
        iassa.models.OnnxModel(path, range=(0, 1))
    graph(path, ("n", "a", "b", "c"), layout="NCHW")
    assert "Give layout=NCHW or layout=NHWC. On the" in refusal(path, input_size=SIZE)


def test_a_remedy_can_be_copied_and_is_all_that_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It keeps the folder and what was given; all that is open is asked for at once."""
    path = graph(tmp_path / "my net.onnx", ("n", "a", "b", "c"), layout="NCHW")
    names = tmp_path / "a, b.txt"
    names.write_text("cat\ndog\ncow\nbird\n")
    with pytest.raises(InputError) as caught:
        open_model(add_conventions(str(path), ["bgr=yes", f"class_names={names}"]))
    name = re.search(r"add (.*), with your .* name, as in '(.*?)'\. In", str(caught.value))
    assert name is not None
    assert name[2].startswith(f"{path}?bgr=yes&class_names=")
    model = open_model(name[2])
    assert model.class_names == ("cat", "dog", "cow", "bird")
    assert model.input_size == (224, 224)
    said = "--model-option layout=NCHW --input-size 224,224 --range 0-1 --softmax"
    assert name[1] == said
    assert name[2].endswith("&layout=NCHW&input_size=224,224&range=0-1&softmax=yes")
    typed = [*("--model", str(path), "--class-names", str(names)), *said.split()]
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (40, 30)).save("grey.png")
    with pytest.raises(SystemExit) as exit_:
        main(["explain", "grey.png", "--method", "rise", "--calls", "17", "--quiet", *typed])
    assert not exit_.value.code


@pytest.mark.parametrize(
    ("shape", "said", "word"),
    [
        (("n", 1, *SIZE), {}, "three channels, (1, 3, H, W) or (1, H, W, 3), got shape (?, 1"),
        (("n", 4, *SIZE), {}, "three channels"),
        ((1, 1, 64, "w"), {}, "got shape (1, 1, 64, ?)"),
        (("n", "h", "w", 1), {}, "got shape (?, ?, ?, 1)"),
        (("n", 4, *SIZE), {"layout": "NCHW"}, "got shape (?, 4, 6, 10) read as NCHW"),
        (("n", 3, *SIZE, 1), {}, "got shape (?, 3, 6, 10, 1)"),
        (("n", 3, *SIZE), {"input_size": (10, 6)}, "of {}, (6, 10), got (10, 6)"),
        (("n", 3, *SIZE), {"input_size": "any"}, "takes (?, 3, 6, 10), got any"),
        (("n", 3, 6, "w"), {}, "its input is (?, 3, 6, ?)"),
        (("n", 3, 6, "w"), {"input_size": (7, 9)}, "of {}, (6, 9), got (7, 9)"),
    ],
)
def test_shapes_that_are_refused(
    path: Path, shape: tuple[Any, ...], said: dict[str, Any], word: str
) -> None:
    assert word.format(path) in refusal(graph(path, shape), **said)


def test_models_that_are_not_of_one_rgb_image(path: Path) -> None:
    question = helper.make_tensor_value_info("question", TensorProto.INT64, (1, 7))
    several = refusal(graph(path, more_inputs=(question,)))
    assert "one input, the image, got image, question. Export it so, or write a function" in several
    for kind, name in ((TensorProto.INT32, "int32"), (TensorProto.INT8, "int8")):
        text = refusal(graph(path, input_type=kind))
        assert f"images, got {name}. Export it so, or write a function" in text
        assert "docs/models.md" in text
    for notes in (
        {"Image.BitmapPixelFormat": "Gray8"},
        {"Image.BitmapPixelFormat": "Rgba8"},
        {"Image.ColorSpaceGamma": "Linear"},
    ):
        assert "expected a model of sRGB images, got one of" in refusal(graph(path, notes=notes))
    graph(path, kind="uint8")
    for said in ({"range": (0, 1)}, {"range": None, "mean": MEAN, "std": STD}):
        assert "since" in refusal(path, **said)
        assert "takes 8-bit images" in refusal(path, **said)
    assert iassa.models.OnnxModel(path, softmax=True, range=(0, 255)).input_size == SIZE


def test_the_function_of_docs_models_runs_a_file_of_two_inputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (block,) = pages.blocks("docs/models.md", "Several inputs")
    image = helper.make_tensor_value_info("image", TensorProto.INT8, ("n", 3, 48, 64))
    gain = helper.make_tensor_value_info("gain", TensorProto.FLOAT, (1,))
    nodes = [
        helper.make_node("Cast", ["image"], ["planes"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["planes", "sides"], ["means"], keepdims=0),
        helper.make_node("Mul", ["means", "gain"], ["scores"]),
    ]
    scores_ = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ("n", 3))
    sides = [numpy_helper.from_array(np.array([2, 3]), "sides")]
    made = helper.make_graph(nodes, "two", [image, gain], [scores_], sides)
    opset = [helper.make_opsetid("", 18)]
    onnx.save(
        helper.make_model(made, opset_imports=opset, ir_version=10), tmp_path / "two_inputs.onnx"
    )
    monkeypatch.chdir(tmp_path)
    assert "docs/models.md" in refusal("two_inputs.onnx")
    names: dict[str, Any] = {}
    pages.run_python(block, names)
    images = pixels(2, (48, 64)).transpose(0, 2, 3, 1)
    expected = np.round(images * 255 - 128).mean((1, 2))
    np.testing.assert_allclose(names["model"](images), expected, atol=steps(64, 128.0))


def test_outputs_that_are_no_scores(path: Path) -> None:
    labels = refusal(graph(path, last=("ArgMax", "Cast")), softmax=None, range=None)
    assert "to be scores (N, K), got class numbers of ArgMax. Name another" in labels
    pairs = helper.make_node("Constant", [], ["pairs"], value_ints=[-1, 2])
    rows = helper.make_node("Reshape", ["logits", "pairs"], ["rows"])
    for batch in ("n", 3):  # the rows that are too many are not cut off
        graph(path, (batch, 3, *SIZE), outputs=("rows",), extra=(pairs, rows))
        assert f"got ({2 if batch == 'n' else 6}, 2) for N =" in refusal(path)
    together = helper.make_node("SequenceConstruct", ["logits"], ["list"])
    graph(path, outputs=("list",), extra=(together,))
    model = onnx.load(path)
    model.graph.output[0].CopyFrom(
        helper.make_tensor_sequence_value_info("list", TensorProto.FLOAT, None)
    )
    onnx.save(model, path)
    assert "scores (N, K), got (1, 1, 4) for N = 1" in refusal(path)


def test_files_that_are_no_model(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "net.onnx"
    assert f"expected an ONNX file, got {path}: No such file" in refusal(path)
    path.mkdir()
    assert "Is a directory" in refusal(path)
    path = tmp_path / "other.onnx"
    for content in (b"version https://git-lfs\n", b"", b"<!doctype html>"):
        path.write_bytes(content)
        assert "expected an ONNX file, got" in refusal(path)
    whole = graph(path).read_bytes()
    for share in (0.3, 0.7, 0.99):
        path.write_bytes(whole[: int(share * len(whole))])
        assert "expected an ONNX" in refusal(path)
    assert capfd.readouterr() == ("", "")


def test_an_operator_that_the_runtime_lacks(path: Path) -> None:
    graph(path)
    model = onnx.load(path)
    model.graph.node[-1].op_type = "Frobnicate"
    onnx.save(model, path)
    text = refusal(path)
    assert f"that ONNX Runtime opens, got {path}: This is an invalid model. In Node" in text
    assert "Frobnicate" in text
    model.graph.node[-1].op_type = "Identity"
    model.opset_import[0].version = 99
    onnx.save(model, path)
    text = refusal(path)
    assert "that ONNX Runtime opens, got" in text
    assert "Opset 99 is under development" in text
    assert not re.search(r"ONNXRuntimeError|/onnxruntime|std::|Load model from", text)


def test_external_data_that_is_missing_or_cut(path: Path) -> None:
    graph(path, external=True)
    data = path.with_name("net.onnx.data")
    whole = data.read_bytes()
    data.write_bytes(whole[:-1])
    text = f"expected {len(whole)} bytes or more of the weights of {path} in {data}, got "
    assert f"{text}{len(whole) - 1}: it was cut short" in refusal(path)
    data.unlink()
    assert f"{text}no such file" in refusal(path)
    model = onnx.load(path, load_external_data=False)
    for place in ("../net.onnx.data", "/dev/zero"):
        for tensor in model.graph.initializer:
            for entry in tensor.external_data:
                entry.value = place if entry.key == "location" else entry.value
        onnx.save(model, path)
        assert f"the name of a file in {path.parent}, got {place!r}" in refusal(path)


def test_links_as_in_the_cache_of_a_hub(path: Path) -> None:
    graph(path, external=True)
    said = {"range": (0, 1), "softmax": False}
    expected = scores(iassa.models.OnnxModel(path, **said), pixels())
    (path.parent / "blobs").mkdir()
    for number, name in enumerate(("net.onnx", "net.onnx.data")):
        blob = path.parent / "blobs" / str(number)
        path.with_name(name).rename(blob)
        path.with_name(name).symlink_to(blob)
    np.testing.assert_array_equal(scores(iassa.models.OnnxModel(path, **said), pixels()), expected)


def test_a_size_that_the_graph_cannot_run_at(path: Path) -> None:
    crop = helper.make_node("Gather", ["planes", "nine"], ["row"], axis=2)
    nine = helper.make_node("Constant", [], ["nine"], value_ints=[9])
    module = helper.make_node("ReduceMean", ["row", "places"], ["thin"], keepdims=0)
    graph(path, ("n", 3, "h", "w"), outputs=("thin",), extra=(nine, crop, module))
    assert "to run on an image of 6 x 10, got:" in refusal(path, input_size=SIZE)
    iassa.models.OnnxModel(path, input_size=(10, 6), range=(0, 1), softmax=False)


def test_class_names_of_another_length(path: Path) -> None:
    text = refusal(graph(path), class_names=["a", "b", "c"])
    assert "expected 4 class names" in text
    assert "got 3" in text
    assert "expected 4 class names" in refusal(graph(path, notes={"names": "{0: 'a'}"}))
    said = {"class_names": ["a", "b", "c", "d"], "range": (0, 1), "softmax": False}
    iassa.models.OnnxModel(path, **said)  # rather than those of the metadata


def test_scores_that_are_not_finite(path: Path) -> None:
    graph(path, last=("Log",))
    black_box = iassa.models.OnnxModel(path, range=(0, 1), softmax=False)
    dark = np.zeros((2, *SIZE, 3), np.float32)
    assert (logits_of(dark.transpose(0, 3, 1, 2)) < 0).any()
    with pytest.raises(BlackBoxError, match="got NaN or infinity for 2 of 2"):
        black_box(dark)


def test_a_graph_that_was_exported_for_one_image(
    path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = onnx.load(graph(path))
    last = model.graph.node[-1]
    last.CopyFrom(helper.make_node("Reshape", [last.input[0], "shape"], ["scores"]))
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, 4]), "shape"))
    onnx.save(model, path)
    black_box = iassa.models.OnnxModel(path, range=(0, 1), softmax=False)
    images = pixels(3).transpose(0, 2, 3, 1)
    with pytest.raises(BlackBoxError) as error:
        black_box(images)
    text = str(error.value)
    assert text.startswith("ONNX Runtime fails on 3 image(s): ")
    assert "Input shape:{3,4}, requested shape:{1,4}. If it takes one image at a time" in text
    assert not re.search(r"ONNXRuntimeError|/onnxruntime|\n", text)
    assert capfd.readouterr() == ("", "")  # nor does its own log say it once more
    np.testing.assert_allclose(
        black_box(images[:1]), logits_of(pixels(3)[:1]), atol=steps(64, logits_of(pixels(3)))
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="is about machines without")
def test_a_device_that_is_not_there(path: Path) -> None:
    graph(path)
    with pytest.raises(InputError, match="expected a device that is here, got 'cuda'"):
        open_model(f"{path}?range=0-1&softmax=no", "cuda")
    assert "a device that ONNX Runtime has here, got cuda; it has " in refusal(path, device="cuda")
    assert "CPUExecutionProvider" in refusal(path, device="mps")


def test_what_an_onnx_classifier_does_not_take(path: Path) -> None:
    graph(path)
    assert "a detector for a layout, a threshold or resize" in refusal(path, detector="yolov8")
    assert "a detector for a layout, a threshold or resize" in refusal(path, threshold=0.5)
    with pytest.raises(TypeError, match="colour"):
        iassa.models.OnnxModel(path, colour="rgb")  # type: ignore[call-arg]


# --- as a value -------------------------------------------------------------------------------


def test_identity_is_that_of_the_content_and_of_what_is_done_to_it(
    path: Path, tmp_path: Path
) -> None:
    reference = "?range=0-1&softmax=yes"
    graph(path, external=True)
    first = open_model(f"{path}{reference}").identity()
    code = f"import iassa; print(iassa.open_model({str(path) + reference!r}).identity())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == first
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for one in (path, path.with_name("net.onnx.data")):
        (elsewhere / one.name).write_bytes(one.read_bytes())
    assert open_model(elsewhere / "net.onnx?range=0..1&softmax=yes").identity() == first
    others = {
        open_model(f"{path}?{said}").identity()
        for said in (
            *("range=0-255&softmax=yes", "range=0-1&softmax=no", "range=0-1&sigmoid=yes"),
            *("range=0-1&bgr=yes&softmax=yes", "mean=0.5&std=0.5&softmax=yes"),
        )
    }
    assert len(others | {first}) == 6
    data = elsewhere / "net.onnx.data"
    content = bytearray(data.read_bytes())
    content[-1] ^= 1
    data.write_bytes(content)
    assert open_model(f"{elsewhere / 'net.onnx'}{reference}").identity() != first


def test_it_is_opened_again_in_another_process(path: Path) -> None:
    reference = f"{graph(path)}?mean=0.485,0.456,0.406&std=0.229,0.224,0.225&softmax=yes"
    black_box = open_model(reference)
    for again in (
        pickle.loads(pickle.dumps(black_box)),
        pickle.loads(pickle.dumps(Model(reference, None))).open(),
    ):
        assert again.identity() == black_box.identity()
        np.testing.assert_array_equal(scores(again, pixels()), scores(black_box, pixels()))


def test_the_package_onnx_is_imported_by_who_needs_it() -> None:
    code = "import sys, iassa.models.opening, iassa.cli; print('onnx' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_keywords_are_the_fields_of_conventions() -> None:
    assert [*ConventionFields.__annotations__, "class_names"] == sorted(
        (field.name for field in fields(Conventions)), key=lambda name: name == "class_names"
    )


@pytest.mark.parametrize(
    ("model", "said", "whole"),
    [
        ("net.onnx", ["range=0-1"], "net.onnx?range=0..1"),
        ("net.onnx?", ["range=0-1"], "net.onnx?range=0..1"),
        ("NET.ONNX", ["range=0-1"], "NET.ONNX?range=0..1"),
        ("a.Onnx?bgr=no", ["range=0-1"], "a.Onnx?range=0..1&bgr=no"),
        ("net.onnx", ["input-size=3x4"], "net.onnx?input_size=3,4"),
        (
            "a.onnx/net.onnx?range=0-255",
            ["class_names=a&b?=,%.txt", "bgr=no"],
            "a.onnx/net.onnx?range=0..255&bgr=no&class_names=a%26b%3F=%2C%25.txt",
        ),
    ],
)
def test_options_join_the_name(model: str, said: list[str], whole: str) -> None:
    assert add_conventions(model, said) == whole


def test_the_ending_of_a_file_may_have_any_case(path: Path) -> None:
    graph(path)
    expected = open_model(f"{path}?range=0-1&softmax=yes")
    upper = path.rename(path.with_name("NET.ONNX"))
    planes = pixels()
    for name in (f"{upper}?range=0-1&softmax=yes", add_conventions(str(upper), SAID)):
        np.testing.assert_array_equal(scores(open_model(name), planes), scores(expected, planes))


SAID = ["range=0-1", "softmax=yes"]
FEATURES = "iassa.features"  # key of the metadata that say how features are read


def test_a_file_of_features_is_no_model(path: Path) -> None:
    """Unless it gives something else as well."""
    graph(path, notes={FEATURES: "inner,scores?feature_layout=NCHW"})
    said = refusal(path)
    assert f"expected a model that gives scores, got {path}, which gives features of" in said
    assert f"--set features={path}, in Python Iassa(features='{path}')." in said
    graph(path, notes={FEATURES: "inner?feature_layout=NCHW"})
    assert open_model(f"{path}?{'&'.join(SAID)}").name == path.name


@pytest.mark.parametrize(
    ("model", "said", "word"),
    [
        ("efficientnet-lite0", ["input_size=3,4"], "expected input_size=3,4 for an ONNX file"),
        (
            "a.b:c",
            ["mean=1", "std=1"],
            "expected mean=1, std=1 for an ONNX file, hf:NAME or a URL, got model",
        ),
        ("net.onnx?bgr=yes", ["bgr=yes"], "expected bgr once, got it twice"),
        ("net.onnx", ["range=1"], "expected range to be LOW-HIGH"),
        ("net.onnx", ["range=0-1&bgr=yes"], "expected range to be LOW-HIGH"),
        ("net.onnx", ["auth_env=TOKEN"], "expected a known field, got auth_env"),
    ],
)
def test_options_that_do_not_fit(model: str, said: list[str], word: str) -> None:
    with pytest.raises(InputError, match=word):
        add_conventions(model, said)


# --- on the command line ----------------------------------------------------------------------


@pytest.fixture
def run(path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """`iassa ...` in a folder with the file, a photograph and names."""
    monkeypatch.chdir(graph(path).parent)
    Path("photos").mkdir()
    for seed in range(2):
        pixels_ = pixels(1, (18, 26), seed)[0].transpose(1, 2, 0)
        Image.fromarray(np.round(pixels_ * 255).astype(np.uint8)).save(f"photos/{seed}.png")
    Path("my names.txt").write_text("cat\ndog\ncow\nbird\n")

    def run_command(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exit_:
            main([str(one) for one in arguments])
        captured = capsys.readouterr()
        return int(exit_.value.code or 0), captured.out, captured.err

    return run_command


OPTIONS = ("--mean", "0.485,0.456,0.406", "--std", "0.229,0.224,0.225", "--softmax")
REFERENCE = "net.onnx?mean=0.485,0.456,0.406&std=0.229,0.224,0.225&softmax=yes"
QUICK = ("photos/0.png", "--method", "rise", "--calls", 40)


def test_explain_and_extend_take_the_options_and_the_name(run: Any) -> None:
    names = ("--class-names", "my names.txt", "--target", "cow")
    assert run("explain", *QUICK, "--model", "net.onnx", *OPTIONS, *names, "--out", "a")[0] == 0
    text = f"{REFERENCE}&class_names=my names.txt"
    assert run("explain", *QUICK, "--model", text, *names[2:], "--out", "b")[0] == 0
    first, second = (iassa.Explanation.load(folder) for folder in "ab")
    np.testing.assert_array_equal(first.saliency, second.saliency)
    assert first.model == "net.onnx"
    assert first.targets[0].name == "cow"
    assert run("extend", "a", "--calls", 20, "--model", "net.onnx", *OPTIONS)[0] == 0
    assert iassa.Explanation.load("a").calls == 60
    other = ("--range", "-1..1", "--no-softmax")
    status, _, err = run("extend", "a", "--calls", 20, "--model", "net.onnx", *other)
    assert status == 2
    assert "expected the black box that was asked before, onnx " in err
    status, _, err = run("extend", "a", "--calls", 20, *other)
    assert status == 2
    assert (
        err == "error: expected --model with range=-1..1, softmax=no, got none. Name the model.\n"
    )


def test_the_benchmark_hands_them_to_its_workers(run: Any) -> None:
    arguments = ("images", "--images", "photos", "--methods", "rise", "--calls", 30)
    wanted = ("--run", "run", "--model", "net.onnx", *OPTIONS, "--workers", 2)
    status, out, err = run("benchmark", *arguments, *wanted)
    assert (status, out) == (0, "run\n"), err
    record = run("benchmark", *arguments, "--run", "run", "--model", REFERENCE)
    assert "2 of 2 items, 0 of them new" in record[2]


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (("--model", "net.onnx"), "does not say of itself, got nothing. Give the values that"),
        (("--range", "0-1"), "expected --model with range=0-1, got none. Name the model."),
        (
            ("--model", "efficientnet-lite0", "--range", "0-1"),
            "expected range=0-1 for an ONNX file, hf:NAME or a URL, got model efficientnet-lite0",
        ),
        (("--model", "net.onnx", "--range", "2"), "expected range to be LOW-HIGH"),
        (("--model", "net.onnx", "--softmax", "--sigmoid"), "got both"),
        (
            ("--model", "net.onnx", "--range", "0-1", "--model-option", "range=0-255"),
            "expected range once, got it twice",
        ),
        (
            ("--model", "net.onnx?range=0-1", "--range", "0-1"),
            "expected range once, got it twice. Give it once. Fields: input_size, layout",
        ),
        (("--model", "net.onnx", "--model-option", "bgr"), "expected field=value&field=value"),
        (("--model", "net.onnx", "--auth-env", "TOKEN"), "expected a known field, got auth_env."),
        (("--model", "none.onnx", *OPTIONS), "expected an ONNX file, got none.onnx: No such file"),
    ],
)
def test_bad_options(run: Any, options: tuple[str, ...], word: str) -> None:
    status, out, err = run("explain", *QUICK, *options)
    assert (status, out) == (2, "")
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1
    assert word in err
