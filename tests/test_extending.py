"""Going on: a run that is cut anywhere and continued is the run that was not cut."""

from __future__ import annotations

import dataclasses
import functools
import json
import pickle
import subprocess
import sys
import textwrap
import warnings
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import iassa
import iassa.masks.superpixels
from iassa.errors import BlackBoxError, CancelledError, InputError, WeakEvidenceWarning
from iassa.explanations.explanation import Explanation
from iassa.methods import Hsic, Iassa, IassaPaper, Lime, Occlusion, Rise, Sobol
from iassa.methods.engine.loop import Method
from iassa.methods.registry import METHODS
from rounding import steps

SIZE = (18, 27)
IMAGE = np.random.default_rng(0).uniform(0.1, 0.2, (*SIZE, 3)).astype(np.float32)
IMAGE[4:9, 15:22] = 0.95
IMAGE[11:16, 3:9] = 0.7
TARGETS = [0, 1, "0 vs 2"]
TOTAL = 151  # calls: the whole image, 149 masks, one of them again

SMALL = {
    "round_calls": 32,
    "segment_counts": (8, 16),
    "fine_segment_counts": (16,),
    "compactness": (10.0,),
    "features": "colour-position",
    "positions": 12,
}
PAPER = {"features": "colour-position", "positions": 12, "max_rounds": 4}
CASES = {
    "iassa": Iassa(**SMALL),
    "iassa, no kernel": Iassa(**SMALL, kernel_share=0.0, beta=1.0),
    "iassa, half everywhere": Iassa(**SMALL, explore_every=2),
    "iassa, adapting": Iassa(**SMALL, adapt_keep_probability=True),
    "iassa-paper": IassaPaper(**PAPER, window=90.0, stride=40.0, window_step=20.0),
    "rise": Rise(round_calls=32),
    "rise, debiased": Rise(round_calls=32, debiased=True),
    "sliding-window": Occlusion(round_calls=32),
    "lime": Lime(round_calls=32, segmentation="slic", num_segments=12),
    "sobol": Sobol(round_designs=3, grid_size=3),
    "hsic": Hsic(round_calls=32, grid_size=4),
}
methods = pytest.mark.parametrize("name", CASES)


def four_outputs(images):
    """Two places, a product of them, and what all pixels say; every image by itself."""
    scores = []
    for image in np.asarray(images, np.float64):
        one, two = image[4:9, 15:22].mean(), image[11:16, 3:9].mean()
        scores.append([one, two, 2 * one * two, image.mean() / 3])
    return np.array(scores)


class Recorder:
    """A black box that keeps what it is shown, and fails when it has seen so many."""

    def __init__(self, fails_at=None):
        self.fails_at = fails_at
        self.seen = []

    def __call__(self, images):
        self.seen += [image.round(5).tobytes() for image in images]
        if self.fails_at is not None and len(self.seen) >= self.fails_at:
            self.fails_at = None
            raise RuntimeError("out of paper")
        return four_outputs(images)


def run(name, calls, black_box, **options):
    return iassa.explain(
        IMAGE, black_box, method=CASES[name], **{"target": TARGETS, "calls": calls, **options}
    )


@functools.cache
def uncut(name, calls, seed=0, batch_size=16):
    recorder = Recorder()
    made = run(name, calls, recorder, seed=seed, batch_size=batch_size)
    return made, Counter(recorder.seen)


def same_images(seen, shown):
    """All but one are shown once: which one is asked about again depends on the batches."""
    return set(seen) == set(shown) and len(seen) == shown.total()


def assert_same_evidence(one, other, number=0.0):
    assert one.outputs == other.outputs
    assert one.functions == other.functions
    assert len(one.rounds) == len(other.rounds)
    for mine, its in zip(one.rounds, other.rounds, strict=True):
        np.testing.assert_array_equal(mine.feedback.region, its.feedback.region)
        assert mine.feedback.keep_probability == its.feedback.keep_probability
        assert list(mine.families) == list(its.families)
        for family, scored in mine.families.items():
            assert scored.plan == its.families[family].plan
            expected = its.families[family].readings
            np.testing.assert_allclose(
                scored.readings, expected, rtol=0, atol=steps(number, expected)
            )


