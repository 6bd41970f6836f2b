"""Scores of masked images: a plan is rendered a batch at a time, and the black box is asked.

Masks that an earlier run has scored are rendered again, and cost no call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iassa.errors import BlackBoxError, shorten
from iassa.estimators.by_fill import EstimatorsByFill
from iassa.explanations.evidence import Scored
from iassa.masks.dealing import deal
from iassa.masks.plans import MaskPlan
from iassa.masks.rendering import Canvas, Masks
from iassa.methods.engine.budget import Budget
from iassa.methods.engine.case import AGAIN, DEPENDS, Case
from iassa.models.black_box import ask, until

# Of masked images in one batch; 1024 x 1024 pixels take 12 MB each.
BATCH_BYTES = {"cpu": 32 * 2**20}
ACCELERATOR_BATCH_BYTES = 512 * 2**20
BATCH_SIZE = {"cpu": 16}
ACCELERATOR_BATCH_SIZE = 128  # fewer leave a GPU idle
ROUNDING = 1e-3
LOOK_EVERY = 64  # masks, after which a tolerance may end the run within a round
NOTICEABLE = 0.01  # of the range of the scores, which the map is made of


def cap_batch(batch_size: int | None, size: tuple[int, int], device: torch.device) -> int:
    """The batch size that is asked for, or fewer where images are so large that memory counts.

    Args:
        batch_size: the most; None takes 16 on a CPU and 128 on an accelerator.
        size: (height, width) of the images.
        device: where they are.
    """
    wanted = batch_size or BATCH_SIZE.get(device.type, ACCELERATOR_BATCH_SIZE)
    most = BATCH_BYTES.get(device.type, ACCELERATOR_BATCH_BYTES)
    return max(1, min(wanted, most // (3 * 4 * size[0] * size[1])))


@dataclass(frozen=True, eq=False)
class RoundScores:
    """What one round was scored.

    Attributes:
        families: masks and their readings, by family; without those that got no call.
        scores: (N, T) float64 of the targets, family after family.
        keep_probability: (N,) float32 of the masks.
        failure: of the black box, if it ended the round.
        doubts: of `check_neighbours`.
    """

    families: Mapping[str, Scored]
    scores: NDArray[np.float64]
    keep_probability: NDArray[np.float32]
    failure: BlackBoxError | None
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Asking:
    """What it takes to have masks scored.

    Attributes:
        case: image, fills, black box, targets, and what to keep of answers.
        canvas: renders masks; its batch size is used.
        budget: what may be spent, and until when a call is waited for.
        threads: of torch, for the black box; see `one_thread`.
    """

    case: Case
    canvas: Canvas
    budget: Budget
    threads: int


@dataclass(eq=False)
class _Tally:
    """What a round has been scored so far, by family, in the order of asking."""

    readings: dict[str, list[Tensor]] = field(default_factory=dict)
    scores: dict[str, list[Tensor]] = field(default_factory=dict)
    failure: BlackBoxError | None = None
    doubts: tuple[str, ...] = ()

    def collect(self, plans: Mapping[str, MaskPlan], like: Tensor) -> RoundScores:
        """All of it, from the plans of the round; `like` is (., T), of the type of the scores."""
        families = {}
        for family, parts in self.readings.items():
            together = torch.cat(parts).cpu().numpy()
            families[family] = Scored(plans[family][: len(together)], together)
        scores = [part for family in families for part in self.scores[family]]
        return RoundScores(
            families=families,
            scores=torch.cat([like[:0], *scores]).cpu().numpy(),
            keep_probability=np.concatenate(
                [np.empty(0, np.float32), *(one.plan.keep_probability for one in families.values())]
            ),
            failure=self.failure,
            doubts=self.doubts,
        )


def score_round(
    k: int,
    plans: Mapping[str, MaskPlan],
    estimator: EstimatorsByFill,
    asking: Asking,
    look: Callable[[RoundScores], None],
) -> RoundScores:
    """Score as much of a round as the budget allows, and add it to the estimator's sums.

    Args:
        k: number of the round, from 0.
        plans: of the round, by family.
        estimator: gets masks and scores, a batch at a time.
        asking: image, black box, targets, budget.
        look: at what is scored, within the round, where a tolerance may end the run.
    """
    case, budget = asking.case, asking.budget
    before = case.scored_before(k)
    known = before.families if before is not None else {}
    counts = {family: len(scored.plan) for family, scored in known.items()}
    places = {family: place for place, family in enumerate(plans)}
    affordable = afford(plans, counts, budget.left)
    fills = {
        family: deal(plan, len(case.fills), case.seed, k, places[family])
        for family, plan in affordable.items()
    }
    tally = _Tally()
    parts = split(plans, None if budget.tolerance is None else LOOK_EVERY)
    for number, part in enumerate(parts, 1):
        spent = budget.calls
        for family, plan in affordable.items():
            first, last = part[family]
            last = min(last, len(plan))
            seen = known[family].readings[first:last] if family in known else None
            # Time that is up at the first call leaves room for a batch: a poor map says more than
            # none.
            if budget.is_over() and (tally.readings or budget.stopped != "seconds"):
                last = first + (0 if seen is None else len(seen))  # the earlier run's are kept
            shown = fills[family][first:last]
            try:
                _score_part(family, plan[first:last], shown, seen, estimator, asking, tally)
            except BlackBoxError as error:
                tally.failure, budget.stopped = error, "failed"
                budget.calls += error.images  # it was asked, though it did not answer
        if number < len(parts) and budget.calls > spent and not budget.is_over():
            look(tally.collect(plans, case.weights))
    estimator.close_round()
    return tally.collect(plans, case.weights)


def split(plans: Mapping[str, MaskPlan], most: int | None) -> list[dict[str, tuple[int, int]]]:
    """Parts of a round, each with the families in their proportion.

    Args:
        plans: of the round, by family.
        most: masks of a part, about; None for one part.

    Returns:
        For each part the first mask of each family, and the one after its last.

    Example:
        >>> from iassa.masks.grids import draw_grids
        >>> grids = draw_grids(6, (2, 3), (0.5, 0.5), np.random.default_rng(0))
        >>> split({"coarse": grids[:4], "fine": grids[4:]}, 3)
        [{'coarse': (0, 2), 'fine': (0, 1)}, {'coarse': (2, 4), 'fine': (1, 2)}]
    """
    number = max(1, sum(map(len, plans.values())) // most) if most else 1
    ends = {
        family: [len(plan) * end // number for end in range(number + 1)]
        for family, plan in plans.items()
    }
    return [
        {family: (each[part], each[part + 1]) for family, each in ends.items()}
        for part in range(number)
    ]


def _score_part(
    family: str,
    plan: MaskPlan,
    fills: NDArray[np.uint8],
    known: NDArray[np.float64] | None,
    estimator: EstimatorsByFill,
    asking: Asking,
    tally: _Tally,
) -> None:
    """Score masks of a family until the run ends, into the estimator's sums and the tally."""
    case, budget = asking.case, asking.budget
    for batch, masks, readings, asked in score_masks(plan, fills, asking, known):
        if asked:
            budget.spend(asked)
        scores = case.score(readings)
        estimator.add(masks, scores, plan[batch], fills[batch], family)  # f(I * M_i)
        tally.scores.setdefault(family, []).append(scores)
        tally.readings.setdefault(family, []).append(readings)
        tally.doubts += check_neighbours(plan[batch], fills[batch], readings, asking)
        if asked and budget.is_over():
            break


