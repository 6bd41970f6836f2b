"""The first tables of a report on black boxes whose right maps are known."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

import numpy as np

from iassa.benchmark.report.comparison import Arm, place_at_calls
from iassa.benchmark.report.markdown import table
from iassa.benchmark.report.tables import number
from iassa.benchmark.store.records import Entry, Item

# Metric, heading, and whether the best of each black box is in bold.
COLUMNS = (
    ("iou", "IoU ↑", True),
    ("average_precision", "average precision ↑", True),
    ("right_signs", "right signs ↑", False),
    ("right_order", "rank correlation ↑", True),
    ("error_coverage", "error bars hold", False),
)
RANKED = ("average_precision", "iou")

Means = Mapping[tuple[str, Arm], Mapping[str, float]]  # by black box and method


def answer_means(items: Iterable[Item], entries: Sequence[Entry], arms: Sequence[Arm]) -> Means:
    """Mean of each metric, and of the calls, over scenes and seeds.

    Args:
        items: finished.
        entries: that all arms have; the category is the black box.
        arms: methods at numbers of calls.

    Returns:
        By black box, in the order of the first scene, and arm; NaN for a metric that a map lacks.
    """
    by_key = {item.key: item for item in items}
    boxes = {entry.key: entry.category for entry in entries}
    found: dict[tuple[str, Arm], list[dict[str, float]]] = {
        (box, arm): [] for box in dict.fromkeys(boxes.values()) for arm in arms
    }
    for key, item in by_key.items():
        for arm in arms:
            place = place_at_calls(item, arm.calls) if key.method == arm.label else None
            if key.entry in boxes and place is not None:
                snapshot = item.snapshots[place]
                values = {name: snapshot.metrics.get(name, math.nan) for name, _, _ in COLUMNS}
                found[boxes[key.entry], arm].append(values | {"calls": float(snapshot.calls)})
    return {
        pair: {name: float(np.mean([each[name] for each in some])) for name in some[0]}
        for pair, some in found.items()
        if some
    }


def answer_table(means: Means) -> str:
    """A row for each black box and method; '' without means."""
    rows = []
    for (box, arm), values in means.items():
        cells = []
        for name, _, ranked in COLUMNS:
            cell = number(values[name], "z.3f")
            cells.append(f"**{cell}**" if ranked and _is_first(means, box, arm, name) else cell)
        rows.append(((box, arm.label), [*cells, f"{values['calls']:.0f}"]))
    headings = [heading for _, heading, _ in COLUMNS]
    caption = "Maps against the right maps, mean over scenes and seeds"
    return table(caption, ["black box", "method"], [*headings, "calls"], rows, folds=False)


def standing_table(means: Means) -> str:
    """How often each method is first and last, and its mean over the black boxes."""
    boxes = list(dict.fromkeys(box for box, _ in means))
    rows = []
    arms = sorted(dict.fromkeys(arm for _, arm in means), key=lambda arm: arm.calls)
    for calls, group in groupby(arms, key=lambda arm: arm.calls):
        for arm in group:
            cells = []
            for name in RANKED:
                first = sum(_is_first(means, box, arm, name) for box in boxes)
                last = sum(_is_first(means, box, arm, name, sign=-1) for box in boxes)
                mean = np.mean([means[box, arm][name] for box in boxes])
                cells += [number(float(mean), "z.3f"), str(first), str(last)]
            rows.append(((arm.label, str(calls)), cells))
    columns = [
        *("mean average precision", "first in", "last in"),
        *("mean IoU", "first in", "last in"),
    ]
    caption = f"Standing over {len(boxes)} black boxes"
    return table(caption, ["method", "calls"], columns, rows, folds=False)


def _is_first(means: Means, box: str, arm: Arm, name: str, sign: int = 1) -> bool:
    """Whether no method at the same calls has a higher mean; with sign -1 a lower one."""
    rivals = [
        values[name]
        for (other, rival), values in means.items()
        if other == box and rival.calls == arm.calls and not math.isnan(values[name])
    ]
    return len(rivals) > 1 and sign * means[box, arm][name] >= max(sign * each for each in rivals)
