"""Arguments against their annotations: put into the form that these have, or refused at the door.

NumPy numbers become Python's, whole floats integers, lists and arrays tuples. What then differs
from the annotation is an `InputError`, before a call is spent.
"""

from __future__ import annotations

import functools
import inspect
import math
import sys
import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from types import NoneType, SimpleNamespace, UnionType
from typing import Annotated, Any, ParamSpec, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from iassa.errors import InputError, require, show

P = ParamSpec("P")
R = TypeVar("R")

WORDS = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "a text",
    NoneType: "None",
    tuple[int, int]: "(height, width)",
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


SIDES = Within(1, 4096)  # pixels of an image as a model sees it: 200 MB
InputSize: TypeAlias = Annotated[tuple[int, int] | None, SIDES]
MOST_ITEMS = 100_000  # of a tuple
# The annotations of a dataclass, by field.
_kinds_of: Callable[[Any], dict[str, Any]] = functools.cache(
    functools.partial(typing.get_type_hints, include_extras=True)
)


def fits(value: object, kind: Any) -> bool:
    """Whether a value is of an annotated type; a whole number may stand for a float.

    `Annotated[kind, rule]` asks the rule as well, but for None where the kind allows it.
    """
    if kind is float:
        number = isinstance(value, float | int) and not isinstance(value, bool)
        return number and abs(typing.cast("float", value)) <= sys.float_info.max
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        of_kind = fits(value, arguments[0])
        return of_kind and (value is None or all(rule.holds(value) for rule in arguments[1:]))
    if origin is typing.Literal:
        return any(type(value) is type(one) and value == one for one in arguments)
    if origin is np.ndarray:
        return isinstance(value, np.ndarray)
    if origin is Callable:
        return callable(value)
    if origin is Mapping:
        return isinstance(value, Mapping) and fits(tuple(value.items()), _items(arguments))
    if origin is not tuple:
        return any(fits(value, one) for one in arguments) if arguments else isinstance(value, kind)
    if not isinstance(value, tuple):
        return False
    kinds = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
    return len(value) == len(kinds) and all(map(fits, value, kinds))


def convert(value: Any, kind: Any) -> Any:
    """Put a value into the form of an annotation, if it can be read so; else leave it as it is.

    A NumPy number, or an array or tensor without axes, is its number. A whole float is an integer
    where one is wanted. Lists, and arrays of one axis, are tuples. `tuple[int, int]` is a size: one
    number is both sides, and (3, height, width) has channels in front. One number is a triple.

    Example:
        >>> convert(np.int64(8), int), convert(1e3, int | None), convert(0.5, int)
        (8, 1000, 0.5)
        >>> convert([3, 224, 320], InputSize), convert(224.0, InputSize)
        ((224, 320), (224, 224))
    """
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        value = value.item()
    if fits(value, kind):
        return value
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return convert(value, arguments[0])
    if origin is typing.Union or origin is UnionType:
        made = [(convert(value, one), one) for one in arguments]
        return next((new for new, one in made if fits(new, one)), value)
    if origin is Mapping and isinstance(value, Mapping):
        made = convert(tuple(value.items()), _items(arguments))
        return dict(made)
    if kind is int and isinstance(value, float) and value.is_integer():
        return int(value)
    return _as_tuple(value, arguments) if origin is tuple else value


def _items(of_mapping: tuple[Any, ...]) -> Any:
    return tuple[tuple[of_mapping], ...]  # type: ignore[valid-type]


def _as_tuple(value: Any, kinds: tuple[Any, ...]) -> Any:
    """Of a value that is no tuple of these kinds yet."""
    if getattr(value, "ndim", None) == 1:
        value = value.tolist()
    if fits(value, float) and kinds in ((int, int), (float, float, float)):
        value = [value] * len(kinds)
    if not isinstance(value, list | tuple | range) or value[MOST_ITEMS:]:
        return value
    if kinds == (int, int) and len(value) == 3 and value[0] == 3:
        value = value[1:]
    each = kinds[:1] * len(value) if kinds[-1] is Ellipsis else kinds
    return tuple(map(convert, value, each)) if len(value) == len(each) else value


def take(value: Any, kind: Any, what: str, advice: str = " Change it.") -> Any:
    """An argument in the form of its annotation; see `convert`.

    Args:
        value: of the argument.
        kind: its annotation.
        what: its name, for the error.
        advice: what to do, which ends the error.

    Raises:
        InputError: it stands for no such value.
    """
    made = convert(value, kind)
    if not fits(made, kind):
        raise InputError(f"expected {what} to be {describe(kind)}, got {show(value)}.{advice}")
    return made


