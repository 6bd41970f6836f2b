"""A score that depends on the other images of its batch; and what counts as a call."""

from __future__ import annotations

import warnings

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

import iassa
from iassa.errors import WeakEvidenceWarning
from iassa.methods import Iassa, IassaPaper
from iassa.methods.registry import METHODS, open_method
from rounding import steps

SIZE = (18, 27)
PIXELS = {"features": "colour-position", "positions": 12}
SMALL = {
    "iassa": Iassa(**PIXELS, round_calls=32, segment_counts=(8, 16), fine_segment_counts=(16,)),
    "iassa-paper": IassaPaper(**PIXELS, window=90.0, stride=40.0, window_step=20.0),
}
methods = pytest.mark.parametrize("method", METHODS)


def image(seed=0):
    return np.random.default_rng(seed).uniform(0, 1, (*SIZE, 3)).astype(np.float32)


def three(images):
    """Brightness of three places, each image by itself."""
    images = images.astype(np.float64)
    places = [images[:, :9, :9], images[:, :9, 9:], images[:, 9:]]
    return np.stack([place.mean((1, 2, 3)) for place in places], 1)


def shared(images):
    return np.exp(8 * three(images)) / np.exp(8 * three(images)).sum(0)


def best_of_all(images):
    return three(images) / three(images).max(0)


def least_of_all(images):
    return three(images) - three(images).min(0)


