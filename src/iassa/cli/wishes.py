"""What `iassa explain` is to do with an image, whichever process does it."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import typer

import iassa
from iassa.cli.checking import Checking, check_made, choose_checking
from iassa.cli.options import Drawn
from iassa.errors import InputError, show

if TYPE_CHECKING:
    from iassa.decoding import Reading
    from iassa.gallery.explaining import Asking
    from iassa.image import ImageLike
    from iassa.methods.engine.base import Explainer
    from iassa.models.black_box import BlackBox


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What is to be explained, and how.

    Attributes:
        method: with its fields.
        target: as `iassa.explain` takes it.
        limits: arguments of `iassa.explain` on which the map depends.
        options: those on which it does not.
        checking: how it is verified; None if it is not.
    """

    method: Explainer
    target: Any
    limits: Mapping[str, Any]
    options: Mapping[str, Any]
    checking: Checking | None

    def check(self) -> None:
        """Refuse what no image can be explained with, before one is read.

        Raises:
            InputError: calls, seconds, a tolerance, a seed or another number that cannot be used.
        """
        from iassa.methods.engine.budget import Budget
        from iassa.methods.engine.case import check_numbers

        cost = (self.limits["calls"], self.limits["max_seconds"])
        self.method.check_budget(Budget(*cost, None, None, self.limits["tolerance"]))
        numbers = (self.limits["keep_scores"], self.limits["seed"], self.options["batch_size"])
        check_numbers(*numbers)

    @property
    def ask(self) -> Callable[..., iassa.Explanation]:
        """Explains an image with a black box, in any process."""
        make = functools.partial(
            iassa.explain, method=self.method, target=self.target, **self.limits, **self.options
        )
        return functools.partial(_ask, make, self.checking)

    def asking(self, reading: Reading, pictures: Drawn) -> Asking:
        """The same with the reading of the files and with pictures, as a task of a gallery."""
        from iassa.gallery.explaining import Asking

        return Asking(self.ask, reading, pictures)

    def settings(self) -> dict[str, Any]:
        """All that a map depends on but the image and the model, as JSON holds it."""
        verify = None if self.checking is None else self.checking.describe()
        method = self.method.as_dict()
        return {"method": method, "target": self.target, **self.limits, "verify": verify}


def read_wishes(context: typer.Context) -> Wishes:
    """What the options of `iassa explain` say of it.

    Raises:
        InputError: a value that cannot be used.
    """
    given = context.params
    number = len(given["box"] or []) or 1
    by_default = [*range(len(given["similar_to"] or []))] or f"top-{number}"
    method = _method(given["method"], given["baseline"], given["set_"] or [])
    names = {"max_seconds": "seconds", "tolerance": "tolerance", "seed": "seed"}
    wishes = Wishes(
        method=method,
        target=given["target"] or by_default,
        limits={
            "calls": read_calls(given["calls"]),
            **{name: given[option] for name, option in names.items()},
            "keep_scores": _keep(given["keep"]),
        },
        options={name: given[name] for name in ("batch_size", "device")},
        checking=choose_checking(
            given["verify"], given["refine"], method.baseline, given["batch_size"]
        ),
    )
    wishes.check()
    return wishes


def _ask(
    make: Callable[..., iassa.Explanation],
    checking: Checking | None,
    image: ImageLike,
    black_box: BlackBox,
    **watching: Any,
) -> iassa.Explanation:
    made = make(image, black_box, **watching)
    return made if checking is None else check_made(made, black_box, checking, **watching)


def _method(name: str, baseline: str | None, settings: list[str]) -> Explainer:
    from iassa.methods.registry import open_method

    with redirect_stdout(sys.stderr):  # a module of the user may print while it is imported
        return open_method(name, **read_fields_of(name, baseline, settings))


def read_fields_of(method: str, baseline: str | None, settings: list[str]) -> dict[str, Any]:
    """The fields of a method that options set, with the short form of one of them.

    Args:
        method: its name.
        baseline: the value of `--baseline`.
        settings: the values of `--set`.

    Raises:
        InputError: there is no such field, or it takes no such value.
    """
    from iassa.methods.registry import read_fields

    fill = [] if baseline is None else [f"baseline={baseline}"]
    given = fill + settings
    return read_fields(method, given) if given else {}


def _keep(text: str) -> int | Literal["all"]:
    return "all" if text == "all" else _number(text, "--keep", "all")


def read_calls(text: str) -> int | Literal["auto"]:
    """The value of `--calls`.

    Raises:
        InputError: it is neither a whole number nor auto.
    """
    return "auto" if text == "auto" else _number(text, "--calls", "auto")


def _number(text: str, option: str, word: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise InputError(
            f"expected {option} to be a whole number or {word}, got {show(text)}."
        ) from None
