"""iassa beside other libraries, in one run: cost, memory, the same seed again, calls really made.

    make bench-peers

The peers live in an environment of their own, `peers-requirements.txt`; one that is missing or
fails is a row that says why. All explain one class of EfficientNet-Lite0 for one 224 x 224 image,
hiding by grey where that can be chosen, in batches of 16, with 1000 calls or, for windows, as many
as the library's defaults for windows make. Each is asked as its users ask it: torch's planes for
iassa, captum and the formula, NumPy images for xaitk-saliency and lime. Measured, each method in a
process of its own:

- whole / bare: CPU time of a run over that of as many bare forward passes, pair by pair in the same
  process; the median of the pairs.
- own s/1000: CPU seconds for 1000 calls with a black box that costs nothing, all that is done once
  for an image included; the median.
- MB: peak memory beyond what was resident after a short run on a small image, with a black box that
  costs nothing; again with four times the masks, which must not take more.
- same seed: the largest difference between two maps of one seed, share of the map's range: batches
  of 16 and all threads against batches of 7 and one thread, of the library too where it has any.
- calls: that the black box counted, of those asked for.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import Tensor

import iassa
from iassa.files import write_whole
from iassa.image import resize

CALLS = 1000
SIZE = (224, 224)
GREY = 0.5
CELLS, KEEP = 7, 0.5  # of RISE
WINDOW, STRIDE = 50, 20


class Counted(iassa.models.BlackBox):
    """A black box that counts the images that it is asked about."""

    name = "counted"

    def __init__(self, score: Callable[[Tensor], Tensor], class_index: int) -> None:
        """Wrap planes (N, 3, H, W) -> scores (N, K); `class_index` is the output to explain."""
        self._score = score
        self.class_index = class_index
        self.calls = 0

    def score(self, planes: Tensor) -> Tensor:
        """Scores of planes; see `BlackBox.score`."""
        self.calls += len(planes)
        return self._score(planes)

    def of_images(self, images: NDArray[Any]) -> NDArray[np.float64]:
        """The same for NumPy images (N, H, W, 3), as most libraries have them."""
        planes = torch.from_numpy(np.asarray(images, np.float32)).permute(0, 3, 1, 2)
        return self.score(planes.contiguous()).double().numpy()


@dataclass(frozen=True)
class Options:
    """How a run is asked for.

    Attributes:
        masks: calls, or masks, where their number can be chosen.
        scale: of the number of masks.
        seed: where there is one.
        batch_size: where it can be chosen.
        threads: the library's own, where it has any.
    """

    masks: int = CALLS
    scale: float = 1
    seed: int = 0
    batch_size: int = 16
    threads: int = 0

    @property
    def calls(self) -> int:
        """Calls, or masks, to ask for."""
        return round(self.masks * self.scale)

    @property
    def stride(self) -> int:
        """Of windows: their number goes with its square."""
        stride: float = STRIDE / self.scale**0.5
        return min(WINDOW, round(stride))


Run = Callable[[NDArray[np.float32], Counted, Options], NDArray[Any]]


def run_iassa(name: str) -> Run:
    """A method of iassa."""

    def run(
        image: NDArray[np.float32], black_box: Counted, options: Options
    ) -> NDArray[np.float32]:
        fields = {"stride": options.stride} if name == "sliding-window" else {}
        explanation = iassa.explain(
            image,
            black_box,
            method=iassa.methods.METHODS[name](**{k: float(v) for k, v in fields.items()}),
            target=black_box.class_index,
            calls=options.calls,
            seed=options.seed,
            batch_size=options.batch_size,
        )
        return np.asarray(explanation.saliency[0])

    return run


def run_formula(
    image: NDArray[np.float32], black_box: Counted, options: Options
) -> NDArray[np.float32]:
    """RISE as its paper has it (Petsiuk et al., 2018): all masks at once, S = sum f M / (N p)."""
    number, (height, width) = options.calls, image.shape[:2]
    generator = torch.Generator().manual_seed(options.seed)
    cell = (-(-height // CELLS), -(-width // CELLS))
    grids = (torch.rand((number, 1, CELLS, CELLS), generator=generator) < KEEP).float()
    large = ((CELLS + 1) * cell[0], (CELLS + 1) * cell[1])
    shifts = [torch.randint(0, edge, (number,), generator=generator) for edge in cell]
    masks = torch.empty((number, height, width))
    for n, (grid, top, left) in enumerate(zip(grids, *shifts, strict=True)):
        upsampled = torch.nn.functional.interpolate(grid[None], large, mode="bilinear")[0, 0]
        masks[n] = upsampled[top : top + height, left : left + width]
    planes = torch.from_numpy(image).permute(2, 0, 1)
    scores = []
    for start in range(0, number, options.batch_size):
        kept = masks[start : start + options.batch_size, None]
        scores.append(black_box.score(planes * kept + GREY * (1 - kept))[:, black_box.class_index])
    saliency = torch.cat(scores).float() @ masks.flatten(1) / (number * KEEP)
    return saliency.view(height, width).numpy()


def _xaitk_classifier(black_box: Counted, batch_size: int) -> Any:
    from smqtk_classifier.interfaces.classify_image import ClassifyImage

    class Classifier(ClassifyImage):  # type: ignore[misc]
        """The black box as xaitk-saliency wants it: dictionaries of the class in question."""

        def get_labels(self) -> Sequence[int]:
            return [black_box.class_index]

        def classify_images(
            self, img_iter: Iterable[NDArray[np.float32]]
        ) -> Iterator[dict[int, float]]:
            batch: list[NDArray[np.float32]] = []
            for image in img_iter:
                batch.append(image)
                if len(batch) == batch_size:
                    yield from self._ask(batch)
                    batch = []
            if batch:
                yield from self._ask(batch)

        def _ask(self, batch: list[NDArray[np.float32]]) -> Iterator[dict[int, float]]:
            for scores in black_box.of_images(np.stack(batch)):
                yield {black_box.class_index: float(scores[black_box.class_index])}

        def get_config(self) -> dict[str, Any]:
            return {}

    return Classifier()


def run_xaitk_rise(
    image: NDArray[np.float32], black_box: Counted, options: Options
) -> NDArray[Any]:
    """RISEStack of xaitk-saliency, debiased as is its default."""
    from xaitk_saliency.impls.gen_image_classifier_blackbox_sal.rise import RISEStack

    stack = RISEStack(n=options.calls, s=CELLS, p1=KEEP, seed=options.seed, threads=options.threads)
    stack.fill = GREY
    return np.asarray(stack.generate(image, _xaitk_classifier(black_box, options.batch_size))[0])


def run_xaitk_windows(
    image: NDArray[np.float32], black_box: Counted, options: Options
) -> NDArray[Any]:
    """SlidingWindowStack of xaitk-saliency with its defaults."""
    from xaitk_saliency.impls.gen_image_classifier_blackbox_sal.slidingwindow import (
        SlidingWindowStack,
    )

    stride = (options.stride, options.stride)
    stack = SlidingWindowStack((WINDOW, WINDOW), stride, threads=options.threads)
    stack.fill = GREY
    return np.asarray(stack.generate(image, _xaitk_classifier(black_box, options.batch_size))[0])


def run_captum(image: NDArray[np.float32], black_box: Counted, options: Options) -> NDArray[Any]:
    """Occlusion of captum, with the windows of the others: it has no defaults."""
    from captum.attr import Occlusion

    planes = torch.from_numpy(image).permute(2, 0, 1)[None].contiguous()
    attribution = Occlusion(black_box.score).attribute(
        planes,
        sliding_window_shapes=(3, WINDOW, WINDOW),
        strides=(3, options.stride, options.stride),
        baselines=GREY,
        target=black_box.class_index,
        perturbations_per_eval=options.batch_size,
    )
    return np.asarray(attribution[0].mean(0))


def run_lime(image: NDArray[np.float32], black_box: Counted, options: Options) -> NDArray[Any]:
    """LimeImageExplainer of lime, quickshift as is its default."""
    from lime.lime_image import LimeImageExplainer

    explanation = LimeImageExplainer(random_state=options.seed).explain_instance(
        image.astype(np.float64),
        black_box.of_images,
        labels=(black_box.class_index,),
        top_labels=None,
        hide_color=GREY,
        num_samples=options.calls,
        batch_size=options.batch_size,
    )
    weights = dict(explanation.local_exp[black_box.class_index])
    return np.asarray(np.vectorize(weights.__getitem__, otypes=[float])(explanation.segments))


@dataclass(frozen=True)
class Contestant:
    """A method of a library.

    Attributes:
        run: image, black box, options -> map (H, W).
        chosen: whether the number of calls is asked for; it follows from the windows otherwise.
        error_bars: whether the result tells how sure the map is, pixel by pixel.
        goals: figure -> the most it may be.
    """

    run: Run
    chosen: bool = True
    error_bars: bool = False
    goals: tuple[tuple[str, float], ...] = ()


SAME = ("same_seed", 1e-4)  # the model itself rounds another way in other batches
CONTESTANTS = {
    "iassa": Contestant(
        run_iassa("iassa"),
        error_bars=True,
        goals=(("whole_bare", 1.10), ("mb", 100), ("mb_4", 100), SAME),
    ),
    "iassa rise": Contestant(
        run_iassa("rise"),
        error_bars=True,
        goals=(("whole_bare", 1.05), ("own", 0.30), ("mb", 100), ("mb_4", 100), SAME),
    ),
    "iassa sliding-window": Contestant(
        run_iassa("sliding-window"),
        chosen=False,
        error_bars=True,
        goals=(("whole_bare", 1.05), ("mb", 100), ("mb_4", 100), SAME),
    ),
    "iassa lime": Contestant(
        run_iassa("lime"),
        error_bars=True,
        goals=(("mb", 100), ("mb_4", 100), SAME),
    ),
    "the RISE formula": Contestant(run_formula),
    "xaitk RISE": Contestant(run_xaitk_rise),
    "xaitk Occlusion": Contestant(run_xaitk_windows, chosen=False),
    "captum Occlusion": Contestant(run_captum, chosen=False),
    "lime": Contestant(run_lime),
}


def free(planes: Tensor) -> Tensor:
    """A black box that costs nothing and is not flat."""
    return planes[:, 0, ::37, ::37].flatten(1).mean(1, keepdim=True)


def _image(edge: int = SIZE[0]) -> NDArray[np.float32]:
    """The cat, as a square that needs no resizing in any library."""
    planes = torch.from_numpy(iassa.example_image("cat")).permute(2, 0, 1)
    return resize(planes, (edge, edge)).clamp(0, 1).permute(1, 2, 0).contiguous().numpy()


def _open(image: NDArray[np.float32]) -> Counted:
    """EfficientNet-Lite0, about its first class for the image."""
    network = iassa.open_model("efficientnet-lite0", "cpu")
    return Counted(network.score, int(np.asarray(network(image[None]))[0].argmax()))


def cpu_seconds(work: Callable[[], object]) -> float:
    """CPU time of all threads of this process for a piece of work."""
    start = time.process_time()
    work()
    return time.process_time() - start


def measure_cost(contestant: Contestant, masks: int, repeats: int) -> dict[str, Any]:
    """Ratio to bare passes, own seconds and calls, in this process."""
    image, options = _image(), Options(masks)
    nothing = Counted(free, 0)
    contestant.run(image, nothing, options)  # what is imported or made once, is by now
    calls = nothing.calls
    own = [
        cpu_seconds(lambda: contestant.run(image, nothing, options)) * 1000 / calls
        for _ in range(repeats)
    ]
    black_box = _open(image)
    batch = torch.rand((16, 3, *SIZE), generator=torch.Generator().manual_seed(0))

    def bare() -> None:
        for start in range(0, calls, len(batch)):
            black_box.score(batch[: min(len(batch), calls - start)])

    bare()
    ratios = []
    before = cpu_seconds(bare)
    for _ in range(repeats):
        whole = cpu_seconds(lambda: contestant.run(image, black_box, options))
        after = cpu_seconds(bare)
        ratios.append(whole / ((before + after) / 2))
        before = after
    figures = {"whole_bare": statistics.median(ratios), "own": statistics.median(own)}
    return {"calls": calls, **figures, "ratios": ratios, "owns": own}


def measure_seed(contestant: Contestant, masks: int) -> dict[str, float]:
    """Largest difference of two maps of the same seed, as a share of the range."""
    image = _image()
    black_box = _open(image)
    first = contestant.run(image, black_box, Options(masks, threads=2))
    torch.set_num_threads(1)
    second = contestant.run(image, black_box, Options(masks, batch_size=7))
    return {"same_seed": float(np.abs(first - second).max() / np.ptp(first))}


def measure_memory(contestant: Contestant, masks: int, scale: float) -> dict[str, float]:
    """Growth of the resident memory in MB, in this process."""
    nothing = Counted(free, 0)
    contestant.run(_image(96), nothing, Options(masks, scale=0.1))
    before = psutil.Process().memory_info().rss / 2**20
    image = _image()
    contestant.run(image, nothing, Options(masks, scale=scale))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"mb" if scale == 1 else f"mb_{scale:g}": peak - before}


def measure(name: str, masks: int, repeats: int) -> dict[str, Any]:
    """All figures of a contestant, each in a process of its own; `failed` says why one is none."""
    figures: dict[str, Any] = {}
    for what in ("cost", "seed", "memory 1", "memory 4"):
        numbers = ["--calls", str(masks), "--repeats", str(repeats)]
        command = [sys.executable, __file__, *numbers, "--case", name, what]
        environment = {**os.environ, "TQDM_DISABLE": "1"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        if done.returncode:
            said = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
            return {**figures, "failed": said[-1]}
        figures |= json.loads(done.stdout.splitlines()[-1])
    return figures


def run_case(name: str, what: str, masks: int, repeats: int) -> dict[str, Any]:
    """One measurement, in this process."""
    contestant = CONTESTANTS[name]
    kind, _, scale = what.partition(" ")
    if kind == "cost":
        return measure_cost(contestant, masks, repeats)
    if kind == "seed":
        return measure_seed(contestant, masks)
    return measure_memory(contestant, masks, float(scale))


COLUMNS = (  # figure, heading, format
    ("whole_bare", "whole / bare", ".2f"),
    ("own", "own s/1000", ".2f"),
    ("mb", "MB", ".0f"),
    ("mb_4", "MB, 4 x masks", ".0f"),
    ("same_seed", "same seed", ".1g"),
)


def main() -> None:
    """Measure every contestant, print a table, write the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3, help="pairs of runs (default 3)")
    parser.add_argument("--calls", type=int, default=CALLS, help=f"default {CALLS}")
    parser.add_argument("--method", action="append", choices=tuple(CONTESTANTS), help="repeatable")
    parser.add_argument("--case", nargs=2, metavar=("METHOD", "WHAT"), help=argparse.SUPPRESS)
    parser.add_argument(
        "--results", type=Path, default=Path(__file__).parent / "results" / "peers.json"
    )
    options = parser.parse_args()
    if options.case:
        name, what = options.case
        print(json.dumps(run_case(name, what, options.calls, options.repeats)))
        return
    console = Console(width=None if sys.stdout.isatty() else 140, highlight=False, markup=False)
    table = Table("method", "calls made / asked", title="one class, 224 x 224, EfficientNet-Lite0")
    for _, heading, _ in COLUMNS:
        table.add_column(heading, justify="right")
    table.add_column("error bars")
    table.caption = "in brackets: the most it may be"
    rows = []
    for name in options.method or CONTESTANTS:
        contestant = CONTESTANTS[name]
        figures = measure(name, options.calls, options.repeats)
        goals = dict(contestant.goals)
        asked = str(options.calls) if contestant.chosen else "windows"
        cells = [name, f"{figures.get('calls', '-')} / {asked}"]
        for figure, _, form in COLUMNS:
            value = format(figures[figure], form) if figure in figures else "-"
            cells.append(f"{value} ({goals[figure]:g})" if figure in goals else value)
        cells.append("yes" if contestant.error_bars else "no")
        if "failed" in figures:
            cells[-1] = figures["failed"]
            print(f"{name}: {figures['failed']}", file=sys.stderr)
        table.add_row(*cells)
        rows.append(
            {
                "method": name,
                "asked": options.calls if contestant.chosen else None,
                "error_bars": contestant.error_bars,
                "goals": goals,
                **figures,
            }
        )
    console.print(table)
    write_whole(options.results.parent, {options.results.name: json.dumps(rows, indent=1).encode()})


if __name__ == "__main__":
    main()
