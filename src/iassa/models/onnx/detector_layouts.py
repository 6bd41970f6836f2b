"""How exported detectors lay out what they find: from the arrays of a graph to `Detections`.

A layout is known by the family that made it common. Where the shapes of the outputs, their names or
the exporter's metadata leave no doubt, `recognise` tells it; a guess would make wrong boxes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iassa.errors import InputError
from iassa.models.detections import Detections
from iassa.models.onnx.graph import Output, Shape

__all__ = ["DETECTOR_LAYOUTS", "DetectorLayout", "Frame", "decode", "find_outputs", "recognise"]

Array = NDArray[Any]

TASKS = ("detect", "segment", "pose")  # of Ultralytics; the last two have more numbers a box
# Of anchor-free heads, one box for each place of these strides; anchor-based ones have three.
STRIDES = ((8, 16, 32), (8, 16, 32, 64))
MOST_ROWS = 1000  # of a detector that suppresses, or never makes, near duplicates


@dataclass(frozen=True)
class Frame:
    """What a layout does not hold itself.

    Attributes:
        size: (height, width) of the images.
        count: N of them.
        num_classes: C, where it is known.
        has_more: whether there are numbers of other kinds behind the class scores.
    """

    size: tuple[int, int]
    count: int
    num_classes: int | None = None
    has_more: bool = False


@dataclass(frozen=True)
class DetectorLayout:
    """A layout of outputs.

    Attributes:
        shapes: of its outputs, for people.
        roles: of its outputs, and the names that exporters give each.
        read: detections of the images of a frame, from its outputs.
        batched: whether a graph of this kind may be given several images at a time.
    """

    shapes: str
    roles: tuple[tuple[str, ...], ...]
    read: Callable[[Sequence[Array], Frame], list[Detections]]
    batched: bool = True


def decode(name: str, arrays: Sequence[Array], frame: Frame) -> list[Detections]:
    """What is found in each image.

    Args:
        name: of the layout.
        arrays: its outputs, in the order of its roles, for the images of the frame.
        frame: what else there is to know.

    Returns:
        N detections, boxes in pixels of the images.

    Raises:
        InputError: arrays of other shapes, or values that cannot be what the layout says.
    """
    layout = DETECTOR_LAYOUTS[name]
    try:
        return layout.read([np.asarray(array) for array in arrays], frame)
    except InputError as error:
        shapes = ", ".join(str(np.shape(array)) for array in arrays)
        raise InputError(
            f"expected the outputs of layout {name}, {layout.shapes}, got {shapes}: {error}"
        ) from error


def _require(holds: bool, text: str) -> None:
    if not holds:
        raise InputError(text)


def _rows(array: Array, frame: Frame) -> Array:
    """(N, n, columns) float32, checked."""
    _require(array.ndim == 3 and len(array) == frame.count, f"not of {frame.count} images.")
    return array.astype(np.float32, copy=False)


def _class_scores(rows: Array, frame: Frame, before: int) -> Array:
    """(n, C) of rows with so many numbers before the class scores."""
    scores = rows[:, before:]
    number = frame.num_classes
    if number is not None:
        fits = scores.shape[1] >= number if frame.has_more else scores.shape[1] == number
        _require(fits, f"{scores.shape[1]} class scores a box for {number} class names.")
        return scores[:, :number]
    _require(scores.shape[1] >= 1, "no class scores.")
    _require(scores.shape[1] <= max(len(scores), 1), "more classes than boxes: another layout?")
    return scores


def _from_centres(boxes: Array) -> Array:
    """Corners of boxes (..., 4) centre x, centre y, width, height."""
    half = boxes[..., [3, 2]] / 2
    centre = boxes[..., [1, 0]]
    return np.concatenate([centre - half, centre + half], axis=-1)


def _from_corners(boxes: Array) -> Array:
    """Boxes (..., 4) left, top, right, bottom in the order of `Detections`."""
    return boxes[..., [1, 0, 3, 2]]


def _to_pixels(boxes: Array, frame: Frame) -> Array:
    return boxes * np.tile(np.array(frame.size, np.float32), 2)


def _yolov5(arrays: Sequence[Array], frame: Frame) -> list[Detections]:
    return [
        Detections(_from_centres(rows[:, :4]), _class_scores(rows, frame, 5), rows[:, 4])
        for rows in _rows(arrays[0], frame)
    ]


def _yolov8(arrays: Sequence[Array], frame: Frame) -> list[Detections]:
    return [
        Detections(_from_centres(rows[:, :4]), _class_scores(rows, frame, 4))
        for rows in _rows(arrays[0], frame).transpose(0, 2, 1)
    ]


def _yolov10(arrays: Sequence[Array], frame: Frame) -> list[Detections]:
    found = _rows(arrays[0], frame)
    width = found.shape[2]
    _require(width == 6 or (frame.has_more and width > 6), f"{width} numbers a box.")
    return [_labelled(_from_corners(r[:, :4]), r[:, 5], r[:, 4], frame) for r in found]


def _yolov7_end2end(arrays: Sequence[Array], frame: Frame) -> list[Detections]:
    (rows,) = arrays
    _require(rows.ndim == 2 and rows.shape[1] == 7, "not of 7 numbers a box.")
    rows = rows.astype(np.float32, copy=False)
    _require(bool(np.isin(rows[:, 0], np.arange(frame.count)).all()), "of images that are not.")
    parts = [rows[rows[:, 0] == k] for k in range(frame.count)]
    return [_labelled(_from_corners(r[:, 1:5]), r[:, 5], r[:, 6], frame) for r in parts]


def _nms(arrays: Sequence[Array], frame: Frame) -> list[Detections]:
    counts, boxes, scores, labels = arrays
    _require(boxes.ndim == 3 and boxes.shape[2] == 4, "boxes are not (N, n, 4).")
    same = scores.shape == labels.shape == boxes.shape[:2] and counts.size == len(boxes)
    _require(same and len(boxes) == frame.count, "not of as many images or boxes.")
    found = []
    for k, number in enumerate(counts.reshape(-1)):
        _require(0 <= number <= boxes.shape[1], f"{number} boxes.")
        n = int(number)
        corners = _from_corners(boxes[k, :n])
        found.append(_labelled(corners, labels[k, :n], scores[k, :n], frame))
    return found


def _torchvision(arrays: Sequence[Array], frame: Frame) -> list[Detections]:
    _require(frame.count == 1, f"of {frame.count} images at a time.")
    boxes, labels, scores = (a[0] if arrays[0].ndim == 3 and len(a) else a for a in arrays)
    _require(boxes.ndim == 2 and boxes.shape[1] == 4, "boxes are not (n, 4).")
    return [_labelled(_from_corners(boxes), labels, scores, frame)]


def _labelled(boxes: Array, labels: Array, scores: Array, frame: Frame) -> Detections:
    """Of one class a box; what fills a graph's rows up to their number has no score."""
    there = ~(scores <= 0)  # NaN is there, and refused
    return Detections.of_labels(boxes[there], labels[there], scores[there], frame.num_classes)


