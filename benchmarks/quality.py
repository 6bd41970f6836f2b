"""Quality of the maps on MS-COCO, against RISE with twice the calls.

    python benchmarks/quality.py --images DIR --annotations FILE --min-score 0.4

For each image and category that the default model recognises (the probabilities of the category's
ImageNet classes, `coco_imagenet_groups.json`, add up to the minimum score), each method explains
that sum. Deletion and insertion are measured at the model's input size, which is what it sees;
overlap and pointing at the size of the image file, which is what was annotated. Crowds are no part
of the annotations.

Differences are paired, to the reference, with a 95 % bootstrap interval over pairs: pairs of the
same image are drawn apart, so with many of these the interval is a little too narrow.

Everything is written after each pair; the same command goes on where it was stopped. Another
`--method` on the same results file computes that method only, and keeps the others.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import os
import platform
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

import iassa
from iassa.errors import IassaError, InputError
from iassa.files import write_whole
from iassa.image import resize
from iassa.metrics import best_f1, deletion, insertion, overlap_at, pointing_game


@dataclass(frozen=True)
class Contestant:
    """A method with its settings: `fields` are those that differ from its defaults."""

    label: str
    name: str
    calls: int
    fields: dict[str, Any] = field(default_factory=dict)

    def method(self) -> Any:
        """The method itself."""
        return iassa.METHODS[self.name](**self.fields)

    def definition(self) -> dict[str, Any]:
        """What has to agree for two results to be comparable, defaults included."""
        return {"name": self.name, "calls": self.calls, "method": repr(self.method())}


CONTESTANTS = (
    Contestant("iassa-500", "iassa", 500),
    Contestant("rise-500", "rise", 500),
    Contestant("rise-1000", "rise", 1000),
)
REFERENCE = "rise-1000"
MODEL = "efficientnet-lite0"
CAUSAL_SIZE = (224, 224)  # the model's input
METRICS = {  # name in the results -> (heading, whether more is better)
    "deletion": ("deletion", False),
    "insertion": ("insertion", True),
    "insertion_minus_deletion": ("I-D", True),
    "f1": ("F1 at 0.3", True),
    "best_f1": ("best F1", True),
    "pointing": ("pointing", True),
}
NUM_RESAMPLES = 10_000
BOOTSTRAP_SEED = 0

messages = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark.

    Args:
        arguments: of the command line; those of the process if None.

    Returns:
        Exit status: 0 when done or skipped, 2 for settings that cannot be used, 130 when stopped.
    """
    options = _parse(arguments)
    for path, what in ((options.images, "folder of images"), (options.annotations, "annotations")):
        if path is None or not path.exists():
            messages.print(f"skipped: no {what} at {path}. See --images and --annotations.")
            return 0
    try:
        contestants = _contestants(options.method, options.reference)
        results = _open_results(options, contestants)
        keys = _run(options, contestants, results)
    except IassaError as error:
        messages.print(f"error: {error}")
        return 2
    except KeyboardInterrupt:
        messages.print(f"stopped; the same command goes on from {options.results}.")
        return 130
    if not keys:
        messages.print("no pair reached the minimum score. Lower --min-score.")
        return 0
    labels = [contestant.label for contestant in contestants]
    rows = [results["pairs"][key]["methods"] for key in keys]
    results["summary"] = summarise(rows, labels, options.reference)
    _write(options.results, results)
    _warn_of_mixed_code(rows, labels)
    _print_tables(results["summary"], len(keys), options.reference)
    messages.print(f"everything per pair: {options.results}")
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, help="folder of MS-COCO images")
    parser.add_argument("--annotations", type=Path, help="file in COCO's instances format")
    parser.add_argument(
        "--min-score", type=float, default=0.4, help="of the whole image (default 0.4)"
    )
    parser.add_argument(
        "--results",
        type=Path,
        default=Path(__file__).parent / "results" / "quality.json",
        help="file to write, and to go on from (default benchmarks/results/quality.json)",
    )
    parser.add_argument("--limit", type=int, help="stop after this many pairs")
    parser.add_argument(
        "--half",
        choices=("even", "odd"),
        help="images at even or odd places only: choose on one half, report on the other",
    )
    parser.add_argument("--pixels-per-step", type=int, default=896, help="default 896: 56 steps")
    parser.add_argument("--batch-size", type=int, default=16, help="of the curves (default 16)")
    parser.add_argument(
        "--method",
        action="append",
        default=[],
        metavar="LABEL=NAME:CALLS[:field=value,...]",
        help="one more method, repeatable: no-attention=iassa:500:beta=1.0",
    )
    parser.add_argument(
        "--reference", default=REFERENCE, help=f"label to compare with (default {REFERENCE})"
    )
    return parser.parse_args(arguments)


