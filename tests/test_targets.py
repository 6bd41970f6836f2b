"""Targets: every form that a user may write, on toy names and on the real ones."""

from __future__ import annotations

import functools
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import iassa
from iassa.errors import InputError
from iassa.models.efficientnet_lite0 import class_names
from iassa.models.targets import ClassLookup, Target, resolve_targets

NAMES = ("ant, pismire", "bee", "Cow vs Bull", "crane", "crane", "tabby, tabby cat", "Straße")
SCORES = np.array([0.1, 0.3, 0.05, 0.3, 0.05, 0.15, 0.05])
IMAGENET = class_names()
UNIFORM = np.zeros(1000, np.float32)


def of(*indices, weights=None):
    return tuple(indices), tuple(weights or [1.0] * len(indices))


def resolved(wanted, scores=SCORES, names=NAMES):
    return [(t.indices, t.weights) for t in resolve_targets(wanted, scores, names)]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("top-1", [of(1)]),  # of two with equal scores the first
        ("top-3", [of(1), of(3), of(5)]),
        (" TOP-2 ", [of(1), of(3)]),
        ("top-7", [of(1), of(3), of(5), of(0), of(2), of(4), of(6)]),
        (0, [of(0)]),
        (np.int64(6), [of(6)]),
        ("6", [of(6)]),
        ("+6", [of(6)]),
        ("0005", [of(5)]),
        ("BEE", [of(1)]),
        ("  bee ", [of(1)]),
        ("pismire", [of(0)]),
        ("ant", [of(0)]),
        ("STRASSE", [of(6)]),
        ("tabby, tabby cat", [of(5)]),
        ("ant, pismire", [of(0)]),
        ("Cow vs Bull", [of(2)]),  # a name first, a contrast only if it is none
        ("ant,bee", [of(0, 1)]),
        ("bee , 0", [of(1, 0)]),
        ("ant,0,pismire", [of(0)]),
        ("ant,tabby,bee", [of(0, 5, 1)]),
        ("ant vs bee", [of(0, 1, weights=[1.0, -1.0])]),
        ("ant  vs.\t3", [of(0, 3, weights=[1.0, -1.0])]),
        ("ant,4 vs bee,5", [of(0, 4, 1, 5, weights=[1.0, 1.0, -1.0, -1.0])]),
        (["ant", "1"], [of(0), of(1)]),
        (("top-2", "bee"), [of(1), of(3)]),
        (["ant", "pismire", 0, "0", "ant,ant"], [of(0)]),
        (["0,1", "1,0"], [of(0, 1), of(1, 0)]),
    ],
)
def test_every_form(wanted, expected):
    assert resolved(wanted) == expected


def test_names_are_the_first_synonyms():
    targets = resolve_targets(["pismire", "ant,5", "tabby vs 1,2", "top-1"], SCORES, NAMES)
    names = [target.name for target in targets]
    assert names == ["ant", "ant + tabby", "tabby vs bee + Cow vs Bull", "bee"]
    assert resolve_targets("2", SCORES, None)[0].name == "class 2"


def test_targets_pass_through():
    mine = Target("half", (0, 3), (0.5, 0.25))
    assert resolve_targets(mine, SCORES, NAMES) == (mine,)
    assert resolve_targets([mine, mine], SCORES, None) == (mine,)
    with pytest.raises(InputError, match="from 0 to 6, got 7"):
        resolve_targets(Target("beyond", (7,), (1.0,)), SCORES, NAMES)


@pytest.mark.parametrize(
    ("indices", "weights"),
    [((), ()), ((1,), (1.0, 2.0)), ((1, 2), (1.0,)), ((1, 1), (1.0, 1.0)), ((1,), (np.nan,))],
)
def test_what_is_no_weight_vector_is_refused(indices, weights):
    with pytest.raises(InputError, match="in target 'odd'"):
        resolve_targets(Target("odd", indices, weights), SCORES, None)
    if len(indices) == 1:
        with pytest.raises(InputError, match="in target 'odd'"):
            resolve_targets(Target("odd", indices, (1.0,), np.mean), SCORES, None)


# Functions of the scores.


def margin(scores):
    return scores[:, 3] - scores[:, 5]


class Margin:
    """A callable that cannot be hashed."""

    __hash__ = None

    def __call__(self, scores):
        return margin(scores)


