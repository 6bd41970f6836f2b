"""Layouts of the outputs of exported detectors: from the arrays of a graph to `Detections`.

A layout has the name of the family that made it common. `recognise` tells it where the shapes of
the outputs, their names or the exporter's metadata leave no doubt; a guess would make wrong boxes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iassa.errors import InputError, list_choices, require
from iassa.models.detections import Detections
from iassa.models.onnx.graph import Output, Shape

Array = NDArray[Any]

TASKS = ("detect", "segment", "pose")  # of Ultralytics; the last two have more numbers a box
# Of anchor-free heads, one box for each place of these strides; anchor-based ones have three.
STRIDES = ((8, 16, 32), (8, 16, 32, 64))
MOST_ROWS = 1000  # of a detector that suppresses, or never makes, near duplicates


@dataclass(frozen=True)
class Batch:
    """The images that outputs are about, and what a layout does not hold itself.

    Attributes:
        size: (height, width) of the images.
        count: N of them.
        num_classes: C; None if no names say it.
        has_more: whether there are numbers of other kinds behind the class scores.
    """

    size: tuple[int, int]
    count: int
    num_classes: int | None = None
    has_more: bool = False


def _by_image(arrays: Sequence[Array], batch: Batch) -> Iterable[tuple[Array, ...]]:
    sound = all(array.ndim > 0 and len(array) == batch.count for array in arrays)
    require(sound, f"not of {batch.count} images.")
    return zip(*arrays, strict=True)


def _by_number(arrays: Sequence[Array], batch: Batch) -> Iterable[tuple[Array, ...]]:
    """Rows of all images, whose first number is that of their image."""
    rows = _rows(arrays[0], 7)
    require(np.isin(rows[:, 0], np.arange(batch.count)).all(), "of images that are not.")
    return [(rows[rows[:, 0] == k],) for k in range(batch.count)]


def _alone(arrays: Sequence[Array], batch: Batch) -> Iterable[tuple[Array, ...]]:
    """The one image of a graph that takes one at a time, with or without an axis for it."""
    require(batch.count == 1, f"of {batch.count} images at a time.")
    return [tuple(a[0] if arrays[0].ndim == 3 and len(a) else a for a in arrays)]


@dataclass(frozen=True)
class DetectorLayout:
    """A layout of outputs.

    Attributes:
        shapes: of its outputs, for people.
        read: detections of one image of a batch, from the batch and the image's outputs.
        roles: of its outputs, and the names that exporters give each; none for one output.
        split: outputs of each image, from those of a batch.
        rank: of the output, where there is one.
        alone: whether one output may stand for all roles.
        batched: whether a graph of this kind may be given several images at a time.
    """

    shapes: str
    read: Callable[..., Detections]
    roles: tuple[tuple[str, ...], ...] = ()
    split: Callable[[Sequence[Array], Batch], Iterable[tuple[Array, ...]]] = _by_image
    rank: int = 3
    alone: bool = False
    batched: bool = True


def decode(name: str, arrays: Sequence[Any], batch: Batch) -> list[Detections]:
    """The detections in each image.

    Args:
        name: of the layout.
        arrays: its outputs, in the order of its roles, for the images of the batch.
        batch: what else there is to know.

    Returns:
        N detections, boxes in pixels of the images.

    Raises:
        InputError: arrays of other shapes, or values that cannot be what the layout says.
    """
    layout = DETECTOR_LAYOUTS[name]
    try:
        images = layout.split([np.asarray(array) for array in arrays], batch)
        return [layout.read(batch, *image) for image in images]
    except InputError as error:
        shapes = list_choices(np.shape(array) for array in arrays)
        raise InputError(
            f"expected the outputs of layout {name}, {layout.shapes}, got {shapes}: {error}"
        ) from error


def _rows(array: Array, columns: int | None = None) -> Array:
    """(n, columns) float32, checked."""
    sound = array.ndim == 2 and columns in (None, array.shape[1])
    require(sound, f"not of {columns or 'several'} numbers a box.")
    return array.astype(np.float32, copy=False)


def _class_scores(batch: Batch, scores: Array) -> Array:
    """(n, C) of the numbers (n, columns) behind a box."""
    columns, number = scores.shape[1], batch.num_classes
    if number is not None:
        fits = columns >= number if batch.has_more else columns == number
        require(fits, f"{columns} class scores a box for {number} class names.")
        return scores[:, :number]
    require(columns >= 1, "no class scores.")
    require(columns <= max(len(scores), 1), "more classes than boxes: another layout?")
    return scores


def _from_centres(boxes: Array) -> Array:
    """Corners of boxes (n, 4) centre x, centre y, width, height."""
    half, centre = boxes[:, [3, 2]] / 2, boxes[:, [1, 0]]
    return np.concatenate([centre - half, centre + half], axis=1)


def _to_pixels(batch: Batch, boxes: Array) -> Array:
    """Corners in pixels of boxes (n, 4) centre x, centre y, width, height in shares."""
    low, high = float(boxes.min(initial=0)), float(boxes.max(initial=0))
    require(low >= -2 and high <= 3, f"boxes of {low:g} to {high:g}, not shares of the image.")
    return _from_centres(boxes) * np.tile(np.array(batch.size, np.float32), 2)


def _labelled(batch: Batch, sides: Array, labels: Array, scores: Array) -> Detections:
    """Of one class a box, (n, 4) left, top, right, bottom; rows without a score only fill up."""
    require(sides.shape == (*scores.shape, 4), "boxes are not (n, 4).")
    there = ~(scores <= 0)  # NaN is there, and refused
    boxes = sides[there][:, [1, 0, 3, 2]]
    return Detections.of_labels(boxes, labels[there], scores[there], batch.num_classes)


def _yolov5(batch: Batch, rows: Array) -> Detections:
    rows = _rows(rows)
    undecoded = len(rows) in _places(batch.size) and not _is_decoded(batch, rows)
    require(not undecoded, "steps of a grid, not decoded to pixels. Say detector=yolox.")
    return Detections(_from_centres(rows[:, :4]), _class_scores(batch, rows[:, 5:]), rows[:, 4])


def _yolox(batch: Batch, rows: Array) -> Detections:
    """Centres in steps of the grid from their cell, logarithms of sizes in steps."""
    rows = _rows(rows, None)
    require(len(rows) in _places(batch.size), f"{len(rows)} boxes, not one for each cell.")
    require(not _is_decoded(batch, rows), "boxes in pixels already. Say detector=yolov5.")
    grids = [_grid(batch.size, strides) for strides in STRIDES]
    cells, steps = next(grid for grid in grids if len(grid[0]) == len(rows))
    boxes = np.concatenate([rows[:, :2] + cells, np.exp(rows[:, 2:4])], axis=1) * steps
    return Detections(_from_centres(boxes), _class_scores(batch, rows[:, 5:]), rows[:, 4])


def _grid(size: tuple[int, int], strides: Sequence[int]) -> tuple[Array, Array]:
    """(n, 2) column and row of each cell, and (n, 1) its step, from the finest map on."""
    cells = [np.indices((-(-size[0] // s), -(-size[1] // s)))[::-1].reshape(2, -1) for s in strides]
    steps = [np.full(one.shape[1], s) for one, s in zip(cells, strides, strict=True)]
    return np.concatenate(cells, 1).T.astype(np.float32), np.concatenate(steps)[:, None]


def _is_decoded(batch: Batch, rows: Array) -> bool:
    """Whether centres are in pixels: those of the last cells lie at the far side of the image."""
    width_height = np.array(batch.size[::-1])
    return bool((rows[:, :2].max(axis=0, initial=0) >= width_height / 2).all())


def _yolov8(batch: Batch, columns: Array) -> Detections:
    rows = _rows(columns).T
    return Detections(_from_centres(rows[:, :4]), _class_scores(batch, rows[:, 4:]))


def _yolov10(batch: Batch, rows: Array) -> Detections:
    rows = _rows(rows, None if batch.has_more and rows.shape[-1] > 6 else 6)
    return _labelled(batch, rows[:, :4], rows[:, 5], rows[:, 4])


def _yolov7_end2end(batch: Batch, rows: Array) -> Detections:
    return _labelled(batch, rows[:, 1:5], rows[:, 5], rows[:, 6])


def _nms(batch: Batch, count: Array, boxes: Array, scores: Array, labels: Array) -> Detections:
    number = int(count.item()) if count.size == 1 else -1
    sound = scores.shape == labels.shape and 0 <= number <= scores.size
    require(sound, f"{count} boxes, {scores.shape} scores and {labels.shape} classes.")
    return _labelled(batch, boxes[:number], labels[:number], scores[:number])


def _detr(batch: Batch, logits: Array, boxes: Array) -> Detections:
    logits = _rows(logits)
    exponents = np.exp(logits - logits.max(1, keepdims=True))
    shares = exponents / exponents.sum(1, keepdims=True)
    # The last class is that of no object. What is left is 1 - its share, without the rounding.
    objectness = shares[:, :-1].sum(1)
    scores = shares[:, :-1] / np.maximum(objectness, 1e-30)[:, None]
    return Detections(_to_pixels(batch, _rows(boxes, 4)), _class_scores(batch, scores), objectness)


def _rt_detr(batch: Batch, logits: Array, boxes: Array | None = None) -> Detections:
    rows = _rows(logits)
    if boxes is None:  # Ultralytics puts boxes and the scores, behind their sigmoid, in one
        scores, boxes = rows[:, 4:], rows[:, :4]
    else:
        scores = 0.5 * (1 + np.tanh(0.5 * rows))  # the sigmoid, which does not overflow
    return Detections(_to_pixels(batch, _rows(boxes, 4)), _class_scores(batch, scores))


LABELLED = (
    *(("num_dets",), ("det_boxes", "bboxes", "boxes")),
    *(("det_scores", "scores"), ("det_classes", "labels", "classes")),
)
TORCHVISION = (("boxes",), ("labels",), ("scores",))
PAIR = (("logits", "pred_logits"), ("pred_boxes", "boxes"))

DETECTOR_LAYOUTS: dict[str, DetectorLayout] = {
    "yolov5": DetectorLayout("(N, n, 5 + C)", _yolov5),
    "yolov8": DetectorLayout("(N, 4 + C, n)", _yolov8),
    "yolox": DetectorLayout("(N, n, 5 + C) undecoded", _yolox),
    "yolov10": DetectorLayout("(N, n, 6)", _yolov10),
    "yolov7-end2end": DetectorLayout("(n, 7)", _yolov7_end2end, split=_by_number, rank=2),
    "nms": DetectorLayout("(N, 1), (N, n, 4), (N, n), (N, n)", _nms, LABELLED),
    "torchvision": DetectorLayout(
        "(n, 4), (n,), (n,)", _labelled, TORCHVISION, split=_alone, batched=False
    ),
    "detr": DetectorLayout("(N, n, C + 1), (N, n, 4)", _detr, PAIR),
    "rt-detr": DetectorLayout("(N, n, C), (N, n, 4)", _rt_detr, PAIR, alone=True),
}


def find_outputs(name: str, outputs: Sequence[Output], wanted: str | None) -> tuple[Output, ...]:
    """The outputs that a layout needs, in the order of its roles.

    Args:
        name: of the layout.
        outputs: of the graph.
        wanted: names of them, in that order, with commas between; None finds them by name, or by
            shape where one is all that is needed.

    Returns:
        Empty where there is any doubt.
    """
    layout = DETECTOR_LAYOUTS[name]
    by_name = {output.name: output for output in outputs}
    one_is_enough = layout.alone or not layout.roles
    if wanted is not None:
        chosen = [by_name.get(one.strip()) for one in wanted.split(",")]
        fits = len(chosen) == len(layout.roles) or (len(chosen) == 1 and one_is_enough)
        return tuple(filter(None, chosen)) if fits and None not in chosen else ()
    if len(outputs) == 1 and one_is_enough:
        return tuple(outputs)
    if layout.roles:
        candidates = [[by_name[one] for one in names if one in by_name] for names in layout.roles]
    else:
        candidates = [[one for one in outputs if len(one.shape or ()) == layout.rank]]
    return tuple(one[0] for one in candidates) if all(len(c) == 1 for c in candidates) else ()


def recognise(
    outputs: Sequence[Output], size: object, names: Sequence[str] | None, notes: Mapping[str, str]
) -> str | None:
    """The layout that outputs have beyond doubt; None if there is any.

    Args:
        outputs: of a graph.
        size: (height, width) of its images; something else where it is open.
        names: of the classes; None if there are none.
        notes: the metadata, in lower case.
    """
    num_classes = None if names is None else len(names)
    for name in ("nms", "torchvision"):
        if find_outputs(name, outputs, None):
            return name
    pair = find_outputs("detr", outputs, None)
    if pair and num_classes is not None and pair[0].shape is not None:
        return {num_classes + 1: "detr", num_classes: "rt-detr"}.get(pair[0].shape[-1] or 0)
    one = find_outputs("yolov8", outputs, None)
    if not one or one[0].shape is None or len(one[0].shape) != 3:
        return None
    places = _places(size) if isinstance(size, tuple) else set()
    fitting = _fitting(one[0].shape, places, num_classes, notes.get("task") in TASKS[1:])
    return fitting[0] if len(fitting) == 1 else None


def _fitting(shape: Shape, places: set[int], num_classes: int | None, has_more: bool) -> list[str]:
    """Layouts of one output that a shape may be of, if it is that of a detector."""
    _, rows, columns = shape
    anchors = {3 * number for number in places}
    dense = columns in places, rows in anchors
    if num_classes is None:  # then a number of boxes that fits the size is what leaves no doubt
        return [name for name, fits in zip(("yolov8", "yolov5"), dense, strict=True) if fits]

    def holds(side: int | None, numbers: int) -> bool:
        return side == numbers or (has_more and side is not None and side > numbers)

    few = max(rows or 0, columns or 0) <= MOST_ROWS and not any(dense)
    v8 = not places or columns in {None, *places}
    v5 = not places or rows in {None, *anchors, *places}
    fits = {
        "yolov8": holds(rows, 4 + num_classes) and v8,
        "yolov5": holds(columns, 5 + num_classes) and v5,
        "yolov10": holds(columns, 6) and few,
        "rt-detr": columns == 4 + num_classes and not has_more and few,
    }
    return [name for name, fit in fits.items() if fit]


def _places(size: tuple[int, int]) -> set[int]:
    """How many places there are on the maps of a YOLO, for each choice of strides."""
    height, width = size
    return {sum(-(-height // s) * -(-width // s) for s in strides) for strides in STRIDES}