def _contestants(texts: Sequence[str], reference: str) -> list[Contestant]:
    contestants = [*CONTESTANTS, *map(parse_contestant, texts)]
    labels = [contestant.label for contestant in contestants]
    if len(set(labels)) < len(labels):
        raise InputError(f"expected a label of its own for each method, got {labels}.")
    if reference not in labels:
        raise InputError(f"expected a reference among {labels}, got {reference!r}.")
    for contestant in contestants:
        try:
            contestant.method()
        except TypeError as error:  # a field that the method does not have
            raise InputError(f"method {contestant.label}: {error}") from None
    return contestants


def parse_contestant(text: str) -> Contestant:
    """Read LABEL=NAME:CALLS or LABEL=NAME:CALLS:field=value,field=value.

    Args:
        text: values are Python literals; what is none, is a string.

    Returns:
        The method with its settings.

    Raises:
        InputError: another form, or an unknown method.
    """
    match = re.fullmatch(r"([^=]+)=([\w-]+):(\d+)(?::(.*))?", text.strip())
    if match is None:
        raise InputError(f"expected LABEL=NAME:CALLS[:field=value,...], got {text!r}.")
    label, name, calls, assignments = match.groups()
    if name not in iassa.METHODS:
        known = ", ".join(iassa.METHODS)
        raise InputError(f"expected a method among {known}, got {name!r}.")
    fields = {}
    # A comma inside a tuple is followed by no 'name='.
    for assignment in re.split(r",(?=\s*\w+=)", assignments) if assignments else []:
        key, equals, value = assignment.partition("=")
        if not equals:
            raise InputError(f"expected field=value in {text!r}, got {assignment!r}.")
        try:
            fields[key.strip()] = ast.literal_eval(value.strip())
        except (ValueError, SyntaxError):
            fields[key.strip()] = value.strip()
    return Contestant(label, name, int(calls), fields)


def _open_results(options: argparse.Namespace, contestants: Sequence[Contestant]) -> dict[str, Any]:
    groups = resources.files("iassa").joinpath("data/coco_imagenet_groups.json").read_bytes()
    settings = {
        "model": MODEL,
        "annotations": hashlib.sha256(options.annotations.read_bytes()).hexdigest(),
        "groups": hashlib.sha256(groups).hexdigest(),
        "min_score": options.min_score,
        "half": options.half,
        "pixels_per_step": options.pixels_per_step,
    }
    methods = {contestant.label: contestant.definition() for contestant in contestants}
    environment = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    }
    if not options.results.exists():
        return {
            "settings": settings,
            "environment": environment,
            "methods": methods,
            "summary": None,
            "pairs": {},
        }
    try:
        results: dict[str, Any] = json.loads(options.results.read_text("utf-8"))
        kept = results["settings"] | {
            f"method {label}": value for label, value in results["methods"].items()
        }
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"expected results of this benchmark in {options.results}, got something else "
            f"({error!r}). Name another file with --results."
        ) from None
    wanted = settings | {f"method {label}": value for label, value in methods.items()}
    for name, value in wanted.items():
        if kept.get(name, value) != value:
            raise InputError(
                f"{options.results} was made with other settings: {name} is {kept[name]!r} there "
                f"and {value!r} here. Name another file with --results, or delete this one."
            )
    results["methods"] |= methods
    return results


