"""Annotations as rules: against comparisons that are written out, and words against a list."""

from __future__ import annotations

import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from iassa.checks import InputSize, Within, convert, describe, fits, take, take_json, taking
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
        (Callable[[int], object] | None, "a function or None"),
        (Iassa | None, "Iassa(...) or None"),
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


Triple = tuple[float, float, float]


@pytest.mark.parametrize(
    ("value", "kind", "made"),
    [
        (np.uint8(8), int, 8),
        (np.array(8), int | None, 8),
        (torch.tensor(8), Annotated[int, Within(0)], 8),
        (1e3, int, 1000),
        (np.float32(0.5), float, 0.5),
        (3, float, 3),  # it stays a whole number, as it is written in a record
        (np.bool_(True), bool, True),
        (np.str_("all"), Literal["all"] | int, "all"),
        ([1, np.int64(2)], tuple[int, ...], (1, 2)),
        (np.array([0.25, 0.5]), tuple[float, float], (0.25, 0.5)),
        (224, InputSize, (224, 224)),
        (np.array([3, 24, 32]), InputSize, (24, 32)),
        (torch.zeros(1, 3, 24, 32).shape[2:], InputSize, (24, 32)),
        ((3, 5), InputSize, (3, 5)),
        (None, InputSize, None),
        (0.5, Triple, (0.5, 0.5, 0.5)),
    ],
)
def test_what_stands_for_a_value_becomes_it(value: object, kind: object, made: object) -> None:
    found = take(value, kind, "it")
    assert found == made
    assert isinstance(found, type(made))
    if isinstance(made, tuple):
        assert [type(one) for one in found] == [type(one) for one in made]
    assert convert(found, kind) is found


@pytest.mark.parametrize(
    ("value", "kind", "words"),
    [
        (1.5, int, "a whole number, got 1.5"),
        ("10", int, "a whole number, got '10'"),
        (True, int, "a whole number, got True"),
        (np.bool_(True), float, r"a number, got np.True_"),
        (float("inf"), int, "a whole number, got inf"),
        (np.array([1, 2]), int | None, r"a whole number or None, got array\(\[1, 2\]\)"),
        (1 + 0j, float, "a number"),
        ((24, 32, 3), InputSize, r"\(height, width\) or None, from 1 to 4096, got \(24, 32, 3\)"),
        (0, InputSize, "from 1 to 4096, got 0"),
        ([[3, 4]], InputSize, r"got \[\[3, 4\]\]"),
        (list(range(1000)), int, r"got \[0, 1, 2, 3, 4, 5, \.\.\.\]\. Change it\.$"),
    ],
)
def test_what_stands_for_no_value_is_refused(value: object, kind: object, words: str) -> None:
    with pytest.raises(InputError, match=f"expected it to be .*{words}"):
        take(value, kind, "it")


def test_a_number_of_thousands_of_digits_is_refused_without_its_digits() -> None:
    with pytest.raises(InputError, match="a number, got a huge number"):
        take(10**5000, float, "it")


@dataclass(frozen=True)
class Part:
    length: int


@dataclass(frozen=True)
class Whole:
    part: Part | None


def test_a_part_of_a_file_may_be_none() -> None:
    assert take_json({"part": None}, Whole, "") == Whole(None)
    assert take_json({"part": {"length": 2}}, Whole, "") == Whole(Part(2))
    for got in (3, [], {"length": "long"}):
        with pytest.raises(InputError, match=r"expected part(\.length)?"):
            take_json({"part": got}, Whole, "")


@taking("number", "then", "rise")
def add(
    number: Annotated[int, Within(0)],
    other: typing.Any,
    *more: int,
    then: Callable[[int], int] | None = None,
    rise: Iassa | None = None,
) -> int:
    """Add."""
    added: int = number + other + sum(more)
    return added if then is None else then(added)


def test_arguments_are_taken_by_their_annotations() -> None:
    assert add(np.int64(2), 3) == add(2.0, other=3) == add(number=torch.tensor(2), other=3) == 5
    assert add(2, 3, 4, then=lambda sum_: -sum_, rise=Iassa()) == -9
    assert type(add(np.int64(2), 3)) is int
    assert (add.__name__, add.__doc__) == ("add", "Add.")
    for odd, words in (
        ({"number": -1}, "number to be a whole number, 0 or more, got -1"),
        ({"number": "2"}, "number to be a whole number, 0 or more, got '2'"),
        ({"then": 3}, "then to be a function or None, got 3"),
        ({"rise": {"seed": 1}}, r"rise to be Iassa\(...\) or None, got {'seed': 1}"),
    ):
        with pytest.raises(InputError, match=f"expected {words}. Change it."):
            add(**{"number": 2, "other": 3, **odd})  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="other"):  # as of any function
        add(2)  # type: ignore[call-arg]
