"""Rounds that use only the keep probabilities at which a saturated model's score moves."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import iassa
from iassa.estimators.saturation import informative_range
from iassa.explanations.evidence import ScoredRound
from iassa.explanations.explanation import Explanation
from iassa.methods import Iassa, Rise, extend, retarget

pytestmark = pytest.mark.filterwarnings("ignore::iassa.errors.WeakEvidenceWarning")

SIZE = (32, 44)
IMAGE = np.random.default_rng(0).uniform(0.85, 0.95, (*SIZE, 3)).astype(np.float32)
ROWS, COLUMNS = np.indices(SIZE)
WEIGHTS = np.exp(-((ROWS - 11) ** 2 + (COLUMNS - 14) ** 2) / 40)
WEIGHTS += 0.6 * np.exp(-((ROWS - 22) ** 2 + (COLUMNS - 32) ** 2) / 30)
WEIGHTS /= WEIGHTS.sum()


class Box:
    """Three outputs of the weighted share of the image that is seen; counts what it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, images: NDArray[np.float32]) -> NDArray[np.float64]:
        self.asked += len(images)
        shares = (images.mean(3, dtype=np.float64) - 0.5) / (IMAGE.mean(2) - 0.5)
        # Image by image: a sum over a batch would round another way in a larger one.
        share = np.array([(one * WEIGHTS).sum() for one in shares])
        lost = 1 / (1 + np.exp(-30 * (share - 0.93)))  # as soon as a little is hidden
        sure = 1 / (1 + np.exp(-30 * (share - 0.1)))  # unless nearly all is
        return np.stack([lost, sure, share], axis=1)


LOST, SURE, LINEAR = 0, 1, 2


def small(**fields: Any) -> Iassa:
    """No attention: its features are not what this is about."""
    given: dict[str, Any] = {
        "features": "none",
        "round_calls": 128,
        "segment_counts": (16, 32),
        "fine_segment_counts": (32,),
        "compactness": (10.0,),
        "adapt_keep_probability": True,
    }
    return Iassa(**(given | fields))


def explain(target: Any, calls: int, *, seed: int = 0, **fields: Any) -> tuple[Explanation, Box]:
    box = Box()
    made = iassa.explain(
        IMAGE, box, method=small(**fields), target=target, calls=calls, seed=seed, batch_size=16
    )
    assert made.calls == box.asked <= calls
    return made, box


def rounds_of(explanation: Explanation) -> tuple[ScoredRound, ...]:
    assert explanation.evidence is not None
    return explanation.evidence.rounds


def limits_of(one: ScoredRound) -> tuple[float, float]:
    # Level sets have shares of their own: the range is of masks that hide places at random.
    plans = [scored.plan for family, scored in one.families.items() if family != "level"]
    keep = np.concatenate([plan.keep_probability for plan in plans])
    return float(keep.min()), float(keep.max())


def assert_same(one: Explanation, other: Explanation) -> None:
    np.testing.assert_array_equal(one.saliency, other.saliency)
    np.testing.assert_array_equal(one.standard_error, other.standard_error)
    assert one.calls == other.calls
    assert one.relative_errors == other.relative_errors
    assert [r.feedback.keep_probability for r in rounds_of(one)] == [
        r.feedback.keep_probability for r in rounds_of(other)
    ]
    for mine, its in zip(rounds_of(one), rounds_of(other), strict=True):
        for family, scored in mine.families.items():
            assert scored.plan == its.families[family].plan
            np.testing.assert_array_equal(scored.readings, its.families[family].readings)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (LOST, [(0.7, 0.9), (0.5, 0.9)]),
        (SURE, [(0.1, 0.3), (0.1, 0.5)]),
        (LINEAR, [None]),
        ([LOST, SURE], [None]),
    ],
)
def test_later_rounds_use_the_chosen_quarters_alone(
    target: Any, expected: list[tuple[float, float] | None], seed: int
) -> None:
    made, _ = explain(target, 500, seed=seed)
    first, *later = rounds_of(made)
    low, high = limits_of(first)
    assert low < 0.15
    assert high > 0.85
    assert first.feedback.keep_probability is None
    assert len(later) == 3
    for one in later:
        assert one.feedback.keep_probability in expected
        assert one.feedback.keep_probability == later[0].feedback.keep_probability
        low, high = limits_of(one)
        least, most = one.feedback.keep_probability or (0.1, 0.9)
        spread = (most - least) / 10
        assert np.float32(least) <= np.float32(low) < least + spread
        assert most - spread < high <= np.float32(most)


def test_the_choice_is_that_of_the_scores_of_the_first_round() -> None:
    made, _ = explain(SURE, 300)
    first, second, *_ = rounds_of(made)
    families = first.families.values()
    scores = np.concatenate([scored.readings[:, [SURE]] for scored in families])
    keep = np.concatenate([scored.plan.keep_probability for scored in families])
    assert second.feedback.keep_probability == informative_range(scores, keep, (0.1, 0.9))


