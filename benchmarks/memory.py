"""Peak memory that an explanation adds, which must not depend on the number of masks.

    python benchmarks/memory.py

Each case runs in a process of its own, with a black box that costs nothing, after a short
explanation has loaded and imported all there is; growth is the peak of the resident memory beyond
what was resident then. The last rows are the command on a photograph of twelve megapixels, with
five targets: what it writes, the peak of its resident memory, and its CPU time beyond that of a
copy of 400 x 300 and beyond that of as many bare forward passes.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray
from PIL import Image
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

PHOTOGRAPH = {  # most of each
    "MB on disk": 10,
    "peak MB": 700,
    "s beyond a small copy": 2,
    "s beyond bare passes": 2,
}


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


def draw_photograph(folder: Path) -> None:
    """Twelve megapixels: the cat, enlarged, with grain; and a small copy."""
    cat = Image.fromarray((iassa.example_image("cat") * 255).round().astype(np.uint8))
    large = np.asarray(cat.resize((4000, 3000), Image.Resampling.BICUBIC), np.float32)
    grain = np.random.default_rng(0).normal(0, 8, large.shape).astype(np.float32)
    photograph = Image.fromarray((large + grain).clip(0, 255).round().astype(np.uint8))
    photograph.save(folder / "large.jpg", quality=90)
    photograph.resize((400, 300)).save(folder / "small.jpg", quality=90)


def pass_bare(calls: int) -> None:
    """As many forward passes of the default model, in batches of the command's size."""
    model = iassa.open_model("efficientnet-lite0")
    batch = np.random.default_rng(0).random((16, 224, 224, 3), dtype=np.float32)
    for start in range(0, calls, len(batch)):
        model(batch[: calls - start])


def spend(command: list[str]) -> tuple[float, float]:
    """Peak MB and CPU seconds of a process; the peak is at least what is resident here."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{command} ended with {process.returncode}")
    return used.ru_maxrss / 1024, used.ru_utime + used.ru_stime


def explain_photograph() -> dict[str, float]:
    """What the command costs on twelve megapixels with five targets."""
    _, bare = spend([sys.executable, __file__, "--bare", "1000"])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        spend([sys.executable, __file__, "--draw", name])  # it would be resident here
        command = [sys.executable, "-m", "iassa", "explain", "--quiet", "--target", "top-5"]
        _, small = spend([*command, str(folder / "small.jpg"), "--out", str(folder / "small")])
        peak, seconds = spend([*command, str(folder / "large.jpg"), "--out", str(folder / "large")])
        disk = sum(path.stat().st_size for path in (folder / "large").iterdir()) / 1e6
    return dict(zip(PHOTOGRAPH, (disk, peak, seconds - small, seconds - bare), strict=True))


def main() -> None:
    """Measure every case, print a table, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", nargs=3, metavar=("METHOD", "EDGE", "CALLS"))
    parser.add_argument("--bare", type=int, metavar="CALLS")
    parser.add_argument("--draw", type=Path, metavar="FOLDER")
    parser.add_argument("--photograph", action="store_true", help="Measure the last rows alone.")
    parser.add_argument(
        "--results", type=Path, default=Path(__file__).parent / "results" / "memory.json"
    )
    options = parser.parse_args()
    if options.case:
        method, edge, calls = options.case
        print(run_case(method, int(edge), int(calls)))
        return
    if options.bare:
        pass_bare(options.bare)
        return
    if options.draw:
        draw_photograph(options.draw)
        return
    table = Table("method", "image", "calls", "growth MB", "at most", title="peak memory")
    rows = []
    for method, edge, calls, most in () if options.photograph else CASES:
        command = [sys.executable, __file__, "--case", method, str(edge), str(calls)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        growth = float(done.stdout)
        table.add_row(method, f"{edge} x {edge}", str(calls), f"{growth:.0f}", str(most))
        rows.append({"method": method, "edge": edge, "calls": calls, "mb": growth, "goal": most})
    photograph = explain_photograph()
    for what, most in PHOTOGRAPH.items():
        cells = ("4000 x 3000", "1000", f"{photograph[what]:.1f}", str(most))
        table.add_row(f"top-5: {what}", *cells)
        rows.append({"photograph": what, "value": photograph[what], "goal": most})
    Console(width=100).print(table)
    write_whole(options.results.parent, {options.results.name: json.dumps(rows, indent=1).encode()})


if __name__ == "__main__":
    main()