def _run(
    options: argparse.Namespace, contestants: Sequence[Contestant], results: dict[str, Any]
) -> list[str]:
    """Evaluate what is missing from the results; return the keys of all pairs that count."""
    from coco import read_pairs  # here, so that --help and a skip need no pycocotools

    groups = json.loads(
        resources.files("iassa").joinpath("data/coco_imagenet_groups.json").read_text("utf-8")
    )
    black_box = iassa.open_black_box(MODEL)
    code = _digest_code()
    parity = {None: (0, 1), "even": (0,), "odd": (1,)}[options.half]
    keys: list[str] = []
    num_below = num_crowds = 0
    image_index = -1
    for pair in read_pairs(options.images, options.annotations):
        classes = groups.get(pair.category, {}).get("classes", [])
        if pair.image_index % 2 not in parity or not classes:
            continue
        if options.limit is not None and len(keys) >= options.limit:
            break
        if pair.image_index != image_index:  # the pairs of an image follow each other
            image_index, image = pair.image_index, pair.load_image()
            scores = np.asarray(black_box(image[None]), dtype=np.float64)[0]
        group_score = float(scores[classes].sum())
        if group_score < options.min_score:
            num_below += 1
            continue
        if image.shape[:2] != pair.annotation.shape:
            messages.print(
                f"left out: {pair.key}, image {image.shape[:2]}, annotation {pair.annotation.shape}"
            )
            continue
        keys.append(pair.key)
        num_crowds += pair.num_crowds
        record = results["pairs"].setdefault(
            pair.key,
            {
                "index": pair.index,
                "image": pair.image_path.name,
                "category": pair.category,
                "group_score": group_score,
                "annotated_fraction": float(pair.annotation.mean()),
                "crowds_left_out": pair.num_crowds,
                "methods": {},
            },
        )
        missing = [each for each in contestants if each.label not in record["methods"]]
        for contestant in missing:
            values = evaluate(
                contestant,
                image,
                pair.annotation,
                black_box,
                classes,
                seed=pair.index,
                pixels_per_step=options.pixels_per_step,
                batch_size=options.batch_size,
            )
            record["methods"][contestant.label] = values | {"code": code}
        if missing:
            _write(options.results, results)
            gaps = ", ".join(
                f"{each.label} {record['methods'][each.label]['insertion_minus_deletion']:.3f}"
                for each in missing
            )
            messages.print(f"{len(keys):4d}  {pair.key} ({group_score:.2f}): I-D {gaps}")
    messages.print(
        f"{len(keys)} pairs; {num_below} below the minimum score; "
        f"{num_crowds} crowd regions left out of the annotations."
    )
    return keys


def evaluate(
    contestant: Contestant,
    image: NDArray[np.float32],
    annotation: NDArray[np.bool_],
    black_box: Any,
    classes: Sequence[int],
    *,
    seed: int,
    pixels_per_step: int,
    batch_size: int,
) -> dict[str, float]:
    """Explain one image and measure the map.

    Args:
        contestant: the method and its calls.
        image: (H, W, 3) float32 in [0, 1].
        annotation: (H, W) bool.
        black_box: images (N, H, W, 3) -> scores (N, 1000).
        classes: outputs whose sum is explained.
        seed: of the method.
        pixels_per_step: of the curves.
        batch_size: of the curves.

    Returns:
        The metrics, the calls made and the seconds that the explanation took.
    """
    start = time.perf_counter()
    explanation = iassa.explain(
        image,
        black_box,
        target=",".join(map(str, classes)),
        method=contestant.method(),
        calls=contestant.calls,
        seed=seed,
    )
    seconds = time.perf_counter() - start
    saliency = explanation.saliency[0]
    weights = np.zeros(len(black_box.class_names))
    weights[list(classes)] = 1
    seen = resize(torch.from_numpy(image).permute(2, 0, 1), CAUSAL_SIZE).permute(1, 2, 0)
    curve_arguments: dict[str, Any] = {
        "saliency": resize(torch.from_numpy(saliency), CAUSAL_SIZE).numpy(),
        "image": seen.clamp(0, 1).numpy(),  # the filter's rounding may leave the range
        "black_box": black_box,
        "weights": weights,
        "pixels_per_step": pixels_per_step,
        "batch_size": batch_size,
    }
    deleted = deletion(**curve_arguments).area
    inserted = insertion(**curve_arguments).area
    return {
        "deletion": deleted,
        "insertion": inserted,
        "insertion_minus_deletion": inserted - deleted,
        "f1": overlap_at(saliency, annotation, fraction=0.3).f1,
        "best_f1": best_f1(saliency, annotation).f1,
        "pointing": float(pointing_game(saliency, annotation).hit),
        "calls": explanation.calls,
        "seconds": seconds,
    }


