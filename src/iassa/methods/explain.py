"""The verbs: explain an image, extend an explanation by more masks, retarget it at no cost."""

from __future__ import annotations

import dataclasses
import json
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from iassa.checks import taking
from iassa.errors import InputError, WeakEvidenceWarning, list_some, require, show
from iassa.explanations.evidence import Evidence
from iassa.explanations.explanation import Explanation
from iassa.image import ImageLike
from iassa.methods.engine.base import Explainer, last
from iassa.methods.engine.budget import Budget, Calls
from iassa.methods.engine.case import reopen_case
from iassa.methods.engine.loop import Method
from iassa.methods.live import Cancel, Following, Show, follow
from iassa.methods.registry import open_method, reopen_method
from iassa.models.black_box import BlackBox
from iassa.models.detector import AimedDetector, Detector
from iassa.models.identity import digest_code
from iassa.models.opening import BlackBoxLike, open_model
from iassa.models.readout import Keep
from iassa.models.targets import Target, TargetLike


def explain(
    image: ImageLike,
    black_box: BlackBoxLike = "efficientnet-lite0",
    *,
    target: TargetLike = "top-1",
    method: str | Explainer = "iassa",
    calls: Calls = 1000,
    max_seconds: float | None = None,
    tolerance: float | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    keep_scores: Keep = 10,
    device: str | torch.device | None = None,
    progress: Following = None,
    cancel: Cancel | None = None,
) -> Explanation:
    """Explain what a black box looks at in an image.

    Args:
        image: a path, the bytes of an image file, an open file, a Pillow image or an array
            (H, W, 3), uint8 or floating point in [0, 1].
        black_box: any callable, images (N, H, W, 3) float32 in [0, 1] -> scores (N, K), a torch
            module, or the name of a model.
        target: what to explain; see `resolve_targets`.
        method: a name, or an instance with hyperparameters of your own.
        calls: the most images that the black box may be asked for, the whole image included. 'auto'
            is a tolerance of 0.1, if none is given, and at most 4000 calls.
        max_seconds: the most time, checked after every batch.
        tolerance: stop once the relative error is at most this; see
            `Explanation.relative_error`. 0.05 is a precise map.
        seed: of all randomness: the same seed gives the same map whatever the batch size.
        batch_size: the most images at a time; None takes 16 on a CPU, 128 on a GPU.
        keep_scores: how many outputs to keep the scores of, beside those of the targets; 'all' for
            all, or which, by index. `retarget` can explain any of them later without a call.
        device: where the black box and the masks are; see `open_device`.
        progress: called after every batch; or True: a terminal then shows a bar, a notebook the map
            so far, and Ctrl-C or the notebook's Stop button ends the run with that map.
        cancel: called after every batch; True ends the run with the map so far.

    Returns:
        The explanation.

    Raises:
        InputError: an argument that cannot be used.
        RunFailedError: the black box failed; `explanation` of the error is the map so far.
        BlackBoxError: it failed before there was a map.
        CancelledError: cancelled before there was a map.

    Example:
        >>> import numpy as np, iassa
        >>> image = np.zeros((24, 32, 3), np.float32)
        >>> image[6:12, 8:16] = 1  # a bright patch, and a black box that looks at nothing else
        >>> brightness = lambda images: images[:, 6:12, 8:16].mean(axis=(1, 2, 3))[:, None]
        >>> explanation = iassa.explain(image, brightness, method="rise", calls=200)
        >>> row, column = np.unravel_index(explanation.saliency[0].argmax(), (24, 32))
        >>> bool(6 <= row < 12 and 8 <= column < 16), explanation.calls
        (True, 200)
    """

    def run(show: Show | None, stop: Cancel | None) -> Explanation:
        rounds = open_method(method).iterate(
            image,
            black_box,
            target=target,
            calls=calls,
            max_seconds=max_seconds,
            tolerance=tolerance,
            seed=seed,
            batch_size=batch_size,
            keep_scores=keep_scores,
            device=device,
            progress=show,
            cancel=stop,
        )
        return last(rounds)

    return follow(run, progress, cancel, "explain")


