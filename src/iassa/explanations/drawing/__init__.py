"""Pictures of maps.

In: an image, maps over it, and what to write beside them.
Out: a matplotlib figure, which a notebook shows; no global state, no display needed.
"""

from iassa.explanations.drawing.colours import Colours
from iassa.explanations.drawing.html import show_html
from iassa.explanations.drawing.overlay import draw_error, draw_map, overlay, overlay_on
from iassa.explanations.drawing.panel import View, panel
from iassa.explanations.drawing.picture import figure_png
from iassa.explanations.drawing.sheet import sheet

__all__ = [
    "Colours",
    "View",
    "draw_error",
    "draw_map",
    "figure_png",
    "overlay",
    "overlay_on",
    "panel",
    "sheet",
    "show_html",
]