def assert_same(one, other, number=0.0):
    """The same map, error and evidence: to the bit, or to some steps of float32."""
    for mine, its in (
        (one.saliency, other.saliency),
        (one.standard_error, other.standard_error),
    ):
        known = np.isfinite(its)
        np.testing.assert_array_equal(np.isfinite(mine), known)
        np.testing.assert_allclose(
            mine[known], its[known], rtol=0, atol=steps(number, other.saliency)
        )
    assert one.relative_errors == pytest.approx(
        other.relative_errors, rel=steps(1e3 * number, 1.0), abs=0
    )
    assert one.scores == other.scores
    assert [dict(r.masks) for r in one.rounds] == [dict(r.masks) for r in other.rounds]
    for mine, its in zip(one.rounds, other.rounds, strict=True):
        assert mine.region_share == its.region_share
        for part in ("score_mean", "score_low", "score_high"):
            assert getattr(mine, part) == pytest.approx(
                getattr(its, part), abs=steps(number, getattr(its, part))
            )
    assert_same_evidence(one.evidence, other.evidence, number)


@pytest.fixture(autouse=True)
def few_masks_are_no_matter():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", WeakEvidenceWarning)
        yield


def test_all_methods_are_here():
    drawn = {name for name, kind in METHODS.items() if issubclass(kind, Method)}
    assert {method.name for method in CASES.values()} == drawn


# --- the same as asking for all at once -------------------------------------------------------


# Rounds have 32 masks: inside a batch, one short of a round, a round, inside a later one, all
# but one.
# `test_cuts_anywhere` draws others.
@pytest.mark.parametrize("cut", [25, 33, 34, 71, TOTAL - 1])
@methods
def test_a_cut_run_goes_on_to_the_map_of_the_whole(name, cut):
    seed = cut % 3
    whole, shown = uncut(name, TOTAL, seed)
    recorder = Recorder()
    part = run(name, cut, recorder, seed=seed, batch_size=16)
    before = (part.calls, part.saliency.copy(), len(part.evidence))
    made = iassa.extend(part, recorder, calls=TOTAL - cut, batch_size=16)
    assert_same(made, whole)
    assert same_images(recorder.seen, shown)
    assert made.calls == whole.calls == len(recorder.seen) == 2 + len(made.evidence)
    assert made.stopped == whole.stopped
    assert made.seed == seed
    assert (made.model, made.identity, made.method) == (part.model, part.identity, part.method)
    np.testing.assert_array_equal(part.saliency, before[1])  # stays as it is
    assert (part.calls, len(part.evidence)) == (before[0], before[2])


@pytest.mark.parametrize("batch_size", [1, 7, 64])
@methods
def test_another_batch_size_gives_the_same_map_up_to_rounding(name, batch_size):
    whole, shown = uncut(name, TOTAL, 4)
    recorder = Recorder()
    part = run(name, 40, recorder, seed=4, batch_size=batch_size)
    made = iassa.extend(part, recorder, calls=TOTAL - 40, batch_size=65 - batch_size)
    assert_same(made, whole, 64)
    assert same_images(recorder.seen, shown)


@methods
def test_many_extensions_in_a_row(name):
    whole, shown = uncut(name, TOTAL, 1)
    recorder = Recorder()
    made = run(name, 17, recorder, seed=1, batch_size=16)
    for calls in (1, 1, 13, 1, 2, 30, 1, 60, TOTAL - 126):
        made = iassa.extend(made, recorder, calls=calls, batch_size=16)
        assert made.calls == len(recorder.seen) == 2 + len(made.evidence)
    assert_same(made, whole)
    assert same_images(recorder.seen, shown)


@settings(max_examples=30)
@given(
    name=st.sampled_from(sorted(CASES)),
    cuts=st.lists(st.integers(17, 119), max_size=3).map(sorted),
    batch_size=st.integers(1, 40),
)
def test_cuts_anywhere(name, cuts, batch_size):
    recorder = Recorder()
    made = None
    for calls in [*dict.fromkeys(cuts), 120]:
        if made is None:
            made = run(name, calls, recorder, batch_size=batch_size)
        else:
            made = iassa.extend(made, recorder, calls=calls - made.calls, batch_size=batch_size)
        assert made.calls == calls == len(recorder.seen)
    whole, shown = uncut(name, 120, 0, batch_size)
    assert_same(made, whole)
    assert same_images(recorder.seen, shown)


