"""From the categories of a dataset to the outputs of a model.

A dataset outlines a 'dog'; a model of ImageNet has 118 breeds of it. What is explained there is the
sum of their probabilities, and which classes count is a choice: made by the names where the model
has the dataset's own categories, by a shipped table for MS-COCO's categories and ImageNet's classes
(`data/coco_imagenet_groups.json`, which says of each doubtful class why it was taken or left out),
or by a file of the user's. It is never guessed from the number of outputs.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import json
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

from iassa.errors import InputError
from iassa.models.efficientnet_lite0 import class_names as imagenet_names
from iassa.models.targets import ClassLookup, Target

__all__ = ["CategoryTargets", "category_targets", "imagenet_groups"]

# Of the outputs whose name has to be that of the ImageNet class at its place. Not all: libraries
# reword some, as 'crane' of two kinds. Classes in another order agree at few places.
IMAGENET_SHARE = 0.9
TOLD = 5  # names in a message, of many


@dataclass(frozen=True)
class CategoryTargets:
    """What of a model's outputs is explained for each category.

    Attributes:
        kind: how they were found: 'same', 'imagenet' or 'file'.
        targets: by category, its classes summed, under the name of the category.
        without: the other categories, and why each has no target.
    """

    kind: str
    targets: Mapping[str, Target]
    without: Mapping[str, str]

    def describe(self) -> dict[str, Any]:
        """What has to agree for two runs to explain the same, as JSON holds it."""
        table = {name: list(target.indices) for name, target in self.targets.items()}
        content = json.dumps(table, sort_keys=True).encode()
        return {"kind": self.kind, "classes": hashlib.sha256(content).hexdigest()}


def category_targets(
    categories: Sequence[str],
    class_names: Sequence[str] | None,
    num_outputs: int,
    classes: str | Path = "auto",
) -> CategoryTargets:
    """Targets for the categories of a dataset.

    Args:
        categories: different names, in the dataset's order; '' stands for none.
        class_names: of the outputs, synonyms after commas; None if the model has none.
        num_outputs: of the model.
        classes: one of the following:
            'same', a class for each category, of the same name (or a synonym, whatever the case);
            for a model without class names that has one output for each category, the outputs in
            the order of the categories;
            'imagenet', the shipped table, for MS-COCO's categories and the 1000 classes of
            ImageNet in their usual order;
            a JSON file, {category: [class, ...]}, its classes by index or name;
            'auto', 'imagenet' if the names of the classes are those and a category is in the table;
            else 'same', if every category is the name of one class.

    Returns:
        Each category in `targets` or, with the reason, in `without`.

    Raises:
        InputError: no way to tell, told with what was found; no category has a class; another
            number of names than of outputs; a file that cannot be read, or names unknown
            categories or classes.
    """
    named = [category for category in categories if category]
    if not named:
        raise InputError(
            "expected categories to find classes for, got a dataset without any. Name a target, "
            "such as 'top-1'."
        )
    lookup = ClassLookup(num_outputs, class_names)
    if classes == "same":
        found = _same(named, class_names, num_outputs, lookup)
    elif classes == "imagenet":
        found = _from_table(named, num_outputs)
    elif classes == "auto":
        found = _recognise(named, class_names, num_outputs, lookup)
    else:
        found = _from_file(Path(classes), named, lookup)
    if not found.targets:
        reasons = [f"{category!r}: {why}" for category, why in found.without.items()]
        raise InputError(
            f"expected a category with classes of the model, got none ({_tell(reasons)}). Name a "
            "JSON file, {category: [class, ...]}."
        )
    if len(named) < len(categories):
        return replace(found, without={**found.without, "": "it is no category"})
    return found


@functools.cache
def imagenet_groups() -> Mapping[str, tuple[int, ...]]:
    """ImageNet classes of each category of MS-COCO, none for those that ImageNet lacks."""
    table = resources.files("iassa").joinpath("data/coco_imagenet_groups.json").read_text("utf-8")
    return {name: tuple(entry["classes"]) for name, entry in json.loads(table).items()}


def _recognise(
    categories: Sequence[str],
    class_names: Sequence[str] | None,
    num_outputs: int,
    lookup: ClassLookup,
) -> CategoryTargets:
    if class_names is None:
        raise InputError(
            f"expected a model with class names to find those of the categories, got {num_outputs} "
            "outputs without. Say 'imagenet' if they are its classes, 'same' if they are the "
            "categories in their order, or name a JSON file, {category: [class, ...]}."
        )
    # ImageNet first: 'kite' is the name of a class there, and that is a bird.
    is_imagenet = _is_imagenet(class_names)
    if is_imagenet and any(_fold(category) in imagenet_groups() for category in categories):
        return _from_table(categories, num_outputs)
    same = _same(categories, class_names, num_outputs, lookup)
    if same.without:
        what = "ImageNet's" if is_imagenet else "not ImageNet's"
        raise InputError(
            f"expected classes with the names of all categories, or ImageNet's with MS-COCO's "
            f"categories, got {num_outputs} classes ({what}) with the names of {len(same.targets)} "
            f"of {len(categories)} categories, but for {_tell(list(same.without))}. Say 'same' to "
            "leave these out, or name a JSON file, {category: [class, ...]}."
        )
    return same


def _is_imagenet(class_names: Sequence[str]) -> bool:
    expected = imagenet_names()
    if len(class_names) != len(expected):
        return False
    pairs = zip(class_names, expected, strict=True)
    agree = [not _synonyms(mine).isdisjoint(_synonyms(theirs)) for mine, theirs in pairs]
    return sum(agree) >= IMAGENET_SHARE * len(agree)


def _synonyms(name: str) -> set[str]:
    return {_fold(part.replace("_", " ")) for part in name.split(",")}


def _fold(name: str) -> str:
    return name.strip().casefold()


def _same(
    categories: Sequence[str],
    class_names: Sequence[str] | None,
    num_outputs: int,
    lookup: ClassLookup,
) -> CategoryTargets:
    if class_names is None and num_outputs != len(categories):
        raise InputError(
            f"expected an output for each of the {len(categories)} categories, got {num_outputs} "
            "outputs without names. Give the model class names, or name a JSON file, "
            "{category: [index, ...]}."
        )
    groups = {}
    without = {}
    for place, category in enumerate(categories):
        found = [place] if class_names is None else lookup.named(category)
        if len(found) == 1:
            groups[category] = found
        elif found:
            without[category] = f"several classes have its name: {', '.join(map(str, found))}"
        else:
            without[category] = "no class of the model has its name"
    return _sum("same", groups, without)


def _from_table(categories: Sequence[str], num_outputs: int) -> CategoryTargets:
    if num_outputs != len(imagenet_names()):
        raise InputError(
            f"expected the {len(imagenet_names())} classes of ImageNet, got {num_outputs} outputs. "
            "Name a JSON file, {category: [class, ...]}."
        )
    groups = {}
    without = {}
    for category in categories:
        found = imagenet_groups().get(_fold(category))
        if found:
            groups[category] = found
        else:
            without[category] = (
                "it is no category of MS-COCO" if found is None else "no class of ImageNet is of it"
            )
    return _sum("imagenet", groups, without)


def _from_file(path: Path, categories: Sequence[str], lookup: ClassLookup) -> CategoryTargets:
    table = _read_table(path)
    unknown = [name for name in table if name not in categories]
    if unknown:
        hints = []
        for name in unknown:
            near = difflib.get_close_matches(name, categories, n=3, cutoff=0.6)
            hints.append(f"{name!r}" + (f" (nearest: {', '.join(near)})" if near else ""))
        raise InputError(
            f"expected categories of the dataset in {path}, got {_tell(hints)}. Its categories: "
            f"{_tell(categories)}."
        )
    groups = {}
    for category, wanted in table.items():
        indices: list[int] = []
        for item in wanted:
            try:
                # Names by themselves: nothing that a file says is a formula, or code to import.
                indices += lookup.only(str(item))
            except InputError as error:
                raise InputError(f"{path}, {category!r}: {error}") from None
        if indices:
            groups[category] = list(dict.fromkeys(indices))
    try:
        lookup.raise_unknown(top=False)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    reason = f"{path.name} gives it no class"
    without = {category: reason for category in categories if category not in groups}
    # In the dataset's order, not in that of the file.
    ordered = {category: groups[category] for category in categories if category in groups}
    return _sum("file", ordered, without)


def _read_table(path: Path) -> dict[str, list[str | int]]:
    what = "{category: [class, ...]}"
    try:
        table = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(
            f"expected 'auto', 'imagenet', 'same' or a JSON file, got {str(path)!r}, which cannot "
            f"be read: {error.strerror or error}."
        ) from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"expected JSON, {what}, in {path}, got what is none: {error}.") from None
    if not isinstance(table, dict) or not all(isinstance(each, list) for each in table.values()):
        raise InputError(f"expected {what} in {path}, got {reprlib.repr(table)}.")
    for category, wanted in table.items():
        for item in wanted:
            if isinstance(item, bool) or not isinstance(item, str | int):
                raise InputError(
                    f"expected classes by index or name for {category!r} in {path}, got {item!r}."
                )
    return table


def _sum(
    kind: str, groups: Mapping[str, Sequence[int]], without: Mapping[str, str]
) -> CategoryTargets:
    targets = {
        category: Target(category, tuple(indices), (1.0,) * len(indices))
        for category, indices in groups.items()
    }
    return CategoryTargets(kind, targets, without)


def _tell(items: Sequence[str]) -> str:
    """The first few of many, and how many more."""
    more = len(items) - TOLD
    return ", ".join(items[:TOLD]) + (f" and {more} more" if more > 0 else "")
