"""Galleries: what kills cost, how much faster two workers are, how soon 1000 images are seen.

    python benchmarks/gallery.py kills
    python benchmarks/gallery.py workers        # on a quiet machine
    python benchmarks/gallery.py open FOLDER    # of a gallery; needs Chromium

`kills` explains a thousand small drawn images with a cheap function on two workers. All processes
are killed ten times, at random moments. Then every image has to be there, each explained once: what
was done before a kill is the same file after all of them. Some are compared with `iassa.explain`.

`workers` explains shifted photographs with the default model, 500 calls each, by one worker and by
two, in turn, after each worker has opened its model. A worker has one core. The goal is 1.7. The
process itself, which is what explains without workers, has all cores.

`open` loads the page in Chromium without a window, and reads the time from the page itself.
"""

from __future__ import annotations

import argparse
import base64
import functools
import hashlib
import json
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import iassa
from iassa.benchmark.workers.local import LocalWorkers
from iassa.benchmark.workers.tasks import Model
from iassa.decoding import UPRIGHT
from iassa.files import write_whole
from iassa.gallery.explaining import Asking, InProcess
from iassa.gallery.folder import Gallery
from iassa.gallery.making import Pool, Watching, make_gallery
from iassa.gallery.photos import Photo, find_photos

SIZE = (24, 32)
MODULE = """
import numpy as np

def cheap(images):
    grey = images.mean(axis=3)[:, ::4, ::4]
    return np.stack([grey.mean((1, 2)), grey[:, 1:3, 1:4].mean((1, 2))], axis=1)
"""
CALLS = 40
COMPARED = 50  # images
GOAL = 1.7
WARM = 4  # images before the clock starts
TIMED = "document.title = Math.round(performance.now())"


