"""What a run explains: in each image of a dataset some entries, each of one target."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iassa.benchmark.aim import Aim
from iassa.benchmark.configuration import list_changed_images
from iassa.benchmark.datasets import Annotated, CategoryTargets, Dataset, Sample
from iassa.benchmark.store.records import Entry
from iassa.benchmark.workers.tasks import Task
from iassa.decoding import UPRIGHT, Reading
from iassa.errors import ImageWarning, InputError
from iassa.image import decode_image, to_planes
from iassa.models.black_box import BlackBox
from iassa.models.detections import Detections, TargetBoxes
from iassa.models.detector import Detector
from iassa.models.targets import Target, resolve_targets

HALVES = {"both": (0, 1), "even": (0,), "odd": (1,)}


@dataclass(frozen=True, eq=False)
class ScoredImage:
    """The scores of a whole image.

    Attributes:
        size: (height, width) of the image file.
        scores: (K,) float64; of a detector those of the boxes that it finds.
        remarks: what is doubtful about how the file was read.
        found: the boxes that a detector finds, in pixels of the image; None for another model.
    """

    size: tuple[int, int]
    scores: NDArray[np.float64]
    remarks: tuple[str, ...] = ()
    found: Detections | None = None


@dataclass(frozen=True, eq=False)
class ScoreImage(Task):
    """Ask the black box about a whole image.

    Attributes:
        name: of the image.
        content: of its file.
        digest: of the content.
        reading: how the file is read.
        aim: makes the black box to ask; None for that of the run.
    """

    name: str
    content: bytes
    digest: str
    reading: Reading = UPRIGHT
    aim: Aim | None = None

    def run(self, black_box: BlackBox) -> ScoredImage:
        """Decode the image and score it, in one call beside those of `aim`."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ImageWarning)
            photo = decode_image(self.content, self.name, self.reading)
        remarks = tuple(str(one.message).removeprefix(f"{self.name}: ") for one in caught)
        size = (photo.shape[0], photo.shape[1])
        asked = black_box if self.aim is None else self.aim.at(black_box)
        if not isinstance(asked, Detector):
            return ScoredImage(size, asked(photo[None])[0].astype(np.float64), remarks)
        planes = to_planes(photo, asked.size_for(size)).to(asked.device).contiguous()
        found, everything = asked.find(planes, size)
        boxes = TargetBoxes.detected(found, asked.class_names)
        shrunk = (planes.shape[1] / size[0], planes.shape[2] / size[1])
        return ScoredImage(size, boxes.compare(everything, shrunk), remarks, found)


