"""One item: a method explains one target in one image, and its maps are measured.

All curves and activated pixels are measured at the size that the black box looks at: image
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
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from iassa import metrics
from iassa.benchmark.aim import Aim
from iassa.benchmark.contestant import Contestant
from iassa.benchmark.curves import ask_curves, summarise
from iassa.benchmark.protocol import Protocol
from iassa.benchmark.store.records import Item, ItemKey, Snapshot
from iassa.benchmark.workers.tasks import Task
from iassa.decoding import UPRIGHT, Reading
from iassa.errors import BlackBoxError, ImageWarning, InputError, WeakEvidenceWarning
from iassa.explanations.explanation import Explanation
from iassa.image import decode_image, resize, to_planes
from iassa.methods.engine.loop import Method
from iassa.methods.explain import aim_again, explain, extend, retarget
from iassa.metrics.similarity import WINDOW
from iassa.models.black_box import BlackBox
from iassa.models.targets import Target


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
        right: (H, W) float32, the right map, at the same size; None where it is not known.
        aim: makes the black box of the entry; None for that of the run.
        other: an output whose map each map is compared with; None for none.
    """

    key: ItemKey
    content: bytes
    target: Target
    annotation: NDArray[np.bool_] | None
    contestant: Contestant
    protocol: Protocol
    reading: Reading = UPRIGHT
    right: NDArray[np.float32] | None = None
    aim: Aim | None = None
    other: int | None = None

    def run(self, black_box: BlackBox) -> Item:
        """Make the item: the same in any process, but for its times.

        Raises:
            InputError: the image cannot be read, or an argument cannot be used.
            BlackBoxError: the black box failed.
        """
        photo = _decode(self.content, self.key.entry, self.reading)
        if self.aim is not None:
            black_box = self.aim.at(black_box)
        size = self.protocol.size or black_box.size_for((photo.shape[0], photo.shape[1]))
        seen = to_planes(photo.copy(), size).permute(1, 2, 0).numpy()
        snapshots: list[Snapshot] = []
        calls = 0
        seconds = metric_seconds = 0.0
        explanation: Explanation | None = None
        again = self._explain(photo, black_box, repeat=1)
        repeated = 0
        started = time.perf_counter()
        for budget, explanation, made in self._explain(photo, black_box):
            explained = time.perf_counter()
            repeat = next(again, None) if self._is_repeated(explanation) else None
            other = None if repeat is None else repeat[1]
            repeated += 0 if repeat is None else repeat[2]
            asked = aim_again(black_box, explanation)
            snapshots.append(self._measure(budget, explanation, other, seen, asked))
            calls += made
            seconds += explained - started
            started = time.perf_counter()
            metric_seconds += started - explained
        if explanation is None:
            raise InputError(f"expected a map from {self.key.method}, got none.")
        curves = [curve for snapshot in snapshots for curve in snapshot.curves.values()]
        return Item(
            key=self.key,
            calls=calls + (0 if self.aim is None else self.aim.calls),
            metric_calls=repeated + sum(len(curve.scores) for curve in curves),
            seconds=seconds,
            metric_seconds=metric_seconds,
            warnings=explanation.warnings,
            evidence=None if explanation.evidence is None else explanation.evidence.pack(),
            snapshots=tuple(snapshots),
        )

    def _is_repeated(self, explanation: Explanation) -> bool:
        """Whether another seed tests the error bars: where the right map is known, and they are."""
        return self.right is not None and bool(np.isfinite(explanation.standard_error).any())

    def _explain(
        self, photo: NDArray[np.float32], black_box: BlackBox, repeat: int = 0
    ) -> Iterator[tuple[int | None, Explanation, int]]:
        """Each explanation that is measured, with its budget and the calls since the one before."""
        method, budgets = self.contestant.method, self.contestant.calls
        seed = method_seed(self.key, repeat)
        kept = () if self.other is None or not self.protocol.other_class else (self.other,)
        options: dict[str, Any] = {"target": self.target, "seed": seed, "keep_scores": kept}
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
                # With few calls a method may have run with other settings, which its record tells.
                same = explanation is not None and explanation.method == method.as_dict()
                if explanation is None or not isinstance(method, Method) or not same:
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
        other: Explanation | None,
        seen: NDArray[np.float32],
        black_box: BlackBox,
    ) -> Snapshot:
        found = explanation.saliency[0]
        shrunk = resize(torch.from_numpy(found), (seen.shape[0], seen.shape[1])).numpy()
        saliency = explanation.enlarge(found)
        curves = ask_curves(shrunk, seen, black_box, self.target, self.protocol)
        values = {
            **summarise(curves),
            "sparsity": metrics.gini_index(saliency),
            "activated_pixels": float(metrics.count_activated(shrunk)),
            **self._overlap(saliency),
            **self._compare_with_right(explanation, other),
            **self._compare_with_other_class(explanation),
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
            "average_precision": metrics.average_precision(saliency, self.annotation),
            "relevance_mass": metrics.relevance_mass(saliency, self.annotation),
            "relevance_rank": metrics.relevance_rank_accuracy(saliency, self.annotation),
            "best_f1": best.f1,
            "best_iou": best.iou,  # at the same threshold
            "pointing": float(pointing.hit),
            "pointing_tolerant": float(pointing.distance <= self.protocol.tolerance),
        }

    def _compare_with_right(
        self, explanation: Explanation, other: Explanation | None
    ) -> dict[str, float]:
        """The metrics that need the right map, at the size of the image file.

        A mean score has no sign to be right or wrong. `other` is the map of another seed.
        """
        if self.right is None:
            return {}
        saliency = explanation.saliency[0]
        found = {"right_order": metrics.right_order(saliency, self.right)}
        if explanation.method["measures"] == "effect":
            found["right_signs"] = metrics.right_signs(saliency, self.right)
        if other is not None:
            errors = (explanation.standard_error[0], other.standard_error[0])
            covered = metrics.error_coverage(saliency, other.saliency[0], *errors)
            found |= {} if np.isnan(covered) else {"error_coverage": covered}
        return found

    def _compare_with_other_class(self, explanation: Explanation) -> dict[str, float]:
        """How like the map is to that of another class, which the same masks give without a call.

        Nothing where that is not known: without evidence, or where no map can show the scores of
        the other class. Nothing after every round either, as each map is made of all rounds again.
        """
        evidence, method = explanation.evidence, self.contestant.method
        if evidence is None or self.other not in evidence.outputs or self.contestant.every_round:
            return {}
        assert isinstance(method, Method), "no other has evidence"
        # With few calls it may have run with other settings, which its record tells.
        same = explanation.method == method.as_dict()
        drawn_by = method if same else {"baseline": method.baseline}
        try:
            saliency = retarget(explanation, self.other, method=drawn_by).saliency[0]
        except BlackBoxError:  # scores that are too small or too large for a map
            return {}
        if min(saliency.shape) < WINDOW or np.ptp(saliency) == 0:
            return {}
        found = metrics.random_logit(explanation.saliency[0], saliency)
        return {f"other_class_{name}": value for name, value in dataclasses.asdict(found).items()}


