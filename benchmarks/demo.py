"""Seconds of the whole demo, as a process: first with the model to be prepared, and again.

python benchmarks/demo.py
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from iassa.files import write_whole

GOAL = 30.0


def main() -> None:
    """Run the demo twice with an empty cache, print a table, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--results", type=Path, default=Path(__file__).parent / "results" / "demo.json"
    )
    options = parser.parse_args()
    figures = {}
    table = Table("demo, 1000 calls", "seconds", "at most")
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "iassa", "explain", "--example", "cat"]
        for name in ("first, model to be prepared", "again"):
            start = time.perf_counter()
            subprocess.run(
                [*command, "--quiet", "--out", f"{scratch}/out"],
                env={**os.environ, "XDG_CACHE_HOME": scratch},
                stdout=subprocess.DEVNULL,
                check=True,
            )
            figures[name] = time.perf_counter() - start
            table.add_row(name, f"{figures[name]:.1f}", f"{GOAL:.0f}")
    Console(width=100).print(table)
    write_whole(
        options.results.parent, {options.results.name: json.dumps(figures, indent=1).encode()}
    )


if __name__ == "__main__":
    main()
