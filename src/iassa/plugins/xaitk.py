"""iassa as implementations of xaitk-saliency's interfaces: classifiers, detectors, similarity.

xaitk finds them by the entry point `smqtk_plugins`, and makes them from a configuration. Maps are
divided by the largest effect of all of them, so that they lie in [-1, 1] and can be compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iassa.errors import InputError, require
from iassa.explanations.explanation import Explanation
from iassa.image import as_image
from iassa.methods.explain import explain
from iassa.methods.registry import open_method
from iassa.models.detections import Detections, TargetBoxes
from iassa.models.detector import AimedDetector, FunctionDetector
from iassa.models.opening import BlackBoxLike
from iassa.models.similarity import Similarity

try:
    from xaitk_saliency import (
        GenerateImageClassifierBlackboxSaliency,
        GenerateImageSimilarityBlackboxSaliency,
        GenerateObjectDetectorBlackboxSaliency,
    )
except ImportError:
    raise InputError(
        "iassa.plugins.xaitk needs xaitk-saliency: pip install xaitk-saliency."
    ) from None

Image = NDArray[Any]
Maps = NDArray[np.float32]


class _Configured:
    """What the three have in common: a method, and how many calls it may make."""

    def __init__(
        self,
        method: str = "iassa",
        calls: int = 1000,
        seed: int = 0,
        fields: Mapping[str, Any] | None = None,
    ) -> None:
        """Choose a method.

        Args:
            method: its name.
            calls: the most images that the black box may be asked about.
            seed: of all randomness.
            fields: hyperparameters of the method by name, such as {"baseline": "blur"}.

        Raises:
            InputError: no such method or field.
        """
        self._method, self._calls, self._seed = method, calls, seed
        self._fields = dict(fields or {})
        open_method(method, **self._fields)

    def get_config(self) -> dict[str, Any]:
        """What makes the same one again: JSON, as the fields are."""
        return {
            "method": self._method,
            "calls": self._calls,
            "seed": self._seed,
            "fields": self._fields,
        }

    def _explain(self, image: Image, black_box: BlackBoxLike, targets: int) -> Explanation:
        return explain(
            image,
            black_box,
            target=[*range(targets)],
            method=open_method(self._method, **self._fields),
            calls=self._calls,
            seed=self._seed,
        )


class IassaClassifier(_Configured, GenerateImageClassifierBlackboxSaliency):  # type: ignore[misc]
    """A map for each label of a `ClassifyImage`, in the order of its `get_labels`."""

    def _generate(self, ref_image: Image, blackbox: Any) -> Maps:
        labels = [*blackbox.get_labels()]

        def classify(images: NDArray[np.float32]) -> NDArray[np.float64]:
            rows = blackbox.classify_images(_as_given(images, ref_image))
            return np.array([[row[label] for label in labels] for row in rows], np.float64)

        return _scale(self._explain(ref_image, classify, len(labels)))


class IassaDetector(_Configured, GenerateObjectDetectorBlackboxSaliency):  # type: ignore[misc]
    """A map for each detection, of the score of D-RISE."""

    def _generate(
        self,
        ref_image: Image,
        bboxes: Image,
        scores: Image,
        blackbox: Any,
        objectness: Image | None = None,
    ) -> Maps:
        size = (ref_image.shape[0], ref_image.shape[1])
        if len(bboxes) == 0:
            return np.zeros((0, *size), np.float32)
        classes = np.asarray(scores).shape[1]

        def detect(images: NDArray[np.float32]) -> list[Detections]:
            found = blackbox.detect_objects(_as_given(images, ref_image))
            return [_read_detections(one, classes) for one in found]

        boxes = np.asarray(bboxes, np.float32)[:, [1, 0, 3, 2]]  # they have x first, we the row
        names = tuple(f"detection {k}" for k in range(len(boxes)))
        wanted = TargetBoxes(boxes, np.asarray(scores, np.float32), names, (None,) * len(boxes))
        aimed = AimedDetector(FunctionDetector(detect, name="detector"), wanted, size)
        return _scale(self._explain(ref_image, aimed, len(boxes)), objectness)


class IassaSimilarity(_Configured, GenerateImageSimilarityBlackboxSaliency):  # type: ignore[misc]
    """A map for each query, of the cosine between its features and those of the image."""

    def _generate(self, ref_image: Image, query_images: Sequence[Image], blackbox: Any) -> Maps:
        def describe(images: NDArray[np.float32]) -> NDArray[np.float64]:
            found = blackbox.generate_arrays_from_images(_as_given(images, ref_image))
            return np.array([*found], np.float64)

        queries = {f"query {k}": as_image(one) for k, one in enumerate(query_images)}
        return _scale(self._explain(ref_image, Similarity(queries, describe), len(queries)))


def _as_given(images: NDArray[np.float32], like: Image) -> Iterator[Image]:
    """Images (N, H, W, 3) in [0, 1], one after another, in the form and type of the reference."""
    require(
        like.dtype == np.uint8 or np.issubdtype(like.dtype, np.floating),
        f"expected an image of uint8 or floats, got one of {like.dtype}.",
    )
    for image in images:
        one = image[:, :, 0] if like.ndim == 2 else image[:, :, : like.shape[2]]
        one = np.rint(255 * one) if like.dtype == np.uint8 else one
        yield one.astype(like.dtype)


def _read_detections(found: Any, classes: int) -> Detections:
    """What a detector of smqtk says of one image."""
    boxes, scores = [], []
    for box, confidences in found:
        (left, top), (right, bottom) = box.min_vertex[:2], box.max_vertex[:2]
        boxes.append((top, left, bottom, right))
        scores.append([*confidences.values()])
    of_classes = np.array(scores, np.float32).reshape(-1, classes)
    return Detections(np.array(boxes, np.float32).reshape(-1, 4), of_classes)


def _scale(explanation: Explanation, weights: Image | None = None) -> Maps:
    """The maps (T, H, W) at the size of the image, times a weight each, within [-1, 1]."""
    maps = explanation.enlarge(explanation.saliency)
    if weights is not None:
        maps = maps * np.asarray(weights, np.float32)[:, None, None]
    largest = float(np.abs(maps).max())
    return maps / np.float32(largest) if largest else maps
