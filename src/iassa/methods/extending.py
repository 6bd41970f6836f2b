"""Going on from an explanation: more masks for the same targets, or other targets at no cost."""

from __future__ import annotations

import dataclasses
import json
import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from iassa.errors import InputError, WeakEvidenceWarning
from iassa.explanations.evidence import Evidence
from iassa.explanations.explanation import Explanation
from iassa.methods.engine.base import last
from iassa.methods.engine.budget import Budget, Progress
from iassa.methods.engine.case import Question, recall
from iassa.methods.engine.loop import Method, run
from iassa.methods.registry import open_method
from iassa.models.black_box import Adapter
from iassa.models.detector import Detector
from iassa.models.opening import BlackBoxLike, open_black_box
from iassa.models.targets import Target, TargetLike

__all__ = ["extend", "retarget"]


def extend(
    explanation: Explanation,
    black_box: BlackBoxLike,
    *,
    calls: int,
    seconds: float | None,
    tolerance: float | None,
    batch_size: int | None,
    device: str | torch.device | None,
    method: Method | None,
    target: TargetLike | None,
    progress: Callable[[Progress], object] | None,
    cancel: Callable[[], bool] | None,
) -> Explanation:
    """More evidence for an explanation; see `Explanation.extend`."""
    evidence = _evidence(explanation)
    spent = (explanation.calls, explanation.seconds)
    budget = Budget(calls, seconds, progress, cancel, tolerance, spent)
    adapter = open_black_box(black_box, device)
    if explanation.boxes is not None and isinstance(adapter, Detector):
        # What was found then: another look would cost a call, and may find other boxes.
        adapter = adapter.aim(explanation.image, explanation.boxes)
    if adapter.identity() != explanation.identity:
        raise InputError(
            f"expected the black box that was asked before, {explanation.identity}, got "
            f"{adapter.identity()}. Scores of two models make no map: explain again."
        )
    size = adapter.input_size or explanation.image.shape[:2]
    if tuple(size) != evidence.size:
        raise InputError(
            f"expected a black box that looks at {evidence.size} pixels, as before, got one that "
            f"looks at {tuple(size)}."
        )
    question = Question(
        photo=explanation.image,
        source=explanation.source,
        black_box=adapter,
        target=_targets(explanation, evidence, target),
        keep=0,
        seed=explanation.seed,
        batch_size=batch_size,
        known=evidence,
    )
    return last(run(_method(explanation, method), question, budget))


def retarget(explanation: Explanation, target: TargetLike, *, method: Method | None) -> Explanation:
    """Another target from the same evidence; see `Explanation.retarget`."""
    evidence = _evidence(explanation)
    budget = Budget(1, None, None, None, spent=(explanation.calls, explanation.seconds))
    budget.give_up_the_rest()
    recorded = _Recorded(explanation, evidence)
    question = Question(
        photo=explanation.image,
        source=explanation.source,
        black_box=recorded,
        target=target,
        keep=0,
        seed=explanation.seed,
        batch_size=None,
        known=evidence,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", WeakEvidenceWarning)  # told in `warnings`
        made = last(run(_method(explanation, method), question, budget))
    return dataclasses.replace(
        made,
        device=explanation.device,
        seconds=explanation.seconds,
        stopped=explanation.stopped,
        complete=explanation.complete,
        versions=explanation.versions,
    )


class _Recorded(Adapter):
    """The black box of a saved run, of which nothing is asked."""

    def __init__(self, explanation: Explanation, evidence: Evidence) -> None:
        self.name = explanation.model
        self.input_size = evidence.size
        self.boxes = explanation.boxes
        self._identity = explanation.identity

    def identity(self) -> str:
        return self._identity

    def score(self, planes: Tensor) -> Tensor:
        raise AssertionError("all masks were known, and one was asked about")


def _evidence(explanation: Explanation) -> Evidence:
    if explanation.evidence is None:
        raise InputError(
            "expected an explanation with its evidence, got one without: evidence.npz was not "
            f"beside explanation.json, or {explanation.method['name']} keeps none. Explain again."
        )
    return explanation.evidence


def _targets(
    explanation: Explanation, evidence: Evidence, target: TargetLike | None
) -> list[Target]:
    """The targets that were explained, with their functions."""
    targets, readout, _ = recall(explanation.targets if target is None else target, evidence)
    found = [dataclasses.replace(one, function=None) for one in targets]
    before = [dataclasses.replace(one, function=None) for one in explanation.targets]
    if found != before or readout.digests != evidence.functions:
        raise InputError(
            f"expected the targets that were explained, {_names(before)}, got {_names(found)} or "
            "functions with another code. Leave `target` out, or `retarget` first."
        )
    return list(targets)


def _names(targets: list[Target]) -> str:
    return ", ".join(target.name for target in targets)


def _method(explanation: Explanation, method: Method | None) -> Method:
    """The method that an explanation was made with."""
    record = dict(explanation.method)
    try:
        made = open_method(record["name"], **record["fields"]) if method is None else method
    except InputError as error:
        raise InputError(
            f"cannot open the method again from its record: {error} Pass it with `method=`."
        ) from error
    if json.loads(json.dumps(made.as_dict())) != json.loads(json.dumps(record)):
        raise InputError(
            f"expected the method that drew the masks, {record['fields']}, got "
            f"{made.as_dict()['fields']}."
        )
    assert isinstance(made, Method), "no other method keeps its evidence"
    return made
