"""The lattice of the windows in the map: the paper's Figure 8.

    python benchmarks/lattice_lines.py [IMAGE ...]
    python benchmarks/lattice_lines.py --scenes

Where the edge of the windows is no multiple of their stride, neighbouring pixels lie in different
numbers of windows, and the map may show that as lines. For each image and each pair of window and
stride `iassa-paper` scores all windows once, and the same scores make four maps:

- one divisor: sum of f_i M_i over one number for all pixels, as the authors' code divides, by N;
- each pixel's: Eq. 5 with a divisor of each pixel, the first map of `iassa-paper` for beta 1;
- attention: the first map of `iassa-paper` with its defaults;
- hidden: the mean loss of the windows that hide a pixel, the map of `sliding-window`.

The fifth map is that of `iassa` with its defaults, which has no windows. Of each the table has
`iassa.metrics.periodic_share` at the stride. In brackets is the share beside the stride: the
geometric mean of those at two thirds and at three halves of it. Images are brought to a short side
of 224, as windows and strides are named for that. What is explained is the top class of each image,
or, with `--scenes`, three black boxes of `iassa benchmark synthetic`, which cost next to nothing.
"""

from __future__ import annotations

import argparse
import csv
import io
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table
from skimage import data

import iassa
from iassa.benchmark.synthetic import BOXES, SyntheticModel, draw_scene
from iassa.explanations.drawing import figure_png, overlay_on
from iassa.files import write_whole
from iassa.image import as_image, resize
from iassa.masks.plans import WindowPlan
from iassa.metrics import periodic_share

Map = NDArray[np.float32] | NDArray[np.float64]
Ask = Callable[[NDArray[np.float32]], NDArray[np.floating]]
Lattice = tuple[float, float]  # window and stride, in pixels of an image whose short side is 224

SHORT_SIDE = 224
MOST_CALLS = 100_000  # more than the windows of one lattice
LATTICES: tuple[Lattice, ...] = ((45, 8), (48, 8), (44, 8), (40, 8), (45, 6), (42, 6), (45, 9))
DIVISORS = ("one divisor", "each pixel's", "attention", "hidden")
DEFAULT = "iassa"
CELL = 2.6  # inches
SCENES = ("linear", "and", "or")
EXAMPLES = ("chelsea", "coffee", "rocket")  # of scikit-image; the first two are iassa's


@dataclass(frozen=True, eq=False)
class Drawn:
    """One map and its lines.

    Attributes:
        image: name of the image.
        lattice: window and stride; of `iassa` those that it is measured by.
        made: which of the maps it is, one of `DIVISORS` or `DEFAULT`.
        saliency: (H, W).
        share: at the stride.
        beside: at two thirds and at three halves of the stride, their geometric mean.
    """

    image: str
    lattice: Lattice
    made: str
    saliency: Map
    share: float
    beside: float

    @classmethod
    def of(cls, image: str, lattice: Lattice, made: str, saliency: Map) -> Drawn:
        """The map, measured."""
        stride = lattice[1] * min(saliency.shape) / SHORT_SIDE
        finer, coarser = (periodic_share(saliency, stride * part) for part in (2 / 3, 3 / 2))
        at = periodic_share(saliency, stride)
        return cls(image, lattice, made, saliency, at, math.sqrt(finer * coarser))


def divide(
    windows: NDArray[np.int32], scores: NDArray[np.float64], size: tuple[int, int], whole: float
) -> dict[str, NDArray[np.float64]]:
    """Maps of the same scores with different divisors.

    Args:
        windows: (N, 4) top, left, bottom, right, the hidden boxes.
        scores: (N,) of the image without each.
        size: (height, width).
        whole: score of the whole image.

    Returns:
        'one divisor', "each pixel's" and 'hidden', each (H, W). Every pixel has to lie in a window,
        and outside of another one.
    """
    hidden, lost = (_sum_inside(windows, one, size) for one in (np.ones(len(scores)), scores))
    kept, left = len(scores) - hidden, scores.sum() - lost
    return {
        "one divisor": left / kept.mean(),
        "each pixel's": left / kept,
        "hidden": whole - lost / hidden,
    }


def _sum_inside(
    windows: NDArray[np.int32], values: NDArray[np.float64], size: tuple[int, int]
) -> NDArray[np.float64]:
    """For each pixel the sum of the values of the windows that it lies in."""
    corners = np.zeros((size[0] + 1, size[1] + 1))
    top, left, bottom, right = windows.T
    for rows, columns, sign in (
        (top, left, 1),
        (top, right, -1),
        (bottom, left, -1),
        (bottom, right, 1),
    ):
        np.add.at(corners, (rows, columns), sign * values)
    return corners.cumsum(0).cumsum(1)[:-1, :-1]


def draw_lines(
    name: str, image: NDArray[np.float32], ask: Ask, lattices: Sequence[Lattice] = LATTICES
) -> list[Drawn]:
    """All maps of one image.

    Args:
        name: of the image.
        image: (H, W, 3); its lattices are whole pixels where the short side is 224.
        ask: images to the scores (N, 1) of what is explained.
        lattices: windows and strides.

    Returns:
        Five for each lattice.
    """
    found = []
    default = iassa.explain(image, ask, target=0, seed=0).saliency[0]
    for window, stride in lattices:
        method = iassa.methods.IassaPaper(window=window, stride=stride, max_rounds=1)
        made = iassa.explain(image, ask, target=0, method=method, calls=MOST_CALLS, seed=0)
        assert made.evidence is not None  # a method of this loop keeps it
        (scored,) = made.evidence.rounds[0].families.values()
        assert isinstance(scored.plan, WindowPlan)
        whole = float(made.evidence.reference[0])
        size = image.shape[0], image.shape[1]
        maps: dict[str, Map] = {
            **divide(scored.plan.windows, scored.readings[:, 0], size, whole),
            "attention": made.saliency[0],
            DEFAULT: default,
        }
        found += [Drawn.of(name, (window, stride), one, maps[one]) for one in (*DIVISORS, DEFAULT)]
    return found


