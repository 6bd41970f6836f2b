"""The help of a command: plain text that fits the terminal, however narrow.

Typer's own takes rich, which costs more than the rest of the command line, cuts words in narrow
columns, and names types as Python does.
"""

from __future__ import annotations

import inspect
import re
import shlex
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from iassa.cli.terminal import is_coloured

NARROW = 60  # columns; in fewer, what a name means stands below the name
WIDEST = 100
CONTINUED = " \\"  # a shell takes the next line as well
LONGEST_NAME = 28  # that has its meaning beside it


class _Helped:
    """Mixed into Typer's commands, in front of them."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help."""
        formatter.write(_render(self, ctx))


class Command(_Helped, TyperCommand):
    """A command."""


class Commands(_Helped, TyperGroup):
    """A command that has others."""


def _render(command: Any, context: Any) -> str:
    """Usage, description, and a section for each panel of options."""
    width = terminal_width()
    shown = [each for each in command.get_params(context) if not getattr(each, "hidden", False)]
    sections: dict[str, list[tuple[str, str]]] = {}
    for each in shown:
        usual = "Arguments" if _is_argument(each) else "Options"
        title = getattr(each, "rich_help_panel", None) or usual
        sections.setdefault(title, []).append((_name(each), _meaning(each)))
    if isinstance(command, TyperGroup):
        there = [command.get_command(context, name) for name in command.list_commands(context)]
        sections["Commands"] = [(str(one.name), one.help or "") for one in there if one]
    usage = [context.command_path, *(["[OPTIONS]"] if shown else []), *map(_usage, shown)]
    usage += ["COMMAND ..."] if isinstance(command, TyperGroup) else []
    blocks = ["\n".join(wrap(f"Usage: {' '.join(filter(None, usage))}", width, hang=7))]
    blocks += ["\n".join(describe(inspect.cleandoc(command.help or ""), width)).rstrip()]
    for title, rows in sections.items():
        blocks.append("\n".join([heading(f"{title}:"), *tabulate(rows, width)]))
    return "\n\n".join(filter(None, blocks)) + "\n"


def terminal_width() -> int:
    """Columns to write in: those of the terminal or of COLUMNS, 80 where neither is known."""
    return min(shutil.get_terminal_size().columns, WIDEST)


def heading(text: str) -> str:
    """A title, bold on a terminal that has it."""
    return typer.style(text, bold=True) if is_coloured(sys.stdout) else text


def describe(text: str, width: int) -> Iterator[str]:
    """The lines of a docstring: paragraphs, and examples, which are indented, each whole.

    An example that is too long goes on in the next line as a shell takes it, behind a backslash.
    """
    for block in text.split("\n\n"):
        for indented, run in _runs(block.splitlines()):
            if indented:
                for line in run:
                    yield from _fold(line.strip(), width)
            else:
                yield from wrap(" ".join(run), width)
        yield ""


def tabulate(rows: Sequence[tuple[str, str]], width: int, indent: int = 2) -> Iterator[str]:
    """Names, and what they mean: beside them, or below them where columns are few."""
    first = min(max((len(name) for name, _ in rows), default=0), LONGEST_NAME)
    beside = indent + first + 2
    for name, meaning in rows:
        if width >= NARROW and len(name) <= first:
            lines = wrap(_first_paragraph(meaning), width - beside) or [""]
            yield (" " * indent + _styled(name) + " " * (first + 2 - len(name)) + lines[0]).rstrip()
            yield from (" " * beside + line for line in lines[1:])
        else:
            below = beside if width >= NARROW else indent + 4
            yield from map(_styled, wrap(name, width, indent, indent + 2))
            yield from wrap(_first_paragraph(meaning), width, below)


def _first_paragraph(text: str) -> str:
    return text.partition("\n\n")[0]


def _styled(name: str) -> str:
    return typer.style(name, fg="cyan") if is_coloured(sys.stdout) else name


def _runs(lines: Sequence[str]) -> Iterator[tuple[bool, list[str]]]:
    """Lines in groups: indented ones, and others."""
    run: list[str] = []
    for line in lines:
        if run and line.startswith(" ") != run[0].startswith(" "):
            yield run[0].startswith(" "), run
            run = []
        run.append(line)
    if run:
        yield run[0].startswith(" "), run


def _fold(command: str, width: int) -> Iterator[str]:
    """A command in lines, if possible with each option and its values on one of them."""
    line = " "
    for part in re.split(r" (?=--)", command):
        words = (
            [part] if len(part) + len(CONTINUED) + 6 <= width else shlex.split(part, posix=False)
        )
        for word in words:
            if line.strip() and len(line) + 1 + len(word) + len(CONTINUED) > width:
                yield f"{line}{CONTINUED}"
                line = "     "
            line += f" {word}"
    yield line


def wrap(text: str, width: int, indent: int = 0, hang: int | None = None) -> list[str]:
    """Lines of a text; a word is never cut. `hang` is the indent of all lines but the first."""
    return textwrap.wrap(
        text,
        max(width, 20),
        initial_indent=" " * indent,
        subsequent_indent=" " * (indent if hang is None else hang),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _is_argument(parameter: Any) -> bool:
    return bool(parameter.param_type_name == "argument")


def _usage(parameter: Any) -> str:
    """How an argument stands in the usage; of an option nothing, but one that is required."""
    name = _name(parameter)
    if _is_argument(parameter):
        return (name if parameter.required else f"[{name}]") + (
            "..." if _several(parameter) else ""
        )
    return name if parameter.required else ""


def _several(parameter: Any) -> bool:
    return bool(parameter.nargs != 1)


def _name(parameter: Any) -> str:
    """As in 'IMAGE', '-h, --help', '--seed N' or '--softmax / --no-softmax'."""
    if _is_argument(parameter):
        return str(parameter.metavar or parameter.name.upper())
    flags = ", ".join(sorted(parameter.opts, key=len))
    negative = f" / {', '.join(parameter.secondary_opts)}" if parameter.secondary_opts else ""
    takes = "" if parameter.is_flag else f" {parameter.metavar or 'VALUE'}"
    return flags + negative + takes


def _meaning(parameter: Any) -> str:
    """The help of a parameter, with its default."""
    default = parameter.default
    notes = ["required"] if parameter.required else []
    if parameter.show_default and default not in (None, False, ()) and not callable(default):
        notes.append(f"default: {default}")
    return " ".join(filter(None, [parameter.help, *(f"[{note}]" for note in notes)]))