@taking("explanation")
def extend(
    explanation: Explanation,
    black_box: BlackBoxLike,
    *,
    calls: Calls = 1000,
    max_seconds: float | None = None,
    tolerance: float | None = None,
    batch_size: int | None = None,
    device: str | torch.device | None = None,
    method: Method | Mapping[str, Any] | None = None,
    target: TargetLike | None = None,
    progress: Following = None,
    cancel: Cancel | None = None,
) -> Explanation:
    """More evidence: the map that asking for all the calls at once would have given.

    Args:
        explanation: the result so far; it stays as it is.
        black_box: the one that was asked before, see `open_model`.
        calls: the most that may be added; 'auto' as in `explain`.
        max_seconds: the most time to add.
        tolerance: as in `explain`.
        batch_size: as in `explain`; with the same one the map is the same to the bit,
            if the black box's scores are.
        device: as in `explain`.
        method: the fields of the method that name a file or code, named again, as in
            {'features': 'net.onnx:a,b'} or {'baseline': 'fill.png'}: nothing that a record names is
            opened. Or the whole method, if it is one of your own.
        target: the ones that were explained, where functions are among them: of these a saved
            explanation has the names alone, and imports none.
        progress: as in `explain`; `calls` counts those before, too.
        cancel: as in `explain`.

    Returns:
        The explanation of all calls.

    Raises:
        InputError: another black box or method, something to be named again, no evidence, or
            masks that this version of iassa would not draw.
        RunFailedError: the black box failed; `explanation` of the error is the map so far.
    """
    evidence = _evidence(explanation)
    spent = (explanation.calls, explanation.seconds)
    # The whole image, the masks, and one call more: see `check_neighbours`.
    checked = explanation.calls > 1 + len(evidence)

    def run(show: Show | None, stop: Cancel | None) -> Explanation:
        budget = Budget(calls, max_seconds, show, stop, tolerance, spent, checked)
        opened = open_again(explanation, black_box, device)
        drawn_by = _method(explanation, method)
        wanted = explanation.targets if target is None else target
        case = reopen_case(explanation, evidence, opened, wanted, drawn_by.baseline, batch_size)
        check_size(opened.size_for(explanation.image_size), case.size)
        check_targets(case.targets, explanation.targets, evidence.functions)
        budget.start()
        return last(drawn_by.run(case, budget))

    return follow(run, progress, cancel, "extend")


def open_again(
    explanation: Explanation, black_box: BlackBoxLike, device: str | torch.device | None
) -> BlackBox:
    """The black box that was asked for an explanation, see `aim_again`.

    Raises:
        InputError: it is another one.
    """
    opened = aim_again(open_model(black_box, device), explanation)
    if opened.identity() != explanation.identity:
        raise InputError(
            f"expected the black box that was asked before, {explanation.identity}, got "
            f"{opened.identity()}. Scores of two models make no map: explain again."
        )
    return opened


def check_size(size: tuple[int, int], before: tuple[int, int]) -> None:
    """Refuse a black box that looks at images of another size than before.

    Raises:
        InputError: it does.
    """
    require(
        tuple(size) == tuple(before),
        f"expected a black box that looks at {tuple(before)} pixels, as before, got one that looks "
        f"at {tuple(size)}.",
    )


def check_targets(
    named: Sequence[Target], explained: Sequence[Target], functions: Mapping[str, str] | None
) -> None:
    """Refuse other targets than those that were explained, or functions with another code.

    Args:
        named: the targets now.
        explained: the targets of then.
        functions: digests of the functions among these, by name; None where they are not known.

    Raises:
        InputError: they are others.
    """
    found = [dataclasses.replace(one, function=None) for one in named]
    before = [dataclasses.replace(one, function=None) for one in explained]
    digests = {one.name: digest_code(one.function) for one in named if one.function is not None}
    require(
        found == before and functions in (None, digests),
        f"expected the targets that were explained, {list_some(one.name for one in before)}, got "
        f"{list_some(one.name for one in found)} or functions with another code. Name the same "
        "ones, or none.",
    )