def test_functions():
    method = Margin().__call__
    kinds = [margin, lambda scores: scores[:, 0], functools.partial(np.sum, axis=1), Margin()]
    names = ["margin", "test_functions.<locals>.<lambda>", "partial", "Margin"]
    found = resolve_targets([*kinds, method, "bee"], SCORES, NAMES)
    assert [target.name for target in found] == [*names, "Margin.__call__", "bee"]
    assert [target.function for target in found] == [*kinds, method, None]
    assert [target.is_function for target in found] == [True] * 5 + [False]
    assert all(target.indices == target.weights == () for target in found[:-1])
    assert resolve_targets(margin, SCORES, None) == (found[0],)
    assert resolve_targets([margin, found[0], margin], SCORES, None) == (found[0],)


def test_functions_by_reference(tmp_path, monkeypatch):
    (tmp_path / "mine_scores.py").write_text(
        "import numpy as np\n"
        "def entropy(scores):\n    return -(scores * np.log(scores)).sum(1)\n"
        "class Holder:\n    @staticmethod\n    def first(scores):\n        return scores[:, 0]\n"
        "def made():\n    return entropy\n"
        "number = 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    (target,) = resolve_targets(" mine_scores:entropy ", SCORES, NAMES)
    assert target.name == "mine_scores:entropy"
    assert target.function(SCORES[None]) == pytest.approx(-(SCORES * np.log(SCORES)).sum())
    with pytest.raises(InputError, match="'mine_scores:entropy', got its name alone"):
        resolve_targets(Target("mine_scores:entropy"), SCORES, None)  # as a saved record has it
    both = resolve_targets(["mine_scores:made", "mine_scores:Holder.first"], SCORES, None)
    assert both[0].function is target.function
    assert both[1].function(SCORES[None]) == SCORES[0]
    with pytest.raises(InputError, match=r"function of scores \(N, K\) at .*:number, got int"):
        resolve_targets("mine_scores:number", SCORES, None)
    for wrong in ("mine_scores:none", "mine_none:first"):
        with pytest.raises(InputError, match=f"cannot open {wrong}"):
            resolve_targets(wrong, SCORES, None)
    monkeypatch.delitem(sys.modules, "mine_scores")


def test_names_of_classes_come_before_references():
    (target,) = resolve_targets("ratio:high", SCORES[:2], ("ratio:low", "ratio:high"))
    assert target.indices == (1,)


def test_functions_of_one_name_are_refused():
    def make(k):
        return lambda scores: scores[:, k]

    with pytest.raises(InputError, match="functions with different names"):
        resolve_targets([make(1), make(2)], SCORES, NAMES)
    named = [Target("one", function=make(1)), Target("two", function=make(2))]
    assert resolve_targets(named, SCORES, NAMES) == tuple(named)


def test_a_function_of_which_only_the_name_is_left_is_refused():
    with pytest.raises(InputError, match=r"'f.<locals>.<lambda>', got its name alone"):
        resolve_targets(Target("f.<locals>.<lambda>"), SCORES, NAMES)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ([], "at least one target"),
        ((), "at least one target"),
        ("top-0", "expected top-1 to top-7, got 'top-0'"),
        ("top-8", "expected top-1 to top-7"),
        (7, "from 0 to 6, got 7"),
        ("-1", "from 0 to 6, got -1"),
        (-1, "from 0 to 6, got -1"),
        ("0,1,99", "from 0 to 6, got 99"),
        ("crane", "'crane', which is the name of several. Say 3 or 4"),
        ("ant,crane", "Say 3 or 4"),
        ("bee vs Crane", "Say 3 or 4"),
        ("ant vs bee vs 2", "contrast of two"),
        ("ant vs ant,bee", "different classes"),
        ("", "unknown class ''"),
        ("0,", "unknown class ''"),
        (" vs ", "unknown class 'vs'"),
        (None, "got None"),
        (True, "got True"),
        (1.5, "got 1.5"),
        (["bee", 1.5], "got 1.5"),
    ],
)
def test_refused(wanted, message):
    with pytest.raises(InputError, match=message) as refusal:
        resolve_targets(wanted, SCORES, NAMES)
    assert "\n" not in str(refusal.value)


def test_numbers_of_thousands_of_digits_are_refused():
    for wanted in ("9" * 5000, "-" + "9" * 5000, 10**5000, -(10**5000), "top-" + "9" * 5000):
        with pytest.raises(
            InputError, match=r"expected (a class index from 0 to 6|top-1 to top-7)"
        ):
            resolve_targets(wanted, SCORES, NAMES)


