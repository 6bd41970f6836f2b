"""A benchmark run on MS-COCO with a bar, for the scripts that make one."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

from rich.console import Console
from rich.progress import Progress

from iassa.benchmark import Contestant, Item, Outcome, Protocol, Tally, run
from iassa.benchmark.datasets import Coco

__all__ = [
    "Arm",
    "coco_options",
    "data_is_there",
    "messages",
    "read_metrics",
    "run_with_bar",
    "show_bar",
]

Arm: TypeAlias = tuple[str, int]  # label of a method and calls

messages = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)


def coco_options(about: str, folder: str) -> argparse.ArgumentParser:
    """The options of such a run.

    Args:
        about: the script's docstring.
        folder: name of that of the run, among the results.
    """
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("--images", type=Path, required=True, help="folder of images")
    parser.add_argument("--annotations", type=Path, required=True, help="in COCO's format")
    parser.add_argument("--min-score", type=float, default=0.4, help="of the whole image")
    parser.add_argument("--limit", type=int, help="the most pairs, highest scores first")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    default = Path(__file__).parent / "results" / folder
    parser.add_argument("--run", type=Path, default=default, help="its folder")
    return parser


def data_is_there(options: argparse.Namespace) -> bool:
    """Whether the images and annotations are; says so if not."""
    for path in (options.images, options.annotations):
        if not path.exists():
            messages.print(f"skipped: no {path}. See --images and --annotations.")
            return False
    return True


def run_with_bar(
    options: argparse.Namespace,
    contestants: Sequence[Contestant],
    protocol: Protocol,
    half: Literal["both", "even", "odd"] = "both",
) -> Outcome:
    """Begin the run, or go on with it. Raises as `run` does."""
    return show_bar(
        dataset=Coco(options.images, options.annotations),
        folder=options.run,
        contestants=contestants,
        half=half,
        min_score=options.min_score,
        limit=options.limit,
        protocol=protocol,
        workers=options.workers,
    )


def show_bar(**what: Any) -> Outcome:
    """`iassa.benchmark.run` of these arguments, with a bar."""
    with Progress(console=messages) as bar:
        task = bar.add_task("items", total=None)

        def show(tally: Tally) -> None:
            bar.update(task, description=tally.stage, completed=tally.done, total=tally.total)

        return run(progress=show, **what)


def read_metrics(items: Iterable[Item]) -> dict[Arm, dict[tuple[str, int], Mapping[str, float]]]:
    """Metrics by arm, then by entry and seed; of items that are measured at numbers of calls."""
    found: dict[Arm, dict[tuple[str, int], Mapping[str, float]]] = {}
    for item in items:
        for snapshot in item.snapshots:
            assert snapshot.budget is not None, "no contestant is measured after each round"
            arm = found.setdefault((item.key.method, snapshot.budget), {})
            arm[item.key.entry, item.key.seed] = snapshot.metrics
    return found
