"""The fields of a saved explanation, from its record and the arrays beside it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iassa.archives import read_arrays, take_array
from iassa.errors import InputError, require
from iassa.explanations.check import CONTENT, Check
from iassa.explanations.evidence import Evidence
from iassa.explanations.original import unpack
from iassa.explanations.record import Record, read_content, read_record
from iassa.models.detections import TargetBoxes
from iassa.models.targets import Target

# Fields that JSON holds as they are, and those that are lists or mappings there.
PLAIN = (
    *("model", "identity", "device", "seed"),
    *("calls", "seconds", "complete", "stopped"),
)
LISTED = ("scores", "rounds", "warnings", "versions")


def load_fields(directory: Path) -> dict[str, Any]:
    """All fields of the explanation that was saved in a folder; see `Explanation.load`.

    Raises:
        InputError: see there.
    """
    record = read_record(directory)
    content = read_content(directory, "explanation.npz", record)
    evidence = None
    if (directory / "evidence.npz").exists():  # without it, an explanation can still be read
        evidence = Evidence.unpack(read_content(directory, "evidence.npz", record))
    saved = record.image
    try:
        arrays = read_arrays(content)
        image, original = unpack(saved.size, saved.digest, arrays)
        maps = (len(record.targets), *image.shape[:2])
        fields = {
            "saliency": take_array(arrays, "saliency", maps, np.float32),
            "standard_error": take_array(arrays, "standard_error", maps, np.float32),
            "image": image,
            "original": original,
            "target_boxes": _restore_boxes(record, arrays),
            "evidence": evidence,
        }
    except InputError as damage:
        raise _cannot_read("explanation.npz", directory, damage) from damage
    return {**fields, **_restore_fields(record), "check": _restore_check(record, directory)}


def _cannot_read(name: str, directory: Path, damage: InputError) -> InputError:
    return InputError(f"cannot read {name} in {directory}: {damage} Make it again.")


def _restore_check(record: Record, directory: Path) -> Check | None:
    if record.check is None or not (directory / CONTENT).exists():  # as without evidence
        return None
    content = read_content(directory, CONTENT, record)
    try:
        return Check.restore(record.check, content, [target.name for target in record.targets])
    except InputError as damage:
        raise _cannot_read(CONTENT, directory, damage) from damage


def _restore_boxes(record: Record, arrays: Mapping[str, NDArray[Any]]) -> TargetBoxes | None:
    if not record.boxes:
        require("class_scores" not in arrays, "expected boxes for class_scores, got none.")
        return None
    class_scores = take_array(arrays, "class_scores", (len(record.boxes), None), np.float32)
    return TargetBoxes.restore([*map(dataclasses.asdict, record.boxes)], class_scores)


def _restore_fields(record: Record) -> dict[str, Any]:
    """Fields of an explanation that the record holds."""
    return {
        **{name: getattr(record, name) for name in (*PLAIN, *LISTED)},
        "method": dataclasses.asdict(record.method),
        "source": record.image.path,
        "targets": tuple(
            Target(t.name, t.indices, t.weights, offset=t.offset) for t in record.targets
        ),
        "relative_errors": tuple(np.inf if e is None else e for e in record.relative_errors),
    }
