"""A run on what methods are chosen on, for the scripts that compare settings.

With --images and --annotations the even half of MS-COCO, with --images alone the top class of the
even half of a folder, without both the drawn scenes whose right map is known.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from coco_run import messages, show_bar
from iassa.benchmark import Contestant, Protocol
from iassa.benchmark.datasets import Coco, ImageFolder
from iassa.benchmark.datasets.synthetic_scenes import SyntheticScenes
from iassa.benchmark.synthetic import SyntheticModel
from iassa.errors import IassaError
from iassa.methods import Explainer

CALLS = 500


def tuning_options(about: str | None) -> argparse.ArgumentParser:
    """The options of such a script; about is its docstring."""
    parser = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, required=True, help="folder of the run")
    parser.add_argument("--images", type=Path, help="folder of images; default: drawn scenes")
    parser.add_argument("--annotations", type=Path, help="file in COCO's instances format")
    parser.add_argument("--calls", type=int, default=CALLS, help=f"of each map (default {CALLS})")
    parser.add_argument("--limit", type=int, default=14, help="most entries (default 14)")
    return parser


def run_tuning(options: argparse.Namespace, methods: Mapping[str, Explainer]) -> int:
    """Run methods by label into the folder, or go on; `iassa report` shows them.

    Returns:
        Exit status: 0 when done, 2 for what cannot be used or done.
    """
    photographs: dict[str, Any] = {
        "half": "even",
        "limit": options.limit,
        "min_score": 0.15,
        "protocol": Protocol(gain_steps=14, pixels_per_step=3584),
    }
    try:
        contestants = [Contestant(name, one, (options.calls,)) for name, one in methods.items()]
        what: dict[str, Any]
        if options.images is None:
            scenes = SyntheticScenes(options.run / "scenes")
            what = {"dataset": scenes, "model": SyntheticModel(), "classes": "same"}
        elif options.annotations is None:
            what = {"dataset": ImageFolder(options.images), **photographs}
        else:
            what = {"dataset": Coco(options.images, options.annotations), **photographs}
        found = show_bar(folder=options.run, contestants=contestants, **what)
    except IassaError as error:
        messages.print(f"error: {error}")
        return 2
    messages.print(f"{found.made} made, {len(found.failures)} failed, in {options.run}")
    return 2 if found.failures else 0
