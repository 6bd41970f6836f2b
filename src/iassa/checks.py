"""Hyperparameters against their annotations: a wrong kind is refused where it enters."""

from __future__ import annotations

import math
import types
import typing
from typing import Any

import numpy as np

__all__ = ["describe", "fits"]


def fits(value: object, kind: Any) -> bool:
    """Whether a value is of an annotated type; a whole number may stand for a float."""
    if kind is float:
        number = isinstance(value, float | int) and not isinstance(value, bool)
        return number and math.isfinite(typing.cast("float", value))
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
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
    """An annotation for people, as in "'NCHW' or 'NHWC' or None"."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal:
        return " or ".join(map(repr, arguments))
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(describe, arguments))
    if kind is types.NoneType:
        return "None"
    return str(kind) if arguments else getattr(kind, "__name__", str(kind))
