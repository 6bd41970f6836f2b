"""Arguments of other types: taken for what they stand for, or refused before the first call."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper
from torch import nn

import iassa
from iassa.benchmark import Contestant, Protocol
from iassa.errors import InputError
from iassa.models import (
    Box,
    FunctionDetector,
    FunctionModel,
    HttpModel,
    OnnxModel,
    Target,
    TorchDetector,
    TorchModel,
)
from scoring_server import serving

SIZE = (20, 28)
PHOTO = np.random.default_rng(3).random((24, 32, 3), dtype=np.float32)


class Channels:
    """The means of red and green, and how many images it was asked about."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        self.calls += len(images)
        means: NDArray[np.float32] = images.mean((1, 2))[:, :2]
        return means


def explain(**arguments: Any) -> iassa.Explanation:
    chosen = {"calls": 40, "method": "rise", "target": 1} | arguments
    black_box = FunctionModel(Channels(), name="channels", input_size=SIZE)
    return iassa.explain(PHOTO, black_box, **chosen)


# One argument of an odd type, and the plain one that it stands for; refused where there is none.
TAKEN: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "seed of NumPy": ({"seed": np.int64(3)}, {"seed": 3}),
    "batch size of NumPy": ({"batch_size": np.int64(8)}, {"batch_size": 8}),
    "batch size, a whole float": ({"batch_size": 8.0}, {"batch_size": 8}),
    "calls, a whole float": ({"calls": 5e1}, {"calls": 50}),
    "calls, a tensor": ({"calls": torch.tensor(50)}, {"calls": 50}),
    "keep_scores of NumPy": ({"keep_scores": np.int64(0)}, {"keep_scores": 0}),
    "max_seconds of NumPy": ({"max_seconds": np.float32(600)}, {"max_seconds": 600}),
    "tolerance of NumPy": ({"tolerance": np.float32(0.5)}, {"tolerance": 0.5}),
    "target, an array without axes": ({"target": np.array(1)}, {"target": 1}),
    "target, an argmax": ({"target": torch.tensor([0.1, 0.9]).argmax()}, {"target": 1}),
    "targets, a tensor": ({"target": torch.tensor([1, 0])}, {"target": [1, 0]}),
    "target with numbers of NumPy": (
        {"target": Target("red", (np.int64(0),), (np.float32(2),))},
        {"target": Target("red", (0,), (2.0,))},
    ),
    "targets, a generator": ({"target": (str(k) for k in (0, 1))}, {"target": ["0", "1"]}),
    "contrast in capitals": ({"target": "0 VS 1"}, {"target": "0 vs 1"}),
}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "calls, a text": ({"calls": "10"}, "calls to be a whole number or 'auto', got '10'"),
    "calls, infinite": ({"calls": float("inf")}, "calls to be a whole number or 'auto', got inf"),
    "seed, a fraction": ({"seed": 1.5}, "seed to be a whole number, from 0 to .*, got 1.5"),
    "seed, None": ({"seed": None}, "seed to be a whole number, from 0 to .*, got None"),
    "batch size, a fraction": ({"batch_size": 0.5}, "batch_size to be .* got 0.5"),
    "keep_scores, a text": ({"keep_scores": "most"}, "keep_scores to be 'all' or .* got 'most'"),
    "max_seconds, a text": ({"max_seconds": "3"}, "time budget above 0 seconds, got '3'"),
    "tolerance, an array": ({"tolerance": np.array([0.1, 0.2])}, "tolerance above 0 .* got array"),
    "target, None": ({"target": None}, "class name, an index, .* got None"),
    "target, a fraction": ({"target": 1.5}, "class name, an index, .* got 1.5"),
    "target, bytes": ({"target": b"red"}, "class name, an index, .* got b'red'"),
    "targets, rows": ({"target": np.eye(2, dtype=int)}, r"class name, an index, .* got array"),
    "progress, a number": ({"progress": 1}, "progress to be a function or None, got 1"),
    "cancel, a number": ({"cancel": 3}, "cancel to be a function or None, got 3"),
    "method, None": ({"method": None}, "unknown method None"),
}


