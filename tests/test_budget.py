"""Tolerance, progress and cancel: when a run ends, and what it tells on the way."""

from __future__ import annotations

import dataclasses
import math
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import iassa
import iassa.methods.engine.budget
from iassa.errors import CancelledError, InputError, WeakEvidenceWarning
from iassa.estimators.effect import Effect
from iassa.estimators.jackknife import Lattice
from iassa.methods import Hsic, Iassa, IassaPaper, Lime, Occlusion, Rise, Sobol
from iassa.methods.engine.budget import Budget, Progress

SIZE = (18, 27)
IMAGE = np.random.default_rng(0).uniform(0.1, 0.2, (*SIZE, 3)).astype(np.float32)
IMAGE[4:9, 15:22] = 0.95
METHODS = {
    "iassa": Iassa(
        round_calls=32,
        segment_counts=(8, 16),
        fine_segment_counts=(16,),
        compactness=(10.0,),
        features="colour-position",
        positions=12,
    ),
    "iassa-paper": IassaPaper(features="none", window=90.0, stride=40.0, max_rounds=3),
    "rise": Rise(round_calls=32),
    "sliding-window": Occlusion(round_calls=32),
    "lime": Lime(round_calls=32, segmentation="slic", num_segments=12),
    "sobol": Sobol(round_designs=3, grid_size=3),
    "hsic": Hsic(round_calls=32, grid_size=4),
}


def outputs(images):
    patch = images[:, 4:9, 15:22].mean((1, 2, 3), dtype=np.float64)
    return np.stack([patch, 1 - patch], 1)


def constant(images):
    return np.full((len(images), 2), 0.25)


SEVERAL = [0, 1, "0 vs 1"]


# --- tolerance --------------------------------------------------------------------------------


@pytest.mark.parametrize("tolerance", [0, 0.0, -0.1, math.nan, 1, 1.5, math.inf, -math.inf])
def test_tolerances_that_cannot_be_are_refused(tolerance):
    with pytest.raises(InputError, match="tolerance above 0 and below 1"):
        Rise().iterate(IMAGE, lambda images: 1 / 0, tolerance=tolerance)


@pytest.mark.parametrize(
    ("name", "target"),
    [("iassa", SEVERAL), ("rise", 0), ("rise", SEVERAL), ("lime", SEVERAL)],
    ids=["iassa", "rise, one", "rise", "lime"],
)
def test_a_run_ends_after_the_first_round_that_is_known_well_enough(name, target):
    every = list(METHODS[name].iterate(IMAGE, outputs, target=target, calls=3000))
    errors = [one.relative_error for one in every]
    lowest, second = sorted(errors[:-1])[:2]
    assert lowest < second
    edges = (errors[3], np.nextafter(errors[3], 0), second, np.nextafter(second, 0))
    for tolerance in (0.25, 0.1, *edges):
        first = next(k for k, error in enumerate(errors) if error <= tolerance)
        found = list(
            METHODS[name].iterate(IMAGE, outputs, target=target, calls=3000, tolerance=tolerance)
        )
        assert [one.relative_error for one in found] == errors[: first + 1]
        assert [one.stopped for one in found] == ["running"] * first + ["tolerance"]
        assert found[-1].complete
        assert found[-1].calls == 2 + 32 * (first + 1)
        np.testing.assert_array_equal(found[-1].saliency, every[first].saliency)


@pytest.mark.filterwarnings("ignore::iassa.errors.WeakEvidenceWarning")
@pytest.mark.parametrize("fills", [("grey",), ("grey", "blur")], ids=["one fill", "two fills"])
@pytest.mark.parametrize("name", ["iassa", "rise", "lime"])
def test_a_long_round_ends_once_the_map_is_known_well_enough(name, fills):
    """It is looked at after every 64 masks; a run of as many calls has the same map."""
    method = dataclasses.replace(METHODS[name], round_calls=512, baseline=fills)
    many = {
        calls: iassa.explain(IMAGE, outputs, method=method, target=SEVERAL, calls=calls)
        for calls in range(2 + 64, 2 + 64 * 11, 64)
    }
    errors = [one.relative_error for one in many.values()]
    for tolerance in (max(errors), float(np.median(errors)), min(errors)):
        calls = next(calls for calls, one in many.items() if one.relative_error <= tolerance)
        asked = {"method": method, "target": SEVERAL, "tolerance": tolerance * (1 + 1e-6)}
        found = iassa.explain(IMAGE, outputs, calls=3000, **asked)
        assert (found.calls, found.stopped, found.complete) == (calls, "tolerance", True)
        assert_close(found, many[calls])
        begun = iassa.explain(IMAGE, outputs, method=method, target=SEVERAL, calls=40)
        more = iassa.extend(begun, outputs, calls=3000, tolerance=tolerance * (1 + 1e-6))
        assert (more.calls, more.stopped) == (calls, "tolerance")
        assert_close(more, many[calls])
        last = iassa.extend(more, outputs, calls=max(many) - calls + 1)
        assert_close(
            last, iassa.explain(IMAGE, outputs, calls=last.calls, **asked | {"tolerance": None})
        )


