"""The numbers of a report as CSV files, in full precision, for further analysis."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import astuple
from typing import Any

from iassa.benchmark.report.columns import METRICS
from iassa.benchmark.report.comparison import Difference, Mean
from iassa.benchmark.store.records import Entry, Item

# In the order of the fields of `Mean` and `Difference`, and of what these hold.
SUMMARY = ("method", "calls", "level", "metric", "mean", "low", "high", "n", "images")
# What a text begins with that a spreadsheet would compute. Some pass over space and the like before
# it, and take the wide forms of Chinese and Japanese for the same.
RUN = re.compile(r"[\t\r\n]|\W*?[=+\-@\uff1d\uff0b\uff0d\uff20]")
DIFFERENCES = ("method", "calls", "other_method", "other_calls", *SUMMARY[2:], "verdict")


def data_files(
    means: Sequence[Mean],
    differences: Sequence[Difference],
    entries: Sequence[Entry],
    items: Sequence[Item],
) -> dict[str, bytes]:
    """summary.csv, differences.csv and items.csv.

    Args:
        means: rows of the first.
        differences: rows of the second.
        entries: of the items.
        items: their snapshots are the rows of the third.

    Returns:
        The files by name: RFC 4180, UTF-8. A value that is missing is an empty field. A text that
        a spreadsheet would take for a formula has a ' before it.
    """
    by_key = {entry.key: entry for entry in entries}
    ordered = sorted(items, key=lambda item: item.key)  # whatever the order of the workers
    rows = [row for item in ordered for row in _item_rows(by_key[item.key.entry], item)]
    return {
        "summary.csv": csv_file(as_rows(means)),
        "differences.csv": csv_file(as_rows(differences)),
        "items.csv": csv_file(rows),
    }


def as_rows(records: Sequence[Mean] | Sequence[Difference]) -> list[dict[str, Any]]:
    """Means or differences, each value by the name of its column."""
    names = {Mean: SUMMARY, Difference: DIFFERENCES}
    return [dict(zip(names[type(each)], _flatten(each), strict=True)) for each in records]


def _flatten(record: Any) -> Iterator[Any]:
    """The values of a record and of the records in it."""
    for value in record if isinstance(record, tuple) else astuple(record):
        if isinstance(value, tuple):
            yield from _flatten(value)
        else:
            yield value


def _item_rows(entry: Entry, item: Item) -> Iterator[dict[str, Any]]:
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


def csv_file(rows: Sequence[dict[str, Any]]) -> bytes:
    """A CSV file of rows, each value by the name of its column; see `data_files`."""
    names = dict.fromkeys(name for row in rows for name in row)
    # The metrics in the order of the tables, what else there is before and after them.
    columns = [name for name in names if name not in METRICS]
    place = columns.index("item_warnings") + 1 if "item_warnings" in columns else len(columns)
    columns[place:place] = [name for name in METRICS if name in names]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\r\n")
    writer.writerow({name: _cell(name) for name in columns})
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    return text.getvalue().encode()


def _cell(value: Any) -> Any:
    """A number as it is, a text so that it is no formula."""
    if isinstance(value, str):
        return f"'{value}" if RUN.match(value) else value
    return "" if value is None or value != value else value
