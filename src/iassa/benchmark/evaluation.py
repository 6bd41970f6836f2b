"""One item: a method explains one target in one image, and its maps are measured.

Insertion and deletion are measured at the size that the black box looks at, to which image and map
are resized, and so are activated pixels counted; overlap, pointing and sparsity at the size of the
image file, which is what was annotated.
"""

from __future__ import annotations

import dataclasses
import math
import time
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from iassa.benchmark.contestant import Contestant
from iassa.benchmark.store.records import Item, ItemKey, Snapshot
from iassa.errors import InputError, WeakEvidenceWarning
from iassa.explanations.explanation import Explanation
from iassa.image import decode_image, resize
from iassa.methods.engine.loop import Method
from iassa.methods.explain import explain, extend
from iassa.metrics import (
    Curve,
    Normalisation,
    best_f1,
    count_activated,
    deletion,
    gini_index,
    insertion,
    overlap_at,
    pointing_game,
)
from iassa.models.black_box import BlackBox
from iassa.models.targets import Target

__all__ = ["Protocol", "evaluate", "method_seed"]

CURVE_BATCH = 16  # images; more are no faster on a CPU


@dataclass(frozen=True)
class Protocol:
    """How maps are measured: RISE's protocol by default (Petsiuk et al., BMVC 2018, section 4.2).

    Attributes:
        size: (height, width) of insertion and deletion; None for that which the black box looks at,
            or that of the image where it takes any.
        pixels_per_step: of the curves.
        fill: what deleted pixels show, a grey in [0, 1].
        blur_size: taps of the Gaussian that insertion starts from, odd.
        blur_sigma: its standard deviation in pixels.
        normalise: the scores of the curves; see `deletion`.
        threshold: T of the region whose F1 and IoU are taken, as a share of the map's range.
        tolerance: of the tolerant pointing game, in pixels of the image file.
    """

    size: tuple[int, int] | None = None
    pixels_per_step: int = 224
    fill: float = 0.5
    blur_size: int = 11
    blur_sigma: float = 5.0
    normalise: Normalisation = "none"
    threshold: float = 0.3
    tolerance: float = 15.0

    def __post_init__(self) -> None:
        """Refuse what no map can be measured by."""
        sides = self.size or (1, 1)
        for name, holds, expected in (
            ("size", len(sides) == 2 and min(sides) >= 1, "a height and a width of 1 or more"),
            ("pixels_per_step", self.pixels_per_step >= 1, "1 or more"),
            ("fill", 0 <= self.fill <= 1, "a grey in [0, 1]"),
            ("blur_size", self.blur_size >= 1 and self.blur_size % 2 == 1, "odd and positive"),
            ("blur_sigma", self.blur_sigma > 0, "above 0 pixels"),
            ("normalise", self.normalise in get_args(Normalisation), get_args(Normalisation)),
            ("threshold", 0 <= self.threshold < 1, "a share in [0, 1)"),
            ("tolerance", 0 <= self.tolerance < math.inf, "0 pixels or more"),
        ):
            if not holds:
                got = getattr(self, name)
                raise InputError(f"expected {name} to be {expected}, got {got!r}.")

    def as_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        size = None if self.size is None else list(self.size)
        return dataclasses.asdict(self) | {"size": size}


def evaluate(
    key: ItemKey,
    content: bytes,
    target: Target,
    annotation: NDArray[np.bool_] | None,
    contestant: Contestant,
    protocol: Protocol,
    black_box: BlackBox,
) -> Item:
    """Make an item.

    Args:
        key: of the item.
        content: of the image file.
        target: what is explained.
        annotation: (H, W) bool at the size of the image file; None without.
        contestant: the method with its settings.
        protocol: how its maps are measured.
        black_box: whom to ask.

    Returns:
        The item. It is the same for the same arguments in any process, but for its times.

    Raises:
        InputError: the image cannot be read, or an argument cannot be used.
        BlackBoxError: the black box failed.
    """
    photo = decode_image(content, key.entry)
    seen = _resize(photo, protocol.size or black_box.input_size or photo.shape[:2])
    snapshots: list[Snapshot] = []
    seconds = metric_seconds = 0.0
    calls = 0
    explanation: Explanation | None = None
    moments = _explain(contestant, photo, black_box, target, method_seed(key))
    while True:
        started = time.perf_counter()
        moment = next(moments, None)
        explained = time.perf_counter()
        seconds += explained - started
        if moment is None:
            break
        budget, explanation, made = moment
        calls += made
        snapshots.append(
            _measure(budget, explanation, seen, target, annotation, protocol, black_box)
        )
        metric_seconds += time.perf_counter() - explained
    if explanation is None:
        raise InputError(f"expected a map from {key.method}, got none.")
    return Item(
        key=key,
        calls=calls,
        seconds=seconds,
        metric_seconds=metric_seconds,
        warnings=explanation.warnings,
        evidence=None if explanation.evidence is None else explanation.evidence.pack(),
        snapshots=tuple(snapshots),
    )


