"""What a shell may complete the value of an option to, without a model and without torch."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import typer

import iassa

# Written here once more, as the modules that hold them import torch; tests compare them.
METHODS = (
    *("iassa", "iassa-paper", "rise", "sliding-window", "lime", "sobol", "hsic"),
    *("kernel-shap", "shap-partition", "shap-bpt", "greedy"),
)
FILLS = ("zero", "grey", "mean", "blur", "noise")
DEFAULT_MODELS = ("efficientnet-lite0", "efficientnet-lite0-features")
TOP = ("top-1", "top-5")
CLASSES = Path(iassa.__file__).parent / "data" / "imagenet_classes.tsv"
SPECIAL = frozenset(" \t'\"\\$&;()<>|*?!`#")  # to a shell, outside of quotes
LARGEST = 2**20  # bytes of a record that is read for its targets


def among(*names: str) -> Callable[[str], Sequence[str]]:
    """One of some names."""
    return lambda incomplete: [name for name in names if name.startswith(incomplete)]


def several(*names: str) -> Callable[[str], Sequence[str]]:
    """One of some names, or more with commas."""
    return lambda incomplete: _behind_comma(incomplete, names)


def models(incomplete: str) -> Sequence[str]:
    """The default models, and ONNX files whose path begins so."""
    folder, _, start = incomplete.rpartition("/")
    there = Path(f"{folder}/" if folder else ".")
    try:
        files = [path for path in there.iterdir() if path.name.startswith(start)]
    except OSError:
        files = []
    found = [str(path) for path in files if path.suffix.lower() == ".onnx"]
    return [*among(*DEFAULT_MODELS)(incomplete), *sorted(found)]


def targets(context: typer.Context, incomplete: str) -> Sequence[str]:
    """Targets of the default model, or of a saved explanation."""
    directory, model = context.params.get("directory"), context.params.get("model")
    if directory is None and any(each.name == "directory" for each in context.command.params):
        directory = next(iter(context.args), None)  # where an option still lacks its value
    names: list[str] = []
    if directory is not None:
        names, model = _saved(Path(directory) / "explanation.json")
    if model in (None, DEFAULT_MODELS[0]):
        lines = CLASSES.read_text("utf-8").splitlines()
        names += [line.split("\t")[1].split(",")[0] for line in lines]
    return _as_typed(_behind_comma(incomplete, dict.fromkeys([*TOP, *names])))


def _saved(record: Path) -> tuple[list[str], str]:
    """Names of the targets of a record, and its model; none where it cannot be read."""
    try:
        with record.open(encoding="utf-8") as file:
            read = json.loads(file.read(LARGEST))
        return [str(one["name"]) for one in read["targets"]], str(read["model"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return [], ""


def _behind_comma(incomplete: str, names: Iterable[str]) -> list[str]:
    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in names if name.startswith(last)]


def _as_typed(names: Iterable[str]) -> list[str]:
    """Names that the shell can put into the line. Bash adds no quotes, where a name has blanks."""
    words = os.environ.get("COMP_WORDS", "").split("\n")
    place = os.environ.get("COMP_CWORD", "")
    typed = words[int(place)] if place.isdecimal() and int(place) < len(words) else ""
    by_itself = os.environ.get("_IASSA_COMPLETE") != "complete_bash" or typed[:1] in ("'", '"')
    return [name for name in names if by_itself or not SPECIAL & {*name}]
