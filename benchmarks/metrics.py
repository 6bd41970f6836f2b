"""What the metrics cost beside the forward passes that they need.

    python benchmarks/metrics.py

One map of one image is measured as a benchmark does it: deletion and insertion in 56 steps at
224 x 224 by the default model, overlap, pointing, activated pixels and sparsity, and its stability
among the maps of three seeds. That is paired with as many bare forward passes, in turn, so that a
machine whose speed drifts does so for both; the ratio of each pair is taken, and the median quoted.
Model randomisation is left out, whose cost is that of the explanations it asks for.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

import iassa
from iassa import metrics
from iassa.files import write_whole
from iassa.image import to_planes

SIZE = (224, 224)
PIXELS_PER_STEP = 896  # 56 steps
BATCH_SIZE = 16
NUM_SCORES = 1 + SIZE[0] * SIZE[1] // PIXELS_PER_STEP  # of a curve, both ends
GOAL = 1.05


def cpu_seconds(work: Callable[[], object]) -> float:
    """CPU time of all threads of this process for a piece of work."""
    start = time.process_time()
    work()
    return time.process_time() - start


def works(
    image: NDArray[np.float32], black_box: iassa.models.BlackBox
) -> tuple[dict[str, Callable[[], object]], dict[str, Callable[[], object]]]:
    """The metrics that ask the black box and those that do not, each ready to be called.

    The maps are noise: a map that is even has ties, which are sorted sooner.
    """
    maps = np.random.default_rng(0).normal(size=(3, *SIZE)).astype(np.float32)
    annotation = np.zeros(SIZE, dtype=np.bool_)
    annotation[40:160, 60:170] = True
    weights = np.zeros(1000)
    weights[281] = 1.0

    def causal(curve: Callable[..., metrics.Curve]) -> Callable[[], object]:
        return lambda: curve(
            maps[0],
            image,
            black_box.call_without_copy,
            weights,
            pixels_per_step=PIXELS_PER_STEP,
            batch_size=BATCH_SIZE,
        )

    asking: dict[str, Callable[[], object]] = {
        "deletion": causal(metrics.deletion),
        "insertion": causal(metrics.insertion),
    }
    others: dict[str, Callable[[], object]] = {
        "overlap at 0.3": lambda: metrics.overlap_at(maps[0], annotation),
        "best F1": lambda: metrics.best_f1(maps[0], annotation),
        "pointing game": lambda: metrics.pointing_game(maps[0], annotation),
        "activated pixels": lambda: metrics.count_activated(maps[0]),
        "Gini index": lambda: metrics.gini_index(maps[0]),
        "stability of 3 maps": lambda: metrics.stability(maps),
    }
    return asking, others


def main() -> None:
    """Measure, print a table, write the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument(
        "--results", type=Path, default=Path(__file__).parent / "results" / "metrics.json"
    )
    options = parser.parse_args()
    black_box = iassa.open_model("efficientnet-lite0", "cpu")
    planes = to_planes(iassa.example_image("cat"), SIZE)
    asking, others = works(planes.permute(1, 2, 0).numpy(), black_box)
    batch = torch.rand((BATCH_SIZE, 3, *SIZE), generator=torch.Generator().manual_seed(0))

    def bare() -> None:
        for _ in asking:
            for start in range(0, NUM_SCORES, BATCH_SIZE):
                black_box.score(batch[: NUM_SCORES - start])

    def whole() -> None:
        for work in (*asking.values(), *others.values()):
            work()

    bare()
    whole()
    figures = {
        name: 1000 * statistics.median(cpu_seconds(work) for _ in range(options.repeats))
        for name, work in others.items()
    }
    ratios, seconds = [], []
    before = cpu_seconds(bare)
    for _ in range(options.repeats):
        middle = cpu_seconds(whole)
        after = cpu_seconds(bare)
        ratios.append(middle / ((before + after) / 2))
        seconds.append(before)
        before = after
    ratio = statistics.median(ratios)

    table = Table("figure", "measured", "at most", title=f"CPU time, 2 x {NUM_SCORES} scores")
    for name, value in figures.items():
        table.add_row(f"{name}, ms", f"{value:.2f}", "")
    table.add_row("bare passes, s", f"{statistics.median(seconds):.3f}", "")
    table.add_row("all metrics / bare", f"{ratio:.3f}", f"{GOAL:.2f}")
    Console(width=100).print(table)
    record = {
        "milliseconds": figures,
        "bare seconds": seconds,
        "ratios": ratios,
        "ratio": ratio,
        "goal": GOAL,
        "passes": 2 * NUM_SCORES,
        "torch": torch.__version__,
    }
    write_whole(
        options.results.parent, {options.results.name: json.dumps(record, indent=1).encode()}
    )


if __name__ == "__main__":
    main()