def assert_close(one, other):
    """The same map and error, but for the order in which float32 sums were made."""
    peak = np.abs(other.saliency).max()
    np.testing.assert_allclose(one.saliency, other.saliency, atol=1e-5 * peak)
    np.testing.assert_allclose(one.standard_error, other.standard_error, atol=1e-4 * peak)


@pytest.mark.parametrize("calls", [33, 40, 65])
def test_calls_end_it_first(calls):
    """At the end of a round too: a tolerance that is met by then makes no difference."""
    found = iassa.explain(IMAGE, outputs, method=METHODS["rise"], calls=calls, tolerance=1e-9)
    assert (found.stopped, found.calls) == ("calls", calls)
    found = iassa.explain(IMAGE, outputs, method=METHODS["rise"], calls=33, tolerance=0.99)
    assert found.relative_error <= 0.99
    assert (found.stopped, found.calls) == ("calls", 33)


def test_what_is_never_known_goes_on_to_its_budget():
    """Windows are hidden in a random order: those of a few rounds leave gaps."""
    found = iassa.explain(IMAGE, outputs, method=METHODS["sliding-window"], calls=40, tolerance=0.9)
    assert found.relative_error == math.inf
    assert (found.stopped, found.calls) == ("calls", 40)


def test_windows_of_a_whole_lattice_are_known_whatever_the_tolerance():
    """Nothing is left to sample after an iteration; others would be of another lattice."""
    every = list(METHODS["iassa-paper"].iterate(IMAGE, outputs, calls=1500))
    assert len(every) == 3
    assert [one.relative_error for one in every] == [0, 0, 0]
    assert every[-1].stopped == "rounds"
    found = iassa.explain(IMAGE, outputs, method=METHODS["iassa-paper"], calls=1500, tolerance=1e-9)
    assert (found.stopped, found.calls) == ("tolerance", every[0].calls)
    np.testing.assert_array_equal(found.saliency, every[0].saliency)
    cut = iassa.explain(
        IMAGE, outputs, method=METHODS["iassa-paper"], calls=every[1].calls - 5, tolerance=1e-9
    )
    assert cut.stopped == "tolerance"
    cut = iassa.explain(IMAGE, outputs, method=METHODS["iassa-paper"], calls=every[1].calls - 5)
    assert 0 < cut.relative_error < 1


def test_auto_is_a_tolerance_and_a_bound():
    """Words for numbers that can be given: the same runs, with a tolerance of one's own too."""
    rise = METHODS["rise"]
    for asked, meant in (
        ({}, {"tolerance": 0.1}),
        ({"tolerance": 0.2}, {"tolerance": 0.2}),
        ({"tolerance": 1e-9, "max_seconds": 1e-9}, {"tolerance": 1e-9, "max_seconds": 1e-9}),
    ):
        found = iassa.explain(IMAGE, outputs, method=rise, calls="auto", seed=5, **asked)
        same = iassa.explain(IMAGE, outputs, method=rise, calls=4000, seed=5, **meant)
        assert (found.calls, found.stopped) == (same.calls, same.stopped)
        np.testing.assert_array_equal(found.saliency, same.saliency)
        assert found.stopped == ("seconds" if "max_seconds" in asked else "tolerance")
    wider = iassa.explain(IMAGE, outputs, method=rise, calls="auto", tolerance=0.2, seed=5)
    more = iassa.extend(wider, outputs, calls="auto")
    once = iassa.explain(IMAGE, outputs, method=rise, calls="auto", seed=5)
    assert wider.relative_error > 0.1 >= more.relative_error
    assert (more.calls, more.stopped) == (once.calls, "tolerance")
    # All of the calls are made where the tolerance is not met by then.
    bound = rise.iterate(IMAGE, outputs, calls="auto", tolerance=1e-9)
    assert [one.calls for one in bound][-1] == 4000


