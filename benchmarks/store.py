"""What the store of a benchmark run costs: seconds to add an item, and to go on with a run.

    python benchmarks/store.py

An item has three maps of 640 x 480, those of the default method for a photograph at 250, 500 and
1000 calls, two curves of each with 344 points, its evidence, and fifteen metrics of each. `add`
ends when it is on the disk. Its share is that of the seconds that the explanation itself took at
1000 calls; metrics, which an item has as well, would make it smaller.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

import iassa
import iassa.image
from iassa.benchmark.store.records import Entry, Item, ItemKey, Snapshot
from iassa.benchmark.store.store import Store
from iassa.files import write_whole
from iassa.metrics import Curve
from iassa.models.targets import Target

SIZE = (480, 640)
BUDGETS = (250, 500, 1000)
POINTS = 344  # of a curve at 896 pixels a step
METRICS = 15
GOALS = {"add / item": 0.02, "s to resume": 2.0, "kB a map": 200.0}  # the most it may be


def make_item() -> tuple[Item, float]:
    """An item of the default method, and the seconds that its 1000 calls took."""
    planes = torch.from_numpy(iassa.example_image("cat")).permute(2, 0, 1)
    image = iassa.image.resize(planes, SIZE).permute(1, 2, 0).clamp(0, 1).contiguous().numpy()
    black_box = iassa.open_model("efficientnet-lite0", "cpu")
    rng = np.random.default_rng(0)
    snapshots = []
    for budget in BUDGETS:
        start = time.perf_counter()
        made = iassa.explain(image, black_box, method=iassa.methods.Iassa(), calls=budget)
        seconds = time.perf_counter() - start
        curves = {
            name: Curve(rng.random(POINTS), np.linspace(0, 1, POINTS))
            for name in ("deletion", "insertion")
        }
        metrics = {f"metric {k}": float(rng.random()) for k in range(METRICS)}
        snapshots.append(Snapshot(budget, 2, made.calls, made.saliency[0], 0.1, metrics, curves))
    assert made.evidence is not None
    key = ItemKey("0", "iassa", 0)
    evidence = made.evidence.pack()
    return Item(key, made.calls, seconds, 1.0, (), evidence, tuple(snapshots)), seconds


def entry_of(number: int) -> Entry:
    """Entry number so and so, the only one of its image."""
    name = f"{number:012d}.jpg"
    target = Target("dog", tuple(range(151, 269)), (1.0,) * 118)
    return Entry(f"{name} dog", name, number, SIZE, "dog", target, 0.5, 0.2)


def fill(folder: Path, item: Item, number: int) -> list[float]:
    """Seconds of each `add` of a run of so many items."""
    seconds = []
    with Store.open(folder, {"methods": {"iassa": {}}}) as store:
        for k in range(number):
            entry = entry_of(k)
            store.add_image(entry.image, [entry], "0" * 64)
            one = dataclasses.replace(item, key=ItemKey(entry.key, "iassa", 0))
            start = time.perf_counter()
            store.add(one)
            seconds.append(time.perf_counter() - start)
    return seconds


def resume(folder: Path, number: int) -> float:
    """Seconds until it is known what is left to do."""
    start = time.perf_counter()
    with Store.open(folder, {"methods": {"iassa": {}}}) as store:
        finished, entries = store.finished(), store.entries()
        seconds = time.perf_counter() - start
    assert len(finished) == len(entries) == number
    return seconds


def main() -> None:
    """Measure, print a table, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="on the disk to measure; else a temporary one")
    parser.add_argument(
        "--results", type=Path, default=Path(__file__).parent / "results" / "store.json"
    )
    options = parser.parse_args()
    item, own = make_item()
    with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
        folder = Path(temporary)
        added = fill(folder, item, options.items)
        resumed = [resume(folder, options.items) for _ in range(options.repeats)]
        size = (folder / "run.sqlite").stat().st_size
        with Store.read(folder) as store:
            start = time.perf_counter()
            assert sum(1 for _ in store.items()) == options.items
            read = time.perf_counter() - start
    rest = len(item.evidence or b"") + len(BUDGETS) * 2 * 2 * 8 * POINTS
    figures = {
        "s an item of 1000 calls": own,
        "s to add it, median": statistics.median(added),
        "s to add it, 95 %": sorted(added)[int(0.95 * len(added))],
        "add / item": statistics.median(added) / own,
        "s to resume": statistics.median(resumed),
        "s to read all scores": read,
        "kB a map": (size / options.items - rest) / len(BUDGETS) / 1000,
        "MB a run": size / 1e6,
    }
    table = Table("figure", "measured", "at most", title=f"{options.items} items, 3 maps 640 x 480")
    for name, value in figures.items():
        table.add_row(name, f"{value:.4g}", f"{GOALS[name]:g}" if name in GOALS else "")
    Console(width=100).print(table)
    record = {"figures": figures, "items": options.items, "resumed": resumed, "goals": GOALS}
    write_whole(
        options.results.parent, {options.results.name: json.dumps(record, indent=1).encode()}
    )


if __name__ == "__main__":
    main()
