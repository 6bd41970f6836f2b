"""The direction of imports: one table, and every module is in it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import iassa

# A module may import those of lower layers only. `__init__` files stand for their package.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("errors", "efficientnet", "hyperparameters", "saturation"),
    ("budget", "conventions", "eval_mode", "identity", "onnx_session", "python_object"),
    ("image", "files", "onnx_graph", "targets", "masks", "datasets.sample"),
    (
        "endpoint",
        "endpoint.authorisation",
        "endpoint.pace",
        "endpoint.request_forms",
        "endpoint.score_cache",
    ),
    ("endpoint.connection", "endpoint.open_inference"),
    ("endpoint.line",),
    ("image_processor", "onnx_features", "detections", "evidence"),
    ("datasets.categories", "datasets.coco_outline", "datasets.image_folder"),
    ("datasets.coco", "datasets.mask_folder"),
    ("datasets",),
    ("segmentation", "attention", "baselines", "detector_layouts", "features", "jackknife", "plot"),
    ("rendering", "explanation"),
    ("saliency", "level_sets", "black_box"),
    ("onnx_model", "torch_module"),
    ("detector",),
    (
        "kernel_regression",
        "black_boxes.efficientnet_lite0",
        "black_boxes.endpoint",
        "black_boxes.hugging_face",
        "black_boxes.onnx_detector",
        "black_boxes.onnx_file",
    ),
    ("black_boxes", "case"),
    ("similarity", "weaknesses"),
    ("conclusion",),
    ("explainer",),
    ("loop", "shapley"),
    (
        "methods.iassa",
        "methods.iassa_paper",
        "methods.kernel_shap",
        "methods.lime",
        "methods.rise",
        "methods.shap_partition",
        "methods.sliding_window",
    ),
    ("methods",),
    ("extending",),
    (
        "benchmark.changed_images",
        "benchmark.configuration",
        "benchmark.contestant",
        "benchmark.database",
        "benchmark.fork_server",
        "benchmark.packed_map",
        "benchmark.peak_memory",
        "benchmark.records",
    ),
    ("benchmark.evaluation", "benchmark.rows"),
    ("benchmark.item_rows", "benchmark.pages", "benchmark.tasks"),
    ("benchmark.remains", "benchmark.workers"),
    ("benchmark.ray_workers", "benchmark.store"),
    ("benchmark.run", "benchmark.salvage"),
    ("benchmark",),
    ("",),  # iassa itself, what users import
    ("report.columns", "report.pictures", "report.statistics"),
    ("report.comparison", "report.paper"),
    ("report.costs", "report.data_files", "report.trajectories"),
    ("report.figures", "report.tables"),
    ("report.page",),
    ("report.sections",),
    ("report.writing",),
    ("report",),
    ("cli.dataset_options", "cli.model_options", "cli.terminal"),
    ("cli.asked_model",),
    ("cli.benchmark", "cli.explain", "cli.report"),
    ("cli",),
    ("__main__",),
)
# Beside the others: made from arrays and any black box, used by nothing above but `iassa` and
# the benchmark.
METRICS: tuple[tuple[str, ...], ...] = (
    ("metrics.overlap",),
    (
        "metrics.activated",
        "metrics.causal",
        "metrics.pointing_game",
        "metrics.similarity",
        "metrics.sparsity",
    ),
    ("metrics.randomisation", "metrics.stability"),
    ("metrics",),
)
METRICS_MAY_IMPORT = {"errors", "image"}
# `explanation.extend()` is a method for its users' sake, and runs the loop that made it.
UPWARDS = {"explanation": {"extending"}}

ROOT = Path(iassa.__file__).parent
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}
METRICS_RANK = {name: rank for rank, layer in enumerate(METRICS) for name in layer}
MEASURING = {""} | {name for name in RANK if name.startswith(("benchmark.", "report.", "cli."))}


def module_name(path: Path) -> str:
    """'iassa/methods/rise.py' -> 'methods.rise', 'iassa/methods/__init__.py' -> 'methods'."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


MODULES = {module_name(path): path for path in sorted(ROOT.rglob("*.py"))}


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def imported_names(node: ast.AST) -> set[str]:
    """Modules that code imports, at any depth, but for type checkers alone."""
    found: set[str] = set()
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            found |= {alias.name for alias in child.names}
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"line {child.lineno}: import by the whole name"
            # `from iassa import efficientnet` is an import of the module, not of the package.
            for alias in child.names:
                whole = f"{child.module}.{alias.name}"
                is_module = whole.removeprefix("iassa.") in MODULES
                found.add(whole if is_module else str(child.module))
        elif is_type_checking(child):
            assert isinstance(child, ast.If)
            for other in child.orelse:
                found |= imported_names(ast.Module([other], []))
        else:
            found |= imported_names(child)
    return found


def imports(code: ast.AST) -> set[str]:
    """Those of them that are ours, without 'iassa.'."""
    ours = {name for name in imported_names(code) if name.split(".")[0] == "iassa"}
    return {name.removeprefix("iassa").removeprefix(".") for name in ours}


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module: str) -> None:
    imported = imports(ast.parse(MODULES[module].read_text("utf-8")))
    if module in METRICS_RANK:
        lower = {name for name, rank in METRICS_RANK.items() if rank < METRICS_RANK[module]}
        assert imported <= lower | METRICS_MAY_IMPORT
    else:
        assert imported <= {name for name, rank in RANK.items() if rank < RANK[module]} | (
            {*METRICS_RANK} if module in MEASURING else UPWARDS.get(module, set())
        )


def test_every_module_is_in_the_table_and_nothing_else() -> None:
    assert set(MODULES) == set(RANK) | set(METRICS_RANK)
    assert len(RANK) + len(METRICS_RANK) == sum(map(len, LAYERS + METRICS))


def test_methods_and_black_boxes_do_not_know_each_other() -> None:
    for module, path in MODULES.items():
        family = module.rpartition(".")[0]
        if family in ("methods", "black_boxes"):
            imported = imports(ast.parse(path.read_text("utf-8")))
            assert not {name for name in imported if name.startswith(f"{family}.")}


def test_the_reader_of_imports_sees_all_of_them() -> None:
    source = """
import numpy, iassa.files
from iassa import masks, example_image
from iassa.methods import Rise
if TYPE_CHECKING:
    from iassa.explanation import Explanation
else:
    from iassa import plot
def later():
    try:
        from iassa.loop import Method
    finally:
        import iassa
"""
    expected = {"files", "masks", "methods", "plot", "loop", ""}
    assert imports(ast.parse(source)) == expected
