"""Calls that the default method takes until it knows a map as well as asked for.

    python benchmarks/tolerance.py --images DIR --annotations FILE

For pairs of an image and a category of MS-COCO as in `quality.py`, those that the model recognises
with the minimum score, one run of at most 4000 calls, which stops by each tolerance in turn (see
`Explanation.relative_error`) and then goes on to the next. With `--limit` the pairs are spread
evenly over all of the file.

A run that reaches no tolerance costs about half a minute on two cores.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

import iassa
from iassa.files import write_whole
from pairs import Pair, score_pairs

TOLERANCES = (0.10, 0.07, 0.05)
CAP = 4000
MODEL = "efficientnet-lite0"

messages = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)


def read_calls(
    image: Any, black_box: Any, classes: Sequence[int], seed: int, cap: int
) -> list[tuple[int, float]]:
    """Calls and relative error where a run stops by each tolerance, or at the cap.

    A run that is extended to the next tolerance stops where one run by that tolerance does.
    """
    target = ",".join(map(str, classes))
    first = TOLERANCES[0]
    found = iassa.explain(image, black_box, target=target, calls=cap, tolerance=first, seed=seed)
    steps = [(found.calls, found.relative_error)]
    for tolerance in TOLERANCES[1:]:
        if found.relative_error > tolerance and found.calls < cap:
            left = cap - found.calls
            found = iassa.extend(found, black_box, calls=left, tolerance=tolerance)
        steps.append((found.calls, found.relative_error))
    return steps


def choose(options: argparse.Namespace, black_box: Any) -> list[Pair]:
    """The pairs to run."""
    pairs = score_pairs(options.images, options.annotations, black_box)
    found = [pair for pair in pairs if pair.score >= options.min_score]
    if options.limit and options.limit < len(found):
        places = np.linspace(0, len(found) - 1, options.limit).round().astype(int)
        found = [found[place] for place in places]
    return found


def summarise(calls: list[int | None], cap: int) -> dict[str, float]:
    """Mean, quartiles, and the share that hit the cap; those count as the cap."""
    numbers = np.array([cap if each is None else each for each in calls])
    low, median, high = np.percentile(numbers, [25, 50, 75])
    return {
        "mean": float(numbers.mean()),
        "low_quartile": float(low),
        "median": float(median),
        "high_quartile": float(high),
        "share_at_cap": float(np.mean([each is None for each in calls])),
    }


def main() -> None:
    """Measure, print a table, write the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, help="folder of MS-COCO images")
    parser.add_argument("--annotations", type=Path, help="file in COCO's instances format")
    parser.add_argument("--min-score", type=float, default=0.4, help="default 0.4")
    parser.add_argument("--limit", type=int, default=12, help="pairs; 0 for all (default 12)")
    parser.add_argument("--cap", type=int, default=CAP, help=f"most calls (default {CAP})")
    parser.add_argument(
        "--results", type=Path, default=Path(__file__).parent / "results" / "tolerance.json"
    )
    options = parser.parse_args()
    for path, what in ((options.images, "folder of images"), (options.annotations, "annotations")):
        if path is None or not path.exists():
            messages.print(f"skipped: no {what} at {path}. See --images and --annotations.")
            return
    black_box = iassa.open_model(MODEL)
    pairs = choose(options, black_box)
    if not pairs:
        messages.print("no pair reached the minimum score. Lower --min-score.")
        return
    rows: list[dict[str, Any]] = []
    for pair in pairs:
        start = time.perf_counter()
        seed = pair.number
        steps = read_calls(pair.load_image(), black_box, pair.classes, seed, options.cap)
        seconds = time.perf_counter() - start
        reached = {
            str(tolerance): calls if error <= tolerance else None
            for tolerance, (calls, error) in zip(TOLERANCES, steps, strict=True)
        }
        rows.append(
            {
                "pair": pair.key,
                "score": pair.score,
                "calls": reached,
                "steps": steps,
                "seconds": seconds,
            }
        )
        messages.print(
            f"{len(rows):4d}  {pair.key} ({pair.score:.2f}): {list(reached.values())}, "
            f"{steps[-1][1]:.3f} after {steps[-1][0]}, {seconds:.0f} s"
        )

    table = Table(
        *("tolerance", "mean", "quartiles", "median", "at the cap"),
        title=f"calls of the default method, {len(rows)} pairs, at most {options.cap}",
    )
    summary = {}
    for tolerance in TOLERANCES:
        figures = summarise([row["calls"][str(tolerance)] for row in rows], options.cap)
        summary[str(tolerance)] = figures
        table.add_row(
            f"{tolerance:.2f}",
            f"{figures['mean']:.0f}",
            f"{figures['low_quartile']:.0f}-{figures['high_quartile']:.0f}",
            f"{figures['median']:.0f}",
            f"{figures['share_at_cap']:.0%}",
        )
    Console(width=None if sys.stdout.isatty() else 100).print(table)
    record = {
        "model": MODEL,
        "min_score": options.min_score,
        "cap": options.cap,
        "summary": summary,
        "pairs": rows,
    }
    write_whole(
        options.results.parent, {options.results.name: json.dumps(record, indent=1).encode()}
    )


if __name__ == "__main__":
    main()
