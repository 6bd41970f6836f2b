"""Table 1 and Figures 1 and 4 to 8 of the paper, of your own images in MS-COCO's format.

    python benchmarks/paper_figures.py --images DIR --annotations FILE --out DIR

It runs `iassa benchmark coco` and `iassa report`, with the paper's number of iterations, and says
what it runs. OUT then has

- `report/report.md`, Table 1 at image and pixel level, with intervals, beside the paper's;
- `figure-1.jpg` and `figure-4.jpg`, the maps of LIME, RISE, `iassa` and `iassa-paper` side by side;
- `figure-5.jpg`, the maps of `iassa-paper` along its iterations, and the region of each;
- `figure-6.png` and `figure-7.png`, the metrics along the iterations at image and pixel level;
- `figure-8.png` and `figure-8.csv`, the lines of a lattice, see `lattice_lines.py`.

The same command goes on where it was stopped. Options that are not named below go to `iassa
benchmark coco`, such as `--classes` or `--workers`. 25 iterations are about 12 000 calls an image.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import iassa
from coco_run import messages
from iassa.benchmark import Entry, Store
from iassa.cli import main as call_iassa
from iassa.explanations.drawing import figure_png
from iassa.files import inside, write_whole
from iassa.image import as_image
from lattice_lines import Ask, at_short_side, draw_figure, draw_lines, show_table, write_rows

FIGURES = {
    "maps-by-method.jpg": "figure-4.jpg",
    "maps-by-iteration-1.jpg": "figure-5.jpg",
    "metrics-by-iteration.png": "figure-6.png",
    "metrics-by-iteration-pixel.png": "figure-7.png",
}
LATTICES = ((45, 8), (48, 8))  # the paper's, and one whose windows are a multiple of the stride


def read_options(arguments: Sequence[str] | None) -> tuple[argparse.Namespace, list[str]]:
    """The options of this script, and those that are left to `iassa benchmark coco`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, required=True, help="folder of images")
    parser.add_argument("--annotations", type=Path, required=True, help="in COCO's format")
    parser.add_argument("--out", type=Path, required=True, help="folder to write into")
    parser.add_argument("--model", default="efficientnet-lite0")
    parser.add_argument("--limit", type=int, default=4, help="pairs of image and category")
    parser.add_argument("--min-score", type=float, default=0.15, help="of the whole image")
    parser.add_argument("--calls", type=int, default=1000, help="of LIME, RISE and iassa")
    parser.add_argument("--rounds", type=int, default=25, help="iterations of iassa-paper")
    parser.add_argument("--paper-calls", type=int, default=20_000, help="the most of these")
    parser.add_argument("--scenes", type=int, default=2, help="images of Figure 8, 0 for none")
    options, rest = parser.parse_known_args(arguments)
    if options.scenes < 0:  # found out before hours of calls
        parser.error(f"expected --scenes of 0 or more, got {options.scenes}. Change it.")
    return options, rest


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, report, and draw.

    Returns:
        Exit status: 0 when done, else that of the command that failed.
    """
    options, rest = read_options(arguments)
    run, report = options.out / "run", options.out / "report"
    data = ["--images", str(options.images), "--annotations", str(options.annotations)]
    paper = f"iassa-paper=iassa-paper@{options.paper_calls}/round:max_rounds={options.rounds}"
    asked = ["--run", str(run), "--model", options.model, "--limit", str(options.limit)]
    asked += ["--min-score", str(options.min_score), "--calls", str(options.calls)]
    # Two curves of 28 steps for each of the iterations, and no more.
    measured = ["--protocol", "pixels_per_step=1792", "--protocol", "gain_fills="]
    methods = ["--methods", "lime,rise,iassa", "--method", paper]
    shown = ["report", str(run), *data, "--photographs", "--out"]
    status = call("benchmark", "coco", *data, *asked, *measured, *methods, *rest)
    status = status or call(*shown, str(report), "--pictures", str(options.limit))
    if status:
        return status
    for name, figure in FIGURES.items():
        shutil.copy(report / name, options.out / figure)
    with Store.read(run) as store:
        entries = sorted(
            (entry for entry in store.entries() if not entry.excluded),
            key=lambda entry: (-entry.score, entry.image_index),
        )[: options.limit]
    with tempfile.TemporaryDirectory() as folder:
        status = call(*shown, folder, "--pictures", entries[0].key)
        if status:
            return status
        shutil.copy(Path(folder) / "maps-by-method.jpg", options.out / "figure-1.jpg")
    if options.scenes:
        draw_figure_8(entries[: options.scenes], options)
    return 0


def call(*words: str) -> int:
    """What `iassa` does with these words, and its exit status."""
    messages.print(shlex.join(["iassa", *words]))
    try:
        call_iassa(list(words))
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def draw_figure_8(entries: Sequence[Entry], options: argparse.Namespace) -> None:
    """The lines of two lattices in maps of the images that the model is surest of."""
    model = iassa.open_model(options.model)
    images = {
        entry.key: at_short_side(as_image(inside(options.images, entry.image))) for entry in entries
    }
    drawn = [
        one
        for entry in entries
        for one in draw_lines(entry.key, images[entry.key], target_of(model, entry), LATTICES)
    ]
    figure, rows = figure_png(draw_figure(images, drawn)), write_rows(drawn)
    write_whole(options.out, {"figure-8.png": figure, "figure-8.csv": rows})
    messages.print(show_table(drawn))


def target_of(model: iassa.models.BlackBox, entry: Entry) -> Ask:
    """The score (N, 1) of the target of an entry, a sum of outputs."""
    places, weights = list(entry.target.indices), np.array(entry.target.weights)

    def ask(images: NDArray[np.float32]) -> NDArray[np.float64]:
        scores: NDArray[np.float64] = model(images)[:, places] @ weights
        return scores[:, None]

    return ask


if __name__ == "__main__":
    sys.exit(main())
