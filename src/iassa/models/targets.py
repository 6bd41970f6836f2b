"""Targets: which of a black box's outputs to explain.

A target is a weight vector over the K outputs: one class, a group summed, a contrast +1/-1; or 1
minus such a sum. T targets are a matrix (K, T) and a row (T,), so that one product serves every
kind and many cost no more than one. A function of the outputs is one more column of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from iassa.checks import convert, fits
from iassa.errors import InputError, list_choices, list_some, require, show, suggest, warn
from iassa.models.references import import_attribute

FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")  # package.module:attribute
INDEX = re.compile(r"(class\s+)?([+-]?\d+)", re.IGNORECASE)

# Scores (N, K) float64 -> (N,).
TargetFunction: TypeAlias = Callable[[NDArray[np.float64]], ArrayLike]
TargetLike: TypeAlias = (
    "str | int | Target | TargetFunction | Sequence[str | int | Target | TargetFunction]"
)


@dataclass(frozen=True)
class Target:
    """One target: a weighted sum of outputs, or a function of all of them.

    Attributes:
        name: for people: 'Egyptian cat', 'tabby vs Egyptian cat'; 'package.module:attribute' or the
            name of the function.
        indices: the outputs that count; none for a function.
        weights: the weight of each, in the order of `indices`.
        function: scores (N, K) float64 -> (N,); None for a sum, and for a function whose name is
            all that was saved of it. Such a target is refused: a name in a file imports nothing.
        offset: added to the sum.
    """

    name: str
    indices: tuple[int, ...] = ()
    weights: tuple[float, ...] = ()
    function: TargetFunction | None = field(default=None, hash=False)  # it may have none
    offset: float = 0.0

    def __post_init__(self) -> None:
        for name, kind in {"indices": tuple[int, ...], "weights": tuple[float, ...]}.items():
            object.__setattr__(self, name, convert(getattr(self, name), kind))

    @property
    def is_function(self) -> bool:
        """Whether it is a function of the scores, at hand or not."""
        return not self.indices


def resolve_targets(
    wanted: TargetLike,
    scores: NDArray[np.floating],
    class_names: Sequence[str] | None,
    *,
    of_boxes: bool = False,
) -> tuple[Target, ...]:
    """Targets from what a user writes.

    Args:
        wanted: one of the following, or a sequence of them:
            'top-k', the k classes with the highest scores for the whole image, k targets;
            a class by index (an int, digits, or 'class 3') or by any of its names, whatever the
            case; of names that differ in case alone the one that is written so;
            a group, comma-separated, its classes summed: '281,282,tabby';
            a contrast of two classes or groups, the first minus the second, 'tabby vs tiger cat';
            the other side of a class or group, 'not tabby': 1 minus it where all scores of the
            whole image lie in [0, 1], as probabilities do; else its negative;
            a function of the scores, (N, K) -> (N,), or its name 'package.module:attribute', whose
            code is run.
        scores: (K,) scores of the whole image.
        class_names: K names, synonyms after commas; None if the black box has none.
        of_boxes: whether the outputs are boxes that were detected. Nobody knows their number
            before, so top-k of fewer boxes is all of them, with a warning.

    Returns:
        The targets in the order given, each once.

    Raises:
        InputError: no target, an unknown class (all of them named, with the nearest names), an
            ambiguous name, digits that are an index and the name of another class, an index out of
            range.
    """
    items = list_targets(wanted)
    lookup = ClassLookup(len(scores), class_names)
    seen = scores[scores > -np.inf]  # of a saved run, the others were not kept
    total = float(seen.min(initial=0) >= 0 and seen.max(initial=0) <= 1 + 1e-6)
    targets: list[Target] = []
    for item in items:
        if isinstance(item, Target):
            targets.append(_check(item, lookup))
        elif callable(item):
            name = getattr(item, "__qualname__", type(item).__qualname__)
            targets.append(Target(str(name), function=item))
        elif isinstance(item, int):
            (index,) = lookup.find(item)
            targets.append(Target(lookup.name(index), (index,), (1.0,)))
        elif top := re.fullmatch(r"top-(\d+)", item.strip().lower()):
            count, most = _number(top[1]), len(scores)
            if of_boxes and count > most:
                found = "is one box: it is" if most == 1 else f"are {most} boxes: all of them are"
                warn(f"{item} was asked for, and there {found} explained", UserWarning)
                count = most
            require(1 <= count <= most, f"expected top-1 to top-{most}, got {item!r}.")
            order = np.argsort(-scores, kind="stable")[:count]
            targets += [Target(lookup.name(int(k)), (int(k),), (1.0,)) for k in order]
        else:
            targets.append(_parse(item, lookup, total))
    lookup.raise_unknown()
    targets = list(dict.fromkeys(targets))
    names = [target.name for target in targets if target.is_function]
    distinct = len(set(names)) == len(names)
    got = list_some(map(repr, names))
    require(distinct, f"expected functions with different names as targets, got {got}.")
    return tuple(targets)


def list_targets(wanted: TargetLike) -> list[Any]:
    """What a user asks for, one by one: texts, indices, `Target`s and functions.

    Args:
        wanted: as `resolve_targets` takes it. An index may be any whole number, of NumPy or torch
            too, and an array without axes, as `logits.argmax()` is.

    Raises:
        InputError: nothing, or something else.
    """
    is_one = isinstance(wanted, str | bytes | Target) or getattr(wanted, "ndim", None) == 0
    several = isinstance(wanted, Iterable) and not is_one
    items = [convert(item, str | int) for item in (wanted if several else [wanted])]  # type: ignore[union-attr]
    require(items, "expected at least one target, got none. Ask for 'top-1' or a class.")
    for item in items:
        require(
            isinstance(item, Target) or callable(item) or fits(item, str | int),
            f"expected a class name, an index, 'top-1' or a function, got {show(item)}.",
        )
    return items


def find_target(wanted: str | int, targets: Sequence[Target]) -> int:
    """The place of a target among others, from 0.

    Args:
        wanted: its place, also from the end as -1, or its name, whatever the case; of names that
            differ in case alone the one that is written so.
        targets: one or more.

    Raises:
        InputError: no such target.
    """
    wanted, number = convert(wanted, int | str), len(targets)
    for fold in (str, str.casefold):
        names = [fold(one.name) for one in targets]
        if isinstance(wanted, str) and fold(wanted.strip()) in names:
            return names.index(fold(wanted.strip()))
    require(
        fits(wanted, int) and -number <= int(wanted) < number,
        f"expected a target's place, 0 to {number - 1}, or its name "
        f"({list_some(one.name for one in targets)}), got {show(wanted)}.",
    )
    return int(wanted)


def _check(target: Target, lookup: ClassLookup) -> Target:
    name, indices = target.name, target.indices
    if target.is_function:
        require(
            target.function is not None,
            f"expected classes or a function in target {name!r}, got its name alone, which is all "
            "that is saved of a function. Name all targets again with --target "
            "package.module:function, or pass them with target=.",
        )
        return target
    require(
        fits(indices, tuple[int, ...])
        and len(set(indices)) == len(indices) == len(target.weights)
        and fits(target.weights, tuple[float, ...])
        and fits(target.offset, float),
        f"expected different classes with one finite weight each in target {name!r}, got classes "
        f"{indices} and weights {target.weights}.",
    )
    lookup.check(indices)
    require(
        target.function is None,
        f"expected classes or a function in target {name!r}, got both. Make two targets of it.",
    )
    return target


def _import_function(reference: str) -> TargetFunction:
    function = import_attribute(reference)
    kind = type(function).__name__
    require(callable(function), f"expected a function of scores (N, K) at {reference}, got {kind}.")
    return cast("TargetFunction", function)


def _number(digits: str) -> int:
    # Python refuses to read numbers of thousands of digits; such a one is out of range in any case.
    return int(digits) if len(digits) < 1000 else 10**18


def _parse(text: str, lookup: ClassLookup, total: float) -> Target:
    """A target from its text; `total` is what a score and its other side sum to."""
    # The whole text first: a name may hold a comma, as 'tabby, tabby cat' does.
    whole = lookup.find(text)
    if len(whole) == 1:
        return Target(lookup.name(whole[0]), tuple(whole), (1.0,))
    if FUNCTION.fullmatch(text.strip()):
        return Target(text.strip(), function=_import_function(text.strip()))
    other_side = re.fullmatch(r"not\s+(.*\S)", text.strip(), re.IGNORECASE | re.DOTALL)
    if other_side:
        is_top = re.fullmatch(r"top-\d+", other_side[1].lower())
        one = Target("") if is_top else _parse(other_side[1], lookup, total)
        require(
            not is_top and one.function is None and min(one.weights, default=1) > 0,
            f"expected a class or a group behind 'not', got {text!r}. Name the class.",
        )
        opposite = tuple(-weight for weight in one.weights)
        return Target(f"not {one.name}", one.indices, opposite, offset=total)
    sides = re.split(r"(?i)\s+vs\.?\s+", text.strip())
    require(len(sides) <= 2, f"expected a contrast of two, 'A vs B', got {text!r}.")
    groups = [lookup.group(side) for side in sides]
    different = len(groups) < 2 or set(groups[0]).isdisjoint(groups[1])
    require(different, f"expected different classes on the two sides of {text!r}.")
    indices = [index for group in groups for index in group]
    weights = [sign for group, sign in zip(groups, (1.0, -1.0), strict=False) for _ in group]
    name = " vs ".join(" + ".join(lookup.name(index) for index in group) for group in groups)
    return Target(name, tuple(indices), tuple(weights))


class ClassLookup:
    """Finds classes by index and by name; collects unknown texts, for one error about all."""

    def __init__(self, num_classes: int, class_names: Sequence[str] | None) -> None:
        given = num_classes if class_names is None else len(class_names)
        require(
            given == num_classes,
            f"expected a name for each of the {num_classes} scores of the black box, got {given} "
            "class names. Give one for each, or none.",
        )
        self._num_classes = num_classes
        self._names = class_names
        self._unknown: list[str] = []
        self._by_name: dict[str, list[int]] = {}  # in small letters
        self._as_written: dict[str, list[int]] = {}
        for index, name in enumerate(class_names or ()):
            written = {part.strip() for part in [name, *name.split(",")]} - {""}
            for synonym in written:
                self._as_written.setdefault(synonym, []).append(index)
            for synonym in {synonym.casefold() for synonym in written}:
                self._by_name.setdefault(synonym, []).append(index)

    def name(self, index: int) -> str:
        """The first name of a class."""
        return f"class {index}" if self._names is None else self._names[index].split(",")[0].strip()

    def find(self, wanted: str | int) -> list[int]:
        """Indices of all classes that a text may mean; empty for an unknown one.

        Raises:
            InputError: an index out of range, or digits that are the index of one class and the
                name of another.
        """
        named: list[int] = []
        if isinstance(wanted, int):
            index = wanted
        else:
            named, number = self.named(wanted), INDEX.fullmatch(wanted.strip())
            if number is None or (named and number[1]):  # something is called 'class 3'
                return named
            index = _number(number[2])
        if named and not 0 <= index < self._num_classes:
            return named
        self.check([index])
        require(
            not named or index in named,
            f"expected one class, got {show(wanted)}, which is the index of {self.name(index)!r} "
            "and the name of another. "
            f"Say {list_choices((f'class {each}' for each in [index, *named]), ' or ')}.",
        )
        return [index]

    def named(self, text: str) -> list[int]:
        """Indices of all classes with this name, which is no index even if it is all digits."""
        text = text.strip()
        return self._as_written.get(text) or self._by_name.get(text.casefold(), [])

    def group(self, text: str) -> list[int]:
        """Indices of the classes of a comma-separated group, each once."""
        indices = [index for part in text.split(",") for index in self.only(part)]
        return list(dict.fromkeys(indices))

    def only(self, wanted: str | int) -> list[int]:
        """Index of the one class that a text means; empty, and noted, for an unknown one.

        Raises:
            InputError: see `find`; or the text is the name of several classes.
        """
        indices, text = self.find(wanted), str(wanted).strip()
        if not indices:
            self._unknown.append(text)
        # By name where names tell them apart, as those of the boxes 'dog 1' and 'dog 2' do.
        names = [self.name(index) for index in indices]
        distinct = [self.named(name) for name in names] == [[index] for index in indices]
        require(
            len(indices) <= 1,
            f"expected the name of one class, got {text!r}, which is the name of several. "
            f"Say {list_choices(names if distinct else indices, ' or ')}.",
        )
        return indices

    def check(self, indices: Sequence[int]) -> None:
        """Raise for an index that is out of range."""
        last = self._num_classes - 1
        for index in indices:
            holds = 0 <= index <= last
            require(holds, f"expected a class index from 0 to {last}, got {show(index)}.")

    def raise_unknown(self, *, top: bool = True) -> None:
        """Raise one error for all unknown texts so far, with the names near to them.

        Args:
            top: whether 'top-1' is a choice.
        """
        if not self._unknown:
            return
        choices = "an index or 'top-1'" if top else "an index"
        require(
            self._names is not None,
            f"expected a class index, got {list_some(map(repr, self._unknown))}: this black box "
            f"has no class names. Use {choices}.",
        )
        hints = [f"{show(text)}{suggest(text, self._by_name)}" for text in self._unknown]
        raise InputError(f"unknown class {list_some(hints, '; ')}. Use a class name or {choices}.")
