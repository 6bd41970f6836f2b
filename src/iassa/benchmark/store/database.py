"""The SQLite database of a run: its tables, how it is opened, and what its errors mean.

`schema.sql` holds the tables. The `sqlite3` program alone can read a run: `sqlite3 run.sqlite
.schema` prints the tables with their comments, and the view `result` has one row for each metric of
each map.

The database is in WAL mode with `synchronous=FULL`: a transaction that has returned survives
`kill -9` and a power cut, and others may read meanwhile. SQLite keeps no checksums of rows, so each
row has one of its own, see `rows.checksum`.
"""

from __future__ import annotations

import os
import re
import sqlite3
from importlib import resources
from pathlib import Path

from iassa.archives import FREE
from iassa.errors import InputError

DATABASE = "run.sqlite"
CONFIGURATION = "configuration.json"  # beside it, for people; written once the tables are there
APPLICATION = int.from_bytes(b"IASA", "big")  # tells it from other programs' databases
SCHEMA = 2
PAGE_SIZE = 4096  # bytes
PRAGMAS = (  # of the one who writes
    f"page_size={PAGE_SIZE}",  # of a database that is made now
    "journal_mode=WAL",
    "synchronous=FULL",
    "secure_delete=ON",  # or else recovery may find what has been replaced
)
WAIT = 30.0  # seconds for another connection, which takes a moment to open or close
EMPTIED = (
    f"{DATABASE} holds nothing, but {CONFIGURATION} beside it is written only once it does, so "
    "what was in it is gone"
)
FULL = (
    "What was finished is whole. Free space on its disk, or raise the limit on the size of files; "
    "then give the same command again."
)
HELD = "Another program holds it: close that."
RIGHTS = "Check the rights of the folder and of the files in it."
ADVICE = {  # by SQLite's error code; where there is none, the database is damaged
    sqlite3.SQLITE_FULL: FULL,
    sqlite3.SQLITE_IOERR: FULL,
    sqlite3.SQLITE_BUSY: HELD,
    sqlite3.SQLITE_LOCKED: HELD,
    sqlite3.SQLITE_PROTOCOL: HELD,
    sqlite3.SQLITE_CANTOPEN: RIGHTS,
    sqlite3.SQLITE_PERM: RIGHTS,
    sqlite3.SQLITE_READONLY: RIGHTS,
}
READING = (  # damage, too, though of the kind SQLITE_IOERR
    sqlite3.SQLITE_IOERR_READ,
    sqlite3.SQLITE_IOERR_SHORT_READ,
    sqlite3.SQLITE_IOERR_CORRUPTFS,
)

TABLES = resources.files("iassa.benchmark.store").joinpath("schema.sql").read_text("utf-8")
LONGEST = FREE  # bytes of a text or a blob, as a database may promise more than there is memory


def check_run_exists(folder: Path) -> None:
    """Raise an `InputError` where a folder holds no run."""
    if not (folder / DATABASE).is_file():
        raise InputError(
            f"expected a run in {folder}, got no {DATABASE} there. Name the folder of a run."
        )


def connect(path: Path, *, writing: bool) -> tuple[sqlite3.Connection, bool]:
    """Open a database for writing, or for reading, also on a medium that cannot be written.

    One transaction creates the tables of a run, and `Store.open` writes the configuration file only
    after that transaction is on the disk. If the file exists but the database has no tables, its
    content was lost: a killed process cannot leave that state behind. Without the file nothing was
    ever stored, and the run can begin.

    Args:
        path: of the database.
        writing: whether to write; a missing database is created.

    Returns:
        The connection, and whether the database has the tables of a run.

    Raises:
        InputError: another program or another version of iassa made the database.
        sqlite3.Error: it cannot be opened or read, or its content was lost.
    """
    # Look before SQLite opens the database, because it deletes the log of an empty one even when it
    # only reads; and before the tables are counted, because another process may create them.
    configured = path.with_name(CONFIGURATION).exists()
    if configured and not (path.exists() and path.stat().st_size):
        raise sqlite3.DatabaseError(EMPTIED)
    mode = "rwc" if writing else _reading_mode(path)
    address = f"{path.resolve().as_uri()}?mode={mode}"
    connection = sqlite3.connect(address, uri=True, timeout=WAIT, isolation_level=None)
    connection.row_factory = sqlite3.Row
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST)
    try:
        has_run = _holds_run(connection, path)
        if configured and not has_run:
            raise sqlite3.DatabaseError(EMPTIED)
        for pragma in PRAGMAS if writing else ("query_only=ON",):
            connection.execute(f"PRAGMA {pragma}")
    except BaseException:
        connection.close()
        raise
    return connection, has_run


