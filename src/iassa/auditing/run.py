"""An audit: all images of a folder, into a folder that a kill cannot harm."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iassa.auditing.folder import AuditFolder
from iassa.auditing.report import Audit
from iassa.auditing.subjects import AuditTasks, Subjects, open_subjects
from iassa.benchmark.datasets import category_targets
from iassa.benchmark.workers.local import NumWorkers
from iassa.checks import take_fields, taking
from iassa.decoding import ImageFile, Reading
from iassa.errors import ImageWarning, warn
from iassa.explanations.explanation import Explanation
from iassa.explanations.pictures import Pictures
from iassa.files import check_apart, user_path
from iassa.gallery.entry import Entry
from iassa.gallery.explaining import Asking
from iassa.gallery.making import Watching, make_gallery
from iassa.gallery.photos import Photo
from iassa.gallery.pool import open_pool
from iassa.image import as_image
from iassa.methods.engine.base import Explainer
from iassa.methods.engine.budget import Budget, Calls
from iassa.methods.engine.case import check_numbers
from iassa.methods.engine.conclusion import versions
from iassa.methods.engine.replacing import find_difference
from iassa.methods.explain import explain
from iassa.methods.registry import open_method
from iassa.models.black_box import BlackBox
from iassa.models.identity import digest_arrays
from iassa.models.opening import BlackBoxLike, open_model

CALLS = 200  # for the map of an image


def _show(photo: Photo, result: Entry | str) -> None:
    del photo, result


def _remark(photo: Photo, text: str) -> None:
    warn(f"{photo.name}: {text}", ImageWarning)


def _never() -> bool:
    return False


def _warn(text: str) -> None:
    warn(text, UserWarning)


@dataclass(frozen=True)
class Following:
    """Whom an audit tells of its progress; see `iassa.gallery.making.Watching`.

    Attributes:
        show: called with each image that is done or that failed, and with its entry or the error.
        remark: called with an image and a warning about it; it warns.
        warn: called with each other warning, once; it warns.
        cancel: called before every image and after every batch. True ends the audit; the same call
            goes on.
    """

    show: Callable[[Photo, Entry | str], object] = _show
    remark: Callable[[Photo, str], object] = _remark
    warn: Callable[[str], object] = _warn
    cancel: Callable[[], bool] = _never

    def __post_init__(self) -> None:
        """Refuse what is no function."""
        take_fields(self)


@taking(
    *("classes", "target", "calls", "seed", "batch_size", "workers", "ray"),
    *("reading", "pictures", "overwrite", "following", "opened"),
)
def audit(
    images: str | Path,
    run: str | Path,
    model: BlackBoxLike = "efficientnet-lite0",
    *,
    masks: str | Path | None = None,
    annotations: str | Path | None = None,
    classes: str = "auto",
    target: str | int = "top-1",
    method: str | Explainer = "iassa",
    calls: Calls = CALLS,
    seed: int = 0,
    batch_size: int | None = None,
    device: str | None = None,
    workers: NumWorkers = 1,
    ray: str | None = None,
    reading: Reading | None = None,
    pictures: Pictures = "all",
    overwrite: bool = False,
    following: Following | None = None,
    opened: BlackBox | None = None,
) -> Audit:
    """Find the images of a folder that a model judges by the wrong thing.

    The same call goes on where it was stopped. Images that are done are not asked about again.

    Args:
        images: the folder of the images; see `iassa.gallery.photos.find_photos`.
        run: the folder of the audit, apart from the images and the masks. Its `index.html` is the
            page to look at.
        model: see `iassa.open_model`.
        masks: folder of a PNG for each image, not 0 where the object is; see
            `iassa.benchmark.datasets.MaskFolder`. The class of an image is the name of its folder.
        annotations: file in COCO's instances format, in the place of masks. Of several categories
            in an image the one counts that the model names; where it names none, the largest.
        classes: which outputs of the model stand for a class; see
            `iassa.benchmark.datasets.category_targets`.
        target: what to explain in every image: one target, as in `iassa.explain`.
        method: likewise.
        calls: for each map; to hide the object takes two calls more, for each fill of the method.
        seed: of all randomness. Each image has a seed of its own, made of this and of its name.
        batch_size: the most images at a time.
        device: see `iassa.open_model`.
        workers: processes on this machine; one is this process.
        ray: address of a Ray cluster, in their place.
        reading: how the files are read: by default as they are stored with masks or annotations,
            upright as their EXIF orientation says without.
        pictures: which to draw of each image; see `iassa.Explanation.draw`.
        overwrite: whether an audit of other settings in the folder may be replaced.
        following: is told of the progress, and may end it.
        opened: the model as it was opened in this process; None opens it here.

    Returns:
        What was found.

    Raises:
        InputError: a folder without images, a folder of another audit, or another argument that
            cannot be used. What is wrong with one image is in `failures`.
    """
    told = Following() if following is None else following
    explainer = open_method(method)
    explainer.check_budget(Budget(calls, None, None, None))
    check_numbers(1, seed, batch_size)
    folder = user_path(run, "the folder of the audit")
    named = user_path(images, "the folder of images")
    marked = None if masks is None else user_path(masks, "the folder of masks")
    outlined = None if annotations is None else user_path(annotations, "the file of annotations")
    subjects = open_subjects(named, marked, outlined, reading, classes)
    others = {"the images": named} | ({} if marked is None else {"the masks": marked})
    check_apart(folder, "an audit", others)
    black_box = open_model(model, device) if opened is None else opened
    names = black_box.class_names
    if names is not None and classes != "auto":  # before a call is spent
        category_targets(subjects.categories, names, len(names), classes)
    options: dict[str, Any] = {"target": target, "calls": calls, "keep_scores": 10}
    ask = functools.partial(explain, method=explainer, batch_size=batch_size, **options)
    asking = Asking(ask, subjects.reading, pictures)
    settings = {"method": explainer.as_dict(), **options, "seed": seed, "pictures": pictures}
    with (
        AuditFolder(
            folder,
            _configure(black_box, subjects, settings),
            subjects,
            names,
            overwrite=overwrite,
        ) as made,
        open_pool(workers, ray, model, black_box, told.cancel) as pool,
    ):
        make_gallery(
            made,
            subjects.photos.photos,
            AuditTasks(subjects, asking, explainer.baseline, seed),
            pool,
            Watching(told.show, told.remark, told.warn, told.cancel),
            _Differing(black_box, explainer, target, subjects.reading),
        )
    return made.result


def _configure(
    black_box: BlackBox, subjects: Subjects, settings: Mapping[str, Any]
) -> dict[str, Any]:
    known = {"name": black_box.name, "identity": black_box.identity()}
    read = {"masks": subjects.kind, **subjects.reading.describe()}
    return {"iassa": versions()["iassa"], "model": known, "audit": read, **settings}


@dataclass(frozen=True, eq=False)
class _Differing:
    """In what a saved explanation differs from the one that is wanted; see `find_difference`."""

    black_box: BlackBox
    method: Explainer
    target: str | int
    reading: Reading

    def __call__(self, photo: Photo, there: Explanation) -> str:
        digest = digest_arrays([as_image(ImageFile(str(photo.path), self.reading))])
        wanted = (self.black_box.identity(), self.method.as_dict(), self.target)
        return find_difference(there, digest, *wanted)
