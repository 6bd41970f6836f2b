"""What the README says is run as it stands."""

import itertools
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")


def test_python_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(block, "README.md", "exec"), names)
    explanation = names["explanation"]
    assert explanation.saliency.shape == (2, 300, 451)
    assert explanation.calls == 500
    assert np.isfinite(explanation.saliency).all()
    assert {path.name for path in (tmp_path / "explanations/cat").iterdir()} == {
        *("explanation.npz", "explanation.json", "evidence.npz"),
        *("overlay-0.png", "overlay-1.png"),
    }
    assert (tmp_path / "cat.png").stat().st_size > 10_000


def test_links_of_the_readme_lead_somewhere() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert len(links) > 8
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_mandatory_dependency_has_its_line() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    named = {re.split(r"[><=]", text)[0] for text in project["dependencies"]}
    table = README.split("## What it needs, and why")[1].split("Extras:")[0]
    listed = set(re.findall(r"[a-z0-9_-]+", " ".join(re.findall(r"^\| ([^|]+) \|", table, re.M))))
    assert named == listed - {"package"} - {w for w in listed if set(w) == {"-"}}


def test_every_dependency_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    wanted = [*project["dependencies"], *itertools.chain.from_iterable(extras)]
    pins = (ROOT / "constraints.txt").read_text("utf-8").lower().replace("_", "-")
    missing = []
    for text in wanted:
        name = re.split(r"[><=]", text)[0].lower().replace("_", "-")
        if not re.search(rf"^{re.escape(name)}==", pins, re.M):
            missing.append(name)
    assert missing == []
