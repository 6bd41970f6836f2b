"""`iassa models` and `iassa methods`: what there is, with its fields."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from iassa.cli import completing
from iassa.cli.help import describe, heading, tabulate, terminal_width, wrap
from iassa.cli.terminal import show_json
from iassa.errors import InputError, suggest

if TYPE_CHECKING:
    from iassa.cli.declared import Field

AsJson = Annotated[bool, typer.Option("--json", help="Print the list as JSON.")]


@dataclass(frozen=True)
class Kind:
    """A kind of model.

    Attributes:
        summary: one line.
        needs: what has to be installed beside iassa.
        settings: module and name of the class that has its fields; none for a model without any.
        refused: those of the fields that it does not take.
    """

    summary: str
    needs: str = ""
    settings: tuple[str, str] | tuple[()] = ()
    refused: tuple[str, ...] = ()


@dataclass(frozen=True)
class Entry:
    """A line of a list: its name, what it is, more of that, and its fields."""

    name: str
    summary: str
    about: str
    fields: Sequence[Field]


class LiteralWords:
    """Fields of a method, whose values are typed as Python's numbers and words."""

    def takes(self, kind: Any) -> str:
        """What a field takes, in words."""
        from iassa.checks import describe

        text = re.sub(r"a tuple of ([a-z ]+)", r"\1 with commas", describe(kind))
        for count, word in enumerate(("two", "three"), 2):
            text = text.replace(f"a tuple ({', '.join(['number'] * count)})", f"{word} numbers")
        return text

    def typed(self, field: Field) -> str:
        """A field with its default, as it is typed."""
        value = field.default
        text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
        return f"{field.name}={text}"

    def explain(self, field: Field) -> tuple[str, str]:
        """A field with its default, and what it means."""
        meaning = field.meaning[:1].upper() + field.meaning[1:]
        return self.typed(field), f"{meaning} It takes {self.takes(field.kind)}."


class OptionWords(LiteralWords):
    """Fields of a model, whose values are typed as `iassa.query` reads them."""

    def takes(self, kind: Any) -> str:
        """What a field takes, in words."""
        from iassa.query import describe_forms

        forms = []
        whole, *rules = typing.get_args(kind) if hasattr(kind, "__metadata__") else (kind,)
        union = typing.get_origin(whole) in (typing.Union, types.UnionType)
        for one in typing.get_args(whole) if union else (whole,):
            alone, *more = typing.get_args(one) if hasattr(one, "__metadata__") else (one,)
            if form := describe_forms(alone):
                forms.append(", ".join([form, *map(str, more)]))
        return ", ".join([" or ".join(forms), *map(str, rules)])

    def typed(self, field: Field) -> str:
        """A field with its default, as it is typed; without one where it has none."""
        value = field.default
        if isinstance(value, bool):
            value = "yes" if value else "no"
        return field.name if value in (None, "") else f"{field.name}={value}"


CONVENTIONS = ("iassa.models.conventions", "Conventions")
MODELS: Mapping[str, Kind] = {
    "efficientnet-lite0": Kind("The default: 1000 classes of ImageNet. It is built in."),
    "efficientnet-lite0-features": Kind(
        "Its 1280 features, for --similar-to and `iassa benchmark pairs`. It is built in."
    ),
    "FILE.onnx": Kind("A classifier or a detector in an ONNX file.", settings=CONVENTIONS),
    "hf:NAME": Kind(
        "A classifier of Hugging Face, by its name there or its folder here, hf:FOLDER.",
        "pip install '.[hf]'",
        CONVENTIONS,
        refused=("layout", "output_name", "detector", "threshold", "resize"),
    ),
    "URL": Kind(
        "A model behind a URL, http or https.",
        "pip install '.[http]'",
        ("iassa.models.http.settings", "HttpSettings"),
    ),
    "package.module:attribute": Kind(
        "A function, a torch module, or a function that makes one. Its code is run."
    ),
}


def models(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            autocompletion=completing.among(*MODELS),
            help="One of those that are listed; with it, what each field means.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List what --model takes, and the fields of each.

    A field is given as --model-option FIELD=VALUE, or behind the name, as in
    FILE.onnx?softmax=yes; of a URL behind a '#'.

    Examples:
        iassa models
        iassa models FILE.onnx
        iassa models --json
    """
    from iassa.cli.declared import read_class

    entries = []
    for key in _chosen(name, MODELS, "models"):
        kind = MODELS[key]
        declared = read_class(*kind.settings).fields if kind.settings else ()
        fields = [one for one in declared if one.name not in kind.refused]
        about = kind.needs and f"It needs {kind.needs}."
        entries.append(Entry(key, kind.summary, about, fields))
    _print(entries, name, as_json, "--model-option", OptionWords())


def methods(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="METHOD",
            autocompletion=completing.among(*completing.METHODS),
            help="One of those that are listed; with it, what each field means.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List what --method takes, and the fields of each.

    A field is given as --set FIELD=VALUE, as in --set grid_size=9.

    Examples:
        iassa methods
        iassa methods rise
        iassa methods --json
    """
    from iassa.cli.declared import find_named, read_class

    classes = find_named("methods")
    entries = []
    for key in _chosen(name, completing.METHODS, "methods"):
        read = read_class(*classes[key])
        entries.append(Entry(key, read.summary, read.about, read.fields))
    _print(entries, name, as_json, "--set", LiteralWords())


def _chosen(name: str | None, known: Collection[str], command: str) -> Sequence[str]:
    """All names, or the one that is asked for."""
    if name is not None and name not in known:
        raise InputError(
            f"expected one of `iassa {command}`, got {name!r}{suggest(name, known)}. See the list."
        )
    return [*known] if name is None else [name]


def _print(
    entries: Sequence[Entry], chosen: str | None, as_json: bool, option: str, words: LiteralWords
) -> None:
    if as_json:
        made = [_as_json(one, words) for one in entries]
        show_json(made[0] if chosen else made)
        return
    width = terminal_width()
    lines = [line for one in entries for line in _sketch(one, words, width)]
    if chosen:
        lines = [*_detail(entries[0], words, option, width)]
    typer.echo("\n".join(lines).rstrip())


def _as_json(entry: Entry, words: LiteralWords) -> dict[str, Any]:
    fields = [
        {
            "name": one.name,
            "default": one.default,
            "takes": words.takes(one.kind),
            "meaning": one.meaning,
        }
        for one in entry.fields
    ]
    return {"name": entry.name, "summary": entry.summary, "about": entry.about, "fields": fields}


def _sketch(entry: Entry, words: LiteralWords, width: int) -> Iterator[str]:
    """A name, what it is, and its fields with their defaults."""
    yield heading(entry.name)
    yield from wrap(entry.summary, width, 2)
    yield from wrap(" ".join(words.typed(one) for one in entry.fields), width, 4)
    yield ""


def _detail(entry: Entry, words: LiteralWords, option: str, width: int) -> Iterator[str]:
    """A name, its description, and its fields with their meanings."""
    yield from wrap(f"{entry.name}: {entry.summary}", width)
    yield ""
    yield from describe(entry.about, width) if entry.about else ()
    if entry.fields:
        yield heading(f"Fields, each given as {option} FIELD=VALUE:")
        yield from tabulate([*map(words.explain, entry.fields)], width)
