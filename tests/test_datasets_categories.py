"""From categories to outputs: every way, what is told, and the shipped table against the names."""

from __future__ import annotations

import json
import re
from importlib import resources

import numpy as np
import pytest

from iassa.benchmark.datasets import category_targets, imagenet_groups
from iassa.errors import InputError
from iassa.models.efficientnet_lite0 import class_names
from iassa.models.targets import resolve_targets

IMAGENET = class_names()
TABLE = json.loads(resources.files("iassa").joinpath("data/coco_imagenet_groups.json").read_text())
COCO = tuple(TABLE)
# Of a detector with 91 outputs: numbers as in the annotation files, with gaps.
DETECTOR = ("background", *(name for name in COCO[:11]), "N/A", *COCO[11:], *["N/A"] * 9)
NAMES = ("tabby, tabby cat", "Hound", "crane", "crane", "7")


def indices(found):
    return {category: target.indices for category, target in found.targets.items()}


# The shipped table.


def test_the_table_has_the_80_categories():
    assert len(TABLE) == 80
    assert {"person", "traffic light", "hair drier", "toothbrush"} <= set(TABLE)
    assert list(TABLE)[:3] == ["person", "bicycle", "car"]
    assert imagenet_groups() == {name: tuple(entry["classes"]) for name, entry in TABLE.items()}


def test_every_class_is_there_once():
    classes = [index for entry in TABLE.values() for index in entry["classes"]]
    assert len(set(classes)) == len(classes)
    assert all(type(index) is int and 0 <= index < 1000 for index in classes)
    for entry in TABLE.values():
        assert entry["classes"] == sorted(entry["classes"])


@pytest.mark.parametrize("category", COCO)
def test_doubtful_classes_are_named_and_decided(category):
    for index, note in TABLE[category]["doubtful"].items():
        names, _, why = note.partition(": ")
        synonyms = {name.strip() for name in IMAGENET[int(index)].split(",")}
        assert set(names.split(", ")) <= synonyms
        decision = re.search(r", (taken|left out)$", why)
        assert decision, note
        assert (decision[1] == "taken") == (int(index) in TABLE[category]["classes"])


def test_groups_that_the_names_tell():
    """Families of ImageNet that stand together, found by where they begin and end."""

    def between(first: str, last: str) -> list[int]:
        places = [IMAGENET.index(name) for name in (first, last)]
        return list(range(places[0], places[1] + 1))

    assert TABLE["dog"]["classes"] == between("Chihuahua", "Mexican hairless")
    assert len(TABLE["dog"]["classes"]) == 118
    assert TABLE["cat"]["classes"] == between("tabby, tabby cat", "Egyptian cat")
    songbirds = between("cock", "great grey owl, great gray owl, Strix nebulosa")
    fowl = between("black grouse", "black swan, Cygnus atratus")
    waders = between("white stork, Ciconia ciconia", "albatross, mollymawk")
    assert TABLE["bird"]["classes"] == songbirds + fowl + waders
    balls = [n for n, name in enumerate(IMAGENET) if re.search(r"\bball\b", name)]
    others = [IMAGENET.index(name) for name in ("baseball", "basketball", "volleyball")]
    assert TABLE["sports ball"]["classes"] == sorted({*balls, *others} - {747})  # punching ball


@pytest.mark.parametrize("category", COCO)
def test_a_class_with_the_name_of_a_category_is_its_own_or_doubtful(category):
    named = [
        index
        for index, name in enumerate(IMAGENET)
        if category in {synonym.strip().lower() for synonym in name.split(",")}
    ]
    for index in named:
        entry = TABLE[category]
        assert index in entry["classes"] or str(index) in entry["doubtful"]


# ImageNet's classes.


