"""The SQLite database of a run: its tables, how it is opened, and what its errors mean.

Whoever has `sqlite3` alone can read it: `sqlite3 run.sqlite .schema` prints what follows, with its
comments, and the view `result` has one row for each metric of each map.

It is in WAL mode with `synchronous=FULL`: a transaction that has returned survives `kill -9` and a
power cut, and others may read meanwhile. SQLite has no checksums for what a row holds, so each row
has one of its own: the CRC-32 of its other columns, see `rows.checksum`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from iassa.errors import InputError

__all__ = [
    "CONFIGURATION",
    "DATABASE",
    "PAGE_SIZE",
    "SCHEMA",
    "TABLES",
    "check_pages",
    "create",
    "open_reader",
    "open_writer",
    "refusal",
    "transaction",
]

DATABASE = "run.sqlite"
CONFIGURATION = "configuration.json"  # beside it, for people; written once the tables are there
APPLICATION = int.from_bytes(b"IASA", "big")  # tells it from other programs' databases
SCHEMA = 2
PAGE_SIZE = 4096  # bytes
WAIT = 30.0  # seconds for another connection, which takes a moment to open or close

TABLES = """
CREATE TABLE meta (
    name TEXT PRIMARY KEY,  -- 'configuration', 'created', 'last'
    value TEXT,             -- JSON
    checksum INTEGER
);
CREATE TABLE image (        -- whose entries are all there
    name TEXT PRIMARY KEY,  -- file, relative to the folder of images
    digest TEXT,            -- SHA-256 of the file
    entries INTEGER,        -- how many it has
    checksum INTEGER
);
CREATE TABLE entry (        -- one target in one image
    key TEXT PRIMARY KEY,
    image TEXT,
    image_index INTEGER,    -- place of the image in the dataset
    height INTEGER,         -- of the image file
    width INTEGER,
    category TEXT,
    target TEXT,            -- name
    target_indices TEXT,    -- JSON: outputs of the black box that count
    target_weights TEXT,    -- JSON: and their weights
    score REAL,             -- of the target for the whole image
    annotated REAL,         -- share of the pixels, NULL without annotation
    excluded TEXT,          -- why, '' if it is not
    checksum INTEGER
);
CREATE TABLE item (         -- what one method made of one entry
    id INTEGER PRIMARY KEY, -- 1, 2, ... in the order in which they were finished
    entry TEXT,
    method TEXT,
    seed INTEGER,
    calls INTEGER,
    seconds REAL,
    metric_seconds REAL,
    warnings TEXT,          -- JSON
    snapshots INTEGER,      -- how many it has
    evidence INTEGER,       -- bytes of it, NULL without
    finished TEXT,          -- ISO 8601, UTC
    checksum INTEGER,
    UNIQUE (entry, method, seed)
);
CREATE TABLE snapshot (     -- the map at one moment
    item INTEGER,
    snapshot INTEGER,       -- 0, 1, ... in the item
    budget INTEGER,         -- calls allowed by then, NULL after a round
    rounds INTEGER,
    calls INTEGER,
    relative_error REAL,    -- infinite where not known
    saliency_error REAL,    -- largest error of the map as stored, in score units
    metrics INTEGER,        -- how many it has
    curves INTEGER,
    checksum INTEGER,
    PRIMARY KEY (item, snapshot)
);
CREATE TABLE metric (
    item INTEGER,
    snapshot INTEGER,
    name TEXT,
    value REAL,
    checksum INTEGER,
    PRIMARY KEY (item, snapshot, name)
);
CREATE TABLE curve (
    item INTEGER,
    snapshot INTEGER,
    name TEXT,
    scores BLOB,            -- little-endian float64
    fractions BLOB,         -- likewise, as many
    checksum INTEGER,
    PRIMARY KEY (item, snapshot, name)
);
CREATE TABLE map (          -- saliency = offset + float16 * 2^exponent, see packed_map.py
    item INTEGER,
    snapshot INTEGER,
    height INTEGER,
    width INTEGER,
    "offset" REAL,
    exponent INTEGER,
    content BLOB,           -- zlib; all high bytes, then all low ones, of the 16-bit numbers n
                            -- r = n >> 1 if n is even, else ~(n >> 1); modulo 2^16:
                            -- s = sum of all r above and left of the pixel, its own included
                            -- bits of the float16 = s ^ 0x8000 if s & 0x8000, else ~s
    checksum INTEGER,
    PRIMARY KEY (item, snapshot)
);
CREATE TABLE evidence (
    item INTEGER PRIMARY KEY,
    content BLOB,           -- a .npz of NumPy
    checksum INTEGER
);
CREATE TABLE failure (      -- an item that could not be made, until it is
    entry TEXT,
    method TEXT,
    seed INTEGER,
    error TEXT,
    checksum INTEGER,
    PRIMARY KEY (entry, method, seed)
);
CREATE VIEW result AS
    SELECT i.entry, i.method, i.seed, s.snapshot, s.budget, s.rounds, s.calls, m.name, m.value
    FROM item i JOIN snapshot s ON s.item = i.id
    JOIN metric m ON m.item = s.item AND m.snapshot = s.snapshot;
