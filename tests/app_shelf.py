"""A folder with a gallery and a run, and with files that are none of iassa's."""

from __future__ import annotations

import contextlib

import numpy as np
from PIL import Image

from iassa.cli import main
from reported_runs import PLAIN, make_run

SECRET = "none of iassa's"


def make_shelf(folder):
    """The gallery 'cats' of two images, the run 'first', and other files beside them."""
    photos = folder / "photos"
    photos.mkdir()
    for seed in (0, 1):
        pixels = np.random.default_rng(seed).integers(0, 255, (24, 36, 3), np.uint8)
        Image.fromarray(pixels).save(photos / f"{seed}.png")
    command = ["explain", str(photos), "--model", "cheap_models:classifier", "--calls", "40"]
    with contextlib.suppress(SystemExit):
        main([*command, "--out", str(folder / "cats"), "--pictures", "sheet", "--quiet"])
    make_run(folder / "first", 3, configuration=PLAIN)
    for name in ("notes.txt", "cats/notes.txt", "cats/0/private.png", "cats/private.html"):
        (folder / name).write_text(SECRET)
    (folder / "cats" / "thumbnail.jpg").symlink_to(folder / "notes.txt")
    (folder / "cats" / "sheet.png").symlink_to("/etc/passwd")
