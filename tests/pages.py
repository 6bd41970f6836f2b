"""The code blocks of README.md and docs/: what they say, and how the tests run them.

A block is run as it stands but for one thing: it makes a tenth of the calls, 60 at most
(`fewer`). A command that says no number of calls makes 40. A benchmark is of one entry, and
measures its maps in few steps. Python of the pages `WHOLE`, whose networks are small, makes all
calls: what is asked of their maps needs them.

- ```` ```python ```` and `pycon` blocks of a page run in order, in one namespace. Where the
  sentence above ends in a colon and names a file, as in '`mine.py` has:', the block is that file. A
  block that asks for `__main__` is run as a script.
- ```` ```bash ```` blocks run line by line, in this process: `iassa`, and `export`. Of `make` it is
  tried whether there is such a target, of `pip install '.[extra]'` whether there is such an extra.
  A program with a `&` behind it runs until the end of its page.
- `{code-cell}` blocks are run by the build of the site, `make docs`.
- Other blocks, with another language or none, show what a program printed, or a file.

A block that cannot be run here has a comment above it: `<!-- not run: why -->`.
"""

from __future__ import annotations

import ast
import os
import re
import shlex
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from iassa.cli import main

ROOT = Path(__file__).parents[1]
RUN = ("python", "pycon", "bash")
MOST, ALONE = 60, 40
WHOLE = {"docs/targets.md"}
EXPLAINING = {"explain", "extend", "iterate"}  # in Python they say how many calls


@dataclass(frozen=True)
class Block:
    """A code block of a page.

    Attributes:
        page: its path, from the root of the repository.
        line: of the page, from 1.
        heading: that it is below.
        language: as the page names it; '' if it does not.
        code: as the page has it.
        file: that the line above says it is, or ''.
        unrun: why it is not run, or ''.
    """

    page: str
    line: int
    heading: str
    language: str
    code: str
    file: str
    unrun: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[str]:
    """README.md and all pages of docs/, but for the reports that `iassa report` wrote."""
    found = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    built = ("_build",)
    wanted = [one for one in found if not {*one.parts} & {*built} and one.name != "report.md"]
    return [str(one.relative_to(ROOT)) for one in wanted]


def blocks(page: str, heading: str | None = None) -> list[Block]:
    """Those of a page, or of its part below a heading, in order."""
    text = (ROOT / page).read_text("utf-8")
    here, above, unrun, found = "", "", "", []
    tokens = MarkdownIt().parse(text)
    for before, token in zip([tokens[0], *tokens], tokens, strict=False):
        if token.type == "inline":
            here = token.content if before.type == "heading_open" else here
            above, unrun = token.content, ""
        elif token.type == "html_block":
            said = re.fullmatch(r"<!-- not run: (.+?) -->", token.content.strip(), re.S)
            unrun = said[1] if said else ""
        elif token.type in ("fence", "code_block"):
            assert token.map is not None
            named = re.search(r"`(\w+\.py)`[^.]*:$", above)
            found.append(
                Block(
                    *(page, token.map[0] + 1, here, token.info.strip(), token.content),
                    *(named[1] if named else "", unrun),
                )
            )
            above = unrun = ""
    return [one for one in found if heading in (None, one.heading)]


def fewer(number: str) -> str:
    """A tenth of the calls, 60 at most; of several numbers between commas each."""
    if number == "auto":
        return str(MOST)
    each = [str(min(int(one.replace("_", "")) // 10, MOST)) for one in re.split(r", ?", number)]
    return ",".join(each)


def python_of(block: Block) -> str:
    """The code of a block, with fewer calls."""
    code = block.code
    if block.language == "pycon":
        code = "".join(f"{line[4:]}\n" for line in code.splitlines() if line[:3] in (">>>", "..."))
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            said = {one.arg for one in node.keywords}
            assert node.func.attr not in EXPLAINING or said & {"calls", None}, (
                f"{block}: {node.func.attr} says no calls"
            )
    if block.page in WHOLE:
        return code
    numbers = r"(calls(?:=|\": )\(?)([\d_]+(?:, [\d_]+)*)"
    return re.sub(numbers, lambda one: one[1] + fewer(one[2]), code)


def run_python(block: Block, names: dict[str, Any]) -> None:
    """Run a block in the current folder; what it defines goes into `names`."""
    code = python_of(block)
    if block.file:
        Path(block.file).write_text(code)
    elif "__main__" in code:
        Path("script.py").write_text(code)
        subprocess.run([sys.executable, "script.py"], capture_output=True, text=True, check=True)
    else:
        padded = "\n" * block.line + code  # so that an error names the line of the page
        exec(compile(padded, block.page, "exec"), names)


def command(line: str) -> list[str]:
    """The words of a line that begins with `iassa`, with fewer calls."""
    less = re.sub(r"(?<=@)\d+", lambda one: fewer(one[0]), line)
    words = shlex.split(less, comments=True)
    for k, word in enumerate(words[:-1]):
        if word in ("--calls", "--refine"):
            words[k + 1] = fewer(words[k + 1])
    if "--ray" in words:  # tests/test_benchmark_ray.py has a cluster
        del words[words.index("--ray") : words.index("--ray") + 2]
    more: list[str] = []
    if words[1] in ("explain", "benchmark") and "--calls" not in words:
        more += ["--calls", str(ALONE)]
    if words[1] == "explain":
        more += ["--overwrite"]  # one page explains the same photograph in several ways
    if words[1] == "benchmark":
        more += ["--limit", "1", "--protocol", "gain_steps=2"]
        more += ["--protocol", "pixels_per_step=12544"]
    return [*words[1:], *more]


def run_line(line: str, capsys: pytest.CaptureFixture[str], started: ExitStack) -> None:
    """Run a line of a bash block; what it starts ends with `started`."""
    words = shlex.split(line, comments=True)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    match words:
        case []:
            pass
        case ["export", setting]:
            os.environ.__setitem__(*setting.split("=", 1))
        case ["make", *_]:
            subprocess.run([*words, "--dry-run"], cwd=ROOT, capture_output=True, check=True)
        case ["pip", "install", wanted] if extra := re.fullmatch(r"\.\[(\w+)\]", wanted):
            assert extra[1] in project["optional-dependencies"]
        case [program, *arguments, "&"]:
            path = Path(sys.executable).with_name(program)
            started.enter_context(in_background([str(path), *arguments]))
        case ["iassa" | ".venv/bin/iassa", *_]:
            with pytest.raises(SystemExit) as exit_:
                main(command(line))
            assert exit_.value.code == 0, f"{line}\n{capsys.readouterr().err}"
        case _:
            raise AssertionError(f"expected iassa, make, export or pip install '.[..]', got {line}")


@contextmanager
def in_background(words: list[str]) -> Iterator[None]:
    """A program and all that it starts, until the end; what it says is in the file `said`."""
    with Path("said").open("w") as said:
        process = subprocess.Popen(words, stdout=said, stderr=said, start_new_session=True)
        try:
            yield
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(30)


def run(
    block: Block, names: dict[str, Any], capsys: pytest.CaptureFixture[str], started: ExitStack
) -> None:
    """Run a block of a page; programs that it starts end with `started`."""
    if block.language == "bash":
        for line in block.code.replace("\\\n", " ").splitlines():
            run_line(line, capsys, started)
    else:
        run_python(block, names)