def output(model: iassa.models.BlackBox, place: int) -> Ask:
    """The scores (N, 1) of one output of a model."""
    return lambda images: model(images)[:, [place]]


def at_short_side(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """An image at a short side of 224."""
    factor = SHORT_SIDE / min(image.shape[:2])
    size = round(image.shape[0] * factor), round(image.shape[1] * factor)
    return resize(torch.from_numpy(image).permute(2, 0, 1), size).permute(1, 2, 0).numpy()


def draw_figure(images: Mapping[str, NDArray[np.float32]], drawn: Sequence[Drawn]) -> Figure:
    """A row for each image, each map on its own scale, with its share.

    They are the maps of the first lattice with one divisor and with each pixel's, that of the
    second, and that of `iassa`.
    """
    lattices = list(dict.fromkeys(one.lattice for one in drawn))
    shown = [(lattices[0], "one divisor"), *((one, "each pixel's") for one in lattices[:2])]
    shown.append((lattices[0], DEFAULT))
    figure = Figure(figsize=(CELL * 1.6 * len(shown), CELL * len(images)), layout="constrained")
    grid = figure.subplots(len(images), len(shown), squeeze=False)
    by_place = {(one.image, one.lattice, one.made): one for one in drawn}
    for row, (name, image) in zip(grid, images.items(), strict=True):
        for axes, (lattice, made) in zip(row, shown, strict=True):
            one = by_place[name, lattice, made]
            what = made if made == DEFAULT else f"{lattice[0]:g} every {lattice[1]:g}, {made}"
            values = one.saliency.astype(np.float32)
            overlay_on(
                axes,
                image,
                values,
                np.full_like(values, np.inf),
                measures="effect" if made == DEFAULT else "mean score",
                title=f"{what}: {100 * one.share:.2g} %",
                outlines=(),
                size=image.shape[:2],
                regions=(),
            )
            axes.title.set_fontsize(9)
    return figure


def write_rows(drawn: Sequence[Drawn]) -> bytes:
    """A row of a CSV file for each map."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["image", "window", "stride", "map", "share", "beside"])
    for one in drawn:
        writer.writerow([one.image, *one.lattice, one.made, one.share, one.beside])
    return text.getvalue().encode()


def show_table(drawn: Sequence[Drawn]) -> Table:
    """Means over the images: the share at the stride, and beside it in brackets, in per cent."""
    images = {one.image for one in drawn}
    table = Table(
        "window", "stride", "ratio", title=f"share at the stride, %, {len(images)} images"
    )
    for made in (*DIVISORS, DEFAULT):
        table.add_column(made, justify="right")
    for window, stride in dict.fromkeys(one.lattice for one in drawn):
        cells = []
        for made in (*DIVISORS, DEFAULT):
            some = [one for one in drawn if (one.lattice, one.made) == ((window, stride), made)]
            share, beside = (
                100 * float(np.mean([getattr(one, kind) for one in some]))
                for kind in ("share", "beside")
            )
            cells.append(f"{share:.3f} ({beside:.3f})")
        table.add_row(f"{window:g}", f"{stride:g}", f"{window / stride:.3g}", *cells)
    return table


def read_lattice(text: str) -> Lattice:
    """Window and stride of '45/8'."""
    window, stride = map(float, text.split("/"))
    return window, stride


def open_cases(options: argparse.Namespace) -> dict[str, tuple[NDArray[np.float32], Ask]]:
    """By name an image and what is asked about it."""
    if options.scenes:
        known = SyntheticModel()
        scenes = {name: as_image(draw_scene(k, (224, 336)).pixels) for k, name in enumerate(SCENES)}
        return {name: (one, output(known, [*BOXES].index(name))) for name, one in scenes.items()}
    named = {Path(path).name: as_image(path) for path in options.image}
    named = named or {name: as_image(getattr(data, name)()) for name in EXAMPLES}
    model = iassa.open_model(options.model)
    small = {name: at_short_side(image) for name, image in named.items()}
    return {
        name: (image, output(model, int(model(image[None])[0].argmax())))
        for name, image in small.items()
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the maps, print the table and write the figure.

    Returns:
        Exit status: 0 when done, 2 for what cannot be used.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("image", nargs="*", help="default: three of scikit-image")
    parser.add_argument("--scenes", action="store_true", help="drawn scenes and known black boxes")
    parser.add_argument("--model", default="efficientnet-lite0")
    parser.add_argument("--lattice", action="append", type=read_lattice, metavar="WINDOW/STRIDE")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args(arguments)
    console = Console(width=None if sys.stdout.isatty() else 140, highlight=False)
    errors = Console(stderr=True, highlight=False)
    try:
        cases = open_cases(options)
        drawn: list[Drawn] = []
        for name in track(cases, console=errors):
            drawn += draw_lines(name, *cases[name], options.lattice or LATTICES)
        images = {name: image for name, (image, _) in cases.items()}
        contents = {
            "lattice-lines.png": figure_png(draw_figure(images, drawn)),
            "lattice-lines.csv": write_rows(drawn),
        }
        write_whole(options.out, contents)
    except iassa.IassaError as error:
        errors.print(f"error: {error}")
        return 2
    console.print(show_table(drawn))
    return 0


if __name__ == "__main__":
    sys.exit(main())
