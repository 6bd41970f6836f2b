"""What of a damaged run can still be read: image by image and item by item, each whole or lost."""

from __future__ import annotations

import json
import shlex
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from iassa.benchmark.store.database import CONFIGURATION, DATABASE, open_reader
from iassa.benchmark.store.item_rows import PARTS, ItemRows, check_item_rows
from iassa.benchmark.store.pages import Pages
from iassa.benchmark.store.records import ItemKey
from iassa.benchmark.store.rows import DamageError, Row, Value, as_int, key_of, select
from iassa.errors import InputError

__all__ = ["Lost", "Remains", "describe"]

LARGE = ("map", "evidence")  # not held all at once


@dataclass(frozen=True)
class Lost:
    """An item that cannot be read whole; its key is None where that cannot be either."""

    key: ItemKey | None


class Remains:
    """A run folder, read as far as it goes and never written. A context manager.

    Args:
        folder: of the run.

    Raises:
        InputError: its database cannot be read at all.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            self._pages = Pages(folder / DATABASE)
        except OSError as error:
            raise InputError(
                f"cannot read {folder / DATABASE}: {error.strerror}. Check the path."
            ) from error
        # By table, by key: rows, and of the large ones their places.
        self._rows: dict[str, dict[Row, Row]] = {}
        self._places: dict[str, dict[Row, tuple[int, int]]] = {}
        # Images that are there as they were before they were replaced, too: which is which, nothing
        # tells.
        self._doubtful: set[Value] = set()
        for found in self._pages.rows():
            row = found.row
            if found.table in LARGE:
                key = row[: 1 if found.table == "evidence" else 2]
                self._places.setdefault(found.table, {})[key] = found.place
            else:
                key = row[: {"image": 1, "entry": 1, "item": 1, "snapshot": 2}.get(found.table, 3)]
                other = self._rows.setdefault(found.table, {}).setdefault(key, row)
                if other != row and found.table in ("image", "entry"):
                    self._doubtful.add(row[1] if found.table == "entry" else row[0])
                self._rows[found.table][key] = row

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pages.close()

    def configuration(self) -> dict[str, Any] | None:
        """Of the run, from the database or else the file beside it; None where neither is left.

        SQLite reads it, since pages that are of no use any more may hold an earlier one.
        """
        try:
            connection = open_reader(self._folder / DATABASE)
            try:
                text = str(select(connection, "meta", "name = 'configuration'")[0][1])
            finally:
                connection.close()
        except (sqlite3.Error, DamageError, InputError, IndexError):
            try:
                text = (self._folder / CONFIGURATION).read_text("utf-8")
            except (OSError, UnicodeError):
                return None
        try:
            content = json.loads(text)
        except ValueError:
            return None
        return content if isinstance(content, dict) else None

    def images(self) -> Iterator[tuple[str, list[Row], str] | None]:
        """Name, rows of the entries and digest of each image; None for one that is not whole."""
        entries: dict[Value, list[Row]] = {}
        for row in self._rows.get("entry", {}).values():
            entries.setdefault(row[1], []).append(row)
        images = self._rows.get("image", {})
        for name, digest, count in images.values():
            its = entries.pop(name, [])
            whole = len(its) == count and name not in self._doubtful
            yield (str(name), its, str(digest)) if whole else None
        yield from [None] * len(entries)

    def items(self) -> Iterator[ItemRows | Lost]:
        """Rows of each item; its key for one that cannot be read whole, where it is known."""
        items = self._rows.get("item", {})
        parts: dict[Value, dict[str, list[Row]]] = {number: {} for (number,) in items}
        for table in PARTS:
            for key in sorted([*self._rows.get(table, {}), *self._places.get(table, {})]):
                parts.setdefault(key[0], {}).setdefault(table, []).append(key)
        for number, keys in sorted(parts.items(), key=lambda one: as_int(one[0])):
            row = items.get((number,))
            if row is None:
                yield Lost(None)
                continue
            try:
                rows = ItemRows(
                    row[1:],
                    {
                        table: tuple(self._row(table, key)[1:] for key in keys.get(table, ()))
                        for table in PARTS
                    },
                )
                check_item_rows(rows)
            except DamageError:
                yield Lost(key_of(row[1:]))
            else:
                yield rows

    def _row(self, table: str, key: Row) -> Row:
        if table not in LARGE:
            return self._rows[table][key]
        found = self._pages.read(self._places[table][key])
        if found is None:
            raise DamageError(f"a row of table {table} can no longer be read")
        return found.row


def describe(folder: Path, reason: object) -> InputError:
    """The error for a damaged run: what of it can be saved, and how.

    Args:
        folder: of the run.
        reason: how the damage came to light.
    """
    try:
        with Remains(folder) as remains:
            known = remains.configuration() is not None
            images = [one is not None for one in remains.images()]
            items = [one if isinstance(one, Lost) else None for one in remains.items()]
    except InputError:
        known, images, items = False, [], []
    found = f"the run in {folder} is damaged: {reason}."
    if not known or not items or all(items):
        return InputError(
            f"{found} None of its items can be saved. Restore it from a copy, or begin again: "
            "delete it, or choose another folder."
        )
    lost = [one for one in items if one is not None]
    names = [f"{key.entry} by {key.method}, seed {key.seed}" for one in lost if (key := one.key)]
    named = f" (lost: {'; '.join(names[:5])}{'; ...' if len(lost) > 5 else ''})" if names else ""
    command = shlex.join(["iassa", "salvage", str(folder), "NEW"])
    return InputError(
        f"{found} {len(items) - len(lost)} of its {len(items)} items{named} and {sum(images)} of "
        f"its {len(images)} images can be saved, with `{command}`; then go on with NEW."
    )
