"""Coverage of the standard error: how often 95 % intervals hold the map that they are about.

    python benchmarks/calibration.py

Black boxes are functions of the mask alone, on a small image, so that thousands of maps cost
minutes. For each method, black box and number of calls, maps of many seeds are set against the
truth of each, and z = (map - truth) / error is taken at every pixel; an interval covers if |z| is
at most 1.96. The truth is what the standard error claims to be about: the same method, in the same
regions and about the same levels round by round, with many times the masks, drawn from other seeds.
It has an error of its own, which is counted in the interval. Where no round is drawn by a map one
long run is the truth of all seeds.

Windows are drawn without replacement from a lattice, so their truth is no long run but all windows
of the same lattices, round by round in the same regions, each round weighing what it weighs in the
map; it is summed here by itself, and has no error. Where all windows are scored nothing is left to
sample: the error is 0 and the map the truth, which counts as covered. The table says how many
pixels that is, and the coverage of the others, which the goal is about. Pixels of an infinite
error, where too few windows came by, are left out; their share is in the table too. The lattice of
`sliding-window` has 208 windows on this image, and is exact at 256 calls. With

    python benchmarks/calibration.py --method sliding-window --calls 64 104 156

about a third, a half and three quarters of it are scored.

Everything is the package's own but the loop, which shares superpixels and attention among seeds and
asks no black box about images. Before anything is measured, its maps are compared with those of
`Method.explain`. Beside two black boxes of its own, which docs/engine.md quotes, it knows those of
`iassa benchmark synthetic` (docs/synthetic.md), as functions of the mask, on a drawn scene:

    python benchmarks/calibration.py --box scene-and scene-saturated --calls 256

A run that stops at a tolerance stops when its error happens to be small. What the intervals hold
then is measured by

    python benchmarks/calibration.py --tolerance 0.1 --method iassa rise --calls 4096

where the calls are the most that a run may make.

200 seeds of the first two take about 10 minutes on two cores at 256 and 1024 calls together, and
half an hour more at 4096.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import json
import math
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

import iassa
from iassa.benchmark.synthetic import BOXES, KnownBox, draw_scene, read_regions
from iassa.estimators.attention import Attention
from iassa.estimators.effect import Effect
from iassa.estimators.jackknife import deviate
from iassa.explanations.evidence import Feedback
from iassa.files import write_whole
from iassa.image import resize
from iassa.masks.plans import MaskPlan, WindowPlan
from iassa.masks.rendering import Canvas, DenseMasks, Masks
from iassa.masks.superpixels import Segmentations
from iassa.methods.engine.loop import Setting
from iassa.methods.engine.scoring import LOOK_EVERY, afford, split

SIZE = (56, 72)
BATCH = 256  # masks rendered at a time
CALLS = (256, 1024, 4096)
NOMINAL = 1.96
GOAL = (0.92, 0.98)
# The truth has so many times the masks, by the number of calls: what it costs is most of the time.
TRUTH = {256: 16, 1024: 8, 4096: 2}
SHARED_TRUTH = 2**16  # masks, where one truth serves all seeds: its error does not average out
TRUTH_SEED = 10**6  # seeds of truths are above, those of maps below
SEEDS_A_TASK = 20
ROUNDING = 3e-7  # of maps of scores in [0, 1], in float32


@dataclass(frozen=True)
class Contestant:
    """A method, and what its truth is drawn with.

    Attributes:
        method: for a number of calls.
        truth: the method for a number of calls and a multiple of masks; None for the method itself.
    """

    method: Callable[[int], iassa.methods.Method]
    truth: Callable[[int, int], iassa.methods.Method] | None = None


CONTESTANTS = {
    "iassa": Contestant(lambda _: iassa.methods.Iassa()),
    "iassa, kernel_share=0": Contestant(lambda _: iassa.methods.Iassa(kernel_share=0.0)),
    "iassa, beta=1": Contestant(lambda _: iassa.methods.Iassa(beta=1.0)),
    "iassa, both": Contestant(lambda _: iassa.methods.Iassa(kernel_share=0.0, beta=1.0)),
    "iassa, one round": Contestant(lambda n: iassa.methods.Iassa(round_calls=n, max_rounds=1)),
    "rise": Contestant(lambda _: iassa.methods.Rise()),
    "rise, debiased": Contestant(lambda _: iassa.methods.Rise(debiased=True)),
    # The ridge weighs as much as so many masks: with more of them it must grow with them.
    "lime": Contestant(
        lambda _: iassa.methods.Lime(segmentation="slic"),
        lambda _, scale: iassa.methods.Lime(segmentation="slic", ridge=float(scale)),
    ),
    "iassa-paper": Contestant(lambda _: iassa.methods.IassaPaper()),
    "sliding-window": Contestant(lambda _: iassa.methods.Occlusion()),
    "sliding-window, stride=8": Contestant(lambda _: iassa.methods.Occlusion(stride=8.0)),
}


def _blob(row: float, column: float, spread: float) -> NDArray[np.float64]:
    rows, columns = np.mgrid[0 : SIZE[0], 0 : SIZE[1]]
    bump = np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / spread)
    return np.asarray(bump / bump.sum())


# Two things that speak for the class and one that speaks against it.
BLOBS = torch.tensor(np.stack([_blob(20, 28, 120), _blob(40, 55, 60), _blob(12, 60, 60)]))


def linear(masks: Tensor) -> Tensor:
    """A weighted sum of what is seen: the case in which every effect is a constant."""
    return torch.tensor([0.7, 0.3, -0.2]).double() @ _seen(masks)


def saturating(masks: Tensor) -> Tensor:
    """A sigmoid of the same with a product: steep where half is seen, flat elsewhere."""
    first, second, against = _seen(masks)
    return torch.sigmoid(6 * first + 2.4 * second + 3.6 * first * second - 2.4 * against - 5)


def _seen(masks: Tensor) -> Tensor:
    """How much of each blob, (3, N) float64."""
    # In float64, so that a mask has one score, whatever batch it comes in.
    seen: Tensor = BLOBS.flatten(1) @ masks.flatten(1).double().T
    return seen


@cache
def _regions() -> Tensor:
    """(H W, R) float64: of a mask, the share that it keeps of each region of a scene."""
    regions = read_regions(draw_scene(0, SIZE).pixels.astype(np.float32) / np.float32(255))
    weights = regions / regions.sum((1, 2), keepdims=True)
    return torch.from_numpy(weights).flatten(1).T.contiguous()


def _of_scene(box: KnownBox) -> Callable[[Tensor], Tensor]:
    """A black box of synthetic scenes, asked about masks."""
    return lambda masks: box.score(masks.flatten(1).double() @ _regions())


OWN: dict[str, Callable[[Tensor], Tensor]] = {"linear": linear, "saturating": saturating}
BLACK_BOXES = OWN | {f"scene-{name}": _of_scene(box) for name, box in BOXES.items()}


class Held(Attention):
    """An attention as the matrix that it is, made once for all seeds."""

    @classmethod
    def of(cls, attention: Attention) -> Held:
        """The same attention, held."""
        return cls(*(getattr(attention, field.name) for field in dataclasses.fields(Attention)))

    @cached_property
    def _matrices(self) -> dict[tuple[int, int], Tensor]:
        """By the size of the maps."""
        return {}

    def attend(self, maps: Tensor) -> Tensor:
        """A S as one product, interpolation to the positions and back included."""
        height, width = size = (maps.shape[-2], maps.shape[-1])
        if size not in self._matrices:
            single = torch.eye(height * width).view(-1, height, width)
            parts = [single[start : start + 256] for start in range(0, len(single), 256)]
            rows = [super(Held, self).attend(part).flatten(1) for part in parts]
            self._matrices[size] = torch.cat(rows)
        return (maps.float().flatten(1) @ self._matrices[size]).view(maps.shape)


@cache
def _image() -> Tensor:
    planes = torch.from_numpy(iassa.example_image("cat")).permute(2, 0, 1).contiguous()
    return resize(planes, SIZE).clamp(0.05, 1)  # nowhere black: `Painted` divides by it


@cache
def _prepare(name: str, calls: int) -> tuple[Segmentations | None, Attention | None]:
    """What a method makes of the image, once in a process."""
    method = CONTESTANTS[name].method(calls)
    attention = method.attention(_image())
    return method.segmentations(_image()), None if attention is None else Held.of(attention)


@dataclass(frozen=True, eq=False)
class Drawn:
    """The rounds of a run: what each was drawn by, and how many masks of each family."""

    feedback: tuple[Feedback, ...]
    counts: tuple[Mapping[str, int], ...]


def explain(
    name: str, box: str, calls: int, seed: int, tolerance: float = 0.0
) -> tuple[Effect, Drawn]:
    """The map of a seed: `iassa.methods.engine.loop.Method.run` in short."""
    method = CONTESTANTS[name].method(calls)
    segmentations, attention = _prepare(name, calls)
    score = BLACK_BOXES[box]
    reference = score(torch.ones(1, *SIZE))
    setting = Setting(SIZE, SIZE, seed, reference, segmentations, attention)
    estimator = method.estimator(setting)
    canvas = Canvas(SIZE, BATCH, segmentations)
    drawn_by: list[Feedback] = []
    counts: list[Mapping[str, int]] = []
    feedback = Feedback()
    left = calls - 1  # one is spent on the whole image
    while left > 0:
        plans = method.plan(len(drawn_by), feedback, setting)
        if not any(plans.values()):
            break
        parts = split(plans, LOOK_EVERY if tolerance else None)
        plans = afford(plans, {}, left)
        drawn_by.append(feedback)
        for part in parts:
            for family, plan in plans.items():
                _add(estimator, canvas, plan[slice(*part[family])], family, score)
            looked_at = copy.deepcopy(estimator)
            looked_at.close_round()
            effect = method.adjust(looked_at.estimate(), attention)
            ends = {family: min(part[family][1], len(plan)) for family, plan in plans.items()}
            if enough := max(effect.relative_errors) <= tolerance:
                break
        estimator = looked_at
        counts.append(ends)
        left -= sum(ends.values())
        if enough:
            break
        ranks = method.rank(effect.saliency, SIZE)
        feedback = Feedback(method.region(effect.saliency), ranks=ranks)
    return effect, Drawn(tuple(drawn_by), tuple(counts))


def know(name: str, box: str, calls: int, seed: int, drawn: Drawn, scale: int) -> Effect:
    """The truth: `scale` times the masks, drawn by the same maps from seeds of their own."""
    contestant = CONTESTANTS[name]
    method = contestant.truth(calls, scale) if contestant.truth else contestant.method(calls)
    if isinstance(method, iassa.methods.IassaPaper | iassa.methods.Occlusion):
        return know_lattices(method, name, box, calls, drawn)
    segmentations, attention = _prepare(name, calls)
    score = BLACK_BOXES[box]
    reference = score(torch.ones(1, *SIZE))
    setting = Setting(SIZE, SIZE, TRUTH_SEED, reference, segmentations, attention)
    estimator = method.estimator(setting)
    canvas = Canvas(SIZE, BATCH, segmentations)
    for k, (feedback, number) in enumerate(zip(drawn.feedback, drawn.counts, strict=True)):
        left = {family: count * scale for family, count in number.items()}
        for repeat in range(10**6):
            if not any(left.values()):
                break
            fresh = TRUTH_SEED + 1000 * seed + repeat
            plans = method.plan(k, feedback, dataclasses.replace(setting, seed=fresh))
            for family, count in left.items():
                chosen = plans[family][:count]
                _add(estimator, canvas, chosen, family, score)
                left[family] -= len(chosen)
        estimator.close_round()
    return method.adjust(estimator.estimate(), attention)


def know_lattices(
    method: iassa.methods.IassaPaper | iassa.methods.Occlusion,
    name: str,
    box: str,
    calls: int,
    drawn: Drawn,
) -> Effect:
    """The truth of windows: all of those that each round was drawn from, its weight as it was."""
    _, attention = _prepare(name, calls)
    paper = isinstance(method, iassa.methods.IassaPaper)
    rounds = list(zip(drawn.feedback, drawn.counts, strict=True))
    if isinstance(method, iassa.methods.Occlusion):  # all of its rounds are of one lattice
        method = dataclasses.replace(method, round_calls=100_000)
        rounds = rounds[:1]
    whole = float(BLACK_BOXES[box](torch.ones(1, *SIZE)))
    setting = Setting(SIZE, SIZE, TRUTH_SEED, torch.tensor([whole]))
    total, weight = torch.zeros(2, *SIZE, dtype=torch.float64)
    for k, (feedback, number) in enumerate(rounds):
        plan = method.plan(k, feedback, setting)["window"]
        assert isinstance(plan, WindowPlan)
        share = number["window"] / len(plan) if paper else 1.0
        for top, left, bottom, right in plan.windows.tolist():
            hidden = torch.zeros(SIZE, dtype=torch.float64)
            hidden[top:bottom, left:right] = 1
            score = float(BLACK_BOXES[box]((1 - hidden)[None].float()))
            # Eq. 5 is about the windows that keep a pixel, occlusion about those that hide it.
            counts = 1 - hidden if paper else hidden
            total += share * counts * (score if paper else whole - score)
            weight += share * counts
    everywhere = torch.ones(SIZE, dtype=torch.bool)
    deviations, known = deviate(torch.zeros(1, *SIZE, dtype=torch.float64))
    truth = Effect((total / weight)[None].float(), everywhere, deviations, known, signed=not paper)
    return method.adjust(truth, attention)


def _add(
    estimator: Any, canvas: Canvas, plan: MaskPlan, family: str, score: Callable[[Tensor], Tensor]
) -> None:
    for start in range(0, len(plan), BATCH):
        part = plan[start : start + BATCH]
        masks: Masks = canvas.render(part)
        seen = masks.values if isinstance(masks, DenseMasks) else _dense(masks)
        estimator.add(masks, score(seen)[:, None], part, family)


def _dense(masks: Any) -> Tensor:
    values: Tensor = 1 - masks.rows[:, :, None] * masks.columns[:, None, :]
    return values


# Truths that serve many seeds, in one process.
_truths: dict[tuple[object, ...], Effect] = {}


def _truth_of(name: str, box: str, calls: int, seed: int, drawn: Drawn) -> Effect:
    """The truth that a seed's map is about; made once where others have the same."""
    windows = isinstance(
        CONTESTANTS[name].method(calls), iassa.methods.IassaPaper | iassa.methods.Occlusion
    )
    adapted = (one.region is not None or one.ranks is not None for one in drawn.feedback)
    if not windows and any(adapted):
        return know(name, box, calls, seed, drawn, TRUTH.get(calls, 8))
    regions = (b"" if one.region is None else one.region.tobytes() for one in drawn.feedback)
    key = (name, box, calls, *regions, *map(str, drawn.counts))
    if key not in _truths:
        scale = max(8, SHARED_TRUTH // calls)
        _truths[key] = know(name, box, calls, 10**4, drawn, scale)
    return _truths[key]


@dataclass(frozen=True, eq=False)
class Measured:
    """Of n seeds.

    Attributes:
        z: (n, H, W), NaN where the error is infinite, infinite where an error of 0 is wrong.
        exact: (n, H, W) bool, where the error is 0.
        regions: (n, H, W) bool, the last ones.
        shares: (n,) the standard error as a share of the map's range, where the map is high.
        made: (n,) calls that were made.
    """

    z: Tensor
    exact: Tensor
    regions: Tensor
    shares: Tensor
    made: Tensor

    @classmethod
    def join(cls, parts: Sequence[Measured]) -> Measured:
        """Of all seeds of the parts."""
        names = [field.name for field in dataclasses.fields(cls)]
        return cls(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


def measure(task: tuple[str, str, int, Sequence[int], float]) -> Measured:
    """The maps of some seeds against their truths."""
    torch.set_num_threads(1)
    name, box, calls, seeds, tolerance = task
    scores, exact, regions, shares, made = [], [], [], [], []
    for seed in seeds:
        effect, drawn = explain(name, box, calls, seed, tolerance)
        truth = _truth_of(name, box, calls, seed, drawn)
        error = (effect.standard_error.square() + truth.standard_error.square()).sqrt()[0]
        difference = (effect.saliency - truth.saliency)[0]
        # A map that no seed changes has no error, and is right but for the rounding of float32.
        z = torch.where(difference.abs() <= ROUNDING, 0.0, difference / error)
        scores.append(torch.where(error.isfinite(), z, torch.nan))
        exact.append(effect.standard_error[0] == 0)
        last = drawn.feedback[-1].region
        everywhere = torch.ones(SIZE, dtype=torch.bool)
        regions.append(everywhere if last is None else torch.from_numpy(last))
        shares.append(_relative_error(effect))
        made.append(1.0 + sum(sum(counts.values()) for counts in drawn.counts))
    return Measured(
        *(torch.stack(each) for each in (scores, exact, regions)),
        *(torch.tensor(each) for each in (shares, made)),
    )


def _relative_error(effect: Effect) -> float:
    """Root mean square of the error over the high part of the map, as a share of its peak.

    The peak is counted from the map's lowest value, so that maps of scores compare with effects.
    """
    saliency, error = effect.saliency[0], effect.standard_error[0]
    high = saliency.max() - saliency.min()
    there = error[saliency >= saliency.min() + 0.3 * high]
    return float(there.square().mean().sqrt() / high)


def summarise(measured: Measured) -> dict[str, float]:
    """The figures of one row; NaN where there is nothing that they are about."""
    z, regions, shares = measured.z, measured.regions, measured.shares
    known = ~z.isnan()
    right = measured.exact & (z == 0)
    numbers = z[z.isfinite()]
    covered = (z.abs() <= NOMINAL) & known
    each = covered.sum(0) / known.sum(0)  # of the pixels, over seeds
    each = each[known.any(0)]

    def share(where: Tensor) -> float:
        count = int((known & where).sum())
        return float((covered & where).sum()) / count if count else math.nan

    low, high = GOAL
    return {
        "coverage": share(torch.ones_like(known)),
        "sampled_coverage": share(~right),
        "exact": float((right & known).sum() / known.sum()),
        "inside": share(regions) if not regions.all() else math.nan,
        "outside": share(~regions) if not regions.all() else math.nan,
        "pixels_within": float(((each >= low) & (each <= high)).float().mean()),
        "pixel_low": float(each.quantile(0.05)),
        "pixel_high": float(each.quantile(0.95)),
        "z_mean": float(numbers.mean()),
        "z_std": float(numbers.std()),
        "known": float(known.float().mean()),
        "relative_error": float(shares[shares.isfinite()].mean()),
        "mean_calls": float(measured.made.mean()),
    }


def exact_share(seeds: int) -> float:
    """Share of pixels within the goal if each covered with 95 %: seeds are few."""
    low, high = GOAL
    inside = [n for n in range(seeds + 1) if low <= n / seeds <= high]
    return sum(math.comb(seeds, n) * 0.95**n * 0.05 ** (seeds - n) for n in inside)


class Painted(iassa.models.BlackBox):
    """The black box as one of images, black where they are hidden: to check the loop here."""

    name = "painted"
    input_size = SIZE

    def __init__(self, box: str) -> None:
        """Named as in `BLACK_BOXES`."""
        self._score = BLACK_BOXES[box]

    def score(self, planes: Tensor) -> Tensor:
        """Reads the mask off the first plane."""
        return self._score(planes[:, 0] / _image()[0])[:, None]


def check_loop(name: str, box: str) -> None:
    """Fail if the loop here does not give the map of `Method.explain`."""
    calls = 600
    method = dataclasses.replace(CONTESTANTS[name].method(calls), baseline="zero")
    image = _image().permute(1, 2, 0).numpy()
    expected = iassa.explain(image, Painted(box), method=method, calls=calls, seed=3)
    effect, _ = explain(name, box, calls, 3)
    for ours, theirs in (
        (effect.saliency, expected.saliency),
        (effect.standard_error, expected.standard_error),
    ):
        peak = np.abs(expected.saliency).max()
        # Where a map is nearly flat, rounding changes the order of its pixels, and so later masks.
        np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-2 * peak, err_msg=f"{name}, {box}")


def _tasks(
    names: Sequence[str],
    boxes: Sequence[str],
    calls: Sequence[int],
    seeds: int,
    tolerance: float,
) -> Iterator[Any]:
    for number in sorted(calls, reverse=True):  # the longest first, so that all cores end together
        for name in names:
            method = CONTESTANTS[name].method(number)
            confined = type(method).region is not iassa.methods.Method.region
            confined &= getattr(method, "max_rounds", None) != 1
            confined &= not isinstance(
                method, iassa.methods.IassaPaper
            )  # one truth serves all seeds
            step = SEEDS_A_TASK if confined and number > 256 else seeds
            for box in boxes:
                for start in range(0, seeds, step):
                    part = range(start, min(seeds, start + step))
                    yield name, box, number, part, tolerance


def main() -> None:
    """Measure, print a table, write the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=200, help="maps of each row (default 200)")
    parser.add_argument(
        "--calls", type=int, nargs="+", default=CALLS, help="default 256 1024 4096", metavar="N"
    )
    parser.add_argument(
        "--tolerance", type=float, default=0.0, help="stop a run at this relative error"
    )
    parser.add_argument(
        "--method", action="append", choices=tuple(CONTESTANTS), help="repeatable; default all"
    )
    parser.add_argument(
        "--box",
        nargs="+",
        choices=tuple(BLACK_BOXES),
        default=tuple(OWN),
        metavar="NAME",
        help=f"black boxes (default {' '.join(OWN)}): {', '.join(BLACK_BOXES)}",
    )
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count(), help="processes (default one for each core)"
    )
    parser.add_argument(
        "--results", type=Path, default=Path(__file__).parent / "results" / "calibration.json"
    )
    options = parser.parse_args()
    names = options.method or list(CONTESTANTS)
    torch.set_num_threads(1)
    console = Console(width=None if sys.stdout.isatty() else 180, highlight=False)
    start = time.perf_counter()
    for name in names:
        for box in options.box:
            check_loop(name, box)

    tasks = list(_tasks(names, options.box, options.calls, options.seeds, options.tolerance))
    parts: dict[tuple[str, str, int], list[Measured]] = {}
    # A fresh process for each: torch's threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.jobs, mp_context=context) as pool:
        answers = pool.map(measure, tasks)
        progress = Console(stderr=True)
        for task, answer in track(
            zip(tasks, answers, strict=True), "", len(tasks), console=progress
        ):
            parts.setdefault(task[:3], []).append(answer)

    low, high = GOAL
    table = Table(
        *("black box", "calls", "method", "known", "covered", "exact", "of others", "inside"),
        *("outside", "pixels in goal", "their 5-95 %", "z mean", "z std", "error", "goal"),
        title=f"95 % intervals over {options.seeds} seeds",
        caption="known: pixels of a finite error; what follows is of them. exact: nothing is left "
        "to sample, the error is 0 and the map the truth, which counts as covered; of others: "
        "coverage of the pixels that are not, which the goal is about. pixels in goal: share "
        f"covered by {low:.0%} to {high:.0%} of the seeds; intervals that hold 95 % would have "
        f"{exact_share(options.seeds):.2f}. error: standard error where the map is high, share of "
        "its range.",
    )
    rows = []
    for box in options.box:
        for number in options.calls:
            for name in names:
                row = summarise(Measured.join(parts[name, box, number]))
                left = row["sampled_coverage"]
                met = math.isnan(left) or low <= left <= high
                goal = "exact" if math.isnan(left) else f"{low:.2f}-{high:.2f}"
                table.add_row(
                    *(
                        box,
                        f"{row['mean_calls']:.0f}",
                        name,
                        f"{row['known']:.2f}",
                        f"{row['coverage']:.3f}",
                    ),
                    *(f"{row['exact']:.2f}" if row["exact"] else "", _blank(left)),
                    *(_blank(row["inside"]), _blank(row["outside"])),
                    f"{row['pixels_within']:.2f}",
                    f"{row['pixel_low']:.2f}-{row['pixel_high']:.2f}",
                    *(f"{row['z_mean']:+.2f}", f"{row['z_std']:.2f}"),
                    f"{row['relative_error']:.3f}",
                    goal + ("" if met else " missed"),
                )
                rows.append({"black_box": box, "calls": number, "method": name, **row})
            table.add_section()
    console.print(table)
    record = {
        "seeds": options.seeds,
        "tolerance": options.tolerance,
        "goal": GOAL,
        "exact_pixels_within": exact_share(options.seeds),
        "seconds": time.perf_counter() - start,
        "torch": torch.__version__,
        "rows": [{k: None if v != v else v for k, v in row.items()} for row in rows],
    }
    write_whole(
        options.results.parent, {options.results.name: json.dumps(record, indent=1).encode()}
    )


def _blank(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.3f}"


if __name__ == "__main__":
    main()
