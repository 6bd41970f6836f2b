"""Time and memory of the attention, whose matrix is never built.

    python benchmarks/attention.py

All four levels of the default network. The matrix alone would take 4 P^2 bytes: 630 MB at
112 x 112. Each case runs in a process of its own; memory is the peak beyond what was resident with
the features.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import psutil
import torch
from rich.console import Console
from rich.table import Table

import iassa
from iassa.attention import spatial_attention
from iassa.features import open_features
from iassa.files import write_whole

CASES = (  # positions per side, features as in the default (normalised) or as printed, most MB
    (28, True, 100),
    (56, True, 100),
    (112, True, 100),
    (112, False, 100),
)


def run_case(positions: int, normalised: bool) -> dict[str, float]:
    """Seconds and MB of one A S, in this process."""
    planes = torch.from_numpy(iassa.example_image("cat")).permute(2, 0, 1).contiguous()
    extractor = open_features("efficientnet-lite0", torch.device("cpu"))
    assert extractor is not None
    levels = extractor(planes)
    maps = torch.rand((2, 224, 224))
    spatial_attention(levels, (8, 8)).attend(maps)
    before = psutil.Process().memory_info().rss / 2**20
    temperature = 0.1 if normalised else 1.0
    start = time.perf_counter()
    attention = spatial_attention(
        levels, (positions, positions), temperature=temperature, normalise=normalised
    )
    attention.attend(maps)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": seconds, "mb": peak / 1024 - before}


def main() -> None:
    """Measure every case, print a table, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", nargs=2, metavar=("POSITIONS", "NORMALISED"))
    parser.add_argument(
        "--results", type=Path, default=Path(__file__).parent / "results" / "attention.json"
    )
    options = parser.parse_args()
    if options.case:
        print(json.dumps(run_case(int(options.case[0]), options.case[1] == "True")))
        return
    table = Table("positions", "features", "seconds", "extra MB", "at most", "matrix MB")
    rows = []
    for positions, normalised, most in CASES:
        command = [sys.executable, __file__, "--case", str(positions), str(normalised)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        figures = json.loads(done.stdout)
        table.add_row(
            f"{positions} x {positions}",
            "normalised" if normalised else "as printed",
            f"{figures['seconds']:.2f}",
            f"{figures['mb']:.0f}",
            str(most),
            f"{4 * positions**4 / 1e6:.0f}",
        )
        rows.append({"positions": positions, "normalised": normalised, **figures})
    Console(width=100).print(table)
    write_whole(options.results.parent, {options.results.name: json.dumps(rows, indent=1).encode()})


if __name__ == "__main__":
    main()