def summarise(
    rows: Sequence[dict[str, dict[str, float]]], labels: Sequence[str], reference: str
) -> dict[str, Any]:
    """Means, and paired differences to the reference with their intervals.

    Args:
        rows: one for each pair: label -> metric -> value.
        labels: methods to summarise.
        reference: label of the method to compare with.

    Returns:
        label -> `means` (metric -> mean), and but for the reference `differences` (metric -> mean,
        low, high).
    """
    values = {
        label: np.array([[row[label][metric] for metric in METRICS] for row in rows])
        for label in labels
    }
    summary: dict[str, Any] = {"num_pairs": len(rows), "reference": reference, "methods": {}}
    for label in labels:
        means = dict(zip(METRICS, values[label].mean(axis=0).tolist(), strict=True))
        for cost in ("calls", "seconds"):
            means[cost] = float(np.mean([row[label][cost] for row in rows]))
        entry: dict[str, Any] = {"means": means}
        if label != reference:
            differences = values[label] - values[reference]
            low, high = bootstrap_interval(differences)
            entry["differences"] = {
                metric: {"mean": float(mean), "low": float(a), "high": float(b)}
                for metric, mean, a, b in zip(
                    METRICS, differences.mean(axis=0), low, high, strict=True
                )
            }
        summary["methods"][label] = entry
    return summary


def bootstrap_interval(
    differences: NDArray[np.float64], *, seed: int = BOOTSTRAP_SEED
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """95 % percentile interval of the mean over resampled rows.

    Args:
        differences: (n, M), one row for each pair.
        seed: of the resampling.

    Returns:
        The 2.5th and the 97.5th percentile, (M,) each.
    """
    num_rows = len(differences)
    rng = np.random.default_rng(seed)
    # A resample is how often each row is drawn; in blocks, so that many rows stay in memory.
    chances = np.full(num_rows, 1 / num_rows)
    means = [
        rng.multinomial(num_rows, chances, size=NUM_RESAMPLES // 10) @ differences / num_rows
        for _ in range(10)
    ]
    low, high = np.percentile(np.concatenate(means), [2.5, 97.5], axis=0)
    return low, high


def _print_tables(summary: dict[str, Any], num_pairs: int, reference: str) -> None:
    # A table that is piped into a file has no terminal to measure itself against.
    console = Console(width=None if sys.stdout.isatty() else 140, highlight=False)
    headings = [f"{heading} {'(up)' if more else '(down)'}" for heading, more in METRICS.values()]
    means = Table(title=f"means over {num_pairs} pairs (up: more is better)")
    gaps = Table(title=f"difference to {reference}, with 95 % paired bootstrap interval")
    for table, more in ((means, ["calls", "seconds"]), (gaps, [])):
        table.add_column("method", no_wrap=True)
        for heading in [*headings, *more]:
            table.add_column(heading, justify="right")
    for label, entry in summary["methods"].items():
        values = entry["means"]
        means.add_row(
            label,
            *(f"{values[metric]:.3f}" for metric in METRICS),
            f"{values['calls']:.0f}",
            f"{values['seconds']:.1f}",
        )
        if "differences" in entry:
            gaps.add_row(label, *map(_format_gap, entry["differences"].values()))
    console.print(means)
    console.print(gaps)


def _format_gap(gap: dict[str, float]) -> str:
    return f"{gap['mean']:+.3f}\n\\[{gap['low']:+.3f}, {gap['high']:+.3f}]"


def _warn_of_mixed_code(rows: Sequence[dict[str, dict[str, Any]]], labels: Sequence[str]) -> None:
    versions = {row[label]["code"] for row in rows for label in labels}
    if len(versions) > 1:
        messages.print(
            f"warning: these results were made by {len(versions)} versions of the package's code. "
            "Delete the results file for a clean comparison."
        )


def _digest_code() -> str:
    """Fingerprint of the package's Python files, to notice results that mix two of them."""
    digest = hashlib.sha256()
    package = Path(iassa.__file__).parent
    for path in sorted(package.rglob("*.py")):
        digest.update(str(path.relative_to(package)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def _write(path: Path, results: dict[str, Any]) -> None:
    """Write whole or not at all, so that a kill leaves the file of the pair before."""
    write_whole(path.parent, {path.name: json.dumps(results, indent=1).encode()})


if __name__ == "__main__":
    sys.exit(main())
