"""ONNX detectors: graphs of every layout, whose boxes are known, and what is told of them."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

import iassa
from iassa.cli import main
from iassa.errors import BlackBoxError, InputError
from iassa.models.conventions import DETECTORS
from iassa.models.onnx.detector_layouts import DETECTOR_LAYOUTS
from iassa.models.opening import add_conventions, open_model
from rounding import steps

SIZE = (32, 64)
NAMES = ("dog", "cat", "cow")
# Where it looks, as top, left, bottom, right; each row of `BOXES` looks at one of them.
PLACES = ((4, 8, 20, 24), (10, 40, 30, 60))
PLACES_OF_STRIDES = 4 * 8 + 2 * 4 + 1 * 2  # of 8, 16 and 32 in an image of 32 x 64
ULTRALYTICS = {"author": "Ultralytics", "task": "detect", "names": str(dict(enumerate(NAMES)))}


def template(rows: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Boxes (n, 4) in pixels, which place each looks at (n, 2), and its class scores (n, 3)."""
    rng = np.random.default_rng(0)
    low = rng.random((rows, 2)) * np.array(SIZE) * 0.5
    boxes = np.concatenate([low, low + 2 + rng.random((rows, 2)) * 12], axis=1)
    shares = 0.2 * rng.dirichlet((0.5, 1, 0.7), rows)
    place = rng.integers(0, 2, rows)
    for row, (classes, which) in enumerate([((0.9, 0.05, 0), 0), ((0.02, 0.1, 0.8), 1)]):
        boxes[row], shares[row], place[row] = PLACES[which], classes, which
    return boxes.astype(np.float32), np.eye(2)[place].astype(np.float32), shares.astype(np.float32)