def test_the_default_with_a_network_of_another_size():
    """Resized by the black box, in float32, on a map that is enlarged again."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 6, 5, stride=3), nn.Tanh(), nn.Flatten(), nn.LazyLinear(4))
    black_box = iassa.models.TorchModel(network, input_size=(24, 20), softmax=True)
    method = Iassa(features=iassa.models.TorchLayers(network, ("0",), (24, 20)))
    whole = iassa.explain(IMAGE, black_box, method=method, target=["top-1", "0 vs 1"], calls=600)
    part = iassa.explain(IMAGE, black_box, method=method, target=["top-1", "0 vs 1"], calls=331)
    made = iassa.extend(part, black_box, calls=269, method=method)
    assert_same(made, whole, 64)
    with pytest.raises(InputError, match=r"(?s)named again.* the object itself where it was"):
        iassa.extend(part, black_box)


# --- after every way to stop ------------------------------------------------------------------


@settings(max_examples=40)
@given(
    name=st.sampled_from(sorted(CASES)),
    moments=st.lists(st.integers(1, 12), min_size=1, max_size=3),
    batch_size=st.integers(1, 20),
)
def test_cancelling_at_any_moment_loses_no_mask(name, moments, batch_size):
    """Also in an extension, where masks of one family are known and the other is being asked."""
    recorder = Recorder()
    made = None
    for moment in moments:
        left = iter([False] * (moment - 1))
        options = {"batch_size": batch_size, "cancel": lambda left=left: next(left, True)}
        try:
            if made is None:
                made = run(name, 100, recorder, **options)
            elif made.calls < 100:
                made = iassa.extend(made, recorder, calls=100 - made.calls, **options)
        except CancelledError:
            recorder.seen.clear()  # the whole image alone: there is nothing to go on from
            continue
        assert made.stopped == ("cancelled" if made.calls < 100 else made.stopped)
        assert made.calls == len(recorder.seen)
        assert made.calls - len(made.evidence) in (1, 2)  # the neighbours are checked, or not yet
    if made is None:
        return
    if made.calls < 100:
        made = iassa.extend(made, recorder, calls=100 - made.calls, batch_size=batch_size)
    whole, shown = uncut(name, 100, 0, batch_size)
    assert len(made.evidence) == len(whole.evidence) == made.calls - 2
    assert same_images(recorder.seen, shown) or len(made.rounds[-1].masks) > 1
    if made.rounds[-1].masks == whole.rounds[-1].masks:  # else it was cut inside the last round
        assert_same(made, whole)


def test_masks_of_a_budget_that_ended_are_kept_when_the_extension_is_cancelled():
    """The first family is being asked about, and the second was known: it had been forgotten."""
    part = run("iassa", 57, four_outputs)
    assert part.rounds[1].masks == {"segment": 12, "level": 11}
    made = iassa.extend(part, four_outputs, calls=100, batch_size=2, cancel=lambda: True)
    assert made.rounds[1].masks == {"segment": 14, "level": 11}
    assert made.calls == 59 == 2 + len(made.evidence)


@pytest.mark.parametrize("fails_at", [25, 33, 49])
@methods
def test_a_failure_in_an_extension_loses_only_what_was_being_asked(name, fails_at):
    """What was known of the batch that failed, and of the families after it, stays known."""
    recorder = Recorder()
    part = run(name, 24, recorder, batch_size=16)
    recorder.fails_at = fails_at
    with pytest.raises(BlackBoxError, match="out of paper") as caught:
        iassa.extend(part, recorder, calls=TOTAL - 24, batch_size=16)
    failed = caught.value.explanation
    lost = caught.value.images
    assert failed.stopped == "failed"
    assert failed.calls == len(recorder.seen)  # the lost are paid for
    assert len(failed.evidence) == failed.calls - 2 - lost >= 22
    for family, scored in part.evidence.rounds[0].families.items():
        kept = failed.evidence.rounds[0].families[family]
        np.testing.assert_array_equal(kept.readings[: len(scored.readings)], scored.readings)
    made = iassa.extend(failed, recorder, calls=TOTAL - 2 - len(failed.evidence), batch_size=16)
    assert_same(made, uncut(name, TOTAL)[0])


@methods
def test_after_a_failure(name):
    recorder = Recorder(fails_at=60)
    with pytest.raises(BlackBoxError) as caught:
        run(name, TOTAL, recorder, batch_size=16)
    part = caught.value.explanation
    assert "out of paper" in str(caught.value.__cause__)  # the cause is the black box's own error
    sent = pickle.loads(pickle.dumps(caught.value))
    assert (str(sent), sent.images) == (str(caught.value), caught.value.images)
    assert sent.explanation.calls == part.calls == len(recorder.seen)
    assert part.calls == 2 + len(part.evidence) + caught.value.images
    made = iassa.extend(part, recorder, calls=TOTAL - 2 - len(part.evidence), batch_size=16)
    assert_same(made, uncut(name, TOTAL)[0])
    assert made.calls == TOTAL + caught.value.images == len(recorder.seen)


def test_a_failure_at_the_first_masks_asks_no_others():
    recorder = Recorder(fails_at=2)
    with pytest.raises(BlackBoxError) as caught:
        run("iassa", 100, recorder, batch_size=4)
    assert not isinstance(caught.value, iassa.RunFailedError)
    assert len(recorder.seen) == 5


@methods
def test_after_seconds(name):
    recorder = Recorder()
    part = run(name, TOTAL, recorder, batch_size=16, max_seconds=1e-9)
    assert (part.stopped, part.calls) == ("seconds", 17)
    more = iassa.extend(part, recorder, calls=TOTAL - 17, batch_size=16, max_seconds=1e-9)
    assert more.stopped == "seconds"
    assert 17 < more.calls == len(recorder.seen) <= 34
    assert more.seconds > part.seconds
    made = iassa.extend(more, recorder, calls=TOTAL - more.calls, batch_size=16, max_seconds=1e9)
    assert_same(made, uncut(name, TOTAL)[0])


@pytest.mark.parametrize("name", ["iassa", "rise", "lime"])
def test_after_a_tolerance(name):
    recorder = Recorder()
    part = run(name, 4000, recorder, batch_size=16, tolerance=0.1)
    assert part.stopped == "tolerance"
    assert part.complete
    again = iassa.extend(
        part, recorder, calls=100, batch_size=16, tolerance=0.1
    )  # it is known well
    assert (again.stopped, again.calls) == ("tolerance", part.calls)
    assert_same(again, part)
    further = iassa.extend(part, recorder, calls=4000, batch_size=16, tolerance=0.08)
    assert further.stopped == "tolerance"
    assert further.relative_error <= 0.08
    assert_same(further, run(name, 8000, four_outputs, batch_size=16, tolerance=0.08))
    made = iassa.extend(part, recorder, calls=40, batch_size=16)
    assert made.calls == part.calls + 40


@pytest.mark.parametrize("name", ["iassa-paper", "sliding-window"])
def test_a_run_whose_masks_are_used_up_has_nothing_to_add(name):
    recorder = Recorder()
    made = run(name, 100_000, recorder, batch_size=16)
    assert made.stopped == "rounds"
    again = iassa.extend(made, recorder, calls=50, batch_size=16)
    assert (again.stopped, again.calls) == ("rounds", made.calls)
    assert len(recorder.seen) == made.calls
    assert_same(again, made)


def test_budget_and_progress_count_what_was_before():
    told = []
    part = run("iassa", 40, four_outputs)
    made = iassa.extend(part, four_outputs, calls=60, batch_size=7, progress=told.append)
    assert {one.budget for one in told} == {100}
    assert [one.calls for one in told] == sorted(one.calls for one in told)
    assert told[0].calls <= 47
    assert told[-1].calls == 100 == made.calls
    assert all(one.seconds >= part.seconds for one in told)
    assert sum(one.seconds for one in made.rounds) <= made.seconds


# --- saved, and continued elsewhere -----------------------------------------------------------

MODULE = """
    import numpy as np

    def black_box(images):
        scores = []
        for image in np.asarray(images, np.float64):
            one, two = image[4:9, 15:22].mean(), image[11:16, 3:9].mean()
            scores.append([one, two, 2 * one * two, image.mean() / 3])
        return np.array(scores)

    def margin(scores):
        return scores[:, 0] - scores[:, 2]
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    (tmp_path / "mine_extended.py").write_text(textwrap.dedent(MODULE))
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("mine_extended", None)


