"""The open database of a run: who may use it, and how its errors reach the user."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from iassa.benchmark.store.columns import DamageError
from iassa.benchmark.store.database import DATABASE, check_run_exists, connect, refusal
from iassa.benchmark.store.recovery import damage_error
from iassa.errors import InputError
from iassa.files import lock_folder


class Session:
    """The database of a run, for the thread that opened it.

    One session at a time may write. It holds a lock, which the system releases if the process dies.

    Args:
        folder: of the run; a session that writes creates it.
        writing: whether to write.

    Attributes:
        has_run: whether the database had the tables of a run when it was opened.

    Raises:
        InputError: another process writes, the database is damaged, another program or another
            version of iassa made it, the folder cannot be read or written, or there is no run to
            read.
    """

    def __init__(self, folder: Path, *, writing: bool) -> None:
        self._folder = folder
        self._writing = writing
        self._process = os.getpid()
        if not writing:
            check_run_exists(folder)
        with ExitStack() as stack:
            if writing:
                stack.callback(lock_folder(folder).release)
            with _translating_errors(folder):
                self._connection, self.has_run = connect(folder / DATABASE, writing=writing)
            stack.callback(self._connection.close)
            if not (self.has_run or writing):
                raise InputError(
                    f"expected a run in {folder}, got one that has not begun. Give the command "
                    "that began it again."
                )
            self._resources = stack.pop_all()

    def close(self) -> None:
        """Let other processes write. A second call does nothing."""
        if os.getpid() != self._process:
            return  # the session is its parent's
        with suppress(sqlite3.Error):  # what was written is safe already
            self._resources.close()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The database, for a few statements. An error of SQLite becomes an `InputError`."""
        if os.getpid() != self._process:
            raise InputError(
                f"expected the process that opened the run in {self._folder}, got a fork of it. "
                "Hand results to that one, or read the run."
            )
        with _translating_errors(self._folder):
            yield self._connection

    @contextmanager
    def writing(self, what: str) -> Iterator[sqlite3.Connection]:
        """The database in one transaction, which is written as a whole or not at all.

        Args:
            what: a name for what is written, for the error message if it is there already.
        """
        if not self._writing:
            raise InputError(
                f"expected a run that was opened to go on with it, got {self._folder} opened to be "
                "read. Use `Store.open`."
            )
        with self.reading() as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
                with connection:  # it commits or rolls back
                    yield connection
            except sqlite3.IntegrityError:
                raise InputError(
                    f"expected what the run in {self._folder} does not have yet, got {what}, which "
                    "it has. Add each once."
                ) from None


@contextmanager
def _translating_errors(folder: Path) -> Iterator[None]:
    """Turn errors of SQLite and of checksums into an `InputError` that says what to do."""
    try:
        yield
    except DamageError as damage:
        raise damage_error(folder, damage) from damage
    except (sqlite3.ProgrammingError, sqlite3.InterfaceError):
        raise  # another thread, or closed: a mistake in the calling program
    except sqlite3.Error as error:
        raise refusal(error, folder) or damage_error(folder, error) from error
