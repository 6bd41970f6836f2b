"""A figure that a notebook shows, with places in inches and words that are no formulas."""

from __future__ import annotations

import io
import textwrap
import warnings
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from PIL import Image

from iassa.errors import plain, shorten

DPI = 110
# Inches of the parts of a picture: places that are reckoned take half of the time of a layout that
# matplotlib searches.
MARGIN = 0.1
GAP = 0.15  # between a panel and what is at its right
BAR, BAR_ROOM = 0.2, 1.3  # a colour bar; with its gap, its numbers and its label
TITLE, CAPTION, NOTE = 0.5, 0.4, 0.18


class Picture(Figure):
    """A matplotlib figure that shows itself as the last line of a notebook's cell.

    A plain one does so only after a magic command.
    """

    def _repr_png_(self) -> bytes:
        return figure_png(self)

    def place(self, x: float, y: float, width: float, height: float) -> Axes:
        """Axes without lines, at a place from the lower left corner, of a size, all in inches."""
        across, up = self.get_size_inches()
        axes = self.add_axes((x / across, y / up, width / across, height / up))
        axes.set_axis_off()
        return axes

    def place_bar(
        self, x: float, y: float, height: float, shown: ScalarMappable, label: str
    ) -> None:
        """A colour bar, in inches as above."""
        bar = self.place(x, y, BAR, height)
        bar.set_axis_on()
        self.colorbar(shown, cax=bar, label=label)
        # A power of ten is written to the right, off the map, and above the highest number.
        bar.yaxis.set_offset_position("left")
        bar.yaxis.OFFSETTEXTPAD = 9

    def write(self, title: str, lines: Sequence[str], below: float, caption: str) -> None:
        """The words around the panels, of which the lines begin so many inches from below.

        Names are text, not formulas: a dollar sign in one is a dollar sign.
        """
        inches = self.get_figwidth()
        if title:
            short = plain(shorten(title, int(10 * inches)))
            self.suptitle(short, fontsize=13, parse_math=False)
        for k, line in enumerate(lines):
            place = (0.5, (below - 0.05 - NOTE * (k + 1)) / self.get_figheight())
            self.text(*place, line, ha="center", fontsize=9, parse_math=False)
        note = plain(shorten(caption, int(14 * inches)))
        self.supxlabel(note, fontsize=9, color="0.35", parse_math=False)


def figure_png(figure: Figure) -> bytes:
    """The bytes of a PNG file of a figure."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # A name may have letters that matplotlib's font lacks; they are shown as boxes.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        canvas: Any = FigureCanvasAgg(figure)
        canvas.draw()
    # Of zlib's ways this is the fastest by far, and no level makes smaller files of photographs.
    pixels = np.asarray(canvas.buffer_rgba())[:, :, :3]
    # The last of eight bits is noise that nobody sees, and a fifth of the file. White stays white.
    Image.fromarray(pixels & 0xFE | pixels >> 7).save(
        buffer, "PNG", compress_level=1, compress_type=zlib.Z_RLE
    )
    return buffer.getvalue()


def wrap(notes: Sequence[str], inches: float) -> list[str]:
    """Lines of sentences that go below a picture of this width."""
    return [line for note in notes for line in textwrap.wrap(plain(note), int(14 * inches))]


def unit(measures: str) -> str:
    """What a colour bar is labelled; for `measures` see `Explainer.measures`."""
    units = {"effect": "effect on the score", "mean score": "mean score where kept"}
    return units.get(measures, measures)
