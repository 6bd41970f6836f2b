"""What a user's function may return, and the errors about the rest."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse
import torch
from torch import nn

import iassa
from iassa.errors import BlackBoxError, InputError
from iassa.models import FunctionDetector, FunctionModel, TorchModel

IMAGES = np.random.default_rng(0).uniform(0, 1, (4, 6, 9, 3)).astype(np.float32)
SCORES = IMAGES.mean((1, 2))


async def later(images):
    return SCORES


def one_by_one(images):
    yield from SCORES


REFUSED = {
    "nothing": (lambda images: None, "got NoneType", "lack a return"),
    "a pipeline's list": (
        lambda images: [{"label": "cat", "score": 0.9}] * len(images),
        "got list of 0: dict of 'label': str, 'score': float",
        "Hugging Face pipeline",
    ),
    "a pipeline's lists": (
        lambda images: [[{"label": "cat", "score": 0.9}]] * len(images),
        "got list of 0: list of 0: dict",
        "Hugging Face pipeline",
    ),
    "a coroutine": (later, "got coroutine", "asyncio.run"),
    "a generator": (one_by_one, "got generator", "collect"),
    "a sparse matrix": (lambda images: scipy.sparse.csr_matrix(SCORES), "csr_matrix", "toarray"),
    "a sparse tensor": (
        lambda images: torch.from_numpy(SCORES).to_sparse(),
        r"got Tensor \(4, 3\)",
        "to_dense",
    ),
    "names": (lambda images: ["cat"] * len(images), "got list of 0: str", "every class"),
    "a text": (lambda images: "cat", "got str", "every class"),
    "scores and nothing": (
        lambda images: (SCORES, None),
        r"got tuple of 0: ndarray \(4, 3\) of float32, 1: NoneType",
        r"outputs\[0\].*pick",
    ),
    "a dictionary": (lambda images: {"p": SCORES}, "got dict of 'p': ndarray", r"outputs\['p'\]"),
    "an output": (
        lambda images: SimpleNamespace(logits=torch.from_numpy(SCORES)),
        "got SimpleNamespace",
        "logits",
    ),
    "a network": (lambda images: nn.Flatten(), "got Flatten", "factory"),
    "rows of several lengths": (lambda images: [[1, 2], [1]], "got list of 0: list", "an array"),
    "objects": (lambda images: np.array([None] * 4), r"ndarray \(4,\) of object", "an array"),
    "dates": (lambda images: np.zeros(4, "M8[D]"), "of datetime64", "an array"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_an_answer_that_is_no_scores_is_called_what_it_is(kind):
    function, got, advice = REFUSED[kind]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of Python: a coroutine that nobody awaited
        with pytest.raises(BlackBoxError, match=f"(?s){got}.*{advice}") as caught:
            FunctionModel(function, name="mine")(IMAGES)
    text = str(caught.value)
    assert text.startswith("expected scores (N, K) of numbers, got ")
    assert "from the black box mine" in text
    assert "raised" not in text
    assert "\n" not in text


@pytest.mark.parametrize("kind", REFUSED)
def test_so_it_is_of_a_target_s_function(kind):
    function, got, _ = REFUSED[kind]
    expected = f"expected values .* of numbers, got .*{got.removeprefix('got ')[:3]}.* the target"
    with pytest.raises(BlackBoxError, match=expected):
        iassa.explain(IMAGES[0], lambda images: images.mean((1, 2)), target=function, calls=20)


TAKEN = {
    "an array": lambda: SCORES,
    "rows": lambda: list(SCORES),
    "numbers": lambda: SCORES.tolist(),
    "a tuple of rows": lambda: tuple(SCORES),
    "tensors with a gradient": lambda: [*torch.from_numpy(SCORES).requires_grad_()],
    "more than float64": lambda: SCORES.astype(np.longdouble),
    "the other byte order": lambda: SCORES.astype(">f4"),
    "one trailing axis": lambda: SCORES[:, :, None],
    "trailing axes": lambda: SCORES[:, :, None, None],
    "a tensor with trailing axes": lambda: torch.from_numpy(SCORES)[:, :, None, None],
}


@pytest.mark.parametrize("kind", TAKEN)
def test_numbers_of_any_kind_are_scores(kind):
    np.testing.assert_array_equal(FunctionModel(lambda _: TAKEN[kind]())(IMAGES), SCORES)


@pytest.mark.parametrize("shape", [(4,), (4, 1), (4, 1, 1, 1)])
def test_one_score_an_image_is_one_column(shape):
    one = SCORES[:, :1]
    for answer in (one.reshape(shape), torch.from_numpy(one.reshape(shape))):
        np.testing.assert_array_equal(FunctionModel(lambda _, a=answer: a)(IMAGES), one)


@pytest.mark.parametrize("shape", [(), (3,), (3, 4), (2, 4, 3), (4, 3, 1, 2)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(BlackBoxError, match=re.escape(f"got {shape}")):
        FunctionModel(lambda _: np.zeros(shape))(IMAGES)


def test_squeezenet_s_shape_comes_before_the_softmax():
    network = nn.Sequential(nn.Conv2d(3, 5, 3), nn.AdaptiveAvgPool2d(1)).eval()
    flat = nn.Sequential(network, nn.Flatten())
    for softmax in (False, True):
        found, expected = (TorchModel(one, softmax=softmax)(IMAGES) for one in (network, flat))
        np.testing.assert_array_equal(found, expected)
        assert found.shape == (4, 5)


@pytest.mark.parametrize("answer", [None, 3, iter(())])
def test_a_detector_that_gives_something_else(answer):
    kind = type(answer).__name__
    with pytest.raises(BlackBoxError, match=f"expected 1 iassa.models.Detections.*got .*{kind}"):
        iassa.explain(IMAGES[0], FunctionDetector(lambda images: answer), calls=20)


# --- whose fault it was ----------------------------------------------------------------------

MINE = """
    import numpy as np

    def deep(images):
        return images["scores"]

    def model(images):
        return deep(images)

    def inside_of_numpy(images):
        return np.concatenate([])

    def target(scores):
        return deep(scores)

    def factory():
        raise OSError("no weights here")

    def all_have_defaults(images=None, scale=1.0):
        return scale * images.mean((1, 2))

    class Made:
        def __init__(self, scale=2.0):
            self.scale = scale

        def __call__(self, images):
            return self.scale * images.mean((1, 2))
