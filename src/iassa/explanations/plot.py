"""Pictures of a map. Arrays in, a matplotlib figure out; no global state, no display needed."""

from __future__ import annotations

import io
import math
import textwrap
import warnings
import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from iassa.errors import plain, shorten
from iassa.image import resize

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

Fit: TypeAlias = Literal["equal", "auto"]
Region: TypeAlias = NDArray[np.bool_]

LONGEST = 1200  # pixels of the longer side of what is drawn
WIDTH = 3.0  # inches of one panel of a square image
DPI = 110
MOST_SHOWN = 60  # maps of a sheet
SHEET = 1400  # pixels of the width of a sheet, and the most of a map
CELL = 330
NAME, BETWEEN = 24, 8  # pixels of the line with a name, and between two maps
# Inches of an overlay's other parts: places that are reckoned take half of the time of a layout
# that matplotlib searches.
MARGIN = 0.1
GAP = 0.15  # between a panel and what is at its right
BAR, BAR_ROOM = 0.2, 1.3  # a colour bar; with its gap, its numbers and its label
TALLEST = 5.0  # of a sheet's
TITLE, CAPTION, NOTE = 0.5, 0.4, 0.18
ABOVE = 0.3  # a name above a panel
LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601, what a grey picture of colours is


def overlay(
    image: NDArray[np.float32],
    saliency: NDArray[np.float32],
    standard_error: NDArray[np.float32] | None = None,
    *,
    measures: str,
    title: str,
    caption: str,
    outlines: Sequence[Sequence[float]] | NDArray[np.float32] = (),
    size: tuple[int, int] | None = None,
    regions: Sequence[Sequence[Region]] = (),
    notes: Sequence[str] = (),
    under: Mapping[str, NDArray[np.float32]] | None = None,
) -> Figure:
    """The image, its map over a dimmed grey image, and the standard error.

    An effect is shown about 0 on a diverging colour map that is dark in the middle, transparent
    where it is small; a mean score over its range; a standard error from 0, white where it is
    infinite. The colour maps are perceptually uniform: equal steps of the score look equal. Large
    images are drawn smaller.

    Args:
        image: (H, W, 3) in [0, 1].
        saliency: (H, W).
        standard_error: (H, W) in the map's units, infinite where no mask varied; None, or infinite
            everywhere, for no third panel.
        measures: what the values are, see `Explainer.measures`.
        title: the target's name and score.
        caption: how the map was made.
        outlines: boxes (n, 4) top, left, bottom, right, drawn as thin lines over the image and the
            map.
        size: (height, width) of the image whose pixels the boxes count; None for `image`.
        regions: of the image, then of the map: one (h, w) to outline, and another one in dots.
        notes: sentences below the picture.
        under: of a map that is the mean over several fills, each fill's own (H, W) by its name; all
            are drawn on the scale of the highest.

    Returns:
        The figure.
    """
    from matplotlib.figure import Figure  # here: half a second to import

    height, width = saliency.shape
    under = under or {}
    scale = _scale(np.stack([saliency, *under.values()]), measures) if under else None
    known = standard_error is not None and bool(np.isfinite(standard_error).any())
    if standard_error is not None and known:
        error = _shrink_known(standard_error)
    aspect = float(np.clip(height / width, 0.25, 4.0))
    panel = (WIDTH / max(aspect**0.5, 0.6), WIDTH * max(aspect**0.5, 0.6))
    panels = 3 if known else 2
    step = GAP + panel[0] + BAR_ROOM
    inches = 2 * MARGIN + panel[0] + (panels - 1) * step
    lines = [line for note in notes for line in textwrap.wrap(plain(note), int(14 * inches))]
    below = CAPTION + NOTE * len(lines)
    bottom = below + math.ceil(len(under) / panels) * (panel[1] + ABOVE)
    figure = Figure(figsize=(inches, bottom + panel[1] + TITLE), dpi=DPI)
    places = [MARGIN, *(MARGIN + panel[0] + GAP + k * step for k in range(panels - 1))]
    left, right, *third = (_axes(figure, x, bottom, *panel) for x in places)
    fit: Fit = "equal" if aspect == height / width else "auto"
    left.imshow(_opaque(255 * _shrink(image)), aspect=fit)
    shown = draw_map(right, image, saliency, measures=measures, fit=fit, scale=scale)
    for k, (name, one) in enumerate(under.items()):
        row, column = divmod(k, panels)
        axes = _axes(figure, places[column], bottom - (1 + row) * (panel[1] + ABOVE), *panel)
        draw_map(axes, image, one, measures=measures, fit=fit, scale=scale)
        _name(axes, f"under {name}")
    bars = [(shown, _unit(measures))]
    for axes in third:
        most = float(np.nanmax(error.astype(np.float64)))
        shown = axes.imshow(error, cmap="viridis", vmin=0, vmax=most or 1.0, aspect=fit)
        bars.append((shown, "standard error"))
    for x, (shown, label) in zip(places[1:], bars, strict=True):
        bar = _axes(figure, x + panel[0] + GAP, bottom + 0.05 * panel[1], BAR, 0.9 * panel[1])
        figure.colorbar(shown, cax=bar, label=label)
        # A power of ten is written to the right, off the map, and above the highest number.
        bar.yaxis.set_offset_position("left")
        bar.yaxis.OFFSETTEXTPAD = 9
    for k, axes in enumerate((left, right)):
        drawn = axes.images[0].get_array()
        assert drawn is not None
        _outline(axes, outlines, size or (height, width), drawn.shape[:2])
        _draw_borders(axes, regions[k : k + 1], drawn.shape[:2])
    for axes in (left, right, *third):
        axes.set_axis_off()
    _write(figure, title, lines, below, caption)
    return figure