def score_masks(
    plan: MaskPlan,
    fills: NDArray[np.uint8],
    asking: Asking,
    known: NDArray[np.float64] | None = None,
) -> Iterator[tuple[slice, Masks, Tensor, int]]:
    """Readings of f(I * M_i + baseline * (1 - M_i)) of the masks of a plan, a batch at a time.

    Args:
        plan: the masks.
        fills: (N,) numbers of the fills that they show.
        asking: image, fills, black box, and what to keep of its answers.
        known: (n, C) readings of the first masks, which cost no call.

    Yields:
        Which masks, the masks themselves (valid until the next batch), their readings (N, C), and
        how many of them cost a call.

    Raises:
        BlackBoxError: see `ask` and `Readout.read`.
    """
    case, canvas = asking.case, asking.canvas
    image, readout = case.image, case.readout
    masked = image.new_empty((canvas.batch_size, *image.shape))
    known = np.empty((0, readout.columns)) if known is None else known
    for start in range(0, len(plan), canvas.batch_size):
        batch = slice(start, min(start + canvas.batch_size, len(plan)))
        masks = canvas.render(plan[batch])
        readings = torch.from_numpy(known[batch].copy()).to(image.device)
        asked = batch.stop - start - len(readings)
        if asked:
            whole = case.hide(masks, fills[batch], masked[: batch.stop - start])
            try:
                with until(asking.budget.deadline):
                    shown = whole[len(readings) :]
                    answers = ask(case.black_box, shown, readout.num_outputs, asking.threads)
                readings = torch.cat([readings, _read(case, answers)])
            except BlackBoxError:
                if len(readings):  # scores of the earlier run are not lost with the rest
                    batch = slice(start, start + len(readings))
                    yield batch, canvas.render(plan[batch]), readings, 0
                raise
        yield batch, masks, readings, asked


