"""The direction of imports: one table, and every folder is in it."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import iassa

# A file may import those of lower rows, and of its own folder. Folders of one row do not know each
# other. A file that has no entry counts with the folder that it lies in; "" is iassa itself. An
# import inside of a function or for type checkers counts as any other.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("errors",),
    ("checks",),
    ("archives", "decoding", "files", "query"),
    ("image",),
    ("masks", "models", "metrics"),
    ("estimators", "explanations"),
    ("methods.engine",),
    ("methods",),
    ("benchmark", "plugins", "training"),
    ("adapting", "gallery"),
    ("auditing",),
    ("",),
    ("app",),
    ("cli",),
    ("__main__",),
)

ROOT = Path(iassa.__file__).parent
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}


def module_name(path: Path) -> str:
    """'iassa/methods/rise.py' -> 'methods.rise', 'iassa/methods/__init__.py' -> 'methods'."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


MODULES = {module_name(path): path for path in sorted(ROOT.rglob("*.py"))}
STUBS = {module_name(path): path for path in sorted(ROOT.rglob("*.pyi"))}  # of lazy faces


def home(module: str) -> str:
    """The entry of the table that a module counts with: its own, or that of a folder above it."""
    parts = module.split(".")
    entries = [".".join(parts[:end]) for end in range(len(parts), 0, -1)]
    found = [entry for entry in entries if entry in RANK]
    assert found, f"{module} is in no row of the table: give its folder one"
    return found[0]


def imported_names(code: ast.AST, folder: str = "") -> set[str]:
    """Modules that code imports, anywhere in it; of the stub of a folder, relative ones as well."""
    found: set[str] = set()
    for node in ast.walk(code):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == bool(folder), f"line {node.lineno}: import by the whole name"
            source = ".".join(filter(None, [folder, node.module]))
            # `from iassa import metrics` is an import of the module, not of the package.
            for alias in node.names:
                whole = f"{source}.{alias.name}"
                is_module = whole.removeprefix("iassa.") in MODULES
                found.add(whole if is_module else source)
    return found


def imports(code: ast.AST, folder: str = "") -> set[str]:
    """Those of them that are ours, without 'iassa.'."""
    ours = {name for name in imported_names(code, folder) if name.split(".")[0] == "iassa"}
    return {name.removeprefix("iassa").removeprefix(".") for name in ours}


IMPORTS = {name: imports(ast.parse(path.read_text("utf-8"))) for name, path in MODULES.items()}
for name, path in STUBS.items():
    folder = f"iassa.{name}".rstrip(".")
    IMPORTS[name] |= imports(ast.parse(path.read_text("utf-8")), folder)


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module: str) -> None:
    here = home(module)
    outside = {name for name in IMPORTS[module] if home(name) != here}
    up = {name for name in outside if RANK[home(name)] >= RANK[here]}
    assert not up, f"{module} of the row of {here} imports {sorted(up)}"


def test_no_imports_make_a_circle() -> None:
    TopologicalSorter(IMPORTS).prepare()  # raises CycleError, which names the circle


def test_every_folder_is_in_the_table_and_nothing_else() -> None:
    assert {home(module) for module in MODULES} == set(RANK)
    assert len(RANK) == sum(map(len, LAYERS))


def test_the_face_of_a_folder_says_what_flows_through_it_and_defines_nothing() -> None:
    for path in ROOT.rglob("__init__.py"):
        code = ast.parse(path.read_text("utf-8"))
        said = (ast.get_docstring(code) or "").splitlines()
        assert said[1:2] == [""], path
        assert [line.split()[0] for line in said[2:4]] == ["In:", "Out:"], path
        handing_on = (ast.Import, ast.ImportFrom)
        rest = [node for node in code.body[1:] if not isinstance(node, handing_on)]
        names = {ast.unparse(node).split(" = ")[0] for node in rest}
        lazy = "__getattr__, __dir__, __all__" if path.with_suffix(".pyi").exists() else "__all__"
        version = {"__version__"} if path.parent == ROOT else set()
        assert names <= {lazy} | version, path


def test_the_reader_of_imports_sees_all_of_them() -> None:
    source = """
import numpy, iassa.files
from iassa import metrics, example_image
from iassa.methods import Rise
if TYPE_CHECKING:
    from iassa.explanations.explanation import Explanation
else:
    from iassa.explanations import original
def later():
    try:
        from iassa.methods.engine.loop import Method
    finally:
        import iassa
"""
    expected = {"files", "metrics", "methods", "methods.engine.loop", ""}
    typing = {"explanations.explanation", "explanations.original"}
    assert imports(ast.parse(source)) == expected | typing