def test_in_another_process(mine):
    names = ["iassa", "lime"]
    targets = [*TARGETS, "mine_extended:margin"]
    box = "mine_extended:black_box"
    wholes = [run(name, TOTAL, box, target=targets, batch_size=16) for name in names]
    for name in names:
        run(name, 50, box, target=targets, batch_size=16).save(mine / f"saved {name}")
    script = f"""
        import iassa
        for name in ("iassa", "lime"):
            part = iassa.Explanation.load(f"saved {{name}}")
            again = dict(target={targets}, batch_size=16)  # a record names no function
            made = iassa.extend(part, "mine_extended:black_box", calls=101, **again)
            made.save(f"again {{name}}")
    """
    finished = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], cwd=mine, capture_output=True, text=True
    )
    assert finished.returncode == 0, finished.stderr
    for name, whole in zip(names, wholes, strict=True):
        made = Explanation.load(mine / f"again {name}")
        assert_same(made, whole, 1)
        assert made.calls == TOTAL
        np.testing.assert_array_equal(made.saliency[2], made.saliency[3])  # 0 vs 2 is the margin


@methods
def test_saved_and_loaded_it_goes_on_as_before(tmp_path, name):
    recorder = Recorder()
    part = run(name, 50, recorder, batch_size=16)
    part.save(tmp_path)
    made = iassa.extend(Explanation.load(tmp_path), recorder, calls=TOTAL - 50, batch_size=16)
    assert_same(made, uncut(name, TOTAL)[0])
    assert Counter(recorder.seen) == uncut(name, TOTAL)[1]