class Trained(nn.Module):
    """Batch norm in training mode, whatever mode it is put in."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3, track_running_stats=False)

    def forward(self, planes: torch.Tensor) -> torch.Tensor:
        if len(planes) == 1:  # torch refuses to norm one value
            return planes.mean((2, 3))
        return self.norm(planes.mean((2, 3)))


class Counter:
    """Counts the images that it is asked about."""

    def __init__(self, scores=three):
        self.scores = scores
        self.batches = []

    def __call__(self, images):
        self.batches.append(len(images))
        return self.scores(images)

    @property
    def images(self):
        return sum(self.batches)


def explain(black_box, method="rise", **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", WeakEvidenceWarning)
        method = SMALL.get(method) or open_method(method)
        return iassa.explain(image(), black_box, method=method, **{"calls": 90, **options})


def doubts(explanation):
    return [text for text in explanation.warnings if "a masked image scores" in text]


@pytest.mark.parametrize(
    "scores", [shared, best_of_all, Trained()], ids=["shared", "best", "trained"]
)
@methods
def test_a_score_that_depends_on_its_neighbours_is_found(method, scores):
    found = explain(scores, method, target=[0, 1], batch_size=8)
    (text,) = doubts(found)
    assert "class " in text
    assert "alone" in text
    assert "--batch-size 1" in text
    with pytest.warns(WeakEvidenceWarning, match="a masked image scores"):
        iassa.explain(image(), scores, method="rise", calls=60)
    if not isinstance(scores, nn.Module):
        assert not doubts(explain(scores, method, target=[0, 1], batch_size=1))  # the remedy


@pytest.mark.parametrize(
    ("batch_size", "dtype"),
    [(1, np.float16), (5, np.float16), (None, np.float16), (5, np.float32), (None, np.float64)],
)
@methods
def test_a_sound_model_is_left_in_peace(method, batch_size, dtype):
    def rounded(images):
        """As half precision would, in another order for every size of the batch."""
        noise = np.random.default_rng(len(images)).uniform(-1, 1, (len(images), 3))
        scores = three(images)
        return scores.astype(dtype) * (1 + noise * np.finfo(dtype).eps / 2).astype(dtype)

    assert not doubts(explain(rounded, method, batch_size=batch_size))


def test_the_image_that_is_asked_again_is_not_the_lowest_which_stays_as_it_is():
    assert doubts(explain(least_of_all, batch_size=8))


def test_the_difference_is_the_one_in_the_text():
    found = explain(shared, batch_size=8)
    (text,) = doubts(found)
    together, alone, difference = (
        float(text.split(before)[1].split()[0].strip(".,"))
        for before in ("image scores ", "and ", "difference of ")
    )
    assert alone == 1  # a share of itself
    assert difference == pytest.approx(alone - together, rel=0.01)
    assert "in a batch of 8" in text


def test_a_model_that_draws_at_random_is_named_even_one_image_at_a_time():
    rng = np.random.default_rng(0)
    found = explain(lambda images: three(images) + rng.uniform(size=(len(images), 1)), batch_size=1)
    (text,) = doubts(found)
    assert "changes from call to call" in text


def test_the_scores_of_masks_are_those_of_their_batches():
    """The map of a sound model is that of its masks; the check adds none and changes none."""
    counter = Counter()
    found = explain(counter, batch_size=16, keep_scores="all")
    assert counter.batches[:3] == [1, 16, 1]
    assert found.calls == counter.images == 2 + len(found.evidence) == 90
    one = explain(three, batch_size=1, keep_scores="all")
    np.testing.assert_allclose(one.saliency, found.saliency, rtol=0, atol=steps(64, found.saliency))


def test_what_was_found_stays_with_an_extended_and_a_retargeted_explanation(tmp_path):
    found = explain(shared, batch_size=8)
    found.save(tmp_path)
    loaded = iassa.Explanation.load(tmp_path)
    with pytest.warns(WeakEvidenceWarning, match="a masked image scores"):
        made = iassa.extend(loaded, shared, calls=20)
    assert doubts(made) == doubts(found)
    assert doubts(iassa.retarget(loaded, 1)) == doubts(found)


def test_the_smallest_budget_goes_to_masks_and_what_is_added_is_checked():
    counter = Counter()
    found = explain(counter, calls=17, batch_size=16)
    assert counter.batches == [1, 16]
    more = iassa.extend(found, counter, calls=1, batch_size=16)
    assert counter.batches == [1, 16, 1]
    assert (more.calls, len(more.evidence), more.stopped) == (18, 16, "calls")


@pytest.mark.parametrize("calls", [35, 36, 91])
@methods
def test_no_call_beyond_the_budget(method, calls):
    if method == "kernel-shap":
        calls += 20
    for batch_size in (7, None):
        counter = Counter()
        found = explain(counter, method, calls=calls, seed=calls, batch_size=batch_size)
        assert counter.images == found.calls <= calls
        assert max(counter.batches) <= (batch_size or 16)
        if found.evidence is None:
            continue
        more = iassa.extend(found, counter, calls=30, batch_size=batch_size)
        assert counter.images == more.calls <= found.calls + 30


@pytest.mark.parametrize("fixed", [None, 4])
def test_a_dynamically_quantised_graph_is_run_one_image_at_a_time(tmp_path, fixed):
    """Its activations share one scale in a batch: a bright neighbour makes a dark image coarse."""
    rng = np.random.default_rng(0)
    pixels = SIZE[0] * SIZE[1] * 3
    weights = rng.integers(-127, 128, (pixels, 3)).astype(np.int8)
    nodes = [
        helper.make_node("Flatten", ["image"], ["flat"]),
        helper.make_node("DynamicQuantizeLinear", ["flat"], ["steps", "scale", "zero"]),
        helper.make_node("MatMulInteger", ["steps", "weights", "zero"], ["sums"]),
        helper.make_node("Cast", ["sums"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["floats", "scale"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "quantised",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [fixed or "N", 3, *SIZE])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [fixed or "N", 3])],
        [numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "q.onnx")
    network = iassa.models.OnnxModel(tmp_path / "q.onnx", range=(0, 1), softmax=False)
    dark, bright = 0.1 * image(1), image(2)
    both = network(np.stack([dark, bright, dark]))
    np.testing.assert_array_equal(both[:1], network(dark[None]))
    np.testing.assert_array_equal(both[1:2], network(bright[None]))
    np.testing.assert_array_equal(both[2], both[0])
    one, many = (explain(network, target=[0, 1], batch_size=size).saliency for size in (1, 64))
    np.testing.assert_allclose(one, many, rtol=0, atol=steps(64, many))
