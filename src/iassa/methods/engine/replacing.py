"""Whether a new explanation may take the place of a saved one: that of the same case."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from iassa.errors import InputError
from iassa.explanations.evidence import Evidence
from iassa.explanations.explanation import Explanation
from iassa.explanations.original import digest_image
from iassa.explanations.record import RECORD
from iassa.files import is_there
from iassa.methods.engine.case import resolve_among_kept
from iassa.models.targets import Target, TargetLike


def find_difference(
    saved: Explanation,
    image: str,
    identity: str,
    method: Mapping[str, Any],
    target: TargetLike,
) -> str:
    """In what a saved explanation differs from one that is to be made, before a call is spent.

    Args:
        saved: the one that is there.
        image: its digest, see `digest_of`.
        identity: of the black box; that of a detector need not name its boxes.
        method: its record, see `Explainer.as_dict`.
        target: what is to be explained.

    Returns:
        'image', 'model', 'method' or 'targets'; empty if it is the same in all of them.

    Raises:
        InputError: a target that is unknown.
    """
    if image != digest_of(saved):
        return "image"
    if identity not in (saved.identity, saved.identity.rpartition(" boxes ")[0]):
        return "model"
    if json.loads(json.dumps(method)) != json.loads(json.dumps(saved.method)):
        return "method"
    known = saved.evidence or _known_of_targets(saved)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the run itself will warn
            wanted = resolve_among_kept(target, known, of_boxes=saved.target_boxes is not None)
    except InputError:
        all_kept = known is saved.evidence and len(known.outputs) == known.num_outputs
        if all_kept and saved.target_boxes is None:
            raise  # nobody can explain it
        return "targets"  # all that was explained was kept
    return "" if _outputs(wanted) == _outputs(saved.targets) else "targets"


def refuse_others(
    folder: Path, differs: Callable[[Explanation], str], option: str = "--out"
) -> None:
    """Refuse to write over the result of another case.

    Args:
        folder: where a new explanation goes.
        differs: from what is there, in what the new one differs from that; see `find_difference`.
        option: of the command that names the folder.

    Raises:
        InputError: the folder holds one, or one that cannot be read.
    """
    if not is_there(folder / RECORD):
        return
    try:
        there = Explanation.load(folder)
    except InputError as damage:
        raise InputError(f"{damage} Or choose another {option}, or add --overwrite.") from damage
    if what := differs(there):
        raise InputError(
            f"expected {folder} to be free or of the same image, model, method and targets, got an "
            f"explanation that differs in {what} there. Choose another {option}, or add "
            "--overwrite."
        )


def digest_of(explanation: Explanation) -> str:
    """Digest of the image as it was given, see `digest_arrays`."""
    return digest_image(explanation.image, explanation.original)


def _outputs(targets: Sequence[Target]) -> list[tuple[object, tuple[float, ...]]]:
    return [(target.indices or target.name, target.weights) for target in targets]


def _known_of_targets(saved: Explanation) -> Evidence:
    """Scores and names of the outputs that are targets of their own, as evidence has them."""
    pairs = zip(saved.targets, saved.scores, strict=True)
    scores = {t.indices[0]: (t.name, score) for t, score in pairs if t.weights == (1.0,)}
    outputs = sorted(scores)
    return Evidence(
        size=saved.image_size,
        num_outputs=1 + max((k for t in saved.targets for k in t.indices), default=0),
        outputs=tuple(outputs),
        functions={},
        class_names=tuple(scores[k][0] for k in outputs),
        reference=np.array([scores[k][1] for k in outputs], np.float64),
        superpixels="",
        rounds=(),
    )