def _detr(arrays: Sequence[Array], frame: Frame) -> list[Detections]:
    logits, boxes = _logits_and_boxes(arrays, frame)
    exponents = np.exp(logits - logits.max(2, keepdims=True))
    shares = exponents / exponents.sum(2, keepdims=True)
    # The last class is that of no object. What is left is 1 - its share, without the rounding.
    objectness = shares[..., :-1].sum(2)
    given = shares[..., :-1] / np.maximum(objectness, 1e-30)[..., None]
    return [
        Detections(corners, _class_scores(class_scores, frame, 0), present)
        for corners, class_scores, present in zip(boxes, given, objectness, strict=True)
    ]


def _rt_detr(arrays: Sequence[Array], frame: Frame) -> list[Detections]:
    if len(arrays) == 1:  # Ultralytics puts boxes and the scores, behind their sigmoid, in one
        found = _rows(arrays[0], frame)
        boxes, scores = _to_pixels(_from_centres(found[..., :4]), frame), found[..., 4:]
    else:
        logits, boxes = _logits_and_boxes(arrays, frame)
        scores = 0.5 * (1 + np.tanh(0.5 * logits))  # the sigmoid, which does not overflow
    return [
        Detections(corners, _class_scores(class_scores, frame, 0))
        for corners, class_scores in zip(boxes, scores, strict=True)
    ]


def _logits_and_boxes(arrays: Sequence[Array], frame: Frame) -> tuple[Array, Array]:
    logits, boxes = (_rows(array, frame) for array in arrays)
    _require(boxes.shape == (*logits.shape[:2], 4), "boxes are not (N, n, 4).")
    low, high = float(boxes.min(initial=0)), float(boxes.max(initial=0))
    _require(low >= -2 and high <= 3, f"boxes of {low:g} to {high:g}, not shares of the image.")
    return logits, _to_pixels(_from_centres(boxes), frame)


LOGITS = ("logits", "pred_logits")
PRED_BOXES = ("pred_boxes", "boxes")

