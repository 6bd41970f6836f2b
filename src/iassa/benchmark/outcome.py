"""What `run` reports: how far it is, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from iassa.benchmark.store.records import Failure, Item


@dataclass(frozen=True)
class Tally:
    """How far a run is. `run` reports it after every image that is scored and every item.

    Attributes:
        stage: 'images', while the whole images are scored, or 'items'.
        done: how many of this stage are done, by this call or an earlier one.
        total: how many this stage has.
        failed: how many failed.
        last: the item that was just made, if one was.
    """

    stage: str
    done: int
    total: int
    failed: int = 0
    last: Item | None = None


@dataclass(frozen=True)
class Outcome:
    """The result of a run.

    Attributes:
        items: how many of the wanted items are in the store.
        wanted: how many items the call asked for.
        made: how many items the call made.
        failures: images and items that failed. The same command tries them again.
        excluded: keys of the entries that are left out, by reason.
        missing: images of the dataset that are not in its folder.
        cancelled: whether `cancel` stopped the run before its end.
    """

    items: int
    wanted: int
    made: int
    failures: tuple[Failure, ...]
    excluded: Mapping[str, Sequence[str]]
    missing: tuple[str, ...]
    cancelled: bool
