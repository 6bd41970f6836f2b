"""From the categories of a dataset to the outputs of a model.

A dataset outlines a 'dog'; a model of ImageNet has 118 breeds of dogs. The target is then the sum
of their probabilities. Which classes count is a choice, never a guess from the number of outputs:

- by name, where the model has the categories of the dataset;
- by the table `data/coco_imagenet_groups.json`, for the categories of MS-COCO and the classes of
  ImageNet. It gives a reason for each doubtful class;
- by a file of the user.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, TypeAlias

from iassa.errors import InputError, list_some, show, suggest
from iassa.files import user_path
from iassa.models.efficientnet_lite0 import class_names as imagenet_names
from iassa.models.targets import ClassLookup, Target

# The share of outputs that must have the name of the ImageNet class at their place. It is below 1,
# as libraries reword some names ('crane' is two classes). In another order few places agree.
IMAGENET_SHARE = 0.9
FORM = "{category: [class, ...]}"
NAME_A_FILE = f"name a JSON file, {FORM}."

# By category: the classes that stand for it, or the reason why there is none.
Found: TypeAlias = dict[str, "Sequence[int] | str"]


@dataclass(frozen=True)
class CategoryTargets:
    """The outputs of a model that stand for each category.

    Attributes:
        kind: how they were found: 'same', 'imagenet' or 'file'.
        targets: by category, the sum of its classes, under the name of the category.
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
            'same', the class of the same name (or synonym, whatever the case) for each category;
            for a model without class names that has one output for each category, the outputs in
            the order of the categories;
            'imagenet', the shipped table, for MS-COCO's categories and the 1000 classes of
            ImageNet in their usual order;
            a JSON file, {category: [class, ...]}, its classes by index or name;
            'auto', 'imagenet' if the class names are ImageNet's and a category is in the table,
            otherwise 'same', if every category is the name of one class.

    Returns:
        Each category is in `targets` or, with the reason, in `without`.

    Raises:
        InputError: 'auto' finds neither; no category has a class; the number of names is not that
            of the outputs; the file cannot be read, or has unknown categories or classes.
    """
    named = [category for category in categories if category]
    if not named:
        raise InputError("expected categories, got a dataset without any. Name a target: 'top-1'.")
    search = _Search(named, class_names, num_outputs, ClassLookup(num_outputs, class_names))
    if classes == "auto":
        classes = search.recognise()
    if classes == "same":
        kind, found = "same", search.same()
    elif classes == "imagenet":
        kind, found = "imagenet", search.imagenet()
    else:
        kind, found = "file", search.file(user_path(classes))
    without = {category: reason for category, reason in found.items() if isinstance(reason, str)}
    targets = {
        category: Target(category, tuple(indices), (1.0,) * len(indices))
        for category, indices in found.items()
        if not isinstance(indices, str)
    }
    if not targets:
        reasons = list_some(f"{show(category)}: {reason}" for category, reason in without.items())
        raise InputError(
            f"expected a category with classes of the model, got none ({reasons}). To choose "
            f"classes, {NAME_A_FILE}"
        )
    if "" in categories:
        without[""] = "it is no category"
    return CategoryTargets(kind, targets, without)


def check_classes(categories: Sequence[str], classes: str | Path) -> None:
    """Refuse what no model makes right, before one is asked.

    Args:
        categories: of the dataset.
        classes: see `category_targets`.

    Raises:
        InputError: a file that cannot be read, or has unknown categories.
    """
    if classes not in ("auto", "same", "imagenet"):
        _read_table(user_path(classes), categories)


@functools.cache
def imagenet_groups() -> Mapping[str, tuple[int, ...]]:
    """ImageNet classes of each category of MS-COCO, none for those that ImageNet lacks."""
    table = resources.files("iassa").joinpath("data/coco_imagenet_groups.json").read_text("utf-8")
    return {name: tuple(entry["classes"]) for name, entry in json.loads(table).items()}


@dataclass(frozen=True, eq=False)
class _Search:
    """The ways to find classes for categories."""

    categories: Sequence[str]
    class_names: Sequence[str] | None
    num_outputs: int
    lookup: ClassLookup

    def recognise(self) -> str:
        """'imagenet' or 'same', whichever fits the class names."""
        if self.class_names is None:
            raise InputError(
                f"expected a model with class names, got {self.num_outputs} outputs without. "
                "Say --classes imagenet if the outputs are the classes of ImageNet, --classes same "
                f"if each output is a category, in the same order, or {NAME_A_FILE}"
            )
        # ImageNet first: its class 'kite' is a bird.
        is_imagenet = _is_imagenet(self.class_names)
        if is_imagenet and any(_fold(each) in imagenet_groups() for each in self.categories):
            return "imagenet"
        without = [each for each, found in self.same().items() if isinstance(found, str)]
        if without:
            whose = "ImageNet's" if is_imagenet else "not ImageNet's"
            num_found = len(self.categories) - len(without)
            raise InputError(
                f"expected classes with the names of all categories, or ImageNet's with MS-COCO's "
                f"categories, got {self.num_outputs} classes ({whose}) with the names of "
                f"{num_found} of {len(self.categories)} categories, but for {list_some(without)}. "
                f"Say 'same' to leave these out, or {NAME_A_FILE}"
            )
        return "same"

    def same(self) -> Found:
        """Classes with the names of the categories."""
        if self.class_names is not None:
            return {each: _only_class(self.lookup.named(each)) for each in self.categories}
        if self.num_outputs != len(self.categories):
            raise InputError(
                f"expected an output for each of the {len(self.categories)} categories, got "
                f"{self.num_outputs} outputs without names. Give the model names, or {NAME_A_FILE}"
            )
        return {category: [place] for place, category in enumerate(self.categories)}

    def imagenet(self) -> Found:
        """Classes of the shipped table."""
        expected = len(imagenet_names())
        if self.num_outputs != expected:
            raise InputError(
                f"expected the {expected} classes of ImageNet, got {self.num_outputs} outputs. "
                f"For other classes, {NAME_A_FILE}"
            )
        groups = imagenet_groups()
        unknown = "it is no category of MS-COCO"
        return {
            category: groups.get(_fold(category), unknown) or "no class of ImageNet is of it"
            for category in self.categories
        }

    def file(self, path: Path) -> Found:
        """Classes of a file of the user."""
        table = _read_table(path, self.categories)
        groups: dict[str, list[int]] = {}
        where = str(path)
        try:
            for category, wanted in table.items():
                where = f"{path}, {show(category)}"
                # A text is a name or an index only: the file cannot name code to import.
                found = [index for item in wanted for index in self.lookup.only(item)]
                groups[category] = list(dict.fromkeys(found))
            where = str(path)
            self.lookup.raise_unknown(top=False)
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
        reason = f"{path.name} gives it no class"
        return {category: groups.get(category) or reason for category in self.categories}


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


def _only_class(found: Sequence[int]) -> Sequence[int] | str:
    if len(found) > 1:
        return f"several classes have its name: {list_some(found)}"
    return found or "no class of the model has its name"


def _read_table(path: Path, categories: Sequence[str]) -> dict[str, list[str | int]]:
    try:
        table = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(
            f"expected 'auto', 'imagenet', 'same' or a JSON file, got {show(str(path))}, which "
            f"cannot be read: {error.strerror or error}. Check the path."
        ) from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"expected JSON, {FORM}, in {path}: {error}. Correct it.") from None
    if not isinstance(table, dict) or not all(isinstance(each, list) for each in table.values()):
        raise InputError(f"expected {FORM} in {path}, got {show(table)}. Correct it.")
    for category, wanted in table.items():
        for item in wanted:
            if isinstance(item, bool) or not isinstance(item, str | int):
                raise InputError(
                    f"expected classes by index or name for {show(category)} in {path}, got "
                    f"{show(item)}. Correct it."
                )
    unknown = [name for name in table if name not in categories]
    if unknown:
        hints = list_some(show(name) + suggest(name, categories) for name in unknown)
        raise InputError(
            f"expected categories of the dataset in {path}, got {hints}. Its categories: "
            f"{list_some(categories)}."
        )
    return table
