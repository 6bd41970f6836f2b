"""What a run was asked for, as JSON: the same again, or how two of them differ.

Methods may join a run later, and those that are not asked for this time stay in it; all else has to
agree, since items are comparable only where they were made alike.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from iassa.errors import InputError

__all__ = [
    "DATA",
    "IMAGES",
    "as_json",
    "differences",
    "join_methods",
    "list_some",
    "tell_changed_images",
]

TOLD = 5  # names, of many
METHODS = "methods"  # label -> definition
# Of what the configuration has digests alone: nobody would know the data by these.
IMAGES = "dataset.images"
DATA = {
    IMAGES: "the images of the folder (names and sizes of the files)",
    "dataset.annotations": "the content of the annotation file",
    "dataset.masks": "the masks (names and contents of the files)",
    "targets.classes": "the classes of the model that stand for the categories",
}


def as_json(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration as it is after it was written and read: tuples are lists, keys texts.

    Raises:
        InputError: a value that JSON has not, as NaN.
    """
    try:
        content: dict[str, Any] = json.loads(json.dumps(dict(configuration), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise InputError(
            f"expected a configuration of finite numbers, texts, lists and mappings, got another: "
            f"{error}. Change it."
        ) from error
    return content


def join_methods(stored: dict[str, Any], asked: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """One configuration of the run's and what is asked for now.

    Args:
        stored: the run's, as `as_json` gives it.
        asked: likewise.

    Returns:
        The run's with the methods that are new in it, and what differs, one line each; with no line
        the two can be one run.
    """
    ours, theirs = stored.get(METHODS, {}), asked.get(METHODS, {})
    if not isinstance(ours, dict) or not isinstance(theirs, dict):
        return stored, list(differences(stored, asked))
    both = {label: (ours[label], theirs[label]) for label in ours if label in theirs}
    left = {**stored, METHODS: {label: pair[0] for label, pair in both.items()}}
    right = {**asked, METHODS: {label: pair[1] for label, pair in both.items()}}
    return {**stored, METHODS: {**theirs, **ours}} if theirs else stored, list(
        differences(left, right)
    )


def differences(stored: Any, asked: Any, path: str = "") -> Iterator[str]:
    """Where two configurations differ: 'metrics.step: 896 in the run, 224 asked for'.

    Of data only what it is that differs; see `DATA`.
    """
    if isinstance(stored, dict) and isinstance(asked, dict):
        for key in dict.fromkeys([*stored, *asked]):
            below = f"{path}.{key}" if path else key
            if key not in asked:
                yield f"{below}: {_show(stored[key])} in the run, nothing asked for"
            elif key not in stored:
                yield f"{below}: nothing in the run, {_show(asked[key])} asked for"
            else:
                yield from differences(stored[key], asked[key], below)
    elif isinstance(stored, list) and isinstance(asked, list) and len(stored) == len(asked):
        for place, (ours, theirs) in enumerate(zip(stored, asked, strict=True)):
            yield from differences(ours, theirs, f"{path}[{place}]")
    elif path in DATA and isinstance(stored, str) and isinstance(asked, str):
        if stored != asked:
            yield f"{path}: not {DATA[path]} with which the run began"
    elif stored != asked or isinstance(stored, bool) != isinstance(asked, bool):
        yield f"{path or 'all'}: {_show(stored)} in the run, {_show(asked)} asked for"


def _show(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}..."


def tell_changed_images(known: Collection[str], names: Sequence[str], half: str) -> str:
    """How the images of a folder differ from those that a run has scored.

    Args:
        known: names of the run's.
        names: of all in the folder.
        half: of the images that the run is of; see `run`. For 'even' and 'odd', new images are
            not listed: images of the other half are never part of the run.

    Returns:
        'not in the run: a.png; no longer in the folder: b.png, c.png and 3 more'; or that
        no name differs.
    """
    new = [name for name in names if name not in known] if half == "both" else []
    gone = sorted(set(known).difference(names))
    told = [
        f"{what}: {list_some(found)}"
        for what, found in (("not in the run", new), ("no longer in the folder", gone))
        if found
    ]
    if told:
        return "; ".join(told)
    same = "the names are the same, so a file has another size"
    return same if half == "both" else "those of this half are there, by name"


def list_some(names: Sequence[str]) -> str:
    """The first names of many: 'a.png, b.png and 3 more'."""
    more = len(names) - TOLD
    return ", ".join(names[:TOLD]) + (f" and {more} more" if more > 0 else "")
