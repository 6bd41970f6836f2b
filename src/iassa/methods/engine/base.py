"""What all methods have in common: a name, hyperparameters, and the arguments of a run.

A method turns a case and a budget into explanations. Most are a `loop.Method`: masks and an
estimator.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, ClassVar, cast

import torch

from iassa.checks import take_fields
from iassa.decoding import ImageFile
from iassa.errors import InputError, list_some, require, show
from iassa.explanations.explanation import Explanation
from iassa.image import ImageLike, as_image
from iassa.masks.baselines import (
    Baseline,
    BaselineLike,
    Fill,
    FillImage,
    list_fills,
    name_fill,
    read_baseline,
)
from iassa.methods.engine.budget import Budget, Calls, Progress
from iassa.methods.engine.case import Case, open_case
from iassa.models.opening import BlackBoxLike, open_model
from iassa.models.readout import Keep
from iassa.models.targets import TargetLike


@dataclass(frozen=True, kw_only=True)
class Explainer(ABC):
    """A way to explain; its fields are its hyperparameters. `loop.Method` is one that draws masks.

    Attributes:
        baseline: what hidden pixels show: a grey or RGB in [0, 1], '#rrggbb', 'zero', 'grey',
            'mean', 'blur', 'noise', the path of an image or an array (H, W, 3); see
            `iassa.masks.baselines`. Several of these, as 'grey,blur' or a sequence, where masks can
            be dealt to them: then the map is the mean of each fill's own, see `Explanation.fills`.
    """

    name: ClassVar[str]
    deals: ClassVar[bool] = False  # whether its masks can be dealt to several fills

    @property
    def measures(self) -> str:
        """What the map's values are.

        'effect', in score units and signed about 0, or 'mean score' where a pixel is kept. Maps
        with other words have no score unit and no sign: the same map belongs to scores of any size.
        """
        return "effect"

    baseline: BaselineLike = 0.5

    def __post_init__(self) -> None:
        """Refuse hyperparameters that their annotations exclude; a subclass may `_require` more."""
        # An array becomes a value: a method can be compared, hashed and written down.
        object.__setattr__(self, "baseline", read_baseline(self.baseline, self.name))
        names = list_some(map(name_fill, self.fills))
        require(
            self.deals or len(self.fills) == 1,
            f"expected one fill as baseline of {self.name}, got {names}: what it asks next depends "
            "on all answers before, which are those of one fill. Give one, or use iassa.",
        )
        take_fields(self, f" of {self.name}")

    @property
    def fills(self) -> tuple[Fill, ...]:
        """The fills of the baseline."""
        return list_fills(cast("Baseline", self.baseline))

    def _require(self, field: str, holds: bool, expected: str) -> None:
        if not holds:
            got = show(getattr(self, field))
            raise InputError(f"expected {field} of {self.name} to be {expected}, got {got}.")

    def check_budget(self, budget: Budget) -> None:
        """Refuse a budget that this method cannot use, before a call is spent.

        Raises:
            InputError: it is such a budget.
        """
        del budget

    @abstractmethod
    def run(self, case: Case, budget: Budget) -> Iterator[Explanation]:
        """The explanations that `iterate` yields.

        Args:
            case: what the run is about.
            budget: what it may cost.
        """

    def as_dict(self) -> dict[str, Any]:
        """Name and fields, as JSON holds them."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        plain = {k: _plain(v) for k, v in fields.items()}
        return {"name": self.name, "measures": self.measures, "fields": plain}

    def iterate(
        self,
        image: ImageLike,
        black_box: BlackBoxLike,
        *,
        target: TargetLike = "top-1",
        calls: Calls = 1000,
        max_seconds: float | None = None,
        tolerance: float | None = None,
        seed: int = 0,
        batch_size: int | None = None,
        keep_scores: Keep = 10,
        device: str | torch.device | None = None,
        progress: Callable[[Progress], object] | None = None,
        cancel: Callable[[], bool] | None = None,
    ) -> Iterator[Explanation]:
        """Explain, anytime: yield the map so far after every round.

        The call itself checks the arguments and asks about the whole image; the masks are scored
        as the iterator goes on. A wrapped method may have no rounds, no error or no map before its
        end, and says so.

        Args:
            image: a path, the bytes of an image file, an open file, a Pillow image or an array
                (H, W, 3), uint8 or in [0, 1].
            black_box: a callable, a torch module or the name of a model; see `open_model`.
            target: what to explain; see `resolve_targets`.
            calls: the most images that the black box may be asked for, the whole image included.
                'auto' is a tolerance of 0.1, if none is given, and at most 4000 calls.
            max_seconds: the most time, checked after every batch.
            tolerance: stop once the relative error is at most this: the standard error where the
                map is high, as a share of its peak; see `Explanation.relative_error`. 0.05 is a
                precise map. It is looked at every 64 masks and at the end of a round.
            seed: of all randomness: the same seed gives the same map whatever the batch size.
            batch_size: the most images at a time; None takes 16 on a CPU, 128 on a GPU. Fewer where
                they would take over 32 MB, or 512 MB on a GPU.
            keep_scores: how many outputs to keep the scores of, beside those of the targets: those
                that are highest for the whole image; 'all' for all, or which, by index.
                `iassa.retarget` explains any of them later without a call. Only of methods that
                keep their evidence.
            device: where the black box and the masks are; see `open_device`.
            progress: called after every batch.
            cancel: called after every batch; True ends the run with the map so far.

        Yields:
            An explanation after every round; the last one has `complete` true unless cancelled.

        Raises:
            InputError: an argument that cannot be used.
            RunFailedError: the black box failed; `explanation` of the error is the map so far.
            BlackBoxError: it failed before there was a map.
            CancelledError: cancelled before there was a map.
        """
        budget = Budget(calls, max_seconds, progress, cancel, tolerance)
        self.check_budget(budget)
        source = str(image) if isinstance(image, str | PurePath | ImageFile) else None
        photo, opened = as_image(image), open_model(black_box, device)
        budget.start()
        case = open_case(
            photo,
            source,
            opened,
            target,
            self.baseline,
            budget,
            keep_scores=keep_scores,
            seed=seed,
            batch_size=batch_size,
        )  # I, f(I)
        return self.run(case, budget)


def last(explanations: Iterator[Explanation]) -> Explanation:
    """The last one, keeping no other."""
    for explanation in explanations:
        final = explanation
    return final  # there is one: a run without any raises


def _plain(value: object) -> object:
    if isinstance(value, FillImage):
        return value.as_dict()
    if isinstance(value, tuple):
        return tuple(map(_plain, value))
    # The `str` of an object is what opens it again by name, where there is such a text.
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
