"""What outputs are taken for, against their values: of a torch module, a file and a server."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

import iassa
from iassa.errors import BlackBoxError, ConventionWarning, InputError
from iassa.models.black_box import BlackBox, ask
from iassa.models.http.endpoint import HttpModel
from iassa.models.opening import open_model
from scoring_server import Server, serving

SIZE = (8, 12)
IMAGE = np.random.default_rng(3).random((*SIZE, 3)).astype(np.float32)
KINDS = ("torch", "onnx", "http")
# For the mean of each channel, about 0.5: logits from -3.5 to 2.5, well beyond [0, 1].
WEIGHT = np.array([[4, -2, 1], [0, -4, 2], [1, -1, 2]], np.float32)
LAST: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "": lambda logits: logits,
    "Softmax": lambda logits: logits.softmax(1),
    "Sigmoid": lambda logits: logits.sigmoid(),
    "ArgMax": lambda logits: logits.argmax(1, keepdim=True),
}


class Network(nn.Module):
    """Means of channels, `columns` of a linear layer, `last`, planes (N, 3, H, W) -> (N, K)."""

    def __init__(self, last: str, columns: int) -> None:
        super().__init__()
        self.last, self.columns = last, columns

    def forward(self, planes: torch.Tensor) -> torch.Tensor:
        logits = planes.mean((2, 3)) @ torch.from_numpy(WEIGHT[:, : self.columns])
        return LAST[self.last](logits)


def write_file(path: Path, last: str, columns: int, declared: bool) -> None:
    """The same network as an ONNX file; a Mul hides its last operator."""
    nodes = [
        helper.make_node("ReduceMean", ["image", "sides"], ["means"], keepdims=0),
        helper.make_node("MatMul", ["means", "weight"], ["logits"]),
    ]
    source, kind = "logits", TensorProto.FLOAT
    if last == "ArgMax":
        nodes.append(helper.make_node("ArgMax", ["logits"], ["last"], axis=1, keepdims=1))
        source, kind = "last", TensorProto.INT64
    elif last:
        nodes.append(helper.make_node(last, ["logits"], ["last"]))
        source = "last"
    one = np.array(1, np.int64 if last == "ArgMax" else np.float32)
    nodes.append(helper.make_node("Mul", [source, "one"], ["scores"]))
    values = {"sides": np.array([2, 3]), "weight": WEIGHT[:, :columns], "one": one}
    shape = ("n", 1 if last == "ArgMax" else columns) if declared else None
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ("n", 3, *SIZE))],
        [helper.make_tensor_value_info("scores", kind, shape)],
        [numpy_helper.from_array(value, name) for name, value in values.items()],
    )
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), path)


Make = Callable[..., BlackBox]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Opens the network as one of `KINDS`."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    with ExitStack() as stack:

        def opened(
            kind: str, last: str = "", columns: int = 3, *, declared: bool = False, **said: bool
        ) -> BlackBox:
            module = Network(last, columns).eval()
            if kind == "torch":
                return iassa.models.TorchModel(module, name="net", input_size=SIZE, **said)
            if kind == "onnx":
                write_file(tmp_path / "net.onnx", last, columns, declared)
                whole: Any = {"softmax": False, **said} if not said.get("sigmoid") else said
                return iassa.models.OnnxModel(tmp_path / "net.onnx", range=(0, 1), **whole)

            def score(images: Any) -> Any:
                return module(torch.from_numpy(images.transpose(0, 3, 1, 2) / np.float32(255)))

            running = stack.enter_context(serving(Server(score=score)))
            return stack.enter_context(HttpModel(running.url, input_size=SIZE, **said))

        yield opened


def explain(box: BlackBox) -> iassa.Explanation:
    return iassa.explain(IMAGE, box, target=0, method="rise", calls=40, batch_size=8)


@pytest.mark.parametrize("kind", KINDS)
def test_a_softmax_of_one_output_is_refused(kind: str, make: Make) -> None:
    advice = r"for softmax, got one: .*Use sigmoid \(--sigmoid\), or .* \(--no-softmax\)"
    if kind == "onnx":  # before a call
        for declared in (False, True):
            with pytest.raises(InputError, match=advice):
                make(kind, columns=1, softmax=True, declared=declared)
    else:
        box = make(kind, columns=1, softmax=True)
        for ask_it in (explain, lambda box: box(IMAGE[None])):
            with pytest.raises(BlackBoxError, match=advice):
                ask_it(box)
    mean = IMAGE.mean((0, 1)) @ WEIGHT[:, 0]
    expected = {"sigmoid": 1 / (1 + np.exp(-mean)), "": mean}
    for said, score in expected.items():  # the remedies work
        found = explain(make(kind, columns=1, **({said: True} if said else {})))
        np.testing.assert_allclose(found.scores, score, atol=0.01)  # a PNG has 8 bits


@pytest.mark.parametrize("tail", [(), (1,), (1, 1, 1)])
def test_one_output_is_one_whatever_its_axes(tail: tuple[int, ...]) -> None:
    flat = nn.Sequential(Network("", 1), nn.Flatten(0))
    module = nn.Sequential(flat, nn.Unflatten(0, (-1, *tail))).eval() if tail else flat.eval()
    box = iassa.models.TorchModel(module, softmax=True)
    planes = torch.from_numpy(IMAGE.transpose(2, 0, 1).copy())
    for several in (planes[None], planes.expand(4, -1, -1, -1)):
        with pytest.raises(BlackBoxError, match="for softmax, got one"):
            box.score(several)


def test_a_file_of_one_output_is_not_offered_softmax(make: Make, tmp_path: Path) -> None:
    make("onnx", columns=1, declared=True)
    with pytest.raises(InputError, match="sigmoid=yes if its output is a logit") as error:
        open_model(str(tmp_path / "net.onnx"))
    assert "softmax=yes" not in str(error.value)
    assert f"'{tmp_path / 'net.onnx'}?range=0-1&sigmoid=yes'" in str(error.value)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("kind", KINDS)
def test_probabilities_are_not_taken_for_logits(kind: str, activation: str, make: Make) -> None:
    box = make(kind, "Softmax", **{activation: True})
    got = rf"logits of .* for {activation}, got probabilities: 3 numbers in \[0, 1\], 0\.\d+ to"
    with pytest.raises(BlackBoxError, match=rf"{got} 0\.\d+, whose sum is 1\. Leave {activation}"):
        explain(box)
    powers = np.exp(IMAGE.mean((0, 1)) @ WEIGHT)
    as_they_are = explain(make(kind, "Softmax"))
    np.testing.assert_allclose(as_they_are.scores, powers[0] / powers.sum(), atol=0.01)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("kind", KINDS)
def test_numbers_that_may_be_probabilities_are_warned_of(
    kind: str, activation: str, make: Make
) -> None:
    box = make(kind, "Sigmoid", **{activation: True})
    with pytest.warns(ConventionWarning, match=rf"in \[0, 1\], .* and {activation} takes them"):
        explain(box)


@pytest.mark.parametrize("kind", KINDS)
def test_class_numbers_are_warned_of(kind: str, make: Make) -> None:
    """Class 2 is the highest of blue images."""
    blue = torch.zeros(3, *SIZE)
    blue[2] = 1
    with pytest.warns(ConventionWarning, match="whole numbers, 2 to 2, as class numbers are"):
        make(kind, "ArgMax").first_call(blue, SIZE)


@pytest.mark.parametrize("as_kind", [np.int64, np.int32, np.float32])
def test_class_numbers_of_a_function_are_warned_of(as_kind: type) -> None:
    """If they are of a whole type: a function may count, and give floats."""

    def function(images: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return (images.mean((1, 2)) @ WEIGHT).argmax(1).astype(as_kind)

    blue = np.zeros((*SIZE, 3), np.float32)
    blue[..., 2] = 1
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        iassa.explain(blue, function, target=0, calls=20, method="rise")
    found = [one for one in caught if one.category is ConventionWarning]
    assert len(found) == (as_kind is not np.float32)
    assert all("whole numbers, 2 to 2, as class numbers are" in str(one.message) for one in found)
    assert all(one.filename == __file__ for one in found)


@pytest.mark.parametrize("said", [{}, {"softmax": True}, {"sigmoid": True}])
@pytest.mark.parametrize("kind", KINDS)
def test_sound_outputs_are_scored_as_ever_and_nothing_is_said(
    kind: str, said: dict[str, bool], make: Make
) -> None:
    box = make(kind, **said)
    planes = torch.from_numpy(IMAGE.transpose(2, 0, 1).copy())
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConventionWarning)
        same, scores = box.first_call(planes, SIZE)
        explain(box)
    assert same is box
    torch.testing.assert_close(scores, ask(box, planes[None]), rtol=0, atol=0)


def test_a_score_of_ones_own_is_what_the_first_call_asks() -> None:
    class Twice(iassa.models.TorchModel):
        def score(self, planes: torch.Tensor) -> torch.Tensor:
            return 2 * super().score(planes)

    planes = torch.from_numpy(IMAGE.transpose(2, 0, 1).copy())
    box = Twice(Network("", 3).eval())
    torch.testing.assert_close(box.first_call(planes, SIZE)[1], ask(box, planes[None]))
