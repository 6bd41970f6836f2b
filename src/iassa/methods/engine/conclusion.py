"""The conclusion of a round: from an effect to an `Explanation` of the image as it was given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iassa.errors import BlackBoxError, WeakEvidenceWarning, warn
from iassa.estimators.effect import Effect
from iassa.explanations.evidence import Evidence
from iassa.explanations.explanation import Explanation, RunFailedError, versions
from iassa.image import resize
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
        saliency=_enlarge(effect.saliency, case.photo),
        standard_error=_enlarge(effect.standard_error, case.photo),
        relative_errors=effect.relative_errors,
        image=case.photo,
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
        boxes=case.black_box.boxes,
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


def _enlarge(maps: Tensor, photo: NDArray[np.float32]) -> NDArray[np.float32]:
    """Maps of the masks' size at the size of the image, infinite where they are infinite."""
    size = (photo.shape[0], photo.shape[1])
    finite = maps.isfinite()
    enlarged = resize(torch.where(finite, maps, 0.0), size)
    if not finite.all():
        # The weights of a resize add up to 1 but for rounding.
        enlarged = torch.where(resize(finite.float(), size) < 0.999, torch.inf, enlarged)
    return enlarged.cpu().numpy()
