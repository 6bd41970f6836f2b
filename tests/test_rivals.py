"""benchmarks/rivals.py: its settings can be used, and the best are chosen on the same pairs."""

from __future__ import annotations

import pytest

from iassa.benchmark import parse_contestant
from iassa.methods import METHODS
from scripts import loaded


@pytest.fixture(scope="module")
def rivals():
    with loaded("rivals") as module:
        yield module


def test_every_rival_has_its_defaults_among_other_settings(rivals):
    ours = {"iassa", "iassa-paper"}
    assert rivals.GRIDS.keys() == METHODS.keys() - ours
    tried = rivals.list_settings(rivals.GRIDS, [100, 500])
    for method, kind in METHODS.items():
        if method in ours:
            continue
        made = [one.method for _, one in tried.values() if one.method.name == method]
        assert len(set(made)) == len(made) >= 2
        assert made[0].as_dict() in (kind().as_dict(), kind(baseline="grey").as_dict())
    assert {one.calls for _, one in tried.values()} == {(100, 500)}


def test_the_highest_mean_over_the_pairs_that_all_have_is_chosen(rivals):
    settings = {"rise.0": "grid_size=7", "rise.1": "grid_size=5", "greedy.0": "pending=8"}
    gains = {
        ("rise.0", 100): {("a", 0): 0.1, ("b", 0): 0.3, ("c", 0): 9.0},
        ("rise.1", 100): {("a", 0): 0.2, ("b", 0): 0.4},
        ("rise.0", 500): {("a", 0): 0.5},
        ("rise.1", 500): {("a", 0): 0.5},
        ("greedy.0", 100): {("a", 0): 0.7},
        ("greedy.1", 100): {("a", 0): 0.9},  # of an earlier run
    }
    found = {(one["method"], one["calls"]): one for one in rivals.choose(gains, settings)}
    assert found.keys() == {("rise", 100), ("rise", 500), ("greedy", 100)}
    best = found["rise", 100]
    assert (best["settings"], best["pairs"]) == ("grid_size=5", 2)
    assert best["gain"] == pytest.approx(0.3)
    assert best["tried"] == pytest.approx({"grid_size=7": 0.2, "grid_size=5": 0.3})
    assert found["rise", 500]["settings"] == "grid_size=7"  # of equals the first
    assert found["greedy", 100]["settings"] == "pending=8"
    contestant = parse_contestant(best["option"], [999])
    assert (contestant.calls, contestant.method.grid_size) == ((100,), 5)
