"""Maps over photographs: methods side by side, and rounds, as in the paper's Figures 4 and 5."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from iassa.benchmark.report.comparison import place_at_calls
from iassa.benchmark.report.figures import figure_bytes
from iassa.benchmark.report.results import Results
from iassa.benchmark.report.tables import number, number_format
from iassa.benchmark.store.records import Entry, Item, ItemKey
from iassa.benchmark.store.store import Store
from iassa.decoding import ImageFile, Reading
from iassa.errors import ImageWarning, InputError, list_some, plain
from iassa.explanations.drawing import Colours, draw_map
from iassa.files import inside
from iassa.image import as_image, resize
from iassa.metrics import threshold_region

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Outline: TypeAlias = Callable[[Entry], NDArray[np.bool_] | None]
Choose: TypeAlias = Callable[[Item], int | None]  # the place of a map among an item's

LONGEST = 420  # pixels of a photograph's longer side
INCHES = 1.9  # of the same
# Inches of the other parts. Places that are computed take half the time of matplotlib's layout.
MARGIN, TITLE = 0.08, 0.28
GAP, BAR, BAR_ROOM = 0.05, 0.07, 0.45  # a colour bar: beside its map, its width, with its numbers
MOST_ROUNDS = 7
WHITE = "#ffffff"
# Names are words, not formulas: a dollar sign in one is a dollar sign.
WORDS: dict[str, Any] = {"fontsize": 8, "loc": "left", "parse_math": False}


@dataclass(frozen=True, eq=False)
class Photo:
    """A picture that shows photographs.

    Attributes:
        name: of its file, without ending.
        caption: what it shows.
        description: in words, for those who cannot see it.
        jpeg: the file.
    """

    name: str
    caption: str
    description: str
    jpeg: bytes


@dataclass(frozen=True, eq=False)
class Strip:
    """A row: a photograph and maps of it.

    Attributes:
        entry: what is explained in it.
        image: (H, W, 3) float32 in [0, 1].
        outline: (H, W) bool of what is annotated; None where there is no annotation.
        maps: float32, by the heading of their column; of any size, enlarged to the image's.
    """

    entry: Entry
    image: NDArray[np.float32]
    outline: NDArray[np.bool_] | None
    maps: Mapping[str, NDArray[np.float32]]


def choose_entries(
    entries: Sequence[Entry], wanted: int | Sequence[str], images: Path
) -> list[Entry]:
    """The entries to show.

    Args:
        entries: that all methods have.
        wanted: keys; or how many. These are spread evenly over the images in the folder, by their
            place alone and not by how well they came out.
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
                f"Choose among {list_some(by_key)}."
            )
        return [by_key[key] for key in wanted]
    if wanted < 0:
        raise InputError(f"expected a number of pictures of 0 or more, got {wanted}.")
    first_of_image = {entry.image: entry for entry in reversed(entries)}
    there = [
        entry
        for entry in entries
        if first_of_image[entry.image] is entry and inside(images, entry.image).is_file()
    ]
    if wanted and entries and not there:
        raise InputError(
            f"expected the images of the run in {images}, got none of them, not even "
            f"{entries[0].image}. Name the folder that the dataset's file names start from."
        )
    places = np.linspace(0, len(there) - 1, min(wanted, len(there))).round().astype(int)
    return [there[place] for place in places]


def choose_rounds(rounds: Sequence[float]) -> list[int]:
    """At most seven of them, evenly spread, the first and the last among them."""
    places = np.linspace(0, len(rounds) - 1, min(MOST_ROUNDS, len(rounds))).round().astype(int)
    return [int(rounds[place]) for place in places]


def draw_photos(
    results: Results, store: Store, entries: Sequence[Entry], images: Path, outline: Outline | None
) -> list[Photo]:
    """The paper's Figure 4, methods side by side, and its Figure 5, rounds, for each method.

    Args:
        results: of the run.
        store: of the run, for its maps.
        entries: to show, one at least.
        images: folder of the image files.
        outline: gives the annotation of an entry; None for none.

    Returns:
        The pictures.

    Raises:
        InputError: an image cannot be read, or has not the size that was explained.
    """
    items = {item.key: item for item in results.items}
    seed = results.configuration["seeds"][0]
    threshold = results.configuration["metrics"]["threshold"]
    reading = Reading.of(results.configuration.get("dataset", {}))
    read = [
        (entry, _load(entry, images, reading), outline(entry) if outline else None)
        for entry in entries
    ]

    def read_map(entry: Entry, label: str, choose: Choose) -> NDArray[np.float32]:
        key = ItemKey(entry.key, label, seed)
        place = choose(items[key])
        assert place is not None, "all methods have the entries that are shown"
        return store.saliency(key, place)

    def draw(
        name: str,
        caption: str,
        columns: Mapping[str, tuple[str, Choose]],
        threshold: float | None = None,
    ) -> Photo:
        strips = [
            Strip(*one, {heading: read_map(one[0], *columns[heading]) for heading in columns})
            for one in read
        ]
        rows = (f"{entry.category or entry.target.name} in {entry.image}" for entry in entries)
        return Photo(
            name,
            f"{caption}: {', '.join(entry.key for entry in entries)}.",
            f"{len(strips)} rows, each a photograph and its maps by {', '.join(columns)}: "
            f"{'; '.join(rows)}.",
            figure_bytes(_draw(strips, threshold), "jpeg"),
        )

    by_method = {
        str(arm): (arm.label, partial(place_at_calls, calls=arm.calls)) for arm in results.shown
    }
    photos = [draw("maps-by-method", "Methods side by side (the paper's Figure 4)", by_method)]
    for number_of, trajectory in enumerate(results.trajectories, start=1):
        label = trajectory.label
        by_round = {
            f"k = {k}": (label, partial(_place_after, rounds=k))
            for k in choose_rounds(trajectory.x)
        }
        caption = (
            f"{label} along its iterations (the paper's Figure 5), with the border of the "
            f"region above {threshold:g} of each map's range in dots"
        )
        photos.append(draw(f"maps-by-iteration-{number_of}", caption, by_round, threshold))
    return photos


