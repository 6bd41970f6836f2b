"""Annotations as rules: against comparisons that are written out, and words against a list."""

from __future__ import annotations

import typing
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iassa.checks import Within, describe, fits
from iassa.errors import InputError
from iassa.methods import METHODS, Explainer, Iassa, Occlusion

numbers = st.integers(-5, 5)


@given(numbers, numbers, numbers, st.booleans(), st.booleans())
def test_a_number_lies_within_or_not(
    value: int, low: int, high: int, above: bool, below: bool
) -> None:
    inside = low <= value <= high and not (above and value == low) and not (below and value == high)
    rule = Within(low, high, above=above, below=below)
    assert fits(value, Annotated[int, rule]) == inside
    assert fits((value,) * 2, Annotated[tuple[int, ...], rule]) == inside
    assert fits((value, low - 1), Annotated[tuple[int, ...], rule]) is False


def test_none_is_asked_of_the_kind_alone_and_an_empty_tuple_is_refused() -> None:
    assert fits(None, Annotated[int | None, Within(1)])
    assert not fits(None, Annotated[int, Within(1)])
    assert not fits((), Annotated[tuple[int, ...], Within(1)])
    assert not fits(True, Annotated[int, Within(0)])


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Annotated[int, Within(16, 100_000)], "a whole number, from 16 to 100000"),
        (Annotated[float, Within(0, above=True)], "a number, above 0"),
        (Annotated[float, Within(0, 1, above=True, below=True)], "a number, above 0 and below 1"),
        (tuple[float, float], "a tuple (number, number)"),
        (Literal["slic", "quickshift"], "'slic' or 'quickshift'"),
        (bool | None, "True or False or None"),
    ],
)
def test_a_kind_is_described_in_words(kind: object, words: str) -> None:
    assert describe(kind) == words


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_every_default_obeys_its_own_rule(method: type[Explainer]) -> None:
    made = method()
    for name, kind in typing.get_type_hints(method, include_extras=True).items():
        if typing.get_origin(kind) is not typing.ClassVar and name != "baseline":
            assert fits(getattr(made, name), kind), name


def test_a_hyperparameter_out_of_its_range_is_refused_with_the_range() -> None:
    with pytest.raises(InputError, match=r"positions of iassa .* from 1 to 224, got 0"):
        Iassa(positions=0)
    with pytest.raises(InputError, match=r"stride of sliding-window .* at most the window, got 60"):
        Occlusion(stride=60)