def test_all_unknown_names_are_told_with_the_nearest():
    with pytest.raises(InputError) as refusal:
        resolve_targets(["tabbby,ant,be", "zzzz"], SCORES, NAMES)
    text = str(refusal.value)
    assert "'tabbby' (nearest: tabby" in text
    assert "'be' (nearest: bee" in text
    assert "'zzzz'" in text
    assert "ant'" not in text


def test_without_class_names():
    assert resolved("top-1", names=None) == [of(1)]
    assert resolved("0,2 vs 5", names=None) == [of(0, 2, 5, weights=[1.0, 1.0, -1.0])]
    with pytest.raises(InputError, match="'bee', 'cow': this black box has no class names"):
        resolve_targets("bee,0,cow", SCORES, None)


@pytest.mark.parametrize("count", [0, 1, 6, 8])
def test_class_names_of_another_number_are_refused(count):
    with pytest.raises(InputError, match=f"each of the 7 scores .* got {count} class names"):
        resolve_targets("top-1", SCORES, ["name"] * count)


def test_empty_synonyms_are_no_names():
    with pytest.raises(InputError, match="unknown class ''"):
        resolve_targets("", SCORES[:1], ["ant,"])


def test_imagenet():
    assert resolved("Egyptian cat", UNIFORM, IMAGENET) == [of(285)]
    assert resolved("281,282,tabby", UNIFORM, IMAGENET) == [of(281, 282)]
    contrast = [of(281, 285, weights=[1.0, -1.0])]
    assert resolved("tabby vs Egyptian cat", UNIFORM, IMAGENET) == contrast
    assert resolved("ESPRESSO", UNIFORM, IMAGENET) == [of(967)]
    with pytest.raises(InputError, match="Say 134 or 517"):
        resolve_targets("crane", UNIFORM, IMAGENET)
    with pytest.raises(InputError, match=r"nearest: egyptian cat"):
        resolve_targets("egiptian cat", UNIFORM, IMAGENET)


@pytest.mark.parametrize("index", range(0, 1000, 37))
def test_every_imagenet_name_finds_its_class(index):
    text = IMAGENET[index]
    same = [k for k, other in enumerate(IMAGENET) if text in [other, *other.split(", ")]]
    if len(same) == 1:
        assert resolved(text, UNIFORM, IMAGENET) == [of(index)]
    else:
        with pytest.raises(InputError, match=str(index)):
            resolve_targets(text, UNIFORM, IMAGENET)


WORDS = st.sampled_from(
    [*"0123456789,-+ ", " vs ", "vs", "top-", "ant", "bee", "crane", "tabby cat", "٣", "²"]
)


@given(wanted=st.text() | st.lists(WORDS, max_size=8).map("".join), named=st.booleans())
def test_any_text_resolves_or_is_refused(wanted, named):
    try:
        targets = resolve_targets(wanted, SCORES, NAMES if named else None)
    except InputError:
        return
    assert targets
    for target in targets:
        assert len(set(target.indices)) == len(target.indices) == len(target.weights)
        assert all(0 <= index < 7 for index in target.indices)
        assert set(target.weights) <= {1.0, -1.0}
        # What it is called can be asked for again, but for names that several classes share.
        if "crane" not in target.name and len(target.indices) == 1 and named:
            assert resolved(target.name) == [(target.indices, target.weights)]


@given(
    scores=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=9),
    count=st.integers(1, 9),
)
def test_top_k_are_the_highest(scores, count):
    array = np.array(scores)
    if count > len(scores):
        with pytest.raises(InputError, match="expected top-1"):
            resolve_targets(f"top-{count}", array, None)
        return
    chosen = [t.indices[0] for t in resolve_targets(f"top-{count}", array, None)]
    assert sorted(array[chosen], reverse=True) == sorted(scores, reverse=True)[:count]
    assert len(set(chosen)) == count


def test_a_name_of_digits_is_found_by_name_alone():
    lookup = ClassLookup(3, ["7", "bee", "2"])
    assert (lookup.find("2"), lookup.named(" 2 ")) == ([2], [2])
    assert (lookup.find("1"), lookup.named("1")) == ([1], [])
    assert lookup.named("7") == [0]


