"""The conclusion of a round: from an effect to an `Explanation`."""

from __future__ import annotations

import functools
import platform
from collections.abc import Mapping
from importlib import metadata
from typing import Any

from iassa.errors import BlackBoxError, WeakEvidenceWarning, warn
from iassa.estimators.effect import Effect
from iassa.explanations.evidence import Evidence
from iassa.explanations.explanation import Explanation
from iassa.explanations.failure import RunFailedError
from iassa.explanations.original import bound, resize_maps
from iassa.methods.engine.budget import Budget
from iassa.methods.engine.case import Case
from iassa.methods.engine.history import History
from iassa.methods.engine.weaknesses import weaknesses


def conclude(
    case: Case,
    method: Mapping[str, Any],
    effect: Effect,
    budget: Budget,
    history: History,
    evidence: Evidence | None,
) -> Explanation:
    """The result, or the map so far while the run goes on.

    Args:
        case: what the run is about.
        method: its record, see `Explainer.as_dict`.
        effect: the maps of the targets, at the size of the masks.
        budget: what was spent, and why the run ends if it does.
        history: its rounds.
        evidence: to go on from; None of a method that keeps none.
    """
    return Explanation(
        saliency=resize_maps(effect.saliency, bound(case.photo_size)),
        standard_error=resize_maps(effect.standard_error, bound(case.photo_size)),
        relative_errors=effect.relative_errors,
        image=case.picture,
        original=case.original,
        targets=case.targets,
        scores=tuple(case.reference.tolist()),
        calls=budget.calls,
        seconds=budget.seconds,
        method=method,
        rounds=history.rounds,
        seed=case.seed,
        model=case.black_box.name,
        identity=case.black_box.identity(),
        device=str(case.black_box.device),
        target_boxes=case.black_box.boxes,
        source=case.source,
        complete=budget.stopped in ("calls", "seconds", "tolerance", "rounds"),
        stopped=budget.stopped or "running",
        warnings=(*history.doubts, *weaknesses(case, history)) if budget.stopped else (),
        versions=versions(),
        evidence=evidence,
    )


def deliver(explanation: Explanation, budget: Budget, failure: BlackBoxError | None) -> None:
    """Show an explanation to whoever follows the progress, and warn of what makes it weak.

    Raises:
        RunFailedError: the black box failed; the error carries the explanation.
    """
    budget.latest = explanation
    if failure is not None:
        raise RunFailedError.after(failure, explanation) from failure.__cause__
    for text in explanation.warnings:
        warn(text, WeakEvidenceWarning)


@functools.cache
def versions() -> dict[str, str]:
    """Versions of what a map depends on."""
    names = ("iassa", "numpy", "torch", "onnxruntime", "scikit-image")
    return {
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in names},
    }
