"""benchmarks/registered.py: differences image by image, and Holm's correction."""

from __future__ import annotations

import numpy as np
import pytest

from scripts import loaded


@pytest.fixture(scope="module")
def registered():
    with loaded("registered") as module:
        yield module


def test_entries_of_an_image_are_one_difference(registered):
    ours = {"a.jpg dog": {"gain": 0.5}, "a.jpg cat": {"gain": 0.3}, "b.jpg dog": {"gain": 0.2}}
    theirs = {"a.jpg dog": {"gain": 0.4}, "a.jpg cat": {"gain": 0.0}, "c.jpg dog": {"gain": 9.0}}
    theirs["b.jpg dog"] = {"gain": 0.6}
    images = {entry: entry.split()[0] for entry in (*ours, *theirs)}
    arms = registered.Arms({("iassa", 500): ours, ("rise", 1000): theirs}, images)
    found = registered.compare("gain", arms, ("rise", 1000), "coco")
    assert found.differences == pytest.approx([0.2, -0.4])
    assert found.name == "`rise` at 1000 | gain | coco"


def test_the_smallest_p_has_the_strictest_level_and_the_order_stays(registered, monkeypatch):
    monkeypatch.setattr(registered, "RESAMPLES", 2000)
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 1, 12)
    rows = registered.correct(
        [
            registered.Comparison("none", noise - noise.mean()),
            registered.Comparison("clear", 5 + noise),
            registered.Comparison("weak", 0.4 + noise - noise.mean()),
        ]
    )
    assert [row.split(" | ")[0] for row in rows] == ["| none", "| clear", "| weak"]
    assert [row.split(" | ")[4] for row in rows] == ["0.0500", "0.0167", "0.0250"]
    assert [row.split(" | ")[5] for row in rows] == ["no |", "yes |", "no |"]
    # By hand: all 12 signs must agree, one way or the other, in 2 of 2 ** 12 cases.
    assert float(rows[1].split(" | ")[3]) == pytest.approx(2 / 2**12, abs=2e-3)


def test_seeds_are_averaged_over_the_metrics_that_all_have(registered):
    found = registered.average([{"gain": 0.2, "f1": 1.0}, {"gain": 0.4}])
    assert found == pytest.approx({"gain": 0.3})


def with_gains(*means):
    """One entry whose gains are these under the four fills."""
    fills = ("grey", "blur", "mean", "road")
    return {"e": {f"gain_{fill}": mean for fill, mean in zip(fills, means, strict=True)}}


def test_ranks_are_over_fills_and_models_of_the_methods_that_all_have(registered):
    first = {
        ("iassa", 500): with_gains(0.4, 0.1, 0.3, 0.3),
        ("rise", 500): with_gains(0.3, 0.2, 0.2, 0.3),
        ("rise", 1000): with_gains(0.9, 0.9, 0.9, 0.9),
        ("greedy", 500): with_gains(1, 1, 1, 1),
    }
    second = {arm: with_gains(0.1, 0.1, 0.1, k) for k, arm in enumerate(first) if k < 2}
    models = {"lite0": registered.Arms(first, {}), "lite1": registered.Arms(second, {})}
    heads, _, *rows = registered.rank_models(models)
    assert heads.count("|") == 2 + 8 + 1
    # By hand: iassa 1, 2, 1, 1.5 and 1.5, 1.5, 1.5, 2; rise 2, 1, 2, 1.5 and 1.5, 1.5, 1.5, 1.
    assert [row.split(" | ")[:2] for row in rows] == [["| `iassa`", "1.50"], ["| `rise`", "1.50"]]
    assert rows[0].endswith("| 1 | 2 | 1 | 1.5 | 1.5 | 1.5 | 1.5 | 2 |")


def test_each_arm_has_a_row_of_differences(registered, monkeypatch):
    monkeypatch.setattr(registered, "RESAMPLES", 500)
    entries = [f"{k}.jpg" for k in range(6)]
    ours = {entry: {"gain": 0.5 + 0.01 * k} for k, entry in enumerate(entries)}
    theirs = {entry: {"gain": 0.4} for entry in entries}
    arms = registered.Arms(
        {("iassa", 500): ours, ("rise", 1000): theirs}, {entry: entry for entry in entries}
    )
    heads, _, means, row = registered.tell_differences(arms, "coco")
    assert heads == "| coco | calls | gain |"
    assert means == "| `iassa` | 500 | 0.525 |"
    assert row.startswith("| minus `rise` | 1000 | **+0.125 [+0.1")
