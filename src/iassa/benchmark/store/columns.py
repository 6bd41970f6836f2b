"""What the columns of each table hold. A database may be anyone's: other rows are refused."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias, TypeVar

from iassa.archives import read_json
from iassa.checks import Within, take_json
from iassa.errors import InputError, require, show

Number: TypeAlias = Annotated[int, Within(0, 2**63 - 1)]
MOST = 1e100  # of what is measured: means and squares of it are numbers
Seed: TypeAlias = Annotated[int, Within(-(2**63), 2**63 - 1)]
Amount: TypeAlias = Annotated[float, Within(0, MOST)]
Value: TypeAlias = Annotated[float, Within(-MOST, MOST)]


class DamageError(Exception):
    """A row is missing or is not what was written. The store turns it into an `InputError`."""


@dataclass(frozen=True)
class MetaRow:
    """Of table `meta`; texts of JSON here and below are read where they are needed."""

    name: str
    value: str


@dataclass(frozen=True)
class ImageRow:
    """Of table `image`."""

    name: str
    digest: str
    entries: Number


@dataclass(frozen=True)
class EntryRow:
    """Of table `entry`."""

    key: str
    image: str
    image_index: Number
    height: Number  # 0 of an image that could not be decoded
    width: Number
    category: str
    target: str
    target_indices: str
    target_weights: str
    score: Value
    annotated: Annotated[float | None, Within(0, 1)]
    excluded: str


@dataclass(frozen=True)
class ItemRow:
    """Of table `item`."""

    id: Number
    entry: str
    method: str
    seed: Seed
    calls: Number
    metric_calls: Number
    seconds: Amount
    metric_seconds: Amount
    warnings: str
    snapshots: str
    evidence: Annotated[int | None, Within(0)]
    finished: str


@dataclass(frozen=True)
class FailureRow:
    """Of table `failure`."""

    entry: str
    method: str
    seed: Seed
    error: str


@dataclass(frozen=True)
class CurveRow:
    """Of table `curve`."""

    item: Number
    snapshot: Number
    name: str
    scores: bytes
    fractions: bytes

    def __post_init__(self) -> None:
        """Refuse what are not two columns of float64."""
        sizes = len(self.scores), len(self.fractions)
        require(
            sizes[0] == sizes[1] and sizes[0] % 8 == 0 and sizes[0],
            f"expected scores and fractions as so many float64, got {sizes[0]} and {sizes[1]} "
            "bytes.",
        )


@dataclass(frozen=True)
class MapRow:
    """Of table `map`."""

    item: Number
    snapshot: Number
    content: bytes


@dataclass(frozen=True)
class EvidenceRow:
    """Of table `evidence`."""

    item: Number
    content: bytes


TABLES: dict[type[Any], str] = {
    MetaRow: "meta",
    ImageRow: "image",
    EntryRow: "entry",
    ItemRow: "item",
    CurveRow: "curve",
    MapRow: "map",
    EvidenceRow: "evidence",
    FailureRow: "failure",
}


@dataclass(frozen=True)
class SavedSnapshot:
    """A `Snapshot` in the column `snapshots`, but for its arrays; names of its curves."""

    budget: Annotated[int | None, Within(0, 2**63 - 1)]
    rounds: Number
    calls: Number
    relative_error: Annotated[float | None, Within(0)]
    saliency_error: Amount
    metrics: Mapping[str, Value]
    curves: tuple[str, ...]


Row = TypeVar("Row")


def take_row(row: sqlite3.Row, kind: type[Row]) -> Row:
    """A row as a record.

    Raises:
        DamageError: its columns hold what none of ours do.
    """
    with of_row(TABLES[kind], row[0]):
        made: Row = take_json(dict(row), kind, "")
        return made


def take_column(row: Any, name: str, kind: Any) -> Any:
    """A column of a record that holds JSON, in the form of an annotation.

    Raises:
        DamageError: it holds another.
    """
    with of_row(TABLES[type(row)], next(iter(vars(row).values()))):
        return take_json(read_json(getattr(row, name), name), kind, name)


@contextmanager
def of_row(table: str, first: object) -> Iterator[None]:
    """Name a row by its first column where what is in it cannot be used."""
    try:
        yield
    except InputError as error:
        told = str(error).rstrip(".")
        raise DamageError(f"row {show(first)} of table {table}: {told}") from error