@pytest.mark.parametrize("calls", ["Auto", "", "1000", None, True, ("auto",)])
def test_other_words_for_calls_are_refused(calls):
    with pytest.raises(InputError, match="expected calls to be a whole number or 'auto', got"):
        Rise().iterate(IMAGE, lambda images: 1 / 0, calls=calls)


def test_a_black_box_that_says_always_the_same_is_known_at_once():
    with pytest.warns(WeakEvidenceWarning, match="scores the same"):
        found = iassa.explain(IMAGE, constant, method=METHODS["rise"], calls=1000, tolerance=0.01)
    assert (found.stopped, found.calls, found.relative_error) == ("tolerance", 34, 0.0)


def effect(saliency, error, signed=True, sampled=None):
    """An effect with two groups that deviate by plus and minus the error: SE^2 = 1/2 2 e^2."""
    saliency = torch.tensor(saliency, dtype=torch.float32)
    error = torch.tensor(error, dtype=torch.float64)
    size = (saliency.shape[1], saliency.shape[2])
    assert Lattice.over(size, torch.device("cpu")).size == size  # so small that it is every pixel
    known = error.isfinite().all(0)
    deviations = torch.stack([error, -error])
    everywhere = torch.ones(size, dtype=torch.bool)
    return Effect(
        saliency=saliency,
        sampled=everywhere if sampled is None else torch.tensor(sampled),
        deviations=torch.where(known, deviations, 0.0),
        settled=known,
        signed=signed,
    )


INF = math.inf


@pytest.mark.parametrize(
    ("saliency", "error", "signed", "expected"),
    [
        # Above 0.3 of 10 lie 10 and 4, with errors 1 and 3: sqrt(5) of 10.
        ([[10.0, 4.0, 2.0, -2.0]], [[1.0, 3.0, 9.0, 9.0]], True, math.sqrt(5) / 10),
        ([[10.0, 3.0, 2.9, 0.0]], [[1.0, 3.0, 9.0, 9.0]], True, math.sqrt(5) / 10),
        # The peak may be negative, and pixels of either sign count.
        ([[-10.0, 4.0, 2.0, -2.0]], [[1.0, 3.0, 9.0, 9.0]], True, math.sqrt(5) / 10),
        ([[-10.0, -4.0, -2.0, -1.0]], [[1.0, 3.0, 9.0, 9.0]], True, math.sqrt(5) / 10),
        # A mean score is counted from its lowest, whatever its sign.
        ([[110.0, 104.0, 102.0, 100.0]], [[1.0, 3.0, 9.0, 9.0]], False, math.sqrt(5) / 10),
        ([[-5.0, -11.0, -13.0, -15.0]], [[1.0, 3.0, 9.0, 9.0]], False, math.sqrt(5) / 10),
        ([[5.0, -1.0, -3.0, -5.0]], [[1.0, 3.0, 9.0, 9.0]], False, math.sqrt(5) / 10),
        # What is not known matters where the map is strong, and only there.
        ([[10.0, 4.0, 2.0, 0.0]], [[1.0, INF, 1.0, 1.0]], True, INF),
        # Flat: nothing is high; known if the scores do not vary either.
        ([[0.0, 0.0, 0.0, 0.0]], [[0.0, 0.0, 0.0, 0.0]], True, 0.0),
        ([[3.0, 3.0, 3.0, 3.0]], [[0.0, 0.0, 0.0, 0.0]], False, 0.0),
        ([[0.0, 0.0, 0.0, 0.0]], [[1.0, 1.0, 1.0, 1.0]], True, INF),
        ([[3.0, 3.0, 3.0, 3.0]], [[1.0, 1.0, 1.0, 1.0]], False, INF),
        ([[1e30, 1e29, 0.0, 0.0]], [[1e28, 1e30, 0.0, 0.0]], True, 0.01),
    ],
)
def test_relative_error_by_hand(saliency, error, signed, expected):
    assert effect([saliency], [error], signed).relative_errors == pytest.approx((expected,))


def test_each_target_has_its_own_relative_error():
    maps = [[[10.0, 4.0, 2.0]], [[0.0, 1.0, -0.5]]]
    errors = [[[1.0, 3.0, 9.0]], [[9.0, 0.5, 0.1]]]
    expected = (math.sqrt(5) / 10, math.sqrt((0.5**2 + 0.1**2) / 2))
    assert effect(maps, errors).relative_errors == pytest.approx(expected)


