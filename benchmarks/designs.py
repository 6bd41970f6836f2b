"""Designs of masks: what drawing them together, not one by one, saves in variance at equal calls.

    python benchmarks/designs.py

One round of superpixel masks of `iassa` and its estimator, on the black boxes of `calibration.py`.
A row has the variance of the map over seeds, the mean where the map is above 0.3 of its peak, over
that of independent masks. Below 1 a design saves calls: at 0.8 it takes 0.8 of them.

    antithetic   each mask beside its complement, with keep probabilities p and 1 - p
    balanced     the uniform numbers behind the bits of a superpixel are a Latin hypercube: one in
                 each of as many strata as masks share its segmentation
    no kernel    independent masks without the kernel regression, which uses what the other cells
                 of a mask explain, as a control variate does
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import Tensor

import iassa
from calibration import BLACK_BOXES, SIZE
from iassa.files import write_whole
from iassa.image import resize
from iassa.masks.grids import draw_segments
from iassa.masks.plans import SegmentPlan
from iassa.masks.rendering import Canvas, DenseMasks
from iassa.methods.engine.loop import Setting

HIGH = 0.3
BOXES = ("linear", "saturating", "scene-and", "scene-or", "scene-contrast")

Design: TypeAlias = Callable[[SegmentPlan, np.random.Generator], SegmentPlan]


def keep(plan: SegmentPlan, rng: np.random.Generator) -> SegmentPlan:
    """Independent masks, as they are drawn."""
    del rng
    return plan


def pair(plan: SegmentPlan, rng: np.random.Generator) -> SegmentPlan:
    """The first half of the masks, each beside its complement."""
    del rng
    half = plan[: len(plan) // 2].repeat(2)
    bits, probability = half.bits.copy(), half.keep_probability.copy()
    bits[1::2] = ~bits[1::2]
    probability[1::2] = 1 - probability[1::2]
    return dataclasses.replace(half, bits=bits, keep_probability=probability)


def balance(plan: SegmentPlan, rng: np.random.Generator) -> SegmentPlan:
    """The bits drawn anew, from a Latin hypercube for each segmentation."""
    bits = plan.bits.copy()
    for number in np.unique(plan.segmentation):
        those = np.flatnonzero(plan.segmentation == number)
        strata = np.tile(np.arange(len(those))[:, None], (1, bits.shape[1]))
        uniform = (rng.permuted(strata, axis=0) + rng.random(strata.shape)) / len(those)
        bits[those] = uniform < plan.keep_probability[those, None]
    return dataclasses.replace(plan, bits=bits)


DESIGNS: dict[str, tuple[Design, float]] = {
    "independent": (keep, 0.3),
    "antithetic": (pair, 0.3),
    "balanced": (balance, 0.3),
    "no kernel": (keep, 0.0),
    "no kernel, antithetic": (pair, 0.0),
    "no kernel, balanced": (balance, 0.0),
}


@functools.cache
def prepare(kernel_share: float) -> tuple[iassa.methods.Iassa, Setting]:
    """The method, and the image as it sees it."""
    method = iassa.methods.Iassa(kernel_share=kernel_share)
    image = torch.from_numpy(iassa.example_image("cat")).permute(2, 0, 1).contiguous()
    image = resize(image, SIZE)
    reference = torch.zeros(1, dtype=torch.float64)
    parts = (method.segmentations(image), method.attention(image))
    return method, Setting(SIZE, SIZE, 0, reference, *parts)


def explain(
    score: Callable[[Tensor], Tensor], name: str, calls: int, seed: int
) -> NDArray[np.float32]:
    """The map (H, W) of one round of a design."""
    design, kernel_share = DESIGNS[name]
    method, setting = prepare(kernel_share)
    assert setting.segmentations is not None
    rng = np.random.default_rng(seed)
    numbers = setting.segmentations.of(method.segment_counts)
    several = setting.segmentations.num_segments
    plan = draw_segments(calls, several, numbers, method.keep_probability, rng)
    plan = design(plan, rng)
    estimator = method.estimator(setting)
    masks = Canvas(SIZE, calls, setting.segmentations).render(plan)
    assert isinstance(masks, DenseMasks)
    estimator.add(masks, score(masks.values)[:, None], plan, "segment")
    estimator.close_round()
    found = method.adjust(estimator.estimate(), setting.attention).saliency[0]
    return np.asarray(found.numpy())


def main() -> None:
    """Measure, print a table, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=60, help="maps of each (default 60)")
    parser.add_argument("--calls", type=int, default=256, help="masks of each (default 256)")
    parser.add_argument("--box", nargs="+", choices=tuple(BLACK_BOXES), default=BOXES)
    parser.add_argument(
        "--results", type=Path, default=Path(__file__).parent / "results" / "designs.json"
    )
    options = parser.parse_args()
    table = Table(
        "black box",
        *DESIGNS,
        title=f"variance over that of independent masks, "
        f"{options.calls} masks, {options.seeds} seeds",
    )
    rows: dict[str, dict[str, float]] = {}
    for box in options.box:
        maps = {
            name: np.stack(
                [explain(BLACK_BOXES[box], name, options.calls, k) for k in range(options.seeds)]
            )
            for name in DESIGNS
        }
        mean = np.mean([one.mean(0) for one in maps.values()], axis=0)
        high = np.abs(mean) >= HIGH * np.abs(mean).max()
        variances = {name: float(one.var(0, ddof=1)[high].mean()) for name, one in maps.items()}
        rows[box] = {name: one / variances["independent"] for name, one in variances.items()}
        table.add_row(box, *(f"{one:.2f}" for one in rows[box].values()))
    Console(width=None if sys.stdout.isatty() else 140).print(table)
    record = {"calls": options.calls, "seeds": options.seeds, "ratios": rows}
    write_whole(
        options.results.parent, {options.results.name: json.dumps(record, indent=1).encode()}
    )


if __name__ == "__main__":
    main()
