"""What a benchmark run is made of: entries, items, snapshots. Plain values that can be pickled.

An *entry* is one target in one image. An *item* is what one method, with one seed, made of one
entry: the unit of work, of storage and of loss. A *snapshot* is the map at one moment of an item,
with its metrics: an anytime method has several in one item, each made of the masks of the one
before and more. The store gives back the same records; it leaves out the large parts that the
caller did not ask for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from iassa.errors import list_some
from iassa.metrics import Curve
from iassa.models.targets import Target


@dataclass(frozen=True)
class Entry:
    """One target in one image.

    Attributes:
        key: unique in the run, the same from run to run: the image, or image and category.
        image: the file, relative to the folder of images.
        image_index: place of the image among all of the dataset, whatever files are there.
        size: (height, width) of the image file.
        category: that the annotation outlines; '' where the dataset has none.
        target: the weights over the outputs.
        score: of the target for the whole image.
        annotated: share of the pixels that are annotated; None without annotation.
        excluded: why it is not explained; '' for one that is.
    """

    key: str
    image: str
    image_index: int
    size: tuple[int, int]
    category: str
    target: Target
    score: float
    annotated: float | None = None
    excluded: str = ""


@dataclass(frozen=True, order=True)
class ItemKey:
    """What an item is of.

    Attributes:
        entry: key of the entry.
        method: label of the method with its settings.
        seed: of the run; what the method is given is made of it and of the entry.
    """

    entry: str
    method: str
    seed: int

    def __str__(self) -> str:
        return f"{self.entry} by {self.method}, seed {self.seed}"


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The map at one moment, and how good it is.

    Attributes:
        budget: the calls that were allowed by then; None for a snapshot after a round.
        rounds: rounds that had been scored by then.
        calls: calls made by then, the whole image included.
        saliency: (H, W) float32, finite. The store keeps it as float16. None in what `Store.items`
            gives: `Store.saliency` reads one map.
        relative_error: see `Explanation.relative_error`; infinite where it is not known.
        metrics: finite values by name; `iassa.benchmark.report.columns` describes them.
        curves: 'deletion' and 'insertion'; empty where the store was not asked for them.
        saliency_error: largest absolute error of the map as the store keeps it, in score units; 0
            until then.
    """

    budget: int | None
    rounds: int
    calls: int
    saliency: NDArray[np.float32] | None
    relative_error: float
    metrics: Mapping[str, float]
    curves: Mapping[str, Curve]
    saliency_error: float = 0.0


@dataclass(frozen=True, eq=False)
class Item:
    """What one method made of one entry.

    Attributes:
        key: what it is of.
        calls: calls made for its explanations, all of them.
        metric_calls: calls made for its metrics, one for each score of a curve.
        seconds: that the explanations took.
        metric_seconds: that the metrics took.
        warnings: of weak evidence.
        evidence: plans and scores of all masks, as `Evidence.pack` gives them; None for a method
            that keeps none, and in what `Store.items` gives: `Store.evidence` reads it.
        snapshots: in the order in which they were taken.
        finished: when it was stored, in UTC; None until then.
    """

    key: ItemKey
    calls: int
    metric_calls: int
    seconds: float
    metric_seconds: float
    warnings: tuple[str, ...]
    evidence: bytes | None
    snapshots: tuple[Snapshot, ...]
    finished: datetime | None = None


@dataclass(frozen=True)
class Failure:
    """An item that could not be made. It is tried again by the same command.

    Attributes:
        key: what it is of.
        error: what went wrong, one line.
    """

    key: ItemKey
    error: str


def left_out(entries: Iterable[Entry]) -> dict[str, list[str]]:
    """Keys of the entries that are left out, by reason, the most frequent first."""
    keys: dict[str, list[str]] = {}
    for entry in entries:
        if entry.excluded:
            keys.setdefault(entry.excluded, []).append(entry.key)
    return dict(sorted(keys.items(), key=lambda item: -len(item[1])))


def list_reasons(keys: Mapping[str, Sequence[str]]) -> str:
    """What `left_out` returns, in one sentence: 'its mask is empty (2: a.png, b.png)'."""
    return list_some((f"{why} ({len(of)}: {list_some(of)})" for why, of in keys.items()), "; ")


def asked_entries(entries: Iterable[Entry], limit: int | None) -> list[Entry]:
    """The entries that a run is to explain: those of the highest scores.

    Args:
        entries: of the run; excluded ones are passed over.
        limit: the most of them; None for all.

    Returns:
        By falling score, those of the same score by key.
    """
    explained = (entry for entry in entries if not entry.excluded)
    return sorted(explained, key=lambda entry: (-entry.score, entry.key))[:limit]
