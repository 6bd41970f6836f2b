"""What a run explains: in each image of a dataset some entries, each of one target."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iassa.benchmark.configuration import list_changed_images
from iassa.benchmark.datasets import CategoryTargets, Dataset, Sample
from iassa.benchmark.store.records import Entry
from iassa.benchmark.workers.tasks import Task
from iassa.decoding import UPRIGHT, Reading
from iassa.errors import ImageWarning, InputError
from iassa.image import decode_image
from iassa.models.black_box import BlackBox
from iassa.models.targets import Target, resolve_targets

HALVES = {"both": (0, 1), "even": (0,), "odd": (1,)}


@dataclass(frozen=True, eq=False)
class ScoredImage:
    """The scores of a whole image.

    Attributes:
        size: (height, width) of the image file.
        scores: (K,) float64.
        remarks: what is doubtful about how the file was read.
    """

    size: tuple[int, int]
    scores: NDArray[np.float64]
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class ScoreImage(Task):
    """Ask the black box about a whole image.

    Attributes:
        name: of the image.
        content: of its file.
        digest: of the content.
        reading: how the file is read.
    """

    name: str
    content: bytes
    digest: str
    reading: Reading = UPRIGHT

    def run(self, black_box: BlackBox) -> ScoredImage:
        """Decode the image and score it, in one call."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ImageWarning)
            photo = decode_image(self.content, self.name, self.reading)
        remarks = tuple(str(one.message).removeprefix(f"{self.name}: ") for one in caught)
        return ScoredImage(photo.shape[:2], black_box(photo[None])[0].astype(np.float64), remarks)


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
    """

    dataset: Dataset
    class_names: Sequence[str] | None
    categories: CategoryTargets | None
    wanted: str
    min_score: float | None
    half: str

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

    def entries(self, sample: Sample, whole: ScoredImage) -> list[Entry]:
        """The entries of an image, those that are left out included.

        Args:
            sample: the image.
            whole: its scores.

        Returns:
            One entry for each category that is annotated, or one without a category.
        """
        try:
            annotated = list(self.dataset.annotations(sample, whole.size))
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
        low = self.min_score is not None and score < self.min_score
        reason = f"score below the minimum of {self.min_score:g}" if low else ""
        entry = leave_out(sample, reason, whole.size, category)
        return replace(entry, target=target, score=score, annotated=annotated)


def leave_out(
    sample: Sample, reason: str, size: tuple[int, int] = (0, 0), category: str = ""
) -> Entry:
    """An entry without a target.

    Args:
        sample: the image.
        reason: why it is left out.
        size: (height, width) of the image file; (0, 0) if it cannot be decoded.
        category: that is left out; '' for the whole image.
    """
    return Entry(
        key=f"{sample.name} {category}" if category else sample.name,
        image=sample.name,
        image_index=sample.index,
        size=size,
        category=category,
        target=Target(category),
        score=0.0,
        excluded=reason,
    )