# --- refused ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def part():
    return run("iassa", 50, four_outputs, batch_size=16)


def silent(images):
    raise AssertionError("asked")


silent.__qualname__ = "four_outputs"


def test_another_black_box_is_refused(part):
    with pytest.raises(InputError, match=r"black box that was asked before, four_outputs \w+, got"):
        iassa.extend(part, silent)
    with pytest.raises(InputError, match="black box that was asked before"):
        iassa.extend(part, iassa.models.FunctionModel(four_outputs, name="other"))


@pytest.mark.parametrize("folder", ["saved", None])
def test_the_folder_of_an_explanation_is_none(folder):
    for ask in (
        lambda: iassa.extend(folder, four_outputs),
        lambda: iassa.retarget(folder, 0),
        lambda: iassa.verify(folder, four_outputs),
    ):
        with pytest.raises(InputError, match="expected explanation to be Explanation"):
            ask()


def test_another_size_is_refused(part):
    black_box = iassa.models.FunctionModel(four_outputs, input_size=(18, 18))
    with pytest.raises(InputError, match=r"\(18, 27\) pixels, as before, got .* \(18, 18\)"):
        iassa.extend(part, black_box)


@pytest.mark.parametrize(
    ("other", "what"),
    [
        (Rise(), "method"),
        (Iassa(), "round_calls, segment_counts, fine_segment_counts and 3 more"),
        (Iassa(**{**SMALL, "beta": 0.25}), r"beta\."),
        (Iassa(**SMALL, baseline=0.25), r"baseline\."),
    ],
)
def test_another_method_is_refused(part, other, what):
    for go_on in (
        lambda: iassa.extend(part, silent_twin(part), method=other),
        lambda: iassa.retarget(part, 1, method=other),
    ):
        with pytest.raises(InputError, match=f"the method that drew the masks, got another {what}"):
            go_on()
    changed = dataclasses.replace(part, method=other.as_dict())
    if other.baseline == 0.5 and isinstance(other, Rise):
        with pytest.raises(InputError, match="cannot extend this explanation"):
            iassa.extend(changed, silent_twin(part))


def silent_twin(explanation):
    """A black box that passes for the one that was asked, and must not be."""

    class Twin(iassa.models.BlackBox):
        name = explanation.model

        def identity(self):
            return explanation.identity

        def score(self, planes):
            raise AssertionError("asked")

    return Twin()


@methods
def test_masks_of_another_seed_are_refused(name):
    made = run(name, 50, four_outputs, seed=3)
    changed = dataclasses.replace(made, seed=4)
    for go_on in (
        lambda: iassa.extend(changed, silent_twin(made)),
        lambda: iassa.retarget(changed, 1),
    ):
        with pytest.raises(InputError, match="round 1 are not those that seed 4 draws"):
            go_on()


def test_a_seed_changed_in_the_record_is_refused(tmp_path):
    run("rise", 50, four_outputs).save(tmp_path)
    path = tmp_path / "explanation.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"seed": 7}))
    with pytest.raises(InputError, match="cannot extend this explanation"):
        iassa.extend(Explanation.load(tmp_path), four_outputs)


def test_a_method_changed_in_the_record_is_refused(tmp_path):
    run("iassa", 70, four_outputs).save(tmp_path)
    path = tmp_path / "explanation.json"
    record = json.loads(path.read_text())
    record["method"]["fields"]["level_shuffle"] = 0.3
    path.write_text(json.dumps(record))
    with pytest.raises(InputError, match="the masks of round 2 are not"):
        iassa.extend(Explanation.load(tmp_path), four_outputs)
    record["method"]["name"] = "mine"
    path.write_text(json.dumps(record))
    with pytest.raises(InputError, match=r"unknown method 'mine'.*Pass it with `method=`"):
        iassa.extend(Explanation.load(tmp_path), four_outputs)