DETECTOR_LAYOUTS: dict[str, DetectorLayout] = {
    "yolov5": DetectorLayout("(N, n, 5 + C)", ((),), _yolov5),
    "yolov8": DetectorLayout("(N, 4 + C, n)", ((),), _yolov8),
    "yolov10": DetectorLayout("(N, n, 6)", ((),), _yolov10),
    "yolov7-end2end": DetectorLayout("(n, 7)", ((),), _yolov7_end2end),
    "nms": DetectorLayout(
        "(N, 1), (N, n, 4), (N, n), (N, n)",
        (
            ("num_dets",),
            ("det_boxes", "bboxes", "boxes"),
            ("det_scores", "scores"),
            ("det_classes", "labels", "classes"),
        ),
        _nms,
    ),
    "torchvision": DetectorLayout(
        "(n, 4), (n,), (n,)", (("boxes",), ("labels",), ("scores",)), _torchvision, batched=False
    ),
    "detr": DetectorLayout("(N, n, C + 1), (N, n, 4)", (LOGITS, PRED_BOXES), _detr),
    "rt-detr": DetectorLayout("(N, n, C), (N, n, 4)", (LOGITS, PRED_BOXES), _rt_detr),
}


def find_outputs(
    name: str, outputs: Sequence[Output], wanted: str | None
) -> tuple[Output, ...] | None:
    """The outputs that a layout needs, in the order of its roles.

    Args:
        name: of the layout.
        outputs: of the graph.
        wanted: names of them, in that order, with commas between; None tells them by name, or by
            shape where one is all that is needed.

    Returns:
        None where they cannot be told.
    """
    roles = DETECTOR_LAYOUTS[name].roles
    by_name = {output.name: output for output in outputs}
    if wanted is not None:
        names = [one.strip() for one in wanted.split(",")]
        lengths = {len(roles), 1} if name == "rt-detr" else {len(roles)}
        if len(names) not in lengths or not all(one in by_name for one in names):
            return None
        return tuple(by_name[one] for one in names)
    if len(outputs) == 1 and (len(roles) == 1 or name == "rt-detr"):
        return tuple(outputs)
    if len(roles) == 1:
        rank = 2 if name == "yolov7-end2end" else 3
        found = [one for one in outputs if one.shape is not None and len(one.shape) == rank]
        return tuple(found) if len(found) == 1 else None
    told = [[by_name[one] for one in names if one in by_name] for names in roles]
    return tuple(one[0] for one in told) if all(len(one) == 1 for one in told) else None


def recognise(
    outputs: Sequence[Output],
    size: tuple[int | None, int | None],
    num_classes: int | None,
    notes: Mapping[str, str],
) -> str | None:
    """The layout that outputs have beyond doubt; None if there is any.

    Args:
        outputs: of a graph.
        size: (height, width) of its images, None where open.
        num_classes: C, where it is known.
        notes: the metadata, in lower case.
    """
    for name in ("nms", "torchvision"):
        if find_outputs(name, outputs, None) is not None:
            return name
    pair = find_outputs("detr", outputs, None)
    if pair is not None and num_classes is not None and pair[0].shape is not None:
        return {num_classes + 1: "detr", num_classes: "rt-detr"}.get(pair[0].shape[-1] or 0)
    one = find_outputs("yolov8", outputs, None)
    if one is None or one[0].shape is None or len(one[0].shape) != 3:
        return None
    more = notes.get("task") in TASKS[1:]
    found = _fitting(one[0].shape, size, num_classes, more)
    return found[0] if len(found) == 1 else None


def _fitting(
    shape: Shape, size: tuple[int | None, int | None], num_classes: int | None, more: bool
) -> list[str]:
    """Layouts of one output that a shape may be of, if it is that of a detector."""
    _, rows, columns = shape
    places = _places(size)
    if num_classes is None:  # then a number of boxes that fits the size is what leaves no doubt
        found = ["yolov8"] if columns in places else []
        return found + (["yolov5"] if rows in {3 * number for number in places} else [])

    def holds(side: int | None, numbers: int) -> bool:
        return side == numbers or (more and side is not None and side > numbers)

    dense = columns in places or rows in {3 * number for number in places}
    some = max(rows or 0, columns or 0) <= MOST_ROWS and not dense
    fits = {
        "yolov8": holds(rows, 4 + num_classes) and (not places or columns in (None, *places)),
        "yolov5": holds(columns, 5 + num_classes)
        and (not places or rows in (None, *(3 * number for number in places), *places)),
        "yolov10": holds(columns, 6) and some,
        "rt-detr": columns == 4 + num_classes and not more and some,
    }
    return [name for name, fit in fits.items() if fit]


def _places(size: tuple[int | None, int | None]) -> set[int]:
    """How many places there are on the maps of a YOLO, for each choice of strides."""
    height, width = size
    if height is None or width is None:
        return set()
    return {sum(-(-height // s) * -(-width // s) for s in strides) for strides in STRIDES}
