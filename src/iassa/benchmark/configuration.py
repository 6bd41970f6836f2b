"""The configuration of a run, as JSON, and how two configurations differ.

A later command may add methods to a run or leave some out. All else has to agree, as items are
comparable only if they were made alike.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from iassa.errors import InputError, list_some

METHODS = "methods"  # label -> definition
OF_ITEMS = (METHODS, "seeds", "metrics")  # what items depend on, and entries do not
# The configuration holds digests of these. A message says what differs instead.
IMAGES = "dataset.images"
DATA = {
    IMAGES: "the images of the folder (names and sizes of the files)",
    "dataset.annotations": "the content of the annotation file",
    "dataset.photographs": "the photographs (names and sizes of the files)",
    "dataset.pairs": "the pairs of images",
    "dataset.queries": "the content of the query images",
    "dataset.mosaics": "the mosaics (which images are in which quarter)",
    "dataset.masks": "the masks (names and contents of the files)",
    "targets.classes": "the classes of the model that stand for the categories",
}


def as_json(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration as JSON gives it back: tuples become lists, keys become texts.

    Raises:
        InputError: JSON cannot hold a value, such as NaN.
    """
    try:
        content: dict[str, Any] = json.loads(json.dumps(dict(configuration), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise InputError(
            f"expected a configuration of finite numbers, texts, lists and mappings: {error}."
        ) from error
    return content


def join_methods(stored: dict[str, Any], asked: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Add the methods of a command to the configuration of a run.

    Args:
        stored: the configuration of the run, as `as_json` returns it.
        asked: that of the command, likewise.

    Returns:
        The configuration with the new methods, and a line for each difference. Without a line the
        command can continue the run.
    """
    ours, theirs = stored.get(METHODS, {}), asked.get(METHODS, {})
    if not isinstance(ours, dict) or not isinstance(theirs, dict):
        return stored, list(differences(stored, asked))
    both = {label: (ours[label], theirs[label]) for label in ours if label in theirs}
    left = {**stored, METHODS: {label: pair[0] for label, pair in both.items()}}
    right = {**asked, METHODS: {label: pair[1] for label, pair in both.items()}}
    joined = {**stored, METHODS: {**theirs, **ours}} if theirs else stored
    return joined, list(differences(left, right))


def differences(stored: Any, asked: Any, path: str = "") -> Iterator[str]:
    """Where two configurations differ: 'metrics.step: 896 in the run, 224 asked for'.

    A difference of data is described in words; see `DATA`.
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


def list_changed_images(known: Collection[str], names: Sequence[str], half: str) -> str:
    """How the images of a folder differ from those that a run has scored.

    Args:
        known: names of the images of the run.
        names: names of the images of the folder.
        half: the half of the images that the run explains; see `run`. For 'even' and 'odd', new
            images are not listed: images of the other half are never part of the run.

    Returns:
        'not in the run: a.png; no longer in the folder: b.png, c.png and 3 more', or a text that
        says that the names are the same.
    """
    new = [name for name in names if name not in known] if half == "both" else []
    gone = sorted(set(known).difference(names))
    parts = [f"not in the run: {list_some(new)}"] if new else []
    parts += [f"no longer in the folder: {list_some(gone)}"] if gone else []
    if parts:
        return "; ".join(parts)
    same = "the names are the same, so a file has another size"
    return same if half == "both" else "those of this half are there, by name"
