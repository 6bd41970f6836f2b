"""Fields of a dataclass as text: 'range=0-255&softmax=yes', what may follow a model's name.

`parse_fields` reads it and `format_fields` writes it. The annotation of a field says how its value
is written:

    bool                         yes, no, true or false
    int, float, str, Literal     the value itself
    tuple[int, int]              a size: 224,320 or 224x320 (height, width), or 224 for both
    tuple[float, float]          a range: 0-255, -1..1 or -1,1
    tuple[float, float, float]   0.485,0.456,0.406, or 0.5 for all three
    tuple[str, ...]              names: grey,blur

'%', '&' and '+' work as in a URL, with one exception: '+' is a plus, not a space.
"""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qsl, quote

from iassa.checks import convert, fits
from iassa.errors import InputError

PLAIN = "/:;+=@()[]<>| "  # stays as it is in a name; ',', '?', '&' and '%' are encoded
ANY_PATH = "surrogateescape"  # the name of a folder need not be UTF-8
NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
RANGE = re.compile(rf"({NUMBER})(?:\.\.|,|-)({NUMBER})")
FLAGS = {"yes": True, "true": True, "no": False, "false": False}


def _read_size(text: str) -> tuple[int, ...]:
    sides = tuple(map(int, re.split("[,x]", text)))
    return sides * 2 if len(sides) == 1 else sides


def _read_range(text: str) -> tuple[float, ...]:
    match = RANGE.fullmatch(text.strip())
    return tuple(map(float, match.groups())) if match else ()


def _read_triple(text: str) -> tuple[float, ...]:
    numbers = tuple(map(float, text.split(",")))
    return numbers * 3 if len(numbers) == 1 else numbers


def _read_names(text: str) -> tuple[str, ...]:
    return tuple(filter(None, map(str.strip, text.split(","))))


# What a value of each type looks like, and its reader, which raises a ValueError or KeyError.
READERS: dict[Any, tuple[str, Callable[[str], Any]]] = {
    bool: ("yes or no", lambda text: FLAGS[text.lower()]),
    int: ("a whole number", int),
    float: ("a number", float),
    str: ("a text", str),
    tuple[int, int]: ("HEIGHT,WIDTH", _read_size),
    tuple[float, float]: ("LOW-HIGH, as in 0-1, 0-255 or -1..1", _read_range),
    tuple[float, float, float]: ("one number or three, as in 0.5,0.4,0.3", _read_triple),
    tuple[str, ...]: ("names, as in grey,blur", _read_names),
}


def _types(kind: type[Any]) -> dict[str, tuple[Any, ...]]:
    """The fields that can be written: those with a default and a type that has a reader."""
    hints = typing.get_type_hints(kind)
    found = {}
    for field in fields(kind):
        readable = _readable(hints[field.name])
        if readable and field.default is not MISSING:
            found[field.name] = readable
    return found


def _readable(hint: Any) -> tuple[Any, ...]:
    """The alternatives of an annotation that have a reader."""
    is_union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    members = typing.get_args(hint) if is_union else (hint,)
    return tuple(one for one in members if one in READERS or typing.get_origin(one) is Literal)


def describe_forms(kind: Any) -> str:
    """What a value of an annotation looks like in a text; '' where none can be read.

    Example:
        >>> describe_forms(tuple[float, float] | None), describe_forms(Literal["NCHW", "NHWC"])
        ('LOW-HIGH, as in 0-1, 0-255 or -1..1', 'NCHW or NHWC')
    """
    return " or ".join(map(_form, _readable(kind)))


def _form(one: Any) -> str:
    return READERS[one][0] if one in READERS else " or ".join(filter(None, typing.get_args(one)))


def parse_fields(kind: type[Any], text: str) -> dict[str, Any]:
    """Read 'field=value&field=value'.

    Args:
        kind: a dataclass; its fields that have a default can be given, with '_' or '-' in names.
        text: see the module; empty for no fields.

    Returns:
        Values by name of field, each of the type that the field has.

    Raises:
        InputError: an unknown field, one given twice, or a value that cannot be read. The message
            lists the fields.
    """
    known = _types(kind)
    hint = f"Fields: {', '.join(known)}."
    try:
        pairs = parse_qsl(
            text.replace("+", "%2B"), keep_blank_values=True, strict_parsing=True, errors=ANY_PATH
        )
    except ValueError:
        if not text:
            return {}
        raise InputError(f"expected field=value&field=value, got {text!r}. {hint}") from None
    values: dict[str, Any] = {}
    for key, value in pairs:
        name = key.replace("-", "_")
        if name not in known:
            # Without its value: in a URL that might be a key.
            raise InputError(f"expected a known field, got {key}. {hint}")
        if name in values:
            raise InputError(f"expected {name} once, got it twice. Give it once. {hint}")
        values[name] = _read(name, known[name], value, hint)
    return values


def _read(name: str, alternatives: tuple[Any, ...], text: str, hint: str) -> Any:
    forms = []
    for one in alternatives:
        read = READERS[one][1] if one in READERS else str
        try:
            value = convert(read(text), one)
        except (ValueError, KeyError):
            value = None
        if fits(value, one):
            return value
        forms.append(_form(one))
    raise InputError(f"expected {name} to be {' or '.join(forms)}, got {name}={text}. {hint}")


def format_fields(kind: type[Any], values: Mapping[str, Any]) -> str:
    """The text that `parse_fields` reads as these values; those at their default are left out."""
    known = _types(kind)
    texts = []
    for field in fields(kind):
        value = values.get(field.name, field.default)
        if field.name in known and value != field.default:
            joint = ".." if tuple[float, float] in known[field.name] else ","
            texts.append(f"{field.name}={_write(value, joint)}")
    return "&".join(texts)


def _write(value: Any, joint: str) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return joint.join(_write(one, joint) for one in value)
    if isinstance(value, str | Path):
        return quote(str(value), safe=PLAIN, errors=ANY_PATH)
    return str(value).removesuffix(".0")  # the shortest text that is read as the same number


def encode_fields(typed: Iterable[str]) -> str:
    """The text that `parse_fields` reads as these fields.

    Args:
        typed: each 'field=value' as a person types it: nothing in the value is encoded.
    """
    return "&".join(quote(one, safe=PLAIN, errors=ANY_PATH) for one in typed)


def add_fields(kind: type[Any], text: str, typed: Sequence[str]) -> str:
    """A text with more fields.

    Args:
        kind: the dataclass.
        text: as `parse_fields` takes it.
        typed: the others, as `encode_fields` takes them.

    Raises:
        InputError: as `parse_fields` does, also where `text` has one of the fields already.
    """
    both = "&".join(filter(None, [text, encode_fields(typed)]))
    return format_fields(kind, parse_fields(kind, both))