def test_imagenet_is_recognised():
    found = category_targets(COCO, IMAGENET, 1000)
    assert found.kind == "imagenet"
    assert indices(found) == {name: group for name, group in imagenet_groups().items() if group}
    dog = found.targets["dog"]
    assert (dog.name, dog.indices, dog.weights) == ("dog", tuple(range(151, 269)), (1.0,) * 118)
    assert found.without["person"] == "no class of ImageNet is of it"
    assert set(found.targets) | set(found.without) == set(COCO)
    assert not set(found.targets) & set(found.without)
    # The targets are what the library takes.
    assert resolve_targets(list(found.targets.values()), np.zeros(1000), IMAGENET)


@pytest.mark.parametrize(
    "names",
    [
        [name.split(",")[0] for name in IMAGENET],
        [name.split(",")[0].replace(" ", "_").upper() for name in IMAGENET],
        [*IMAGENET[:100], *["reworded"] * 100, *IMAGENET[200:]],
    ],
)
def test_imagenet_is_recognised_in_other_spellings(names):
    assert category_targets(COCO, names, 1000).kind == "imagenet"


def test_imagenet_in_another_order_is_not_recognised():
    with pytest.raises(InputError, match="not ImageNet's"):
        category_targets(COCO, sorted(IMAGENET), 1000)
    with pytest.raises(InputError, match="not ImageNet's"):
        category_targets(COCO, [*IMAGENET[:100], *["x"] * 101, *IMAGENET[201:]], 1000)


def test_a_kite_is_no_bird():
    """A category with the very name of a class, which the table knows to be another thing."""
    found = category_targets(["kite", "banana"], IMAGENET, 1000)
    assert indices(found) == {"banana": (954,)}
    assert "kite" in found.without


def test_the_case_of_a_category_is_no_matter():
    assert indices(category_targets(["Hair Drier"], None, 1000, "imagenet")) == {
        "Hair Drier": (589,)
    }


def test_categories_that_the_table_lacks():
    found = category_targets(["dog", "unicorn"], IMAGENET, 1000)
    assert found.without == {"unicorn": "it is no category of MS-COCO"}
    own = category_targets(["tench", "Loafer"], IMAGENET, 1000)  # ImageNet's own names
    assert (own.kind, indices(own)) == ("same", {"tench": (0,), "Loafer": (630,)})
    with pytest.raises(InputError, match=r"ImageNet's.* 1 of 2 categories, but for unicorn"):
        category_targets(["tench", "unicorn"], IMAGENET, 1000)


def test_nothing_is_guessed_from_the_number_of_outputs():
    for num_outputs in (1000, 80):
        with pytest.raises(InputError, match=f"got {num_outputs} outputs wi.*--classes imagenet"):
            category_targets(COCO, None, num_outputs)
    assert category_targets(COCO, None, 1000, "imagenet").kind == "imagenet"
    with pytest.raises(InputError, match="the 1000 classes of ImageNet, got 1001"):
        category_targets(COCO, None, 1001, "imagenet")


# The dataset's own classes.


@pytest.mark.parametrize("names", [COCO, DETECTOR, tuple(name.upper() for name in COCO)])
@pytest.mark.parametrize("classes", ["auto", "same"])
def test_a_model_of_the_same_categories(names, classes):
    found = category_targets(COCO, names, len(names), classes)
    assert found.kind == "same"
    assert not found.without
    for category, target in found.targets.items():
        assert names[target.indices[0]].lower() == category
        assert (target.name, target.weights) == (category, (1.0,))


def test_some_of_the_categories_only_when_asked():
    with pytest.raises(InputError, match=r"1 of 3 categories, but for Crane, dog. Say 'same'"):
        category_targets(["Tabby", "Crane", "dog"], NAMES, 5)
    found = category_targets(["Tabby", "Crane", "dog"], NAMES, 5, "same")
    assert indices(found) == {"Tabby": (0,)}
    assert found.without == {
        "Crane": "several classes have its name: 2, 3",
        "dog": "no class of the model has its name",
    }


def test_a_category_that_is_a_number_is_a_name():
    assert indices(category_targets(["7"], NAMES, 5)) == {"7": (4,)}
    assert category_targets(["0", "7"], NAMES, 5, "same").without.keys() == {"0"}