def _read(case: Case, answers: Tensor) -> Tensor:
    try:
        return case.readout.read(answers)
    except BlackBoxError as error:
        error.images = len(answers)  # they cost calls, and are lost
        raise


def check_neighbours(
    plan: MaskPlan, fills: NDArray[np.uint8], readings: Tensor, asking: Asking
) -> tuple[str, ...]:
    """Ask about one image of the first batch again, alone: its score is to be the same.

    A map is made of differences between scores. Where a score depends on the other images of its
    batch, they are differences between batches as well. The budget keeps one call back for this;
    without it, or once the run is over, nothing is asked.

    Args:
        plan: masks of a batch, just scored.
        fills: (N,) theirs.
        readings: (N, C) theirs.
        asking: image, fills, black box, targets; its budget pays.

    Returns:
        A sentence for the user, or none.

    Raises:
        BlackBoxError: see `ask` and `Readout.read`.
    """
    case, budget = asking.case, asking.budget
    if not budget.check or budget.is_over():
        return ()
    budget.check = 0
    scores = case.score(readings)
    # The median of them: scores that are divided by the highest leave that one as it is.
    row = int(scores[:, 0].median(0).indices)
    masked = case.image.new_empty((1, *case.image.shape))
    one = slice(row, row + 1)
    case.hide(asking.canvas.render(plan[one]), fills[one], masked)
    with until(budget.deadline):
        answers = ask(case.black_box, masked, case.readout.num_outputs, asking.threads)
        alone = _read(case, answers)
    budget.spend(1)
    seen = torch.cat([readings, alone, case.readings[None]])
    magnitude = (seen.abs() @ case.weights.abs()).amax(0)
    lowest, highest = torch.cat([scores, case.reference[None]]).aminmax(dim=0)
    spread = (highest - lowest).clamp(min=1e-300)
    together, apart = scores[row], case.score(alone)[0]
    difference = (apart - together).abs()
    # Rounding is a matter of the magnitude, in TF32 and half precision about a thousandth of it.
    beyond = (difference > ROUNDING * magnitude) & (difference > NOTICEABLE * spread)
    if not beyond.any():
        return ()
    worst = int(torch.where(beyond, difference / spread, 0.0).argmax())
    before, ending = (f"in a batch of {len(plan)}", DEPENDS) if len(plan) > 1 else AGAIN
    text = (
        f"{shorten(case.targets[worst].name)}: a masked image scores "
        f"{float(together[worst]):.4g} {before} "
        f"and {float(apart[worst]):.4g} alone, a difference of {float(difference[worst]):.2g}"
    )
    return (f"{text}. {ending}",)


def afford(
    plans: Mapping[str, MaskPlan], known: Mapping[str, int], calls: int
) -> dict[str, MaskPlan]:
    """As much of a round as the budget allows, the families in their proportion.

    A larger budget begins with the same masks: each family loses its end. Masks that an earlier run
    has scored cost nothing.

    Args:
        plans: of the whole round, by family.
        known: how many of a family's masks have been scored, from its first on; a family without
            any may be left out.
        calls: that are left, 0 or more.

    Returns:
        The beginning of each plan, known masks included; where calls are short, without the
        families that get none.

    Example:
        >>> from iassa.masks.grids import draw_grids
        >>> grids = draw_grids(6, (2, 3), (0.5, 0.5), np.random.default_rng(0))
        >>> plans = {"coarse": grids[:4], "fine": grids[4:]}
        >>> {family: len(plan) for family, plan in afford(plans, {"fine": 1}, 3).items()}
        {'coarse': 3, 'fine': 1}
    """
    total = sum(map(len, plans.values()))
    calls += sum(known.values())
    if total <= calls:
        return dict(plans)
    counts = {family: len(plan) * calls // total for family, plan in plans.items()}
    rest = calls - sum(counts.values())
    for family, plan in plans.items():  # to the first that has room, as rounding down left it
        added = min(rest, len(plan) - counts[family])
        counts[family], rest = counts[family] + added, rest - added
    # A run that was cut short by time or by hand has the whole of one family first.
    excess = 0
    for family, count in counts.items():
        excess += max(0, known.get(family, 0) - count)
        counts[family] = max(count, known.get(family, 0))
    for family, count in counts.items():
        spared = min(excess, count - known.get(family, 0))
        counts[family], excess = count - spared, excess - spared
    return {family: plan[: counts[family]] for family, plan in plans.items() if counts[family]}
