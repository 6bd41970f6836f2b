"""Which entries all methods have, the means over these, and the differences between methods.

Means are comparable only over the same entries. So everything here is over the entries that every
method has finished, with every seed, at every number of calls. The seeds of an entry are averaged
first: they are one measurement, made several times.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from iassa.benchmark.report.columns import LEVELS, METRICS, Level
from iassa.benchmark.report.statistics import Bootstrap, Estimate, Verdict, judge
from iassa.benchmark.store.records import Entry, Item, ItemKey, Snapshot, asked_entries
from iassa.errors import InputError, list_choices

ArmPair = tuple["Arm", "Arm"]
Column = tuple[Level, str]  # level and metric


@dataclass(frozen=True, order=True)
class Arm:
    """A method at a number of calls: a row of the tables.

    Attributes:
        label: of the method with its settings.
        calls: the budget.
    """

    label: str
    calls: int

    def __str__(self) -> str:
        return f"{self.label} at {self.calls}"


@dataclass(frozen=True)
class Mean:
    """A cell of a table of means."""

    arm: Arm
    level: Level
    metric: str
    estimate: Estimate

    @property
    def names(self) -> tuple[str, str]:
        """What its row is of: method and calls."""
        return self.arm.label, str(self.arm.calls)


@dataclass(frozen=True)
class Difference:
    """One arm minus another, and the verdict on the first."""

    one: Arm
    other: Arm
    level: Level
    metric: str
    estimate: Estimate
    verdict: Verdict

    @property
    def names(self) -> tuple[str, str]:
        """What its row is of: the one arm and the other."""
        return str(self.one), str(self.other)


@dataclass(frozen=True, eq=False)
class Measured:
    """One metric over the entries that have it in all arms, or after all rounds.

    Attributes:
        images: n names, of the image of each entry.
        values: (n, A) float64, seeds averaged; A is the number of arms or rounds.
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
        reasons: how many of those left out each method lacks, by 'label: reason'. An entry that
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

    def means(self, bootstrap: Bootstrap) -> list[Mean]:
        """Mean of every column for every arm: level by level, metric by metric, arm by arm."""
        return [
            Mean(arm, *column, estimate)
            for column, measured in self.columns.items()
            for arm, estimate in zip(
                self.arms, bootstrap.estimate_means(measured.values, measured.images), strict=True
            )
        ]

    def differences(self, pairs: Sequence[ArmPair], bootstrap: Bootstrap) -> list[Difference]:
        """The first arm of each pair minus the second, for every metric with a direction.

        Args:
            pairs: of the arms.
            bootstrap: draws the intervals.

        Returns:
            Level by level, metric by metric, pair by pair.
        """
        ones, others = ([self.arms.index(pair[side]) for pair in pairs] for side in (0, 1))
        found: list[Difference] = []
        for (level, name), measured in self.columns.items():
            if name in METRICS and pairs:
                # Before the means, not after: arms of the same values differ by 0, not by rounding.
                gaps = measured.values[:, ones] - measured.values[:, others]
                estimates = bootstrap.estimate_means(gaps, measured.images)
                for pair, estimate in zip(pairs, estimates, strict=True):
                    verdict = judge(estimate, lower_is_better=METRICS[name].lower_is_better)
                    found.append(Difference(*pair, level, name, estimate, verdict))
        return found


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
        items: finished, in any order; those of other methods, seeds or entries are ignored.
        entries: of the run, excluded ones too.
        methods: calls by label.
        seeds: that an entry must have.
        failed: items that failed, to say why an entry is missing.
        limit: the most entries that were asked for, see `asked_entries`; None for all. An entry
            beyond it that all methods have is still compared.

    Returns:
        The comparison; without entries where no entry has all methods.
    """
    explained = {entry.key: entry for entry in entries if not entry.excluded}
    finished = [
        item
        for item in items
        if item.key.entry in explained and item.key.method in methods and item.key.seed in seeds
    ]
    done = Counter((item.key.entry, item.key.method) for item in finished)
    started = {method for _, method in done}
    arms = [Arm(label, calls) for label in methods if label in started for calls in methods[label]]
    arms.sort(key=lambda arm: arm.calls)
    taken = _take(finished, methods)
    lacking = {(key, arm) for key in explained for arm in arms if len(taken[key, arm]) < len(seeds)}
    common = [
        entry
        for entry in sorted(explained.values(), key=lambda entry: (entry.image_index, entry.key))
        if arms and not any((entry.key, arm) in lacking for arm in arms)
    ]
    kept = {entry.key for entry in common}
    left_out = {entry.key for entry in asked_entries(entries, limit)} - kept
    failures = {(key.entry, key.method) for key in failed}

    def why(entry: str, label: str) -> str:
        if done[entry, label] == len(seeds):
            return "no map at one of its numbers of calls"
        return "failed" if (entry, label) in failures else "not done yet"

    lacked = sorted({(arm.label, key) for key, arm in lacking if key in left_out})
    reasons = Counter(f"{label}: {why(key, label)}" for label, key in lacked)
    rows = [[average_seeds(taken[entry.key, arm]) for arm in arms] for entry in common]
    return Comparison(
        arms=tuple(arms),
        entries=tuple(common),
        columns=line_up(rows, [entry.image for entry in common]),
        left_out=len(left_out),
        not_asked=len(explained.keys() - left_out - kept),
        reasons=dict(sorted(reasons.items())),
        not_started=tuple(label for label in methods if label not in started),
    )


def _take(
    items: Iterable[Item], methods: Mapping[str, Sequence[int]]
) -> dict[tuple[str, Arm], list[dict[Column, float]]]:
    """The values of each entry in each arm, one of each seed."""
    taken: dict[tuple[str, Arm], list[dict[Column, float]]] = defaultdict(list)
    for item in items:
        for calls in methods[item.key.method]:
            place = place_at_calls(item, calls)
            if place is not None:
                values = values_of(item.snapshots[place])
                taken[item.key.entry, Arm(item.key.method, calls)].append(values)
    return taken


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


def average_seeds(taken: Sequence[Mapping[Column, float]]) -> dict[Column, float]:
    """Mean of each column that all of them have; NaN where one of them is."""
    shared = set(taken[0]).intersection(*taken[1:])
    return {
        column: float(np.mean([values[column] for values in taken])) for column in sorted(shared)
    }


def line_up(
    rows: Sequence[Sequence[Mapping[Column, float]]], images: Sequence[str]
) -> dict[Column, Measured]:
    """The values of each column, over the rows whose cells all have a finite one.

    Args:
        rows: one for each entry, each with one cell for each arm or round.
        images: the image of each entry.

    Returns:
        By level, then in the order of `METRICS`, others last. Columns that no row has are left out.
    """
    names = {column for row in rows for column in set(row[0]).intersection(*row[1:])}
    columns: dict[Column, Measured] = {}
    for column in sorted(names, key=_order):
        values = np.array([[cell.get(column, np.nan) for cell in row] for row in rows])
        whole = np.isfinite(values).all(axis=1)
        if whole.any():
            kept = tuple(image for image, has_all in zip(images, whole, strict=True) if has_all)
            columns[column] = Measured(kept, values[whole])
    return columns


def _order(column: Column) -> tuple[int, int, str]:
    level, name = column
    known = list(METRICS)
    return LEVELS.index(level), known.index(name) if name in known else len(known), name


def pairs_at_equal_calls(arms: Sequence[Arm], reference: str | None = None) -> list[ArmPair]:
    """Every two methods at the same number of calls, once.

    Args:
        arms: compared.
        reference: label of a method; it is the second one of each of its pairs.

    Returns:
        Pairs (one, other) by calls, in the order of the arms.
    """
    return [
        (other, one) if one.label == reference else (one, other)
        for one, other in combinations(arms, 2)
        if one.calls == other.calls
    ]


def resolve_pairs(
    wanted: Sequence[tuple[tuple[str, int], tuple[str, int]]], arms: Sequence[Arm]
) -> list[ArmPair]:
    """The arms of pairs that a user names, at equal calls or not.

    Args:
        wanted: ((label, calls), (label, calls)) each.
        arms: of the comparison.

    Raises:
        InputError: the run does not have an arm, or one is compared with itself.
    """
    pairs = [(Arm(*one), Arm(*other)) for one, other in wanted]
    for pair in pairs:
        for arm in pair:
            if arm not in arms:
                raise InputError(
                    "expected a method at calls that the run has finished "
                    f"({list_choices(arms)}), got {str(arm)!r}. Name one of these."
                )
        if pair[0] == pair[1]:
            raise InputError(f"expected two different things to compare, got {pair[0]} twice.")
    return pairs


def arms_at_shared_calls(arms: Sequence[Arm]) -> list[Arm]:
    """One arm of each method: at the most calls that all have, else each at its own most."""
    calls: dict[str, set[int]] = defaultdict(set)
    for arm in arms:
        calls[arm.label].add(arm.calls)
    shared = set.intersection(*calls.values()) if calls else set()
    return [Arm(label, max(shared or calls[label])) for label in calls]
