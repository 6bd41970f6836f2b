"""Files and functions stay small enough to be read at once."""

from __future__ import annotations

import ast
import io
import tokenize
from pathlib import Path

import pytest

import iassa

MOST_LINES = 400  # of a file, with its comments and blank lines
MOST_CODE = 60  # lines of a function, without blanks, comments and docstrings

ROOT = Path(iassa.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
SILENT = {
    *(tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE),
    *(tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER),
}
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def code_lines(source: str) -> set[int]:
    """Numbers of the lines that hold code."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in SILENT:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Module, ast.ClassDef, *FUNCTIONS)) and ast.get_docstring(node):
            lines -= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    return lines


def longest_function(source: str) -> int:
    """Lines of code of the longest function."""
    lines = code_lines(source)
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, FUNCTIONS)]
    spans = (range(node.lineno, (node.end_lineno or 0) + 1) for node in functions)
    return max((len(lines.intersection(span)) for span in spans), default=0)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_and_its_functions_can_be_read_at_once(path: Path) -> None:
    source = path.read_text("utf-8")
    assert source.count("\n") <= MOST_LINES
    assert longest_function(source) <= MOST_CODE


def test_lines_are_counted_without_what_is_no_code() -> None:
    source = '''"""Module.

Two lines.
"""

def first(  # a comment
    argument,
):
    """Docstring."""

    # another
    return """text
    of two lines"""

class Second:
    def third(self): return 1
'''
    assert len(code_lines(source)) == 7
    assert longest_function(source) == 5