def _place_after(item: Item, rounds: int) -> int:
    """The place of the map after a round, or after the last before it."""
    places = {
        snapshot.rounds: place
        for place, snapshot in enumerate(item.snapshots)
        if snapshot.budget is None and snapshot.rounds <= rounds
    }
    return places[max(places)]


def _load(entry: Entry, images: Path, reading: Reading) -> NDArray[np.float32]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImageWarning)  # the run has said it
        # The run may have read larger images than are read by default.
        most = max(reading.max_pixels, math.prod(entry.size))
        read = replace(reading, max_pixels=most)
        image = as_image(ImageFile(inside(images, entry.image), read))
    if image.shape[:2] != tuple(entry.size):
        raise InputError(
            f"expected {entry.image} of {tuple(entry.size)} pixels, as it was explained, got "
            f"{image.shape[:2]}. Name the folder of the images of this run."
        )
    return image


def _draw(strips: Sequence[Strip], threshold: float | None) -> Figure:
    """Rows of photographs, columns of maps, each over its image with a colour bar beside it.

    A map with a negative value is an effect, shown about its 0; another over its own range. Dots
    are the border of the region above a share of the range, where such a threshold is given.
    """
    from matplotlib.figure import Figure  # here: half a second to import

    sizes = [INCHES * np.array(strip.image.shape[:2]) / max(strip.image.shape) for strip in strips]
    widest = max(width for _, width in sizes)
    step = widest + GAP + BAR + BAR_ROOM
    across = 2 * MARGIN + widest + GAP + len(strips[0].maps) * step
    down = MARGIN + sum(TITLE + height for height, _ in sizes)
    figure = Figure(figsize=(across, down), dpi=130)
    top = 0.0
    for strip, (height, width) in zip(strips, sizes, strict=True):
        top += TITLE
        place = (1 - (top + height) / down, width / across, height / down)
        axes = figure.add_axes((MARGIN / across, *place))
        every = max(1, max(strip.image.shape) // LONGEST)
        axes.imshow(strip.image[::every, ::every], aspect="auto")
        axes.set_title(_title(strip.entry), **WORDS)
        axes.set_axis_off()
        for column, (heading, saliency) in enumerate(strip.maps.items()):
            left = MARGIN + widest + GAP + column * step
            axes = figure.add_axes((left / across, *place))
            bar = figure.add_axes(((left + width + GAP) / across, place[0], BAR / across, place[2]))
            _draw_map(axes, bar, strip, saliency, threshold)
            axes.set_title(plain(heading) if strip is strips[0] else "", **WORDS)
        top += height
    return figure


def _draw_map(
    axes: Axes, bar: Axes, strip: Strip, saliency: NDArray[np.float32], threshold: float | None
) -> None:
    size = strip.image.shape[0], strip.image.shape[1]
    enlarged = resize(torch.from_numpy(saliency)[None], size)[0].numpy()
    measures = "effect" if bool((saliency < 0).any()) else "mean score"
    colours = Colours.over(enlarged, measures)
    shown = draw_map(axes, strip.image, enlarged, colours=colours, fit="auto", longest=LONGEST)
    if strip.outline is not None:
        _outline(axes, strip.outline, "solid")
    if threshold is not None:
        _outline(axes, threshold_region(enlarged, threshold), "dotted")
    axes.set_axis_off()
    low, high = shown.get_clim()
    ticks = [low, 0.0, high] if measures == "effect" else [low, high]
    axes.figure.colorbar(shown, cax=bar)
    style = number_format([low, high])
    bar.set_yticks(ticks, [number(tick, style) for tick in ticks], fontsize=6)
    bar.tick_params(length=2, pad=1)


def _outline(axes: Axes, region: NDArray[np.bool_], style: str) -> None:
    """Draw the border of a region over a picture of any size; a region without one has none."""
    if region.all() or not region.any():
        return
    height, width = axes.images[0].get_array().shape[:2]  # type: ignore[union-attr]
    rows = np.linspace(0, height - 1, region.shape[0])
    columns = np.linspace(0, width - 1, region.shape[1])
    axes.contour(columns, rows, region, [0.5], colors=WHITE, linewidths=1, linestyles=style)


def _title(entry: Entry) -> str:
    name = plain(entry.category or entry.target.name)
    name = name if len(name) <= 24 else f"{name[:23]}…"
    return f"{name}: {entry.score:.2f}"