"""
LINES = {"model": 5, "inside_of_numpy": 11, "target": 5, "factory": 17}


@pytest.fixture
def mine(tmp_path, monkeypatch):
    (tmp_path / "mine_at_fault.py").write_text(textwrap.dedent(MINE))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path / "mine_at_fault.py"
    sys.modules.pop("mine_at_fault", None)


@pytest.mark.parametrize("name", LINES)
def test_a_fault_in_the_user_s_code_names_its_line(mine, name):
    place = re.escape(f"({mine}, line {LINES[name]})")
    kind = InputError if name == "factory" else BlackBoxError
    reference = f"mine_at_fault:{name}"
    black_box, target = reference, "top-1"
    if name == "target":
        black_box, target = (lambda images: images.mean((1, 2))), reference
    with pytest.raises(kind, match=place) as caught:
        iassa.explain(IMAGES[0], black_box, target=target, calls=20)
    assert str(caught.value.__cause__) in str(caught.value)


def test_a_fault_that_is_nobody_s_names_no_line():
    network = nn.Linear(7, 2)  # of 9 columns
    with pytest.raises(BlackBoxError) as caught:
        TorchModel(network)(IMAGES)
    assert ".py" not in str(caught.value)


@pytest.mark.parametrize("name", ["all_have_defaults", "Made"])
def test_what_can_be_given_images_is_no_factory_and_a_class_is(mine, name):
    scale = {"all_have_defaults": 1.0, "Made": 2.0}[name]
    found = iassa.open_model(f"mine_at_fault:{name}")(IMAGES)
    np.testing.assert_allclose(found, scale * IMAGES.mean((1, 2)), rtol=1e-6)


def test_the_command_line_names_the_line_and_shows_the_traceback_on_request(mine, monkeypatch):
    command = [sys.executable, "-m", "iassa", "explain", "--example", "cat"]
    command += ["--model", "mine_at_fault:model", "--calls", "20"]
    for wanted in (False, True):
        if wanted:
            monkeypatch.setenv("IASSA_TRACEBACK", "1")
        ended = subprocess.run(command, capture_output=True, text=True)
        assert ended.returncode == 2
        *before, last = ended.stderr.strip().splitlines()
        assert last.startswith("error: the black box")
        assert f"({mine}, line 5)" in last
        shown = "\n".join(before)
        assert ("Traceback" in shown) is wanted
        assert ('return images["scores"]' in shown) is wanted
