"""What shells complete, by the protocol that their scripts use."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

from iassa.cli import app, completing, main
from iassa.models.efficientnet_lite0 import NAMES, class_names
from iassa.models.targets import resolve_targets

Complete = Callable[..., list[str]]
GROUP: Any = typer.main.get_command(app)


@pytest.fixture
def complete(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Complete:
    """What bash or zsh is told for a line; its last word is the one that is completed."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str, shell: str = "bash") -> list[str]:
        monkeypatch.setenv("_IASSA_COMPLETE", f"complete_{shell}")
        monkeypatch.setenv("COMP_WORDS", "\n".join(["iassa", *words]))
        monkeypatch.setenv("COMP_CWORD", str(len(words)))
        monkeypatch.setenv("_TYPER_COMPLETE_ARGS", " ".join(["iassa", *words]))
        with pytest.raises(SystemExit) as exit_:
            main([])
        assert exit_.value.code == 0
        out, err = capsys.readouterr()
        assert err == ""
        return (
            [*filter(None, out.splitlines())] if shell == "bash" else re.findall('"([^"]*)"', out)
        )

    return run


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["be"], ["benchmark"]),
        (["explain", "--pic"], ["--pictures"]),
        (["explain", "--method", "sh"], ["shap-partition", "shap-bpt"]),
        (["benchmark", "--methods", "rise,li"], ["rise,lime"]),
        (["benchmark", "m"], ["masks", "mosaics"]),
        (["explain", "--baseline", "b"], ["blur"]),
        (["explain", "--baseline", "grey,b"], ["grey,blur"]),
        (["explain", "--target", "top"], ["top-1", "top-5"]),
        (["explain", "--target", "tabb"], ["tabby"]),
        (["explain", "--target", "tabby,lyn"], ["tabby,lynx"]),
        (["explain", "--model", "net.onnx", "--target", "tab"], []),
        (["methods", "ris"], ["rise"]),
        (["models", "FILE"], ["FILE.onnx"]),
        (["explain", "pho"], []),  # left to the shell, which knows files
    ],
)
def test_what_is_completed(complete: Complete, words: list[str], expected: list[str]) -> None:
    assert complete(*words) == expected


def test_names_with_blanks_are_for_those_who_quote_them(complete: Complete) -> None:
    assert "Egyptian cat" not in complete("explain", "--target", "Eg")
    assert complete("explain", "--target", '"Egyptian c') == ["Egyptian cat"]
    assert complete("explain", "--target", "Egy", shell="zsh") == ["Egyptian cat"]


def test_models_that_are_files(complete: Complete, tmp_path: Path) -> None:
    (tmp_path / "nets").mkdir()
    for name in ("net.onnx", "nets/one.onnx", "notes.txt"):
        (tmp_path / name).touch()
    assert complete("explain", "--model", "n") == ["net.onnx"]
    assert complete("explain", "--model", "nets/o") == ["nets/one.onnx"]
    assert complete("explain", "--model", "") == [*NAMES, "net.onnx"]
    assert complete("explain", "--model", "nowhere/o") == []


RECORD = '{"model": "%s", "targets": [{"name": "badger, sett"}, {"name": "bandicoot"}]}'


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (RECORD % "net.onnx", {"bandicoot"}),
        (RECORD % NAMES[0], {"bandicoot", "badger", "banana"}),
        ("{", set()),
        ('{"targets": 3, "model": 4}', set()),
    ],
)
def test_targets_of_what_is_saved(
    complete: Complete, tmp_path: Path, record: str, expected: set[str]
) -> None:
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / "explanation.json").write_text(record)
    completed = {*complete("extend", "o", "--target", "ba")}
    assert completed >= expected
    assert bool(completed) is bool(expected)
    assert complete("extend", "nowhere", "--target", "ba") == []


def test_every_class_that_is_completed_is_a_target() -> None:
    context = typer.Context(GROUP.commands["explain"])
    context.params = {"model": None}
    offered = completing.targets(context, "")
    assert len(offered) > 900
    for name in offered[2::50]:
        (target,) = resolve_targets(name, np.zeros(1000), class_names=class_names())
        assert name in class_names()[target.indices[0]]


def test_what_may_be_chosen_is_what_the_help_says(complete: Complete) -> None:
    chosen = 0
    for name, command in GROUP.commands.items():
        for each in command.params:
            choices = (each.metavar or "").split("|")
            if len(choices) > 1 and all(re.fullmatch("[a-z]+", one) for one in choices):
                assert complete(name, each.opts[0], "") == choices
                chosen += 1
    assert chosen >= 7


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not here")
def test_a_real_bash_completes(tmp_path: Path) -> None:
    program = tmp_path / "iassa"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m iassa "$@"\n')
    program.chmod(0o755)
    script = """
    eval "$(_IASSA_COMPLETE=source_bash iassa)"
    complete -p iassa
    COMP_WORDS=(iassa explain --method shap-b) COMP_CWORD=3
    _iassa_completion iassa
    echo "${COMPREPLY[@]}"
    """
    paths = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        ["bash", "--norc", "-c", script], env=os.environ | paths, capture_output=True, text=True
    )
    assert done.stderr == ""
    assert done.stdout == "complete -o default -F _iassa_completion iassa\nshap-bpt\n"
