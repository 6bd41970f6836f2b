"""The numbers of a report as CSV files, in full precision, for those who go on with them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any

from iassa.benchmark.report.columns import METRICS
from iassa.benchmark.report.comparison import Difference, Mean
from iassa.benchmark.report.statistics import Estimate
from iassa.benchmark.store.records import Entry, Item

__all__ = ["data_files"]


def data_files(
    means: Sequence[Mean],
    differences: Sequence[Difference],
    entries: Sequence[Entry],
    items: Sequence[Item],
) -> dict[str, bytes]:
    """summary.csv, differences.csv and items.csv.

    Args:
        means: a row of the first each.
        differences: a row of the second each.
        entries: of the items.
        items: a row of the third for each snapshot.

    Returns:
        The files by name: RFC 4180, UTF-8. A value that is not known is an empty field.
    """
    return {
        "summary.csv": _csv(_summary(means)),
        "differences.csv": _csv(_differences(differences)),
        "items.csv": _csv(_snapshots(entries, items)),
    }


def _summary(means: Sequence[Mean]) -> list[dict[str, Any]]:
    return [
        {
            "method": mean.arm.label,
            "calls": mean.arm.calls,
            "level": mean.level,
            "metric": mean.metric,
            **_fields(mean.estimate),
        }
        for mean in means
    ]


def _differences(differences: Sequence[Difference]) -> list[dict[str, Any]]:
    return [
        {
            "method": each.one.label,
            "calls": each.one.calls,
            "other_method": each.other.label,
            "other_calls": each.other.calls,
            "level": each.level,
            "metric": each.metric,
            **_fields(each.estimate),
            "verdict": each.verdict,
        }
        for each in differences
    ]


def _fields(estimate: Estimate) -> dict[str, Any]:
    return {
        "mean": estimate.mean,
        "low": estimate.low,
        "high": estimate.high,
        "n": estimate.num_entries,
        "images": estimate.num_images,
    }


def _snapshots(entries: Sequence[Entry], items: Sequence[Item]) -> list[dict[str, Any]]:
    by_key = {entry.key: entry for entry in entries}
    ordered = sorted(items, key=lambda item: item.key)  # whatever the order of the workers
    return [row for item in ordered for row in _rows_of(by_key[item.key.entry], item)]


def _rows_of(entry: Entry, item: Item) -> Iterator[dict[str, Any]]:
    for snapshot in item.snapshots:
        yield {
            "entry": entry.key,
            "image": entry.image,
            "category": entry.category,
            "target": entry.target.name,
            "score": entry.score,
            "annotated": entry.annotated,
            "method": item.key.method,
            "seed": item.key.seed,
            "budget": snapshot.budget,
            "rounds": snapshot.rounds,
            "calls": snapshot.calls,
            "relative_error": snapshot.relative_error,
            "saliency_error": snapshot.saliency_error,
            "item_calls": item.calls,
            "item_seconds": item.seconds,
            "item_metric_seconds": item.metric_seconds,
            "item_metric_calls": item.metric_calls,
            "item_warnings": " ".join(item.warnings),
            **snapshot.metrics,
        }


def _csv(rows: Sequence[dict[str, Any]]) -> bytes:
    names = dict.fromkeys(name for row in rows for name in row)
    # The metrics in the order of the tables, what else there is before and after them.
    columns = [name for name in names if name not in METRICS]
    place = columns.index("item_warnings") + 1 if "item_warnings" in columns else len(columns)
    columns[place:place] = [name for name in METRICS if name in names]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(
        {name: "" if value is None or value != value else value for name, value in row.items()}
        for row in rows
    )
    return text.getvalue().encode()