def expected(planes: NDArray[np.float32], rows: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Boxes (n, 4), and the score of each class for each of them (N, n, 3)."""
    boxes, place, shares = template(rows)
    bright = np.stack([planes[:, :, t:b, left:r].mean((1, 2, 3)) for t, left, b, r in PLACES], 1)
    return boxes, (bright @ place.T)[:, :, None] * shares


@dataclass
class Builder:
    """A graph that is written node by node."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, NDArray[Any]] = field(default_factory=dict)

    def constant(self, value: Any, kind: Any = np.float32) -> str:
        name = f"constant{len(self.constants)}"
        self.constants[name] = np.asarray(value, kind)
        return name

    def add(self, operator: str, *inputs: Any, output: str | None = None, **attributes: Any) -> str:
        names = [one if isinstance(one, str) else self.constant(one) for one in inputs]
        made = output or f"{operator}{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, names, [made], **attributes))
        return made

    def ints(self, *values: int) -> str:
        return self.constant(values, np.int64)


def centres(boxes: NDArray[Any]) -> NDArray[Any]:
    top, left, bottom, right = boxes.T
    return np.stack([(left + right) / 2, (top + bottom) / 2, right - left, bottom - top], 1)


@dataclass
class Parts:
    """What every layout is put together from, names of tensors (N, n, ...)."""

    build: Builder
    bright: str
    scores: str
    zeros: str
    ones: str
    best: str
    labels: str
    rows: int
    batch: int | str

    def spread(self, values: NDArray[Any]) -> str:
        """Values (n, ...) for each image."""
        return self.build.add("Mul", self.ones, values[None])

    @property
    def middle(self) -> str:
        return self.spread(centres(template(self.rows)[0]))

    @property
    def sides(self) -> str:
        return self.spread(template(self.rows)[0][:, [1, 0, 3, 2]])

    @property
    def shares(self) -> str:
        return self.spread(centres(template(self.rows)[0]) / np.array([SIZE[1], SIZE[0]] * 2))


def parts_of(build: Builder, rows: int, batch: int | str) -> Parts:
    _, place, shares = template(rows)
    means = []
    for top, left, bottom, right in PLACES:
        corners = (build.ints(top, left), build.ints(bottom, right), build.ints(2, 3))
        crop = build.add("Slice", "image", *corners)
        means.append(build.add("ReduceMean", crop, build.ints(1, 2, 3), keepdims=1))
    both = build.add("Concat", *means, axis=1)  # (N, 2, 1, 1)
    bright = build.add("MatMul", place[None], build.add("Squeeze", both, build.ints(3)))
    scores = build.add("Mul", bright, shares[None])
    zeros = build.add("Mul", bright, 0.0)
    ones = build.add("Add", zeros, 1.0)
    best = build.add("ReduceMax", scores, build.ints(2), keepdims=1)
    labels = build.add("Mul", ones, shares.argmax(1)[None, :, None])
    return Parts(build, bright, scores, zeros, ones, best, labels, rows, batch)


Declared = dict[str, tuple[int | str, ...]]  # outputs and their shapes


def yolo(layout: str, of: Parts) -> Declared:
    build, rows, batch = of.build, of.rows, of.batch
    if layout == "yolov5":
        classes = of.spread(template(rows)[2])
        build.add("Concat", of.middle, of.bright, classes, axis=2, output="out")
        return {"out": (batch, rows, 8)}
    if layout == "yolox":  # steps of the grid that a loop over its cells gives
        cells = [
            (column, row, step)
            for step in (8, 16, 32)
            for row in range(SIZE[0] // step)
            for column in range(SIZE[1] // step)
        ]
        place, step = np.split(np.array(cells, np.float32), [2], axis=1)
        middle = centres(template(rows)[0])
        raw = [middle[:, :2] / step - place, np.log(middle[:, 2:] / step)]
        classes = of.spread(template(rows)[2])
        seen = of.spread(np.concatenate(raw, 1).astype(np.float32))
        build.add("Concat", seen, of.bright, classes, axis=2, output="out")
        return {"out": (batch, rows, 8)}
    if layout == "yolov8":
        together = build.add("Concat", of.middle, of.scores, axis=2)
        build.add("Transpose", together, perm=[0, 2, 1], output="out")
        return {"out": (batch, 7, rows)}
    if layout == "yolov10":
        build.add("Concat", of.sides, of.best, of.labels, axis=2, output="out")
        return {"out": (batch, rows, 6)}
    assert isinstance(batch, int)
    numbers = build.add("Add", of.zeros, np.arange(batch)[:, None, None])
    together = build.add("Concat", numbers, of.sides, of.labels, of.best, axis=2)
    build.add("Reshape", together, build.ints(-1, 7), output="out")
    return {"out": ("rows", 7)}


def suppressed(layout: str, of: Parts) -> Declared:
    build, rows, batch = of.build, of.rows, of.batch
    if layout == "nms":
        number = build.add("ReduceSum", of.ones, build.ints(1), keepdims=0)
        build.add("Cast", number, to=TensorProto.INT32, output="num_dets")
        build.add("Identity", of.sides, output="det_boxes")
        build.add("Squeeze", of.best, build.ints(2), output="det_scores")
        flat = build.add("Squeeze", of.labels, build.ints(2))
        build.add("Cast", flat, to=TensorProto.INT32, output="det_classes")
        lists = {"det_scores": (batch, rows), "det_classes": (batch, rows)}
        return {"num_dets": (batch, 1), "det_boxes": (batch, rows, 4), **lists}
    # ONNX Runtime's own suppression: a number of boxes for each image.
    lists_ = build.add("Transpose", of.best, perm=[0, 2, 1])
    limits = (build.ints(1000), build.constant([0.95]), build.constant([0.01]))
    kept = build.add("NonMaxSuppression", of.sides, lists_, *limits)
    places = build.add("Gather", kept, build.constant(2, np.int64), axis=1)
    whole = build.add("Cast", of.labels, to=TensorProto.INT64)
    for name, values in {"boxes": of.sides, "scores": of.best, "labels": whole}.items():
        sides = build.ints(0) if name == "boxes" else build.ints(0, 2)
        build.add("Gather", build.add("Squeeze", values, sides), places, axis=0, output=name)
    return {"boxes": ("n", 4), "labels": ("n",), "scores": ("n",)}


def detr(layout: str, of: Parts) -> Declared:
    build, rows, batch = of.build, of.rows, of.batch
    if layout == "rt-detr in one":
        build.add("Concat", of.shares, of.scores, axis=2, output="out")
        return {"out": (batch, rows, 7)}
    build.add("Identity", of.shares, output="pred_boxes")
    if layout == "rt-detr":
        safe = build.add("Clip", of.scores, 1e-12, 1 - 1e-6)
        odds = build.add("Div", safe, build.add("Sub", 1.0, safe))
        build.add("Log", odds, output="logits")
        return {"logits": (batch, rows, 3), "pred_boxes": (batch, rows, 4)}
    left = build.add("Sub", 1.0, build.add("ReduceSum", of.scores, build.ints(2), keepdims=1))
    whole = build.add("Clip", build.add("Concat", of.scores, left, axis=2), 1e-12)
    build.add("Add", build.add("Log", whole), 3.7, output="logits")
    return {"logits": (batch, rows, 4), "pred_boxes": (batch, rows, 4)}


def outputs_of(layout: str, of: Parts) -> Declared:
    if layout in ("nms", "torchvision"):
        return suppressed(layout, of)
    return detr(layout, of) if "detr" in layout else yolo(layout, of)


ROWS = {
    "yolov5": 3 * PLACES_OF_STRIDES,
    "yolov8": PLACES_OF_STRIDES,
    "yolox": PLACES_OF_STRIDES,
}
LAYOUTS = [*DETECTORS, "rt-detr in one"]


def graph(
    path: Path,
    layout: str,
    *,
    batch: int | str = "n",
    notes: dict[str, str] | None = None,
    shape: Sequence[int | str] = SIZE,
    renamed: dict[str, str] | None = None,
    rows: int | None = None,
    raw: bool = False,
) -> Path:
    build = Builder()
    rows = rows or ROWS.get(layout, 12)
    if layout in ("yolov7-end2end", "torchvision"):
        batch = 1 if batch == "n" else batch
    declared = outputs_of(layout, parts_of(build, rows, batch))
    if raw:
        build.add("Identity", "image", output="raw")
        declared["raw"] = (batch, 3, *shape)
    for old, new in (renamed or {}).items():
        build.add("Identity", old, output=new)
    found = {(renamed or {}).get(name, name): one for name, one in declared.items()}
    kinds = {"num_dets": TensorProto.INT32, "det_classes": TensorProto.INT32}
    kinds |= {"labels": TensorProto.INT64}
    made = helper.make_graph(
        build.nodes,
        layout,
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, (batch, 3, *shape))],
        [
            helper.make_tensor_value_info(name, kinds.get(name, TensorProto.FLOAT), one)
            for name, one in found.items()
        ],
        [numpy_helper.from_array(value, name) for name, value in build.constants.items()],
    )
    opset = [helper.make_opsetid("", 18)]
    model = helper.make_model(made, opset_imports=opset, ir_version=10, producer_name="hand")
    helper.set_model_props(model, notes or {})
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "yolo.onnx"


def pixels(count: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).random((count, 3, *SIZE)).astype(np.float32)


def opened(path: Path, layout: str, **said: Any) -> iassa.models.OnnxDetector:
    name = layout.removesuffix(" in one")
    return iassa.models.OnnxDetector(path, detector=name, range=(0, 1), class_names=NAMES, **said)


def ordered(found: iassa.models.Detections) -> NDArray[Any]:
    """Boxes and confidence, whatever their order."""
    rows = np.concatenate([found.boxes, found.confidence[:, None], found.labels[:, None]], 1)
    return rows[np.lexsort(rows.T.round(2))]


# --- the same boxes ---------------------------------------------------------------------------


def test_every_layout_is_tested() -> None:
    assert set(DETECTORS) == set(DETECTOR_LAYOUTS)


@pytest.mark.parametrize("batch", ["n", 1, 3])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_give_the_boxes_and_scores_of_the_network(
    path: Path, layout: str, batch: int | str
) -> None:
    if layout == "torchvision":  # it takes one image at a time
        batch = 1
    rows = ROWS.get(layout, 12)
    detector = opened(graph(path, layout, batch=batch), layout)
    assert detector.input_size == SIZE
    for count in (1, 2, 5):
        planes = pixels(count, seed=count)
        boxes, scores = expected(planes, rows)
        found = detector.detect(torch.from_numpy(planes))
        assert len(found) == count
        for one, classes in zip(found, scores, strict=True):
            if layout == "torchvision":  # what its suppression kept
                kept = [np.abs(boxes - box).sum(1).argmin() for box in one.boxes]
                assert 2 <= len(set(kept)) == len(kept) <= rows
            else:
                kept = [*range(rows)]
            np.testing.assert_allclose(one.boxes, boxes[kept], atol=steps(64, boxes))
            np.testing.assert_allclose(one.confidence, classes[kept].max(1), atol=steps(64, 1.0))
            np.testing.assert_array_equal(one.labels, classes[kept].argmax(1))
            assert one.class_scores.shape == (len(kept), 3)
            if layout in ("yolov5", "yolov8", "yolox", "detr", "rt-detr", "rt-detr in one"):
                # All classes count for the cosine; of the others one is all that there is.
                present = one.presence[:, None] if one.objectness is not None else 1
                whole = one.class_scores * present
                np.testing.assert_allclose(whole, classes, atol=steps(128, 1.0))
            assert (one.objectness is not None) == (layout in ("yolov5", "yolox", "detr"))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_map_shows_where_the_box_s_score_comes_from(path: Path, layout: str) -> None:
    """On an image of another shape than the network's, of which the boxes are in pixels."""
    detector = opened(graph(path, layout), layout)
    image = np.zeros((96, 128, 3), np.float32)
    scale = np.array([3, 2, 3, 2])
    places = np.array(PLACES) * scale
    for (top, left, bottom, right), value in zip(places, (1.0, 0.9), strict=True):
        image[top:bottom, left:right] = value
    chosen = iassa.methods.Iassa(baseline=0.0)
    explanation = iassa.explain(image, detector, target=["dog", "cow"], calls=500, method=chosen)
    assert explanation.target_boxes is not None
    for target, saliency, place in zip(
        explanation.targets, explanation.saliency, places, strict=True
    ):
        np.testing.assert_allclose(
            explanation.target_boxes.boxes[target.indices[0]], place, atol=steps(1024, place)
        )
        region = np.zeros(image.shape[:2], bool)
        region[place[0] : place[2], place[1] : place[3]] = True
        high = saliency >= np.sort(saliency.ravel())[-region.sum()]
        assert (high & region).sum() / (high | region).sum() > 0.6


def test_colours_ranges_and_sizes_are_as_for_any_file(path: Path) -> None:
    graph(path, "yolov8", shape=("h", "w"))
    planes = pixels(2)
    any_size = opened(path, "yolov8", input_size="any")
    assert any_size.input_size is None
    sized = opened(path, "yolov8", input_size=SIZE)
    (first, _), (second, _) = (one.detect(torch.from_numpy(planes)) for one in (any_size, sized))
    np.testing.assert_array_equal(first.class_scores, second.class_scores)
    halved = iassa.models.OnnxDetector(
        path, detector="yolov8", input_size=SIZE, range=(0, 0.5), class_names=NAMES
    )
    (half, _) = halved.detect(torch.from_numpy(planes))
    np.testing.assert_allclose(half.class_scores, first.class_scores / 2, rtol=1e-5)
    # DETR's boxes are shares of whatever is shown.
    relative = opened(graph(path, "detr", shape=("h", "w")), "detr", input_size="any")
    large = torch.from_numpy(planes).repeat(1, 1, 2, 3)
    found = relative.detect(large)[0].boxes
    np.testing.assert_allclose(found, template(12)[0] * [2, 3, 2, 3], atol=steps(64, found))


def test_extended_runs_and_copies_are_of_the_same_detector(path: Path, tmp_path: Path) -> None:
    reference = f"{graph(path, 'yolov8', notes=ULTRALYTICS)}"
    image = np.full((64, 64, 3), 0.8, np.float32)
    part = iassa.explain(image, reference, method="rise", calls=60)
    part.save(tmp_path / "saved")
    loaded = iassa.Explanation.load(tmp_path / "saved")
    whole = iassa.explain(image, reference, method="rise", calls=100)
    for again in (reference, pickle.loads(pickle.dumps(open_model(reference)))):
        longer = iassa.extend(loaded, again, calls=40)
        np.testing.assert_array_equal(longer.saliency, whole.saliency)
    surer = open_model(f"{reference}?threshold=0.7")
    assert surer.identity() == open_model(reference).identity()
    assert len(surer.aim(image).boxes) < len(open_model(reference).aim(image).boxes)
    graph(path, "yolov8", notes=ULTRALYTICS | {"version": "2"})
    with pytest.raises(InputError, match="expected the black box that was asked before"):
        iassa.extend(loaded, reference, calls=40)


# --- what is told from the file ---------------------------------------------------------------


@pytest.mark.parametrize("layout", ["yolov5", "yolov8", "yolov10", "rt-detr in one"])
def test_an_export_of_ultralytics_needs_no_option(path: Path, layout: str) -> None:
    detector = open_model(graph(path, layout, notes=ULTRALYTICS))
    assert isinstance(detector, iassa.models.OnnxDetector)
    assert detector.class_names == NAMES
    planes = torch.from_numpy(pixels(2))
    for one, other in zip(
        detector.detect(planes), opened(path, layout).detect(planes), strict=True
    ):
        np.testing.assert_array_equal(one.boxes, other.boxes)
        np.testing.assert_array_equal(one.class_scores, other.class_scores)
    # Its axes may be open.
    notes = ULTRALYTICS | {"imgsz": str([*SIZE])}
    again = open_model(graph(path, layout, notes=notes, shape=("h", "w")))
    assert again.input_size == SIZE


@pytest.mark.parametrize("layout", ["yolov5", "yolov8", "nms", "torchvision"])
def test_a_layout_that_shapes_or_names_tell(path: Path, layout: str) -> None:
    """Without metadata: as many boxes as the strides of a YOLO have places, or outputs by name."""
    detector = open_model(f"{graph(path, layout)}?range=0-1")
    assert isinstance(detector, iassa.models.OnnxDetector)
    found = detector.detect(torch.from_numpy(pixels(1)))[0]
    assert found.confidence.max() == pytest.approx(
        expected(pixels(1), ROWS.get(layout, 12))[1].max(), abs=steps(64, 1.0)
    )


def test_detr_is_told_by_the_number_of_names(path: Path) -> None:
    for layout in ("detr", "rt-detr"):
        notes = {"names": json.dumps(NAMES)}
        detector = open_model(f"{graph(path, layout, notes=notes)}?range=0-1")
        assert isinstance(detector, iassa.models.OnnxDetector)
        assert f"detector={layout}" in detector.identity()
    with pytest.raises(InputError, match=r"say detector=LAYOUT, one of .*detr"):
        open_model(f"{graph(path, 'detr')}?range=0-1")


@pytest.mark.parametrize("task", ["segment", "pose"])
def test_numbers_of_other_kinds_behind_the_class_scores(path: Path, task: str) -> None:
    """As in Ultralytics' models of segments and poses."""
    notes = ULTRALYTICS | {"task": task, "names": "{0: 'dog', 1: 'cat'}"}
    for layout in ("yolov8", "yolov5"):
        detector = open_model(graph(path, layout, notes=notes))
        found = detector.detect(torch.from_numpy(pixels(1)))[0]
        whole = opened(path, layout).detect(torch.from_numpy(pixels(1)))[0]
        np.testing.assert_array_equal(found.class_scores, whole.class_scores[:, :2])


def test_what_is_left_open_is_told_at_once_with_what_was_found(path: Path) -> None:
    graph(path, "yolov10", notes={"task": "detect"})
    with pytest.raises(InputError) as caught:
        open_model(str(path))
    text = str(caught.value)
    for word in (
        "range=0-1, range=0-255",
        "detector=... for the layout of its outputs, one of yolov5 (N",
        "Found: input image float32 (?, 3, 32, 64); output out float32 (?, 12, 6) of Concat",
        f"'{path}?range=0-1&detector=yolov8'",
        "add --range 0-1 --model-option detector=yolov8, with your values",
        "parameters of iassa.models.OnnxDetector",
    ):
        assert word in text
    assert "\n" not in text
    # Two classes: six numbers may be corners, score and class, or box and two scores.
    graph(path, "yolov10", notes=ULTRALYTICS | {"names": "['dog', 'cat']"})
    with pytest.raises(InputError, match=r"got nothing\. Give detector="):
        open_model(str(path))
    graph(path, "yolov10")
    with pytest.raises(InputError, match="if it detects objects, say detector=LAYOUT"):
        open_model(f"{path}?range=0-1&softmax=no")
    with pytest.raises(InputError, match="a detector for a layout, a threshold or resize"):
        open_model(f"{path}?range=0-1&softmax=no&threshold=0.5")


def test_outputs_of_other_names(path: Path) -> None:
    renamed = {"logits": "a", "pred_boxes": "b"}
    graph(path, "detr", renamed=renamed)
    with pytest.raises(InputError, match="Name them with output_name, in this order") as caught:
        opened(path, "detr")
    assert "got none of 'a', 'b'" in str(caught.value)
    detector = open_model(
        add_conventions(str(path), ["detector=detr", "range=0-1", "output_name=a,b"])
    )
    graph(path, "detr")
    planes = torch.from_numpy(pixels(1))
    np.testing.assert_array_equal(
        detector.detect(planes)[0].boxes, opened(path, "detr").detect(planes)[0].boxes
    )
    for wanted in ("b", "a,c", "a,b,a"):
        with pytest.raises(InputError, match=f"got {wanted} of 'a', 'b'"):
            opened(graph(path, "detr", renamed=renamed), "detr", output_name=wanted)
    # One that has the rank is all that is needed: YOLOv5 gives its raw maps too.
    several = opened(graph(path, "yolov5", raw=True), "yolov5").detect(planes)
    alone = opened(graph(path, "yolov5"), "yolov5").detect(planes)
    np.testing.assert_array_equal(several[0].boxes, alone[0].boxes)


# --- what is refused --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "said", "word"),
    [
        ("yolov5", "yolov8", "expected the outputs of layout yolov8, (N, 4 + C, n), got (1, 126"),
        ("yolov8", "yolov5", "class scores a box for 3 class names"),
        ("yolov8", "yolov10", "numbers a box"),
        ("yolov10", "yolov5", "1 class scores a box for 3 class names"),
        ("yolov10", "yolov7-end2end", "not of 7 numbers a box"),
        ("yolov10", "nms", "(N, 1), (N, n, 4), (N, n), (N, n) of layout nms in"),
        ("rt-detr", "detr", "2 class scores a box for 3 class names"),
        ("detr", "rt-detr", "4 class scores a box for 3 class names"),
        ("yolov8", "rt-detr", "boxes of 0 to 50, not shares of the image"),
    ],
)
def test_a_layout_that_is_another(path: Path, made: str, said: str, word: str) -> None:
    graph(path, made, batch=1)
    with pytest.raises(InputError) as caught:
        opened(path, said)
    assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_grid_that_was_not_decoded_is_not_read_as_pixels_nor_pixels_as_a_grid(path: Path) -> None:
    graph(path, "yolox")
    with pytest.raises(InputError, match=r"not decoded to pixels\. Say detector=yolox"):
        open_model(f"{path}?range=0-1&detector=yolov5")
    with pytest.raises(InputError, match=r"say detector=LAYOUT, one of .*yolox"):
        open_model(f"{path}?range=0-1&softmax=no")
    open_model(f"{path}?range=0-1&detector=yolox")
    graph(path, "yolov5", rows=PLACES_OF_STRIDES)
    with pytest.raises(InputError, match=r"pixels already\. Say detector=yolov5"):
        open_model(f"{path}?range=0-1&detector=yolox")
    open_model(f"{path}?range=0-1&detector=yolov5")
    graph(path, "yolov5", rows=12)
    with pytest.raises(InputError, match="12 boxes, not one for each cell"):
        open_model(f"{path}?range=0-1&detector=yolox")


