"""ONNX files that are damaged or made to do harm: refused with a sentence, or ended in time."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import iassa
from iassa.errors import BlackBoxError, InputError
from iassa.methods.engine import budget
from iassa.models.onnx import graph, session
from iassa.models.opening import open_model
from onnx_graphs import SAID, SIZE, counting, made, means, outside


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "net.onnx"


def refusal(path: Path, content: onnx.ModelProto | bytes) -> str:
    path.write_bytes(content if isinstance(content, bytes) else content.SerializeToString())
    texts = []
    for reader in (
        lambda: open_model(f"{path}{SAID}"),
        lambda: iassa.models.onnx_feature_names(path),
    ):
        with pytest.raises(InputError) as caught:
            reader()
        texts.append(str(caught.value))
    assert "\n" not in texts[0]
    return texts[0]


# --- graphs that lead back to themselves ------------------------------------------------------


@pytest.mark.parametrize(
    "edges",
    [
        [("scores", "scores")],
        [("scores", "a"), ("a", "scores")],
        [("scores", "a"), ("a", "b"), ("b", "c"), ("c", "a")],
    ],
)
def test_nodes_that_feed_each_other(path: Path, edges: list[tuple[str, str]]) -> None:
    nodes = [helper.make_node("Identity", [source], [made_]) for made_, source in edges]
    (output,) = graph.read_outputs(made(nodes))
    assert output.operator == "Identity"
    path.write_bytes(made(nodes).SerializeToString())
    with pytest.raises(InputError, match="expected an ONNX model that ONNX Runtime opens"):
        open_model(f"{path}{SAID}")


def test_a_node_without_inputs_hands_nothing_on() -> None:
    model = made([helper.make_node("Identity", [], ["scores"])])
    assert graph.read_outputs(model)[0].operator == "Identity"


def test_graphs_inside_of_nodes_are_looked_at() -> None:
    model = counting("once")
    body = model.graph.node[1].attribute[0].g
    assert not graph.is_dynamically_quantised(model)
    body.node.append(helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"]))
    assert graph.is_dynamically_quantised(model)
    assert [len(one.node) for one in graph.each_graph(model)] == [2, 3]


# --- what a file says of itself ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "change"),
    [
        ("metadata", lambda model: helper.set_model_props(model, {"markmark": "x"})),
        ("a node", lambda model: setattr(model.graph.node[0], "op_type", "markmark")),
        ("a weight", lambda model: setattr(model.graph.initializer[0], "name", "markmark")),
        ("the maker", lambda model: setattr(model, "producer_name", "markmark")),
    ],
)
def test_names_that_are_not_utf8(
    path: Path, text: str, change: Callable[[onnx.ModelProto], object]
) -> None:
    model = means()
    change(model)
    content = model.SerializeToString()
    assert content.count(b"markmark") == 1
    damaged = content.replace(b"markmark", b"mark\xff\xfe\x80k")
    assert "expected names in UTF-8 in the ONNX file" in refusal(path, damaged)


@pytest.mark.parametrize("names", ["[" * 100_000, '{"0":' * 100_000, "[" + "9" * 100_000 + "]"])
def test_names_that_are_nested_or_huge(path: Path, names: str) -> None:
    path.write_bytes(means(notes={"names": names}).SerializeToString())
    with pytest.raises(InputError, match="expected a list of class names"):
        open_model(f"{path}{SAID}")


@pytest.mark.parametrize(
    "shape",
    [(1, 3, 2**62, 2**62), (1, 2**40, 2**40, 3), (2**62, 3, *SIZE), ("n", 3, 4097, 4096)],
)
def test_inputs_that_are_too_large(path: Path, shape: tuple[int | str, ...]) -> None:
    assert "to take 16777216 pixels or fewer in a batch, got" in refusal(path, means(shape=shape))


def test_a_batch_and_a_size_that_are_too_large_together(path: Path) -> None:
    path.write_bytes(means(shape=(2, 3, "h", "w")).SerializeToString())
    with pytest.raises(InputError, match=r"or fewer in a batch, got 2 image\(s\) of \(4096, 4096"):
        open_model(f"{path}{SAID}&input_size=4096,4096")


def test_a_noted_size_of_thousands_of_digits(path: Path) -> None:
    notes = {"imgsz": f"[6, {'9' * 5000}]"}
    path.write_bytes(means(shape=("n", 3, "h", "w"), notes=notes).SerializeToString())
    with pytest.raises(InputError, match="Give input_size"):
        open_model(f"{path}{SAID}")


def test_names_of_several_lines(path: Path) -> None:
    model = means(notes={"a\nb": "c\nd"})
    model.graph.node[1].op_type = "Mat\nMul"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(InputError) as caught:
        open_model(str(path))
    assert "It comes from Mat Mul" in str(caught.value)
    assert "metadata a b=c d" in str(caught.value)
    assert "\n" not in str(caught.value)


# --- weights in other files -------------------------------------------------------------------


@pytest.mark.parametrize("key", ["offset", "length"])
@pytest.mark.parametrize("value", ["x", "-1", "", "1e3", " 1", "9" * 5000, "٣"])
def test_offsets_that_are_no_numbers(path: Path, key: str, value: str) -> None:
    path.with_name("net.data").write_bytes(bytes(64))
    text = refusal(path, outside(means(), **{key: value}))
    assert "expected offset and length of the weights 'net.data' of" in text
    assert len(text) < 600


@pytest.mark.parametrize("place", ["", ".", "x\0y", "n" * 5000, "/etc/passwd", "a/../../net.data"])
def test_places_that_are_not_beside_the_file(path: Path, place: str) -> None:
    text = refusal(path, outside(means(), location=place))
    refused = ("the weights of", "expected the name of a file in")
    assert any(one in text for one in refused)
    assert len(text) < 6000


def test_links_that_lead_out_of_the_folder(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(np.full(9, 7, np.float32).tobytes())
    path = tmp_path / "received" / "net.onnx"
    path.parent.mkdir()
    path.with_name("net.data").symlink_to(secret)
    assert "expected the weights of" in refusal(path, outside(means()))
    (path.parent / "deep").symlink_to(tmp_path)
    text = refusal(path, outside(means(), location="deep/secret"))
    assert "beside it, got 'deep/secret'" in text


def test_weights_of_a_graph_inside_of_a_node_and_of_a_constant(path: Path) -> None:
    hidden = outside(means(), location="/etc/passwd").graph.initializer[1]
    model = counting("once")
    model.graph.node[1].attribute[0].g.initializer.append(hidden)
    assert f"the name of a file in {path.parent}, got '/etc/passwd'" in refusal(path, model)
    constant = helper.make_node("Constant", [], ["c"], value=hidden)
    model = means()
    model.graph.node.insert(0, constant)
    assert "got '/etc/passwd'" in refusal(path, model)


# --- graphs that run for ever -----------------------------------------------------------------


def test_a_loop_that_ends_is_run(path: Path) -> None:
    path.write_bytes(counting("once").SerializeToString())
    image = np.random.default_rng(0).random((1, *SIZE, 3)).astype(np.float32)
    found = open_model(f"{path}{SAID}")(image)
    np.testing.assert_allclose(found, image.mean((1, 2)), rtol=1e-5)


def test_a_graph_that_runs_for_ever_is_not_opened(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "TRIAL", 0.2)
    path.write_bytes(counting("").SerializeToString())
    before = threading.active_count()
    with pytest.raises(InputError, match=r"got none within 0 s\. The graph may run"):
        open_model(f"{path}{SAID}")
    assert threading.active_count() == before  # it is ended, not left alone


def while_dark() -> onnx.ModelProto:
    """Runs for ever where the images of a batch are dark, as most masked ones are."""
    model = counting("")
    body = model.graph.node.pop().attribute[0].g
    model.graph.node.extend(
        [
            helper.make_node("ReduceMean", ["image"], ["light"], keepdims=0),
            helper.make_node("Less", ["light", "half"], ["dark"]),
            helper.make_node("Loop", ["", "dark", "means"], ["scores"], body=body),
        ]
    )
    model.graph.initializer.append(numpy_helper.from_array(np.float32(0.5), "half"))
    return model


def test_the_time_of_a_run_ends_a_call_that_does_not_end(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget, "PATIENCE", 0.2)
    path.write_bytes(while_dark().SerializeToString())
    image = np.random.default_rng(0).uniform(0.5, 1, (*SIZE, 3)).astype(np.float32)
    method = iassa.methods.Rise(baseline=0.0)
    with pytest.raises(BlackBoxError, match=r"expected an answer for \d+ image\(s\), got none"):
        iassa.explain(image, f"{path}{SAID}", method=method, max_seconds=0.2, calls=200)
    with pytest.raises(BlackBoxError, match="expected an answer for 1 image"):  # the whole image
        iassa.explain(image / 3, f"{path}{SAID}", max_seconds=0.2, calls=200)


@pytest.mark.skipif(sys.platform == "win32", reason="sends signals")
def test_the_second_ctrl_c_ends_a_call_that_does_not_end(path: Path, tmp_path: Path) -> None:
    path.write_bytes(while_dark().SerializeToString())
    code = f"""
import os
from iassa.cli import main
from iassa.models.onnx import session

starts = session._Run.start
def told(run):
    starts(run)
    if os.path.exists("ready"):  # not while it is opened
        os.write(1, b"asked\\n")  # print goes elsewhere while a model is opened
session._Run.start = told
open("ready", "w").close()
main(["explain", "dark.png", "--model", "{path}{SAID}", "--method", "rise", "--out", "out"])
"""
    from PIL import Image

    Image.new("RGB", SIZE[::-1]).save(tmp_path / "dark.png")
    child = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert child.stdout is not None
        for _ in range(2):  # the image that it is opened with, and the dark one
            assert child.stdout.readline() == "asked\n", child.communicate()[1]
        for _ in range(2):
            child.send_signal(2)
            time.sleep(0.3)  # two signals at once are one
        _, err = child.communicate(timeout=30)
    finally:
        child.kill()
    assert child.returncode == 130, err
    assert "interrupted" in err


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_a_pipe_or_a_device_in_the_place_of_a_file_does_not_wait(tmp_path, make):
    make(tmp_path / "a.onnx")
    with pytest.raises(InputError, match=r"expected a file, got .*a\.onnx, which is none"):
        open_model(str(tmp_path / "a.onnx"))
