"""Who is compared with whom, over which entries; differences by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from iassa.benchmark.report.comparison import (
    Arm,
    arms_at_shared_calls,
    compare_methods,
    pairs_at_equal_calls,
    resolve_pairs,
)
from iassa.benchmark.report.statistics import MIN_IMAGES, Bootstrap
from iassa.benchmark.store.records import ItemKey
from iassa.errors import InputError
from reported_runs import make_entry, stored

METHODS = {"a": [100, 200], "b": [100]}
A1, A2, B1 = Arm("a", 100), Arm("a", 200), Arm("b", 100)
ENTRIES = [make_entry(number) for number in range(7)]


def run_of(values, seeds=(0,)):
    """Items of `ENTRIES` by methods a and b from values[arm][entry][seed] of the F1."""
    return [
        stored(entry, label, seed, {arm.calls: {"f1": values[arm][n][k]} for arm in arms})
        for label, arms in (("a", (A1, A2)), ("b", (B1,)))
        for n, entry in enumerate(ENTRIES)
        for k, seed in enumerate(seeds)
    ]


def drawn(seed=0, seeds=1):
    rng = np.random.default_rng(seed)
    return {arm: rng.uniform(size=(len(ENTRIES), seeds)) for arm in (A1, A2, B1)}


@pytest.mark.parametrize("seed", [0, 1])
def test_means_and_differences_by_hand(seed):
    values = drawn(seed, seeds=2)
    comparison = compare_methods(run_of(values, (0, 1)), ENTRIES, METHODS, [0, 1])
    assert comparison.arms == (A1, B1, A2)
    assert comparison.left_out == 0
    found = {mean.arm: mean.estimate for mean in comparison.means(Bootstrap(50))}
    for arm, table in values.items():
        by_hand = sum((first + second) / 2 for first, second in table) / len(ENTRIES)
        assert found[arm].mean == pytest.approx(by_hand, rel=1e-12)
        assert found[arm].num_entries == found[arm].num_images == len(ENTRIES)
    (difference,) = comparison.differences([(A2, B1)], Bootstrap(50))
    gaps = values[A2].mean(axis=1) - values[B1].mean(axis=1)
    assert difference.estimate.mean == pytest.approx(gaps.mean(), rel=1e-12)
    assert (difference.one, difference.other, difference.metric) == (A2, B1, "f1")


def test_pairing_shows_what_the_means_alone_do_not():
    hard = np.linspace(0, 0.8, len(ENTRIES))[:, None]
    values = {A1: hard + 0.02, A2: hard, B1: hard}
    comparison = compare_methods(run_of(values), ENTRIES, METHODS, [0])
    one, other = (mean.estimate for mean in comparison.means(Bootstrap())[:2])
    assert one.low < other.high  # the intervals overlap
    (difference,) = comparison.differences([(A1, B1)], Bootstrap())
    assert difference.estimate.low == pytest.approx(0.02)
    assert difference.verdict == "better"
    (same,) = comparison.differences([(A2, B1)], Bootstrap())
    assert (same.estimate.low, same.estimate.high, same.verdict) == (0, 0, "not shown")


def test_less_deletion_is_better():
    items = [
        stored(entry, label, 0, {100: {"deletion": value, "insertion": value}})
        for label, value in (("a", 0.1), ("b", 0.2))
        for entry in ENTRIES
    ]
    comparison = compare_methods(items, ENTRIES, {"a": [100], "b": [100]}, [0])
    verdicts = {
        each.metric: each.verdict for each in comparison.differences([(A1, B1)], Bootstrap())
    }
    assert verdicts == {"deletion": "better", "insertion": "worse"}


def test_order_of_the_items_does_not_matter():
    items = run_of(drawn(2))
    shuffled = [items[place] for place in np.random.default_rng(0).permutation(len(items))]
    one, other = (compare_methods(each, ENTRIES, METHODS, [0]) for each in (items, shuffled))
    assert one.means(Bootstrap(50)) == other.means(Bootstrap(50))


def test_only_entries_that_all_have_with_every_seed():
    excluded = make_entry(7, excluded="score below 0.15")
    items = run_of(drawn(3, seeds=2), (0, 1))
    gone = {
        ItemKey(ENTRIES[0].key, "a", 1),
        ItemKey(ENTRIES[2].key, "b", 0),
        ItemKey(ENTRIES[2].key, "a", 0),
    }
    items = [item for item in items if item.key not in gone]
    other = [stored(ENTRIES[0], "unknown", 0, {100: {"f1": 1.0}}), stored(excluded, "a", 0)]
    comparison = compare_methods(
        items + other,
        [*ENTRIES, excluded],
        METHODS | {"late": [100]},
        [0, 1],
        failed=[ItemKey(ENTRIES[2].key, "b", 0)],
    )
    assert comparison.entries == (ENTRIES[1], *ENTRIES[3:])
    assert comparison.left_out == 2
    assert comparison.reasons == {"a: not done yet": 2, "b: failed": 1}
    assert comparison.not_started == ("late",)
    assert all(len(column.images) == 5 for column in comparison.columns.values())


@pytest.mark.parametrize("limit", [None, 1, 3, 5, 7, 9])
def test_what_is_beyond_the_limit_is_not_missed(limit):
    """Scores 4, 0, 3, 6, 2, 5, 1: b lacks entry 6, which is the last but one, and entry 3."""
    scores = [4, 0, 3, 6, 2, 5, 1]
    entries = [replace(one, score=s / 7) for one, s in zip(ENTRIES, scores, strict=True)]
    gone = {ItemKey(entries[place].key, "b", 0) for place in (3, 6)}
    items = [item for item in run_of(drawn(5)) if item.key not in gone]
    comparison = compare_methods(items, entries, METHODS, [0], limit=limit)
    assert comparison.entries == tuple(entries[place] for place in (0, 1, 2, 4, 5))
    missed = 2 if limit is None or limit >= 6 else 1
    assert comparison.left_out == missed
    assert comparison.reasons == {"b: not done yet": missed}
    assert comparison.not_asked == 2 - missed


def test_a_map_that_is_missing_at_one_number_of_calls_is_said():
    items = run_of(drawn(4))
    items[0] = stored(ENTRIES[0], "a", 0, {100: {"f1": 0.5}})
    comparison = compare_methods(items, ENTRIES, METHODS, [0])
    assert comparison.reasons == {"a: no map at one of its numbers of calls": 1}


def test_nothing_in_common():
    items = [
        item
        for item in run_of(drawn(5))
        if (item.key.method == "a") == (item.key.entry < "images/003")
    ]
    comparison = compare_methods(items, ENTRIES, METHODS, [0])
    assert comparison.entries == ()
    assert comparison.means(Bootstrap()) == []
    assert comparison.differences([(A1, B1)], Bootstrap()) == []
    nothing = compare_methods([], ENTRIES, METHODS, [0])
    assert nothing.arms == ()
    assert nothing.left_out == len(ENTRIES)


def test_pixel_level_is_taken_of_each_map_and_then_averaged():
    rows = [(0.5, 10.0), (0.2, 1000.0), (0.9, 0.0)]  # F1 and activated pixels; the last map is flat
    items = [
        stored(ENTRIES[n], "b", 0, {100: {"f1": f1, "activated_pixels": count, "sparsity": 0.1}})
        for n, (f1, count) in enumerate(rows)
    ]
    comparison = compare_methods(items, ENTRIES[:3], {"b": [100]}, [0])
    found = {(mean.level, mean.metric): mean.estimate for mean in comparison.means(Bootstrap())}
    assert found["pixel", "f1"].mean == pytest.approx((0.5 / 10 + 0.2 / 1000) / 2)
    assert found["pixel", "f1"].num_entries == 2
    assert found["image", "f1"].mean == pytest.approx(1.6 / 3)
    assert found["image", "activated_pixels"].mean == pytest.approx(1010 / 3)
    assert ("pixel", "sparsity") not in found
    assert ("pixel", "activated_pixels") not in found


def test_metrics_without_annotation_are_over_the_entries_with_one():
    items = [
        stored(entry, "b", 0, {100: {"insertion": 0.1 * n} | ({"f1": 0.3} if n < 4 else {})})
        for n, entry in enumerate(ENTRIES)
    ]
    found = {
        mean.metric: mean.estimate
        for mean in compare_methods(items, ENTRIES, {"b": [100]}, [0]).means(Bootstrap())
    }
    assert (found["insertion"].num_entries, found["f1"].num_entries) == (7, 4)


def test_an_item_measured_after_every_round_ends_with_its_map_at_the_calls():
    rounds = [{k: {"f1": 0.1 * k} for k in (1, 2, 3 + n % 2)} for n in range(len(ENTRIES))]
    items = [stored(entry, "b", 0, rounds=rounds[n]) for n, entry in enumerate(ENTRIES)]
    comparison = compare_methods(items, ENTRIES, {"b": [100]}, [0])
    (mean,) = comparison.means(Bootstrap())
    assert mean.arm == B1
    assert mean.estimate.mean == pytest.approx((4 * 0.3 + 3 * 0.4) / 7)


def test_few_images_show_nothing():
    values = drawn(6)
    values[A1] = values[B1] + 0.5
    for count in (1, 2, MIN_IMAGES - 1, MIN_IMAGES):
        comparison = compare_methods(run_of(values), ENTRIES[:count], METHODS, [0])
        (difference,) = comparison.differences([(A1, B1)], Bootstrap())
        assert (difference.verdict == "better") == (count >= MIN_IMAGES)
        assert math.isnan(difference.estimate.low) == (count == 1)


def test_pairs():
    arms = [
        Arm("a", 100),
        Arm("b", 100),
        Arm("c", 100),
        Arm("a", 200),
        Arm("c", 200),
        Arm("c", 400),
    ]
    a1, b1, c1, a2, c2, c4 = arms
    assert pairs_at_equal_calls(arms) == [(a1, b1), (a1, c1), (b1, c1), (a2, c2)]
    assert pairs_at_equal_calls(arms, "a") == [(b1, a1), (c1, a1), (b1, c1), (c2, a2)]
    assert resolve_pairs([(("a", 100), ("c", 400))], arms) == [(a1, c4)]
    assert arms_at_shared_calls(arms) == [a1, b1, c1]
    assert arms_at_shared_calls([a1, c4]) == [a1, c4]
    assert arms_at_shared_calls([]) == []


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ((("a", 100), ("b", 200)), r"\(a at 100, b at 100, a at 200\), got 'b at 200'"),
        ((("z", 100), ("b", 100)), "got 'z at 100'"),
        ((("a", 100), ("a", 100)), "two different things"),
    ],
)
def test_pairs_that_are_not_there(pair, message):
    with pytest.raises(InputError, match=message):
        resolve_pairs([pair], [A1, B1, A2])