def test_a_layout_that_is_another_is_told_without_names(path: Path) -> None:
    """YOLOv8's for YOLOv5's, turned over: its boxes would be its numbers."""
    graph(path, "yolov5")
    with pytest.raises(InputError, match="more classes than boxes: another layout"):
        iassa.models.OnnxDetector(path, detector="yolov8", range=(0, 1))


def test_options_that_make_no_sense_for_detectors(path: Path) -> None:
    graph(path, "yolov8")
    for said, word in (
        ("detector=yolov99", "expected detector to be one of yolov5, yolov8"),
        ("detector=yolov8&softmax=yes", "no softmax or sigmoid for the detector"),
        ("detector=yolov8&threshold=3", "expected threshold to be a number or None, from 0 to 1"),
        ("detector=yolov8&threshold=x", "expected threshold to be a number"),
    ):
        with pytest.raises(InputError, match=word):
            open_model(f"{path}?range=0-1&{said}")
    with pytest.raises(InputError, match="class scores a box for 2 class names"):
        iassa.models.OnnxDetector(path, detector="yolov8", range=(0, 1), class_names=["a", "b"])


def test_scores_that_lack_their_sigmoid(path: Path) -> None:
    """Told at the first image that has such scores."""
    graph(path, "yolov8")
    detector = iassa.models.OnnxDetector(path, detector="yolov8", range=(0, 2), class_names=NAMES)
    with pytest.raises(BlackBoxError, match=r"class_scores from 0 to 1, got 0 to 1\.8"):
        detector.aim(np.ones((*SIZE, 3), np.float32))


