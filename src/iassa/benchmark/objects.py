"""Detectors: which of the boxes that are found is of which annotated object.

As MS-COCO's measures match: the boxes take their objects by falling confidence. A box takes the
free object of its class that it overlaps most, if their IoU is a half or more. An object is one
entry; its target is the box that took it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from iassa.benchmark.aim import Aim
from iassa.benchmark.datasets import Annotated, Coco, Sample
from iassa.benchmark.selection import ScoredImage, Selection, entry_key, leave_out
from iassa.benchmark.store.records import Entry
from iassa.errors import InputError
from iassa.models.black_box import BlackBox
from iassa.models.detections import Detections, overlaps
from iassa.models.detector import Detector
from iassa.models.targets import Target

OVERLAP = 0.5  # IoU of a box and the object that it takes, at least


@dataclass(frozen=True, eq=False)
class Objects:
    """The annotated objects of an image.

    Attributes:
        boxes: (m, 4) top, left, bottom, right, in pixels of the image.
        classes: of each the labels that a box of it may have; None for any.
    """

    boxes: NDArray[np.float64]
    classes: tuple[tuple[int, ...] | None, ...]

    def match(self, found: Detections) -> list[int | None]:
        """The place in `found` of the box of each object; None for an object without one.

        Args:
            found: boxes in pixels of the image, by falling confidence.
        """
        taken: list[int | None] = [None] * len(self.classes)
        shares = overlaps(self.boxes, found.boxes)
        for place, label in enumerate(found.labels):
            free = [
                number
                for number, labels in enumerate(self.classes)
                if taken[number] is None and (labels is None or label in labels)
            ]
            best = max(free, key=lambda number: shares[number, place], default=None)
            if best is not None and shares[best, place] >= OVERLAP:
                taken[best] = place
        return taken


@dataclass(frozen=True, eq=False)
class AtObject(Aim):
    """A detector that finds one object of an image and no other.

    Attributes:
        objects: all that boxes may be of.
        number: which of them, from 0.
    """

    objects: Objects
    number: int

    def at(self, black_box: BlackBox) -> BlackBox:
        """See `Aim`. It looks for the box in the call in which the whole image is scored."""
        assert isinstance(black_box, Detector), "the selection is of one"
        return _ObjectDetector(black_box, self)


class _ObjectDetector(Detector):
    """A detector as `AtObject` describes it."""

    def __init__(self, detector: Detector, wanted: AtObject) -> None:
        self._detector, self._wanted = detector, wanted
        self.name, self.class_names = detector.name, detector.class_names
        self.input_size, self.device = detector.input_size, detector.device
        self.threshold = detector.threshold

    def identity(self) -> str:
        return self._detector.identity()

    def size_for(self, photo_size: tuple[int, int]) -> tuple[int, int]:
        return self._detector.size_for(photo_size)

    def detect(self, planes: Tensor) -> Sequence[Detections]:
        return self._detector.detect(planes)

    def find(self, image: Tensor, photo_size: tuple[int, int]) -> tuple[Detections, Detections]:
        chosen, found = super().find(image, photo_size)
        place = self._wanted.objects.match(chosen)[self._wanted.number]
        if place is None:
            raise InputError(
                f"expected {self.name} to find the object that it found before, got other boxes "
                "for the same image. Name a detector whose boxes do not depend on chance."
            )
        return chosen[np.array([place])], found


@dataclass(frozen=True, eq=False)
class ObjectSelection(Selection):
    """The rule that makes entries of the objects of a COCO file that a detector finds.

    Attributes:
        dataset: a COCO file.
        categories: the classes of each category; None to match by IoU alone.
        threshold: of the detector: the least confidence of a box.
    """

    dataset: Coco
    threshold: float

    def describe(self) -> dict[str, Any]:
        """See `Selection.describe`."""
        classes = {"kind": "any"} if self.categories is None else self.categories.describe()
        matched = {"overlap": OVERLAP, "threshold": self.threshold}
        return super().describe() | {"targets": classes | {"objects": matched}}

    def annotations(self, sample: Sample, size: tuple[int, int]) -> Iterator[Annotated]:
        """The objects of an image, each by itself."""
        return self.dataset.objects(sample, size)

    def aim(self, sample: Sample, entry: Entry) -> Aim:
        """A detector of the object of an entry; see `Selection.aim`."""
        known = self._usable(self.annotations(sample, entry.size))
        keys = [entry_key(sample.name, each.category, each.number) for each in known]
        return AtObject(self._objects(known), keys.index(entry.key))

    def entries(self, sample: Sample, whole: ScoredImage) -> list[Entry]:
        """An entry for each annotated object, those that are left out included."""
        assert whole.found is not None, "a detector scored it"
        try:
            annotated = list(self.annotations(sample, whole.size))
        except InputError as error:
            return [leave_out(sample, str(error), whole.size)]
        if not annotated:
            return [leave_out(sample, "nothing is annotated in it", whole.size)]
        known = self._usable(annotated)
        places = self._objects(known).match(whole.found)
        found = {id(each): place for each, place in zip(known, places, strict=True)}
        entries = []
        for each in annotated:
            place = found.get(id(each))
            reason = each.excluded or self._without_target(each.category)
            if not reason and place is None:
                reason = self._unmatched(whole.found)
            entry = leave_out(sample, reason, whole.size, each.category, each.number)
            if place is not None:
                target = Target(each.category, (0,), (1.0,))  # of the detector of this object alone
                share = float(each.annotation.mean())
                entry = self.scored(entry, target, float(whole.scores[place]), share)
            entries.append(entry)
        return entries

    def _usable(self, annotated: Iterator[Annotated] | list[Annotated]) -> list[Annotated]:
        """The objects that a box may be of."""
        return [
            each
            for each in annotated
            if not each.excluded and not self._without_target(each.category)
        ]

    def _objects(self, known: Sequence[Annotated]) -> Objects:
        boxes = np.array([each.box for each in known], np.float64).reshape(-1, 4)
        targets = None if self.categories is None else self.categories.targets
        classes = (None if targets is None else targets[each.category].indices for each in known)
        return Objects(boxes, tuple(classes))

    def _unmatched(self, found: Detections) -> str:
        if not len(found):
            return f"nothing is detected in its image with a confidence of {self.threshold:g}"
        return f"no box of its class overlaps it by an IoU of {OVERLAP:g} or more"
