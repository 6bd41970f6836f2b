"""The methods by name. The command line, the benchmark and saved explanations open them here."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from iassa.errors import InputError, list_some, show, suggest
from iassa.masks import baselines
from iassa.methods.engine.base import Explainer
from iassa.methods.greedy import Greedy
from iassa.methods.hsic import Hsic
from iassa.methods.iassa import Iassa
from iassa.methods.iassa_paper import IassaPaper
from iassa.methods.kernel_shap import KernelShap
from iassa.methods.lime import Lime
from iassa.methods.occlusion import Occlusion
from iassa.methods.rise import Rise
from iassa.methods.shap_bpt import ShapBpt
from iassa.methods.shap_partition import ShapPartition
from iassa.methods.sobol import Sobol
from iassa.models import features

METHODS: dict[str, type[Explainer]] = {
    method.name: method
    for method in (
        *(Iassa, IassaPaper, Rise, Occlusion, Lime, Sobol, Hsic),
        *(KernelShap, ShapPartition, ShapBpt, Greedy),
    )
}
ALIASES = {"occlusion": Occlusion.name}  # the field's word, as the class has it
# The fields whose text may name a file or code of a user's, and which texts do not.
BUILT_IN: Mapping[str, Callable[[str], bool]] = {
    "baseline": baselines.is_built_in,
    "features": features.is_built_in,
}


def open_method(method: str | Explainer, **fields: Any) -> Explainer:
    """A method by name.

    Args:
        method: a name in `METHODS`, or a method, returned as it is.
        fields: hyperparameters that differ from the defaults.

    Raises:
        InputError: no such method, a field of it that is unknown or of the wrong kind, or a
            package that it wraps is missing.
    """
    if isinstance(method, Explainer):
        return method
    kind = _method_type(method)
    # JSON has lists where a field is a tuple: what `explanation.json` says is to open it again.
    fields = {name: tuple(v) if isinstance(v, list) else v for name, v in fields.items()}
    try:
        return kind(**fields)
    except TypeError as error:
        raise InputError(f"cannot use these fields of {method}: {error}.") from None


def reopen_method(record: Mapping[str, Any], again: Mapping[str, Any]) -> Explainer:
    """The method of a record. A record is data: no file and no code that it names is opened.

    Args:
        record: see `Explainer.as_dict`.
        again: the fields that name such a thing, named again by who is to trust it.

    Raises:
        InputError: such a field is not named again, or see `open_method`.
    """
    fields = {**record["fields"], **again}
    outside = {
        name: fields[name]
        for name, built_in in BUILT_IN.items()
        if name not in again and not all(map(built_in, _texts(fields.get(name))))
    }
    if outside:
        options = " ".join(f"--set {name}={show(text)}" for name, text in outside.items())
        raise InputError(
            f"expected {list_some(outside)} of {record['name']} to be named again, as nothing that "
            "a saved file names is opened. If you trust what it names, add "
            f"{options} (in Python method={show(outside)}, or the object itself where it was one)."
        )
    try:
        return open_method(record["name"], **fields)
    except InputError as error:
        raise InputError(
            f"cannot open the method again from its record: {error} Pass it with `method=`."
        ) from error


def read_fields(method: str, settings: Sequence[str]) -> dict[str, Any]:
    """Hyperparameters as a command line has them, each FIELD=VALUE.

    Args:
        method: a name in `METHODS`.
        settings: each value is a Python literal, or else a word, as in features=none.

    Raises:
        InputError: an unknown method, another form, an unknown field, or one that is given twice.
    """
    known = [field.name for field in dataclasses.fields(_method_type(method))]
    values: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or name not in known:
            raise InputError(
                f"expected FIELD=VALUE with a field of {method}, got {setting!r}. "
                f"Its fields: {', '.join(known)}."
            )
        if name in values:
            raise InputError(f"expected one value for {name}, got another: {text!r}. Give it once.")
        try:
            # After a '#', as of a colour, Python would read a comment.
            values[name] = text.strip() if "#" in text else ast.literal_eval(text.strip())
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            values[name] = text.strip()
    return values


def _texts(value: object) -> list[str]:
    """The texts among one value or several."""
    return [
        one
        for one in (value if isinstance(value, list | tuple) else [value])
        if isinstance(one, str)
    ]


def _method_type(method: str) -> type[Explainer]:
    name = ALIASES.get(method, method) if isinstance(method, str) else ""
    if name not in METHODS:
        hint = suggest(name, METHODS)
        raise InputError(f"unknown method {show(method)}{hint}. Use {', '.join(METHODS)}.")
    return METHODS[name]
