"""A method with its settings, and the moments at which its map is measured."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from iassa.errors import InputError
from iassa.methods.engine.base import Explainer
from iassa.methods.engine.budget import FEWEST_MASKS
from iassa.methods.engine.loop import Method
from iassa.methods.registry import METHODS, open_method, read_fields

__all__ = ["Contestant", "parse_contestant", "read_contestants"]

FORM = "LABEL=METHOD[@CALLS+CALLS...][/round][:FIELD=VALUE,...]"


@dataclass(frozen=True)
class Contestant:
    """A method that takes part.

    Attributes:
        label: its name in the run, unique there.
        method: with its settings.
        calls: the budgets at which its map is measured, ascending. The map at one of them is that
            of a run with this budget; a method that keeps its evidence goes on from one to the
            next, so that all cost no more than the last. One that does not is run for each.
        every_round: measure after each round, up to the last of the budgets, in the place of at
            the budgets.
    """

    label: str
    method: Explainer
    calls: tuple[int, ...]
    every_round: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be run."""
        if not re.fullmatch(r"[\w.+-]+", self.label):
            raise InputError(
                "expected a label of letters, digits and any of . + - _ for a method, got "
                f"{self.label!r}."
            )
        fewest = 1 + FEWEST_MASKS
        if not self.calls or list(self.calls) != sorted({*self.calls}) or self.calls[0] < fewest:
            raise InputError(
                f"expected budgets of {fewest} calls or more for {self.label}, ascending, got "
                f"{self.calls}. Use 250,500,1000, say."
            )
        if self.every_round and not isinstance(self.method, Method):
            raise InputError(
                f"expected a method with rounds for {self.label}, to be measured after each, got "
                f"{self.method.name}. Leave out /round."
            )
        if self.every_round and len(self.calls) > 1:
            raise InputError(
                f"expected one budget for {self.label}, as it is measured after every round, got "
                f"{self.calls}."
            )

    def definition(self) -> dict[str, Any]:
        """What has to agree for two of its items to be of one kind, as JSON holds it."""
        return {
            **self.method.as_dict(),
            "calls": list(self.calls),
            "every_round": self.every_round,
        }


def read_contestants(
    names: Sequence[str], texts: Sequence[str], calls: Sequence[int]
) -> tuple[Contestant, ...]:
    """Contestants as the command line has them.

    Args:
        names: methods with their defaults, labelled by their names.
        texts: methods with settings; see `parse_contestant`.
        calls: budgets of those that do not say.

    Raises:
        InputError: none at all, two of a label, or one that cannot be read.
    """
    found = [Contestant(name, open_method(name), tuple(calls)) for name in names]
    found += [parse_contestant(text, calls) for text in texts]
    labels = [each.label for each in found]
    if not found or len(set(labels)) < len(labels):
        got = ", ".join(labels) or "none"
        raise InputError(f"expected methods, each with a label of its own, got {got}.")
    return tuple(found)


def parse_contestant(text: str, calls: Sequence[int]) -> Contestant:
    """Read LABEL=METHOD[@CALLS+CALLS...][/round][:FIELD=VALUE,...].

    Args:
        text: as in 'rise-fine=rise@4000:grid_size=14'.
        calls: budgets, where it names none.

    Raises:
        InputError: another form, an unknown method or field.

    Example:
        >>> parse_contestant("long=iassa-paper@9000/round:beta=1.0", [500]).definition()["calls"]
        [9000]
    """
    match = re.fullmatch(r"([^=@:/]+)=([\w-]+)(?:@([\d+]+))?(/round)?(?::(.*))?", text.strip())
    if match is None:
        raise InputError(f"expected {FORM}, got {text!r}. Methods: {', '.join(METHODS)}.")
    label, name, budgets, every_round, settings = match.groups()
    # A comma inside a tuple is followed by no 'name='.
    fields = read_fields(name, re.split(r",(?=\s*[\w-]+=)", settings) if settings else [])
    if budgets is not None:
        calls = [int(one) for one in budgets.split("+") if one]
    elif every_round:
        calls = calls[-1:]
    return Contestant(label.strip(), open_method(name, **fields), tuple(calls), bool(every_round))
