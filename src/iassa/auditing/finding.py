"""One image of an audit, as a task: it is explained, and what its map looks at is measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from iassa.auditing.hiding import HiddenScores, score_hidden
from iassa.auditing.off_object import OffObject, off_object
from iassa.auditing.places import CELLS, measure_places
from iassa.benchmark.datasets import category_targets
from iassa.checks import Within, take_json
from iassa.errors import CancelledError, InputError
from iassa.explanations.explanation import Explanation
from iassa.gallery.explaining import Explained, ExplainPhoto
from iassa.image import resize
from iassa.masks.baselines import BaselineLike
from iassa.methods.engine.case import see_again
from iassa.methods.explain import aim_again
from iassa.metrics.border_share import border_share
from iassa.models.black_box import BlackBox, ask
from iassa.models.targets import resolve_targets

Share = Annotated[float, Within(0, 1)]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is in an image.

    Attributes:
        masks: (H, W) bool of the objects of each category, at the size of the image file.
        excluded: why there is none; '' where there is one.
        categories: of all images.
        classes: which outputs stand for them, see `category_targets`.
    """

    masks: Mapping[str, NDArray[np.bool_]]
    excluded: str = ""
    categories: tuple[str, ...] = ()
    classes: str = "auto"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What an audit measures of an image, as JSON holds it beside the explanation.

    Attributes:
        answer: name of the highest output; of a detector that of the target.
        output: its index; None for a detector.
        outputs: how many there are.
        category: whose objects the mask shows; '' without a category.
        excluded: why there is no mask; '' where there is one.
        off: share of the positive saliency that is off the object; None without a mask.
        interval: of that share, 95 %; None where it is not known.
        without_object: score with the object hidden; None without a mask.
        without_background: score with all else hidden; None without a mask.
        border: share of the positive saliency at the border, see `border_share`.
        places: share of the positive saliency in each of 14 x 14 cells, row by row.
        calls: all that were made for the image.
    """

    answer: str
    output: Annotated[int | None, Within(0)]
    outputs: Annotated[int, Within(1)]
    category: str
    excluded: str
    off: Share | None
    interval: Annotated[tuple[float, float] | None, Within(0, 1)]
    without_object: float | None
    without_background: float | None
    border: Share
    places: Annotated[tuple[float, ...], Within(0, 1)]
    calls: Annotated[int, Within(1)]

    @property
    def off_object(self) -> OffObject | None:
        """The share and its interval; None without a mask."""
        return None if self.off is None else OffObject(self.off, self.interval)

    @classmethod
    def of(cls, facts: Mapping[str, object] | None) -> Finding | None:
        """What `Explained.facts` of this kind hold; None of others."""
        try:
            found: Finding = take_json(facts, cls, "")
        except InputError:
            return None
        return found if len(found.places) == CELLS**2 else None


@dataclass(frozen=True, eq=False)
class AuditPhoto(ExplainPhoto):
    """Explain an image, and measure what its map looks at.

    Attributes:
        subject: what is in the image.
        fills: what hidden pixels show.
    """

    subject: Subject
    fills: BaselineLike

    def run(
        self, black_box: BlackBox, cancel: Callable[[], bool] | None = None
    ) -> Explained | None:
        """Do it; see `ExplainPhoto.run`."""
        made = super().run(black_box, cancel)
        if made is None or made.error or not made.explanation.complete:
            return made
        try:
            return self._look(made, black_box, cancel)
        except CancelledError:
            return None

    def _look(
        self, made: Explained, black_box: BlackBox, cancel: Callable[[], bool] | None
    ) -> Explained:
        explanation = made.explanation
        opened = aim_again(black_box, explanation)
        output, outputs, calls = find_answer(explanation, opened)
        category, mask = choose_object(self.subject, output, outputs, opened.class_names)
        off = hidden = outline = None
        if mask is not None:
            off = off_object(explanation, mask)
            hidden = score_hidden(explanation, black_box, mask, fills=self.fills, cancel=cancel)
            outline = _shrink(mask, explanation)
            calls += hidden.calls
        finding = Finding(
            answer=_name(explanation, output, outputs, opened.class_names),
            output=output,
            outputs=outputs,
            category=category,
            excluded=self.subject.excluded,
            off=None if off is None else off.share,
            interval=None if off is None else off.interval,
            without_object=None if hidden is None else hidden.without_object,
            without_background=None if hidden is None else hidden.without_background,
            border=border_share(explanation.saliency[0]),
            places=tuple(measure_places(explanation.saliency[0]).ravel().tolist()),
            calls=explanation.calls + calls,
        )
        facts, lines = dataclasses.asdict(finding), tuple(_lines(finding, off, hidden))
        return dataclasses.replace(made, facts=facts, lines=lines, outline=outline)


def find_answer(explanation: Explanation, black_box: BlackBox) -> tuple[int | None, int, int]:
    """The highest output for the whole image, how many there are, and the calls that it took.

    None of a detector, whose outputs are boxes. The scores are in the evidence; a method that keeps
    none costs a call.
    """
    if explanation.target_boxes is not None:
        return None, len(explanation.target_boxes.boxes), 0
    evidence = explanation.evidence
    if evidence is not None:
        highest = int(evidence.reference[: len(evidence.outputs)].argmax())
        return evidence.outputs[highest], evidence.num_outputs, 0
    size = black_box.size_for(explanation.image_size)
    scores = ask(black_box, see_again(explanation, (size[0], size[1]), black_box)[None])[0]
    return int(scores.argmax()), len(scores), 1


def choose_object(
    subject: Subject, output: int | None, outputs: int, class_names: Sequence[str] | None
) -> tuple[str, NDArray[np.bool_] | None]:
    """The category that an image is about, and its mask; '' and None where there is none.

    Of several it is the one that the highest output stands for; the largest where it stands for
    none of them.
    """
    masks = subject.masks
    if not masks:
        return "", None
    chosen = max(masks, key=lambda category: int(masks[category].sum()))
    if len(masks) > 1 and output is not None:
        try:
            found = category_targets(subject.categories, class_names, outputs, subject.classes)
            named = [one for one in masks if one in found.targets]
            right = [one for one in named if output in found.targets[one].indices]
        except InputError:  # the audit says so of all images
            right = []
        chosen = right[0] if right else chosen
    return chosen, masks[chosen]


def _name(
    explanation: Explanation, output: int | None, outputs: int, names: Sequence[str] | None
) -> str:
    if output is None:
        return explanation.targets[0].name
    return resolve_targets(output, np.zeros(outputs), names)[0].name


def _shrink(mask: NDArray[np.bool_], explanation: Explanation) -> NDArray[np.bool_]:
    import torch

    height, width = explanation.saliency.shape[1:]
    return np.asarray((resize(torch.from_numpy(mask).float(), (height, width)) >= 0.5).numpy())


def _lines(finding: Finding, off: OffObject | None, hidden: HiddenScores | None) -> list[str]:
    lines = [f"The model says {finding.answer}."]
    if off is not None and hidden is not None:
        lines += [
            f"Positive saliency off the object: {off}.",
        ]
        lines.append(
            f"Score of the whole image {hidden.whole:.3g}, with the object hidden "
            f"{hidden.without_object:.3g}, with all else hidden {hidden.without_background:.3g}."
        )
    if finding.excluded:
        lines.append(f"No mask: {finding.excluded}.")
    return lines