def aim_again(black_box: BlackBox, explanation: Explanation) -> BlackBox:
    """The black box whose outputs an explanation is of: a detector, aimed at the boxes of then.

    Another look for boxes would cost a call, and may find others.
    """
    if explanation.target_boxes is None or not isinstance(black_box, Detector):
        return black_box
    return AimedDetector(black_box, explanation.target_boxes, explanation.image_size)


@taking("explanation")
def retarget(
    explanation: Explanation,
    target: TargetLike,
    *,
    method: Method | Mapping[str, Any] | None = None,
) -> Explanation:
    """Explain another target from the same masks, without a call.

    The masks of later rounds were drawn where the first targets' maps were high, so a map
    that is high elsewhere has a larger standard error there.

    Args:
        explanation: of other targets; it stays as it is.
        target: of outputs whose scores were kept, see `keep_scores` of `explain`; a function needs
            all of them.
        method: as in `extend`.

    Returns:
        The explanation of that target.

    Raises:
        InputError: outputs that were not kept, another method, something to be named again, or no
            evidence.
    """
    evidence = _evidence(explanation)
    budget = Budget(1, None, None, None, spent=(explanation.calls, explanation.seconds))
    budget.give_up_the_rest()
    drawn_by = _method(explanation, method)
    recorded = _Recorded(explanation)
    case = reopen_case(explanation, evidence, recorded, target, drawn_by.baseline)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", WeakEvidenceWarning)  # they are in `warnings`
        made = last(drawn_by.run(case, budget))
    return dataclasses.replace(
        made,
        device=explanation.device,
        seconds=explanation.seconds,
        stopped=explanation.stopped,
        complete=explanation.complete,
        versions=explanation.versions,
    )


class _Recorded(BlackBox):
    """The name of the black box of a saved run; nothing asks it."""

    def __init__(self, explanation: Explanation) -> None:
        self.name = explanation.model
        self.boxes = explanation.target_boxes
        self._identity = explanation.identity

    def identity(self) -> str:
        return self._identity

    def score(self, planes: Tensor) -> Tensor:
        raise AssertionError("retarget never asks the black box")


def _evidence(explanation: Explanation) -> Evidence:
    if explanation.evidence is None:
        raise InputError(
            "expected an explanation with its evidence, got one without: evidence.npz was not "
            f"beside explanation.json, or {explanation.method['name']} keeps none. Explain again."
        )
    return explanation.evidence


def _method(explanation: Explanation, method: Method | Mapping[str, Any] | None) -> Method:
    """The method that an explanation was made with."""
    record = dict(explanation.method)
    require(
        method is None or isinstance(method, Explainer | Mapping),
        f"expected a method or fields by name, got {show(method)}. Leave it out to keep them.",
    )
    made = method if isinstance(method, Explainer) else reopen_method(record, method or {})
    before, now = map(_flatten, (record, made.as_dict()))
    other = [name for name in before | now if before.get(name) != now.get(name)]
    require(
        not other,
        f"expected the method that drew the masks, got another {list_some(other, most=3)}. Leave "
        "out what differs, or explain again.",
    )
    require(isinstance(made, Method), f"expected a method that draws masks, got {made.name}.")
    return cast("Method", made)


def _flatten(record: Mapping[str, Any]) -> dict[str, Any]:
    """What tells methods apart, by name, as JSON holds it; the name of the method comes first."""
    about = {"method": record["name"], "measure": record["measures"], **record["fields"]}
    flat: dict[str, Any] = json.loads(json.dumps(about))
    return flat
