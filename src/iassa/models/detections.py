"""Detections: boxes with class scores, which of them to keep, and how similar they are to a target.

A target is a box, and its score in an image is D-RISE's (Petsiuk, Jain, Manjunatha, Morariu, Mehra,
Ordonez, Saenko: Black-box Explanation of Object Detectors via Saliency Maps, CVPR 2021). It is the
highest, over all detections in that image, of

    IoU of the boxes x cosine of the class scores x objectness.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from iassa.checks import take_fields
from iassa.errors import InputError, require
from iassa.models.targets import ClassLookup

Floats = NDArray[np.float32]

MOST_CLASSES = 100_000  # a larger label is a mistake, and would take memory by the gigabyte
ROUNDING = 1e-3  # of a score in float16
NUMBER = r"\s*[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?\s*"
BOX = re.compile(rf"({NUMBER}),({NUMBER}),({NUMBER}),({NUMBER})(?::(.+))?")


@dataclass(frozen=True, eq=False)
class Detections:
    """The output of a detector for one image, n boxes.

    Attributes:
        boxes: (n, 4) float32: top, left, bottom, right, in pixels of the image shown. They may
            reach beyond it.
        class_scores: (n, C) float32 in [0, 1], of each class.
        objectness: (n,) float32 in [0, 1], that there is any object. None for a detector without
            such an output: the highest class score takes its place.
    """

    boxes: Floats
    class_scores: Floats
    objectness: Floats | None = None

    def __post_init__(self) -> None:
        """Make arrays of the values, and check them.

        Raises:
            InputError: other shapes, values that are not finite, scores out of range, or boxes
                whose sides are exchanged.
        """
        boxes = _floats("boxes", self.boxes)
        if boxes.size == 0:
            boxes = boxes.reshape(0, 4)
        require(boxes.shape[1:] == (4,), f"expected boxes (n, 4), got shape {boxes.shape}.")
        require(np.isfinite(boxes).all(), "expected finite boxes, got NaN or infinity.")
        n = len(boxes)
        exchanged = boxes[(boxes[:, 2:] < boxes[:, :2]).any(1)]
        require(
            not len(exchanged),
            "expected boxes as top, left, bottom, right, the bottom below the top and the right "
            f"beyond the left, got {len(exchanged)} of {n} in another order, the first "
            f"{', '.join(f'{side:g}' for side in exchanged.ravel()[:4])}. Bring corners or centre, "
            "width and height into this order, or leave out boxes without an area.",
        )
        class_scores = _shares("class_scores", self.class_scores)
        if n == 0 and class_scores.size == 0:
            columns = class_scores.shape[1] if class_scores.ndim == 2 else 0
            class_scores = class_scores.reshape(0, columns)
        require(
            class_scores.ndim == 2 and len(class_scores) == n,
            f"expected class_scores (n, C) for n = {n} boxes, got shape {class_scores.shape}. "
            "Detections.of_labels takes a label and a score a box.",
        )
        columns = class_scores.shape[1]
        require(n == 0 or columns > 0, "expected class_scores of one class or more, got none.")
        object.__setattr__(self, "boxes", boxes)
        object.__setattr__(self, "class_scores", class_scores)
        if self.objectness is not None:
            present = _shares("objectness", self.objectness)
            got = present.shape
            require(got == (n,), f"expected objectness (n,) for n = {n} boxes, got shape {got}.")
            object.__setattr__(self, "objectness", present)

    @classmethod
    def of_labels(
        cls, boxes: ArrayLike, labels: ArrayLike, scores: ArrayLike, num_classes: int | None = None
    ) -> Self:
        """Detections of a detector that gives one class a box.

        Args:
            boxes: (n, 4); see the class.
            labels: (n,) whole numbers from 0.
            scores: (n,) in [0, 1], of that class.
            num_classes: C; None for as many as the labels need, as a class that is not there has
                a score of 0.

        Raises:
            InputError: see the class; or values that are no labels.
        """
        numbers = np.asarray(labels).reshape(-1)
        confidence = _floats("scores", scores).reshape(-1)
        counts = f"{len(numbers)} labels and {len(confidence)} scores"
        holds = len(numbers) == len(confidence)
        require(holds, f"expected a score for each label, got {counts}.")
        whole = np.isfinite(numbers).all() and (numbers == np.round(numbers)).all()
        require(whole, "expected labels that are whole numbers, got others.")
        limit = MOST_CLASSES if num_classes is None else num_classes
        low, high = (int(numbers.min()), int(numbers.max())) if len(numbers) else (0, 0)
        require(
            0 <= low <= high < limit or len(numbers) == 0,
            f"expected labels from 0 to {limit - 1}, got {low} to {high}. The first class is 0.",
        )
        indices = numbers.astype(np.intp)
        count = int(indices.max(initial=-1)) + 1 if num_classes is None else num_classes
        class_scores = np.zeros((len(indices), count), np.float32)
        class_scores[np.arange(len(indices)), indices] = confidence
        return cls(np.asarray(boxes, np.float32), class_scores)

    def __len__(self) -> int:
        """Number of boxes."""
        return len(self.boxes)

    def __getitem__(self, rows: NDArray[Any]) -> Detections:
        """Some of them, by indices or a mask."""
        objectness = None if self.objectness is None else self.objectness[rows]
        return Detections(self.boxes[rows], self.class_scores[rows], objectness)

    @property
    def _highest(self) -> Floats:
        """(n,) the score of the likeliest class."""
        highest: Floats = self.class_scores.max(1, initial=0)
        return highest

    @property
    def presence(self) -> Floats:
        """(n,) the objectness, or what takes its place."""
        return self._highest if self.objectness is None else self.objectness

    @property
    def confidence(self) -> Floats:
        """(n,) the score of the likeliest class, times the objectness where there is one."""
        return self._highest if self.objectness is None else self._highest * self.objectness

    @property
    def labels(self) -> NDArray[np.intp]:
        """(n,) the likeliest class."""
        if not self.class_scores.shape[1]:
            return np.zeros(0, np.intp)
        likeliest: NDArray[np.intp] = self.class_scores.argmax(1)
        return likeliest


def _floats(name: str, values: ArrayLike) -> Floats:
    try:
        return np.ascontiguousarray(values, np.float32)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"expected {name} to be an array of numbers, got: {error}.") from None


def _shares(name: str, values: ArrayLike) -> Floats:
    shares = _floats(name, values)
    low, high = (shares.min(), shares.max()) if shares.size else (0, 0)  # NaN if there is any
    require(
        low >= -ROUNDING and high <= 1 + ROUNDING,
        f"expected {name} from 0 to 1, got {low:g} to {high:g}. Put a softmax or sigmoid behind.",
    )
    return shares


def overlaps(first: NDArray[np.floating], second: NDArray[np.floating]) -> NDArray[np.float64]:
    """Intersection over union of each two boxes; 0 where neither has an area.

    Args:
        first: (K, 4) top, left, bottom, right.
        second: (n, 4) likewise.

    Returns:
        (K, n) in [0, 1].

    Example:
        >>> overlaps(np.array([[0, 0, 2, 2]]), np.array([[0, 1, 2, 3], [0, 0, 2, 2]])).round(3)
        array([[0.333, 1.   ]])
    """
    one, other = first.astype(np.float64)[:, None], second.astype(np.float64)[None]
    low, high = np.maximum(one[..., :2], other[..., :2]), np.minimum(one[..., 2:], other[..., 2:])
    shared = _area(np.maximum(high - low, 0))
    union = _area(one[..., 2:] - one[..., :2]) + _area(other[..., 2:] - other[..., :2]) - shared
    shares: NDArray[np.float64] = np.zeros_like(shared)
    np.divide(shared, union, out=shares, where=union > 0)
    return shares


def _area(sides: NDArray[np.float64]) -> NDArray[np.float64]:
    area: NDArray[np.float64] = sides[..., 0] * sides[..., 1]
    return area


def select(detections: Detections, threshold: float, overlap: float, most: int) -> Detections:
    """The detections that count, one for each object: greedy non-maximum suppression by class.

    Args:
        detections: of one image.
        threshold: the least confidence.
        overlap: the most IoU with a box of the same class and a higher confidence.
        most: how many to keep.

    Returns:
        Those kept, by falling confidence; the first given of those that tie is the first.
    """
    confidence, labels = detections.confidence, detections.labels
    left = np.argsort(-confidence, kind="stable")
    left = left[confidence[left] >= threshold]
    kept: list[int] = []
    while len(left) and len(kept) < most:
        first, left = left[0], left[1:]
        kept.append(first)
        shared = overlaps(detections.boxes[first][None], detections.boxes[left])[0]
        left = left[(labels[left] != labels[first]) | (shared <= overlap)]
    return detections[np.array(kept, np.intp)]


@dataclass(frozen=True)
class Box:
    """A box to be explained, whether it was detected or not.

    Attributes:
        top: in pixels of the image file, from 0; a fraction is one of a pixel.
        left: likewise.
        bottom: likewise, below the box: a box of one pixel has top 0 and bottom 1.
        right: likewise.
        label: name or index of its class; None for whatever is detected there.
    """

    top: float
    left: float
    bottom: float
    right: float
    label: str | int | None = None

    def __post_init__(self) -> None:
        take_fields(self, " of a box")

    @classmethod
    def parse(cls, text: str) -> Box:
        """Read 'top,left,bottom,right' or 'top,left,bottom,right:class'.

        Raises:
            InputError: another form.

        Example:
            >>> Box.parse("10,20,110,220:dog").label
            'dog'
        """
        match = BOX.fullmatch(text.strip())
        if match is None:
            raise InputError(
                f"expected a box as top,left,bottom,right[:class] in pixels, got {text!r}."
            )
        top, left, bottom, right = map(float, match.groups()[:4])
        return cls(top, left, bottom, right, match[5])


@dataclass(frozen=True, eq=False)
class TargetBoxes:
    """K boxes in one image: what the outputs of a detector stand for.

    Attributes:
        boxes: (K, 4) float32 top, left, bottom, right, in pixels of the image as it was given.
        class_scores: (K, C) float32; a row of zeros asks for no class.
        names: K of them, synonyms after commas: 'dog', or where there are several 'dog 1, dog'.
        confidences: K of them; None for a box that was not detected but given.
    """

    boxes: Floats
    class_scores: Floats
    names: tuple[str, ...]
    confidences: tuple[float | None, ...]

    def __post_init__(self) -> None:
        """Check them; see `Detections`."""
        checked = Detections(self.boxes, self.class_scores)
        object.__setattr__(self, "boxes", checked.boxes)
        object.__setattr__(self, "class_scores", checked.class_scores)
        require(
            len(checked) == len(self.names) == len(self.confidences),
            f"expected as many names and confidences as there are boxes, {len(checked)}, got "
            f"{len(self.names)} and {len(self.confidences)}.",
        )

    @classmethod
    def detected(cls, detections: Detections, class_names: Sequence[str] | None) -> TargetBoxes:
        """Those of detections in pixels of the image as it was given."""
        names = _name_boxes([int(label) for label in detections.labels], class_names)
        confidences = tuple(float(one) for one in detections.confidence)
        return cls(detections.boxes, detections.class_scores, names, confidences)

    @classmethod
    def given(cls, boxes: Sequence[Box], class_names: Sequence[str] | None) -> TargetBoxes:
        """Those that a user names.

        Raises:
            InputError: no box, or an unknown class.
        """
        require(boxes, "expected boxes to explain, got none. Leave them out for all.")
        number = None if class_names is None else len(class_names)
        lookup = ClassLookup(number or MOST_CLASSES, class_names)
        wanted = [[] if box.label is None else lookup.only(box.label) for box in boxes]
        labels = [indices[0] if indices else None for indices in wanted]
        lookup.raise_unknown(top=False)
        count = number or max([0, *(label for label in labels if label is not None)]) + 1
        class_scores = np.zeros((len(boxes), count), np.float32)
        for row, label in enumerate(labels):
            if label is not None:
                class_scores[row, label] = 1
        corners = np.array([(b.top, b.left, b.bottom, b.right) for b in boxes], np.float32)
        names = _name_boxes(labels, class_names)
        return cls(corners, class_scores, names, (None,) * len(boxes))

    def __len__(self) -> int:
        """K."""
        return len(self.boxes)

    def compare(self, detections: Detections, scale: tuple[float, float]) -> NDArray[np.float64]:
        """D-RISE's score of each of them in an image.

        Args:
            detections: in the image.
            scale: height and width of that image, as shares of those of the image as given.

        Returns:
            (K,) in [0, 1]; 0 where nothing is detected.
        """
        if not len(detections):
            return np.zeros(len(self))
        boxes = self.boxes.astype(np.float64) * np.tile(scale, 2)
        alike = overlaps(boxes, detections.boxes) * self._cosines(detections.class_scores)
        best: NDArray[np.float64] = (alike * detections.presence).max(1)
        return best

    def _cosines(self, class_scores: Floats) -> NDArray[np.float64]:
        """(K, n). A class that has no column in one of the two has a score of 0 there."""
        shared = min(self.class_scores.shape[1], class_scores.shape[1])
        products = self.class_scores[:, :shared] @ class_scores[:, :shared].T
        own = np.sqrt(np.einsum("kc,kc->k", self.class_scores, self.class_scores))
        other = np.sqrt(np.einsum("nc,nc->n", class_scores, class_scores))
        norms = own[:, None].astype(np.float64) * other[None]
        cosines: NDArray[np.float64] = np.zeros_like(norms)
        np.divide(products, norms, out=cosines, where=norms > 0)
        cosines[own == 0] = 1.0
        return np.clip(cosines, 0.0, 1.0, out=cosines)

    def digest(self) -> str:
        """A text that tells them from others."""
        digest = hashlib.sha256(repr((self.names, self.class_scores.shape)).encode())
        for array in (self.boxes, self.class_scores):
            digest.update(array.astype("<f4").tobytes())
        return digest.hexdigest()[:16]

    def describe(self) -> list[dict[str, object]]:
        """Name, corners and confidence of each, as JSON holds them."""
        return [
            {"name": name, "box": box.tolist(), "confidence": confidence}
            for name, box, confidence in zip(self.names, self.boxes, self.confidences, strict=True)
        ]

    @classmethod
    def restore(cls, described: Sequence[dict[str, Any]], class_scores: Floats) -> TargetBoxes:
        """What `describe` described.

        Raises:
            InputError: the two do not match.
            KeyError: something is missing.
        """
        return cls(
            np.array([one["box"] for one in described], np.float32),
            class_scores,
            tuple(str(one["name"]) for one in described),
            tuple(one["confidence"] for one in described),
        )


def _name_boxes(labels: Sequence[int | None], class_names: Sequence[str] | None) -> tuple[str, ...]:
    """Names by class; where several share one they are numbered, and the class is a synonym."""
    by_label = dict(enumerate(class_names or ()))
    wholes = ["box" if k is None else by_label.get(k, f"class {k}") for k in labels]
    firsts = [whole.split(",")[0].strip() for whole in wholes]
    totals, seen = Counter(firsts), Counter[str]()
    names = []
    for whole, first in zip(wholes, firsts, strict=True):
        seen[first] += 1
        names.append(f"{first} {seen[first]}, {whole}" if totals[first] > 1 else whole)
    return tuple(names)
