"""Detections: D-RISE's score, overlaps and suppression against loops over numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper

from iassa.errors import InputError
from iassa.models.detections import Box, Detections, TargetBoxes, overlaps, select
from iassa.models.targets import resolve_targets
from rounding import steps


def boxes_of(rng: np.random.Generator, count: int, size: tuple[int, int] = (40, 70)) -> Any:
    low = rng.random((count, 2)) * size * np.array([0.8, 0.8])
    return np.concatenate([low, low + rng.random((count, 2)) * size], axis=1).astype(np.float32)


def detections_of(seed: int, count: int, classes: int = 3, objectness: bool = True) -> Detections:
    rng = np.random.default_rng(seed)
    scores = rng.random((count, classes)).astype(np.float32)
    present = rng.random(count).astype(np.float32) if objectness else None
    return Detections(boxes_of(rng, count), scores, present)


def iou(one: Any, other: Any) -> float:
    height = max(0.0, min(one[2], other[2]) - max(one[0], other[0]))
    width = max(0.0, min(one[3], other[3]) - max(one[1], other[1]))
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (one, other)]
    union = sum(areas) - height * width
    return height * width / union if union > 0 else 0.0


def cosine(one: Any, other: Any) -> float:
    product = sum(a * b for a, b in zip(one, other, strict=True))
    return product / math.sqrt(sum(a * a for a in one) * sum(b * b for b in other))


# --- the score --------------------------------------------------------------------------------


def test_drise_by_hand() -> None:
    """Two detections; the one that overlaps less wins by its class and objectness."""
    target = TargetBoxes(np.array([[0, 0, 10, 20]]), np.array([[0.0, 0.8]]), ("dog",), (0.5,))
    found = Detections(
        np.array([[0, 0, 10, 20], [0, 0, 10, 10]]),
        np.array([[0.6, 0.8], [0.0, 0.3]]),
        np.array([0.5, 0.9]),
    )
    # IoU 1, cosine 0.8, objectness 0.5: 0.4. IoU 0.5, cosine 1, objectness 0.9: 0.45.
    np.testing.assert_allclose(target.compare(found, (1, 1)), [0.45], rtol=1e-6)
    # Without objectness 0.8 x 0.8 = 0.64 and 0.5 x 0.3.
    alone = Detections(found.boxes, found.class_scores)
    np.testing.assert_allclose(target.compare(alone, (1, 1)), [0.64], rtol=1e-6)
    # The same image at half the height and twice the width.
    squeezed = Detections(found.boxes * [0.5, 2, 0.5, 2], found.class_scores, found.objectness)
    np.testing.assert_allclose(target.compare(squeezed, (0.5, 2)), [0.45], rtol=1e-6)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("objectness", [True, False])
@pytest.mark.parametrize("scale", [(1.0, 1.0), (0.5, 1.75)])
def test_drise_against_a_loop(seed: int, objectness: bool, scale: tuple[float, float]) -> None:
    targets = TargetBoxes.detected(detections_of(seed, 4), None)
    found = detections_of(seed + 100, 9, objectness=objectness)
    expected = []
    for box, classes in zip(targets.boxes, targets.class_scores, strict=True):
        scaled = [side * scale[k % 2] for k, side in enumerate(box.astype(np.float64))]
        best = 0.0
        for j in range(len(found)):
            present = found.objectness[j] if objectness else max(found.class_scores[j])
            alike = iou(scaled, found.boxes[j].astype(np.float64))
            best = max(best, alike * cosine(classes, found.class_scores[j]) * present)
        expected.append(best)
    scores = targets.compare(found, scale)
    assert scores.dtype == np.float64
    np.testing.assert_allclose(scores, expected, rtol=1e-5)


@given(seed=st.integers(0, 10_000), count=st.integers(1, 12), objectness=st.booleans())
def test_what_holds_of_any_score(seed: int, count: int, objectness: bool) -> None:
    found = detections_of(seed, count, objectness=objectness)
    targets = TargetBoxes.detected(found, None)
    scores = targets.compare(found, (1, 1))
    # A box is found again at least as well as it was found.
    assert (scores >= found.presence * (1 - 1e-5)).all()
    assert (scores <= 1 + steps(8, 1.0)).all()
    # Neither the order of what is found nor the scale of its classes' scores counts.
    order = np.random.default_rng(seed).permutation(count)
    np.testing.assert_allclose(targets.compare(found[order], (1, 1)), scores, rtol=1e-6)
    fainter = Detections(found.boxes, found.class_scores / 2, found.presence)
    np.testing.assert_allclose(targets.compare(fainter, (1, 1)), scores, rtol=1e-5)
    # More that is found never lowers a score.
    fewer = targets.compare(found[order[: count // 2]], (1, 1))
    assert (fewer <= scores + steps(16, scores)).all()


def test_nothing_found_and_no_class_asked() -> None:
    nothing = Detections(np.empty((0, 4)), np.empty((0, 3)))
    targets = TargetBoxes.given([Box(0, 0, 4, 8), Box(0, 0, 4, 8, "cow")], ("dog", "cow"))
    np.testing.assert_array_equal(targets.compare(nothing, (1, 1)), [0, 0])
    found = Detections(np.array([[0, 0, 4, 4]]), np.array([[0.9, 0.0]]))
    np.testing.assert_allclose(targets.compare(found, (1, 1)), [0.45, 0], atol=steps(2, 0.45))
    # Labels give as many classes as they need: what is not there is a score of 0.
    narrow = Detections.of_labels([[0, 0, 4, 8]], [0], [0.7])
    assert narrow.class_scores.shape == (1, 1)
    np.testing.assert_allclose(targets.compare(narrow, (1, 1)), [0.7, 0], atol=steps(2, 0.7))
    empty = Detections([], [])  # type: ignore[arg-type]
    assert (len(empty), empty.labels.shape, empty.confidence.shape) == (0, (0,), (0,))


@pytest.mark.parametrize("seed", range(3))
def test_overlaps_against_a_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    one, other = boxes_of(rng, 6), boxes_of(rng, 7)
    other[0], other[1, 2:] = one[0], other[1, :2]  # the same one, and one without an area
    expected = [[iou(a, b) for b in other.astype(float)] for a in one.astype(float)]
    found = overlaps(one, other)
    np.testing.assert_allclose(found, expected, atol=steps(16, 1.0, dtype=np.float64))
    assert found[0, 0] == pytest.approx(1)
    assert (overlaps(other[1:2], other[1:2]) == 0).all()


# --- suppression ------------------------------------------------------------------------------


def slowly_selected(found: Detections, threshold: float, overlap: float, most: int) -> list[int]:
    confidence = found.class_scores.max(1) * found.presence
    kept: list[int] = []
    for j in sorted(range(len(found)), key=lambda j: (-confidence[j], j)):
        clear = all(
            found.labels[j] != found.labels[k] or iou(found.boxes[j], found.boxes[k]) <= overlap
            for k in kept
        )
        if confidence[j] >= threshold and clear and len(kept) < most:
            kept.append(j)
    return kept


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    ("threshold", "overlap", "most"), [(0, 0.3, 99), (0.2, 0.1, 99), (0, 1, 4)]
)
def test_selection_against_a_loop(seed: int, threshold: float, overlap: float, most: int) -> None:
    found = detections_of(seed, 40)
    expected = slowly_selected(found, threshold, overlap, most)
    assert 1 < len(expected) < 40
    kept = select(found, threshold, overlap, most)
    np.testing.assert_array_equal(kept.boxes, found.boxes[expected])
    np.testing.assert_array_equal(kept.confidence, found.confidence[expected])


@pytest.mark.parametrize("seed", range(4))
def test_suppression_against_that_of_onnx_runtime(seed: int) -> None:
    found = detections_of(seed, 30, classes=1, objectness=False)
    inputs: dict[str, NDArray[Any]] = {
        "boxes": found.boxes[None],
        "scores": found.class_scores.T[None],
        "most": np.array([99], np.int64),
        "overlap": np.array([0.4], np.float32),
    }
    kinds = [TensorProto.FLOAT, TensorProto.FLOAT, TensorProto.INT64, TensorProto.FLOAT]
    node = helper.make_node("NonMaxSuppression", [*inputs], ["kept"])
    graph = helper.make_graph(
        [node],
        "nms",
        [
            helper.make_tensor_value_info(name, kind, value.shape)
            for (name, value), kind in zip(inputs.items(), kinds, strict=True)
        ],
        [helper.make_tensor_value_info("kept", TensorProto.INT64, ("n", 3))],
    )
    opset = [helper.make_opsetid("", 18)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=10)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (rows,) = session.run(None, inputs)
    kept = select(found, 0, 0.4, 99)
    np.testing.assert_array_equal(kept.boxes, found.boxes[rows[:, 2]])


# --- what is refused --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"boxes": np.zeros((2, 5))}, r"boxes \(n, 4\), got shape \(2, 5\)"),
        ({"boxes": np.zeros(4)}, r"got shape \(4,\)"),
        ({"boxes": np.full((2, 4), np.nan)}, "finite boxes"),
        ({"boxes": np.array([[0, 0, 1, 1], [0, 0, np.inf, 1]])}, "finite boxes"),
        (
            {"boxes": np.array([[0, 0, 1, 1], [3, 5, 2, 9]])},
            "top, left, bottom, .* the first 3, 5, 2, 9",
        ),
        (
            {"boxes": [[0, 4, 0, 2], [1, 1, 1, 1]]},
            "got 1 of 2 in another order, the first 0, 4, 0, 2",
        ),
        ({"class_scores": np.zeros((3, 2))}, "n = 2 boxes, got shape"),
        ({"class_scores": np.zeros(2)}, "Detections.of_labels takes"),
        ({"class_scores": np.zeros((2, 0))}, "one class or more"),
        ({"class_scores": np.array([[0.1, 5], [0, 0]])}, "class_scores from 0 to 1, got 0 to 5"),
        ({"class_scores": np.array([[0.1, -3], [0, 0]])}, "softmax or sigmoid"),
        ({"class_scores": np.array([[0.1, np.nan], [0, 0]])}, "got nan to nan"),
        ({"objectness": np.zeros((2, 1))}, r"objectness \(n,\) for n = 2"),
        ({"objectness": np.array([0, 2])}, "objectness from 0 to 1"),
        ({"boxes": [["a", "b", "c", "d"]] * 2}, "an array of numbers"),
    ],
)
def test_detections_that_are_none(fields: dict[str, Any], word: str) -> None:
    sound = {"boxes": np.array([[0, 0, 1, 1]] * 2), "class_scores": np.zeros((2, 2))}
    with pytest.raises(InputError, match=word):
        Detections(**{**sound, **fields})


def test_labels_that_are_none() -> None:
    boxes = np.array([[0, 0, 1, 1]] * 2)
    for labels, word in (
        ([0, -1], "labels from 0 to 2, got -1 to 0"),
        ([0, 3], "got 0 to 3"),
        ([0, 0.5], "whole numbers"),
        ([0, np.nan], "whole numbers"),
        ([0], "a score for each label"),
    ):
        with pytest.raises(InputError, match=word):
            Detections.of_labels(boxes, labels, [0.1, 0.2], 3)
    with pytest.raises(InputError, match="got 0 to 1000000000"):
        Detections.of_labels(boxes, [0, 10**9], [0.1, 0.2])


# --- names ------------------------------------------------------------------------------------


def test_boxes_are_called_by_their_class_and_numbered_where_there_are_several() -> None:
    names = ("dog, hound", "cat", "cow")
    boxes = np.array([[0, 0, 1, 1]] * 4)
    targets = TargetBoxes.detected(
        Detections.of_labels(boxes, [0, 1, 0, 2], [0.9, 0.8, 0.7, 0.6], 3), names
    )
    assert targets.names == ("dog 1, dog, hound", "cat", "dog 2, dog, hound", "cow")
    scores = np.array([0.9, 0.8, 0.7, 0.6])

    def one(text: str) -> tuple[str, tuple[int, ...]]:
        (target,) = resolve_targets(text, scores, targets.names)
        return target.name, target.indices

    assert one("dog 2") == ("dog 2", (2,))
    assert one("Cat") == ("cat", (1,))
    assert one("dog 1 vs dog 2") == ("dog 1 vs dog 2", (0, 2))
    for synonym in ("dog", "hound"):
        with pytest.raises(InputError, match=r"name of several\. Say dog 1 or dog 2"):
            one(synonym)
    unnamed = TargetBoxes.detected(
        Detections.of_labels(boxes, [17, 3, 17, 5], [0.9, 0.8, 0.7, 0.6]), None
    )
    assert unnamed.names[:2] == ("class 17 1, class 17", "class 3")
    mixed = TargetBoxes.given([Box(0, 0, 1, 1), Box(0, 0, 2, 2), Box(0, 0, 1, 1, 1)], names)
    assert mixed.names == ("box 1, box", "box 2, box", "cat")


def test_boxes_of_the_user_s_own() -> None:
    names = ("dog", "cat")
    targets = TargetBoxes.given([Box.parse(" 1.5, 2,30 ,4e1:cat"), Box.parse("0,0,1,1")], names)
    np.testing.assert_array_equal(targets.boxes, [[1.5, 2, 30, 40], [0, 0, 1, 1]])
    np.testing.assert_array_equal(targets.class_scores, [[0, 1], [0, 0]])
    assert targets.confidences == (None, None)
    assert TargetBoxes.given([Box.parse("0,0,1,1:1")], names).names == ("cat",)
    digits = ("1", "0")  # a number is an index, digits may be a name
    assert TargetBoxes.given([Box(0, 0, 1, 1, 1)], digits).class_scores.tolist() == [[0, 1]]
    with pytest.raises(InputError, match="Say class 1 or class 0"):
        TargetBoxes.given([Box(0, 0, 1, 1, "1")], digits)
    assert TargetBoxes.given([Box(0, 0, 1, 1, 3)], None).class_scores.tolist() == [[0, 0, 0, 1]]
    for text in ("1,2,3", "1,2,3,4,5", "a,b,c,d", "1,2,3,4:", "", "1 2 3 4", "1,2,nan,4"):
        with pytest.raises(InputError, match="expected a box as top,left,bottom,right"):
            Box.parse(text)
    with pytest.raises(InputError, match=r"unknown class 'rat' \(nearest: cat\)"):
        TargetBoxes.given([Box(0, 0, 1, 1, "rat")], names)
    with pytest.raises(InputError, match="class index from 0 to 1, got 2"):
        TargetBoxes.given([Box(0, 0, 1, 1, 2)], names)
    with pytest.raises(InputError, match="no class names"):
        TargetBoxes.given([Box(0, 0, 1, 1, "rat")], None)
    with pytest.raises(InputError, match="got none"):
        TargetBoxes.given([], names)
    with pytest.raises(InputError, match="top, left, bottom, right"):
        TargetBoxes.given([Box(5, 0, 1, 1)], names)


def test_a_digest_tells_boxes_and_what_is_described_is_restored() -> None:
    targets = TargetBoxes.detected(detections_of(0, 3), ("a", "b", "c"))
    again = TargetBoxes.restore(targets.describe(), targets.class_scores)
    assert again.digest() == targets.digest()
    assert again.describe() == targets.describe()
    moved = TargetBoxes(
        targets.boxes + np.array([0, 0, 0, 1e-3]),
        targets.class_scores,
        again.names,
        again.confidences,
    )
    other = TargetBoxes(
        targets.boxes, targets.class_scores[:, ::-1], again.names, again.confidences
    )
    assert len({one.digest() for one in (targets, moved, other)}) == 3
    with pytest.raises(InputError, match="n = 4 boxes"):
        TargetBoxes.restore(targets.describe()[:2] * 2, targets.class_scores)
    with pytest.raises(InputError, match="as many names and confidences"):
        TargetBoxes(targets.boxes, targets.class_scores, ("a", "b"), (0.1, 0.2, 0.3))