ANGLES = ("0", "90", "180", "2")  # index 2 is 180 degrees, and '2' is the name of index 3


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        ("0", 0),  # its index and its name
        ("90", 1),  # no index: a name
        (" 180 ", 2),
        ("3", 3),  # no name: an index
        (2, 2),  # a number is an index
        (np.int64(2), 2),
        ("class 2", 2),
        ("Class  3", 3),
        ("not 90", 1),
    ],
)
def test_digits_that_are_names(wanted, index):
    (target,) = resolve_targets(wanted, SCORES[:4], ANGLES)
    assert target.indices == (index,)
    assert target.name.removeprefix("not ") == ANGLES[index]


@pytest.mark.parametrize("wanted", ["2", "2,90", "90 vs 2", "not 2"])
def test_digits_that_mean_two_classes_are_refused(wanted):
    with pytest.raises(
        InputError, match=r"index of '180' and the name of another\. Say class 2 or class 3"
    ):
        resolve_targets(wanted, SCORES[:4], ANGLES)


def test_an_index_that_is_printed_can_be_asked_for():
    assert resolved("class 2 vs class 0", names=None) == [of(2, 0, weights=[1.0, -1.0])]
    assert resolved("class 1", UNIFORM[:2], ("class 1", "class 0")) == [of(0)]  # a name comes first
    with pytest.raises(InputError, match="class index from 0 to 6, got 9"):
        resolve_targets("class 9", SCORES, NAMES)


def test_names_that_differ_in_case_alone():
    letters = ("W", "w", "Ä", "E,e")
    assert [resolved(text, UNIFORM[:4], letters) for text in ("W", "w", "ä", "e")] == [
        *([of(0)], [of(1)], [of(2)], [of(3)])
    ]


# --- the other side ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "indices"),
    [
        ("not bee", (1,)),
        (" NOT  1", (1,)),
        ("not ant, bee", (0, 1)),
        ("not\ttabby, tabby cat", (5,)),
    ],
)
@pytest.mark.parametrize("scores", [np.full(7, 0.25), np.linspace(-1, 1, 7), np.linspace(0, 9, 7)])
def test_not_is_the_complement_of_probabilities_and_else_the_negative(wanted, indices, scores):
    (target,) = resolve_targets(wanted, scores, NAMES)
    assert (target.indices, target.weights) == (indices, (-1.0,) * len(indices))
    value = scores[list(indices)] @ np.array(target.weights) + target.offset
    whole = 1 if scores.min() >= 0 and scores.max() <= 1 else 0
    assert value == pytest.approx(whole - scores[list(indices)].sum())
    assert target.name == "not " + " + ".join(NAMES[k].split(",")[0].strip() for k in indices)


def test_a_class_of_that_name_comes_first():
    (target,) = resolve_targets("not ok", np.zeros(2), ["ok", "not ok"])
    assert target == Target("not ok", (1,), (1.0,))


@pytest.mark.parametrize("text", ["not top-1", "not bee vs ant", "not not bee"])
def test_what_has_no_other_side_is_refused(text):
    with pytest.raises(InputError, match=f"expected a class or a group behind 'not', got '{text}'"):
        resolve_targets(text, SCORES, NAMES)


def test_an_unknown_class_behind_not_is_named_by_itself():
    with pytest.raises(InputError, match=r"unknown class 'been' \(nearest: bee"):
        resolve_targets("not been", SCORES, NAMES)


@pytest.mark.parametrize("sign", [1, 20])  # of which 20 is no probability
def test_the_map_of_not_is_that_of_the_function_and_stays_so_when_saved(tmp_path, sign):
    image = np.random.default_rng(0).uniform(0, 1, (18, 27, 3)).astype(np.float32)

    def one(images):
        return sign * images[:, 4:9, 3:9].mean((1, 2, 3))[:, None]

    def other(scores):
        return (1 if sign == 1 else 0) - scores[:, 0]

    found = iassa.explain(image, one, target=["not 0", other, 0], method="rise", calls=60)
    assert found.scores[0] == pytest.approx(found.scores[1], abs=0)
    np.testing.assert_allclose(found.saliency[0], found.saliency[1], rtol=0, atol=1e-6 * sign)
    found = iassa.explain(image, one, target="not 0", method="rise", calls=60)
    found.save(tmp_path)
    loaded = iassa.Explanation.load(tmp_path)
    assert loaded.targets == found.targets
    whole = iassa.explain(image, one, target="not 0", method="rise", calls=90)
    made = iassa.extend(loaded, one, calls=30)
    np.testing.assert_array_equal(made.saliency, whole.saliency)
    assert iassa.retarget(made, 0).scores == (whole.evidence.reference[0],)
    assert iassa.retarget(made, "not 0").scores == made.scores