def method_seed(key: ItemKey) -> int:
    """The seed that a method is given: another for each entry, the same for all methods.

    With one for all images the masks of a grid would lie at the same places in all of them, and
    their luck would not average out.
    """
    sequence = np.random.SeedSequence((key.seed, zlib.crc32(key.entry.encode())))
    return int(sequence.generate_state(1)[0])


def _explain(
    contestant: Contestant,
    photo: NDArray[np.float32],
    black_box: BlackBox,
    target: Target,
    seed: int,
) -> Iterator[tuple[int | None, Explanation, int]]:
    """The explanation at each moment with its budget, and the calls made for it since the last."""
    method = contestant.method
    options: dict[str, Any] = {"target": target, "seed": seed, "keep_scores": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", WeakEvidenceWarning)  # they are in the item
        if contestant.every_round:
            made = 0
            for one in method.iterate(photo, black_box, calls=contestant.calls[-1], **options):
                yield None, one, one.calls - made
                made = one.calls
            return
        explanation: Explanation | None = None
        for budget in contestant.calls:
            made = 0
            if explanation is None or not isinstance(method, Method):
                explanation = explain(photo, black_box, method=method, calls=budget, **options)
            else:
                made = explanation.calls
                if explanation.stopped != "rounds":  # else there are no more masks to draw
                    more = budget - made
                    explanation = extend(explanation, black_box, calls=more, method=method)
            yield budget, explanation, explanation.calls - made


def _resize(photo: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """The image (H, W, 3) at the size of the curves."""
    planes = resize(torch.from_numpy(photo).permute(2, 0, 1), size)
    seen: NDArray[np.float32] = planes.permute(1, 2, 0).clamp(0, 1).numpy()
    return seen  # clamped, as the filter's rounding may leave the range


def _measure(
    budget: int | None,
    explanation: Explanation,
    seen: NDArray[np.float32],
    target: Target,
    annotation: NDArray[np.bool_] | None,
    protocol: Protocol,
    black_box: BlackBox,
) -> Snapshot:
    saliency = explanation.saliency[0]
    shrunk = resize(torch.from_numpy(saliency), (seen.shape[0], seen.shape[1])).numpy()
    curves = _curves(shrunk, seen, target, protocol, black_box)
    deleted, inserted = curves["deletion"].area, curves["insertion"].area
    metrics = {
        "deletion": deleted,
        "insertion": inserted,
        "insertion_minus_deletion": inserted - deleted,
        "sparsity": gini_index(saliency),
        "activated_pixels": float(count_activated(shrunk)),
    }
    if annotation is not None:
        overlap = overlap_at(saliency, annotation, fraction=protocol.threshold)
        pointing = pointing_game(saliency, annotation)
        best = best_f1(saliency, annotation)
        metrics |= {
            "f1": overlap.f1,
            "iou": overlap.iou,
            "precision": overlap.precision,
            "recall": overlap.recall,
            "best_f1": best.f1,
            "best_iou": best.iou,  # at the same threshold
            "pointing": float(pointing.hit),
            "pointing_tolerant": float(pointing.distance <= protocol.tolerance),
        }
    if not np.isfinite([*metrics.values()]).all():
        raise InputError(f"expected finite metrics, got {metrics}. Is the score very large?")
    return Snapshot(
        budget=budget,
        rounds=len(explanation.rounds),
        calls=explanation.calls,
        saliency=saliency,
        relative_error=explanation.relative_error,
        metrics=metrics,
        curves=curves,
    )


def _curves(
    saliency: NDArray[np.float32],
    image: NDArray[np.float32],
    target: Target,
    protocol: Protocol,
    black_box: BlackBox,
) -> dict[str, Curve]:
    """Deletion and insertion, of image and map at the size of the protocol."""
    weights = np.zeros(black_box(image[None]).shape[1])
    weights[list(target.indices)] = target.weights
    arguments: dict[str, Any] = {
        "saliency": saliency,
        "image": image,
        "black_box": black_box.call_without_copy,
        "weights": weights,
        "normalise": protocol.normalise,
        "pixels_per_step": protocol.pixels_per_step,
        "batch_size": CURVE_BATCH,
    }
    blur: dict[str, Any] = {"blur_size": protocol.blur_size, "blur_sigma": protocol.blur_sigma}
    return {
        "deletion": deletion(**arguments, baseline=protocol.fill),
        "insertion": insertion(**arguments, **blur),
    }
