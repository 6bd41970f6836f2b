"""How metrics develop: with the calls, round by round, and pixel by pixel along the curves."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iassa.benchmark.report.columns import METRICS, Level
from iassa.benchmark.report.comparison import (
    Arm,
    Column,
    Mean,
    average_seeds,
    line_up,
    place_at_calls,
    values_of,
)
from iassa.benchmark.report.statistics import Bootstrap, Estimate
from iassa.benchmark.store.records import Entry, Item

# The metrics that have a curve, and what they are drawn against.
CURVES = {"deletion": "share of pixels deleted", "insertion": "share of pixels inserted"}
GRID = np.linspace(0, 1, 101)  # shares of the pixels at which curves of different steps meet


@dataclass(frozen=True, eq=False)
class Trajectory:
    """A method's metrics along an axis.

    Attributes:
        label: of the method.
        x: K numbers of calls or of rounds, or 101 shares of the pixels.
        columns: K estimates by level and metric.
    """

    label: str
    x: tuple[float, ...]
    columns: Mapping[tuple[Level, str], Sequence[Estimate]]


def along_calls(means: Iterable[Mean]) -> list[Trajectory]:
    """Means of each method at each of its numbers of calls."""
    x: dict[str, dict[int, None]] = defaultdict(dict)
    columns: dict[str, dict[Column, list[Estimate]]] = defaultdict(lambda: defaultdict(list))
    for mean in means:
        x[mean.arm.label][mean.arm.calls] = None
        columns[mean.arm.label][mean.level, mean.metric].append(mean.estimate)
    return [Trajectory(label, tuple(x[label]), columns[label]) for label in x]


def along_rounds(
    items: Iterable[Item],
    entries: Sequence[Entry],
    labels: Sequence[str],
    seeds: Sequence[int],
    bootstrap: Bootstrap,
) -> list[Trajectory]:
    """Metrics after each round, of the methods that were measured after every round.

    An entry that stopped early keeps the map with which it stopped, so that each mean is over the
    same entries. Each method has its own entries.

    Args:
        items: finished, in any order.
        entries: of the run.
        labels: of the methods.
        seeds: that an entry must have.
        bootstrap: draws the intervals.

    Returns:
        One for each method that has snapshots after rounds, in the order of `labels`. It begins
        with the first round that every entry has.
    """
    by_key = {entry.key: entry for entry in entries}
    runs: dict[str, dict[Entry, list[dict[int, dict[Column, float]]]]]
    runs = defaultdict(lambda: defaultdict(list))
    for item in items:
        after = {
            snapshot.rounds: values_of(snapshot)
            for snapshot in item.snapshots
            if snapshot.budget is None
        }
        if after and item.key.entry in by_key and item.key.seed in seeds:
            runs[item.key.method][by_key[item.key.entry]].append(after)
    found = []
    for label in labels:
        whole = {entry: each for entry, each in runs[label].items() if len(each) == len(seeds)}
        if whole:
            found.append(_trajectory(label, whole, bootstrap))
    return found


def _trajectory(
    label: str,
    runs: Mapping[Entry, Sequence[Mapping[int, Mapping[Column, float]]]],
    bootstrap: Bootstrap,
) -> Trajectory:
    entries = sorted(runs, key=lambda entry: (entry.image_index, entry.key))
    every_run = [run for several in runs.values() for run in several]
    first = max(min(run) for run in every_run)
    rounds = sorted({number for run in every_run for number in run if number >= first})
    rows = [
        [
            average_seeds([run[max(k for k in run if k <= number)] for run in runs[entry]])
            for number in rounds
        ]
        for entry in entries
    ]
    columns = {
        column: bootstrap.estimate_means(measured.values, measured.images)
        for column, measured in line_up(rows, [entry.image for entry in entries]).items()
        if column[1] in METRICS
    }
    return Trajectory(label, tuple(rounds), columns)


def along_curves(
    items: Iterable[Item], entries: Sequence[Entry], arms: Sequence[Arm], bootstrap: Bootstrap
) -> list[Trajectory]:
    """Mean deletion and insertion curves; the curves of an entry's seeds are averaged first.

    Args:
        items: finished, with their curves; read once, one at a time.
        entries: over which to take the mean.
        arms: whose curves; at most one of each method.
        bootstrap: draws the intervals.

    Returns:
        One for each arm that has a curve: the score by ('image', 'deletion' or 'insertion').
    """
    calls = {arm.label: arm.calls for arm in arms}
    kept = {entry.key for entry in entries}
    curves: dict[tuple[str, str, str], list[NDArray[np.float64]]] = defaultdict(list)
    for item in items:
        key = item.key
        if key.entry in kept and key.method in calls:
            place = place_at_calls(item, calls[key.method])
            for kind, curve in item.snapshots[place].curves.items() if place is not None else ():
                scores = np.interp(GRID, curve.fractions, curve.scores)
                curves[key.method, kind, key.entry].append(scores)
    found = []
    for label in calls:
        columns: dict[Column, Sequence[Estimate]] = {}
        for kind in CURVES:
            having = [entry for entry in entries if (label, kind, entry.key) in curves]
            if having:
                of_entries = [curves[label, kind, entry.key] for entry in having]
                values = np.array([sum(seeds) / len(seeds) for seeds in of_entries])
                images = [entry.image for entry in having]
                columns["image", kind] = bootstrap.estimate_means(values, images)
        if columns:
            found.append(Trajectory(label, tuple(GRID.tolist()), columns))
    return found
