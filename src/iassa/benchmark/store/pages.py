"""The rows in an SQLite file, page by page, without the trees that lead to them.

SQLite finds rows through pages that point to pages: with one of these gone, or the end of the file,
it may find none of a table. But the rows are still there, and a checksum in each tells them from
garbage. So all pages that hold rows are looked through, whatever points to them, as the `.recover`
of SQLite's shell does, which Python has not. The format: https://sqlite.org/fileformat2.html.

Pages of the log beside the file (-wal) count too: what was finished is perhaps there alone.
"""

from __future__ import annotations

import mmap
import sqlite3
import struct
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from iassa.benchmark.store.database import PAGE_SIZE, TABLES
from iassa.benchmark.store.rows import Row, Value, checksum

__all__ = ["FoundRow", "Pages"]

TABLE_LEAF = 0x0D  # the kind of page that holds rows, of tables that have a ROWID
# Of a payload such a page holds this much at most; of a longer one at least the smaller number.
MOST, LEAST = PAGE_SIZE - 35, (PAGE_SIZE - 12) * 32 // 255 - 23
CHUNK = PAGE_SIZE - 4  # of a payload on each page that it overflows to
INTEGERS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}  # serial type -> bytes
LOG_HEADER, FRAME_HEADER = 32, 24
BROKEN = (IndexError, ValueError, struct.error)  # what reading damage ends in


@dataclass(frozen=True)
class FoundRow:
    """A row whose checksum holds.

    Attributes:
        table: that it is of.
        row: without its checksum.
        place: to read it again from, by `Pages.read`.
    """

    table: str
    row: Row
    place: tuple[int, int]


@dataclass(frozen=True)
class _Layout:
    """What is told of a table by its schema and not by its rows."""

    table: str
    reals: tuple[int, ...]  # whole numbers are stored as integers there
    alias: bool  # whether the first column is the number of the row, stored outside of it


class Pages:
    """A database file with its log, read only. A context manager.

    Args:
        path: of the database.

    Raises:
        OSError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._stack = ExitStack()
        try:
            self._file = self._map(path)
            log = path.with_name(f"{path.name}-wal")
            self._log = self._map(log) if log.exists() else b""
        except BaseException:
            self._stack.close()
            raise
        size = FRAME_HEADER + PAGE_SIZE
        # Where each page starts, in file and log; number -> start of its latest in the log.
        self._starts = [(0, k) for k in range(0, len(self._file) - PAGE_SIZE + 1, PAGE_SIZE)]
        self._latest: dict[int, int] = {}
        for frame in range(LOG_HEADER, len(self._log) - size + 1, size):
            number = int.from_bytes(self._log[frame : frame + 4], "big")
            self._latest[number] = frame + FRAME_HEADER
            self._starts.append((1, frame + FRAME_HEADER))
        self._layouts = _layouts()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the files."""
        self._stack.close()

    def _map(self, path: Path) -> bytes | mmap.mmap:
        if path.stat().st_size == 0:
            return b""
        file = self._stack.enter_context(path.open("rb"))
        return self._stack.enter_context(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))

    def rows(self) -> Iterator[FoundRow]:
        """Every row whose checksum holds. Those of the log may be in the file as well."""
        for index, (source, start) in enumerate(self._starts):
            content = (self._file, self._log)[source]
            if content[start] != TABLE_LEAF:
                continue
            page = content[start : start + PAGE_SIZE]
            for cell in _cells(page):
                if found := self._read(page, cell, (index, cell)):
                    yield found

    def read(self, place: tuple[int, int]) -> FoundRow | None:
        """The row at a place; None where it can no longer be read."""
        index, cell = place
        source, start = self._starts[index]
        page = (self._file, self._log)[source][start : start + PAGE_SIZE]
        return self._read(page, cell, place)

    def _read(self, page: bytes, cell: int, place: tuple[int, int]) -> FoundRow | None:
        for log in (True, False) if self._latest else (False,):
            try:
                size, at = _varint(page, cell)
                number, at = _varint(page, at)
                values = _values(self._payload(page, at, size, log))
            except BROKEN:
                continue
            for layout in self._layouts.get(len(values), ()):
                *row, stored = _fit(values, layout, number)
                if checksum(layout.table, row) == stored:
                    return FoundRow(layout.table, tuple(row), place)
        return None

    def _payload(self, page: bytes, at: int, size: int, log: bool) -> bytes:
        if size > len(self._file) + len(self._log):
            raise ValueError
        if size <= MOST:
            return page[at : at + size]
        local = LEAST + (size - LEAST) % CHUNK
        local = local if local <= MOST else LEAST
        parts = [page[at : at + local]]
        (following,) = struct.unpack_from(">I", page, at + local)
        for _ in range(-(-(size - local) // CHUNK)):
            source, start = self._file, (following - 1) * PAGE_SIZE
            if log and following in self._latest:
                source, start = self._log, self._latest[following]
            (following,) = struct.unpack_from(">I", source, start)
            parts.append(source[start + 4 : start + PAGE_SIZE])
        return b"".join(parts)[:size]


def _layouts() -> dict[int, list[_Layout]]:
    """Of all tables, by their number of columns."""
    layouts: dict[int, list[_Layout]] = {}
    connection = sqlite3.connect(":memory:")
    connection.executescript(TABLES)
    named = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    for (table,) in named:
        columns = connection.execute(f'PRAGMA table_info("{table}")').fetchall()
        keys = [kind for _, _, kind, _, _, key in columns if key]
        reals = tuple(place for place, _, kind, *_ in columns if kind == "REAL")
        layouts.setdefault(len(columns), []).append(_Layout(table, reals, keys == ["INTEGER"]))
    connection.close()
    return layouts


def _cells(page: bytes) -> list[int]:
    """Where the cells of a page begin."""
    (count,) = struct.unpack_from(">H", page, 3)
    count = min(count, (PAGE_SIZE - 8) // 2)
    return [cell for cell in struct.unpack_from(f">{count}H", page, 8) if cell < PAGE_SIZE]


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """A number of one to nine bytes, and where it ends."""
    value = 0
    for k in range(8):
        byte = content[at + k]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + k + 1
    return value << 8 | content[at + 8], at + 9


def _values(payload: bytes) -> list[Value]:
    end, at = _varint(payload, 0)
    kinds = []
    while at < end:
        kind, at = _varint(payload, at)
        kinds.append(kind)
    values: list[Value] = []
    for kind in kinds:
        size = INTEGERS.get(kind, 8 if kind == 7 else max(kind - 12, 0) // 2)
        content = payload[at : at + size]
        if len(content) < size:
            raise ValueError
        values.append(_value(kind, content))
        at += size
    return values


def _value(kind: int, content: bytes) -> Value:
    if kind == 0:
        return None
    if kind in INTEGERS:
        return int.from_bytes(content, "big", signed=True)
    if kind == 7:
        return float(struct.unpack(">d", content)[0])
    if kind in (8, 9):
        return kind - 8
    if kind < 12:
        raise ValueError
    return content.decode() if kind % 2 else content


def _fit(values: Sequence[Value], layout: _Layout, number: int) -> list[Value]:
    row = list(values)
    for place in layout.reals:
        value = row[place]
        if isinstance(value, int):
            row[place] = float(value)
    if layout.alias and row[0] is None:
        row[0] = number
    return row
