"""Blocks of Markdown, and the template that they are put into.

Labels, categories, names of files and errors come from outside: `escape` makes them mean
themselves. `page` renders what is written here.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from string import Template

LONG = 12  # rows of a table that is folded


def escape(words: str) -> str:
    """Words on one line that mean themselves in Markdown, in a table too."""
    return re.sub(r"([\\|`*_<>\[\]#~&$])", r"\\\1", " ".join(words.split()))


def text(words: str) -> str:
    """Words as a paragraph, which is no list, heading or quotation however it begins."""
    return re.sub(r"^(\d*)([-+=.)])", r"\1\\\2", escape(words))


def bullets(lines: Iterable[str]) -> str:
    """A list of words."""
    return "\n".join(f"- {text(line)}" for line in lines)


def code(content: str) -> str:
    """Content to be copied as it is, whatever is in it."""
    return "\n".join(f"    {line}" for line in content.splitlines())


def image(description: str, name: str) -> str:
    """A picture in a file beside the report; '' without a description."""
    return f"![{escape(description)}]({name})" if description else ""


def fold(title: str, *blocks: str) -> str:
    """Blocks that are shown on demand; '' if all of them are empty."""
    inside = join(blocks)
    opening = f"<details><summary>{html.escape(title)}</summary>"
    return join([opening, inside, "</details>"]) if inside else ""


def join(blocks: Iterable[str]) -> str:
    """Blocks below each other; empty ones are left out."""
    return "\n\n".join(block for block in blocks if block)


def table(
    caption: str,
    heads: Sequence[str],
    columns: Sequence[str],
    rows: Sequence[tuple[Sequence[str], Sequence[str]]],
    *,
    folds: bool = True,
) -> str:
    """A table in GitHub's Markdown.

    Args:
        caption: what it shows, one line.
        heads: headings of the columns that say what a row is of.
        columns: headings of the values.
        rows: words for the heads, and values in Markdown for the columns.
        folds: whether a long table is shown on demand.

    Returns:
        The table below its caption; '' without rows.
    """
    if not rows:
        return ""
    lines = [
        [escape(heading) for heading in (*heads, *columns)],
        ["---"] * len(heads) + ["---:"] * len(columns),
        *([*map(escape, words), *values] for words, values in rows),
    ]
    body = "\n".join(f"| {' | '.join(fields)} |" for fields in lines)
    whole = join([f"**{escape(caption)}**", body])
    return fold(f"{caption} ({len(rows)} rows)", whole) if folds and len(rows) > LONG else whole


def fill(template: str, values: Mapping[str, str]) -> str:
    """A template with values in the place of their `$names`.

    A paragraph with an empty value is left out, and so is a section whose values are all empty.
    `$contents` becomes links to the sections that are left.

    Args:
        template: Markdown; paragraphs are separated by empty lines, sections begin with '## '.
        values: Markdown by name.

    Returns:
        Markdown.
    """
    preamble, *sections = re.split(r"(?m)^(?=## )", template)
    kept = {}
    for section in sections:
        heading, *paragraphs = section.strip().split("\n\n")
        names = {name for each in paragraphs for name in Template(each).get_identifiers()}
        if not names or any(values[name] for name in names):
            kept[heading.removeprefix("## ")] = join([heading, _fill(paragraphs, values)])
    links = (f"[{title}](#{title.lower().replace(' ', '-')})" for title in kept)
    values = {**values, "contents": " · ".join(links)}
    return join([_fill(preamble.strip().split("\n\n"), values), *kept.values()]) + "\n"


def _fill(paragraphs: Iterable[str], values: Mapping[str, str]) -> str:
    templates = map(Template, paragraphs)
    return join(
        each.substitute(values)
        for each in templates
        if all(values[name] for name in each.get_identifiers())
    )
