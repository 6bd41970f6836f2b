"""Maps over photographs: methods side by side, and rounds, as in the paper's Figures 4, 5."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from iassa.benchmark.store.records import Entry
from iassa.errors import InputError
from iassa.explanations.plot import draw_map
from iassa.image import load_image

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Photograph", "Strip", "choose_entries", "choose_rounds", "draw_strips", "photograph"]

INCHES = 1.9  # of a photograph's longer side
LONGEST = 420  # pixels of the same
TITLE_INCHES = 0.28
MOST_ROUNDS = 7
OUTLINE = "#ffffff"


@dataclass(frozen=True, eq=False)
class Photograph:
    """An image of the run.

    Attributes:
        entry: what is explained in it.
        image: (H, W, 3) float32 in [0, 1].
        outline: (H, W) bool of what is annotated; None where that is not at hand.
    """

    entry: Entry
    image: NDArray[np.float32]
    outline: NDArray[np.bool_] | None


@dataclass(frozen=True, eq=False)
class Strip:
    """A row: a photograph and maps of it.

    Attributes:
        photograph: of all the maps.
        maps: heading and (H, W) float32 map of each column.
    """

    photograph: Photograph
    maps: Sequence[tuple[str, NDArray[np.float32]]]


def choose_entries(
    entries: Sequence[Entry], wanted: int | Sequence[str], images: Path
) -> list[Entry]:
    """The entries to show.

    Args:
        entries: that all methods have.
        wanted: keys; or how many, which are then spread evenly over the images that are there, by
            their place alone and not by how well they came out.
        images: folder of the image files.

    Returns:
        Those entries, in the order named.

    Raises:
        InputError: a key of no such entry, a number below 0, or no image in the folder.
    """
    if not isinstance(wanted, int):
        by_key = {entry.key: entry for entry in entries}
        unknown = [key for key in wanted if key not in by_key]
        if unknown:
            raise InputError(
                f"expected entries that all methods have finished, got {unknown[0]!r}. "
                f"Choose among {', '.join(list(by_key)[:5]) or 'none yet'}, ..."
            )
        return [by_key[key] for key in wanted]
    if wanted < 0:
        raise InputError(f"expected a number of pictures of 0 or more, got {wanted}.")
    first_of_image = {entry.image: entry for entry in reversed(entries)}
    there = [
        entry
        for entry in entries
        if first_of_image[entry.image] is entry and (images / entry.image).is_file()
    ]
    if wanted and entries and not there:
        raise InputError(
            f"expected the images of the run in {images}, got none of them, not even "
            f"{entries[0].image}. Name the folder that the dataset's file names start from."
        )
    places = np.linspace(0, len(there) - 1, min(wanted, len(there))).round().astype(int)
    return [there[place] for place in places]


def photograph(entry: Entry, images: Path, outline: NDArray[np.bool_] | None = None) -> Photograph:
    """Read an entry's image.

    Raises:
        InputError: it cannot be read, or has not the size that was explained.
    """
    image = load_image(images / entry.image)
    if image.shape[:2] != tuple(entry.size):
        raise InputError(
            f"expected {entry.image} of {tuple(entry.size)} pixels, as it was explained, got "
            f"{image.shape[:2]}. Name the folder of the images of this run."
        )
    return Photograph(entry, image, outline)


def choose_rounds(rounds: Sequence[int]) -> list[int]:
    """At most seven of them, evenly spread, the first and the last among them."""
    places = np.linspace(0, len(rounds) - 1, min(MOST_ROUNDS, len(rounds))).round().astype(int)
    return [rounds[place] for place in places]


def draw_strips(strips: Sequence[Strip]) -> Figure:
    """Rows of photographs, columns of maps, each over its image.

    A map with a negative value is an effect, shown about its 0; another over its own range.

    Args:
        strips: one at least, all with the same headings.

    Returns:
        The figure.
    """
    from matplotlib.figure import Figure  # here: half a second to import

    headings = ["", *(heading for heading, _ in strips[0].maps)]
    shapes = [strip.photograph.image.shape[:2] for strip in strips]
    widths = [INCHES * width / max(height, width) for height, width in shapes]
    heights = [INCHES * height / max(height, width) for height, width in shapes]
    figure = Figure(
        figsize=(max(widths) * len(headings) + 0.3, sum(heights) + TITLE_INCHES * len(strips)),
        layout="constrained",
        dpi=130,
    )
    grid = figure.subplots(
        len(strips), len(headings), squeeze=False, gridspec_kw={"height_ratios": heights}
    )
    for row, (axes_of_row, strip) in enumerate(zip(grid, strips, strict=True)):
        shown = strip.photograph
        step = max(1, max(shown.image.shape[:2]) // LONGEST)
        axes_of_row[0].imshow(shown.image[::step, ::step])
        axes_of_row[0].set_title(_name(shown.entry), fontsize=8, loc="left", parse_math=False)
        for axes, (heading, saliency) in zip(axes_of_row[1:], strip.maps, strict=True):
            measures = "effect" if bool((saliency < 0).any()) else "mean score"
            drawn = draw_map(axes, shown.image, saliency, measures=measures, longest=LONGEST)
            if shown.outline is not None:
                height, width = drawn.get_array().shape[:2]  # type: ignore[union-attr]
                rows = np.linspace(0, height - 1, shown.outline.shape[0])
                columns = np.linspace(0, width - 1, shown.outline.shape[1])
                axes.contour(columns, rows, shown.outline, [0.5], colors=OUTLINE, linewidths=1)
            if row == 0:
                axes.set_title(heading, fontsize=9, loc="left", parse_math=False)
        for axes in axes_of_row:
            axes.set_axis_off()
    return figure


def _name(entry: Entry) -> str:
    name = entry.category or entry.target.name
    name = name if len(name) <= 24 else f"{name[:23]}…"
    return f"{name}: {entry.score:.2f}"