@pytest.mark.parametrize("case", TAKEN)
def test_an_argument_of_another_type_means_what_it_stands_for(case: str, tmp_path: Path) -> None:
    odd, plain = (explain(**arguments) for arguments in TAKEN[case])
    assert np.array_equal(odd.saliency, plain.saliency)
    assert odd.calls == plain.calls
    saved = [
        json.loads((one.save(tmp_path) / "explanation.json").read_text()) for one in (odd, plain)
    ]
    for name in ("seed", "targets", "scores", "calls", "method"):
        assert saved[0][name] == saved[1][name]
    assert iassa.Explanation.load(tmp_path).targets == odd.targets


@pytest.mark.parametrize("case", REFUSED)
def test_any_other_argument_is_refused_before_the_first_call(case: str) -> None:
    arguments, words = REFUSED[case]
    function = Channels()
    with pytest.raises(InputError, match=words):
        iassa.explain(PHOTO, function, **{"calls": 40, "method": "rise"} | arguments)
    assert function.calls == 0


def test_more_calls_are_taken_and_refused_likewise() -> None:
    explanation = explain()
    function = Channels()
    black_box = FunctionModel(function, name="channels", input_size=SIZE)
    more = iassa.extend(explanation, black_box, calls=np.int64(20), batch_size=16.0)  # type: ignore[arg-type]
    assert np.array_equal(more.saliency, explain(calls=60).saliency)
    function.calls = 0
    for odd in ({"calls": "9"}, {"batch_size": "9"}, {"tolerance": "9"}, {"method": 9}):
        with pytest.raises(InputError, match="9"):
            iassa.extend(explanation, black_box, **odd)  # type: ignore[arg-type]
    assert function.calls == 0


def test_hyperparameters_and_fills_of_numpy_are_numbers_in_the_record() -> None:
    odd = iassa.methods.Rise(
        grid_size=np.int64(6), keep_probability=np.float32(0.5), baseline=np.float32(0.25)
    )
    assert odd == iassa.methods.Rise(grid_size=6, keep_probability=0.5, baseline=0.25)
    assert json.loads(json.dumps(odd.as_dict()))["fields"]["baseline"] == 0.25
    assert iassa.methods.Rise(baseline=np.array([0, 0.5, 1])).baseline == (0, 0.5, 1)  # RGB
    picture = torch.rand(4, 6, 3)
    of_tensor = iassa.methods.Rise(baseline=picture)  # type: ignore[arg-type]
    assert of_tensor == iassa.methods.Rise(baseline=picture.numpy())


# --- class names and input sizes, of every kind of model ---------------------------------------


def onnx_file(folder: Path) -> Path:
    """Means of red and green of images of any size."""
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["means"], axes=[2, 3], keepdims=0),
        helper.make_node("Gather", ["means", "two"], ["scores"], axis=1),
    ]
    two = helper.make_tensor("two", TensorProto.INT64, [2], [0, 1])
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, "H", "W"])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 2])
    graph = helper.make_graph(nodes, "means", [image], [scores], [two])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, folder / "means.onnx")
    return folder / "means.onnx"


class Means(nn.Module):
    """Means of red and green."""

    def forward(self, planes: torch.Tensor) -> torch.Tensor:
        return planes.mean((2, 3))[:, :2]


Make = Callable[..., Any]
KINDS = ("function", "torch", "onnx", "http", "function detector", "torch detector")


