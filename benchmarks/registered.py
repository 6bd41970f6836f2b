r"""The primary comparisons of docs/results/plan.md, from its runs.

    python benchmarks/registered.py --rival LABEL --coco runs/coco runs/coco-seeds \
        --imagenet runs/imagenet

Runs of one set are read together: each entry has the mean over the seeds that all of them give it.
A difference is taken image by image. Its p is that of a test that flips signs; Holm (A Simple
Sequentially Rejective Multiple Test Procedure, 1979) orders the six, and the interval of the i-th
smallest p has the level 1 - 0.05 / (6 - i + 1), by the bootstrap over images. A difference is shown
if Holm's procedure comes to it and does not stop, which agrees with its interval but for the
difference between the two tests.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from coco_run import Arm, read_metrics
from iassa.benchmark import Store

LEVEL = 0.05
RESAMPLES = 20_000
# Entry -> value by metric, the mean over seeds.
Values = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Comparison:
    """One row: the differences of the images (n,), and what they show."""

    name: str
    differences: NDArray[np.float64]

    @property
    def p(self) -> float:
        """Of both sides, by flipping signs."""
        found = stats.permutation_test(
            (self.differences,),
            np.mean,
            permutation_type="samples",
            n_resamples=RESAMPLES,
            rng=np.random.default_rng(0),
        )
        return float(found.pvalue)

    def interval(self, level: float) -> tuple[float, float]:
        """Of the mean, by the percentiles of the bootstrap."""
        found = stats.bootstrap(
            (self.differences,),
            np.mean,
            confidence_level=level,
            method="percentile",
            n_resamples=RESAMPLES,
            rng=np.random.default_rng(0),
        ).confidence_interval
        return float(found.low), float(found.high)


def main() -> None:
    """Read, compare, print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rival", required=True, help="label of the best rival at 500 calls")
    parser.add_argument("--coco", type=Path, nargs="+", required=True)
    parser.add_argument("--imagenet", type=Path, nargs="+", required=True)
    options = parser.parse_args()
    coco, imagenet = read_arms(options.coco), read_arms(options.imagenet)
    rival = (options.rival, 500)
    comparisons = [
        compare("gain", coco, rival, "coco"),
        compare("gain", coco, ("rise", 1000), "coco"),
        compare("gain", coco, ("lime-slic", 1000), "coco"),
        compare("average_precision", coco, rival, "coco"),
        compare("relevance_mass", coco, rival, "coco"),
        compare("gain", imagenet, rival, "imagenet"),
    ]
    print("| `iassa` at 500 minus | metric | set | images | difference | p | Holm | shown |")
    print("|---|---|---|---|---|---|---|---|")
    for row in correct(comparisons):
        print(row)


def read_arms(runs: Iterable[Path]) -> dict[Arm, Values]:
    """Metrics by arm and entry, the mean over the seeds that every arm of the same name has."""
    arms: dict[Arm, dict[tuple[str, int], Mapping[str, float]]] = {}
    for run in runs:
        with Store.read(run) as store:
            for arm, values in read_metrics(store.items()).items():
                arms.setdefault(arm, {}).update(values)
    found: dict[Arm, Values] = {}
    for arm, values in arms.items():
        seeds: dict[str, list[Mapping[str, float]]] = {}
        for (entry, _), metrics in values.items():
            seeds.setdefault(entry, []).append(metrics)
        found[arm] = {entry: average(several) for entry, several in seeds.items()}
    return found


def average(metrics: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Of the metrics that all seeds have."""
    names = set.intersection(*(set(one) for one in metrics))
    return {name: float(np.mean([one[name] for one in metrics])) for name in names}


def compare(metric: str, arms: Mapping[Arm, Values], other: Arm, dataset: str) -> Comparison:
    """`iassa` at 500 calls minus another arm; the entries of an image are averaged."""
    ours, theirs = arms["iassa", 500], arms[other]
    images: dict[str, list[float]] = {}
    for entry in sorted(ours.keys() & theirs.keys()):
        image = entry.split(" ")[0]
        images.setdefault(image, []).append(ours[entry][metric] - theirs[entry][metric])
    differences = np.array([np.mean(each) for each in images.values()])
    return Comparison(f"`{other[0]}` at {other[1]} | {metric} | {dataset}", differences)


def correct(comparisons: Sequence[Comparison]) -> list[str]:
    """Rows of the table, in the order given, corrected by Holm."""
    order = sorted(comparisons, key=lambda each: each.p)
    going_on, rows = True, {}
    for place, each in enumerate(order):
        level = LEVEL / (len(order) - place)
        low, high = each.interval(1 - level)
        going_on = going_on and each.p <= level
        shown = "yes" if going_on else "no"
        rows[each.name] = (
            f"| {each.name} | {len(each.differences)} | {each.differences.mean():+.3f} "
            f"[{low:+.3f}, {high:+.3f}] | {each.p:.4f} | {level:.4f} | {shown} |"
        )
    return [rows[each.name] for each in comparisons]


if __name__ == "__main__":
    main()
