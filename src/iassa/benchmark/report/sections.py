"""What a report says, section by section, made from what was computed."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

from iassa.benchmark.configuration import list_some
from iassa.benchmark.report.columns import FURTHER, LEVELS, MAIN, METRICS
from iassa.benchmark.report.comparison import Comparison, Difference, Mean, arms_at_shared_calls
from iassa.benchmark.report.costs import Cost, Failed, Steadiness, excluded_entries
from iassa.benchmark.report.figures import (
    Panel,
    call_panels,
    curve_panels,
    draw_alone,
    draw_key,
    figure_bytes,
    round_panels,
    styles,
)
from iassa.benchmark.report.page import (
    Bullets,
    Code,
    Facts,
    Fold,
    Key,
    Page,
    Part,
    Photo,
    Plot,
    Section,
    Text,
)
from iassa.benchmark.report.statistics import MIN_IMAGES
from iassa.benchmark.report.tables import (
    best_cells,
    cost_table,
    count_table,
    difference_table,
    failure_table,
    findings,
    mean_table,
    number,
    reported_table,
    stability_table,
)
from iassa.benchmark.report.trajectories import MeanCurve, Trajectory
from iassa.benchmark.store.records import Entry

__all__ = ["Results", "make_page", "panels_of"]

PLOTTED = (*MAIN, METRICS["best_f1"], METRICS["best_iou"], METRICS["sparsity"])
TOLD = (*MAIN, METRICS["best_f1"])  # in a sentence: the rest is in the tables
COMPARED = (*MAIN, METRICS["best_f1"], METRICS["best_iou"], METRICS["pointing_tolerant"])
FEW_IMAGES = 20  # below this a percentile interval is noticeably too narrow
MOST_FAILURES = 10
TOOLS = ("iassa", "numpy", "matplotlib")

CALLS, ROUNDS, PIXEL_ROUNDS, CURVES = (
    "metrics-by-calls",
    "metrics-by-iteration",
    "metrics-by-iteration-pixel",
    "curves",
)
TITLES = {
    CALLS: "Against the number of calls",
    ROUNDS: "Against the iteration",
    PIXEL_ROUNDS: "Against the iteration",
    CURVES: "Curves",
}


@dataclass(frozen=True, eq=False)
class Results:
    """All that a report tells.

    Attributes:
        name: of the run.
        configuration: of the run.
        entries: of the run, excluded ones too.
        comparison: of the methods.
        means: of all arms.
        reference: label of the method that the others are held against; '' with one method.
        equal: differences of all pairs at equal calls.
        asked: differences of the pairs that were asked for.
        trajectories: over rounds.
        curves: mean curves.
        costs: of each method.
        steadiness: of maps over seeds.
        failed: items.
        finished: number of finished items, of those asked for.
        expected: number of items that were asked for.
        num_asked: number of entries that were asked for.
        num_resamples: of the bootstrap.
        seed: of the bootstrap.
        photos: pictures with photographs.
        command: that makes the report again; '' where it is not known.
        made_by: the command that made the run; '' where it is not known.
        missing: names of what is annotated and whose image was not there.
        unscored: images that could not be scored, and why not.
    """

    name: str
    configuration: Mapping[str, Any]
    entries: Sequence[Entry]
    comparison: Comparison
    means: Sequence[Mean]
    reference: str
    equal: Sequence[Difference]
    asked: Sequence[Difference]
    trajectories: Sequence[Trajectory]
    curves: Sequence[MeanCurve]
    costs: Sequence[Cost]
    steadiness: Sequence[Steadiness]
    failed: Sequence[Failed]
    finished: int
    expected: int
    num_asked: int
    num_resamples: int
    seed: int
    photos: Sequence[Photo] = field(default=())
    command: str = ""
    made_by: str = ""
    missing: Sequence[str] = ()
    unscored: Mapping[str, str] = field(default_factory=dict)

    @property
    def num_images(self) -> int:
        """Images of the entries that are compared."""
        return len({entry.image for entry in self.comparison.entries})

    @property
    def to_reference(self) -> list[Difference]:
        """Differences to the reference at equal calls."""
        return [each for each in self.equal if each.other.label == self.reference]


def panels_of(results: Results) -> dict[str, list[Panel]]:
    """The panels of each plot, by the name of its files; only plots that show something."""
    several = len({arm.calls for arm in results.comparison.arms}) > 1
    panels = {
        CALLS: call_panels(results.means, PLOTTED, "image") if several else [],
        ROUNDS: round_panels(results.trajectories, PLOTTED, "image"),
        PIXEL_ROUNDS: round_panels(results.trajectories, MAIN, "pixel"),
        CURVES: curve_panels(results.curves),
    }
    return {name: found for name, found in panels.items() if found}


def make_page(results: Results) -> Page:
    """The whole report.

    Args:
        results: of the run.

    Returns:
        A page without sections that would be empty.
    """
    sections = (
        Section("What it shows", _shown(results)),
        Section("Quality", _quality(results)),
        Section("Differences", _differences(results)),
        *_plots(results),
        Section("Maps", _maps(results)),
        Section("Cost", _costs(results)),
        Section("Stability over seeds", _stability(results)),
        Section("What was left out", _left_out(results)),
        Section("As reported by the paper", _reported()),
        Section("How it was made", _made(results)),
    )
    failed = sum(each.items for each in results.failed)
    state = ""
    if results.finished < results.expected:
        state = f"{results.finished} of {results.expected} items so far"
        state += f", {failed} failed" if failed else ""
    versions = ", ".join(f"{tool} {metadata.version(tool)}" for tool in TOOLS)
    return Page(
        title=f"Benchmark {results.name}",
        state=state,
        lead=_lead(results),
        sections=tuple(section for section in sections if section.parts),
        footer=f"Written by {versions}, Python {platform.python_version()}.",
    )


def _lead(results: Results) -> str:
    labels = dict.fromkeys(arm.label for arm in results.comparison.arms)
    calls = sorted({arm.calls for arm in results.comparison.arms})
    model = results.configuration.get("model", {}).get("name", "a model that is not named")
    kind = results.configuration.get("dataset", {}).get("kind", "not named")
    return (
        f"{_count(len(labels), 'method')} at {_list(map(str, calls)) or 'no fixed number of'} "
        f"model calls, explaining {model} on a dataset of the kind {kind}: "
        f"{_count(len(results.comparison.entries), 'target')} in "
        f"{_count(results.num_images, 'image')} that every method has explained."
    )


def _shown(results: Results) -> list[Part]:
    if not results.comparison.entries:
        return [Text("No target has been explained by all methods yet, so nothing is compared.")]
    parts: list[Part] = []
    shown = arms_at_shared_calls(results.comparison.arms)
    told = [each for each in results.to_reference if each.one in shown and each.other in shown]
    sentences = findings([*results.asked, *told], TOLD)
    if sentences:
        parts.append(Bullets(sentences))
    if len(told) < len(results.to_reference):
        parts.append(Text("At other numbers of calls: see the differences below."))
    if results.num_images < MIN_IMAGES:
        parts.append(
            Text(
                f"With {_count(results.num_images, 'image')} nothing can be shown at 95 %: it "
                f"takes {MIN_IMAGES} that agree. The intervals below are too narrow."
            )
        )
    elif results.num_images < FEW_IMAGES:
        parts.append(
            Text(
                f"With {results.num_images} images the intervals are somewhat too narrow; take a "
                "verdict whose interval ends near 0 for a hint."
            )
        )
    parts.append(
        Text(
            "Better and worse mean that the 95 % interval of the paired difference lies on one "
            "side of 0; no difference shown is no proof that there is none. Intervals are of "
            f"{results.num_resamples} bootstrap resamples of the images, each with all of its "
            "targets; the seeds of a target are averaged first. No correction is made for many "
            "comparisons: where there is no difference, about one verdict in twenty still claims "
            "one."
        )
    )
    return parts


def _quality(results: Results) -> list[Part]:
    best = best_cells(results.equal)
    tables: list[Part] = [
        table for level in LEVELS if (table := mean_table(results.means, best, MAIN, level)).rows
    ]
    further: list[Part] = [
        table for level in LEVELS if (table := mean_table(results.means, best, FURTHER, level)).rows
    ]
    if not tables and not further:
        return []
    measured = {mean.metric for mean in results.means}
    about = {
        metric.heading: f"{metric.about}; {_direction(metric.lower_is_better)}"
        for metric in METRICS.values()
        if metric.name in measured
    }
    pixel = (
        "At the pixel level a value is divided by the number of pixels that the map activates, "
        "then averaged: it rewards maps that say as much with fewer pixels. Deletion, where less "
        "is better, it rewards for marking more: read it beside the image level."
    )
    counts = {mean.estimate.num_entries for mean in results.means}
    fewer = (
        [
            Text(
                f"A metric that not every target has, for want of an annotation or of an activated "
                f"pixel, is a mean over those that have it: {min(counts)} at least. summary.csv "
                "has the number of each."
            )
        ]
        if len(counts) > 1
        else []
    )
    return [
        Text(
            "Means with 95 % intervals. Bold: shown to be better than every other method at the "
            "same number of calls, by the intervals of the paired differences. Intervals of two "
            "rows may overlap and their difference still be shown."
        ),
        *tables,
        *fewer,
        *([Text(pixel)] if any(mean.level == "pixel" for mean in results.means) else []),
        *([Fold("Further metrics", further)] if further else []),
        Fold("What the columns mean", [Facts(about)]),
    ]


def _differences(results: Results) -> list[Part]:
    parts: list[Part] = []
    against = f"Differences to {results.reference} at equal calls"
    folded: list[Part] = []
    for level in LEVELS:
        levels = f", {level} level"
        asked = difference_table(
            results.asked, COMPARED, level, "Differences that were asked for" + levels
        )
        to_reference = difference_table(results.to_reference, COMPARED, level, against + levels)
        rest = [each for each in results.equal if each.other.label != results.reference]
        others = difference_table(
            rest, COMPARED, level, "Differences of the other pairs at equal calls" + levels
        )
        shown, hidden = ([asked, to_reference], [others])
        if level == "pixel":
            shown, hidden = [], [asked, to_reference, others]
        parts += [table for table in shown if table.rows]
        folded += [table for table in hidden if table.rows]
    if folded:
        parts.append(Fold("Other pairs, and the pixel level", folded))
    if parts:
        parts.append(Text("All of them, with every metric: differences.csv."))
    return parts


def _plots(results: Results) -> list[Section]:
    shown = _list(str(curve.arm) for curve in results.curves if curve.kind == "deletion")
    captions = {
        CALLS: "Image level. Bands and bars: 95 % intervals. The maps of a method that keeps its "
        "evidence are of one run, each made of the masks of the one before and more.",
        ROUNDS: "Image level (the paper's Figure 6). A target that stopped early keeps the map "
        "with which it stopped. Each method over the targets that it has finished.",
        PIXEL_ROUNDS: "Pixel level (the paper's Figure 7), likewise.",
        CURVES: "Mean score while pixels are deleted or inserted, most salient first; bands: 95 % "
        f"intervals. {shown}.",
    }
    looks = styles(list(results.configuration["methods"]))
    sections: dict[str, list[Part]] = {}
    for name, panels in panels_of(results).items():
        labels = dict.fromkeys(line.label for panel in panels for line in panel.lines)
        plot = Plot(
            name,
            captions[name],
            [
                (figure_bytes(draw_alone(panel, looks), "svg"), panel.description)
                for panel in panels
            ],
            [Key(label, figure_bytes(draw_key(looks[label]), "svg")) for label in labels],
        )
        sections.setdefault(TITLES[name], []).append(plot)
    return [Section(title, parts) for title, parts in sections.items()]


def _maps(results: Results) -> list[Part]:
    if not results.photos:
        return []
    return [
        Text(
            "Maps over their images, chosen by their place in the dataset or by name, not by how "
            "well they came out. A map with negative values is an effect, bright for and against, "
            "dark at 0; one without is shown over its own range. The pictures are left out of a "
            "report that is to be published unless they are asked for; report.html has them."
        ),
        *results.photos,
    ]


def _costs(results: Results) -> list[Part]:
    if not results.costs:
        return []
    error = max(cost.saliency_error for cost in results.costs)
    return [
        cost_table(results.costs),
        Text(
            "An item is one target explained by one method with one seed, at all of its numbers of "
            "calls: calls and seconds are of all of these together. A method that keeps its "
            "evidence goes on from one to the next, another begins anew. Seconds are of this run "
            "on its machine, whatever else that did. Relative error is the median that the method "
            "states of its last maps, where it states one. Weak evidence counts the items with a "
            "warning."
        ),
        Text(
            f"Maps are stored as float16: the largest error of a value is {number(error)} in units "
            "of the score. Metrics were measured before that."
        ),
    ]


def _stability(results: Results) -> list[Part]:
    if not results.steadiness:
        return []
    seeds = _list(map(str, results.configuration.get("seeds", ())))
    return [
        stability_table(results.steadiness),
        Text(
            f"Mean over the pairs of seeds ({seeds}) and over the targets, with 95 % intervals. 1 "
            "is the same map each time; a stable map may still be wrong."
        ),
    ]


def _left_out(results: Results) -> list[Part]:
    comparison = results.comparison
    parts: list[Part] = []
    excluded = excluded_entries(results.entries)
    if excluded:
        parts.append(count_table(excluded, "Targets that were not explained", "why", "targets"))
    masks = results.configuration.get("dataset", {}).get("kind") == "masks"
    for names, what in (
        (results.missing, "masks without an image" if masks else "images not in the folder"),
        (list(results.unscored), "images that could not be scored"),
    ):
        if names:
            error = results.unscored.get(names[0], "")
            parts.append(
                Text(
                    f"Not in the run, {what} ({len(names)}): {list_some(names)}."
                    + (f" Of the first: {error}" if error else "")
                )
            )
    if comparison.not_started:
        labels = _list(comparison.not_started)
        parts.append(Text(f"Without a finished item, and in no table: {labels}."))
    if comparison.not_asked:
        parts.append(
            Text(
                f"The last command was limited to {_count(results.num_asked, 'target')}, the "
                "highest scores first. Not asked for, and in no comparison: "
                f"{comparison.not_asked} more."
            )
        )
    if comparison.left_out:
        parts.append(
            Text(
                f"{_count(comparison.left_out, 'target')} of "
                f"{results.num_asked} that are to be explained are in "
                "no comparison, since not every method has them with every seed. One that several "
                "methods lack counts for each."
            )
        )
        parts.append(
            count_table(comparison.reasons, "Targets that a method lacks", "method: why", "targets")
        )
    if results.failed:
        parts.append(failure_table(results.failed[:MOST_FAILURES]))
        more = len(results.failed) - MOST_FAILURES
        if more > 0:
            parts.append(Text(f"{_count(more, 'further kind')} of failure not shown."))
        parts.append(Text("The command that made the run tries them again."))
    return parts or [Text("Nothing: every method has explained every target.")]


def _reported() -> list[Part]:
    return [
        Text(
            "Not measured here. Table 1 of Vasu and Long (WACV 2020): MS-COCO, ResNet-50, other "
            "settings, and the iteration picked by its overlap with the annotation, which a user "
            "does not have. Not to be compared with the rows above."
        ),
        *(reported_table(level) for level in LEVELS),
    ]


def _made(results: Results) -> list[Part]:
    configuration = results.configuration
    facts = {
        "dataset": str(configuration.get("dataset", {}).get("kind", "not known")),
        "model": str(configuration.get("model", {}).get("name", "not known")),
        "seeds": _list(map(str, configuration.get("seeds", ()))),
        "items": f"{results.finished} of {results.expected}",
        "targets": f"{len(results.comparison.entries)} compared, "
        f"{sum(bool(entry.excluded) for entry in results.entries)} excluded, "
        f"{results.comparison.left_out} left out, {results.comparison.not_asked} not asked for",
        "bootstrap": f"{results.num_resamples} resamples of the images, seed {results.seed}, "
        "percentile intervals",
    }
    again: list[Part] = []
    for what, command in (("run", results.made_by), ("report", results.command)):
        if command:
            again += [Text(f"The command of the {what}:"), Code(command)]
    settings = json.dumps(configuration, indent=2, ensure_ascii=False)
    return [
        Facts(facts),
        *again,
        Fold("All settings", [Code(settings)]),
    ]


def _count(number_of: int, noun: str) -> str:
    return f"{number_of} {noun}" if number_of == 1 else f"{number_of} {noun}s"


def _list(names: Any) -> str:
    """'a, b and c'."""
    *most, last = [*names] or [""]
    return f"{', '.join(most)} and {last}" if most else last


def _direction(lower_is_better: bool) -> str:
    return "lower is better" if lower_is_better else "higher is better"
