"""The settings with which each rival does best, for a comparison that its authors would accept.

    python benchmarks/rivals.py --images DIR --annotations FILE --calls 500

Each method runs with a small grid of settings, its defaults among them, on the even half of a
dataset in COCO's format. At each budget the settings of the highest mean symmetric relevance gain
are chosen, over the pairs that all settings of the method have. They go to the terminal as options
of `iassa benchmark --half odd`, and into rivals.json with the gains of all that were tried. The
same command goes on where it was stopped.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from coco_run import Arm, coco_options, data_is_there, messages, read_metrics, run_with_bar
from iassa.benchmark import Contestant, Protocol, Store, parse_contestant
from iassa.errors import IassaError
from iassa.files import write_whole

GAIN = "gain"  # of `iassa.benchmark.curves.summarise`: the mean over the fills
# The first of each is the default.
GRIDS: Mapping[str, tuple[str, ...]] = {
    "rise": ("baseline=grey", "baseline=blur", "grid_size=5", "debiased=True"),
    "lime": (
        "segmentation=quickshift",
        "segmentation=slic",
        "segmentation=slic,baseline=blur",
        "segmentation=slic,num_segments=50",
    ),
    "shap-partition": ("baseline=grey", "baseline=blur", "step_calls=2"),
    "kernel-shap": ("baseline=grey", "baseline=blur", "num_segments=25,max_segments=None"),
    "sobol": ("baseline=grey", "baseline=blur", "grid_size=5"),
    "hsic": ("baseline=grey", "baseline=blur", "grid_size=5"),
    "shap-bpt": ("baseline=grey", "baseline=blur"),
    "sliding-window": ("window=50,stride=20", "window=75,stride=25"),
    "greedy": ("pending=8", "pending=0"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, choose, print.

    Returns:
        Exit status: 0 when done or skipped, 2 for what cannot be used or done.
    """
    parser = coco_options(__doc__, "rivals")
    parser.add_argument("--calls", type=int, nargs="+", default=[500], help="budgets")
    parser.add_argument("--methods", nargs="+", choices=GRIDS, default=[*GRIDS])
    options = parser.parse_args(arguments)
    if not data_is_there(options):
        return 0
    tried = list_settings(options.methods, sorted({*options.calls}))
    try:
        # Half of the steps of the plan, and next to none of deletion, which does not count.
        protocol = Protocol(pixels_per_step=12544, gain_steps=7)
        contestants = [contestant for _, contestant in tried.values()]
        outcome = run_with_bar(options, contestants, protocol, half="even")
        with Store.read(options.run) as store:
            arms = read_metrics(store.items())
        gains = {
            arm: {pair: metrics[GAIN] for pair, metrics in values.items()}
            for arm, values in arms.items()
        }
    except IassaError as error:
        messages.print(f"error: {error}")
        return 2
    chosen = choose(gains, {label: text for label, (text, _) in tried.items()})
    for one in chosen:
        print(f"--method {one['option']}")
    write_whole(options.run, {"rivals.json": json.dumps(chosen, indent=1).encode()})
    messages.print(str(options.run / "rivals.json"))
    return 2 if outcome.failures else 0


def list_settings(
    methods: Iterable[str], calls: Sequence[int]
) -> dict[str, tuple[str, Contestant]]:
    """Settings and contestants by label: the method, and the number of its settings."""
    found = {}
    for method in methods:
        for number, text in enumerate(GRIDS[method]):
            label = f"{method}.{number}"
            found[label] = (text, parse_contestant(f"{label}={method}:{text}", calls))
    return found


def choose(
    gains: Mapping[Arm, Mapping[tuple[str, int], float]], settings: Mapping[str, str]
) -> list[dict[str, object]]:
    """The best settings of each method at each budget.

    Args:
        gains: of each arm, by entry and seed.
        settings: text by label, of the labels that count; as METHOD.NUMBER.

    Returns:
        For each method and budget what `rivals.json` says. Of equals the first one is chosen.
    """
    arms: dict[tuple[str, int], list[str]] = {}
    for label in settings:
        for known, budget in gains:
            if known == label:
                arms.setdefault((label.rpartition(".")[0], budget), []).append(label)
    found: list[dict[str, object]] = []
    for (method, budget), labels in arms.items():
        values = [gains[label, budget] for label in labels]
        common = sorted(set.intersection(*(set(each) for each in values)))
        if not common:
            continue
        means = [float(np.mean([each[key] for key in common])) for each in values]
        best = int(np.argmax(means))
        text = settings[labels[best]]
        found.append(
            {
                "method": method,
                "calls": budget,
                "settings": text,
                "option": f"{method}-tuned-{budget}={method}@{budget}:{text}",
                "gain": means[best],
                "pairs": len(common),
                "tried": {settings[label]: mean for label, mean in zip(labels, means, strict=True)},
            }
        )
    return found


if __name__ == "__main__":
    sys.exit(main())
