"""Coverage of the standard error on photographs: what intervals of 95 % hold with a real model.

    python benchmarks/coverage.py --images DIR

For each photograph, maps of its highest class by some seeds, and a long run by each of others. The
truth is the mean of the long runs. An interval of a seed covers a pixel if

    |map - truth| <= 1.96 sqrt(SE^2 + the squared error of the truth)

The long runs draw their later masks by maps of their own. So, other than in `calibration.py`, where
the truth is of the same regions, what the choice of regions adds to the error counts here as well.
With `--tolerance` the runs of the seeds stop by it, after `--calls` at most.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

import iassa
from iassa.files import write_whole

NOMINAL = 1.96
HIGH = 0.3  # of the peak: the part of a map that is read
SUFFIXES = (".jpg", ".jpeg", ".png")

messages = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)


def measure(path: Path, black_box: Any, options: argparse.Namespace) -> dict[str, float]:
    """Shares of (pixel, seed) that are covered, for one photograph."""
    method = options.method
    long = [
        iassa.explain(path, black_box, method=method, calls=options.long_calls, seed=1000 + seed)
        for seed in range(options.long_seeds)
    ]
    truth = np.mean([one.saliency[0] for one in long], axis=0)
    error_of_truth = np.mean([one.standard_error[0] ** 2 for one in long], axis=0) / len(long)
    high = truth >= HIGH * truth.max()
    inside, everywhere, scores, made, relative = [], [], [], [], []
    for seed in range(options.seeds):
        limits = {"calls": options.calls, "tolerance": options.tolerance}
        one = iassa.explain(path, black_box, method=method, seed=seed, **limits)
        z = (one.saliency[0] - truth) / np.sqrt(one.standard_error[0] ** 2 + error_of_truth)
        covered: NDArray[np.bool_] = np.abs(z) <= NOMINAL
        everywhere.append(covered.mean())
        inside.append(covered[high].mean())
        scores.append(z.mean())
        made.append(one.calls)
        relative.append(one.relative_error)
    return {
        "coverage": float(np.mean(everywhere)),
        "inside": float(np.mean(inside)),
        "z_mean": float(np.mean(scores)),
        "calls": float(np.mean(made)),
        "relative_error": float(np.mean(relative)),
    }


def main() -> None:
    """Measure, print a table, write the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, required=True, help="folder of photographs")
    parser.add_argument("--limit", type=int, default=20, help="photographs (default 20)")
    parser.add_argument("--seeds", type=int, default=8, help="of each (default 8)")
    parser.add_argument("--calls", type=int, default=500, help="of each seed (default 500)")
    parser.add_argument("--tolerance", type=float, help="at which a seed stops")
    parser.add_argument("--long-seeds", type=int, default=4, help="long runs (default 4)")
    parser.add_argument("--long-calls", type=int, default=2000, help="of each (default 2000)")
    parser.add_argument("--method", default="iassa")
    parser.add_argument("--model", default="efficientnet-lite0")
    parser.add_argument(
        "--results", type=Path, default=Path(__file__).parent / "results" / "coverage.json"
    )
    options = parser.parse_args()
    paths = sorted(path for path in options.images.iterdir() if path.suffix.lower() in SUFFIXES)
    if not paths:
        messages.print(f"skipped: no photograph in {options.images}. See --images.")
        return
    places = np.linspace(0, len(paths) - 1, min(options.limit, len(paths))).round().astype(int)
    black_box = iassa.open_model(options.model)
    rows: dict[str, dict[str, float]] = {}
    for place in places:
        path = paths[place]
        rows[path.name] = row = measure(path, black_box, options)
        messages.print(f"{len(rows):3d}/{len(places)} {path.name}: {row['coverage']:.3f}")

    table = Table(
        *("photographs", "seeds", "calls", "covered", "where the map is high", "z mean", "error"),
        title="intervals of 95 %; in brackets the lowest and the highest photograph",
    )
    mean = {name: float(np.mean([row[name] for row in rows.values()])) for name in row}
    low, high = (choose(row["coverage"] for row in rows.values()) for choose in (min, max))
    table.add_row(
        *(str(len(rows)), str(options.seeds), f"{mean['calls']:.0f}"),
        f"{mean['coverage']:.3f} ({low:.3f}-{high:.3f})",
        *(f"{mean['inside']:.3f}", f"{mean['z_mean']:+.2f}", f"{mean['relative_error']:.3f}"),
    )
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    settings = {name: str(value) for name, value in vars(options).items()}
    record = {"settings": settings, "mean": mean, "photographs": rows}
    write_whole(
        options.results.parent, {options.results.name: json.dumps(record, indent=1).encode()}
    )


if __name__ == "__main__":
    main()
