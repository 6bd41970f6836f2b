"""What a report reads of the configuration of a run, and of its last command."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, TypeAlias

from iassa.benchmark.store.store import Store
from iassa.checks import Within, take_json
from iassa.errors import InputError, require
from iassa.methods.engine.budget import MOST_CALLS

Calls: TypeAlias = Annotated[int, Within(0, MOST_CALLS)]


@dataclass(frozen=True)
class SavedContestant:
    """Of a method: its numbers of calls."""

    calls: tuple[Calls, ...]


@dataclass(frozen=True)
class SavedModel:
    """Of the model: its name."""

    name: str = "a model without a name"


@dataclass(frozen=True)
class SavedDataset:
    """Of the dataset: its kind, whether boxes were regions, and the calls that made mosaics."""

    kind: str = "unknown"
    boxes: bool = False
    calls: Annotated[int, Within(0)] = 0


@dataclass(frozen=True)
class Settings:
    """Of the configuration: methods by label, seeds, and what was explained."""

    methods: Mapping[str, SavedContestant]
    seeds: Annotated[tuple[int, ...], Within(0, 2**64 - 1)]
    model: SavedModel = SavedModel()
    dataset: SavedDataset = SavedDataset()
    targets: Mapping[str, object] | None = None

    def __post_init__(self) -> None:
        """Refuse a configuration without methods."""
        require(self.methods, "expected methods, got none.")


@dataclass(frozen=True)
class LastCommand:
    """The last command of the run: its most entries, its text, and what it did not find."""

    limit: Annotated[int | None, Within(0)] = None
    command: str = ""
    missing: tuple[str, ...] = ()
    unscored: Mapping[str, str] | None = None


def read_settings(store: Store) -> tuple[Settings, LastCommand]:
    """What a run was asked for.

    Raises:
        InputError: a report cannot be made of it.
    """
    try:
        settings: Settings = take_json(store.configuration, Settings, "")
        last: LastCommand = take_json(store.last, LastCommand, "last")
    except InputError as error:
        raise InputError(
            f"cannot use what the run in {store.folder} was asked for: {error} Restore it from a "
            "copy, or begin another run."
        ) from None
    return settings, last
