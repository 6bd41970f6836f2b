"""Metrics round by round, and mean curves, against sums in the test."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from iassa.benchmark.report.comparison import Arm, Mean
from iassa.benchmark.report.statistics import Bootstrap, Estimate
from iassa.benchmark.report.trajectories import along_calls, along_curves, along_rounds
from iassa.metrics import Curve
from reported_runs import make_entry, stored

ENTRIES = [make_entry(number) for number in range(4)]
FEW = Bootstrap(200)


def test_an_entry_that_stopped_keeps_its_map():
    f1 = [{1: 0.1, 2: 0.3, 3: 0.5}, {1: 0.2, 2: 0.6}, {1: 0.0, 3: 0.9}]
    items = [
        stored(ENTRIES[n], "paper", 0, rounds={k: {"f1": value} for k, value in rounds.items()})
        for n, rounds in enumerate(f1)
    ]
    (found,) = along_rounds(items, ENTRIES, ["rise", "paper"], [0], FEW)
    assert (found.label, found.x) == ("paper", (1, 2, 3))
    expected = [(0.1 + 0.2 + 0.0) / 3, (0.3 + 0.6 + 0.0) / 3, (0.5 + 0.6 + 0.9) / 3]
    assert [each.mean for each in found.columns["image", "f1"]] == pytest.approx(expected)


def test_rounds_begin_where_every_entry_has_one_and_seeds_are_averaged():
    items = [
        stored(ENTRIES[0], "paper", seed, rounds={k: {"f1": k + seed} for k in (1, 2, 3)})
        for seed in (0, 1)
    ]
    items += [
        stored(ENTRIES[1], "paper", seed, rounds={k: {"f1": 10.0 * k} for k in (2, 4)})
        for seed in (0, 1)
    ]
    items.append(stored(ENTRIES[2], "paper", 0, rounds={1: {"f1": 99.0}}))  # a seed is missing
    items.append(stored(ENTRIES[3], "rise", 0, {100: {"f1": 99.0}}))
    (found,) = along_rounds(items, ENTRIES, ["paper", "rise"], [0, 1], FEW)
    assert found.x == (2, 3, 4)
    expected = [(2.5 + 20) / 2, (3.5 + 20) / 2, (3.5 + 40) / 2]
    assert [each.mean for each in found.columns["image", "f1"]] == pytest.approx(expected)


def test_pixel_level_after_rounds():
    rounds = {1: {"f1": 0.5, "activated_pixels": 10.0}, 2: {"f1": 0.5, "activated_pixels": 5.0}}
    (found,) = along_rounds([stored(ENTRIES[0], "p", rounds=rounds)], ENTRIES, ["p"], [0], FEW)
    assert [each.mean for each in found.columns["pixel", "f1"]] == pytest.approx([0.05, 0.1])
    assert ("image", "activated_pixels") not in found.columns


@pytest.mark.parametrize("seed", [0, 1])
def test_mean_curve_of_curves_with_other_steps(seed):
    rng = np.random.default_rng(seed)
    curves = {}
    items = []
    for n, entry in enumerate(ENTRIES[:3]):
        for each in (0, 1):
            steps = 4 + n
            curve = Curve(rng.uniform(size=steps + 1), np.linspace(0, 1, steps + 1))
            curves[n, each] = curve
            budgets = {100: {"f1": 0.5}, 200: {"f1": 0.5}}
            items.append(stored(entry, "a", each, budgets, curves={"deletion": curve}))
    others = [stored(ENTRIES[3], "a", 0, {100: {}}, curves={"deletion": curves[0, 0]})]
    (found,) = along_curves(items + others, ENTRIES[:3], [Arm("a", 200), Arm("b", 100)], FEW)
    assert (found.label, set(found.columns)) == ("a", {("image", "deletion")})
    for place in (0, 13, 50, 100):
        share = place / 100
        values = []
        for curve in curves.values():
            step = share * (len(curve.scores) - 1)
            left = min(int(step + 1e-9), len(curve.scores) - 2)
            rest = step - left
            values.append(curve.scores[left] * (1 - rest) + curve.scores[left + 1] * rest)
        assert found.x[place] == pytest.approx(share)
        assert found.columns["image", "deletion"][place].mean == pytest.approx(np.mean(values))


def test_the_curve_at_the_calls_of_a_method_measured_after_every_round_is_its_last():
    low, high = (Curve(np.full(3, value), np.linspace(0, 1, 3)) for value in (0.1, 0.9))
    first = stored(ENTRIES[0], "p", rounds={1: {}}, curves={"insertion": low})
    last = stored(ENTRIES[0], "p", rounds={2: {}}, curves={"insertion": high})
    item = dataclasses.replace(first, snapshots=(*first.snapshots, *last.snapshots))
    (found,) = along_curves([item], ENTRIES[:1], [Arm("p", 100)], FEW)
    assert found.columns["image", "insertion"][0].mean == pytest.approx(0.9)


def test_means_along_the_calls():
    estimates = [Estimate(value, 0.0, 1.0, 9, 9) for value in (0.1, 0.2, 0.3)]
    arms = (Arm("a", 100), Arm("b", 100), Arm("a", 200))
    means = [Mean(arm, "image", "f1", each) for arm, each in zip(arms, estimates, strict=True)]
    one, other = along_calls(means)
    assert (one.label, one.x, one.columns) == ("a", (100, 200), {("image", "f1"): estimates[::2]})
    assert (other.label, other.x) == ("b", (100,))
