"""The numbers of an audit: a CSV file of its images and one of its classes, and JSON."""

from __future__ import annotations

import dataclasses
from typing import Any

from iassa.auditing.off_object import OffObject
from iassa.auditing.report import Audit, AuditedImage
from iassa.benchmark.report.data_files import csv_file
from iassa.gallery.photos import TABLES


def write_tables(audit: Audit) -> dict[str, bytes]:
    """audit.csv, worst first, and classes.csv; see `iassa.benchmark.report.data_files`."""
    images = [_flatten(image_row(one)) for one in audit.images]
    classes = [_flatten(dataclasses.asdict(one)) for one in audit.classes]
    return dict(zip(TABLES, map(csv_file, (images, classes)), strict=True))


def audit_as_json(audit: Audit) -> dict[str, Any]:
    """All of it, as JSON holds it."""
    return {
        "run": str(audit.run),
        "calls": audit.calls,
        "images": [image_row(one) for one in audit.images],
        "classes": [dataclasses.asdict(one) for one in audit.classes],
        "shared": [
            {**dataclasses.asdict(one), "images": [audit.images[k].name for k in one.images]}
            for one in audit.shared
        ],
        "failures": dict(audit.failures),
        "left": audit.left,
        "unlabelled": audit.unlabelled,
    }


def image_row(image: AuditedImage) -> dict[str, Any]:
    """Each value by its name; the share off the object and its interval are two."""
    off = image.off or OffObject(0.0)
    fields = {f.name: getattr(image, f.name) for f in dataclasses.fields(image)}
    fields["off"] = None if image.off is None else off.share
    names = [*fields]
    place = names.index("off") + 1
    ordered = [*names[:place], "interval", *names[place:]]
    return {name: off.interval if name == "interval" else fields[name] for name in ordered}


def _flatten(row: dict[str, Any]) -> dict[str, Any]:
    """A row of a table: of an interval its ends, of several labels one text."""
    flat: dict[str, Any] = {}
    for name, value in row.items():
        if name == "interval":
            flat["low"], flat["high"] = value or (None, None)
        else:
            flat[name] = "; ".join(value) if isinstance(value, tuple) else value
    return flat
