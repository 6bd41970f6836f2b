r"""The tables of docs/results that no report of one run has: what docs/results/plan.md compares.

    python benchmarks/registered.py --rival LABEL --coco runs/coco runs/coco-seeds \
        --imagenet runs/imagenet --models runs/lite1 runs/lite2

First the primary comparisons, or those of --compare, then each method of the plan against `iassa`
under each fill, then the ranks over fills and models, of the methods that all models have.

Runs of one set, those of other models by the names of their folders, are read together: each entry
has the mean over the seeds that all of them give it. What a run has again takes the place of what
runs before it had.
A difference is taken image by image. Its p is that of a test that flips signs; Holm (A Simple
Sequentially Rejective Multiple Test Procedure, 1979) orders them, and the interval of the i-th
smallest p of n has the level 1 - 0.05 / (n - i + 1), by the bootstrap over images. A difference is
shown if Holm's procedure comes to it and does not stop, which agrees with its interval but for the
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
from iassa.benchmark import Protocol, Store

SIX = (
    "gain:coco:{}@500",
    "gain:coco:rise@1000",
    "gain:coco:lime-slic@1000",
    "average_precision:coco:{}@500",
    "relevance_mass:coco:{}@500",
    "gain:imagenet:{}@500",
)
LEVEL = 0.05
RESAMPLES = 20_000
CALLS = 500
FILLS = tuple(f"gain_{fill}" for fill in Protocol().gain_fills)
EXTRACT = ("gain", *FILLS, "average_precision", "relevance_mass", "f1", "best_f1", "pointing")
INTERVAL = 0.95


@dataclass(frozen=True)
class Arms:
    """The results of a set of images.

    Attributes:
        values: metrics by arm and entry, the mean over the seeds that the arm has.
        images: the image of each entry.
    """

    values: Mapping[Arm, Mapping[str, Mapping[str, float]]]
    images: Mapping[str, str]


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
    parser.add_argument("--rival", help="label of the best rival at 500 calls")
    parser.add_argument("--coco", type=Path, nargs="+", required=True)
    parser.add_argument("--imagenet", type=Path, nargs="+", required=True)
    parser.add_argument("--models", type=Path, nargs="*", default=[], help="of the other models")
    parser.add_argument(
        "--compare", nargs="+", metavar="METRIC:SET:LABEL@CALLS", help="not the six"
    )
    options = parser.parse_args()
    sets = {"coco": read_arms(options.coco), "imagenet": read_arms(options.imagenet)}
    comparisons = []
    for wanted in options.compare or [one.format(options.rival) for one in SIX]:
        metric, name, arm = wanted.split(":")
        label, calls = arm.rsplit("@", 1)
        comparisons.append(compare(metric, sets[name], (label, int(calls)), name))
    print("| `iassa` at 500 minus | metric | set | images | difference | p | Holm | shown |")
    print("|---|---|---|---|---|---|---|---|")
    print("\n".join(correct(comparisons)))
    for name, arms in sets.items():
        print("\n" + "\n".join(tell_differences(arms, name)))
    if options.models:
        names = dict.fromkeys(run.name for run in options.models)
        others = {name: [run for run in options.models if run.name == name] for name in names}
        models = {name: read_arms(runs) for name, runs in others.items()}
        print("\n" + "\n".join(rank_models({"coco": sets["coco"], **models})))


def read_arms(runs: Iterable[Path]) -> Arms:
    """The results of runs of one set of images, each with seeds or methods of its own."""
    arms: dict[Arm, dict[tuple[str, int], Mapping[str, float]]] = {}
    images: dict[str, str] = {}
    for run in runs:
        with Store.read(run) as store:
            images |= {entry.key: entry.image for entry in store.entries()}
            for arm, values in read_metrics(store.items()).items():
                arms.setdefault(arm, {}).update(values)
    found: dict[Arm, dict[str, Mapping[str, float]]] = {}
    for arm, values in arms.items():
        seeds: dict[str, list[Mapping[str, float]]] = {}
        for (entry, _), metrics in values.items():
            seeds.setdefault(entry, []).append(metrics)
        found[arm] = {entry: average(several) for entry, several in seeds.items()}
    return Arms(found, images)


def average(metrics: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Of the metrics that all seeds have."""
    names = set.intersection(*(set(one) for one in metrics))
    return {name: float(np.mean([one[name] for one in metrics])) for name in names}


def compare(metric: str, arms: Arms, other: Arm, dataset: str) -> Comparison:
    """`iassa` at 500 calls minus another arm; the entries of an image are averaged."""
    ours, theirs = arms.values["iassa", CALLS], arms.values[other]
    images: dict[str, list[float]] = {}
    for entry in sorted(ours.keys() & theirs.keys()):
        difference = ours[entry][metric] - theirs[entry][metric]
        images.setdefault(arms.images[entry], []).append(difference)
    differences = np.array([np.mean(each) for each in images.values()])
    return Comparison(f"`{other[0]}` at {other[1]} | {metric} | {dataset}", differences)


def tell_differences(arms: Arms, dataset: str) -> list[str]:
    """A table: the means of `iassa`, then it minus each other arm, with 95 % intervals."""
    ours = arms.values["iassa", CALLS]
    metrics = [name for name in EXTRACT if all(name in one for one in ours.values())]
    means = [np.mean([one[name] for one in ours.values()]) for name in metrics]
    rows = [
        f"| {dataset} | calls | {' | '.join(metrics)} |",
        "|---" * (2 + len(metrics)) + "|",
        f"| `iassa` | {CALLS} | {' | '.join(f'{mean:.3f}' for mean in means)} |",
    ]
    for arm in arms.values:
        if arm != ("iassa", CALLS):
            cells = [_cell(compare(name, arms, arm, dataset)) for name in metrics]
            rows.append(f"| minus `{arm[0]}` | {arm[1]} | {' | '.join(cells)} |")
    return rows


def _cell(comparison: Comparison) -> str:
    low, high = comparison.interval(INTERVAL)
    text = f"{comparison.differences.mean():+.3f} [{low:+.3f}, {high:+.3f}]"
    return f"**{text}**" if low > 0 or high < 0 else text


def rank_models(models: Mapping[str, Arms]) -> list[str]:
    """A table: the rank of each method by its mean gain under each fill with each model."""
    common = set.intersection(*(set(one.values) for one in models.values()))
    arms = sorted(arm for arm in common if arm[1] == CALLS)
    ranks = {}
    for name, one in models.items():
        for fill in FILLS:
            means = [-np.mean([each[fill] for each in one.values[arm].values()]) for arm in arms]
            ranks[name, fill] = stats.rankdata(means)
    table = np.array([*ranks.values()])  # (models x fills, methods)
    heads = [f"{name} {fill.removeprefix('gain_')}" for name, fill in ranks]
    rows = [f"| method | mean rank | {' | '.join(heads)} |", "|---" * (2 + len(heads)) + "|"]
    for place in np.argsort(table.mean(axis=0), kind="stable"):
        cells = " | ".join(f"{rank:g}" for rank in table[:, place])
        rows.append(f"| `{arms[place][0]}` | {table[:, place].mean():.2f} | {cells} |")
    return rows


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
