"""What an audit found: its images, worst first, its classes, and what the maps of a class share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import t as student

from iassa.auditing.finding import Finding
from iassa.auditing.off_object import LEVEL, OffObject
from iassa.auditing.places import CELLS, SharedPlace, find_shared_places
from iassa.auditing.subjects import Subjects
from iassa.benchmark.datasets import category_targets
from iassa.errors import InputError
from iassa.gallery.entry import Entry
from iassa.gallery.photos import Photo

OF_BOXES = "the model finds boxes, and the answer is the class of one"


@dataclass(frozen=True, kw_only=True)
class AuditedImage:
    """An image of an audit.

    Attributes:
        name: of its file, relative to the folder of images.
        folder: of its result, relative to that of the audit.
        category: that it is of: whose objects its mask shows, or the name of its folder; the answer
            where there is neither.
        labels: all classes that it is said to be of: its folder's name, or what is annotated.
        answer: what the model says, its highest output.
        right: whether the answer stands for one of the labels; None where that is not known.
        target: what the map explains.
        score: of the target for the whole image.
        off: the share of positive saliency off the object; None without a mask.
        without_object: score with the object hidden; None without a mask.
        without_background: score with all else hidden; None without a mask.
        border: share of positive saliency at the border, see `iassa.metrics.border_share`.
        excluded: why it has no mask; '' where it has one, or none was asked for.
        calls: made for it.
        warnings: how many its map has, as of a score that is the same whatever is hidden; they are
            on its page.
    """

    name: str
    folder: str
    category: str
    labels: tuple[str, ...]
    answer: str
    right: bool | None
    target: str
    score: float
    off: OffObject | None
    without_object: float | None
    without_background: float | None
    border: float
    excluded: str
    calls: int
    warnings: int

    @property
    def kept(self) -> float | None:
        """The share of the score that is left with the object hidden; None where there is none."""
        if self.without_object is None or self.score <= 0:
            return None
        return self.without_object / self.score


@dataclass(frozen=True, kw_only=True)
class ClassSummary:
    """The images of a class.

    Attributes:
        category: the class.
        images: how many.
        right: those with a right answer.
        known: those of which that is known.
        masked: those with a mask.
        off: mean share of positive saliency off the object; None without a mask.
        interval: of that mean, 95 %, over images like these; None where there is one share alone,
            in one image or in all.
        border: mean share at the border.
    """

    category: str
    images: int
    right: int
    known: int
    masked: int
    off: float | None
    interval: tuple[float, float] | None
    border: float


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What an audit found.

    Attributes:
        run: its folder.
        images: worst first: by the lower end of the interval of what is off the object; those
            without a mask after them, by what is at the border.
        classes: by name.
        shared: places that the maps of a class share; their `images` are places in `images`.
        failures: why images could not be audited, by name.
        left: images that are not audited yet.
        unlabelled: why it is not known which answers are right; '' where it is, or nothing is said.
    """

    run: Path
    images: tuple[AuditedImage, ...]
    classes: tuple[ClassSummary, ...]
    shared: tuple[SharedPlace, ...]
    failures: Mapping[str, str]
    left: int
    unlabelled: str

    @property
    def page(self) -> Path:
        """The page to look at."""
        return self.run / "index.html"

    @property
    def calls(self) -> int:
        """That were made for all images."""
        return sum(one.calls for one in self.images)

    @property
    def without_mask(self) -> tuple[str, ...]:
        """Names of images that have no mask, where others have one."""
        return tuple(one.name for one in self.images if one.excluded)


def report(
    run: Path,
    subjects: Subjects,
    class_names: Sequence[str] | None,
    entries: Mapping[Photo, Entry],
    failures: Mapping[Photo, str],
) -> Audit:
    """What was found out of the images that are done.

    Args:
        run: folder of the audit.
        subjects: what is in the images.
        class_names: of the model.
        entries: of images that are done.
        failures: why others could not be audited.

    Raises:
        InputError: the classes that were named do not fit, see `category_targets`.
    """
    photos = [photo for photo in subjects.photos.photos if photo in entries]
    findings = {photo: Finding.of(entries[photo].facts) for photo in photos}
    known = {photo: finding for photo, finding in findings.items() if finding is not None}
    standing, unlabelled = _outputs_of(subjects, class_names, [*known.values()])
    images = [
        _describe(photo, entries[photo], finding, subjects.labels(photo), standing)
        for photo, finding in known.items()
    ]
    places = [finding.places for finding in known.values()]
    order = sorted(range(len(images)), key=lambda k: _badness(images[k]), reverse=True)
    ranked = tuple(images[k] for k in order)
    ordered = np.reshape([places[k] for k in order], (-1, CELLS, CELLS))
    return Audit(
        run=run,
        images=ranked,
        classes=_summarise(ranked),
        shared=find_shared_places(ordered, [one.category for one in ranked]),
        failures={photo.name: text for photo, text in failures.items()},
        left=len(subjects.photos.photos) - len(known) - len(failures),
        unlabelled=unlabelled,
    )


def _outputs_of(
    subjects: Subjects, class_names: Sequence[str] | None, findings: Sequence[Finding]
) -> tuple[Mapping[str, tuple[int, ...]], str]:
    """The outputs that stand for each label, and why that is not known."""
    if not findings or not any(subjects.categories):
        return {}, ""
    first = findings[0]
    if first.output is None:
        return {}, OF_BOXES
    wanted = (subjects.categories, class_names, first.outputs)
    try:
        found = category_targets(*wanted, subjects.classes)
    except InputError as error:
        if subjects.classes != "auto":
            raise
        return {}, str(error)
    return {label: target.indices for label, target in found.targets.items()}, ""


def _describe(
    photo: Photo,
    entry: Entry,
    finding: Finding,
    labels: tuple[str, ...],
    standing: Mapping[str, tuple[int, ...]],
) -> AuditedImage:
    outputs = [index for label in labels for index in standing.get(label, ())]
    return AuditedImage(
        name=photo.name,
        folder=photo.folder,
        category=finding.category or next(iter(labels), finding.answer),
        labels=labels,
        answer=finding.answer,
        right=finding.output in outputs if outputs else None,
        target=entry.target,
        score=entry.score,
        off=finding.off_object,
        without_object=finding.without_object,
        without_background=finding.without_background,
        border=finding.border,
        excluded=finding.excluded,
        calls=finding.calls,
        warnings=entry.warnings,
    )


def _badness(image: AuditedImage) -> tuple[bool, float, float]:
    if image.off is None:
        return False, image.border, image.border
    return True, image.off.least, image.off.share


def _summarise(images: Sequence[AuditedImage]) -> tuple[ClassSummary, ...]:
    summaries = []
    for category in sorted({one.category for one in images}):
        own = [one for one in images if one.category == category]
        shares = [one.off.share for one in own if one.off is not None]
        summaries.append(
            ClassSummary(
                category=category,
                images=len(own),
                right=sum(one.right is True for one in own),
                known=sum(one.right is not None for one in own),
                masked=len(shares),
                off=float(np.mean(shares)) if shares else None,
                interval=_interval(shares),
                border=float(np.mean([one.border for one in own])),
            )
        )
    return tuple(summaries)


def _interval(shares: Sequence[float]) -> tuple[float, float] | None:
    """Of the mean of shares."""
    if len({*shares}) < 2:
        return None
    error = np.std(shares, ddof=1) / np.sqrt(len(shares))
    reach = float(error * student.ppf((1 + LEVEL) / 2, len(shares) - 1))
    mean = float(np.mean(shares))
    return max(mean - reach, 0.0), min(mean + reach, 1.0)