# --- the command line -------------------------------------------------------------------------


def test_the_command_line(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(path.parent)
    Image.fromarray(np.full((48, 80, 3), 200, np.uint8)).save("street.png")
    graph(path, "yolov8", notes=ULTRALYTICS)
    quick = ["--method", "rise", "--calls", "60", "--quiet", "--json", "--overwrite"]

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exit_:
            main(["explain", "street.png", *arguments, *quick])
        captured = capsys.readouterr()
        return int(exit_.value.code or 0), captured.out, captured.err

    status, out, err = run("--model", "yolo.onnx")
    assert status == 0, err
    record = json.loads(out)
    assert record["targets"][0]["name"] == "dog"
    assert record["boxes"][0]["box"] == pytest.approx(
        np.array(PLACES[0]) * np.tile([1.5, 1.25], 2), abs=0.1
    )
    graph(path, "yolov10")
    said = ["--model-option", "detector=yolov10", "--range", "0-1"]
    given = ["--box", "6,10,30,30:0"]
    status, _, err = run("--model", "yolo.onnx", *said, *given, "--model-option", "threshold=0.1")
    assert status == 2
    assert "expected --box or the model option threshold, got both" in err
    status, out, err = run("--model", "yolo.onnx", *said, *given)
    assert status == 0, err
    record = json.loads(out)
    assert [one["name"] for one in record["targets"]] == ["class 0"]
    assert record["scores"][0] > 0.6
    assert "detector=yolov10" in record["identity"]
    status, _, err = run("--model", "yolo.onnx", *said, "--model-option", "threshold=0.999")
    assert status == 2
    assert "0.999" in err  # nothing is that sure
    status, _, err = run("--model", "yolo.onnx", "--range", "0-1", "--softmax")
    assert status == 2
    assert "say detector=LAYOUT" in err
