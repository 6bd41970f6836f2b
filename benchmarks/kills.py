"""What a benchmark loses when its processes are killed: nothing, and nothing is done twice.

    python benchmarks/kills.py --kills 100

A small run on drawn photographs is started, and all of its processes are killed at a random moment,
again and again, until it is done; then it is compared with a run that was left alone: the same
items, each once, with the same maps, metrics, curves and evidence to the bit. Then the next run,
until there were as many kills, half of them with one worker and half with two.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from iassa.benchmark import Store
from iassa.files import write_whole

NUM_PHOTOS = 6
SIZE = (40, 56)
MODULE = """
import time
import numpy as np

def slow(images):
    time.sleep(0.02)
    grey = images.mean(axis=3)[:, ::8, ::8]
    return np.stack([grey.mean((1, 2)), grey[:, 1:3, 1:4].mean((1, 2))], axis=1)
"""


def main() -> None:
    """Kill, go on, compare; exit status 1 if anything is lost, twice or different."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/kills.json"))
    arguments = parser.parse_args()
    moments = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as name:
        workplace = Path(name)
        _draw(workplace / "photos")
        (workplace / "kills_model.py").write_text(MODULE)
        started = time.perf_counter()
        _run(workplace, "whole", workers=1)
        took = time.perf_counter() - started
        whole = _contents(workplace / "whole")
        counts = [_kill(workplace, whole, n, arguments.kills // 2, moments, took) for n in (1, 2)]
    result = {"items of a run": len(whole), "by workers": dict(zip((1, 2), counts, strict=True))}
    write_whole(arguments.out.parent, {arguments.out.name: json.dumps(result, indent=2).encode()})
    print(json.dumps(result, indent=2))
    bad = sum(each[what] for each in counts for what in ("lost", "twice", "different"))
    sys.exit(1 if bad else 0)


def _kill(
    workplace: Path,
    whole: dict[str, str],
    workers: int,
    kills: int,
    moments: random.Random,
    took: float,
) -> dict[str, int]:
    """Kill runs with so many workers until there were as many kills, each run to its end.

    A run that is left alone takes so many seconds, of which the first are spent on imports. On a
    machine that does other things they may be all that fits in: each kill of a run comes later.
    """
    counts = {"kills": 0, "runs": 0, "lost": 0, "twice": 0, "different": 0}
    while counts["kills"] < kills:
        name = f"killed-{workers}-{counts['runs']}"
        wait = took
        while _run(workplace, name, workers, seconds=moments.uniform(0.3, 0.6) * wait):
            counts["kills"] += 1
            wait *= 1.1
        found = _contents(workplace / name)
        counts["runs"] += 1
        counts["lost"] += len(whole.keys() - found.keys())
        counts["twice"] += len(found.keys() - whole.keys())
        counts["different"] += sum(found[key] != whole[key] for key in found.keys() & whole.keys())
        print(f"{workers} workers: {counts}", file=sys.stderr)
    return counts


def _run(workplace: Path, name: str, workers: int, seconds: float | None = None) -> bool:
    """Start or continue a run; True if it was killed after so many seconds."""
    command = [sys.executable, "-m", "iassa", "benchmark", "images", "--images", "photos"]
    command += ["--run", name, "--model", "kills_model:slow", "--calls", "60,120"]
    command += ["--methods", "rise,sliding-window", "--workers", str(workers), "--quiet"]
    command += ["--protocol", "pixels_per_step=400", "--protocol", "gain_steps=2"]
    path = os.pathsep.join(filter(None, [str(workplace), os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"PYTHONPATH": path}
    with subprocess.Popen(
        command, cwd=workplace, env=environment, start_new_session=True
    ) as driver:
        try:
            status = driver.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(driver.pid, signal.SIGKILL)  # its workers, too
            return True
    if status != 0:
        raise RuntimeError(f"expected status 0, got {status} from {' '.join(command)}")
    return False


def _contents(folder: Path) -> dict[str, str]:
    """A digest of each item of a run, but for its times; an item that is twice has two keys."""
    found: dict[str, str] = {}
    with Store.read(folder) as store:
        for item in store.items(with_curves=True):
            key = f"{item.key}" + "'" * sum(str(item.key) in each for each in found)
            found[key] = _digest(
                [item.calls, item.metric_calls, item.evidence, item.warnings],
                *(
                    [one.budget, one.calls, one.relative_error, sorted(one.metrics.items())]
                    for one in item.snapshots
                ),
                *(
                    [name, curve.scores.tobytes()]
                    for one in item.snapshots
                    for name, curve in sorted(one.curves.items())
                ),
                *(store.saliency(item.key, k).tobytes() for k in range(len(item.snapshots))),
            )
    return found


def _digest(*parts: Any) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _draw(folder: Path) -> None:
    """Photographs of noise that is smooth along one axis."""
    folder.mkdir()
    for number in range(NUM_PHOTOS):
        rng = np.random.default_rng(number)
        values = rng.integers(0, 256, (SIZE[0], 1, 3)) + rng.integers(0, 60, (*SIZE, 3))
        pixels = values.clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")


if __name__ == "__main__":
    main()
