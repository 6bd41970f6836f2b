"""What the README and the pages say is run as it stands."""

import dataclasses
import itertools
import re
import tomllib
from pathlib import Path

import pytest

import iassa
from iassa.cli import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")


def page(path: str) -> str:
    return (ROOT / path).read_text("utf-8")


def test_options_fields_and_methods_of_the_pages_are_there(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    for command in ("explain", "app"):
        with pytest.raises(SystemExit):
            main([command, "--help"])
    known = capsys.readouterr().out
    pages = ("docs/command-line.md", "docs/methods.md", "docs/engine.md", "docs/app.md")
    spoken = README + "".join(map(page, pages))
    options = set(re.findall(r"`(--[a-z-]+)", spoken))
    assert options >= {"--target", "--tolerance", "--keep", "--baseline", "--set"}
    assert [option for option in options if option not in known] == []
    fields = {
        f.name for method in iassa.methods.METHODS.values() for f in dataclasses.fields(method)
    }
    used = set(re.findall(r"`(?:--set )?([a-z_]+)=", spoken)) - {"target", "keep_scores", "calls"}
    assert used >= {"adapt_keep_probability", "debiased", "segmentation"}
    assert used <= fields
    assert set(re.findall(r"^\| \[`([a-z-]+)`\]", spoken, flags=re.MULTILINE)) == set(
        iassa.methods.METHODS
    )


def test_links_of_the_readme_lead_somewhere() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert len(links) > 8
    assert [link for link in links if not (ROOT / link).exists()] == []
    headings = {
        re.sub(r"[^a-z -]", "", line.lower()).replace(" ", "-")
        for line in re.findall(r"^## (.*)$", README, re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", README)) <= headings
    for path, heading in re.findall(r"\]\((docs/[^)#]+)#([^)]+)\)", README):
        titles = re.findall(r"^## (.*)$", (ROOT / path).read_text("utf-8"), re.MULTILINE)
        assert heading in [title.lower().replace(" ", "-") for title in titles]
    for page in (ROOT / "docs").rglob("*.md"):
        links = re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text("utf-8"))
        assert [link for link in links if not (page.parent / link).exists()] == []


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
