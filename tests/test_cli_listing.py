"""`iassa models` and `iassa methods`, against the classes that they read without importing them."""

from __future__ import annotations

import dataclasses
import json
import re
import typing
from collections.abc import Callable
from typing import Any

import pytest

from iassa.checks import Within
from iassa.cli import completing, main
from iassa.cli.declared import Field, find_named, read_class
from iassa.cli.listing import MODELS, LiteralWords, OptionWords
from iassa.errors import InputError
from iassa.masks.baselines import FILLS
from iassa.methods.registry import METHODS, read_fields
from iassa.models.conventions import DETECTORS, Conventions
from iassa.models.http.settings import HttpSettings
from iassa.models.hugging_face.classifier import NOT_TAKEN
from iassa.models.opening import open_model
from iassa.query import parse_fields

Call = Callable[..., tuple[int, str, str]]
CLASSES = {name: (kind.__module__, kind.__name__) for name, kind in METHODS.items()}
SETTINGS = {"FILE.onnx": Conventions, "hf:NAME": Conventions, "URL": HttpSettings}


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    monkeypatch.setenv("COLUMNS", "80")

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exit_:
            main(arguments)
        out, err = capsys.readouterr()
        return int(exit_.value.code or 0), out, err

    return run


def declared(kind: Any) -> tuple[Field, ...]:
    return read_class(kind.__module__, kind.__name__).fields


@pytest.mark.parametrize("kind", [*METHODS.values(), Conventions, HttpSettings])
def test_what_is_read_of_a_class_is_what_it_declares(kind: Any) -> None:
    hints = typing.get_type_hints(kind, include_extras=True)
    real = [one for one in dataclasses.fields(kind) if one.default is not dataclasses.MISSING]
    read = declared(kind)
    assert [(one.name, one.default) for one in read] == [(one.name, one.default) for one in real]
    for one in read:
        assert one.meaning
        # But for objects of Python, which cannot be typed.
        if one.name not in ("baseline", "features"):
            assert one.kind == hints[one.name], one.name


def test_the_methods_are_those_of_the_registry() -> None:
    assert find_named("methods") == CLASSES
    assert (*METHODS,) == completing.METHODS
    assert (*FILLS,) == completing.FILLS


@pytest.mark.parametrize("method", METHODS)
def test_a_field_of_a_method_is_taken_as_it_is_listed(method: str) -> None:
    for one in declared(METHODS[method]):
        typed = LiteralWords().typed(one)
        assert read_fields(method, [typed]) == {one.name: one.default}
        METHODS[method](**{one.name: one.default})


@pytest.mark.parametrize("model", SETTINGS)
def test_a_field_of_a_model_is_taken_as_it_is_listed(call: Call, model: str) -> None:
    _, out, _ = call("models", model, "--json")
    kind: Any = SETTINGS[model]
    by_name = {one.name: one for one in declared(kind)}
    names = [one["name"] for one in json.loads(out)["fields"]]
    refused = set(NOT_TAKEN) if model == "hf:NAME" else set()
    assert set(names) == by_name.keys() - refused
    for name in names:
        typed = OptionWords().typed(by_name[name])
        if "=" in typed:
            assert parse_fields(kind, typed) == {name: by_name[name].default}
        with pytest.raises(InputError) as refusal:  # its words are those of the list
            parse_fields(kind, f"{name}=\N{SNOWMAN}&{name}=1")
        takes = OptionWords().takes(by_name[name].kind)
        said = re.search(f"expected {name} to be (.*), got", str(refusal.value))
        assert "a text" in takes or (
            said is not None and takes.startswith(said[1].split(" or ")[0])
        )


def test_what_may_lie_in_a_range_lies_in_it() -> None:
    """The words of a range are of the rule that the class itself checks."""
    for method, kind in METHODS.items():
        for one in declared(kind):
            rules = [rule for rule in typing.get_args(one.kind) if isinstance(rule, Within)]
            words = LiteralWords().takes(one.kind)
            for rule in rules:
                assert str(rule) in words
                with pytest.raises(InputError):
                    METHODS[method](**{one.name: rule.low - 1})


def test_the_list_of_methods(call: Call) -> None:
    status, out, err = call("methods")
    assert (status, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    blocks = out.strip().split("\n\n")
    assert [block.splitlines()[0] for block in blocks] == [*METHODS]
    for block, kind in zip(blocks, METHODS.values(), strict=True):
        assert " ".join((kind.__doc__ or "").split("\n\n")[0].split()) in " ".join(block.split())
        assert {one.name for one in dataclasses.fields(kind)} <= set(re.findall(r"(\w+)=", block))


def test_one_method_with_what_its_fields_mean(call: Call) -> None:
    status, out, err = call("methods", "rise")
    assert (status, err) == (0, "")
    shown = " ".join(out.split())
    assert shown.startswith("rise: RISE, with the literature's settings. Fields, each given as")
    assert (
        "keep_probability=0.5 Chance that a cell is kept. It takes a number, above 0 and below 1."
    ) in shown
    assert "grid_size=7 Cells per side of a square image. It takes a whole number, from 2" in shown


@pytest.mark.parametrize("method", METHODS)
def test_all_that_a_class_says_is_told(call: Call, method: str) -> None:
    status, out, err = call("methods", method)
    assert (status, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    shown, said = (" ".join(text.split()) for text in (out, METHODS[method].__doc__ or ""))
    assert said.partition(" Attributes:")[0] in shown.replace(f"{method}: ", "", 1)
    for one in declared(METHODS[method]):
        assert one.meaning[1:] in shown
        assert f"{one.name}=" in shown


def test_the_lists_as_json(call: Call) -> None:
    for command, names in (("methods", METHODS), ("models", MODELS)):
        status, out, err = call(command, "--json")
        assert (status, err) == (0, "")
        made = json.loads(out)
        assert [one["name"] for one in made] == [*names]
        for one in made:
            assert one.keys() == {"name", "summary", "about", "fields"}
            assert "\n" not in one["summary"]
            for field in one["fields"]:
                assert field.keys() == {"name", "default", "takes", "meaning"}
                assert field["takes"]
                assert "tuple" not in field["takes"]
        name = made[-2]["name"]
        assert json.loads(call(command, name, "--json")[1]) == made[-2]


def test_the_models_are_those_that_can_be_opened(call: Call) -> None:
    with pytest.raises(InputError) as refusal:
        open_model("nothing")
    told = str(refusal.value).partition("Use ")[2]
    assert all(name in told for name in MODELS)
    shown = " ".join(call("models", "FILE.onnx")[1].split())
    assert all(name in shown for name in DETECTORS)


@pytest.mark.parametrize("command", ["models", "methods"])
def test_a_name_that_is_not_there(call: Call, command: str) -> None:
    status, out, err = call(command, "risee")
    assert (status, out) == (2, "")
    assert err.startswith(f"error: expected one of `iassa {command}`, got 'risee'")
    assert ("(nearest: rise)" in err) is (command == "methods")
