"""The conclusion of a round: from an effect to an `Explanation`."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

import numpy as np
import torch

from iassa.errors import BlackBoxError, WeakEvidenceWarning, warn
from iassa.estimators.effect import Effect
from iassa.explanations.evidence import Evidence
from iassa.explanations.explanation import Explanation
from iassa.explanations.failure import RunFailedError
from iassa.explanations.fills import Fills
from iassa.explanations.original import bound, resize_maps
from iassa.explanations.record import Agreement
from iassa.masks.baselines import name_fill
from iassa.methods.engine.base import Explainer
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
    fills: Fills | None = None,
) -> Explanation:
    """The result, or the map so far while the run goes on.

    Args:
        case: what the run is about.
        method: its record, see `Explainer.as_dict`.
        effect: the maps of the targets, at the size of the masks.
        budget: what was spent, and why the run ends if it does.
        history: its rounds.
        evidence: to go on from; None of a method that keeps none.
        fills: of several fills, their maps.
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
        warnings=(*history.doubts, *weaknesses(case, history, fills)) if budget.stopped else (),
        versions=versions(),
        fills=fills,
        evidence=evidence,
        deviations=torch.where(effect.settled, effect.deviations, torch.nan).float().cpu().numpy(),
    )


def describe_fills(case: Case, method: Explainer, effects: Sequence[Effect]) -> Fills:
    """Each fill's own map, and how far they agree.

    Args:
        case: what the run is about.
        method: whose fills they are.
        effects: of each of its fills, at the size of the masks.
    """
    # Here, as it imports all metrics, and few runs have several fills.
    from iassa.estimators.agreement import rank_agreement

    names = tuple(map(name_fill, method.fills))
    size = bound(case.photo_size)
    pairs = list(itertools.combinations(range(len(names)), 2))
    found = [rank_agreement(effects[i], effects[j]) for i, j in pairs]
    return Fills(
        names=names,
        saliency=np.stack([resize_maps(one.saliency, size) for one in effects]),
        standard_error=np.stack([resize_maps(one.standard_error, size) for one in effects]),
        agreements=tuple(
            Agreement(target.name, (names[i], names[j]), **dataclasses.asdict(of_pair[t]))
            for t, target in enumerate(case.targets)
            for (i, j), of_pair in zip(pairs, found, strict=True)
        ),
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