@dataclass(frozen=True, eq=False)
class Selection:
    """The rule that makes entries of images.

    Attributes:
        dataset: images and annotations.
        class_names: of the outputs of the black box; None if it has none.
        categories: the outputs that stand for each category; None to explain `wanted` instead.
        wanted: one target, see `resolve_targets`.
        min_score: the score of the whole image that an entry needs; None for any.
        half: 'both', or the images at 'even' or 'odd' places of the dataset only.
        num_outputs: of the black box of an entry.
    """

    dataset: Dataset
    class_names: Sequence[str] | None
    categories: CategoryTargets | None
    wanted: str
    min_score: float | None
    half: str
    num_outputs: int

    def __post_init__(self) -> None:
        """Refuse a half that does not exist."""
        if self.half not in HALVES:
            raise InputError(f"expected half to be one of {', '.join(HALVES)}, got {self.half!r}.")

    def describe(self) -> dict[str, Any]:
        """What has to agree for two runs to explain the same entries, as JSON holds it."""
        wanted = {"wanted": self.wanted}
        return {
            "targets": wanted if self.categories is None else self.categories.describe(),
            "min_score": self.min_score,
            "half": self.half,
        }

    def samples(self) -> dict[str, Sample]:
        """The images of this half, by name."""
        samples = self.dataset.samples()
        return {each.name: each for each in samples if each.index % 2 in HALVES[self.half]}

    def list_changed_images(self, known: Collection[str]) -> str:
        """See `configuration.list_changed_images`."""
        return list_changed_images(known, [each.name for each in self.dataset.samples()], self.half)

    def annotations(self, sample: Sample, size: tuple[int, int]) -> Iterator[Annotated]:
        """What is annotated in an image, an entry each; see `Dataset.annotations`."""
        return self.dataset.annotations(sample, size)

    def aim_whole(self, sample: Sample) -> Aim | None:
        """Makes the black box that scores a whole image; None for that of the run.

        Raises:
            InputError: a file that it needs cannot be read.
        """
        del sample
        return None

    def aim(self, sample: Sample, entry: Entry) -> Aim | None:
        """Makes the black box of an entry of an image; see `aim_whole`."""
        del sample, entry
        return None

    def entries(self, sample: Sample, whole: ScoredImage) -> list[Entry]:
        """The entries of an image, those that are left out included.

        Args:
            sample: the image.
            whole: its scores.

        Returns:
            One entry for each category that is annotated, or one without a category.
        """
        try:
            annotated = list(self.annotations(sample, whole.size))
        except InputError as error:
            return [leave_out(sample, str(error), whole.size)]
        if not annotated and any(self.dataset.categories):
            return [leave_out(sample, "nothing is annotated in it", whole.size)]
        if not annotated:
            return [self._entry(sample, "", None, whole)]
        entries = []
        for each in annotated:
            reason = each.excluded or self._without_target(each.category)
            if reason:
                entries.append(leave_out(sample, reason, whole.size, each.category))
            else:
                share = float(each.annotation.mean())
                entries.append(self._entry(sample, each.category, share, whole))
        return entries

    def resolve(self, scores: NDArray[np.float64]) -> Target:
        """The target that is wanted, whatever the category.

        Args:
            scores: (K,) of the whole image.

        Raises:
            InputError: it is not one target, or a function.
        """
        targets = resolve_targets(self.wanted, scores, self.class_names)
        if len(targets) != 1 or targets[0].is_function or targets[0].offset:
            raise InputError(f"expected one sum of outputs, got {self.wanted!r}. Use top-1.")
        return targets[0]

    def _without_target(self, category: str) -> str:
        if self.categories is None or category in self.categories.targets:
            return ""
        return f"{category}: {self.categories.without[category]}"

    def _entry(
        self, sample: Sample, category: str, annotated: float | None, whole: ScoredImage
    ) -> Entry:
        if self.categories is None:
            target = self.resolve(whole.scores)
        else:
            target = self.categories.targets[category]
        score = float(whole.scores[list(target.indices)] @ np.array(target.weights))
        entry = leave_out(sample, "", whole.size, category)
        return self.scored(entry, target, score, annotated)

    def scored(self, entry: Entry, target: Target, score: float, annotated: float | None) -> Entry:
        """An entry with its target and score, left out where the score is too low."""
        low = self.min_score is not None and score < self.min_score
        reason = f"score below the minimum of {self.min_score:g}" if low else ""
        return replace(entry, target=target, score=score, annotated=annotated, excluded=reason)


def leave_out(
    sample: Sample,
    reason: str,
    size: tuple[int, int] = (0, 0),
    category: str = "",
    number: int = 0,
) -> Entry:
    """An entry without a target.

    Args:
        sample: the image.
        reason: why it is left out.
        size: (height, width) of the image file; (0, 0) if it cannot be decoded.
        category: that is left out; '' for the whole image.
        number: of the object among those of its category; 0 for all of them.
    """
    return Entry(
        key=entry_key(sample.name, category, number),
        image=sample.name,
        image_index=sample.index,
        size=size,
        category=category,
        target=Target(category),
        score=0.0,
        excluded=reason,
    )


def entry_key(image: str, category: str, number: int = 0) -> str:
    """Key of an entry: 'a.png', 'a.png dog', or of one of several objects 'a.png dog 2'."""
    return " ".join([image, *([category] if category else []), *([str(number)] if number else [])])
