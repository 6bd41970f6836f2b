"""What is in the images of an audit: their masks, and the classes that they are said to be of."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path, PurePosixPath

import numpy as np

from iassa.auditing.finding import AuditPhoto, Subject
from iassa.benchmark.datasets import Coco, Dataset, MaskFolder, Sample, check_classes
from iassa.benchmark.evaluation import method_seed
from iassa.benchmark.store.records import ItemKey
from iassa.decoding import STORED, UPRIGHT, Reading, measure_picture, open_picture
from iassa.errors import require
from iassa.gallery.explaining import Asking
from iassa.gallery.photos import Photo, Photos, find_photos
from iassa.masks.baselines import BaselineLike


@dataclass(frozen=True, eq=False)
class Subjects:
    """The images of an audit, and what is in them.

    Attributes:
        photos: the images.
        dataset: of the masks; None without any.
        samples: of the dataset, by name.
        reading: how the files are read.
        classes: which outputs stand for the categories, see `category_targets`.
    """

    photos: Photos
    dataset: Dataset | None
    samples: Mapping[str, Sample]
    reading: Reading
    classes: str

    @property
    def kind(self) -> str | None:
        """What the masks are, 'masks' or 'coco'; None without any."""
        return None if self.dataset is None else self.dataset.kind

    @cached_property
    def categories(self) -> tuple[str, ...]:
        """All categories, in the dataset's order."""
        if isinstance(self.dataset, Coco):
            return self.dataset.categories
        return tuple(sorted({label for one in self.photos.photos for label in self.labels(one)}))

    def labels(self, photo: Photo) -> tuple[str, ...]:
        """The classes that an image is said to be of: its folder's name, or what is annotated."""
        if isinstance(self.dataset, Coco):
            sample = self.samples.get(photo.name)
            return () if sample is None else sample.categories
        folder = PurePosixPath(photo.name).parent.name
        return (folder,) if folder else ()

    def look(self, photo: Photo, content: bytes) -> Subject:
        """What is in an image, from the content of its file.

        Raises:
            InputError: it cannot be read, or its mask does not fit.
        """
        if self.dataset is None:
            return Subject(masks={})
        sample = self.samples.get(photo.name)
        if sample is None:
            return Subject(masks={}, excluded="the annotations do not name it")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # whoever decodes it will warn
            size = open_picture(content, str(photo.path), self.reading, measure_picture)
        found = [*self.dataset.annotations(sample, size)]
        masks = {one.category: one.annotation for one in found if not one.excluded}
        reasons = [one.excluded for one in found] or ["nothing is annotated in it"]
        return Subject(
            masks=masks,
            excluded="" if masks else reasons[0],
            categories=self.categories if len(masks) > 1 else (),
            classes=self.classes,
        )


@dataclass(frozen=True, eq=False)
class AuditTasks:
    """Makes the task of each image.

    Attributes:
        subjects: what is in the images.
        asking: how they are explained.
        fills: what hidden pixels show.
        seed: of the audit. Each image has its own, so that the errors of two maps are not alike.
    """

    subjects: Subjects
    asking: Asking
    fills: BaselineLike
    seed: int

    @property
    def reading(self) -> Reading:
        """How the files are read."""
        return self.asking.reading

    def task(self, photo: Photo, content: bytes) -> AuditPhoto:
        """See `iassa.gallery.making.Tasks`."""
        subject = self.subjects.look(photo, content)
        seed = method_seed(ItemKey(photo.name, "", self.seed))
        asking = dataclasses.replace(self.asking, ask=partial(self.asking.ask, seed=seed))
        return AuditPhoto(photo, content, _digest(content, subject), asking, subject, self.fills)


def open_subjects(
    images: Path,
    masks: Path | None,
    annotations: Path | None,
    reading: Reading | None,
    classes: str,
) -> Subjects:
    """The images of a folder, with masks, with outlines in COCO's format, or without any.

    Args:
        images: the folder.
        masks: see `MaskFolder`.
        annotations: see `Coco`.
        reading: how the files are read; None for as they are stored with masks or outlines, and
            upright without.
        classes: see `category_targets`.

    Raises:
        InputError: both; classes other than 'auto' for images of none; or see `find_photos`,
            `MaskFolder`, `Coco` and `check_classes`.
    """
    require(
        masks is None or annotations is None,
        "expected --masks or --annotations, got both. Leave one out.",
    )
    require(images.is_dir(), f"expected a folder of images, got {images}. Name a folder.")
    photos = find_photos([images])
    dataset: Dataset | None = None
    reading = reading or (UPRIGHT if masks is None and annotations is None else STORED)
    if masks is not None:
        dataset = MaskFolder(images, masks, reading)
    elif annotations is not None:
        dataset = Coco(images, annotations, reading)
    samples = {} if dataset is None else {one.name: one for one in dataset.samples()}
    subjects = Subjects(photos, dataset, samples, reading, classes)
    require(
        classes == "auto" or any(subjects.categories),
        "expected images in folders named by their classes, or annotations, for --classes "
        f"{classes}, got neither. Sort the images into folders, or leave --classes out.",
    )
    check_classes(subjects.categories, classes)
    return subjects


def _digest(content: bytes, subject: Subject) -> str:
    """SHA-256 of the image file and of what is in it."""
    digest = hashlib.sha256(content)
    for category, mask in subject.masks.items():
        digest.update(json.dumps([category, mask.shape]).encode())
        digest.update(np.packbits(mask).tobytes())
    if len(subject.masks) > 1:  # the classes say which of them counts
        digest.update(json.dumps([subject.categories, subject.classes]).encode())
    return digest.hexdigest()