def as_array(value: Any, what: str) -> NDArray[Any]:
    """An array-like as an array.

    Args:
        value: of the argument.
        what: its name, for the error.

    Raises:
        InputError: rows of several lengths, or something else that is no array.
    """
    try:
        return np.asarray(value)
    except (ValueError, TypeError, RuntimeError):  # of NumPy, or of a tensor
        raise InputError(f"expected {what} as an array, got {show(value)}. Make one.") from None


def take_json(value: Any, kind: Any, what: str) -> Any:
    """A value of a file in the form of its annotation, where dataclasses may be part of that.

    Args:
        value: as JSON has it: a mapping for a dataclass, whose other names are passed over.
        kind: a dataclass, one or None, a tuple or mapping of these, or see `convert`.
        what: its name, for the error; that of a part begins with it.

    Raises:
        InputError: it stands for no such value. The message names the part that does not. What to
            do is the caller's to add.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if is_dataclass(kind):
        require(isinstance(value, dict), f"expected {what} with its parts, got {show(value)}.")
        kinds = _kinds_of(kind)
        parts = {}
        for field in fields(kind):
            name = f"{what}.{field.name}".removeprefix(".")
            if field.name in value:
                parts[field.name] = take_json(value[field.name], kinds[field.name], name)
            else:
                require(field.default is not MISSING, f"expected {name}, got none.")
        return typing.cast("Any", kind)(**parts)
    if (origin is typing.Union or origin is UnionType) and any(map(is_dataclass, arguments)):
        (part,) = (one for one in arguments if one is not NoneType)
        return None if value is None else take_json(value, part, what)
    if origin is Mapping and isinstance(value, dict):
        return {key: take_json(one, arguments[1], f"{what}.{key}") for key, one in value.items()}
    if origin is tuple and is_dataclass(arguments[0]) and isinstance(value, list):
        return tuple(take_json(one, arguments[0], f"{what}[{k}]") for k, one in enumerate(value))
    return value if fits(value, kind) else take(value, kind, what, advice="")


def taking(*names: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator that puts arguments of a function into the form of their annotations.

    Args:
        names: of the parameters; the others are left to the function.

    Raises:
        InputError: from the function, of an argument that does not fit; see `take`.

    Example:
        >>> @taking("times")
        ... def repeat(text: str, times: int = 2) -> str:
        ...     return text * times
        >>> repeat("ab", times=np.int64(3))
        'ababab'
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)
        texts = {name: signature.parameters[name].annotation for name in names}
        # Of these alone: other annotations may be of names that are there for a type checker only.
        held, known = SimpleNamespace(__annotations__=texts), inspect.unwrap(function).__globals__
        kinds = typing.get_type_hints(held, globalns=known, include_extras=True)

        @functools.wraps(function)
        def take_first(*positional: P.args, **named: P.kwargs) -> R:
            given = signature.bind(*positional, **named)
            for name in kinds.keys() & given.arguments.keys():
                given.arguments[name] = take(given.arguments[name], kinds[name], name)
            return function(*given.args, **given.kwargs)

        return take_first

    return decorate


def take_fields(owner: Any, of: str = "") -> None:
    """Put all fields of a frozen dataclass into the form of their annotations.

    Args:
        owner: the instance, as it is made.
        of: what follows the name of a field, for the error.

    Raises:
        InputError: a field that does not fit.
    """
    kinds = _kinds_of(type(owner))
    for field in fields(owner):
        made = take(getattr(owner, field.name), kinds[field.name], f"{field.name}{of}")
        object.__setattr__(owner, field.name, made)


def describe(kind: Any) -> str:
    """An annotation for people.

    Example:
        >>> describe(typing.Annotated[int | None, Within(1)]), describe(tuple[float, ...])
        ('a whole number or None, 1 or more', 'a tuple of numbers')
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind in WORDS:
        return WORDS[kind]
    if Callable in (kind, origin):
        return "a function"
    if isinstance(kind, type) and is_dataclass(kind):
        return f"{kind.__name__}(...)"
    if origin is typing.Annotated:
        return ", ".join([describe(arguments[0]), *map(str, arguments[1:])])
    if origin is typing.Literal:
        return " or ".join(map(repr, arguments))
    if origin is typing.Union or origin is UnionType:
        return " or ".join(map(describe, arguments))
    if origin is Mapping:
        return f"a mapping to {_many(arguments[1])}"
    if origin is tuple and arguments[-1] is Ellipsis:
        return f"a tuple of {_many(arguments[0])}"
    if origin is tuple:
        return f"a tuple ({', '.join(describe(one).removeprefix('a ') for one in arguments)})"
    return getattr(kind, "__name__", None) or str(kind)


def _many(kind: Any) -> str:
    return describe(kind).removeprefix("a ").removesuffix("(...)") + "s"