def _write(figure: Figure, title: str, lines: Sequence[str], below: float, caption: str) -> None:
    """The words around the panels, of which the lines begin so many inches from below.

    Names are text, not formulas: a dollar sign in one is a dollar sign.
    """
    inches = figure.get_figwidth()
    figure.suptitle(plain(shorten(title, int(10 * inches))), fontsize=13, parse_math=False)
    for k, line in enumerate(lines):
        place = (0.5, (below - 0.05 - NOTE * (k + 1)) / figure.get_figheight())
        figure.text(*place, line, ha="center", fontsize=9, parse_math=False)
    note = plain(shorten(caption, int(14 * inches)))
    figure.supxlabel(note, fontsize=9, color="0.35", parse_math=False)


def sheet(
    image: NDArray[np.float32],
    saliency: NDArray[np.float32],
    names: Sequence[str],
    *,
    measures: str,
    caption: str,
    outlines: Sequence[NDArray[np.float32]] = (),
    size: tuple[int, int] | None = None,
    regions: Sequence[Sequence[Region]] = (),
) -> Figure:
    """Maps over their dimmed grey image, side by side on one scale.

    They are drawn as one picture: a hundred axes would take seconds.

    Args:
        image: (H, W, 3) in [0, 1].
        saliency: (T, H, W); 60 at most are shown.
        names: of the T maps.
        measures: what the values are, see `Explainer.measures`.
        caption: how the maps were made.
        outlines: of each map the boxes (n, 4), as `overlay` takes them; or none at all.
        size: as `overlay` takes it.
        regions: of each map, as `overlay` takes those of one; or none at all.

    Returns:
        The figure.
    """
    from matplotlib.figure import Figure  # here: half a second to import

    total, (height, width) = len(saliency), saliency.shape[1:]
    saliency = saliency[:MOST_SHOWN]
    aspect = float(np.clip(height / width, 0.25, 4.0))
    columns = min(len(saliency), math.ceil((len(saliency) * aspect) ** 0.5))
    rows = math.ceil(len(saliency) / columns)
    across = min(CELL, SHEET // columns)
    down = max(1, round(aspect * across))
    places = [
        (k // columns * (down + NAME) + NAME, k % columns * (across + BETWEEN))
        for k in range(len(saliency))
    ]
    whole = (rows * (down + NAME), columns * (across + BETWEEN) - BETWEEN)
    small = _resize(image, (down, across))
    scale = _scale(saliency, measures)
    paper = np.full((*whole, 4), 255, np.uint8)
    for one, (top, left) in zip(saliency, places, strict=True):
        there = np.s_[top : top + down, left : left + across]
        shrunk = _resize(one[:, :, None], (down, across))[:, :, 0]
        paper[there] = _paint(small, shrunk, scale, measures)
    inches = (whole[0] / DPI, max(whole[1] / DPI, 3.0))
    figure = Figure(
        figsize=(2 * MARGIN + inches[1] + GAP + BAR_ROOM, CAPTION + MARGIN + inches[0]), dpi=DPI
    )
    axes = _axes(figure, MARGIN, CAPTION, inches[1], inches[0])
    axes.imshow(paper)
    axes.set_axis_off()
    for name, (top, left) in zip(names, places, strict=False):
        label = plain(shorten(name, max(8, across // 7)))
        axes.text(left, top - 6, label, fontsize=8, parse_math=False)
    full = size or (height, width)
    for boxes, place in zip(outlines, places, strict=False):
        inside = np.clip(boxes, 0, np.tile(full, 2))  # the next map is beside it
        _outline(axes, inside, full, (down, across), place)
    for one, place in zip(regions, places, strict=False):
        _draw_borders(axes, [one], (down, across), place)
    tall = min(inches[0], TALLEST)
    bar = _axes(figure, MARGIN + inches[1] + GAP, CAPTION + (inches[0] - tall) / 2, BAR, 0.9 * tall)
    figure.colorbar(scale, cax=bar, label=_unit(measures))
    more = f"; the first {len(saliency)} of {total} targets" if total > len(saliency) else ""
    note = plain(shorten(caption + more, int(14 * figure.get_figwidth())))
    figure.supxlabel(note, fontsize=9, color="0.35", parse_math=False)
    return figure


def _name(axes: Axes, name: str) -> None:
    """Write a name above a panel without lines."""
    axes.set_title(plain(shorten(name, 30)), fontsize=9, parse_math=False)
    axes.set_axis_off()


def _unit(measures: str) -> str:
    units = {"effect": "effect on the score", "mean score": "mean score where kept"}
    return units.get(measures, measures)


def _axes(figure: Figure, x: float, y: float, width: float, height: float) -> Axes:
    """Axes at a place from the lower left corner, of a size, all in inches."""
    across, up = figure.get_size_inches()
    return figure.add_axes((x / across, y / up, width / across, height / up))


def draw_map(
    axes: Axes,
    image: NDArray[np.float32],
    saliency: NDArray[np.float32],
    *,
    measures: str,
    fit: Fit = "equal",
    longest: int = LONGEST,
    scale: ScalarMappable | None = None,
) -> ScalarMappable:
    """Draw a map over its dimmed grey image, as `overlay` does.

    Args:
        axes: to draw on.
        image: (H, W, 3) in [0, 1].
        saliency: (H, W).
        measures: what the values are, see `Explainer.measures`.
        fit: 'equal' for square pixels, 'auto' to fill the axes.
        longest: pixels of the longer side of what is drawn.
        scale: of the colours; None for that of the map.

    Returns:
        What a colour bar is made of.
    """
    image, saliency = _shrink(image, longest), _shrink(saliency[:, :, None], longest)[:, :, 0]
    scale = scale or _scale(saliency, measures)
    axes.imshow(_paint(image, saliency, scale, measures), aspect=fit)
    return scale


def _scale(saliency: NDArray[np.float32], measures: str) -> ScalarMappable:
    """The colours of maps (..., H, W), about 0 or over their range."""
    from matplotlib.cm import ScalarMappable  # here: half a second to import
    from matplotlib.colors import Normalize

    low, high = float(saliency.min()), float(saliency.max())
    if measures == "effect":
        low, high = -max(-low, high), max(-low, high)
    if low == high:  # a flat map: a bar of no height cannot be drawn
        low, high = low - 0.5, high + 0.5
    return ScalarMappable(Normalize(low, high), "berlin" if measures == "effect" else "inferno")


def _paint(
    image: NDArray[np.float32], saliency: NDArray[np.float32], scale: ScalarMappable, measures: str
) -> NDArray[np.uint8]:
    """A map (H, W) in colours over its dimmed grey image (H, W, 3), RGBA.

    matplotlib would lay them over one another, in ten times the memory.
    """
    low, high = scale.get_clim()
    assert low is not None  # both were given
    assert high is not None
    values = saliency.astype(np.float64)  # a range from -3e38 to 3e38 is longer than float32
    colours = scale.get_cmap()((values - low) / (high - low), bytes=True)[:, :, :3]
    opacity = np.full(values.shape, 0.65, np.float32)
    if measures == "effect":
        opacity = np.clip(np.abs(values) / (0.5 * high), 0.15, 0.85).astype(np.float32)
    opacity = opacity[:, :, None]
    grey = 255 * (0.15 + 0.5 * image @ np.array(LUMINANCE, np.float32))
    painted = grey[:, :, None] * (1 - opacity) + colours * opacity
    return _opaque(painted)


def _opaque(colours: NDArray[np.floating]) -> NDArray[np.uint8]:
    """RGBA of RGB (H, W, 3) up to 255: of anything else matplotlib makes float64."""
    opaque = np.full((*colours.shape[:2], 4), 255, np.uint8)
    opaque[:, :, :3] = colours.round()
    return opaque


def _outline(
    axes: Axes,
    boxes: Sequence[Sequence[float]] | NDArray[np.float32],
    size: tuple[int, int],
    drawn: tuple[int, ...],
    place: tuple[int, int] = (0, 0),
) -> None:
    """Thin boxes, white on black so that they are seen on anything.

    `drawn` is the (height, width) at which an image of this size is drawn, `place` its first pixel.
    """
    from matplotlib.patches import Rectangle  # here: half a second to import

    down, across = drawn[0] / size[0], drawn[1] / size[1]
    for top, left, bottom, right in boxes:
        # A pixel is drawn about its number, and a box of the first one begins half a pixel before.
        corner = (place[1] + left * across - 0.5, place[0] + top * down - 0.5)
        sides = ((right - left) * across, (bottom - top) * down)
        for width, colour in ((2.0, "black"), (1.0, "white")):
            frame = Rectangle(corner, *sides, fill=False, linewidth=width, edgecolor=colour)
            axes.add_patch(frame)


def _draw_borders(
    axes: Axes,
    regions: Sequence[Sequence[Region]],
    drawn: tuple[int, ...],
    place: tuple[int, int] = (0, 0),
) -> None:
    """The borders of a region, and of a second one in dots; `drawn` and `place` as above."""
    from skimage.measure import find_contours  # here: half a second to import

    for region, style in (
        (r, s) for pair in regions for r, s in zip(pair, ("-", ":"), strict=False)
    ):
        height, width = region.shape
        padded = np.pad(region, 1).astype(np.float32)
        for line in find_contours(padded, 0.5):  # type: ignore[no-untyped-call]
            # A pixel's middle is at its number, of the padded region one behind.
            y = (line[:, 0] - 0.5) * drawn[0] / height - 0.5 + place[0]
            x = (line[:, 1] - 0.5) * drawn[1] / width - 0.5 + place[1]
            axes.plot(
                x, y, "-", color="black", linewidth=2.2, alpha=0.8, scalex=False, scaley=False
            )
            axes.plot(x, y, style, color="white", linewidth=1.2, scalex=False, scaley=False)


def _shrink(planes: NDArray[np.float32], longest: int = LONGEST) -> NDArray[np.float32]:
    """(H, W, C) with no side longer than a panel has use for."""
    factor = max(1.0, max(planes.shape[:2]) / longest)
    size = (max(1, round(planes.shape[0] / factor)), max(1, round(planes.shape[1] / factor)))
    return _resize(planes, size)


def _resize(planes: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """(H, W, C) at another size, within its range."""
    channels_first = torch.from_numpy(np.ascontiguousarray(planes.transpose(2, 0, 1)))
    shrunk = resize(channels_first, size)
    return shrunk.clamp(float(planes.min()), float(planes.max())).permute(1, 2, 0).numpy()


def _shrink_known(error: NDArray[np.float32]) -> NDArray[np.float32]:
    """(H, W) as `_shrink` does, from the finite pixels; NaN where there is none."""
    known = np.isfinite(error)
    weight = _shrink(known.astype(np.float32)[:, :, None])[:, :, 0]
    shrunk = _shrink(np.where(known, error, np.float32(0))[:, :, None])[:, :, 0]
    return np.divide(shrunk, weight, where=weight > 1e-6, out=np.full_like(shrunk, np.nan))


def figure_png(figure: Figure) -> bytes:
    """A figure as the bytes of a PNG file."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # here: half a second to import

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