def main() -> None:
    """Measure one of the three, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=["kills", "workers", "open"])
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--images", type=int, default=0, help="default: 1000, or 12 for workers")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--calls", type=int, default=500, help="of an image, for workers")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for the work, which stays")
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        workplace = options.keep or Path(scratch)
        workplace.mkdir(parents=True, exist_ok=True)
        if options.what == "kills":
            result = survive(workplace, options.images or 1000, options.kills, options.seed)
        elif options.what == "workers":
            result = compare_workers(
                workplace, options.images or 12, options.calls, options.repeats
            )
        else:
            result = time_opening(options.folder, options.repeats)
    text = json.dumps(result, indent=1)
    write_whole(options.results, {f"gallery-{options.what}.json": text.encode()})
    print(text)
    sys.exit(1 if result.get("lost") or result.get("twice") or result.get("different") else 0)


def survive(workplace: Path, images: int, kills: int, seed: int) -> dict[str, Any]:
    """Kill the command again and again, go on, and count what was lost or done twice."""
    moments = random.Random(seed)
    (workplace / "photos").mkdir()
    for number in range(images):
        pixels = np.random.default_rng(number).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(workplace / "photos" / f"{number:04d}.png")
    (workplace / "gallery_model.py").write_text(MODULE)
    command = ["photos", "--out", "g", "--model", "gallery_model:cheap", "--method", "rise"]
    command += ["--calls", str(CALLS), "--pictures", "none", "--workers", "2", "--quiet"]
    seen: dict[str, str] = {}
    changed: set[str] = set()
    after: list[int] = []
    for k in range(kills):
        wanted = images * (k + moments.random()) / (kills + 1)  # of them done, at least
        kill_at(workplace, command, int(wanted))
        now = read_state(workplace / "g")
        changed |= {name for name in seen if now.get(name) != seen[name]}
        seen = now
        after.append(len(now))
    run(workplace, command)
    final = read_state(workplace / "g")
    changed |= {name for name in seen if final.get(name) != seen[name]}
    return {
        "images": images,
        "kills": kills,
        "done after each": after,
        "lost": images - len(final),
        "twice": len(changed),
        "different": count_different(workplace, [*final][:: max(1, images // COMPARED)]),
        "shown": (workplace / "g" / "index.html").read_text().count("<li "),
    }


def count_different(workplace: Path, names: list[str]) -> int:
    """How many of some maps are other than those that `iassa.explain` gives in this process."""
    sys.path.append(str(workplace))
    warnings.simplefilter("ignore", iassa.WeakEvidenceWarning)  # so few masks
    differing = 0
    for name in names:
        found = iassa.Explanation.load(workplace / "g" / name)
        photo = workplace / "photos" / f"{name}.png"
        wanted = iassa.explain(photo, "gallery_model:cheap", method="rise", calls=CALLS)
        differing += not np.array_equal(found.saliency, wanted.saliency)
    return differing


def read_state(gallery: Path) -> dict[str, str]:
    """A digest of the record of each image that is done. It holds the seconds that its run took."""
    # An entry without a record is a mark: the image was begun.
    places = [path.parent for path in gallery.glob("*/entry.json") if "record" in path.read_text()]
    records = {place.name: place / "explanation.json" for place in places}
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in records.items()}


def compare_workers(workplace: Path, images: int, calls: int, repeats: int) -> dict[str, Any]:
    """Seconds for the same images by one worker and by two, and in this process on all cores."""
    photos = workplace / "photos"
    photos.mkdir()
    pixels = np.round(iassa.example_image("cat") * 255).astype(np.uint8)
    for k in range(images + WARM):  # each is another image, as the same would be the same work
        Image.fromarray(np.roll(pixels, 3 * k, axis=1)).save(photos / f"{k:03d}.png")
    found = find_photos([photos]).photos
    rows = []
    for k in range(repeats):
        row = {}
        for name, workers in (("one", 1), ("two", 2)):
            with LocalWorkers(Model("efficientnet-lite0", "cpu"), workers) as pool:
                row[name] = _time(workplace / f"{name}-{k}", found, calls, pool)
        here = InProcess(iassa.open_model("efficientnet-lite0", "cpu"), lambda: False)
        row["in process"] = _time(workplace / f"here-{k}", found, calls, here)
        rows.append(row | {"ratio": row["one"] / row["two"]})
    median = statistics.median(row["ratio"] for row in rows)
    return {"images": images, "calls": calls, "rows": rows, "median": median, "goal": GOAL}


def print_nothing(*_: object) -> None:
    """Nobody is told."""


def _time(folder: Path, photos: Sequence[Photo], calls: int, pool: Pool) -> float:
    """Seconds for all images, after the first, by which each worker opens its model."""
    asking = Asking(functools.partial(iassa.explain, calls=calls), UPRIGHT, "all")
    silent = Watching(print_nothing, print_nothing, print_nothing, lambda: False)
    method = {"method": iassa.methods.Iassa().as_dict()}
    with Gallery(folder, method) as gallery:
        make_gallery(gallery, photos[:WARM], asking, pool, silent, lambda *_: "")
        start = time.perf_counter()
        made = make_gallery(gallery, photos, asking, pool, silent, lambda *_: "")
        seconds = time.perf_counter() - start
    if len(made.entries) < len(photos):
        raise SystemExit(f"error: {made.failures}")
    return seconds


def time_opening(gallery: Path, repeats: int) -> dict[str, Any]:
    """Milliseconds until the page and all that it loads at once are there."""
    page = (gallery / "index.html").read_text()
    # The page allows its own script alone, so the copy allows this one, too.
    script = f"addEventListener('load', () => {{ {TIMED} }})"
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    timed = page.replace("script-src ", f"script-src 'sha256-{digest}' ", 1)
    timed = timed.replace("</body>", f"<script>{script}</script></body>")
    copy = gallery / "timed.html"
    copy.write_text(timed)
    try:
        times = [_open(copy) for _ in range(repeats)]
    finally:
        copy.unlink()
    return {"images": page.count("<li "), "milliseconds": times}


def _open(page: Path) -> int:
    # With a window, Chromium loads the images that are near to what is seen; without one, all.
    lazy = "--blink-settings=lazyLoadEnabled=true"
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", lazy, "--dump-dom"]
    command += ["--timeout=20000", "--window-size=1280,800", page.resolve().as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = re.search(r"<title>(\d+)</title>", done.stdout)
    if found is None:
        raise SystemExit(f"error: no time in the page: {done.stdout[:300]}")
    return int(found[1])


def start(workplace: Path, command: list[str]) -> subprocess.Popen[bytes]:
    """`iassa explain` as a process in a session of its own."""
    path = os.pathsep.join(filter(None, [str(workplace), os.environ.get("PYTHONPATH")]))
    return subprocess.Popen(
        [sys.executable, "-m", "iassa", "explain", *command],
        cwd=workplace,
        env=os.environ | {"PYTHONPATH": path},
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )


def run(workplace: Path, command: list[str]) -> None:
    """The command, to its end."""
    with start(workplace, command) as process:
        status = process.wait()
    if status:
        raise SystemExit(f"error: expected status 0, got {status} from {command}")


def kill_at(workplace: Path, command: list[str], wanted: int) -> None:
    """Start the command, and kill it and its workers once so many images are done."""
    with start(workplace, command) as process:
        while len(list((workplace / "g").glob("*/thumbnail.jpg"))) < wanted:
            if process.poll() is not None:
                raise SystemExit(f"error: ended before it was killed: {process.returncode}")
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