def test_outputs_without_names_by_place_when_asked():
    found = category_targets(["b", "a"], None, 2, "same")
    assert indices(found) == {"b": (0,), "a": (1,)}
    with pytest.raises(InputError, match="each of the 80 categories, got 91"):
        category_targets(COCO, None, 91, "same")


# A file of the user's.


def table(tmp_path, content):
    path = tmp_path / "classes.json"
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    path.write_bytes(text)
    return path


def test_a_file_by_index_and_name(tmp_path):
    path = table(tmp_path, {"dog": ["hound", 3, "3"], "cat": ["Tabby, tabby cat"], "cow": []})
    found = category_targets(["cat", "dog", "cow", "sheep"], NAMES, 5, path)
    assert found.kind == "file"
    assert indices(found) == {"cat": (0,), "dog": (1, 3)}
    assert list(found.targets) == ["cat", "dog"]
    assert found.targets["dog"].weights == (1.0, 1.0)
    assert found.without == dict.fromkeys(["cow", "sheep"], "classes.json gives it no class")
    assert category_targets(["cat", "dog", "cow"], NAMES, 5, str(path)).targets == found.targets
    without_names = table(tmp_path, {"dog": [1, "3"]})
    assert indices(category_targets(["dog"], None, 5, without_names)) == {"dog": (1, 3)}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "expected JSON"),
        (b"\xff\xfe\x00", "expected JSON"),
        ([1], r"expected \{category"),
        ({"dog": 3}, r"expected \{category"),
        ({"dog": [True]}, "by index or name for 'dog'.*got True"),
        ({"dog": [1.5]}, "got 1.5"),
        ({"dog": [5]}, "'dog': expected a class index from 0 to 4, got 5"),
        ({"dog": [-1]}, "'dog': expected a class index from 0 to 4"),
        ({"dog": ["crane"]}, "'dog': expected the name of one class, got 'crane'"),
        ({"dog": ["hond"]}, r"unknown class 'hond' \(nearest: hound\). Use a class name or an"),
        ({"dog": ["os:getcwd"]}, "unknown class 'os:getcwd'"),  # nothing is imported
        ({"dog": ["top-1"]}, "unknown class 'top-1'"),
        ({"dgo": [1]}, r"got 'dgo' \(nearest: dog\)"),
        ({"": [1]}, "got ''"),
        ({}, "expected a category with classes of the model, got none"),
    ],
)
def test_files_that_cannot_be_used(tmp_path, content, message):
    with pytest.raises(InputError, match=message):
        category_targets(["cat", "dog"], NAMES, 5, table(tmp_path, content))


def test_a_name_without_names(tmp_path):
    with pytest.raises(InputError, match=r"expected a class index, got 'hound'.*Use an index."):
        category_targets(["dog"], None, 5, table(tmp_path, {"dog": ["hound"]}))


def test_no_such_file():
    with pytest.raises(InputError, match=r"'same' or a JSON file, got 'imagnet'"):
        category_targets(["dog"], NAMES, 5, "imagnet")


# What holds for all.


def test_no_category_or_none_with_classes():
    for categories in ([], [""]):
        with pytest.raises(InputError, match="a dataset without any"):
            category_targets(categories, NAMES, 5)
    with pytest.raises(InputError, match=r"got none .'person': no class of ImageNet is of it"):
        category_targets(["person", "fork"], IMAGENET, 1000)


def test_images_without_a_category_have_no_target():
    found = category_targets(["", "hound"], NAMES, 5)
    assert indices(found) == {"hound": (1,)}
    assert found.without == {"": "it is no category"}


def test_another_number_of_names_than_outputs():
    with pytest.raises(InputError, match="each of the 6 scores"):
        category_targets(["hound"], NAMES, 6)


def test_the_description_changes_with_the_classes(tmp_path):
    def described(content):
        return category_targets(["cat", "dog"], NAMES, 5, table(tmp_path, content)).describe()

    first = described({"cat": [0], "dog": [1, 2]})
    assert first["kind"] == "file"
    assert described({"dog": [1, "2"], "cat": ["tabby"]}) == first
    assert described({"cat": [0], "dog": [1]}) != first
