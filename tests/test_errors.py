"""What all messages share."""

from __future__ import annotations

import numpy as np
import pytest

import iassa
from iassa.errors import (
    InputError,
    WeakEvidenceWarning,
    counted,
    list_choices,
    list_some,
    shorten,
    show,
    suggest,
)


@pytest.mark.parametrize(
    ("count", "listed"),
    [
        (0, "none"),
        (1, "n0"),
        (3, "n0, n1, n2"),
        (4, "n0, n1, n2 and 1 more"),
        (26_714, "n0, n1, n2 and 26711 more"),
    ],
)
def test_three_names_stand_for_all(count: int, listed: str) -> None:
    assert list_some(f"n{number}" for number in range(count)) == listed


def test_of_choices_a_dozen_is_shown() -> None:
    assert list_choices(range(12), "; ") == "; ".join(map(str, range(12)))
    assert list_choices(range(1000)) == f"{', '.join(map(str, range(12)))} and 988 more"


@pytest.mark.parametrize("value", [0.5, "a" * 150, (1, 2, 3), {"a": [None]}, b"x", ["b", 1e-300]])
def test_a_short_value_is_shown_as_it_is(value: object) -> None:
    assert show(value) == repr(value)


@pytest.mark.parametrize("value", ["a" * 26_714, [0.5] * 26_714, dict.fromkeys(range(26_714))])
def test_a_long_value_is_shown_in_part(value: object) -> None:
    assert show(value)[:4] == repr(value)[:4]
    assert len(show(value)) <= 200


@pytest.mark.parametrize("value", [[0.5] * 26_714, dict.fromkeys(range(26_714))])
def test_messages_about_a_long_list_are_short(value: object) -> None:
    for arguments in ({"target": {"a": value}}, {"method": "rise", "keep_scores": value}):
        with pytest.raises(InputError) as refusal:
            iassa.explain("example:cat", lambda images: images.mean((1, 2)), **arguments)
        assert len(str(refusal.value)) < 500
    with pytest.raises(InputError) as refusal:
        iassa.methods.Rise(baseline=value)
    assert len(str(refusal.value)) < 1000


@pytest.mark.parametrize("length", [9, 20, 200])
def test_a_long_line_keeps_its_ends(length: int) -> None:
    text = "".join(map(chr, range(0x4E00, 0x4E00 + 300)))
    shown = shorten(text, length)
    start, end = shown.split(" … ")
    assert text.startswith(start)
    assert text.endswith(end)
    assert length - 1 <= len(shown) <= length
    assert shorten("a\n b\t" * 2, length) == "a b a b"
    assert len(list_some([text] * 99)) < 3 * 200 + 20


@pytest.mark.parametrize("depends", [False, True])
@pytest.mark.parametrize(
    "target", ["top-40", ",".join(map(str, range(40)))], ids=["forty", "a group"]
)
def test_a_warning_of_forty_classes_is_short(target: str, depends: bool) -> None:
    """Flat scores, and scores that depend on the batch: whatever names the targets."""

    def score(images: np.ndarray) -> np.ndarray:
        number = len(images) if depends else 1
        return (
            np.full((len(images), 40), 0.01 * number) + 0.1 * depends * images.mean((1, 2))[:, :1]
        )

    names = [f"class {k} of a name that is as long as many are" for k in range(40)]
    model = iassa.models.FunctionModel(score, name="forty", class_names=names)
    with pytest.warns(WeakEvidenceWarning):
        found = iassa.explain(np.eye(24), model, target=target, method="rise", calls=80)
    assert found.warnings
    assert all(len(text) < 700 for text in found.warnings)


def test_one_is_no_several() -> None:
    assert [counted(number, "image") for number in (0, 1, 2)] == ["0 images", "1 image", "2 images"]


@pytest.mark.parametrize(
    ("text", "near"),
    [
        ("cat", ["Cat", "tiger cat", "egyptian cat"]),
        ("LABR", ["labrador retriever"]),
        ("labradr", ["labrador retriever"]),
        ("retreiver", ["golden retriever"]),
        ("tiger cot", ["tiger cat"]),
        ("cta", ["Cat"]),
        ("xylophone", []),
        ("", []),
        (".*", []),
    ],
)
def test_names_that_may_be_meant(text: str, near: list[str]) -> None:
    names = [
        "egyptian cat",
        "tiger cat",
        "Cat",
        "scatter",
        "labrador retriever",
        "golden retriever",
    ]
    assert suggest(text, names) == (f" (nearest: {', '.join(near)})" if near else "")