def maker(kind: str, folder: Path) -> Make:
    """A function that makes a model of this kind of class names or an input size."""
    if kind == "onnx":
        path = onnx_file(folder)
        return lambda **given: OnnxModel(
            path, softmax=False, range=(0, 1), **{"input_size": "any", **given}
        )
    return {
        "function": lambda **given: FunctionModel(Channels(), **given),
        "torch": lambda **given: TorchModel(Means().eval(), **given),
        "http": lambda **given: HttpModel("http://127.0.0.1:9/scores", **given),
        "function detector": lambda **given: FunctionDetector(list, **given),
        "torch detector": lambda **given: TorchDetector(Means().eval(), **given),
    }[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_class_names_come_in_any_form(kind: str, tmp_path: Path) -> None:
    make = maker(kind, tmp_path)
    (tmp_path / "names.txt").write_text("red\ngreen\n")
    for names in (
        ["red", "green"],
        np.array(["red", "green"]),
        {0: "red", 1: "green"},
        {"1": "green", "0": "red"},
        (name for name in ("red", "green")),
        tmp_path / "names.txt",
    ):
        assert make(class_names=names).class_names == ("red", "green")
    for odd in ({"red": 0, "green": 1}, {1: "red", 2: "green"}, [0, 1], 2, [b"red", b"green"]):
        with pytest.raises(InputError, match="expected class_names to be a list of texts"):
            make(class_names=odd)
    with pytest.raises(InputError, match="cannot read the class names red"):
        make(class_names="red")


@pytest.mark.parametrize("kind", KINDS)
def test_an_input_size_comes_in_any_form(kind: str, tmp_path: Path) -> None:
    make = maker(kind, tmp_path)
    for size in ([20, 28], np.array(SIZE), (3, 20, 28), torch.Size(SIZE), (20.0, np.int32(28))):
        assert make(input_size=size).input_size == SIZE
    for side in (20, np.int64(20), 20.0):
        assert make(input_size=side).input_size == (20, 20)
    for odd in ("20", (0, 3), (1, 3, 20, 28), (20, 28, 3), 20.5, True, -1):
        with pytest.raises(InputError, match="expected input_size to be"):
            make(input_size=odd)


def test_names_and_size_reach_the_explanation_and_its_file(tmp_path: Path) -> None:
    black_box = FunctionModel(Channels(), class_names={0: "red", 1: "green"}, input_size=(3, *SIZE))  # type: ignore[arg-type]
    made = iassa.explain(PHOTO, black_box, target="green", calls=40, method="rise")
    assert iassa.Explanation.load(made.save(tmp_path)).targets[0].name == "green"
    assert made.evidence is not None
    assert made.evidence.size == SIZE


def test_names_and_size_reach_a_server() -> None:
    names = np.array(["patch", "complement", "mean"])
    with (
        serving() as server,
        HttpModel(server.url, class_names=names, input_size=16, retries=2.0) as black_box,
    ):
        assert black_box.settings.retries == 2
        made = iassa.explain(PHOTO, black_box, target="mean", calls=20, method="rise")
    assert made.evidence is not None
    assert made.evidence.size == (16, 16)


def test_numbers_of_numpy_in_boxes_and_thresholds() -> None:
    box = Box(*np.array([1, 2, 3, 4], np.float32), label=np.int64(3))  # type: ignore[arg-type]
    assert box == Box(1, 2, 3, 4, 3)
    assert FunctionDetector(list, threshold=np.float32(0.5)).threshold == 0.5
    with pytest.raises(InputError, match="top of a box to be a number, got '1'"):
        Box("1", 2, 3, 4)  # type: ignore[arg-type]


def test_numbers_of_numpy_in_a_benchmark() -> None:
    odd = Protocol(size=np.array([8, 9]), fill=np.float32(0.5), blur_size=11.0)  # type: ignore[arg-type]
    assert odd == Protocol(size=(8, 9), fill=0.5, blur_size=11)
    method = iassa.methods.Rise()
    contestant = Contestant("rise", method, np.array([20, 40]))  # type: ignore[arg-type]
    assert json.loads(json.dumps(contestant.definition()))["calls"] == [20, 40]
    with pytest.raises(InputError, match="budgets of rise to be a tuple of whole numbers"):
        Contestant("rise", method, ("20",))  # type: ignore[arg-type]


# --- pictures by name, devices, rounding ---------------------------------------------------------


def test_a_picture_is_drawn_of_a_target_by_place_or_name() -> None:
    black_box = FunctionModel(Channels(), class_names=["red", "green"])
    made = iassa.explain(PHOTO, black_box, target=["red", "green"], calls=40, method="rise")

    def title(target: Any) -> str:
        return made.plot(target).texts[0].get_text() + "".join(
            axes.get_title() for axes in made.plot(target).axes
        )

    assert title("green") == title("GREEN ") == title(1) == title(np.int64(1)) == title(-1)
    assert "green" in title("green")
    assert title("red") == title(0) != title(1)
    for odd in ("blue", 2, -3, 0.5, None):
        with pytest.raises(InputError, match=r"place, 0 to 1, or its name \(red, green\), got"):
            made.plot(odd)  # type: ignore[arg-type]


@pytest.mark.parametrize("device", ["mps", "xpu", "hpu", "tpu", 3, ["cpu"]])
def test_a_device_that_is_not_here_is_refused_in_one_short_line(device: Any) -> None:
    if device == "mps" and torch.backends.mps.is_available():
        pytest.skip("it is here, though without float64")
    with pytest.raises(InputError) as caught:
        iassa.open_model("efficientnet-lite0", device)
    text = str(caught.value)
    assert f"got {device!r}: " in text
    assert "\n" not in text
    assert len(text) < 300
    assert text.endswith("Leave it out, or say 'cpu'.")


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_values_beyond_the_range_by_rounding_are_its_ends(dtype: Any) -> None:
    beyond = np.full((4, 5, 3), 0.5, dtype)
    step = max(np.finfo(dtype).eps, np.finfo(np.float32).eps)
    beyond[0], beyond[1], beyond[2] = dtype(1 + step), dtype(-step), dtype(1 + 4 * step)
    pixels = iassa.image.as_image(beyond)
    assert pixels.dtype == np.float32
    assert (pixels[0] == 1).all()
    assert (pixels[1] == 0).all()
    assert (pixels[2] == 1).all()
    assert (pixels[3] == 0.5).all()
    for far in (1 + 100 * step, -100 * step):
        beyond[0] = dtype(far)
        with pytest.raises(InputError, match=r"values in \[0, 1\]"):
            iassa.image.as_image(beyond)


# --- the saved folder ----------------------------------------------------------------------------

READER = """
import json, struct, sys, zlib
from pathlib import Path
for name in ("iassa", "torch", "PIL", "matplotlib", "skimage", "onnxruntime"):
    sys.modules[name] = None  # an import of it fails
import numpy as np

folder, wanted = Path(sys.argv[1]), Path(sys.argv[2])
record = json.loads((folder / "explanation.json").read_text("utf-8"))
with np.load(folder / "explanation.npz", allow_pickle=False) as arrays:
    content = {name: arrays[name] for name in arrays.files}
with np.load(folder / "evidence.npz", allow_pickle=False) as arrays:
    evidence = {name: arrays[name] for name in arrays.files}
number = len(record["targets"])
assert content["saliency"].dtype == content["standard_error"].dtype == np.float32
assert content["saliency"].shape == content["standard_error"].shape
assert len(content["saliency"]) == len(record["scores"]) == number
assert [one["name"] for one in record["targets"]] == ["red", "green"]
assert record["calls"] == 40 and record["seed"] == 3
assert np.array_equal(content["saliency"], np.load(wanted))
assert all(array.dtype != object for array in [*content.values(), *evidence.values()])
for k in range(number):
    png = (folder / f"overlay-{k}.png").read_bytes()
    assert png[:8] == b"\\x89PNG\\r\\n\\x1a\\n"
    length, kind = struct.unpack(">I4s", png[8:16])
    assert kind == b"IHDR" and zlib.crc32(png[12 : 16 + length]) == struct.unpack(
        ">I", png[16 + length : 20 + length]
    )[0]
print("read")
"""


def test_the_saved_folder_is_read_by_numpy_and_the_standard_library(tmp_path: Path) -> None:
    black_box = FunctionModel(Channels(), name="channels", class_names=["red", "green"])
    made = iassa.explain(PHOTO, black_box, target=["red", "green"], calls=40, method="rise", seed=3)
    folder = made.save(tmp_path / "saved")
    np.save(tmp_path / "wanted.npy", made.saliency)
    command = [sys.executable, "-c", READER, str(folder), str(tmp_path / "wanted.npy")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "read\n", done.stderr


# --- a disk that is full -------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has it")
@pytest.mark.parametrize("buffered", [True, False])
def test_output_that_cannot_be_printed_is_one_line(tmp_path: Path, buffered: bool) -> None:
    (tmp_path / "means.py").write_text("def means(images):\n    return images.mean((1, 2))\n")
    program = [sys.executable, *([] if buffered else ["-u"]), "-m", "iassa"]
    command = [*program, "explain", "--example", "cat", "--model", "means:means", "--calls", "17"]
    command += ["--method", "rise", "--out", "out", "--json", "--quiet"]
    for words in (command, [*program, "--help"]):
        with Path("/dev/full").open("wb") as full:
            done = subprocess.run(
                words, stdout=full, stderr=subprocess.PIPE, text=True, cwd=tmp_path, check=False
            )
        assert done.returncode == 2
        (line,) = done.stderr.splitlines()
        assert line.startswith("error: cannot print: No space left on device.")
    assert (tmp_path / "out" / "explanation.json").exists()
