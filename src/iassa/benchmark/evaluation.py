"""One item: a method explains one target in one image, and its maps are measured.

Insertion, deletion and activated pixels are measured at the size that the black box looks at: image
and map are resized to it. Overlap, pointing and sparsity are measured at the size of the image
file, which is that of the annotation.
"""

from __future__ import annotations

import dataclasses
import functools
import time
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray

from iassa import metrics
from iassa.benchmark.contestant import Contestant
from iassa.benchmark.store.records import Item, ItemKey, Snapshot
from iassa.benchmark.workers.tasks import Task
from iassa.checks import InputSize, Within, take_fields
from iassa.decoding import UPRIGHT, Reading
from iassa.errors import ImageWarning, InputError, WeakEvidenceWarning, require
from iassa.explanations.explanation import Explanation
from iassa.image import decode_image, resize, to_planes
from iassa.methods.engine.loop import Method
from iassa.methods.explain import explain, extend
from iassa.models.black_box import BlackBox
from iassa.models.targets import Target

CURVE_BATCH = 16  # images; more are no faster on a CPU


@dataclass(frozen=True)
class Protocol:
    """How maps are measured: RISE's protocol by default (Petsiuk et al., BMVC 2018, section 4.2).

    Attributes:
        size: (height, width) of insertion and deletion. None for the size that the black box looks
            at, or that of the image if it takes any size.
        pixels_per_step: pixels that change between two scores of a curve.
        fill: a grey in [0, 1] that replaces deleted pixels.
        blur_size: taps of the Gaussian that blurs the start image of insertion, odd.
        blur_sigma: its standard deviation in pixels.
        normalise: how the scores of the curves are normalised; see `deletion`.
        threshold: T of the region that F1 and IoU measure, as a share of the map's range.
        tolerance: of the tolerant pointing game, in pixels of the image file.
    """

    size: InputSize = None
    pixels_per_step: Annotated[int, Within(1, 10**9)] = 224
    fill: Annotated[float, Within(0, 1)] = 0.5
    blur_size: Annotated[int, Within(1, 1001)] = 11
    blur_sigma: Annotated[float, Within(0.01, 1000)] = 5.0
    normalise: metrics.Normalisation = "none"
    threshold: Annotated[float, Within(0, 1, below=True)] = 0.3
    tolerance: Annotated[float, Within(0, 10_000)] = 15.0

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        take_fields(self)
        odd = self.blur_size % 2 == 1
        require(odd, f"expected blur_size to be odd, got {self.blur_size}.")

    def at(self, size: tuple[int, int] | None) -> Protocol:
        """The same protocol, at the size that the black box looks at if it has none of its own."""
        return dataclasses.replace(self, size=self.size or size)


