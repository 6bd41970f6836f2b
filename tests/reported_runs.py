"""Runs whose numbers are known, for the tests of the report."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np

from iassa.benchmark.store.records import (
    Entry,
    Failure,
    Item,
    ItemKey,
    Snapshot,
)
from iassa.benchmark.store.store import Store
from iassa.metrics import Curve
from iassa.models.targets import Target

SIZE = (18, 24)
METHODS = {
    "iassa": {"name": "iassa", "fields": {}, "calls": [100, 200], "every_round": False},
    "rise": {
        "name": "rise",
        "fields": {"cells": 7},
        "calls": [100, 200, 400],
        "every_round": False,
    },
    "paper_1": {"name": "iassa-paper", "fields": {}, "calls": [200], "every_round": True},
}
CONFIGURATION = {
    "dataset": {"kind": "coco"},
    "model": {"name": "brightness", "identity": "0"},
    "min_score": 0.15,
    "seeds": [0, 1],
    "metrics": {"threshold": 0.3},
    "methods": METHODS,
}
# Of which a report has the fewest plots: no rounds, no number of calls but one.
PLAIN = CONFIGURATION | {
    "seeds": [0],
    "methods": {label: METHODS[label] | {"calls": [100]} for label in ("iassa", "rise")},
}
# Of which a report has a plot of each kind, with few lines.
BARE = CONFIGURATION | {
    "seeds": [0],
    "methods": {"rise": METHODS["rise"] | {"calls": [100, 200]}, "paper_1": METHODS["paper_1"]},
}


def make_entry(number, image=None, excluded="", category="cat"):
    image = number if image is None else image
    name = f"images/{image:03d}.png"
    return Entry(
        key=f"{name}:{number}",
        image=name,
        image_index=image,
        size=SIZE,
        category=category,
        target=Target(category, (1, 2), (1.0, 1.0)),
        score=0.5,
        annotated=0.1,
        excluded=excluded,
    )


def made_metrics(rng, *, annotated=True):
    """All metrics of one map, drawn."""
    deletion, insertion = rng.uniform(0.05, 0.4), rng.uniform(0.3, 0.9)
    metrics = {
        "deletion": deletion,
        "insertion": insertion,
        "insertion_minus_deletion": insertion - deletion,
        "sparsity": rng.uniform(0.3, 0.8),
        "activated_pixels": float(rng.integers(2000, 8000)),
    }
    gains = {f"gain_{fill}": rng.uniform(-0.1, 0.6) for fill in ("grey", "blur", "road")}
    metrics |= gains | {"gain": sum(gains.values()) / 3}
    if annotated:
        names = ("f1", "iou", "precision", "recall", "best_f1", "best_iou")
        names += ("average_precision", "relevance_mass", "relevance_rank")
        metrics |= {name: rng.uniform(0.1, 0.9) for name in names}
        metrics |= {name: float(rng.random() < 0.6) for name in ("pointing", "pointing_tolerant")}
    return metrics


def made_curve(rng, steps=7):
    return Curve(rng.uniform(0, 1, steps + 1), np.linspace(0, 1, steps + 1))


def stored(entry, method, seed=0, budgets=None, rounds=None, curves=None, **changes):
    """A stored item: metrics by budget, or by round."""
    taken = [(budget, 1, metrics) for budget, metrics in (budgets or {}).items()]
    taken += [(None, number, metrics) for number, metrics in (rounds or {}).items()]
    snapshots = tuple(
        Snapshot(budget, number, budget or number, None, 0.1, metrics, curves or {}, 1e-4)
        for budget, number, metrics in taken
    )
    fields = {
        "calls": 200,
        "metric_calls": 70,
        "seconds": 2.0,
        "metric_seconds": 1.0,
        "warnings": (),
        "evidence": None,
    }
    now = datetime(2026, 11, 23, tzinfo=UTC)
    key = ItemKey(entry.key, method, seed)
    return Item(key=key, finished=now, snapshots=snapshots, **(fields | changes))


def make_item(rng, entry, method, definition, seed, *, annotated=True, size=SIZE):
    """An item as a run makes it, with its maps."""
    if definition["every_round"]:
        moments = [(None, number) for number in range(1, 4 + int(rng.integers(3)))]
    else:
        moments = [(budget, 2) for budget in definition["calls"]]
    snapshots = tuple(
        Snapshot(
            budget=budget,
            rounds=rounds,
            calls=(budget or 40 * rounds) - 1,
            saliency=rng.normal(size=size).astype(np.float32),
            relative_error=float("inf") if method == "rise" else 0.2,
            metrics=made_metrics(rng, annotated=annotated),
            curves={"deletion": made_curve(rng), "insertion": made_curve(rng)},
        )
        for budget, rounds in moments
    )
    return Item(
        key=ItemKey(entry.key, method, seed),
        calls=snapshots[-1].calls,
        metric_calls=0,
        seconds=2.5,
        metric_seconds=1.5,
        warnings=("weak evidence",) if method == "iassa" else (),
        evidence=None,
        snapshots=snapshots,
    )


def make_run(
    folder,
    num_images=8,
    *,
    configuration=CONFIGURATION,
    skip=(),
    failed=(),
    seed=0,
    size=SIZE,
    annotated=True,
):
    """A run in a folder: two entries in every other image, the last image without annotations.

    Args:
        folder: of the run.
        num_images: in it; one more has an excluded entry.
        configuration: of the run.
        skip: (number of the entry, label) of the items that are not done.
        failed: likewise, of those that failed.
        seed: of all that is drawn.
        size: of the maps; that of the images, or that at which a model looks at them.
        annotated: whether all but the last image are; if not, there are fewer metrics.

    Returns:
        The entries and the items, by key.
    """
    rng = np.random.default_rng(seed)
    items = {}
    entries = []
    with Store.open(folder, configuration) as store:
        for image in range(num_images):
            first = len(entries)
            own = [make_entry(first + each, image) for each in range(1 + image % 2)]
            entries += own
            store.add_image(own[0].image, own, f"{image:064x}")
        last = make_entry(len(entries), num_images, excluded="score below 0.15")
        store.add_image(last.image, [last], "f" * 64)
        for number, entry in enumerate(entries):
            outlined = annotated and entry.image_index < num_images - 1
            for method, definition in configuration["methods"].items():
                for each in configuration["seeds"]:
                    item = make_item(
                        rng, entry, method, definition, each, annotated=outlined, size=size
                    )
                    if (number, method) in failed:
                        store.add_failure(Failure(item.key, "the black box returned NaN"))
                    elif (number, method) not in skip:
                        store.add(item)
                        items[item.key] = item
    return entries, items