@pytest.mark.parametrize("name", ["iassa", "lime"])
def test_other_superpixels_are_refused(monkeypatch, name):
    """Another version of scikit-image may draw them another way, and as many of them."""
    made = run(name, 50, four_outputs)
    segmentation = (
        iassa.masks.superpixels.segment_once if name == "lime" else iassa.masks.superpixels.segment
    )

    def shifted(*arguments):
        drawn = segmentation(*arguments)
        return dataclasses.replace(drawn, labels=drawn.labels.roll(1, dims=2))

    module = "lime" if name == "lime" else "iassa"
    monkeypatch.setattr(sys.modules[f"iassa.methods.{module}"], segmentation.__name__, shifted)
    for go_on in (lambda: iassa.extend(made, silent_twin(made)), lambda: iassa.retarget(made, 1)):
        with pytest.raises(InputError, match="the superpixels of the image are not reproduced"):
            go_on()


def test_the_time_of_each_round_is_that_of_its_calls():
    part = run("iassa", 50, four_outputs)
    made = iassa.extend(part, four_outputs, calls=100)
    assert made.rounds[0].seconds == part.rounds[0].seconds  # going through it again is free
    assert made.rounds[1].seconds > part.rounds[1].seconds
    assert [one.seconds for one in made.evidence.rounds] == [one.seconds for one in made.rounds]
    assert iassa.retarget(made, 1).rounds[1].seconds == made.rounds[1].seconds


def test_without_evidence(tmp_path, part):
    part.save(tmp_path)
    (tmp_path / "evidence.npz").unlink()
    bare = Explanation.load(tmp_path)
    for go_on in (lambda: iassa.extend(bare, four_outputs), lambda: iassa.retarget(bare, 1)):
        with pytest.raises(InputError, match=r"evidence\.npz was not beside"):
            go_on()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"calls": 0}, "at least 1 more call"),
        ({"calls": -5}, "at least 1 more call"),
        ({"max_seconds": 0}, "above 0 seconds"),
        ({"tolerance": 1}, "tolerance above 0"),
        ({"batch_size": 0}, "batch_size to be .*, from 1 to"),
        ({"batch_size": -1}, "batch_size to be .*, from 1 to"),
        ({"target": [0, 1]}, "targets that were explained"),
        ({"target": [0, 1, "0 vs 1"]}, "targets that were explained"),
        ({"target": [1, 0, "0 vs 2"]}, "targets that were explained"),
    ],
)
def test_options_are_checked_before_a_call(part, options, text):
    with pytest.raises(InputError, match=text):
        iassa.extend(part, silent_twin(part), **options)


def test_targets_may_be_said_again(part):
    made = iassa.extend(part, four_outputs, calls=10, target=TARGETS)
    assert_same(made, iassa.extend(part, four_outputs, calls=10))


# --- functions of the scores ------------------------------------------------------------------


def margin(scores):
    return scores[:, 0] - scores[:, 2]


def test_a_function_that_was_not_saved_is_asked_for(tmp_path):
    whole = run("iassa", TOTAL, four_outputs, target=[margin, 1], batch_size=16)
    part = run("iassa", 60, four_outputs, target=[margin, 1], batch_size=16)
    part.save(tmp_path)
    loaded = Explanation.load(tmp_path)
    assert [target.name for target in loaded.targets] == ["margin", "class 1"]
    assert loaded.targets[0].function is None
    with pytest.raises(InputError, match=r"function in target 'margin', got its name alone"):
        iassa.extend(loaded, four_outputs)
    for target in (1, [1, margin], [margin], [margin, 0]):
        with pytest.raises(InputError, match="targets that were explained, margin, class 1, got"):
            iassa.extend(loaded, four_outputs, target=target)
    made = iassa.extend(loaded, four_outputs, calls=TOTAL - 60, target=[margin, 1], batch_size=16)
    assert_same(made, whole)
    assert_same(iassa.extend(part, four_outputs, calls=TOTAL - 60, batch_size=16), whole)


def test_another_function_of_that_name_is_refused(tmp_path):
    part = run("rise", 60, four_outputs, target=margin, keep_scores=0)
    part.save(tmp_path)

    def other(scores):
        return scores[:, 1] - scores[:, 2]

    other.__qualname__ = "margin"
    for explanation in (part, Explanation.load(tmp_path)):
        with pytest.raises(InputError, match=r"one that needs all"):
            iassa.extend(explanation, four_outputs, target=other)
        with pytest.raises(InputError, match=r"one that needs all"):
            iassa.retarget(explanation, other)
    kept = run("rise", 60, four_outputs, target=margin, keep_scores="all")
    with pytest.raises(InputError, match="functions with another code"):
        iassa.extend(kept, four_outputs, target=other)
    assert_same_map(iassa.retarget(kept, other), run("rise", 60, four_outputs, target=other))


