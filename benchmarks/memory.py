"""Peak memory that an explanation adds, which must not depend on the number of masks.

    python benchmarks/memory.py

Each case runs in a process of its own, with a black box that costs nothing, after a short
explanation has loaded and imported all there is; growth is the peak of the resident memory beyond
what was resident then.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

import iassa
from iassa.files import write_whole

CASES = (  # method, edge of the image, calls, most MB
    ("iassa", 224, 1000, 100),
    ("iassa", 224, 8000, 100),
    ("rise", 224, 1000, 100),
    ("rise", 224, 8000, 100),
    ("iassa-paper", 224, 8000, 100),
    ("iassa", 1024, 1000, 500),
    ("rise", 1024, 1000, 500),
    ("rise", 1024, 8000, 500),
)


def peak_megabytes() -> float:
    """Largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def score(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """A black box that costs nothing and is not flat."""
    return np.asarray(images[:, ::37, ::37, :1].mean(axis=(1, 2)))


def run_case(method: str, edge: int, calls: int) -> float:
    """Growth in MB of one case, in this process."""
    image = np.random.default_rng(0).random((edge, edge, 3), dtype=np.float32)
    small = image[:64, :64]
    iassa.explain(small, score, method=iassa.methods.METHODS[method](), calls=100)
    before = psutil.Process().memory_info().rss / 2**20
    iassa.explain(image, score, method=iassa.methods.METHODS[method](), calls=calls)
    growth: float = peak_megabytes() - before
    return growth


def main() -> None:
    """Measure every case, print a table, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", nargs=3, metavar=("METHOD", "EDGE", "CALLS"))
    parser.add_argument(
        "--results", type=Path, default=Path(__file__).parent / "results" / "memory.json"
    )
    options = parser.parse_args()
    if options.case:
        method, edge, calls = options.case
        print(run_case(method, int(edge), int(calls)))
        return
    table = Table("method", "image", "calls", "growth MB", "at most", title="peak memory")
    rows = []
    for method, edge, calls, most in CASES:
        command = [sys.executable, __file__, "--case", method, str(edge), str(calls)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        growth = float(done.stdout)
        table.add_row(method, f"{edge} x {edge}", str(calls), f"{growth:.0f}", str(most))
        rows.append({"method": method, "edge": edge, "calls": calls, "mb": growth, "goal": most})
    Console(width=100).print(table)
    write_whole(options.results.parent, {options.results.name: json.dumps(rows, indent=1).encode()})


if __name__ == "__main__":
    main()
