"""Two workers beside one, each on one core: how much faster are they?

    python benchmarks/workers.py

The same items (the default method, 500 calls, the curves in 56 steps) are made by one worker and by
two, in turn, after each worker has opened its model. The goal is 1.7 on two cores.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import time
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

import iassa
from iassa.benchmark import Contestant, ItemKey, Protocol
from iassa.benchmark.evaluation import MakeItem
from iassa.benchmark.selection import ScoreImage
from iassa.benchmark.workers.local import LocalWorkers
from iassa.benchmark.workers.tasks import Model, Task, TaskFailure
from iassa.files import write_whole
from iassa.models.targets import Target

GOAL = 1.7
CAT = Target("Egyptian cat", (285,), (1.0,))


def photograph() -> bytes:
    """The bundled cat, as the content of a file."""
    pixels = np.round(iassa.example_image("cat") * 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def measure(workers: int, items: int, calls: int) -> float:
    """Seconds for all items."""
    content = photograph()
    contestant = Contestant("iassa", iassa.methods.Iassa(), (calls,))
    protocol = Protocol(pixels_per_step=896)
    tasks: list[Task] = [
        MakeItem(ItemKey("cat", "iassa", seed), content, CAT, None, contestant, protocol)
        for seed in range(items)
    ]
    with LocalWorkers(Model("efficientnet-lite0"), workers) as pool:
        warm = [
            MakeItem(ItemKey("cat", "iassa", -seed), content, CAT, None, contestant, protocol)
            for seed in range(1, workers + 1)
        ]
        list(pool.run([ScoreImage("cat", content, ""), *warm]))
        start = time.perf_counter()
        results = [result for _, result in pool.run(tasks)]
        seconds = time.perf_counter() - start
    failed = [result.error for result in results if isinstance(result, TaskFailure)]
    if failed:
        raise SystemExit(f"error: {failed[0]}")
    return seconds


def main() -> None:
    """Measure in turn, print the ratios, write them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=8)
    parser.add_argument("--calls", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--results", type=Path, default=Path(__file__).parent / "results" / "workers.json"
    )
    options = parser.parse_args()
    table = Table("one worker, s", "two, s", "ratio", title=f"{options.items} items, goal {GOAL}")
    rows = []
    for _ in range(options.repeats):
        one, two = (measure(workers, options.items, options.calls) for workers in (1, 2))
        rows.append({"one": one, "two": two, "ratio": one / two})
        table.add_row(f"{one:.1f}", f"{two:.1f}", f"{one / two:.2f}")
    median = statistics.median(row["ratio"] for row in rows)
    table.add_row("", "median", f"{median:.2f}")
    Console(width=80).print(table)
    result = {"rows": rows, "median": median, "goal": GOAL}
    write_whole(
        options.results.parent, {options.results.name: json.dumps(result, indent=1).encode()}
    )


if __name__ == "__main__":
    main()
