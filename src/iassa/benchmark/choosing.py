"""Which rule makes the entries of a run: by the dataset, and by the kind of its black box."""

from __future__ import annotations

import numpy as np

from iassa.benchmark.datasets import (
    CategoryTargets,
    Coco,
    Dataset,
    ImagePairs,
    category_targets,
)
from iassa.benchmark.objects import ObjectSelection
from iassa.benchmark.pairs import PairSelection
from iassa.benchmark.selection import Selection
from iassa.errors import InputError, require
from iassa.models.black_box import BlackBox
from iassa.models.detections import MOST_CLASSES
from iassa.models.detector import AimedDetector, Detector

GREY_SIZE = (224, 224)  # of a grey image, to ask a black box how many outputs it has


def choose_selection(
    dataset: Dataset,
    black_box: BlackBox,
    classes: str,
    target: str | None,
    min_score: float | None,
    half: str,
) -> Selection:
    """The rule that makes entries of images.

    Args:
        dataset: images and annotations.
        black_box: of the run.
        classes: which outputs stand for a category; see `category_targets`.
        target: one target for all images; None for the classes of the category, or 'top-1'.
        min_score: see `Selection`.
        half: likewise.

    Raises:
        InputError: these do not go together, or a target or category is unknown.
    """
    same = (min_score, half)
    if isinstance(dataset, ImagePairs):
        _check_pairs(black_box, classes, target)
        return PairSelection(dataset, None, None, "similarity", *same, num_outputs=1)
    if isinstance(black_box, Detector):
        return _choose_objects(dataset, black_box, classes, target, *same)
    num_outputs = _count_outputs(black_box)
    names, categories = black_box.class_names, None
    if dataset.targets is not None:
        require(
            target is None,
            f"expected no target with {dataset.kind}, whose images have their own, got {target!r}. "
            "Leave it out.",
        )
        categories = CategoryTargets(dataset.kind, dataset.targets, {})
    elif target is None and any(dataset.categories):
        categories = category_targets(dataset.categories, names, num_outputs, classes)
    selection = Selection(dataset, names, categories, target or "top-1", *same, num_outputs)
    selection.resolve(np.zeros(num_outputs))  # finds a mistake before the run is stored
    return selection


def _check_pairs(black_box: BlackBox, classes: str, target: str | None) -> None:
    require(
        not isinstance(black_box, Detector | AimedDetector),
        f"expected a model of feature vectors for pairs of images, got the detector "
        f"{black_box.name}. Name another, or give a COCO file.",
    )
    require(
        target is None and classes == "auto",
        f"expected pairs of images without a target and classes, got {target or classes!r}. Leave "
        "it out: the similarity to the query is explained.",
    )


def _choose_objects(
    dataset: Dataset,
    detector: Detector,
    classes: str,
    target: str | None,
    min_score: float | None,
    half: str,
) -> ObjectSelection:
    if not isinstance(dataset, Coco):
        raise InputError(
            f"expected a COCO file with the detector {detector.name}, got {dataset.kind}: its "
            "boxes are matched to the objects of the file. Say `iassa benchmark coco`."
        )
    require(
        target is None,
        f"expected no target with the detector {detector.name}, got {target!r}. Leave it out: each "
        "object that it finds is explained.",
    )
    names, categories = detector.class_names, None
    if names is not None or classes != "auto":
        number = MOST_CLASSES if names is None else len(names)
        kind = "same" if classes == "auto" else classes
        categories = category_targets(dataset.categories, names, number, kind)
    return ObjectSelection(
        *(dataset, names, categories, "box", min_score, half),
        num_outputs=1,
        threshold=detector.threshold,
    )


def _count_outputs(black_box: BlackBox) -> int:
    if black_box.class_names is not None:
        return len(black_box.class_names)
    size = black_box.input_size or GREY_SIZE
    return int(black_box(np.full((1, *size, 3), 0.5, np.float32)).shape[1])
