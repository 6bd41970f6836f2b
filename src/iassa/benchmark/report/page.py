"""A report in Markdown as one HTML page that loads nothing else.

HTML in the Markdown stays text, but for the two lines that `markdown.fold` writes.
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
from markdown_it.rules_block import StateBlock
from markdown_it.token import Token

from iassa.benchmark.report.figures import Panel, Style, draw_key, draw_panels, figure_bytes
from iassa.benchmark.report.pictures import Photo

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["render_page"]

# A number, its interval and its verdict, as `tables` writes them.
CELL = re.compile(r"([^\[]*?) ?(\[.*\])? ?(better|worse|not shown)?")
# The calls of a row, at the end of its last heading: 'rise at 500', or '500' alone.
CALLS = re.compile(r"(?:^|at )(\d+)$")
TAGS = {"link_open": "nav", "image": "figure"}  # of a paragraph that begins with one


def render_page(
    markdown: str,
    panels: Mapping[str, Sequence[Panel]],
    looks: Mapping[str, Style],
    photos: Sequence[Photo],
) -> bytes:
    """The page as one file.

    Args:
        markdown: the report; its first line is its title.
        panels: of each plot, by the name of its files without ending. They are drawn one by one,
            so that the page can be as narrow as a phone.
        looks: style by label.
        photos: pictures with photographs.

    Returns:
        The HTML file.
    """
    pictures = {f"{name}.png": _plot(some, looks) for name, some in panels.items() if some}
    for photo in photos:
        drawn = _image(photo.jpeg, "jpeg", photo.description)
        pictures[f"{photo.name}.jpg"] = f'<span class="photo scroll" tabindex="0">{drawn}</span>'
    parser = MarkdownIt("commonmark", {"html": False, "xhtmlOut": False}).enable("table")
    parser.block.ruler.after("fence", "fold", _fold)
    tokens = parser.parse(markdown)
    title = _words(tokens[1])
    _dress_blocks(tokens, pictures)
    _dress_tables(tokens)
    body = parser.renderer.render(tokens, parser.options, {})
    page = resources.files("iassa.benchmark.report").joinpath("page.html").read_text("utf-8")
    return Template(page).substitute(title=html.escape(title), body=body).encode()


def _fold(state: StateBlock, line: int, _last: int, _silent: bool) -> bool:
    """A rule of markdown-it: the lines around what is shown on demand are HTML."""
    words = state.getLines(line, line + 1, 0, False)
    found = re.fullmatch(r"<details><summary>(.*)</summary>|(</details>)", words)
    if found is None:
        return False
    title = html.escape(html.unescape(found[1] or ""))
    opening = f"<details>\n<summary>{title}</summary>\n"
    state.push("html_block", "", 0).content = f"{found[2]}\n" if found[2] else opening
    state.line = line + 1
    return True


def _dress_blocks(tokens: Sequence[Token], pictures: Mapping[str, str]) -> None:
    """Give headings anchors, and put pictures in the place of their names."""
    for place, token in enumerate(tokens):
        if token.type == "heading_open":
            token.attrSet("id", _words(tokens[place + 1]).lower().replace(" ", "-"))
        elif token.type == "paragraph_open":
            first = _children(tokens[place + 1])[0].type
            token.tag = tokens[place + 2].tag = TAGS.get(first, "p")
        for child in _children(token):
            if child.type == "image":
                _set_html(child, pictures[str(child.attrs["src"])])


def _dress_tables(tokens: list[Token]) -> None:
    """Give tables a box that scrolls, a caption, headings of rows, and groups of equal calls."""
    group = ""
    for place, token in enumerate(tokens):
        if token.type == "table_open":
            caption = tokens[place - 3 : place]
            caption[0].tag = caption[2].tag = "caption"
            label = html.escape(_words(caption[1]))
            box = f'<div class="scroll" role="region" tabindex="0" aria-label="{label}">'
            _set_html(token, f"{box}\n<table>\n")
            tokens[place - 3 : place + 1] = [token, *caption]
            group = ""
        elif token.type == "table_close":
            _set_html(token, "</table>\n</div>\n")
        elif token.type == "tr_open":
            calls = _calls(tokens, place)
            if group and calls != group:
                token.attrSet("class", "opens")
            group = calls
        elif token.type in ("th_open", "td_open"):
            is_value = "right" in str(token.attrs.pop("style", ""))
            if token.type == "th_open":
                token.attrs = {"scope": "col", **({"class": "value"} if is_value else {})}
            elif is_value:
                _dress_value(_children(tokens[place + 1])[-1])
            else:
                token.tag = tokens[place + 2].tag = "th"
                token.attrs = {"scope": "row"}


def _calls(tokens: Sequence[Token], row: int) -> str:
    """The number of calls that a row is of; '' without one."""
    calls = ""
    for place in range(row, len(tokens)):
        token = tokens[place]
        if token.type == "tr_close" or "right" in str(token.attrs.get("style")):
            break
        if token.type == "td_open":
            found = CALLS.search(_words(tokens[place + 1]))
            calls = found[1] if found else ""
    return calls


def _dress_value(last: Token) -> None:
    """An interval below its number, a verdict below that."""
    found = CELL.fullmatch(last.content)
    if found and (found[2] or found[3]):
        value, interval, verdict = (html.escape(part or "") for part in found.groups())
        small = f"<small>{interval}</small>" if interval else ""
        told = f'<span class="{verdict.split()[0]}">{verdict}</span>' if verdict else ""
        _set_html(last, f"{value} {small} {told}".strip())


def _plot(panels: Sequence[Panel], looks: Mapping[str, Style]) -> str:
    """Panels that find their places by themselves, below their legend."""
    labels = dict.fromkeys(series.label for panel in panels for series in panel.series)
    keys = (
        f"<span>{_vector(draw_key(looks[label]), '')}{html.escape(label)}</span>"
        for label in labels
    )
    drawn = (
        _vector(draw_panels([panel], looks, legend=False), panel.description) for panel in panels
    )
    return f'<span class="keys">{"".join(keys)}</span><span class="panels">{"".join(drawn)}</span>'


def _vector(figure: Figure, description: str) -> str:
    return _image(figure_bytes(figure, "svg", transparent=True), "svg+xml", description)


def _image(content: bytes, kind: str, description: str) -> str:
    source = f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
    return f'<img src="{source}" alt="{html.escape(description)}">'


def _set_html(token: Token, content: str) -> None:
    token.type = "html_block"  # is written as it is, among blocks and among words
    token.content = content


def _words(token: Token) -> str:
    """The words of a token, without Markdown's signs."""
    return "".join(child.content for child in _children(token))


def _children(token: Token) -> Sequence[Token]:
    return token.children or ()
