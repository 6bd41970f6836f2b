"""Quality of the maps on MS-COCO, against RISE with twice the calls.

    python benchmarks/quality.py --images DIR --annotations FILE --min-score 0.4

A run of `iassa benchmark coco` and its report, whose table goes to the terminal and into a JSON
file. For each image and category that the default model recognises, each method explains the sum of
the probabilities of the category's ImageNet classes. The same command goes on where it was stopped;
other methods, halves and numbers of calls are options of `iassa benchmark`.
"""

from __future__ import annotations

import dataclasses
import json
import sys

from rich.console import Console
from rich.table import Table

from coco_run import coco_options, data_is_there, messages, run_with_bar
from iassa.benchmark import Protocol, read_contestants
from iassa.benchmark.report import Report, write_report
from iassa.benchmark.report.columns import METRICS
from iassa.errors import IassaError
from iassa.files import write_whole

METHODS = ("iassa", "rise")
CALLS = (500, 1000)
COMPARE = (("iassa", 500), ("rise", 1000))
SHOWN = ("deletion", "insertion", "insertion_minus_deletion", "f1", "best_f1", "pointing")


def main() -> int:
    """Run, report, print.

    Returns:
        Exit status: 0 when done or skipped, 2 for what cannot be used or done.
    """
    options = coco_options(__doc__, "coco").parse_args()
    if not data_is_there(options):
        return 0
    try:
        contestants = read_contestants(METHODS, (), CALLS)
        outcome = run_with_bar(options, contestants, Protocol(pixels_per_step=896))
        report = write_report(options.run, compare=[COMPARE])
    except IassaError as error:
        messages.print(f"error: {error}")
        return 2
    _print(report)
    rows = [
        {"arm": str(one.arm), "metric": one.metric, **dataclasses.asdict(one.estimate)}
        for one in report.means
        if one.level == "image"
    ]
    gaps = [
        {
            "one": str(one.one),
            "other": str(one.other),
            "metric": one.metric,
            "verdict": one.verdict,
            **dataclasses.asdict(one.estimate),
        }
        for one in report.differences
        if one.level == "image"
    ]
    text = json.dumps({"means": rows, "differences": gaps}, indent=1)
    results = options.run.parent
    write_whole(results, {"quality.json": text.encode()})
    messages.print(f"{results / 'quality.json'}, {report.files[0]}")
    return 2 if outcome.failures else 0


def _print(report: Report) -> None:
    console = Console(width=None if sys.stdout.isatty() else 140, highlight=False)
    table = Table("map", title=f"means over {len(report.entries)} pairs")
    for name in SHOWN:
        table.add_column(METRICS[name].title, justify="right")
    means = {(one.arm, one.metric): one for one in report.means if one.level == "image"}
    for arm in dict.fromkeys(arm for arm, _ in means):
        table.add_row(str(arm), *(f"{means[arm, name].estimate.mean:.3f}" for name in SHOWN))
    asked = {
        one.metric: one.estimate
        for one in report.differences
        if one.level == "image"
        and (one.one.label, one.one.calls, one.other.label, one.other.calls)
        == (*COMPARE[0], *COMPARE[1])
    }
    gaps = (asked[name] for name in SHOWN)
    table.add_row(
        "{} at {} - {} at {}".format(*COMPARE[0], *COMPARE[1]),
        *(f"{gap.mean:+.3f}\n\\[{gap.low:+.3f}, {gap.high:+.3f}]" for gap in gaps),
    )
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
