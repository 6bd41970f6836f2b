"""All that a report shows, computed from a run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iassa import metrics
from iassa.benchmark.report import comparison as comparing
from iassa.benchmark.report.columns import MAIN, METRICS
from iassa.benchmark.report.comparison import Arm, Comparison, Difference, Mean
from iassa.benchmark.report.figures import Panel, metric_panels
from iassa.benchmark.report.settings import LastCommand, read_settings
from iassa.benchmark.report.statistics import Bootstrap, Estimate
from iassa.benchmark.report.trajectories import (
    CURVES,
    Trajectory,
    along_calls,
    along_curves,
    along_rounds,
)
from iassa.benchmark.store.records import Entry, Failure, Item, ItemKey, asked_entries
from iassa.benchmark.store.store import Store
from iassa.errors import InputError, list_choices

ArmName = tuple[str, int]  # label and calls
OTHER_CLASS = ("other_class_rank_correlation", "other_class_structural_similarity")
NONE = Estimate(math.nan, math.nan, math.nan, 0, 0)
PLOTTED = (*MAIN, METRICS["best_f1"], METRICS["best_iou"], METRICS["sparsity"])


@dataclass(frozen=True, eq=False)
class Results:
    """All that a report shows but its pictures.

    Attributes:
        configuration: of the run, with the methods that are reported.
        last: settings of the last command of the run.
        entries: of the run, excluded ones too.
        asked_entries: keys of the entries that the last command asked for.
        items: finished, of the methods that are reported.
        failures: likewise.
        comparison: of the methods.
        reference: label of the method that the others are compared with.
        means: of all arms.
        equal: differences of all pairs at equal calls.
        asked: differences of the pairs that were asked for.
        trajectories: over rounds.
        curves: mean curves.
        stabilities: of each arm's maps over seeds: rank correlation, overlap of the top tenth.
        other_classes: how like the map of another class is, of each arm: rank correlation,
            structural similarity; NaN for an arm without.
        bootstrap: draws the intervals.
    """

    configuration: Mapping[str, Any]
    last: LastCommand
    entries: Sequence[Entry]
    asked_entries: frozenset[str]
    items: Sequence[Item]
    failures: Sequence[Failure]
    comparison: Comparison
    reference: str
    means: Sequence[Mean]
    equal: Sequence[Difference]
    asked: Sequence[Difference]
    trajectories: Sequence[Trajectory]
    curves: Sequence[Trajectory]
    stabilities: Mapping[Arm, Sequence[Estimate]]
    other_classes: Mapping[Arm, Sequence[Estimate]]
    bootstrap: Bootstrap

    @property
    def shown(self) -> list[Arm]:
        """One arm of each method, at numbers of calls that compare."""
        return comparing.arms_at_shared_calls(self.comparison.arms)

    @property
    def finished(self) -> int:
        """Number of finished items, of those asked for."""
        return sum(item.key.entry in self.asked_entries for item in self.items)

    @property
    def expected(self) -> int:
        """Number of items that were asked for."""
        methods, seeds = self.configuration["methods"], self.configuration["seeds"]
        return len(methods) * len(seeds) * len(self.asked_entries)

    def panels(self) -> dict[str, list[Panel]]:
        """The panels of each plot, by the name of its files; none where it would show nothing."""
        calls = sorted({arm.calls for arm in self.comparison.arms})
        by_calls = along_calls(self.means) if len(calls) > 1 else []
        rounds, k = self.trajectories, "iteration k"
        curves = [
            metric_panels(self.curves, [METRICS[kind]], "image", x_label, y_label="score")
            for kind, x_label in CURVES.items()
        ]
        return {
            "metrics-by-calls": metric_panels(by_calls, PLOTTED, "image", "calls", ticks=calls),
            "metrics-by-iteration": metric_panels(rounds, PLOTTED, "image", k),
            "metrics-by-iteration-pixel": metric_panels(rounds, MAIN, "pixel", k),
            "curves": [panel for some in curves for panel in some],
        }


def compute_results(
    store: Store,
    labels: Sequence[str] | None,
    reference: str | None,
    pairs: Sequence[tuple[ArmName, ArmName]],
    bootstrap: Bootstrap,
) -> Results:
    """Compute all that the report of a run shows.

    Args:
        store: of the run, open.
        labels: of the methods to compare; None for all.
        reference: label of the method that the others are compared with; the first if None.
        pairs: further pairs of (label, calls) to compare.
        bootstrap: draws the intervals.

    Raises:
        InputError: a label or a number of calls is not in the run, or no item is finished.
    """
    run, last = read_settings(store)
    configuration = _choose_methods(store.configuration, labels)
    methods = {label: run.methods[label].calls for label in configuration["methods"]}
    seeds, limit = run.seeds, last.limit
    entries = store.entries()
    known = {entry.key for entry in entries}  # until it goes on, a salvaged run may lack some
    items = [
        item for item in store.items() if item.key.method in methods and item.key.entry in known
    ]
    if not items:
        raise InputError(
            f"expected a run with a finished item in {store.folder}, got none. Finish one first."
        )
    failures = [each for each in store.failures() if each.key.method in methods]
    failed = [each.key for each in failures]
    comparison = comparing.compare_methods(items, entries, methods, seeds, failed, limit)
    started = [label for label in methods if label not in comparison.not_started]
    reference = started[0] if reference is None else reference
    if reference not in started:
        raise InputError(
            f"expected a reference among the methods that have finished items, got {reference!r}. "
            f"Choose among {list_choices(started)}."
        )
    arms, common = comparison.arms, comparison.entries
    equal = comparing.pairs_at_equal_calls(arms, reference)
    asked = comparing.resolve_pairs(pairs, arms)
    shown = comparing.arms_at_shared_calls(arms)
    with_curves = store.items(with_curves=True)
    return Results(
        configuration=configuration,
        last=last,
        entries=entries,
        asked_entries=frozenset(entry.key for entry in asked_entries(entries, limit)),
        items=items,
        failures=failures,
        comparison=comparison,
        reference=reference,
        means=comparison.means(bootstrap),
        equal=comparison.differences(equal, bootstrap),
        asked=comparison.differences(asked, bootstrap),
        trajectories=along_rounds(items, entries, started, seeds, bootstrap),
        curves=along_curves(with_curves, common, shown, bootstrap),
        stabilities=_stabilities(store, items, common, shown, seeds, bootstrap),
        other_classes=_other_classes(items, common, arms, bootstrap),
        bootstrap=bootstrap,
    )


def _choose_methods(
    configuration: Mapping[str, Any], labels: Sequence[str] | None
) -> dict[str, Any]:
    """The configuration with the methods of these labels alone."""
    methods = configuration["methods"]
    labels = list(methods) if labels is None else labels
    unknown = [label for label in labels if label not in methods]
    if unknown or not labels:
        got = repr(unknown[0]) if unknown else "none"
        raise InputError(
            f"expected methods of the run, got {got}. Choose among {list_choices(methods)}."
        )
    return {**configuration, "methods": {label: methods[label] for label in labels}}


def _stabilities(
    store: Store,
    items: Sequence[Item],
    entries: Sequence[Entry],
    arms: Sequence[Arm],
    seeds: Sequence[int],
    bootstrap: Bootstrap,
) -> dict[Arm, list[Estimate]]:
    """How alike the maps of different seeds are, see `metrics.stability`; means over entries."""
    if len(seeds) < 2 or not entries:
        return {}
    by_key = {item.key: item for item in items}

    def read_map(key: ItemKey, calls: int) -> NDArray[np.float32]:
        place = comparing.place_at_calls(by_key[key], calls)
        assert place is not None, "all methods have the entries that are compared"
        return store.saliency(key, place)

    found = {}
    for arm in arms:
        each = [
            metrics.stability(
                [read_map(ItemKey(entry.key, arm.label, seed), arm.calls) for seed in seeds]
            )
            for entry in entries
        ]
        values = np.array([[one.rank_correlation, one.top_overlap] for one in each])
        found[arm] = bootstrap.estimate_means(values, [entry.image for entry in entries])
    return found


def _other_classes(
    items: Sequence[Item], entries: Sequence[Entry], arms: Sequence[Arm], bootstrap: Bootstrap
) -> dict[Arm, list[Estimate]]:
    """Means of the likeness of the maps of another class, over seeds and then entries."""
    images = {entry.key: entry.image for entry in entries}
    found = {}
    for arm in arms:
        of_entries: dict[str, list[list[float]]] = {}
        for item in items:
            place = comparing.place_at_calls(item, arm.calls)
            if item.key.method == arm.label and item.key.entry in images and place is not None:
                values = item.snapshots[place].metrics
                if all(name in values for name in OTHER_CLASS):
                    own = of_entries.setdefault(item.key.entry, [])
                    own.append([values[name] for name in OTHER_CLASS])
        means = np.array([np.mean(some, axis=0) for some in of_entries.values()])
        named = [images[key] for key in of_entries]
        found[arm] = bootstrap.estimate_means(means, named) if named else [NONE] * len(OTHER_CLASS)
    return found
