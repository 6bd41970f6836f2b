"""Hyperparameters against their annotations: a wrong kind or value is refused where it enters."""

from __future__ import annotations

import math
import typing
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any

import numpy as np

WORDS = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "a text",
    NoneType: "None",
}


@dataclass(frozen=True)
class Within:
    """A rule for an `Annotated` number, or for each number of a tuple, of which there is one.

    Attributes:
        low: smallest.
        high: largest.
        above: whether `low` itself is excluded.
        below: whether `high` itself is excluded.

    Example:
        >>> str(Within(2, 224)), str(Within(0, above=True)), str(Within(0, 1, below=True))
        ('from 2 to 224', 'above 0', 'from 0 to below 1')
    """

    low: float
    high: float = math.inf
    above: bool = False
    below: bool = False

    def holds(self, value: Any) -> bool:
        """Whether a number, or every one of a tuple, lies within."""
        numbers = value if isinstance(value, tuple) else (value,)
        return bool(numbers) and all(map(self._holds, numbers))

    def _holds(self, number: float) -> bool:
        enough = number > self.low if self.above else number >= self.low
        return enough and (number < self.high if self.below else number <= self.high)

    def __str__(self) -> str:
        if math.isinf(self.high):
            return f"above {self.low}" if self.above else f"{self.low} or more"
        if self.above:
            return f"above {self.low} and {'below' if self.below else 'at most'} {self.high}"
        return f"from {self.low} to {'below ' if self.below else ''}{self.high}"


def fits(value: object, kind: Any) -> bool:
    """Whether a value is of an annotated type; a whole number may stand for a float.

    `Annotated[kind, rule]` asks the rule as well, but for None where the kind allows it.
    """
    if kind is float:
        number = isinstance(value, float | int) and not isinstance(value, bool)
        return number and math.isfinite(typing.cast("float", value))
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        of_kind = fits(value, arguments[0])
        return of_kind and (value is None or all(rule.holds(value) for rule in arguments[1:]))
    if origin is typing.Literal:
        return value in arguments
    if origin is np.ndarray:
        return isinstance(value, np.ndarray)
    if origin is not tuple:
        return any(fits(value, one) for one in arguments) if arguments else isinstance(value, kind)
    if not isinstance(value, tuple):
        return False
    kinds = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
    return len(value) == len(kinds) and all(map(fits, value, kinds))


def describe(kind: Any) -> str:
    """An annotation for people.

    Example:
        >>> describe(typing.Annotated[int | None, Within(1)]), describe(tuple[float, ...])
        ('a whole number or None, 1 or more', 'a tuple of numbers')
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind in WORDS:
        return WORDS[kind]
    if origin is typing.Annotated:
        return ", ".join([describe(arguments[0]), *map(str, arguments[1:])])
    if origin is typing.Literal:
        return " or ".join(map(repr, arguments))
    if origin is typing.Union or origin is UnionType:
        return " or ".join(map(describe, arguments))
    if origin is tuple and arguments[-1] is Ellipsis:
        return f"a tuple of {describe(arguments[0]).removeprefix('a ')}s"
    if origin is tuple:
        return f"a tuple ({', '.join(describe(one).removeprefix('a ') for one in arguments)})"
    return getattr(kind, "__name__", None) or str(kind)
