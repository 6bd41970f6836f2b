"""Fields as text: written and read back, in every form that people type."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iassa.errors import InputError
from iassa.query import add_fields, encode_fields, format_fields, parse_fields


@dataclass(frozen=True)
class Example:
    """A field of each type; `path` and `made` have no text."""

    path: str
    flag: bool = False
    maybe: bool | None = None
    count: int = 4
    rate: float | None = None
    word: str = ""
    folder: str | Path | None = None
    layout: Literal["NCHW", "NHWC"] | None = None
    size: tuple[int, int] | Literal["any"] | None = None
    range: tuple[float, float] | None = None
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    names: tuple[str, ...] | None = None
    made: tuple[Path, ...] | None = None


FIELDS = "flag, maybe, count, rate, word, folder, layout, size, range, mean, names"

number = st.floats(allow_nan=False, allow_infinity=False)
paths = st.binary(min_size=1).map(os.fsdecode)  # what a folder may be called
values = st.fixed_dictionaries(
    {},
    optional={
        "flag": st.booleans(),
        "maybe": st.booleans(),
        "count": st.integers(),
        "rate": number,
        "word": st.text(st.characters(exclude_categories=["Cs"])),
        "folder": paths,
        "layout": st.sampled_from(["NCHW", "NHWC"]),
        "size": st.just("any") | st.tuples(st.integers(0), st.integers(0)),
        "range": st.tuples(number, number),
        "mean": st.tuples(number, number, number),
        "names": st.lists(st.text("ab.0%&+=/", min_size=1)).map(tuple),
    },
)


@given(values)
def test_what_is_written_is_read_back(said: dict[str, Any]) -> None:
    text = format_fields(Example, said)
    assert Example("", **parse_fields(Example, text)) == Example("", **said)
    assert format_fields(Example, parse_fields(Example, text)) == text


@given(paths, st.text(st.characters(exclude_categories=["Cs"])))
def test_what_is_typed_is_taken_as_it_is(folder: str, word: str) -> None:
    text = add_fields(Example, "count=7", [f"folder={folder}", f"word={word}"])
    assert parse_fields(Example, text) == {"count": 7, "folder": folder} | (
        {"word": word} if word else {}
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        *((f"flag={yes}", {"flag": True}) for yes in ("yes", "true", "YES", "True")),
        *((f"flag={no}", {"flag": False}) for no in ("no", "false", "No", "FALSE")),
        ("size=224", {"size": (224, 224)}),
        ("size=224,320", {"size": (224, 320)}),
        ("size=224x320", {"size": (224, 320)}),
        ("size=any", {"size": "any"}),
        ("range=0-255", {"range": (0, 255)}),
        ("range=0..255", {"range": (0, 255)}),
        ("range=-1..1", {"range": (-1, 1)}),
        ("range=-1-1", {"range": (-1, 1)}),
        ("range=-1,1", {"range": (-1, 1)}),
        ("range=1e-3-1.5e+2", {"range": (0.001, 150)}),
        ("mean=0.5", {"mean": (0.5, 0.5, 0.5)}),
        ("mean=0.5, .25,1", {"mean": (0.5, 0.25, 1)}),
        ("rate=5&count=3", {"rate": 5.0, "count": 3}),
        ("word=a+b c%2Cd%26e%25", {"word": "a+b c,d&e%"}),
        ("word=a=b", {"word": "a=b"}),
        ("word=", {"word": ""}),
        ("folder=a%FF", {"folder": os.fsdecode(b"a\xff")}),
    ],
)
def test_texts(text: str, expected: dict[str, Any]) -> None:
    found = parse_fields(Example, text)
    assert found == expected
    assert [type(one) for one in found.values()] == [type(one) for one in expected.values()]


def test_names_may_have_hyphens() -> None:
    @dataclass
    class Endpoint:
        in_flight: int = 4

    assert parse_fields(Endpoint, "in-flight=2") == {"in_flight": 2}
    with pytest.raises(InputError, match="expected in_flight once, got it twice"):
        parse_fields(Endpoint, "in-flight=2&in_flight=2")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path=a", "expected a known field, got path."),
        ("made=a", "expected a known field, got made."),
        ("speed=3", "expected a known field, got speed."),
        ("count", "expected field=value&field=value, got 'count'."),
        ("&", "expected field=value&field=value, got '&'."),
        ("count=3&count=3", "expected count once, got it twice."),
        ("flag=maybe", "expected flag to be yes or no, got flag=maybe."),
        ("flag=1", "expected flag to be yes or no, got flag=1."),
        ("count=3.5", "expected count to be a whole number, got count=3.5."),
        ("rate=fast", "expected rate to be a number, got rate=fast."),
        ("rate=nan", "expected rate to be a number, got rate=nan."),
        ("rate=inf", "expected rate to be a number, got rate=inf."),
        ("layout=CHW", "expected layout to be NCHW or NHWC, got layout=CHW."),
        ("size=large", "expected size to be HEIGHT,WIDTH or any, got size=large."),
        ("size=3.5,3", "expected size to be HEIGHT,WIDTH or any, got size=3.5,3."),
        ("size=3,3,3,3", "expected size to be HEIGHT,WIDTH or any, got size=3,3,3,3."),
        ("range=1", "expected range to be LOW-HIGH, as in 0-1, 0-255 or -1..1, got range=1."),
        ("range=0-1e999", "expected range to be LOW-HIGH"),
        ("mean=0.5,0.5", "expected mean to be one number or three, as in 0.5,0.4,0.3, got"),
        ("mean=a,b,c", "expected mean to be one number or three"),
        ("mean=nan", "expected mean to be one number or three"),
    ],
)
def test_what_is_refused_lists_the_fields(text: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        parse_fields(Example, text)
    assert message in str(error.value)
    assert str(error.value).endswith(f" Fields: {FIELDS}.")


def test_a_value_that_is_typed_cannot_smuggle_in_another_field() -> None:
    assert parse_fields(Example, encode_fields(["word=a&count=3"])) == {"word": "a&count=3"}
    text = add_fields(Example, "", ["word=a&count=3"])
    assert parse_fields(Example, text) == {"word": "a&count=3"}
    with pytest.raises(InputError, match="expected count once"):
        add_fields(Example, "count=3", ["count=4"])