"""


def open_writer(path: Path) -> tuple[sqlite3.Connection, bool]:
    """A connection that writes, and whether the database is one of a run yet.

    Raises:
        InputError: it is another program's, or of another schema.
        sqlite3.Error: it cannot be opened or read, or what it held is gone.
    """
    shown = _check_held(path)
    connection = sqlite3.connect(path, timeout=WAIT, isolation_level=None)
    try:
        made = _check(connection, path, shown)
        connection.execute(f"PRAGMA page_size={PAGE_SIZE}")  # of one that is made now
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
    except BaseException:
        connection.close()
        raise
    return connection, made


def create(connection: sqlite3.Connection) -> None:
    """Make the tables, within a transaction of the caller's."""
    for statement in TABLES.split(";\n"):
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id={APPLICATION}")
    connection.execute(f"PRAGMA user_version={SCHEMA}")


def open_reader(path: Path) -> sqlite3.Connection:
    """A connection that only reads, from a medium that cannot be written as well.

    Args:
        path: of the database.

    Raises:
        InputError: it is another program's, of another schema, or of a run that has not begun.
        sqlite3.Error: it cannot be opened or read, or what it held is gone.
    """
    shown = _check_held(path)
    wal = path.with_name(f"{path.name}-wal")
    address = f"{path.resolve().as_uri()}?mode=ro"
    for way in (address, f"{address}&immutable=1"):
        connection = sqlite3.connect(way, uri=True, timeout=WAIT, isolation_level=None)
        try:
            if not _check(connection, path, shown):
                raise InputError(
                    f"expected a run in {path.parent}, got one that has not begun. Give the "
                    "command that began it again."
                )
        except sqlite3.OperationalError as error:
            connection.close()
            # Where no shared memory can be made beside it, nobody else can be writing either.
            unwritable = _code(error) in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)
            if way != address or not unwritable or (wal.exists() and wal.stat().st_size):
                raise
        except BaseException:
            connection.close()
            raise
        else:
            return connection
    raise AssertionError("one of the two ways returned or raised")


def _check_held(path: Path) -> bool:
    """Whether the run has begun, by the file beside its database, which then holds something.

    A run is begun by one transaction, and only after that is on the disk does `Store.open` write
    the file. If the file exists but the database has no tables, its content was lost: a killed
    process cannot leave that state behind. Without the file nothing was ever stored, and the run
    can begin.

    To be asked before SQLite opens the database, since it deletes the log of an empty one, even if
    it only reads; and before the tables are counted, since another process may be beginning.
    """
    shown = path.with_name(CONFIGURATION).exists()
    if shown and not (path.exists() and path.stat().st_size):
        raise _emptied(path)
    return shown


def _emptied(path: Path) -> sqlite3.Error:
    return sqlite3.DatabaseError(
        f"{path.name} holds nothing, but {CONFIGURATION} beside it is written only once it does, "
        "so what was in it is gone"
    )


def _check(connection: sqlite3.Connection, path: Path, shown: bool) -> bool:
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if application == 0 and version == 0 and tables == 0:
        if shown:
            raise _emptied(path)
        return False  # killed before its first transaction, or empty
    if application != APPLICATION:
        raise InputError(
            f"expected a benchmark run in {path.parent}, got a {path.name} of another program. "
            "Choose another folder."
        )
    if version != SCHEMA:
        raise InputError(
            f"expected schema {SCHEMA} in {path}, got {version}: it was made by another version of "
            "iassa. Go on with that one, or choose another folder."
        )
    return True


def check_pages(connection: sqlite3.Connection) -> None:
    """Look whether every page can be one of a database; what rows hold is not looked at.

    It reads a few bytes of each page: some hundredths of a second for 100 MB that the system has at
    hand, as long as the disk takes to read them if not.

    Raises:
        sqlite3.Error: one cannot.
    """
    found = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
    if found != "ok":
        raise sqlite3.DatabaseError(found.splitlines()[-1])


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All that is written within is there afterwards, or nothing of it."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # SQLite has done so itself after some errors
            connection.execute("ROLLBACK")
        raise


def refusal(error: sqlite3.Error, folder: Path) -> InputError | None:
    """What an error of SQLite means for the user; None where the database is damaged.

    Args:
        error: that it raised.
        folder: of the run.
    """
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
    if code in READING or _code(error) in DAMAGE:
        return None
    if _code(error) in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
        return InputError(
            f"cannot write to {folder}: {error}. What was finished is whole. Free space on its "
            "disk, or raise the limit on the size of files; then give the same command again."
        )
    if _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return InputError(
            f"cannot use the database in {folder}: {error}. Another program holds it: close that."
        )
    return InputError(f"cannot use the database in {folder}: {error}. Check its rights.")


def _code(error: sqlite3.Error) -> int:
    """Without what SQLite calls its extension; errors of Python's own module are of text."""
    return int(getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)) & 0xFF


DAMAGE = (
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_ERROR,  # no such table
    sqlite3.SQLITE_FORMAT,
    sqlite3.SQLITE_TOOBIG,
    sqlite3.SQLITE_MISMATCH,
)
READING = (
    sqlite3.SQLITE_IOERR_READ,
    sqlite3.SQLITE_IOERR_SHORT_READ,
    sqlite3.SQLITE_IOERR_CORRUPTFS,
)