@pytest.mark.parametrize("name", ["iassa", "rise", "sliding-window"])
def test_a_function_is_what_the_contrast_is(name):
    """To the bit where the sum is the same one."""
    target = [margin, "0 vs 2", lambda scores: scores.max(1)]
    made = run(name, TOTAL, four_outputs, target=target)
    np.testing.assert_allclose(*made.saliency[:2], rtol=0, atol=steps(8, made.scores))
    np.testing.assert_allclose(*made.standard_error[:2], atol=steps(8, made.scores))
    whole = four_outputs(IMAGE[None])[0]
    assert made.scores == pytest.approx((whole[0] - whole[2], whole[0] - whole[2], whole.max()))
    record = made.as_dict()["targets"]
    assert record[0] == {"name": "margin", "indices": [], "weights": []}


FAILURES = {
    "raises": (lambda s: 1 / 0, "the target .* raised ZeroDivisionError"),
    "one number": (lambda s: s[0, 0], r"got shape \(\)"),
    "a matrix": (lambda s: s, r"got shape \(\d+, 4\)"),
    "one less": (lambda s: s[1:, 0], r"got shape \((15|0),\)"),
    "NaN": (lambda s: s[:, 0] * np.nan, "got NaN or infinity"),
    "infinity": (lambda s: s[:, 0] + np.inf, "got NaN or infinity"),
    "text": (lambda s: ["a"] * len(s), "expected values .* of numbers, got list of 0: str"),
    "nothing": (lambda s: None, "got NoneType"),
}


@pytest.mark.parametrize("kind", FAILURES)
def test_a_function_that_fails_leaves_the_map_so_far(kind):
    answer, text = FAILURES[kind]
    rows = [0]

    def fickle(scores):
        rows[0] += len(scores)
        return scores[:, 0] if rows[0] < 51 else answer(scores)

    recorder = Recorder()
    with pytest.raises(BlackBoxError, match=text) as caught:
        run("iassa", TOTAL, recorder, target=[fickle, 1], batch_size=16)
    part = caught.value.explanation
    assert part.stopped == "failed"
    assert part.calls == len(recorder.seen) == 2 + len(part.evidence) + 16
    rows[0] = -1000
    made = iassa.extend(part, recorder, calls=60, batch_size=16)
    assert made.calls == part.calls + 60
    rows[0] = 100
    with pytest.raises(BlackBoxError, match=text) as caught:
        run("iassa", TOTAL, recorder, target=[fickle], batch_size=16)
    assert not isinstance(caught.value, iassa.RunFailedError)


def test_functions_may_write_to_what_they_are_given():
    def rude(scores):
        value = scores[:, 1].copy()
        scores[:] = 7
        return value

    made = run("rise", 60, four_outputs, target=[rude, 1])
    np.testing.assert_array_equal(made.saliency[0], made.saliency[1])


# --- another target from the same masks -------------------------------------------------------

ONE_ROUND = {
    "iassa": Iassa(**SMALL, max_rounds=1),
    "iassa, no kernel": Iassa(**SMALL, max_rounds=1, kernel_share=0.0),
    "iassa-paper": IassaPaper(**{**PAPER, "max_rounds": 1}),
    "rise": Rise(round_calls=32),
    "sliding-window": Occlusion(round_calls=32),
    "lime": Lime(round_calls=32, segmentation="slic", num_segments=12),
}


def assert_same_map(one, other, number=8):
    assert [t.name for t in one.targets] == [t.name for t in other.targets]
    for mine, its in zip(one.saliency, other.saliency, strict=True):
        np.testing.assert_allclose(mine, its, rtol=0, atol=steps(number, its, 1e-3))
    finite = np.isfinite(other.standard_error)
    np.testing.assert_array_equal(np.isfinite(one.standard_error), finite)
    np.testing.assert_allclose(
        one.standard_error[finite],
        other.standard_error[finite],
        atol=steps(number, other.scores),
        rtol=1e-4,
    )
    assert one.scores == pytest.approx(other.scores, abs=steps(16, other.scores, dtype=np.float64))


