"""A result as a notebook shows it: HTML with the picture inside."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Sequence

from matplotlib.figure import Figure

from iassa.errors import plain
from iassa.explanations.drawing.picture import figure_png

MOST_ROWS = 10
GAP = ' style="padding:0 1.5em 0 0;text-align:left"'  # a page's own style may leave none
REASONS = {
    "calls": "all calls were made",
    "seconds": "the time was spent",
    "tolerance": "the error is small enough",
    "rounds": "the method has no more rounds",
    "cancelled": "it was stopped",
    "failed": "the model failed",
    "running": "it goes on",
}


def show_html(
    figure: Figure,
    rows: Sequence[tuple[str, float, float]],
    cost: str,
    stopped: str,
    warnings: Sequence[str] = (),
) -> str:
    """A picture, a table of the targets, what it cost, why it stopped, and what to know.

    Args:
        figure: goes into the text as a PNG file.
        rows: of each target its name, its score and the relative error of its map, infinite where
            that is not known. Ten at most are shown.
        cost: calls and time.
        stopped: see `Explanation.stopped`.
        warnings: sentences.

    Returns:
        HTML without scripts. All names are escaped.
    """
    picture = base64.b64encode(figure_png(figure)).decode()
    width = round(figure.get_figwidth() * 72)
    cells = "".join(_row(*row) for row in rows[:MOST_ROWS])
    more = f"<p>and {len(rows) - MOST_ROWS} more targets</p>" if len(rows) > MOST_ROWS else ""
    said = "".join(f"<p><strong>warning:</strong> {_escape(text)}</p>" for text in warnings)
    head = "".join(f"<th{GAP}>{name}</th>" for name in ("target", "score", "error of the map"))
    return (
        f'<div><img alt="maps" style="width:100%;max-width:{width}px" '
        f'src="data:image/png;base64,{picture}">'
        f"<table><tr>{head}</tr>{cells}</table>{more}"
        f"<p>{_escape(cost)}; {_escape(REASONS.get(stopped, stopped))}</p>{said}</div>"
    )


def _row(name: str, score: float, error: float) -> str:
    known = f"{error:.0%} of its peak" if math.isfinite(error) else "not known"
    cells = (_escape(name), f"{score:.3g}", known)
    return "<tr>" + "".join(f"<td{GAP}>{cell}</td>" for cell in cells) + "</tr>"


def _escape(text: str) -> str:
    return html.escape(plain(text))
