"""What the README and the pages have one type is run; tests/pages.py says how.

The files that the pages name are made here, and so are the server and the networks. Other tests run
the blocks of `ELSEWHERE`, with more around them.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import page_files
import pages
from page_results import RIGHT

# Page and heading: the test that runs what is there.
ELSEWHERE = {
    ("docs/models.md", "scikit-learn"): "test_models_page.py",
    ("docs/models.md", "Keras and TensorFlow"): "test_models_page.py",
    ("docs/models.md", "JAX"): "test_models_page.py",
    ("docs/models.md", "Models of any framework"): "test_models_page.py",
    ("docs/models.md", "Several inputs"): "test_onnx_file.py",
    ("docs/plugins.md", "captum"): "test_plugins_captum.py",
    ("docs/plugins.md", "xaitk-saliency"): "test_plugins_xaitk.py",
    ("docs/plugins.md", "Quantus"): "test_plugins_quantus.py",
}
# What is not run, and a word of why.
UNRUN = [
    ("docs/app.md", "The live page", "a server"),
    ("docs/features.md", "Features of a new domain", "it takes minutes"),
    ("docs/features.md", "Features of a new domain", "it takes minutes"),
    ("docs/recipes/fiftyone.md", "FiftyOne", "MongoDB"),
    ("docs/results/plan.md", "Commands", "a day"),
    ("docs/results/plan.md", "The second edition", "a day"),
    ("docs/training.md", "What it recovers", "minutes"),
]
SLOW = {"docs/benchmark.md", "docs/images.md", "docs/synthetic.md"}
# Recipes are run where what they are about is there: `make test-recipes`.
RECIPES = "docs/recipes/"


def here(page: str) -> list[pages.Block]:
    """The blocks of a page that are run in this file."""
    found = [one for one in pages.blocks(page) if one.language in pages.RUN and not one.unrun]
    return [one for one in found if (page, one.heading) not in ELSEWHERE]


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that most pages name."""
    folder = tmp_path_factory.mktemp("reader")
    page_files.write_files(folder)
    return folder


@pytest.fixture
def place(written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of that folder. It is the current one, and modules are imported from it."""
    there = tmp_path / "place"
    shutil.copytree(written, there)
    monkeypatch.chdir(there)
    monkeypatch.setattr(sys, "path", [str(there), *sys.path])
    before = set(sys.modules)
    yield there
    for name in set(sys.modules) - before:
        if (there / f"{name}.py").exists():
            del sys.modules[name]


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=[pytest.mark.thorough] if page in SLOW else [])
        for page in pages.pages()
        if here(page)
    ],
)
def test_the_blocks_of_a_page_run(
    page: str, place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = here(page)
    if page.startswith(RECIPES):
        _skip_without_its_package(page)
    monkeypatch.setenv("TOKEN", "")  # a page sets it; it is as before when the test ends
    page_files.MORE_FILES.get(page, lambda _: None)(place)
    names: dict[str, Any] = {}
    with page_files.filled_in(page) as said, ExitStack() as started:
        for block in found:
            code = block.code
            for there, here_ in said.items():
                code = code.replace(there, here_)
            pages.run(dataclasses.replace(block, code=code), names, capsys, started)
    if page in RIGHT:
        RIGHT[page](names, place, capsys)


def _skip_without_its_package(page: str) -> None:
    text = (pages.ROOT / page).read_text("utf-8")
    needed = re.findall(r"^`pip install ([a-z]+)`", text, re.MULTILINE)
    missing = [one for one in needed if importlib.util.find_spec(one) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} is not here; see `make test-recipes`")


# That none is left out.


def test_every_block_is_run_somewhere() -> None:
    every = [one for page in pages.pages() for one in pages.blocks(page)]
    kinds = {one.language for one in every}
    shown = {"", "text", "json", "xml", "yaml", "toml", "dockerfile", "html"}
    shown |= {"{code-cell}", "{toctree}", "{eval-rst}", "{figure}"}
    assert kinds - {*pages.RUN} <= shown
    for block in every:
        if block.language not in (*pages.RUN, "{code-cell}"):
            assert not re.search(r"^(\$ )?(iassa|import|from) ", block.code, re.M), block
    unrun = [one for one in every if one.unrun]
    assert [(one.page, one.heading) for one in unrun] == [said[:2] for said in UNRUN]
    assert all(word in one.unrun for one, (*_, word) in zip(unrun, UNRUN, strict=True))
    headings = {(one.page, one.heading) for one in every if one.language in pages.RUN}
    assert set(ELSEWHERE) <= headings
    for (page, heading), test in ELSEWHERE.items():
        code = (pages.ROOT / "tests" / test).read_text("utf-8")
        assert f'blocks("{page}"' in code, f"{test} runs {page}, {heading}"
    assert set(RIGHT) | set(page_files.MORE_FILES) <= set(pages.pages())


def test_notebooks_have_cells_alone_or_code_that_is_run() -> None:
    """`make docs` runs cells, and only of pages that say that they are notebooks."""
    for page in pages.pages():
        cells = [one for one in pages.blocks(page) if one.language.startswith("{code-cell}")]
        head = (pages.ROOT / page).read_text("utf-8").startswith("---\nfile_format: mystnb\n")
        assert bool(cells) == head, page


def test_the_reader_of_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "ROOT", tmp_path)
    text = """# One

`mine.py` has it:

```python
a = 1
```

## Two

<!-- not run: it needs
a moon -->
```bash
iassa explain x
```

- an item

  ```pycon
  >>> iassa.explain(1, calls=5_000)
  2
  ```
"""
    (tmp_path / "page.md").write_text(text)
    file, moon, item = pages.blocks("page.md")
    assert (file.file, file.line, file.heading, file.code) == ("mine.py", 5, "One", "a = 1\n")
    assert (moon.unrun, moon.file, moon.heading) == ("it needs\na moon", "", "Two")
    assert (item.unrun, item.language) == ("", "pycon")
    assert pages.python_of(item) == "iassa.explain(1, calls=60)\n"
    assert pages.blocks("page.md", "One") == [file]
    with pytest.raises(AssertionError, match="says no calls"):
        pages.python_of(dataclasses.replace(item, code=">>> iassa.explain(1)\n"))


def test_fewer_calls() -> None:
    assert pages.fewer("250,500, 10_000") == "25,50,60"
    assert pages.command("iassa benchmark coco --calls 250,500 # two")[2:4] == ["--calls", "25,50"]
    assert "rise@50 vs iassa@60" in pages.command(
        "iassa report r --compare 'rise@500 vs iassa@1000'"
    )
    assert pages.command("iassa explain a.jpg")[2:] == ["--calls", "40", "--overwrite"]
