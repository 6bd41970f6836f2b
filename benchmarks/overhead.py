"""What iassa costs beside the model: CPU time of its own, and whole runs against bare passes.

    python benchmarks/overhead.py

Own time is measured with a black box that costs nothing. Whole runs are paired with as many bare
forward passes of the default model, in turn, so that a machine whose speed drifts does so for both;
the ratio of each pair is taken, and the median quoted.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import Tensor

import iassa
import iassa.image
from iassa.files import write_whole

CALLS = 1000
GOALS = {  # figure -> the most it may be
    "own s/1000 grid masks": 0.30,
    "own s/1000 segment masks": 0.30,
    "own s/1000 windows": 0.05,
    "whole / bare, rise": 1.05,
    "whole / bare, iassa": 1.10,
}


class Free(iassa.models.BlackBox):
    """A black box that looks at a corner, and costs nothing."""

    name = "free"
    input_size = (224, 224)

    def score(self, planes: Tensor) -> Tensor:
        """The first values of each image."""
        return planes[:, :, 0, :4].flatten(1)


@dataclass(frozen=True)
class Windows(iassa.methods.IassaPaper):
    """Single windows alone: no attention, no second round."""

    beta: float = 1.0
    max_rounds: int = 1
    window: float = 40.0
    stride: float = 7.0  # 1369 windows: enough for the longest run


def cpu_seconds(work: Callable[[], object]) -> float:
    """CPU time of all threads of this process for a piece of work."""
    start = time.process_time()
    work()
    return time.process_time() - start


def own_seconds(method: iassa.methods.Method, image: NDArray[np.float32], repeats: int) -> float:
    """CPU seconds for 1000 masks, without what is done once for an image.

    The difference between a long run of one round and a short one, median over repeats: rendering,
    blending, checks and sums, but not the drawing of the plan, which is once a round.
    """
    figures = []
    for _ in range(repeats):
        assert iassa.explain(image, Free(), method=method, calls=CALLS + 200).calls == CALLS + 200
        long = cpu_seconds(lambda: iassa.explain(image, Free(), method=method, calls=CALLS + 200))
        short = cpu_seconds(lambda: iassa.explain(image, Free(), method=method, calls=200))
        figures.append(long - short)
    return statistics.median(figures)


def ratio_to_bare(
    method: iassa.methods.Explainer,
    image: NDArray[np.float32],
    black_box: iassa.models.BlackBox,
    repeats: int,
) -> list[float]:
    """CPU of whole runs over CPU of as many bare passes, pair by pair."""
    batch = torch.rand((16, 3, 224, 224), generator=torch.Generator().manual_seed(0))

    def bare() -> None:
        for start in range(0, CALLS, len(batch)):
            black_box.score(batch[: min(len(batch), CALLS - start)])

    def whole() -> None:
        iassa.explain(image, black_box, method=method, calls=CALLS)

    bare()
    ratios = []
    for _ in range(repeats):
        before = cpu_seconds(bare)
        middle = cpu_seconds(whole)
        ratios.append(middle / ((before + cpu_seconds(bare)) / 2))
    return ratios


def main() -> None:
    """Measure, print a table, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--results", type=Path, default=Path(__file__).parent / "results" / "overhead.json"
    )
    options = parser.parse_args()
    image = iassa.example_image("cat")
    grids = iassa.methods.Rise(debiased=True, round_calls=2000)
    segments = iassa.methods.Iassa(beta=1.0, max_rounds=1, round_calls=2000)
    for method in (grids, segments, Windows()):
        iassa.explain(
            image, Free(), method=method, calls=100
        )  # what is imported or read once, is by now
    figures: dict[str, float] = {
        "own s/1000 grid masks": own_seconds(grids, image, options.repeats),
        "own s/1000 segment masks": own_seconds(segments, image, options.repeats),
        "own s/1000 windows": own_seconds(Windows(), image, options.repeats),
    }
    default = iassa.methods.Iassa()
    planes = torch.from_numpy(image).permute(2, 0, 1).contiguous()
    seen = iassa.image.resize(planes, (224, 224))
    attention = default.attention(seen)
    assert attention is not None
    once = {
        "superpixels, s an image": lambda: default.segmentations(seen),
        "features, s an image": lambda: default.attention(seen),
        "attention, s a round": lambda: attention.attend(seen[:2]),
    }
    for name, work in once.items():
        figures[name] = statistics.median(cpu_seconds(work) for _ in range(options.repeats))
    black_box = iassa.open_model("efficientnet-lite0", "cpu")
    ratios = {}
    for name in ("rise", "iassa"):
        ratios[name] = ratio_to_bare(
            iassa.methods.METHODS[name](), image, black_box, options.repeats
        )
        figures[f"whole / bare, {name}"] = statistics.median(ratios[name])

    table = Table("figure", "measured", "at most", title="CPU time, 224 x 224, one target")
    for name, value in figures.items():
        table.add_row(name, f"{value:.3f}", f"{GOALS[name]:.2f}" if name in GOALS else "")
    Console(width=100).print(table)
    record = {"figures": figures, "ratios": ratios, "goals": GOALS, "torch": torch.__version__}
    write_whole(
        options.results.parent, {options.results.name: json.dumps(record, indent=1).encode()}
    )


if __name__ == "__main__":
    main()
