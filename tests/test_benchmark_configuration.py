"""Configurations: the same again, or each difference by its path."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iassa.benchmark.configuration import as_json, differences, join_methods, list_changed_images
from iassa.errors import InputError

LEAVES = st.none() | st.booleans() | st.integers(-3, 3) | st.text("ab.", max_size=2)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("xy"), inner, max_size=3),
    max_leaves=8,
)


def test_differences_by_path():
    stored = {"a": {"step": 896, "fill": [0, 0.5]}, "b": True, "only": "x", "n": [1]}
    asked = {"a": {"step": 224, "fill": [0, 1]}, "b": 1, "n": [1, 2], "new": None}
    assert list(differences(stored, asked)) == [
        "a.step: 896 in the run, 224 asked for",
        "a.fill[1]: 0.5 in the run, 1 asked for",
        "b: true in the run, 1 asked for",
        'only: "x" in the run, nothing asked for',
        "n: [1] in the run, [1, 2] asked for",
        "new: nothing in the run, null asked for",
    ]


def test_data_is_told_in_words():
    stored = {"dataset": {"kind": "masks", "images": "71075b", "masks": "ab"}, "half": "odd"}
    asked = {"dataset": {"kind": "masks", "images": "9ebc55", "masks": "cd"}, "half": "odd"}
    assert list(differences(stored, asked)) == [
        (
            "dataset.images: not the images of the folder (names and sizes of the files) with "
            "which the run began"
        ),
        "dataset.masks: not the masks (names and contents of the files) with which the run began",
    ]
    assert list(differences({"targets": {"classes": "a"}}, {"targets": {}})) == [
        'targets.classes: "a" in the run, nothing asked for'
    ]


@pytest.mark.parametrize(
    ("known", "names", "half", "told"),
    [
        ("abc", "abcd", "both", "not in the run: d"),
        ("abc", "bd", "both", "not in the run: d; no longer in the folder: a, c"),
        ("abc", "bd", "even", "no longer in the folder: a, c"),
        ("cab", "cab", "both", "the names are the same, so a file has another size"),
        ("ab", "cab", "odd", "those of this half are there, by name"),
        ("", "gfedcba", "both", "not in the run: g, f, e and 4 more"),
    ],
)
def test_images_that_differ_are_named(known, names, half, told):
    assert list_changed_images(set(known), list(names), half) == told


@given(VALUES, VALUES)
def test_none_only_if_they_are_the_same(one, other):
    assert not list(differences(one, one))
    assert bool(list(differences(one, other))) == (repr_of(one) != repr_of(other))


def repr_of(value):
    """With leaves of which no two are equal, as True and 1 are."""
    if isinstance(value, dict):
        return {key: repr_of(inner) for key, inner in value.items()}
    return [repr_of(inner) for inner in value] if isinstance(value, list) else repr(value)


def test_methods_may_come_and_stay_away():
    stored = {"methods": {"a": {"x": 1}, "b": {"x": 2}}, "seed": 0}
    joined, differing = join_methods(stored, {"methods": {"c": {}, "b": {"x": 2}}, "seed": 0})
    assert not differing
    assert joined == {"methods": {"a": {"x": 1}, "b": {"x": 2}, "c": {}}, "seed": 0}
    assert join_methods(stored, {"seed": 0}) == (stored, [])
    assert join_methods(stored, {"methods": {"b": {"x": 3}}, "seed": 0})[1] == [
        "methods.b.x: 2 in the run, 3 asked for"
    ]
    assert join_methods(stored, {"methods": ["b"], "seed": 0})[1]


def test_what_is_no_json_is_refused():
    assert as_json({"a": (1, 2), "b": {3: "x"}}) == {"a": [1, 2], "b": {"3": "x"}}
    for value in (float("nan"), np.float32(1), {1, 2}):
        with pytest.raises(InputError, match="expected a configuration of finite numbers"):
            as_json({"a": value})
