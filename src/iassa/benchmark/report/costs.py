"""What a run has cost so far, how steady its maps are, what failed in it and what it left out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from iassa import metrics
from iassa.benchmark.report.comparison import Arm
from iassa.benchmark.report.statistics import NUM_RESAMPLES, Estimate, estimate_means
from iassa.benchmark.store.records import Entry, Failure

if TYPE_CHECKING:
    from iassa.benchmark.store.records import Item

__all__ = [
    "Cost",
    "Failed",
    "Steadiness",
    "costs",
    "excluded_entries",
    "failed_items",
    "stabilities",
]


@dataclass(frozen=True)
class Cost:
    """What the items of one method took; of all that are finished, compared or not.

    Attributes:
        label: of the method.
        items: finished.
        calls: mean calls made for an item's explanations.
        seconds: mean, of an item's explanations.
        metric_seconds: mean, of its metrics.
        warned: items with a warning of weak evidence.
        saliency_error: largest difference of a stored map from the one that was measured.
        relative_error: median of the last maps' relative standard errors; infinite where unknown.
    """

    label: str
    items: int
    calls: float
    seconds: float
    metric_seconds: float
    warned: int
    saliency_error: float
    relative_error: float


@dataclass(frozen=True)
class Steadiness:
    """How alike an arm's maps of different seeds are, mean over entries.

    Attributes:
        arm: a method at a number of calls.
        rank_correlation: Spearman's, mean over the pairs of seeds.
        top_overlap: IoU of the most salient tenth, likewise.
    """

    arm: Arm
    rank_correlation: Estimate
    top_overlap: Estimate


@dataclass(frozen=True)
class Failed:
    """Items of a method that failed alike.

    Attributes:
        label: of the method.
        error: what went wrong, one line.
        items: how many.
        example: entry of the first.
    """

    label: str
    error: str
    items: int
    example: str


def costs(items: Iterable[Item], labels: Sequence[str]) -> list[Cost]:
    """Means over the finished items of each method.

    Args:
        items: finished.
        labels: of the methods, in their order.

    Returns:
        One for each method that has a finished item.
    """
    by_label: dict[str, list[Item]] = {label: [] for label in labels}
    for item in items:
        if item.key.method in by_label:
            by_label[item.key.method].append(item)
    found = []
    for label, own in by_label.items():
        if own:
            found.append(
                Cost(
                    label,
                    items=len(own),
                    calls=float(np.mean([item.calls for item in own])),
                    seconds=float(np.mean([item.seconds for item in own])),
                    metric_seconds=float(np.mean([item.metric_seconds for item in own])),
                    warned=sum(bool(item.warnings) for item in own),
                    saliency_error=max(
                        (each.saliency_error for item in own for each in item.snapshots),
                        default=0.0,
                    ),
                    relative_error=float(
                        np.median(
                            [item.snapshots[-1].relative_error for item in own if item.snapshots]
                            or [math.inf]
                        )
                    ),
                )
            )
    return found


def failed_items(failures: Iterable[Failure]) -> list[Failed]:
    """Failures, those of one method with one error together, the most frequent first."""
    counts: Counter[tuple[str, str]] = Counter()
    examples: dict[tuple[str, str], str] = {}
    for failure in failures:
        kind = failure.key.method, failure.error
        counts[kind] += 1
        examples.setdefault(kind, failure.key.entry)
    return [
        Failed(label, error, number, examples[label, error])
        for (label, error), number in sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    ]


def excluded_entries(entries: Iterable[Entry]) -> dict[str, int]:
    """How many entries were not explained, by reason, the most frequent first."""
    return dict(Counter(entry.excluded for entry in entries if entry.excluded).most_common())


def stabilities(
    entries: Sequence[Entry],
    arms: Sequence[Arm],
    read_maps: Callable[[Entry, Arm], Sequence[NDArray[np.float32]]],
    *,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> list[Steadiness]:
    """How alike the maps are that a method makes with different seeds; see `metrics.stability`.

    Args:
        entries: over which to take the mean.
        arms: to look at.
        read_maps: an entry's maps by an arm, one of each seed, two at least.
        num_resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        One for each arm; none without entries.
    """
    images = [entry.image for entry in entries]
    found = []
    for arm in arms if entries else ():
        each = [metrics.stability(read_maps(entry, arm)) for entry in entries]
        values = np.array([[one.rank_correlation, one.top_overlap] for one in each])
        estimates = estimate_means(values, images, num_resamples=num_resamples, seed=seed)
        found.append(Steadiness(arm, *estimates))
    return found
