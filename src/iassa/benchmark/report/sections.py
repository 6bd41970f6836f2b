"""The words and tables of a report, by the names that its template has for them."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata, resources

from iassa.benchmark.datasets import Mosaics
from iassa.benchmark.report import tables
from iassa.benchmark.report.columns import FURTHER, LEVELS, MAIN, METRICS, Level, Metric
from iassa.benchmark.report.known_answers import answer_means, answer_table, standing_table
from iassa.benchmark.report.markdown import bullets, code, escape, fill, fold, image, join, text
from iassa.benchmark.report.pictures import Photo
from iassa.benchmark.report.ranks import rank_table
from iassa.benchmark.report.results import Results
from iassa.benchmark.report.statistics import MIN_IMAGES
from iassa.benchmark.store.records import left_out
from iassa.errors import counted, list_some

IN_SENTENCES = (*MAIN, METRICS["relevance_mass"], METRICS["best_f1"])  # the rest is in the tables
COMPARED = (*IN_SENTENCES, METRICS["best_iou"], METRICS["pointing_tolerant"])
FEW_IMAGES = 20  # below this a percentile interval is noticeably too narrow
TOOLS = ("iassa", "numpy", "matplotlib")


def write_text(
    title: str, results: Results, photos: Sequence[Photo], command: str, *, show_photos: bool
) -> str:
    """The whole report in GitHub's Markdown, its pictures in files beside it.

    Args:
        title: of the report.
        results: of the run.
        photos: pictures with photographs.
        command: that makes the report again; '' where it is unknown.
        show_photos: whether the photos are in the text; else it says where they are.

    Returns:
        The text; `page` makes a page of it.
    """
    template = resources.files("iassa.benchmark.report").joinpath("template.md").read_text("utf-8")
    photo_blocks = (
        block
        for photo in photos
        for block in (image(photo.description, f"{photo.name}.jpg"), text(photo.caption))
    )
    elsewhere = "The pictures are in `report.html`. `--photographs` shows them here as well."
    values = {
        "title": escape(title),
        **_facts(results),
        **_known_answers(results),
        **_right_quarter(results),
        **_summary(results),
        **_quality(results),
        **_differences(results),
        **_plots(results),
        "where_photos": elsewhere if photos and not show_photos else "",
        "photos": join(photo_blocks) if show_photos else "",
        "cost_table": tables.cost_table(results.items, results.configuration["methods"]),
        "stability_table": tables.stability_table(results.stabilities),
        "other_class_table": tables.other_class_table(results.other_classes),
        **_left_out(results),
        "run_command": _command("run", results.last.command),
        "report_command": _command("report", command),
    }
    return fill(template, values)


def _facts(results: Results) -> dict[str, str]:
    comparison, configuration = results.comparison, results.configuration
    finished, expected = results.finished, results.expected
    failed = f", {len(results.failures)} failed" if results.failures else ""
    calls = _list(map(str, sorted({arm.calls for arm in comparison.arms})))
    excluded = sum(bool(entry.excluded) for entry in results.entries)
    error = max(each.saliency_error for item in results.items for each in item.snapshots)
    settings = json.dumps(configuration, indent=2, ensure_ascii=False)
    versions = ", ".join(f"{tool} {metadata.version(tool)}" for tool in TOOLS)
    return {
        "state": f"{finished} of {expected} items so far{failed}" if finished < expected else "",
        "methods": counted(len({arm.label for arm in comparison.arms}), "method"),
        "calls": calls or "no fixed number of",
        "model": escape(configuration.get("model", {}).get("name", "a model without a name")),
        "kind": escape(configuration.get("dataset", {}).get("kind", "unknown")),
        "targets": counted(len(comparison.entries), "target"),
        "images": counted(_num_images(results), "image"),
        "saliency_error": tables.number(error, tables.number_format([error])),
        "items": f"{finished} of {expected}",
        "seeds": _list(map(str, configuration["seeds"])),
        "fates": f"{len(comparison.entries)} compared, {excluded} excluded, "
        f"{comparison.left_out} left out, {comparison.not_asked} not asked for",
        "num_resamples": str(results.bootstrap.num_resamples),
        "bootstrap_seed": str(results.bootstrap.seed),
        "settings": fold("All settings", code(settings)),
        "footer": escape(f"Written by {versions}, Python {platform.python_version()}."),
    }


def _known_answers(results: Results) -> dict[str, str]:
    """The tables of a run whose right maps are known; of another they are empty."""
    comparison = results.comparison
    known = any("right_order" in one.metrics for item in results.items for one in item.snapshots)
    means = answer_means(results.items, comparison.entries, comparison.arms) if known else {}
    return {"answers": answer_table(means), "standing": standing_table(means)}


def _right_quarter(results: Results) -> dict[str, str]:
    """The table of a run of mosaics; of another it is empty."""
    dataset = results.configuration.get("dataset", {})
    if not isinstance(dataset, Mapping) or dataset.get("kind") != Mosaics.kind:
        return {"quarter_means": "", "asked_images": ""}
    shown = [METRICS[name] for name in ("relevance_mass", "pointing", "average_precision")]
    best, heads = tables.best_cells(results.equal), ("method", "calls")
    return {
        "quarter_means": tables.metric_table(
            "Maps of mosaics", heads, results.means, shown, "image", best=best, folds=False
        ),
        "asked_images": counted(int(dataset["calls"]), "image"),
    }


def _summary(results: Results) -> dict[str, str]:
    compared, num_images = bool(results.comparison.entries), _num_images(results)
    to_reference = [each for each in results.equal if each.other.label == results.reference]
    main = [each for each in to_reference if {each.one, each.other} <= {*results.shown}]
    other_calls = {each.one.calls for each in to_reference} - {each.one.calls for each in main}
    images = counted(num_images, "image") if compared else ""
    nothing = "No target has been explained by all methods yet, so nothing is compared."
    return {
        "nothing_compared": "" if compared else nothing,
        "findings": bullets(tables.findings([*results.asked, *main], IN_SENTENCES)),
        "other_calls": ", ".join(map(str, sorted(other_calls))),
        "too_few_images": images if num_images < MIN_IMAGES else "",
        "min_images": str(MIN_IMAGES),
        "few_images": images if MIN_IMAGES <= num_images < FEW_IMAGES else "",
        "resamples": f"{results.bootstrap.num_resamples} bootstrap resamples" if compared else "",
    }


def _quality(results: Results) -> dict[str, str]:
    means, best = results.means, tables.best_cells(results.equal)
    counts = {mean.estimate.num_entries for mean in means}
    measured = {mean.metric for mean in means}
    about = (
        f"{metric.heading}: {metric.about}; "
        f"{'lower' if metric.lower_is_better else 'higher'} is better"
        for metric in METRICS.values()
        if metric.name in measured
    )

    def show(metrics: Sequence[Metric], level: Level, *, folds: bool = True) -> str:
        heads = ("method", "calls")
        return tables.metric_table("Means", heads, means, metrics, level, best=best, folds=folds)

    return {
        "image_means": show(MAIN, "image", folds=False),
        "fill_ranks": rank_table(means),
        "pixel_means": show(MAIN, "pixel"),
        "fewest_targets": str(min(counts)) if len(counts) > 1 else "",
        "pixel_level": "pixel level" if any(mean.level == "pixel" for mean in means) else "",
        "further_means": fold("Further metrics", *(show(FURTHER, level) for level in LEVELS)),
        "meanings": fold("What the columns mean", bullets(about)),
    }


def _differences(results: Results) -> dict[str, str]:
    reference = results.reference
    groups = {
        "Differences that were asked for": results.asked,
        f"Differences to {reference} at equal calls": [
            each for each in results.equal if each.other.label == reference
        ],
        "Differences of the other pairs at equal calls": [
            each for each in results.equal if each.other.label != reference
        ],
    }
    asked, to_reference, *rest = (
        tables.metric_table(caption, ("method", "minus"), some, COMPARED, level)
        for level in LEVELS
        for caption, some in groups.items()
    )
    return {
        "asked_differences": asked,
        "reference_differences": to_reference,
        "other_differences": fold("Other pairs, and the pixel level", *rest),
    }


def _plots(results: Results) -> dict[str, str]:
    plots = {
        name.replace("-", "_"): image(" ".join(each.description for each in panels), f"{name}.png")
        for name, panels in results.panels().items()
    }
    deleted = {each.label for each in results.curves if ("image", "deletion") in each.columns}
    arms = _list(str(arm) for arm in results.shown if arm.label in deleted)
    return {**plots, "curve_arms": escape(arms)}


def _left_out(results: Results) -> dict[str, str]:
    comparison, last = results.comparison, results.last
    masks = results.configuration.get("dataset", {}).get("kind") == "masks"
    lost = "masks without an image" if masks else "images not in the folder"
    unscored = last.unscored or {}
    excluded = {reason: len(keys) for reason, keys in left_out(results.entries).items()}
    of_asked = f"{counted(comparison.left_out, 'target')} of {len(results.asked_entries)}"
    values = {
        "excluded": tables.count_table(
            excluded, "Targets that were not explained", "why", "targets"
        ),
        "missing": _not_in_run(lost, last.missing),
        "unscored": _not_in_run("images that could not be scored", list(unscored))
        + "".join(f" Of the first: {escape(error)}" for error in list(unscored.values())[:1]),
        "not_started": escape(_list(comparison.not_started)),
        "limit": counted(len(results.asked_entries), "target"),
        "not_asked": str(comparison.not_asked or ""),
        "left_out": of_asked if comparison.left_out else "",
        "reasons": tables.count_table(
            comparison.reasons, "Targets that a method lacks", "method: why", "targets"
        ),
        "failures": tables.failure_table(results.failures),
        "num_failed": counted(len(results.failures), "failed item") if results.failures else "",
    }
    nothing = "Nothing: every method has explained every target."
    empty = not any(value for name, value in values.items() if name != "limit")
    return {**values, "nothing_left_out": nothing if empty else ""}


def _not_in_run(what: str, names: Sequence[str]) -> str:
    return f"Not in the run, {what} ({len(names)}): {escape(list_some(names))}." if names else ""


def _command(what: str, command: str) -> str:
    return join([f"The command of the {what}:", code(command)]) if command else ""


def _num_images(results: Results) -> int:
    return len({entry.image for entry in results.comparison.entries})


def _list(names: Iterable[str]) -> str:
    """'a, b and c'."""
    *most, last = [*names] or [""]
    return f"{', '.join(most)} and {last}" if most else last
