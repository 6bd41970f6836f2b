"""Which entries all methods have, the means over these, and the differences between methods.

Means are comparable only over the same entries, so everything here is over those that every method
compared has, with every seed, at every number of calls. The seeds of an entry are averaged first:
they are one measurement, made several times.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from iassa.benchmark.report.columns import LEVELS, METRICS, Level
from iassa.benchmark.report.statistics import (
    NUM_RESAMPLES,
    Estimate,
    Verdict,
    estimate_means,
    judge,
)
from iassa.benchmark.store.records import Entry, ItemKey, asked_entries
from iassa.errors import InputError

if TYPE_CHECKING:
    from iassa.benchmark.store.records import Item, Snapshot

__all__ = [
    "Arm",
    "Comparison",
    "Difference",
    "Mean",
    "Measured",
    "arms_at_shared_calls",
    "average_seeds",
    "compare_methods",
    "differences",
    "means",
    "pairs_at_equal_calls",
    "place_at_calls",
    "resolve_pairs",
    "values_of",
]

ArmPair = tuple["Arm", "Arm"]
Column = tuple[Level, str]  # level and metric


@dataclass(frozen=True, order=True)
class Arm:
    """A method at a number of calls: a row of the tables.

    Attributes:
        label: of the method with its settings.
        calls: that it was allowed.
    """

    label: str
    calls: int

    def __str__(self) -> str:
        return f"{self.label} at {self.calls}"


@dataclass(frozen=True, eq=False)
class Measured:
    """One metric of all arms, over the entries for which all of them have it.

    Attributes:
        images: n names, of the image of each entry.
        values: (n, A) float64, arms in the order of the comparison; seeds averaged.
    """

    images: tuple[str, ...]
    values: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Comparison:
    """What can be compared in a run.

    Attributes:
        arms: compared, by calls and then in the order of the configuration.
        entries: that all of them have, with every seed.
        columns: by level and metric; only those that some entry has.
        left_out: how many entries that were asked for are not among `entries`.
        not_asked: how many are beyond the limit of the run, and not among `entries` either.
        reasons: how many of those left out each method lacks, by 'label: reason'; an entry that
            two methods lack counts for both.
        not_started: labels of methods without a finished item; they are no arms.
    """

    arms: tuple[Arm, ...]
    entries: tuple[Entry, ...]
    columns: Mapping[Column, Measured]
    left_out: int
    not_asked: int
    reasons: Mapping[str, int]
    not_started: tuple[str, ...]


@dataclass(frozen=True)
class Mean:
    """A cell of a table of means."""

    arm: Arm
    level: Level
    metric: str
    estimate: Estimate


@dataclass(frozen=True)
class Difference:
    """One arm minus another, and what it shows of the one."""

    one: Arm
    other: Arm
    level: Level
    metric: str
    estimate: Estimate
    verdict: Verdict


def compare_methods(
    items: Iterable[Item],
    entries: Sequence[Entry],
    methods: Mapping[str, Sequence[int]],
    seeds: Sequence[int],
    failed: Iterable[ItemKey] = (),
    limit: int | None = None,
) -> Comparison:
    """Find the entries that all methods have, and line their values up.

    Args:
        items: finished, in any order; those of other methods, seeds or entries are passed over.
        entries: of the run, excluded ones too.
        methods: calls by label.
        seeds: that an entry must have.
        failed: items that could not be made, to say why an entry is missing.
        limit: the most entries that were asked for, see `asked_entries`; None for all. One beyond
            it that all methods have nevertheless is compared as any other.

    Returns:
        The comparison; without entries where no entry has all methods.
    """
    explained = {entry.key: entry for entry in entries if not entry.excluded}
    snapshots: dict[tuple[str, Arm], list[Mapping[Column, float]]] = defaultdict(list)
    done: dict[str, Counter[str]] = defaultdict(Counter)
    for item in items:
        key = item.key
        if key.entry not in explained or key.method not in methods or key.seed not in seeds:
            continue
        done[key.method][key.entry] += 1
        for calls in methods[key.method]:
            place = place_at_calls(item, calls)
            if place is not None:
                arm = Arm(key.method, calls)
                snapshots[key.entry, arm].append(values_of(item.snapshots[place]))
    started = [label for label in methods if done[label]]
    position = {label: number for number, label in enumerate(methods)}
    arms = sorted(
        (Arm(label, calls) for label in started for calls in methods[label]),
        key=lambda arm: (arm.calls, position[arm.label]),
    )
    common = [
        entry
        for entry in sorted(explained.values(), key=lambda entry: (entry.image_index, entry.key))
        if arms and all(len(snapshots.get((entry.key, arm), ())) == len(seeds) for arm in arms)
    ]
    kept = {entry.key for entry in common}
    failures = {(key.entry, key.method) for key in failed}
    asked = {entry.key for entry in asked_entries(entries, limit)}
    reasons: Counter[str] = Counter()
    for label in started:
        for entry_key in asked - kept:
            if done[label][entry_key] < len(seeds):
                why = "failed" if (entry_key, label) in failures else "not done yet"
                reasons[f"{label}: {why}"] += 1
            elif any(
                len(snapshots.get((entry_key, Arm(label, calls)), ())) < len(seeds)
                for calls in methods[label]
            ):
                reasons[f"{label}: no map at one of its numbers of calls"] += 1
    return Comparison(
        arms=tuple(arms),
        entries=tuple(common),
        columns=_line_up(common, arms, snapshots),
        left_out=len(asked - kept),
        not_asked=len(explained.keys() - asked - kept),
        reasons=dict(sorted(reasons.items())),
        not_started=tuple(label for label in methods if not done[label]),
    )


def place_at_calls(item: Item, calls: int) -> int | None:
    """Which of an item's snapshots is its map at a number of calls.

    Args:
        item: finished.
        calls: of its method's configuration.

    Returns:
        Its place; None without such a map. An item that was measured after every round ran up to
        its one number of calls: its last map is the one.
    """
    budgets = [snapshot.budget for snapshot in item.snapshots]
    if calls in budgets:
        return budgets.index(calls)
    return len(budgets) - 1 if budgets and set(budgets) == {None} else None


def values_of(snapshot: Snapshot) -> dict[Column, float]:
    """Metrics of one map by level and name: all at the image level, most at the pixel level."""
    values: dict[Column, float] = {}
    activated = snapshot.metrics.get("activated_pixels")
    for name, value in snapshot.metrics.items():
        values["image", name] = value
        if activated is not None and name in METRICS and METRICS[name].per_pixel:
            # A map that marks nothing has no pixel level; its entry counts at the image level only.
            values["pixel", name] = value / activated if activated > 0 else math.nan
    return values


def average_seeds(snapshots: Sequence[Mapping[Column, float]]) -> dict[Column, float]:
    """Mean of each column that all of them have; NaN where one of them is."""
    shared = set(snapshots[0]).intersection(*snapshots[1:])
    return {
        column: float(np.mean([values[column] for values in snapshots]))
        for column in sorted(shared)
    }


def _line_up(
    entries: Sequence[Entry],
    arms: Sequence[Arm],
    snapshots: Mapping[tuple[str, Arm], Sequence[Mapping[Column, float]]],
) -> dict[Column, Measured]:
    rows = [[average_seeds(snapshots[entry.key, arm]) for arm in arms] for entry in entries]
    names = {column for row in rows for column in set(row[0]).intersection(*row[1:])}
    columns: dict[Column, Measured] = {}
    for column in sorted(names, key=_order):
        values = np.array([[cell.get(column, np.nan) for cell in row] for row in rows])
        whole = np.isfinite(values).all(axis=1)
        if whole.any():
            images = tuple(entry.image for entry, kept in zip(entries, whole, strict=True) if kept)
            columns[column] = Measured(images, values[whole])
    return columns


def _order(column: Column) -> tuple[int, int, str]:
    level, name = column
    known = list(METRICS)
    return LEVELS.index(level), known.index(name) if name in known else len(known), name


def means(
    comparison: Comparison, *, num_resamples: int = NUM_RESAMPLES, seed: int = 0
) -> list[Mean]:
    """Mean of every column for every arm.

    Args:
        comparison: of the run.
        num_resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        Level by level, metric by metric, arm by arm.
    """
    found: list[Mean] = []
    for (level, metric), measured in comparison.columns.items():
        estimates = estimate_means(
            measured.values, measured.images, num_resamples=num_resamples, seed=seed
        )
        found += [
            Mean(arm, level, metric, estimate)
            for arm, estimate in zip(comparison.arms, estimates, strict=True)
        ]
    return found


def differences(
    comparison: Comparison,
    pairs: Sequence[ArmPair],
    *,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> list[Difference]:
    """The first arm of each pair minus the second, for every metric with a direction.

    Args:
        comparison: of the run.
        pairs: of its arms.
        num_resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        Level by level, metric by metric, pair by pair.
    """
    place = {arm: number for number, arm in enumerate(comparison.arms)}
    ones = [place[one] for one, _ in pairs]
    others = [place[other] for _, other in pairs]
    found: list[Difference] = []
    for (level, metric), measured in comparison.columns.items():
        if metric not in METRICS or not pairs:
            continue
        # Before the means, not after: two arms of the same values differ by 0, not by rounding.
        gaps = measured.values[:, ones] - measured.values[:, others]
        estimates = estimate_means(gaps, measured.images, num_resamples=num_resamples, seed=seed)
        lower_is_better = METRICS[metric].lower_is_better
        found += [
            Difference(
                one, other, level, metric, each, judge(each, lower_is_better=lower_is_better)
            )
            for (one, other), each in zip(pairs, estimates, strict=True)
        ]
    return found


def pairs_at_equal_calls(arms: Sequence[Arm], reference: str | None = None) -> list[ArmPair]:
    """Every two methods at the same number of calls, once.

    Args:
        arms: compared.
        reference: label of the method that is the other one of each pair that it is in.

    Returns:
        Pairs (one, other) by calls, in the order of the arms.
    """
    pairs: list[ArmPair] = []
    for one, other in combinations(arms, 2):
        if one.calls == other.calls:
            pairs.append((other, one) if one.label == reference else (one, other))
    return pairs


def resolve_pairs(
    wanted: Sequence[tuple[tuple[str, int], tuple[str, int]]], arms: Sequence[Arm]
) -> list[ArmPair]:
    """Arms that a user names, at equal calls or not.

    Args:
        wanted: ((label, calls), (label, calls)) each.
        arms: that there are.

    Raises:
        InputError: an arm that the run does not have, or one compared with itself.
    """
    pairs: list[ArmPair] = []
    for one, other in wanted:
        pair = Arm(*one), Arm(*other)
        for arm in pair:
            if arm not in arms:
                known = ", ".join(map(str, arms))
                raise InputError(
                    f"expected a method at calls that the run has finished ({known}), got "
                    f"{str(arm)!r}. Name one of these."
                )
        if pair[0] == pair[1]:
            raise InputError(f"expected two different things to compare, got {pair[0]} twice.")
        pairs.append(pair)
    return pairs


def arms_at_shared_calls(arms: Sequence[Arm]) -> list[Arm]:
    """One arm of each method: at the most calls that all have, else each at its own most."""
    calls: dict[str, set[int]] = defaultdict(set)
    for arm in arms:
        calls[arm.label].add(arm.calls)
    shared = set.intersection(*calls.values()) if calls else set()
    return [Arm(label, max(shared or calls[label])) for label in calls]
