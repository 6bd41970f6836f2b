"""Contestants: methods with their settings, and when their maps are measured."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from iassa.checks import Within, take
from iassa.errors import InputError, list_some
from iassa.methods.engine.base import Explainer
from iassa.methods.engine.budget import FEWEST_MASKS, MOST_CALLS
from iassa.methods.engine.loop import Method
from iassa.methods.registry import METHODS, open_method, read_fields

FORM = "LABEL=METHOD[@CALLS+CALLS...][/round][:FIELD=VALUE,...]"


@dataclass(frozen=True)
class Contestant:
    """A method that takes part.

    Attributes:
        label: its name, unique in the run.
        method: the method with its settings.
        calls: the budgets at which its map is measured, ascending. The map at a budget is that of a
            run with this budget. A method that keeps its evidence continues from one budget to the
            next, so all of them cost no more than the last. Other methods run once for each.
        every_round: measure after each round up to the last budget, instead of at the budgets.
    """

    label: str
    method: Explainer
    calls: tuple[int, ...]
    every_round: bool = False

    def __post_init__(self) -> None:
        """Refuse a label, budgets or rounds that cannot be used."""
        if not re.fullmatch(r"[\w.+-]+", self.label):
            raise InputError(f"expected a label of letters, digits or .+-_, got {self.label!r}.")
        budgets = Annotated[tuple[int, ...], Within(-MOST_CALLS, MOST_CALLS)]
        calls = take(self.calls, budgets, f"budgets of {self.label}")
        object.__setattr__(self, "calls", calls)
        fewest = 1 + FEWEST_MASKS
        if not self.calls or list(self.calls) != sorted({*self.calls}) or self.calls[0] < fewest:
            raise InputError(
                f"expected budgets of {fewest} calls or more for {self.label}, ascending, got "
                f"{self.calls}. Use 250,500,1000."
            )
        if self.every_round and not isinstance(self.method, Method):
            name = self.method.name
            raise InputError(f"expected a method with rounds, got {name}. Leave out /round.")
        if self.every_round and len(self.calls) > 1:
            raise InputError(f"expected one budget for {self.label}/round, got {self.calls}.")

    def definition(self) -> dict[str, Any]:
        """What has to agree for two of its items to be comparable, as JSON holds it."""
        moments = {"calls": list(self.calls), "every_round": self.every_round}
        return self.method.as_dict() | moments


def read_contestants(
    names: Sequence[str], texts: Sequence[str], calls: Sequence[int]
) -> tuple[Contestant, ...]:
    """Contestants from the command line.

    Args:
        names: methods with their defaults. The name is the label.
        texts: methods with settings; see `parse_contestant`.
        calls: budgets of methods that do not give their own.

    Raises:
        InputError: there is no method, two have one label, or a text cannot be read.
    """
    found = [Contestant(name, open_method(name), tuple(calls)) for name in names]
    found += [parse_contestant(text, calls) for text in texts]
    labels = [each.label for each in found]
    if not found or len(set(labels)) < len(labels):
        got = list_some(labels)
        raise InputError(f"expected methods, each with a label of its own, got {got}.")
    return tuple(found)


def parse_contestant(text: str, calls: Sequence[int]) -> Contestant:
    """Read LABEL=METHOD[@CALLS+CALLS...][/round][:FIELD=VALUE,...].

    Args:
        text: as in 'rise-fine=rise@4000:grid_size=14'.
        calls: budgets, if the text gives none.

    Raises:
        InputError: the text has another form, or the method or a field is unknown.

    Example:
        >>> parse_contestant("long=iassa-paper@9000/round:beta=1.0", [500]).definition()["calls"]
        [9000]
    """
    budgets_form = r"(?:@(\d{1,12}(?:\+\d{1,12})*))?"
    form = rf"([^=@:/]+)=([\w-]+){budgets_form}(/round)?(?::(.*))?"
    match = re.fullmatch(form, text.strip())
    if match is None:
        raise InputError(f"expected {FORM}, got {text!r}. Methods: {', '.join(METHODS)}.")
    label, name, budgets, every_round, settings = match.groups()
    # Commas inside of a tuple are not followed by 'name='.
    fields = read_fields(name, re.split(r",(?=\s*[\w-]+=)", settings) if settings else [])
    if budgets is not None:
        calls = [int(one) for one in budgets.split("+")]
    elif every_round:
        calls = calls[-1:]
    return Contestant(label.strip(), open_method(name, **fields), tuple(calls), bool(every_round))
