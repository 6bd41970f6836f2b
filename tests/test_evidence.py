"""Evidence: packed and unpacked to the bit, small, and read for other targets."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import iassa
from iassa.checks import take
from iassa.errors import BlackBoxError, InputError
from iassa.explanations.evidence import Evidence, Feedback, Scored, ScoredRound
from iassa.masks.plans import CellPlan, GridPlan, SegmentPlan, WindowPlan
from iassa.methods import Iassa
from iassa.methods.engine.case import KEEP
from iassa.models.readout import Readout, open_readout
from iassa.models.targets import Target, resolve_targets
from rounding import steps

SCORES = np.array([0.1, 0.4, 0.4, 0.0, -1.0, 0.3])


def margin(scores):
    return scores[:, 0] - scores[:, 5]


def best(scores):
    return scores.max(1)


# --- packed -----------------------------------------------------------------------------------

FINITE = st.floats(-1e300, 1e300)
SIZES = st.tuples(st.integers(1, 12), st.integers(1, 12))


@st.composite
def plans(draw, kind, count, size, region):
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    keep = rng.random(count, np.float32)
    if kind == "grid":
        rows, columns = draw(SIZES)
        cells = rng.random((count, rows + 2, columns + 2)) < 0.5
        return GridPlan(keep, cells, rng.random((count, 2), np.float32), region)
    if kind == "cell":
        return CellPlan(keep, rng.random((count, *draw(SIZES)), np.float32))
    if kind == "segment":
        bits = rng.random((count, draw(st.integers(1, 300)))) < 0.5
        return SegmentPlan(keep, bits, rng.integers(0, 256, count).astype(np.uint8), region)
    top, left = rng.integers(0, size[0], count), rng.integers(0, size[1], count)
    windows = np.stack([top, left, top + 1, left + 1], axis=1).astype(np.int32)
    return WindowPlan(keep, windows)


@st.composite
def evidences(draw):
    size = draw(SIZES)
    outputs = tuple(sorted(draw(st.sets(st.integers(0, 20), max_size=4))))
    functions = draw(st.dictionaries(st.text(max_size=5), st.text("0f", max_size=3), max_size=2))
    columns = len(outputs) + len(functions)
    named = draw(st.booleans())
    rounds = []
    for _ in range(draw(st.integers(0, 3))):
        region = draw(st.none() | arrays.arrays(np.bool_, size))
        keep = draw(st.none() | st.tuples(st.floats(0, 1), st.floats(0, 1)))
        families = {}
        ranks = draw(
            st.none() | arrays.arrays(np.float32, (2, *size), elements=st.floats(0, 1, width=32))
        )
        kinds = draw(
            st.lists(st.sampled_from(["grid", "cell", "segment", "window", "level"]), unique=True)
        )
        for kind in kinds:
            count = draw(st.integers(1, 40))
            width = draw(st.sampled_from([np.float32, np.float64]))
            elements = st.floats(-(2.0**99), 2.0**99, width=32) if width is np.float32 else FINITE
            shape = (count, columns)
            readings = draw(arrays.arrays(width, shape, elements=elements)).astype(np.float64)
            # Level sets are grids that stay out of the region of their round.
            free = kind == "level"
            plan = draw(plans("grid" if free else kind, count, size, None if free else region))
            families[draw(st.sampled_from([kind, f"{kind}-2"]))] = Scored(plan, readings)
        rounds.append(ScoredRound(Feedback(region, keep, ranks), families, draw(st.floats(0, 1e9))))
    return Evidence(
        size=size,
        num_outputs=21,
        outputs=outputs,
        functions=functions,
        class_names=tuple(draw(st.text(max_size=9)) for _ in outputs) if named else (),
        reference=np.array([draw(FINITE) for _ in range(columns)], np.float64),
        superpixels=draw(st.text("0f", max_size=3)),
        rounds=tuple(rounds),
    )


def assert_equal(one, other):
    for name in ("size", "num_outputs", "outputs", "functions", "class_names", "superpixels"):
        assert getattr(one, name) == getattr(other, name), name
    assert one.reference.dtype == other.reference.dtype == np.float64
    np.testing.assert_array_equal(one.reference, other.reference)
    assert len(one.rounds) == len(other.rounds)
    for mine, its in zip(one.rounds, other.rounds, strict=True):
        np.testing.assert_array_equal(mine.feedback.region, its.feedback.region)
        np.testing.assert_array_equal(mine.feedback.ranks, its.feedback.ranks)
        assert mine.feedback.keep_probability == its.feedback.keep_probability
        assert mine.seconds == its.seconds
        assert list(mine.families) == list(its.families)
        for name, scored in mine.families.items():
            plan, readings = its.families[name].plan, its.families[name].readings
            assert type(scored.plan) is type(plan)
            for field in dataclasses.fields(plan):
                a, b = getattr(scored.plan, field.name), getattr(plan, field.name)
                np.testing.assert_array_equal(a, b)
                assert a is b is None or a.dtype == b.dtype
                assert b is None or not b.flags.writeable
            assert scored.plan == plan
            assert readings.dtype == np.float64
            np.testing.assert_array_equal(scored.readings, readings)


@given(evidences())
def test_unpacked_it_is_what_was_packed(evidence):
    content = evidence.pack()
    assert_equal(evidence, Evidence.unpack(content))
    assert len(evidence) == sum(len(s.plan) for r in evidence.rounds for s in r.families.values())


def small():
    rng = np.random.default_rng(0)
    plan = GridPlan(
        rng.random(5, np.float32),
        rng.random((5, 3, 4)) < 0.5,
        rng.random((5, 2), np.float32),
        rng.random((6, 9)) < 0.5,
    )
    return Evidence(
        size=(6, 9),
        num_outputs=6,
        outputs=(0, 2, 5),
        functions={"best": "", "margin": "0f"},
        class_names=("ant", "bee, Biene", "cow"),
        reference=rng.normal(size=5),
        superpixels="0f",
        rounds=(
            ScoredRound(
                Feedback(plan.region), {"grid": Scored(plan, rng.normal(size=(5, 5)))}, 0.5
            ),
        ),
    )


def test_bits_are_stored_as_bits_and_single_precision_where_it_is_exact():
    evidence = small()
    with np.load(io.BytesIO(evidence.pack())) as packed:
        assert packed["0/grid/cells"].shape == (8,)  # 60 bits
        assert packed["0/region"].shape == (7,)  # 54 bits
        assert packed["0/grid/readings"].dtype == np.float64
        assert json.loads(packed["header"].tobytes())["outputs"] == [0, 2, 5]
    single = evidence.rounds[0].families["grid"].readings.astype(np.float32).astype(np.float64)
    scored = Scored(evidence.rounds[0].families["grid"].plan, single)
    exact = dataclasses.replace(evidence, rounds=(ScoredRound(Feedback(), {"grid": scored}, 0.5),))
    with np.load(io.BytesIO(exact.pack())) as packed:
        assert packed["0/grid/readings"].dtype == np.float32
    huge = Scored(scored.plan, np.full((5, 5), 1e300))
    kept = dataclasses.replace(evidence, rounds=(ScoredRound(Feedback(), {"grid": huge}, 0.5),))
    assert Evidence.unpack(kept.pack()).rounds[0].families["grid"].readings[0, 0] == 1e300


@settings(max_examples=300)
@given(place=st.integers(0, 10**6), value=st.integers(0, 255), cut=st.booleans())
def test_damage_is_read_or_refused(place, value, cut):
    content = bytearray(small().pack())
    place %= len(content)
    content[place] = value
    with contextlib.suppress(InputError):  # and nothing else
        Evidence.unpack(bytes(content[:place] if cut else content))


NOTHING = {"keep_probability": None, "seconds": 0.0}


@pytest.mark.parametrize(
    "change",
    [
        {"size": [6]},
        {"size": None},
        {"rounds": {"0": 1}},
        {"bits": {"0/region": [99, 99]}},
        {"bits": {"1/region": [6, 9]}},
        {"bits": None},
        {"rounds": [{**NOTHING, "families": {"none": {"plan": "GridPlan"}}}]},
        {"rounds": [{**NOTHING, "families": {"grid": {"plan": "Plan"}}}]},
        {"rounds": [{**NOTHING, "families": {"grid": {"plan": "GridPlan"}}}]},
        {"functions": 3},
        {"outputs": None},
    ],
)
def test_headers_that_make_no_sense_are_refused(change):
    with np.load(io.BytesIO(small().pack())) as packed:
        content = dict(packed)
    header = json.loads(content["header"].tobytes()) | change
    content["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, **content)
    with pytest.raises(InputError, match="cannot read the evidence"):
        Evidence.unpack(buffer.getvalue())


@pytest.mark.parametrize("found", [1, 3])
def test_another_format_is_refused_in_one_line(found):
    """Of the first one there was no number in the header."""
    with np.load(io.BytesIO(small().pack())) as packed:
        content = dict(packed)
    header = json.loads(content["header"].tobytes())
    assert header.pop("format") == 2
    changed = header if found == 1 else header | {"format": found}
    content["header"] = np.frombuffer(json.dumps(changed).encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, **content)
    with pytest.raises(InputError) as refusal:
        Evidence.unpack(buffer.getvalue())
    assert f"expected evidence of format 2, got {found}: " in str(refusal.value)
    assert "Explain again" in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.thorough  # it draws and scores as many
def test_eight_thousand_masks_and_ten_targets_take_about_two_megabytes():
    """Of the default method, as drawn, and at worst: ten more outputs kept, in double precision."""
    rng = np.random.default_rng(0)
    image = rng.random((224, 224, 3)).astype(np.float32)
    image[50:120, 60:180] = 1
    weights = rng.normal(size=(48, 30))

    def black_box(images):
        return images[:, ::56, ::56].reshape(len(images), -1).astype(np.float64) @ weights

    lowest = np.argsort(black_box(image[None])[0])[:10].tolist()
    method = Iassa(features="colour-position")
    made = iassa.explain(
        image, black_box, method=method, target=lowest, calls=8002, keep_scores=10, batch_size=256
    )
    content = made.evidence.pack()
    assert (len(made.evidence), len(made.targets), len(made.evidence.outputs)) == (8000, 10, 20)
    print(f"8000 masks, 20 outputs: {len(content) / 1e6:.2f} MB")
    assert len(content) < 2_300_000
    assert_equal(made.evidence, Evidence.unpack(content))


# --- what is kept -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "keep", "outputs"),
    [
        ("top-1", 0, (1,)),
        ("top-1", 1, (1,)),
        ("top-1", 2, (1, 2)),  # of two with equal scores the first
        (4, 2, (1, 2, 4)),
        (["3 vs 4", 0], 1, (0, 1, 3, 4)),
        (4, 99, (0, 1, 2, 3, 4, 5)),
        (4, "all", (0, 1, 2, 3, 4, 5)),
        (margin, 1, (1,)),
        ([margin, best, 4], 0, (4,)),
    ],
)
def test_which_outputs_are_kept(wanted, keep, outputs):
    targets = resolve_targets(wanted, SCORES, None)
    readout = open_readout(targets, SCORES, keep)
    functions = {t.name: t.function for t in targets if t.is_function}
    assert readout.outputs == outputs
    assert readout.num_outputs == 6
    assert dict(readout.functions) == functions
    assert readout.columns == len(outputs) + len(functions)


@pytest.mark.parametrize("keep", [-1, 1.5, True, None, "some", "ALL"])
def test_what_cannot_be_kept_is_refused_before_a_call(keep):
    with pytest.raises(InputError, match="keep_scores to be 'all' or a whole number, from 0 to"):
        Iassa().iterate(np.zeros((8, 9, 3)), lambda images: 1 / 0, keep_scores=keep)


def test_outputs_are_kept_by_index_as_well():
    targets = resolve_targets([0], SCORES, None)
    for keep in ([4, 2], np.array([4, 2]), (2, 4, 2)):
        assert open_readout(targets, SCORES, take(keep, KEEP, "keep_scores")).outputs == (0, 2, 4)
    assert open_readout(targets, SCORES, ()).outputs == (0,)
    with pytest.raises(InputError, match="among the outputs 0 to 5, got 6, -1"):
        open_readout(targets, SCORES, (3, 6, -1))


def test_targets_are_a_matrix_over_what_is_kept():
    targets = resolve_targets([margin, "3 vs 4,1", 0, best], SCORES, None)
    readout = open_readout(targets, SCORES, 2)
    answers = torch.from_numpy(np.random.default_rng(0).normal(size=(7, 6)))
    readings = readout.read(answers)
    found = readings @ readout.weights(targets, readings)
    a = answers.numpy()
    expected = [a[:, 0] - a[:, 5], a[:, 3] - a[:, 4] - a[:, 1], a[:, 0], a.max(1)]
    np.testing.assert_allclose(
        found.numpy(), np.stack(expected, 1), rtol=0, atol=steps(16, a, dtype=np.float64)
    )
    np.testing.assert_array_equal(readings[:, :5].numpy(), a[:, :5])  # 1 and 2 are the highest
    assert readings.dtype == torch.float64


# --- read by other targets --------------------------------------------------------------------


def evidence_of(outputs, functions):
    """Scores of six outputs, of which some and some functions are kept."""
    rng = np.random.default_rng(1)
    whole = [rng.normal(size=(count, 6)) for count in (1, 4, 3)]

    def kept(scores):
        columns = [scores[:, list(outputs)], *(f(scores)[:, None] for f in functions)]
        return np.concatenate(columns, axis=1)

    windows = np.array([[0, 0, 1, 1]] * 4, np.int32)
    rounds = []
    for scores in whole[1:]:
        plan = WindowPlan(np.ones(len(scores), np.float32), windows[: len(scores)].copy())
        rounds.append(ScoredRound(Feedback(), {"window": Scored(plan, kept(scores))}, 0.5))
    named = Readout(6, tuple(outputs), {f.__name__: f for f in functions})
    evidence = Evidence(
        size=(4, 5),
        num_outputs=6,
        outputs=named.outputs,
        functions=named.digests,
        class_names=tuple(f"{'abcdef'[k]}, {k}" for k in outputs),
        reference=kept(whole[0])[0],
        superpixels="",
        rounds=tuple(rounds),
    )
    return evidence, whole, kept


@pytest.mark.parametrize(
    ("outputs", "functions"),
    [((0,), []), ((1, 4), []), ((), [margin]), ((0, 1, 4, 5), [margin]), ((4,), [best, margin])],
)
def test_a_smaller_readout_has_the_columns_that_it_would_have_kept(outputs, functions):
    evidence, whole, _ = evidence_of((0, 1, 4, 5), [margin, best])
    found = evidence.read(Readout(6, outputs, {f.__name__: f for f in functions}))
    expected = [
        np.concatenate([s[:, list(outputs)], *(f(s)[:, None] for f in functions)], axis=1)
        for s in whole
    ]
    np.testing.assert_array_equal(found.reference, expected[0][0])
    for one, columns in zip(found.rounds, expected[1:], strict=True):
        np.testing.assert_array_equal(one.families["window"].readings, columns)
    assert found.outputs == outputs
    assert list(found.functions) == [f.__name__ for f in functions]
    assert found.class_names == tuple(f"{'abcdef'[k]}, {k}" for k in outputs)
    assert found.size == evidence.size
    assert [r.families["window"].plan for r in found.rounds] == [
        r.families["window"].plan for r in evidence.rounds
    ]


def test_of_all_outputs_any_function_can_be_read():
    evidence, whole, _ = evidence_of(range(6), [])
    found = evidence.read(Readout(6, (3,), {"best": best, "margin": margin}))
    np.testing.assert_array_equal(found.rounds[0].families["window"].readings[:, 1], best(whole[1]))
    np.testing.assert_array_equal(found.reference[1:], [best(whole[0])[0], margin(whole[0])[0]])

    def fails(scores):
        raise ValueError("no")

    with pytest.raises(BlackBoxError, match="the target f raised ValueError: no"):
        evidence.read(Readout(6, (3,), {"f": fails}))


@pytest.mark.parametrize(
    ("readout", "needs"),
    [
        (Readout(6, (2,)), "class 2"),
        (Readout(6, (0, 2, 3)), "class 2, 3"),
        (Readout(6, (0,), {"best": best}), "all"),
        (Readout(6, (0,), {"margin": best}), "all"),  # the name alone does not make it the same
    ],
)
def test_what_was_not_kept_is_refused_and_what_was_is_named(readout, needs):
    evidence, _, _ = evidence_of((0, 1, 4, 5), [margin])
    with pytest.raises(InputError) as refusal:
        evidence.read(readout)
    text = str(refusal.value)
    assert "the 4 of 6 outputs whose scores were kept (a, b, e, f)" in text
    assert f"needs {needs}." in text
    assert "keep_scores='all'" in text
    evidence = dataclasses.replace(evidence, class_names=())
    with pytest.raises(InputError, match=r"\(class 0, class 1, class 4, class 5\)"):
        evidence.read(readout)


def test_of_very_many_the_first_are_named():
    evidence = dataclasses.replace(
        small(), outputs=tuple(range(100)), class_names=(), num_outputs=999
    )
    assert evidence.kept.startswith("the 100 of 999 outputs whose scores were kept (class 0, ")
    assert evidence.kept.endswith("class 11 and 88 more)")


def test_no_target_is_needed_to_know_which():
    assert Target("margin", function=margin).is_function
    assert small().names_of((5, 0)) == ("cow", "ant")
    assert dataclasses.replace(small(), class_names=()).names_of((5, 0)) == ()
