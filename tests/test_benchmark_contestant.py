"""Methods with settings, as a command line has them."""

from __future__ import annotations

import contextlib
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

import iassa
from iassa.benchmark.contestant import Contestant, parse_contestant, read_contestants
from iassa.errors import InputError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a=rise", Contestant("a", iassa.methods.Rise(), (250, 500))),
        ("a=rise@4000", Contestant("a", iassa.methods.Rise(), (4000,))),
        ("a.b-1=rise@100+4000", Contestant("a.b-1", iassa.methods.Rise(), (100, 4000))),
        ("a=rise/round", Contestant("a", iassa.methods.Rise(), (500,), every_round=True)),
        (
            "p=iassa-paper@9000/round:beta=1.0,features=none",
            Contestant("p", iassa.methods.IassaPaper(beta=1.0, features="none"), (9000,), True),
        ),
        (
            " two = iassa@300:segment_counts=(64, 128),keep-probability=(0.2,0.8) ".replace(
                " = ", "="
            ),
            Contestant(
                "two",
                iassa.methods.Iassa(segment_counts=(64, 128), keep_probability=(0.2, 0.8)),
                (300,),
            ),
        ),
        (
            "s=lime:segmentation=slic",
            Contestant("s", iassa.methods.Lime(segmentation="slic"), (250, 500)),
        ),
    ],
)
def test_a_text_is_read(text: str, expected: Contestant) -> None:
    assert parse_contestant(text, [250, 500]) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rise", "expected LABEL=METHOD"),
        ("a=", "expected LABEL=METHOD"),
        ("=rise", "expected LABEL=METHOD"),
        ("a=rise@x", "expected LABEL=METHOD"),
        ("a=rize", r"\(nearest: rise\)"),
        ("a=rise:nothing=3", "a field of rise"),
        ("a=rise:grid_size=0", "grid_size"),
        ("a=rise:grid_size=7,grid_size=8", "Give it once"),
        ("a b=rise", "expected a label"),
        ("a=rise@500+250", "ascending"),
        ("a=rise@500+500", "ascending"),
        ("a=rise@+", "expected LABEL=METHOD"),
        ("a=rise@20+40/round", "expected one budget"),
        ("a=rise@16", "17 calls or more"),
        ("a=shap-partition@500/round", "with rounds"),
    ],
)
def test_a_bad_text_is_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_contestant(text, [250])


@given(st.text(max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(InputError):
        assert parse_contestant(text, [250]).calls


def test_names_and_texts_make_a_list() -> None:
    found = read_contestants(["iassa", "rise"], ["rise-4000=rise@4000"], [500])
    assert [(each.label, each.calls) for each in found] == [
        ("iassa", (500,)),
        ("rise", (500,)),
        ("rise-4000", (4000,)),
    ]
    assert pickle.loads(pickle.dumps(found)) == found


@pytest.mark.parametrize(
    ("names", "texts"), [([], []), (["rise", "rise"], []), (["rise"], ["rise=rise@90"])]
)
def test_labels_are_unique_and_there_is_one(names: list[str], texts: list[str]) -> None:
    with pytest.raises(InputError, match="a label of its own"):
        read_contestants(names, texts, [500])


def test_a_definition_tells_settings_apart() -> None:
    plain = parse_contestant("a=iassa", [500]).definition()
    assert plain["name"] == "iassa"
    assert plain["calls"] == [500]
    assert not plain["every_round"]
    others = ["a=iassa:beta=1.0", "a=iassa@501", "a=iassa/round", "a=rise"]
    assert all(parse_contestant(text, [500]).definition() != plain for text in others)