@functools.lru_cache(maxsize=1)  # the items of one entry come one after another
def _decode(content: bytes, name: str, reading: Reading) -> NDArray[np.float32]:
    """The image (H, W, 3), for reading only."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImageWarning)  # it was said when the image was scored
        photo = decode_image(content, name, reading)
    photo.flags.writeable = False
    return photo


def method_seed(key: ItemKey, repeat: int = 0) -> int:
    """The seed of a method: another for each entry and repeat, but the same for all methods.

    With one seed for all images, the masks of a grid would lie at the same places in all of them,
    and chance would not average out.
    """
    sequence = np.random.SeedSequence((key.seed, zlib.crc32(key.entry.encode())))
    return int(sequence.generate_state(1 + repeat)[repeat])


def other_output(key: ItemKey, target: Target, num_outputs: int) -> int | None:
    """Another class to compare maps with: an output that the target is not of.

    Drawn at random, as Sixt et al. (2020) do, by entry and seed: it is the same for all methods.
    The highest other class would often be a kin of the target, whose map is rightly alike.

    Args:
        key: of the item.
        target: what it explains.
        num_outputs: of the black box.

    Returns:
        Its index; None where all outputs are the target's.
    """
    others = np.setdiff1d(np.arange(num_outputs), target.indices)
    sequence = np.random.SeedSequence((key.seed, zlib.crc32(key.entry.encode()), num_outputs))
    return int(np.random.default_rng(sequence).choice(others)) if len(others) else None