def test_it_is_off_unless_asked_for() -> None:
    assert not Iassa().adapt_keep_probability
    made, _ = explain(LOST, 300, adapt_keep_probability=False)
    assert {one.feedback.keep_probability for one in rounds_of(made)} == {None}


def test_within_a_range_of_ones_own() -> None:
    made, _ = explain(LOST, 300, keep_probability=(0.4, 0.96))
    for one in rounds_of(made)[1:]:
        assert one.feedback.keep_probability in ((0.54, 0.96), (0.68, 0.96), (0.82, 0.96))
        assert limits_of(one)[0] >= 0.54
    constant, _ = explain(LOST, 300, keep_probability=(0.5, 0.5))
    assert {one.feedback.keep_probability for one in rounds_of(constant)} == {None}


def test_a_first_round_too_small_to_tell_keeps_the_whole_range() -> None:
    made, _ = explain(LOST, 100, round_calls=24)
    assert {one.feedback.keep_probability for one in rounds_of(made)} == {None}


@pytest.mark.parametrize(
    ("first", "through_a_file"), [(60, False), (129, True), (200, False), (385, True)]
)
@pytest.mark.parametrize("target", [LOST, SURE])
def test_extending_gives_the_same_map_as_at_once(
    first: int, target: int, through_a_file: bool, tmp_path: Any
) -> None:
    """The first stop is within the round that chooses, at its end, and after it."""
    whole, _ = explain(target, 500)
    part, box = explain(target, first)
    if through_a_file:
        part = Explanation.load(part.save(tmp_path / "part"))
    longer = extend(part, box, calls=500 - first, batch_size=16)
    assert box.asked == 500  # no mask twice
    assert_same(longer, whole)
    if through_a_file:
        assert_same(Explanation.load(longer.save(tmp_path / "longer")), whole)
        record = json.loads((tmp_path / "longer" / "explanation.json").read_text())
        assert record["method"]["fields"]["adapt_keep_probability"] is True


def test_in_three_steps() -> None:
    whole, _ = explain(LOST, 420)
    part, box = explain(LOST, 50)
    for calls in (90, 130, 150):
        part = extend(part, box, calls=calls, batch_size=16)
    assert box.asked == 420
    assert_same(part, whole)


def test_retarget_reads_the_same_masks_and_goes_on_from_there(tmp_path: Any) -> None:
    made, box = explain(LOST, 300)
    chosen = rounds_of(made)[1].feedback.keep_probability
    assert chosen in [(0.7, 0.9), (0.5, 0.9)]
    loaded = Explanation.load(made.save(tmp_path))
    for one in (made, loaded):
        other = retarget(one, SURE)
        assert box.asked == 300
        ranges = [scored.feedback.keep_probability for scored in rounds_of(other)]
        assert ranges == [None, chosen, chosen]  # the masks are as they were drawn
        back = retarget(other, LOST)
        np.testing.assert_array_equal(back.saliency, made.saliency)
        np.testing.assert_array_equal(back.standard_error, made.standard_error)
    # The third round was cut short and is finished as it was begun; the next is for the new target.
    longer = extend(other, box, calls=300, batch_size=16)
    assert box.asked == 600
    ranges = [scored.feedback.keep_probability for scored in rounds_of(longer)]
    assert ranges == [None, chosen, chosen, *[ranges[-1]] * 2]
    assert ranges[-1] in [(0.1, 0.3), (0.1, 0.5)]


def test_other_methods_know_no_such_choice() -> None:
    scores = np.random.default_rng(0).random((64, 1))
    keep = np.linspace(0.1, 0.9, 64, dtype=np.float32)
    assert Rise().choose_keep_probability(scores, keep) is None


@pytest.mark.parametrize("target", [LOST, SURE])
def test_of_a_saturated_model_the_map_is_nearer_the_truth(target: int) -> None:
    """At the same calls: in step with the weights that the model really has, and better known."""
    likeness: dict[bool, list[float]] = {False: [], True: []}
    errors: dict[bool, list[float]] = {False: [], True: []}
    for seed in range(6):
        for adapt in (False, True):
            fields = {"adapt_keep_probability": adapt, "beta": 1.0, "level_share": 0.0}
            made, box = explain(target, 513, seed=seed, **fields)
            assert box.asked == 513
            of_pixels = np.corrcoef(made.saliency[0].ravel(), WEIGHTS.ravel())
            likeness[adapt].append(float(of_pixels[0, 1]))
            errors[adapt].append(made.relative_error)
    better = np.subtract(likeness[True], likeness[False])
    assert better.mean() > 0.02
    assert (better > -0.03).all()  # in no seed is much lost
    assert np.mean(errors[True]) < 0.85 * np.mean(errors[False])
