"""A page of sections, written twice: as one self-contained HTML file and as Markdown.

The sections say everything once; the two writers know nothing of benchmarks.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import ClassVar

from jinja2 import Environment, StrictUndefined

from iassa.benchmark.report.tables import Table, escape, markdown_table

__all__ = [
    "Bullets",
    "Code",
    "Facts",
    "Fold",
    "Key",
    "Page",
    "Part",
    "Photo",
    "Plot",
    "Section",
    "Text",
    "html",
    "markdown",
]


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    kind: ClassVar[str] = "text"
    text: str


@dataclass(frozen=True)
class Bullets:
    """A list."""

    kind: ClassVar[str] = "bullets"
    lines: Sequence[str]


@dataclass(frozen=True)
class Facts:
    """Names and values."""

    kind: ClassVar[str] = "facts"
    values: Mapping[str, str]


@dataclass(frozen=True)
class Code:
    """Text to be copied as it is."""

    kind: ClassVar[str] = "code"
    text: str


@dataclass(frozen=True, eq=False)
class Key:
    """What a legend says of one method: a sample of its line, as an SVG file."""

    label: str
    svg: bytes


@dataclass(frozen=True, eq=False)
class Plot:
    """Panels of one kind.

    Attributes:
        name: of its files, without ending.
        caption: what it shows.
        panels: SVG file and description of each, for a page as wide as a phone or a desk.
        keys: the legend of all panels.
    """

    kind: ClassVar[str] = "plot"
    name: str
    caption: str
    panels: Sequence[tuple[bytes, str]]
    keys: Sequence[Key]


@dataclass(frozen=True, eq=False)
class Photo:
    """A picture that shows photographs.

    Attributes:
        name: of its file, without ending.
        caption: what it shows.
        description: in words, for those who cannot see it.
        jpeg: the file.
    """

    kind: ClassVar[str] = "photo"
    name: str
    caption: str
    description: str
    jpeg: bytes


@dataclass(frozen=True)
class Fold:
    """Parts that are shown when asked for."""

    kind: ClassVar[str] = "fold"
    title: str
    parts: Sequence[Part]


@dataclass(frozen=True)
class Section:
    """Parts under a heading."""

    title: str
    parts: Sequence[Part]

    @property
    def anchor(self) -> str:
        """Its name in a link."""
        return "-".join(self.title.lower().split())


Part = Text | Bullets | Facts | Code | Plot | Photo | Fold | Table


@dataclass(frozen=True)
class Page:
    """A report.

    Attributes:
        title: of the page.
        state: how far the run is; '' for one that is done.
        lead: what was measured, a paragraph.
        sections: in their order.
        footer: who wrote it.
    """

    title: str
    state: str
    lead: str
    sections: Sequence[Section] = field(default=())
    footer: str = ""


def html(page: Page) -> bytes:
    """The page as one file that asks for no other."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["data_uri"] = _data_uri
    template = resources.files("iassa.benchmark.report").joinpath("page.html").read_text("utf-8")
    return environment.from_string(template).render(page=page).encode()


def markdown(page: Page, *, photographs: bool) -> bytes:
    """The page in GitHub's Markdown, its plots in files beside it.

    Args:
        page: to write.
        photographs: whether to show those too, in files beside it; else the page says where they
            are, for a page that is to be published.

    Returns:
        The file.
    """
    blocks = [f"# {escape(page.title)}"]
    if page.state:
        blocks.append(f"**{escape(page.state)}**")
    blocks.append(escape(page.lead))
    for section in page.sections:
        blocks.append(f"## {escape(section.title)}")
        blocks += _blocks(section.parts, photographs)
    blocks.append(escape(page.footer))
    return ("\n\n".join(block for block in blocks if block) + "\n").encode()


def _blocks(parts: Sequence[Part], photographs: bool) -> list[str]:
    return [
        block
        for part in parts
        if photographs or not isinstance(part, Photo)
        for block in _block(part, photographs)
    ]


def _block(part: Part, photographs: bool) -> list[str]:
    match part:
        case Text():
            return [escape(part.text)]
        case Bullets():
            return ["\n".join(f"- {escape(line)}" for line in part.lines)]
        case Facts():
            facts = part.values.items()
            return ["\n".join(f"- {escape(name)}: {escape(value)}" for name, value in facts)]
        case Code():
            return ["\n".join(f"    {line}" for line in part.text.splitlines())]
        case Table():
            return [f"**{escape(part.caption)}**", markdown_table(part)] if part.rows else []
        case Plot():
            described = " ".join(description for _, description in part.panels)
            return [f"![{escape(described)}]({part.name}.png)", escape(part.caption)]
        case Photo():
            return [f"![{escape(part.description)}]({part.name}.jpg)", escape(part.caption)]
        case Fold():
            inside = _blocks(part.parts, photographs)
            return [f"<details><summary>{escape(part.title)}</summary>", *inside, "</details>"]


def _data_uri(content: bytes, media_type: str) -> str:
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"
