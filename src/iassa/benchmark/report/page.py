"""A report in Markdown as one HTML page that loads nothing else.

HTML in the Markdown stays text: markdown-it escapes it. So the tags of its output are its own, and
`DRESS` can tell them from words.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from string import Template
from typing import TYPE_CHECKING

from markdown_it import MarkdownIt

from iassa.benchmark.report.figures import Looks, Panel, draw_key, draw_panels, figure_bytes
from iassa.benchmark.report.pictures import Photo

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# What markdown-it writes, and what the page has instead.
DRESS = {
    # What is shown on demand: the lines that `markdown.fold` writes.
    r"<p>&lt;details&gt;&lt;summary&gt;(.*)&lt;/summary&gt;</p>": r"<details><summary>\1</summary>",
    r"<p>&lt;/details&gt;</p>": "</details>",
    # The contents, and pictures.
    r"<p>(<a .*)</p>": r'<nav aria-label="Sections">\1</nav>',
    r"<p>(<img .*)</p>": r"<figure>\1</figure>",
    # Tables: a box that scrolls, a caption, headings of rows.
    r"<p><strong>(.*)</strong></p>\n<table>": (
        r'<div class="scroll" role="region" tabindex="0" aria-label="\1">'
        r"\n<table>\n<caption><strong>\1</strong></caption>"
    ),
    r"</table>": "</table>\n</div>",
    r"<th>": '<th scope="col">',
    r'<th style="text-align:right">': '<th scope="col" class="value">',
    r"<td>(.*)</td>": r'<th scope="row">\1</th>',
    # A number, its interval below it, and its verdict below that.
    r'<td style="text-align:right">': "<td>",
    r"(<td>[^\[\n]*)(\[.*\])": r"\1<small>\2</small>",
    r"(<td>.* )(better|worse|not shown)</td>": r'\1<span class="\2">\2</span></td>',
}
ROW = re.compile(r'<tr>\n((?:<th scope="row">.*</th>\n)+)')
# The calls of a row, at the end of its last heading: 'rise at 500', or '500' alone.
CALLS = re.compile(r"(?:at |>)(\d+)</th>\n$")


def render_page(
    title: str,
    markdown: str,
    panels: Mapping[str, Sequence[Panel]],
    looks: Looks,
    photos: Sequence[Photo],
) -> str:
    """The page as one file.

    Args:
        title: of the page.
        markdown: the report.
        panels: of each plot, by the name of its files without ending. They are drawn one by one,
            so that the page can be as narrow as a phone.
        looks: how each method is drawn.
        photos: pictures with photographs.

    Returns:
        The HTML.
    """
    pictures = {f"{name}.png": _plot(some, looks) for name, some in panels.items() if some}
    for photo in photos:
        drawn = _image(photo.jpeg, "jpeg", photo.description)
        pictures[f"{photo.name}.jpg"] = f'<span class="photo scroll" tabindex="0">{drawn}</span>'
    parser = MarkdownIt("commonmark", {"html": False, "xhtmlOut": False}).enable("table")
    body: str = parser.render(markdown)
    for pattern, replacement in DRESS.items():
        body = re.sub(pattern, replacement, body)
    body = "<table>".join(map(_group_rows, body.split("<table>")))
    body = re.sub(r"<h2>(.*)</h2>", _anchor, body)
    body = re.sub(r'<img src="(.*?)".*?>', lambda found: pictures[found[1]], body)
    page = resources.files("iassa.benchmark.report").joinpath("page.html").read_text("utf-8")
    return Template(page).substitute(title=html.escape(title), body=body)


def _anchor(found: re.Match[str]) -> str:
    return f'<h2 id="{found[1].lower().replace(" ", "-")}">{found[1]}</h2>'


def _group_rows(table: str) -> str:
    """A table in which a row with another number of calls than the row before begins a group."""
    before = ""

    def mark(row: re.Match[str]) -> str:
        nonlocal before
        calls = CALLS.search(row[1])
        after, before = before, calls[1] if calls else ""
        return f'<tr class="opens">\n{row[1]}' if after and before != after else row[0]

    return ROW.sub(mark, table)


def _plot(panels: Sequence[Panel], looks: Looks) -> str:
    """Panels that find their places by themselves, below their legend."""
    labels = dict.fromkeys(each.label for panel in panels for each in panel.trajectories)
    keys = "".join(
        f"<span>{_vector(draw_key(looks[label]), '')}{html.escape(label)}</span>"
        for label in labels
    )
    drawn = "".join(
        _vector(draw_panels([panel], looks, legend=False), panel.description) for panel in panels
    )
    return f'<span class="keys">{keys}</span><span class="panels">{drawn}</span>'


def _vector(figure: Figure, description: str) -> str:
    return _image(figure_bytes(figure, "svg", transparent=True), "svg+xml", description)


def _image(content: bytes, kind: str, description: str) -> str:
    source = f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
    return f'<img src="{source}" alt="{html.escape(description)}">'