@dataclass(frozen=True, eq=False)
class MakeItem(Task):
    """Explain one target in one image with one method, and measure its maps.

    Attributes:
        key: of the item.
        content: of the image file.
        target: what is explained.
        annotation: (H, W) bool at the size of the image file; None if there is none.
        contestant: the method with its settings.
        protocol: how the maps are measured.
        reading: how the file is read.
    """

    key: ItemKey
    content: bytes
    target: Target
    annotation: NDArray[np.bool_] | None
    contestant: Contestant
    protocol: Protocol
    reading: Reading = UPRIGHT

    def run(self, black_box: BlackBox) -> Item:
        """Make the item: the same in any process, but for its times.

        Raises:
            InputError: the image cannot be read, or an argument cannot be used.
            BlackBoxError: the black box failed.
        """
        size = self.protocol.size or black_box.input_size
        photo, seen = _decode(self.content, self.key.entry, self.reading, size)
        snapshots: list[Snapshot] = []
        calls = 0
        seconds = metric_seconds = 0.0
        explanation: Explanation | None = None
        started = time.perf_counter()
        for budget, explanation, made in self._explain(photo, black_box):
            explained = time.perf_counter()
            snapshots.append(self._measure(budget, explanation, seen, black_box))
            calls += made
            seconds += explained - started
            started = time.perf_counter()
            metric_seconds += started - explained
        if explanation is None:
            raise InputError(f"expected a map from {self.key.method}, got none.")
        curves = [curve for snapshot in snapshots for curve in snapshot.curves.values()]
        return Item(
            key=self.key,
            calls=calls,
            metric_calls=sum(len(curve.scores) for curve in curves),
            seconds=seconds,
            metric_seconds=metric_seconds,
            warnings=explanation.warnings,
            evidence=None if explanation.evidence is None else explanation.evidence.pack(),
            snapshots=tuple(snapshots),
        )

    def _explain(
        self, photo: NDArray[np.float32], black_box: BlackBox
    ) -> Iterator[tuple[int | None, Explanation, int]]:
        """Each explanation that is measured, with its budget and the calls since the one before."""
        method, budgets = self.contestant.method, self.contestant.calls
        seed = method_seed(self.key)
        options: dict[str, Any] = {"target": self.target, "seed": seed, "keep_scores": 0}
        made = 0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", WeakEvidenceWarning)  # the item has them
            if self.contestant.every_round:
                for one in method.iterate(photo, black_box, calls=budgets[-1], **options):
                    yield None, one, one.calls - made
                    made = one.calls
                return
            explanation: Explanation | None = None
            for budget in budgets:
                if explanation is None or not isinstance(method, Method):
                    made = 0
                    explanation = explain(photo, black_box, method=method, calls=budget, **options)
                elif explanation.stopped != "rounds":  # otherwise there are no more masks
                    more = budget - made
                    explanation = extend(explanation, black_box, calls=more, method=method)
                yield budget, explanation, explanation.calls - made
                made = explanation.calls

    def _measure(
        self,
        budget: int | None,
        explanation: Explanation,
        seen: NDArray[np.float32],
        black_box: BlackBox,
    ) -> Snapshot:
        saliency = explanation.saliency[0]
        shrunk = resize(torch.from_numpy(saliency), (seen.shape[0], seen.shape[1])).numpy()
        curves = self._curves(shrunk, seen, black_box)
        deleted, inserted = curves["deletion"].area, curves["insertion"].area
        values = {
            "deletion": deleted,
            "insertion": inserted,
            "insertion_minus_deletion": inserted - deleted,
            "sparsity": metrics.gini_index(saliency),
            "activated_pixels": float(metrics.count_activated(shrunk)),
            **self._overlap(saliency),
        }
        if not np.isfinite([*values.values()]).all():
            raise InputError(f"expected finite metrics, got {values}. Is the score very large?")
        return Snapshot(
            budget=budget,
            rounds=len(explanation.rounds),
            calls=explanation.calls,
            saliency=shrunk,  # between its pixels there is interpolation only
            relative_error=explanation.relative_error,
            metrics=values,
            curves=curves,
        )

    def _overlap(self, saliency: NDArray[np.float32]) -> dict[str, float]:
        """The metrics that need an annotation, at the size of the image file."""
        if self.annotation is None:
            return {}
        overlap = metrics.overlap_at(saliency, self.annotation, fraction=self.protocol.threshold)
        pointing = metrics.pointing_game(saliency, self.annotation)
        best = metrics.best_f1(saliency, self.annotation)
        return {
            **dataclasses.asdict(overlap),
            "best_f1": best.f1,
            "best_iou": best.iou,  # at the same threshold
            "pointing": float(pointing.hit),
            "pointing_tolerant": float(pointing.distance <= self.protocol.tolerance),
        }

    def _curves(
        self, saliency: NDArray[np.float32], image: NDArray[np.float32], black_box: BlackBox
    ) -> dict[str, metrics.Curve]:
        """Deletion and insertion; image and map have the size of the protocol."""

        def score(images: NDArray[np.float32]) -> NDArray[np.float64]:
            """The score of the target alone, (N, 1)."""
            scores = black_box.call_without_copy(images).astype(np.float64)
            weights = np.zeros(scores.shape[1])
            weights[list(self.target.indices)] = self.target.weights
            return (scores @ weights)[:, None]

        protocol = self.protocol
        steps: dict[str, Any] = {
            "pixels_per_step": protocol.pixels_per_step,
            "batch_size": CURVE_BATCH,
            "normalise": protocol.normalise,
        }
        blur = {"blur_size": protocol.blur_size, "blur_sigma": protocol.blur_sigma}
        given = (saliency, image, score, [1.0])
        return {
            "deletion": metrics.deletion(*given, baseline=protocol.fill, **steps),
            "insertion": metrics.insertion(*given, **steps | blur),
        }


@functools.lru_cache(maxsize=1)  # the items of one entry come one after another
def _decode(
    content: bytes, name: str, reading: Reading, size: tuple[int, int] | None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The image (H, W, 3), and the same at the size of the curves; both for reading only."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImageWarning)  # it was said when the image was scored
        photo = decode_image(content, name, reading)
    seen = to_planes(photo, size or photo.shape[:2]).permute(1, 2, 0).numpy()
    photo.flags.writeable = seen.flags.writeable = False
    return photo, seen


def method_seed(key: ItemKey) -> int:
    """The seed of a method: another for each entry, but the same for all methods.

    With one seed for all images, the masks of a grid would lie at the same places in all of them,
    and chance would not average out.
    """
    sequence = np.random.SeedSequence((key.seed, zlib.crc32(key.entry.encode())))
    return int(sequence.generate_state(1)[0])
