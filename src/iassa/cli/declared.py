"""What frozen dataclasses declare of their fields, read from the source without running it.

The classes of methods and models import torch, which takes seconds. To list their fields takes
none of it: only annotations and defaults are evaluated, from the lines that say them.
"""

from __future__ import annotations

import ast
import builtins
import dataclasses
import functools
import inspect
import operator
import re
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import iassa
from iassa.checks import Within

ROOT = Path(iassa.__file__).parent
KNOWN: Mapping[str, Any] = {
    **{name: getattr(typing, name) for name in ("Annotated", "Literal", "TypeAlias", "ClassVar")},
    "Mapping": Mapping,
    "Path": Path,
    "Within": Within,
    "field": field,
}


@dataclass(frozen=True)
class Field:
    """A field of a dataclass.

    Attributes:
        name: of the field.
        kind: its annotation, without the objects of Python that it takes as well.
        default: what it is if nothing is given.
        meaning: a sentence or more.
    """

    name: str
    kind: Any
    default: Any
    meaning: str


@dataclass(frozen=True)
class Declared:
    """A dataclass.

    Attributes:
        summary: the first sentence of its docstring.
        about: the rest of it, without its sections.
        fields: with a default, those of the classes that it inherits from first.
    """

    summary: str
    about: str
    fields: tuple[Field, ...]


def read_class(module: str, name: str) -> Declared:
    """What a class declares.

    Args:
        module: that it is written in, as in 'iassa.methods.rise'.
        name: of the class.
    """
    whole = inspect.cleandoc(ast.get_docstring(_find(module, name)) or "")
    summary, _, rest = whole.partition("\n\n")
    about = re.split(r"^(?:Attributes|Raises|Example|Args):$", rest, maxsplit=1, flags=re.M)[0]
    found = {one.name: one for one in _fields(module, name)}
    return Declared(" ".join(summary.split()), about.strip(), tuple(found.values()))


def find_named(folder: str) -> dict[str, tuple[str, str]]:
    """Module and name of the classes of a folder that have a `name`, by that name."""
    found = {}
    for path in sorted(ROOT.joinpath(folder).glob("*.py")):
        module = f"iassa.{folder}.{path.stem}"
        for owner in _classes(module):
            for node in owner.body:
                if (
                    isinstance(node, ast.AnnAssign)
                    and isinstance(node.value, ast.Constant)
                    and ast.unparse(node.target) == "name"
                ):
                    found[str(node.value.value)] = (module, owner.name)
    return found


@functools.cache
def _parse(module: str) -> ast.Module:
    path = ROOT.parent.joinpath(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(file.read_text("utf-8"))


def _find(module: str, name: str) -> ast.ClassDef:
    return next(one for one in _classes(module) if one.name == name)


def _classes(module: str) -> list[ast.ClassDef]:
    return [node for node in _parse(module).body if isinstance(node, ast.ClassDef)]


def _fields(module: str, name: str) -> Iterator[Field]:
    """Those that are inherited first, as `dataclasses.fields` has them."""
    found = _find(module, name)
    meanings: dict[str, str] = {}
    for base in found.bases:
        where = _origin(module, ast.unparse(base))
        if where is not None:
            yield from (inherited := [*_fields(where, ast.unparse(base))])
            meanings |= {one.name: one.meaning for one in inherited}
    meanings |= dict(_meanings(inspect.cleandoc(ast.get_docstring(found) or "")))
    names = _Names(module)
    for node in found.body:
        if not isinstance(node, ast.AnnAssign) or node.value is None:
            continue
        said = ast.unparse(node.annotation)
        if not said.startswith("ClassVar"):
            default = eval(ast.unparse(node.value), {}, names)  # noqa: S307 - our own source
            if isinstance(default, dataclasses.Field):
                default = default.default
            kind = _typeable(eval(said, {}, names))  # noqa: S307
            attribute = ast.unparse(node.target)
            if default is not dataclasses.MISSING:
                yield Field(attribute, kind, default, meanings.get(attribute, ""))


def _origin(module: str, name: str) -> str | None:
    """The module of ours that a name of a module is written in; None for a name of another's."""
    for node in _parse(module).body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return module
        if isinstance(node, ast.ImportFrom) and any(one.name == name for one in node.names):
            return node.module if (node.module or "").startswith("iassa.") else None
    return None


class Elsewhere:
    """Stands for a class that is not imported: an object of Python, which cannot be typed."""

    def __class_getitem__(cls, _: Any) -> type[Elsewhere]:
        return cls


def _typeable(kind: Any) -> Any:
    """An annotation without the objects of Python that a field takes as well."""
    if typing.get_origin(kind) not in (typing.Union, types.UnionType):
        return kind
    kinds = [one for one in typing.get_args(kind) if one is not list and not _is_elsewhere(one)]
    return functools.reduce(operator.or_, kinds)


def _is_elsewhere(kind: Any) -> bool:
    return kind is Elsewhere or any(map(_is_elsewhere, typing.get_args(kind)))


class _Names(dict[str, Any]):
    """The values of names in a module, each computed where it is asked for."""

    def __init__(self, module: str) -> None:
        super().__init__(KNOWN)
        self._module = module

    def __missing__(self, name: str) -> Any:
        if hasattr(builtins, name):
            raise KeyError(name)  # which is where Python looks next
        for node in _parse(self._module).body:
            if isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                if any(ast.unparse(one) == name for one in targets) and node.value is not None:
                    return eval(ast.unparse(node.value), {}, self)  # noqa: S307
        where = _origin(self._module, name)
        return Elsewhere if where in (None, self._module) else _Names(where)[name]


def _meanings(docstring: str) -> Iterator[tuple[str, str]]:
    """Each attribute of a docstring and its meaning, on one line."""
    section = re.search(r"^Attributes:\n((?:[ ]+.*\n?|\n)*)", docstring, re.M)
    for match in re.finditer(
        r"^    (\w+): (.*(?:\n {8,}.*)*)", section[1] if section else "", re.M
    ):
        yield match[1], " ".join(match[2].split())