@pytest.mark.parametrize("loaded", [False, True])
@pytest.mark.parametrize("name", ONE_ROUND)
def test_another_target_has_the_map_of_its_own_run(tmp_path, name, loaded):
    """Rounds that are drawn without looking at the map have the same masks for every target."""
    made = iassa.explain(IMAGE, four_outputs, method=ONE_ROUND[name], target=0, calls=100, seed=2)
    if loaded:
        made.save(tmp_path)
        made = Explanation.load(tmp_path)
    for target in (1, "top-2", "2,3", [3, "0,1 vs 2"], "0"):
        expected = iassa.explain(
            IMAGE, four_outputs, method=ONE_ROUND[name], target=target, calls=100, seed=2
        )
        found = iassa.retarget(made, target)
        assert_same_map(found, expected)
        same = ("calls", "seconds", "seed", "model", "identity", "device", "stopped", "versions")
        for field in same:
            assert getattr(found, field) == getattr(made, field), field
        assert found.relative_error == pytest.approx(expected.relative_error, rel=1e-4)
        assert_same_map(iassa.retarget(found, 0), made)


@methods
def test_the_own_targets_give_the_same_explanation(name):
    made, _ = uncut(name, TOTAL)
    again = iassa.retarget(made, TARGETS)
    assert_same(again, made)
    assert again.calls == made.calls
    assert again.complete == made.complete


@pytest.mark.parametrize("name", ONE_ROUND)
def test_functions_need_all_outputs(name):
    options = {"calls": 100, "seed": 2}
    made = iassa.explain(
        IMAGE, four_outputs, method=ONE_ROUND[name], target=0, keep_scores="all", **options
    )
    expected = iassa.explain(
        IMAGE, four_outputs, method=ONE_ROUND[name], target=["0 vs 2", 1], **options
    )
    found = iassa.retarget(made, [margin, 1])
    np.testing.assert_allclose(found.saliency, expected.saliency, atol=steps(8, expected.scores))
    few = iassa.explain(
        IMAGE, four_outputs, method=ONE_ROUND[name], target=0, keep_scores=2, **options
    )
    with pytest.raises(InputError, match=r"2 of 4 outputs .* needs all.*keep_scores='all'"):
        iassa.retarget(few, margin)


def test_what_was_not_kept_is_refused_by_name():
    names = ("ant", "bee, Biene", "cow", "dog")
    black_box = iassa.models.FunctionModel(four_outputs, class_names=names)
    made = iassa.explain(IMAGE, black_box, method=Rise(), target="bee", calls=40, keep_scores=1)
    best = int(four_outputs(IMAGE[None])[0].argmax())
    assert made.evidence.outputs == tuple(sorted({1, best}))
    kept = [names[k].split(",")[0] for k in sorted({1, best})]
    for wanted in (3, "3", "dog", "bee vs dog", "top-3", margin):
        with pytest.raises(InputError) as refusal:
            iassa.retarget(made, wanted)
        assert f"the 2 of 4 outputs whose scores were kept ({', '.join(kept)})" in str(
            refusal.value
        )
    assert iassa.retarget(made, "biene").targets == made.targets


def test_after_a_retarget_the_run_goes_on_for_the_new_target():
    made = run("rise", 60, four_outputs, target=0)
    went_on = iassa.extend(iassa.retarget(made, ["1 vs 0", 3]), four_outputs, calls=40)
    assert_same_map(went_on, run("rise", 100, four_outputs, target=["1 vs 0", 3]), 64)


def test_a_retarget_of_a_cut_run_says_so(part):
    cut = run("iassa", 100, four_outputs, batch_size=4, cancel=iter([0] * 9 + [1]).__next__)
    made = iassa.retarget(cut, 1)
    assert (made.complete, made.stopped, made.calls) == (False, "cancelled", cut.calls)
    assert made.rounds[0].masks == cut.rounds[0].masks


def test_a_flat_target_is_told_of_in_the_explanation():
    def partly_flat(images):
        return np.hstack([four_outputs(images), np.ones((len(images), 1))])

    made = iassa.explain(IMAGE, partly_flat, method=Rise(), target=0, calls=200)
    assert made.warnings == ()
    assert "scores the same" in iassa.retarget(made, 4).warnings[0]


def test_a_method_that_keeps_no_evidence():
    fields = {"segmentation": "slic", "num_segments": 8}
    made = iassa.explain(IMAGE, four_outputs, method=METHODS["kernel-shap"](**fields), calls=80)
    for go_on in (lambda: iassa.extend(made, four_outputs), lambda: iassa.retarget(made, 1)):
        with pytest.raises(InputError, match="kernel-shap keeps none"):
            go_on()