def _reading_mode(path: Path) -> str:
    log, index = (path.with_name(f"{path.name}-{end}") for end in ("wal", "shm"))
    if os.access(path.parent, os.W_OK):
        # SQLite reads with the help of these files, and removes them again if it may write. It then
        # also moves a log of before into the database, and reading is to leave a run as it is.
        return "ro" if log.exists() and log.stat().st_size else "rw"
    in_use = any(other.exists() and other.stat().st_size for other in (log, index))
    # SQLite cannot create them here. Nobody writes, as they are missing, so it can do without.
    return "ro" if in_use else "ro&immutable=1"


def _holds_run(connection: sqlite3.Connection, path: Path) -> bool:
    # One statement, because another process may create the tables between two.
    application, version, tables = connection.execute(
        "SELECT application_id, user_version, (SELECT count(*) FROM sqlite_master) "
        "FROM pragma_application_id, pragma_user_version"
    ).fetchone()
    if application == version == tables == 0:  # empty, or killed before the first transaction
        return False
    if application != APPLICATION:
        raise InputError(
            f"expected a benchmark run in {path.parent}, got a {path.name} of another program. "
            "Choose another folder."
        )
    if version != SCHEMA:
        raise InputError(
            f"expected schema {SCHEMA} in {path}, got {version}: another version of iassa made it. "
            "Go on with that version, or begin again in another folder."
        )
    _check_tables(connection)
    return True


def _check_tables(connection: sqlite3.Connection) -> None:
    """Refuse tables that are not ours: a view in the place of one may compute without end."""
    found = connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    ours = sorted(map(_bare, filter(str.strip, TABLES.split(";\n"))))
    if sorted(_bare(str(sql)) for (sql,) in found) != ours:
        raise sqlite3.DatabaseError("its tables are not those of a run")


def _bare(statement: str) -> str:
    """A statement without comments and space."""
    return re.sub(r"--.*|[\s;]+", "", statement)


def create(connection: sqlite3.Connection) -> None:
    """Create the tables. The caller opens and ends the transaction, if there is to be one."""
    for statement in TABLES.split(";\n"):  # `executescript` would end the transaction
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id={APPLICATION}")
    connection.execute(f"PRAGMA user_version={SCHEMA}")


def check_pages(connection: sqlite3.Connection) -> None:
    """Check that the pages fit together. The content of rows is not checked.

    It reads a few bytes of each page: some hundredths of a second for 100 MB that are in the
    system's cache; otherwise as long as the disk takes to read them.

    Raises:
        sqlite3.Error: a page is damaged.
    """
    (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise sqlite3.DatabaseError(str(found).splitlines()[-1])


def refusal(error: sqlite3.Error, folder: Path) -> InputError | None:
    """An error of SQLite as an error for the user, with advice; None if the database is damaged."""
    # Python's own module raises errors of SQLite's kind without a code, for texts that are none.
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
    advice = None if code in READING else ADVICE.get(code & 0xFF)  # the kind, without details
    if advice is None:
        return None
    return InputError(f"cannot use the database in {folder}: {error}. {advice}")
