"""The site: pages, notebooks that the build runs, and the public names from their docstrings."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import iassa

HERE = Path(__file__).parent
# For the kernels of the notebooks: small sums are faster in one thread than in two that wait for
# each other. ONNX Runtime has threads of its own.
os.environ.setdefault("OMP_NUM_THREADS", "1")

project = "iassa"
author = "The founders of iassa"
copyright = "2026, the founders of iassa"  # noqa: A001 - Sphinx's name
version = release = iassa.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
root_doc = "index"
exclude_patterns = ["_build", "results/*/report.md"]
default_role = "code"  # a name between single backticks, as in Markdown

html_theme = "furo"
html_title = f"iassa {version}"
html_show_sourcelink = False

myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
nb_execution_mode = "force"  # what a page shows is what this version gives
nb_execution_timeout = 300
nb_execution_raise_on_error = True
nb_merge_streams = True

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_numpy_docstring = False

LINK = re.compile(r"\[([^\]]+)\]\(([^)#:]+)(#[^)]*)?\)")


def keep_inside(_: Any, page: str, source: list[str]) -> None:
    """Turn links to files that are not pages of the site into their words.

    They work where the repository is read, and the site has no such files.
    """
    folder = (HERE / page).parent

    def replace(match: re.Match[str]) -> str:
        path = (folder / match[2]).resolve()
        inside = path.is_relative_to(HERE) and not path.match("results/*/report.md")
        return match[0] if inside else match[1]

    source[0] = LINK.sub(replace, source[0])


def plain_text(_: Any, what: str, *rest: Any) -> None:
    """Take the docstrings for what they are: plain text, not reStructuredText."""
    lines: list[str] = rest[-1]
    if what == "module":  # below its first paragraphs it has a table in Markdown
        lines[:] = lines[: next((k for k, line in enumerate(lines) if line.startswith("|")), None)]
    for k, line in enumerate(lines):
        if not line.lstrip().startswith((">>>", "...")):
            lines[k] = re.sub(r"(?<!`)([|*])(?!`)", r"\\\1", line)


def setup(app: Any) -> None:
    """Join the two to Sphinx."""
    app.connect("source-read", keep_inside)
    app.connect("autodoc-process-docstring", plain_text, priority=100)