def test_pixels_that_were_never_sampled_are_not_known():
    """That the map is low there is no matter: it is not known to be."""
    maps, errors = [[[10.0, 4.0, 2.0]]], [[[1.0, 1.0, 1.0]]]
    assert effect(maps, errors, sampled=[[True, False, True]]).relative_errors == (INF,)
    low = effect(maps, errors, sampled=[[True, True, False]])
    assert low.relative_errors == (INF,)


# --- progress ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", METHODS)
def test_progress_tells_the_rate_and_the_latest_map(name):
    told: list[Progress] = []
    yielded = []
    run = METHODS[name].iterate(IMAGE, outputs, calls=150, batch_size=7, progress=told.append)
    for explanation in run:
        # What was told since is of this round; all of it still has the map before.
        last = yielded[-1] if yielded else None
        since = [one for one in told if one.calls > (last.calls if last else 0)]
        assert since
        assert all(one.explanation is last for one in since)
        yielded.append(explanation)
    assert len(yielded) > 1
    assert told[0].calls == 1
    for one in told:
        assert one.budget == 150
        assert one.rate > 0
        assert one.seconds >= one.calls / one.rate * (1 - 1e-9)
        assert one.seconds_left == pytest.approx((150 - one.calls) / one.rate)
        assert one.explanation is None or one.explanation.stopped == "running"
        assert one.explanation is None or one.explanation.calls < one.calls
    if yielded[-1].stopped == "calls":
        assert told[-1].seconds_left == 0


def test_before_the_first_call_nothing_can_be_said_of_the_rest():
    assert Progress(0, 100, 0.0).seconds_left == math.inf
    assert Progress(30, 100, 1.0, rate=20.0).seconds_left == 3.5


def test_the_rate_is_that_of_this_run(monkeypatch):
    """Of a run that goes on: its own calls in its own time, though all of both are told."""
    clock, told = [7.0], []
    monkeypatch.setattr(
        iassa.methods.engine.budget, "time", SimpleNamespace(perf_counter=lambda: clock[0])
    )
    budget = Budget(50, 4.0, told.append, None, spent=(1000, 10_000.0), checked=True)
    clock[0] += 100  # a model is opened
    budget.start()
    clock[0] += 2
    budget.spend(10)
    assert told == [Progress(1010, 1050, 10_002.0, 5.0)]
    assert told[0].seconds_left == 8
    assert not budget.is_over()
    clock[0] += 2
    budget.spend(30)
    assert told[1] == Progress(1040, 1050, 10_004.0, 10.0)
    assert told[1].seconds_left == 1
    assert (budget.stopped, budget.left, budget.seconds) == ("seconds", 10, 10_004.0)


# --- cancel -----------------------------------------------------------------------------------


@settings(max_examples=60)
@given(
    name=st.sampled_from(sorted(METHODS)),
    moment=st.integers(1, 60),
    batch_size=st.integers(1, 40),
)
def test_cancelled_at_any_moment_it_has_every_mask_that_was_scored(name, moment, batch_size):
    asked = []

    def black_box(images):
        asked.append(len(images))
        return outputs(images)

    left = iter([False] * (moment - 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", WeakEvidenceWarning)
        try:
            found = iassa.explain(
                IMAGE,
                black_box,
                method=METHODS[name],
                calls=120,
                batch_size=batch_size,
                cancel=lambda: next(left, True),
            )
        except CancelledError:
            assert moment == len(asked) == 1
            return
    assert found.calls == sum(asked)
    assert found.calls - len(found.evidence) in (1, 2)  # the neighbours are checked, or not yet
    assert sum(sum(one.masks.values()) for one in found.rounds) == len(found.evidence)
    assert found.stopped == "cancelled" or len(asked) < moment
    readings = [
        scored.readings for one in found.evidence.rounds for scored in one.families.values()
    ]
    assert all(np.isfinite(part).all() for part in readings)


def test_a_cancel_at_the_last_call_is_a_cancel():
    calls = iter([False] * 4 + [True])
    found = iassa.explain(
        IMAGE,
        outputs,
        method=Rise(round_calls=48),
        calls=50,
        batch_size=16,
        cancel=lambda: next(calls),
    )
    assert (found.calls, found.stopped, found.complete) == (50, "cancelled", False)
