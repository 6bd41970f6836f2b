"""What features are worth to attention: on photographs, and far from them.

    python benchmarks/features.py thermal --images DIR --annotations FILE --half even \
        --features embedded=efficientnet-lite0 none=none adapted=my-features.onnx

Method `iassa` at equal calls, with each source of features, on one of three domains:

- photographs: images of MS-COCO, and for each the category of the highest score;
- thermal: the same made grey, inverted and blurred, for the same model;
- textures: drawn weaves with a flaw of the same brightness. The black box knows where the flaw is,
  so the right map is known; an ImageNet network knows no flaws.

It prints the mean of each metric, and the paired differences to the first source with 95 %
intervals. `--draw DIR` writes the images that features are to be adapted to, in the place of a
measurement.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.ndimage import gaussian_filter

import iassa
from coco_run import messages
from iassa.benchmark import Protocol
from iassa.benchmark.curves import ask_curves, summarise
from iassa.benchmark.datasets import Coco, Sample, imagenet_groups
from iassa.benchmark.report.statistics import Bootstrap
from iassa.errors import IassaError, WeakEvidenceWarning
from iassa.files import write_whole
from iassa.image import encode_png, load_image, to_planes
from iassa.methods import Iassa
from iassa.metrics import average_precision, overlap_at
from iassa.models.black_box import BlackBox
from iassa.models.targets import Target

Pixels = NDArray[np.float32]
Measured = dict[str, dict[str, float]]  # metrics by source

BLUR = 0.006  # of the thermal images, in shares of the shorter side
SIZE = (192, 256)  # of a weave
GREY = 0.5  # what hides, everywhere in this script
GAIN_FILLS = ("grey", "blur", "mean")  # ROAD takes longer than all the rest
GAIN_STEPS = 8
METRICS = {"average_precision": "AP", "f1": "F1", "gain": "mean SRG"}


@dataclass(frozen=True, eq=False)
class Case:
    """An image, and what is explained of it.

    Attributes:
        name: of the image.
        image: (H, W, 3) float32 in [0, 1].
        annotation: (H, W) bool, where the right map is high.
        black_box: images (N, H, W, 3) to scores (N, K).
        target: what is explained.
        curves: whether the mean SRG means something.
    """

    name: str
    image: Pixels
    annotation: NDArray[np.bool_]
    black_box: Callable[[Any], Any]
    target: Target
    curves: bool


def as_thermal(image: Pixels) -> Pixels:
    """A photograph as a thermal camera might have it: grey, inverted, blurred."""
    grey = 1 - image @ np.array([0.299, 0.587, 0.114], np.float32)
    soft = gaussian_filter(grey, BLUR * min(grey.shape))
    return np.repeat(soft[:, :, None], 3, 2).clip(0, 1).astype(np.float32)


def coco_samples(options: argparse.Namespace) -> list[Sample]:
    """The images of a half, as `iassa benchmark coco --half` has them."""
    rest = ("even", "odd").index(options.half)
    samples = Coco(options.images, options.annotations).samples()
    return [sample for sample in samples if sample.index % 2 == rest]


def coco_cases(options: argparse.Namespace) -> Iterator[Case]:
    """Images of a half with a category that the model recognises, the highest scores first."""
    dataset, groups = Coco(options.images, options.annotations), imagenet_groups()
    black_box = iassa.open_model("efficientnet-lite0")
    found: list[tuple[float, Case]] = []
    for sample in coco_samples(options):
        if not any(map(groups.get, sample.categories)):
            continue
        image = load_image(sample.path)
        image = as_thermal(image) if options.domain == "thermal" else image
        scores = np.asarray(black_box(image[None]), np.float64)[0]
        best: tuple[float, Case] | None = None
        for each in dataset.annotations(sample, image.shape[:2]):
            classes = groups.get(each.category, ())
            score = float(scores[list(classes)].sum())
            if classes and not each.excluded and score > (best[0] if best else options.min_score):
                target = Target(each.category, tuple(classes), (1.0,) * len(classes))
                case = Case(sample.name, image, each.annotation, black_box, target, True)
                best = (score, case)
        found += [best] if best else []
    found.sort(key=lambda one: -one[0])
    yield from (case for _, case in found[: options.limit])


def draw_weave(number: int) -> tuple[Pixels, NDArray[np.bool_]]:
    """A weave with a flaw, a patch where its threads run in another direction or pitch.

    Args:
        number: of the weave, from 0: the same number is the same weave.

    Returns:
        The image (H, W, 3) float32, and the flaw (H, W) bool, 2 to 8 % of it.
    """
    rng = np.random.default_rng((number, 7))
    rows, columns = np.mgrid[0 : SIZE[0], 0 : SIZE[1]].astype(np.float64)
    angle, pitch = rng.uniform(0, np.pi), rng.uniform(6, 10)
    turned, finer = rng.uniform(0.35, 0.8) * rng.choice([-1, 1]), rng.uniform(0.75, 1.3)

    def weave(angle: float, pitch: float) -> NDArray[np.float64]:
        bend = gaussian_filter(rng.normal(0, 1, SIZE), 24) * 60
        along = rows * np.cos(angle) + columns * np.sin(angle) + bend
        across = columns * np.cos(angle) - rows * np.sin(angle) + bend
        wave = np.sin(2 * np.pi * along / pitch) + 0.6 * np.sin(2 * np.pi * across / pitch)
        return np.asarray(wave, np.float64)

    share = rng.uniform(0.02, 0.08)
    lumps = gaussian_filter(rng.normal(0, 1, SIZE), 10)
    row, column = rng.uniform(0.2, 0.8, 2) * SIZE
    lumps = lumps / lumps.std() - 0.05 * np.hypot(rows - row, columns - column)
    flaw = lumps >= np.quantile(lumps, 1 - share)
    soft = gaussian_filter(flaw.astype(np.float64), 1)
    wave = (1 - soft) * weave(angle, pitch) + soft * weave(angle + turned, pitch * finer)
    light = gaussian_filter(rng.normal(0, 1, SIZE), 40)
    grey = GREY + 0.12 * wave + 0.05 * light / light.std() + rng.normal(0, 0.04, SIZE)
    tint = 1 + rng.uniform(-0.1, 0.1, 3)
    return (grey[:, :, None] * tint).clip(0, 1).astype(np.float32), flaw


class FlawDetector(BlackBox):
    """Knows one image and its flaw: a logistic function of how much of the flaw is seen.

    Beside it, it minds what is of no account, as networks do: 8 x 8 places have small weights of
    random sign. A pixel is seen as far as it is on the way from grey to what it is in the image.
    """

    name = "flaw"

    def __init__(self, image: Pixels, flaw: NDArray[np.bool_], seed: int) -> None:
        rng = np.random.default_rng((seed, 11))
        away = image.astype(np.float64) - GREY
        self._away = away / (away**2).sum(2, keepdims=True).clip(1e-4)
        cells = np.kron(rng.normal(0, 1, (8, 8)), np.ones((SIZE[0] // 8, SIZE[1] // 8)))
        self._weights = np.stack([flaw / flaw.sum(), cells / cells.size])
        self.input_size = SIZE

    def score(self, planes: Any) -> Any:
        """Scores (N, 1) of planes (N, 3, H, W)."""
        away = planes.permute(0, 2, 3, 1).double().numpy() - GREY
        seen = (away * self._away).sum(3).clip(0, 1)
        flaw, rest = np.einsum("nhw,khw->kn", seen, self._weights)
        return planes.new_tensor(1 / (1 + np.exp(3 - 6 * flaw - 8 * rest)))[:, None]


def weave_cases(options: argparse.Namespace) -> Iterator[Case]:
    """Weaves of the numbers of a half: the even ones from 0, the odd ones from 1."""
    for place in range(options.limit):
        number = 2 * (options.first + place) + ("even", "odd").index(options.half)
        image, flaw = draw_weave(number)
        detector = FlawDetector(image, flaw, number)
        yield Case(f"weave {number}", image, flaw, detector, Target("flaw", (0,), (1.0,)), False)


def measure(case: Case, sources: dict[str, str], calls: int, seed: int) -> Measured:
    """The metrics of the map with each source, from the same seed."""
    measured = {}
    protocol = Protocol(pixels_per_step=10**6, gain_fills=GAIN_FILLS, gain_steps=GAIN_STEPS)
    for name, source in sources.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", WeakEvidenceWarning)
            method = Iassa(features=source, baseline="grey")
            explanation = iassa.explain(
                *(case.image, case.black_box),
                target=case.target,
                method=method,
                calls=calls,
                seed=seed,
            )
        saliency = explanation.enlarge(explanation.saliency[0])
        figures = {
            "average_precision": average_precision(saliency, case.annotation),
            "f1": overlap_at(saliency, case.annotation, fraction=0.3).f1,
        }
        if case.curves:
            assert isinstance(case.black_box, BlackBox)
            shown = explanation.saliency[0]
            seen = to_planes(case.image.copy(), shown.shape).permute(1, 2, 0).numpy()
            curves = ask_curves(shown, seen, case.black_box, case.target, protocol)
            figures["gain"] = summarise(curves)["gain"]
        measured[name] = figures
    return measured


def tabulate(rows: Sequence[Measured], names: Sequence[str], title: str) -> None:
    """Print means, and the differences to the first source with their intervals."""
    first = rows[0][names[0]]
    table = Table("features", *(METRICS[metric] for metric in first), title=title)
    table.add_row(names[0], *(f"{np.mean([r[names[0]][m] for r in rows]):.3f}" for m in first))
    for name in names[1:]:
        gaps = np.array([[row[name][m] - row[names[0]][m] for m in first] for row in rows])
        estimates = Bootstrap().estimate_means(gaps, range(len(rows)))
        table.add_row(name, *(f"{e.mean:+.3f} [{e.low:+.3f}, {e.high:+.3f}]" for e in estimates))
    Console(width=None if sys.stdout.isatty() else 120, highlight=False).print(table)


def draw(options: argparse.Namespace) -> None:
    """Write the images of a half to adapt to, as PNG, and masks of weaves beside them."""
    images: dict[str, bytes] = {}
    masks: dict[str, bytes] = {}
    if options.domain == "textures":
        for place in range(options.limit):
            number = 2 * (options.first + place) + ("even", "odd").index(options.half)
            image, flaw = draw_weave(number)
            images[f"weave-{number}.png"] = encode_png((image * 255).round().astype(np.uint8))
            masks[f"weave-{number}.png"] = encode_png(flaw.astype(np.uint8) * 255)
    else:
        for sample in coco_samples(options)[: options.limit]:
            image = load_image(sample.path)
            image = as_thermal(image) if options.domain == "thermal" else image
            images[f"{sample.path.stem}.png"] = encode_png((image * 255).round().astype(np.uint8))
    write_whole(options.draw / "images", images)
    if masks:
        write_whole(options.draw / "masks", masks)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print, or draw.

    Returns:
        Exit status: 0 when done, 2 for what cannot be used or done.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("domain", choices=("photographs", "thermal", "textures"))
    parser.add_argument("--images", type=Path, help="folder of MS-COCO, or of photographs to draw")
    parser.add_argument("--annotations", type=Path, help="in COCO's format")
    parser.add_argument("--half", choices=("even", "odd"), default="even")
    parser.add_argument("--min-score", type=float, default=0.15, help="of the whole image")
    parser.add_argument("--limit", type=int, default=14, help="the most images")
    parser.add_argument("--first", type=int, default=0, help="weaves of the half to pass over")
    parser.add_argument("--calls", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--features", nargs="+", metavar="NAME=SOURCE", default=[])
    parser.add_argument("--draw", type=Path, help="folder for images to adapt to")
    parser.add_argument("--results", type=Path, help="JSON file of all figures")
    options = parser.parse_args(arguments)
    if options.draw:
        draw(options)
        return 0
    sources = dict(one.split("=", 1) for one in options.features) or {
        "embedded": "efficientnet-lite0",
        "colour-position": "colour-position",
        "none": "none",
    }
    rows = []
    try:
        cases = (weave_cases if options.domain == "textures" else coco_cases)(options)
        for case in cases:
            rows.append(measure(case, sources, options.calls, options.seed))
            shown = ", ".join(f"{k} {v['average_precision']:.3f}" for k, v in rows[-1].items())
            messages.print(f"{case.name} {case.target.name}: AP {shown}")
    except IassaError as error:
        messages.print(f"error: {error}")
        return 2
    title = f"{options.domain}, {options.half}, {len(rows)} images, {options.calls} calls"
    tabulate(rows, [*sources], title)
    if options.results:
        content = json.dumps({"title": title, "rows": rows}, indent=1).encode()
        write_whole(options.results.parent, {options.results.name: content})
    return 0


if __name__ == "__main__":
    sys.exit(main())
