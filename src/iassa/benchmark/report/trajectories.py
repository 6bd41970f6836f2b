"""How a map becomes better on its way: round by round, and pixel by pixel along its curves."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from iassa.benchmark.report.columns import METRICS, Level
from iassa.benchmark.report.comparison import Arm, average_seeds, place_at_calls, values_of
from iassa.benchmark.report.statistics import NUM_RESAMPLES, Estimate, estimate_means
from iassa.benchmark.store.records import Entry

if TYPE_CHECKING:
    from iassa.benchmark.store.records import Item

__all__ = ["CURVES", "MeanCurve", "Trajectory", "mean_curves", "trajectories"]

CURVES = ("deletion", "insertion")
GRID = np.linspace(0, 1, 101)  # shares of the pixels at which curves of different steps meet

Values = Mapping[tuple[Level, str], float]


@dataclass(frozen=True, eq=False)
class Trajectory:
    """A method's metrics after each of its rounds.

    Attributes:
        label: of the method.
        rounds: (K,) numbers of rounds, from the first that every entry has.
        columns: K estimates by level and metric.
    """

    label: str
    rounds: tuple[int, ...]
    columns: Mapping[tuple[Level, str], Sequence[Estimate]]


@dataclass(frozen=True, eq=False)
class MeanCurve:
    """The mean of an arm's deletion or insertion curves.

    Attributes:
        arm: a method at a number of calls.
        kind: 'deletion' or 'insertion'.
        fractions: (101,) shares of the pixels.
        estimates: of the score, one for each.
    """

    arm: Arm
    kind: str
    fractions: NDArray[np.float64]
    estimates: Sequence[Estimate]


def trajectories(
    items: Iterable[Item],
    entries: Sequence[Entry],
    labels: Sequence[str],
    seeds: Sequence[int],
    *,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> list[Trajectory]:
    """Metrics after each round of the methods that had every round measured.

    An entry that stopped early keeps the map with which it stopped, so that each mean is over the
    same entries; each method has its own.

    Args:
        items: finished, in any order.
        entries: of the run.
        labels: of the methods.
        seeds: that an entry must have.
        num_resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        One for each method that has snapshots after rounds, in the order of `labels`.
    """
    places = {entry.key: (entry.image_index, entry.key) for entry in entries}
    images = {entry.key: entry.image for entry in entries}
    found: dict[str, dict[str, list[dict[int, Values]]]] = defaultdict(lambda: defaultdict(list))
    for item in items:
        if item.key.entry in places and item.key.seed in seeds:
            after: dict[int, Values] = {
                snapshot.rounds: values_of(snapshot)
                for snapshot in item.snapshots
                if snapshot.budget is None
            }
            if after:
                found[item.key.method][item.key.entry].append(after)
    drawn = []
    for label in labels:
        whole = {
            key: found[label][key]
            for key in sorted(found[label], key=places.__getitem__)
            if len(found[label][key]) == len(seeds)
        }
        if whole:
            trajectory = _trajectory(label, whole, images, num_resamples, seed)
            drawn.append(trajectory)
    return drawn


def _trajectory(
    label: str,
    entries: Mapping[str, Sequence[Mapping[int, Values]]],
    images: Mapping[str, str],
    num_resamples: int,
    seed: int,
) -> Trajectory:
    runs = [run for several in entries.values() for run in several]
    first = max(min(run) for run in runs)
    rounds = sorted({number for run in runs for number in run if number >= first})
    table = [  # entries x rounds
        [
            average_seeds([run[max(k for k in run if k <= number)] for run in several])
            for number in rounds
        ]
        for several in entries.values()
    ]
    columns: dict[tuple[Level, str], list[Estimate]] = {}
    for column in sorted(set(table[0][0]).union(*(row[0] for row in table))):
        values = np.array([[cell.get(column, np.nan) for cell in row] for row in table])
        whole = np.isfinite(values).all(axis=1)
        if column[1] in METRICS and whole.any():
            names = [images[key] for key, kept in zip(entries, whole, strict=True) if kept]
            columns[column] = estimate_means(
                values[whole], names, num_resamples=num_resamples, seed=seed
            )
    return Trajectory(label, tuple(rounds), columns)


def mean_curves(
    items: Iterable[Item],
    entries: Sequence[Entry],
    arms: Sequence[Arm],
    *,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> list[MeanCurve]:
    """Mean deletion and insertion curves; the curves of an entry's seeds are averaged first.

    Args:
        items: finished, with their curves; read once, one at a time.
        entries: over which to take the mean.
        arms: whose curves.
        num_resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        Kind by kind, arm by arm; without those that have no curve.
    """
    kept = {entry.key for entry in entries}
    by_label: dict[str, list[Arm]] = defaultdict(list)
    for arm in arms:
        by_label[arm.label].append(arm)
    sums: dict[tuple[str, Arm, str], NDArray[np.float64]] = {}
    counts: dict[tuple[str, Arm, str], int] = defaultdict(int)
    for item in items:
        if item.key.entry not in kept:
            continue
        for arm in by_label.get(item.key.method, ()):
            number = place_at_calls(item, arm.calls)
            for kind, curve in item.snapshots[number].curves.items() if number is not None else ():
                place = kind, arm, item.key.entry
                sums[place] = sums.get(place, 0) + np.interp(GRID, curve.fractions, curve.scores)
                counts[place] += 1
    found = []
    for kind in CURVES:
        for arm in arms:
            having = [entry for entry in entries if (kind, arm, entry.key) in sums]
            if having:
                places = [(kind, arm, entry.key) for entry in having]
                values = np.array([sums[place] / counts[place] for place in places])
                estimates = estimate_means(
                    values,
                    [entry.image for entry in having],
                    num_resamples=num_resamples,
                    seed=seed,
                )
                found.append(MeanCurve(arm, kind, GRID, estimates))
    return found
