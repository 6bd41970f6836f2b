"""Save what can still be read of a damaged run into a fresh one, to go on with that."""

from __future__ import annotations

from pathlib import Path

from iassa.benchmark.store.database import check_run_exists
from iassa.benchmark.store.recovery import Salvage, recover, stored_configuration
from iassa.benchmark.store.rows import key_of
from iassa.benchmark.store.store import Store
from iassa.errors import InputError
from iassa.files import user_path


def salvage(folder: Path, into: Path) -> Salvage:
    """Copy all images and items that are whole, bit by bit, from a damaged run into another.

    Failures are not copied: what failed is tried again in any case. The damaged run is not written.
    Cut off, it goes on where it was when it is called again.

    Args:
        folder: of the damaged run.
        into: of the new one, made if it is not there.

    Raises:
        InputError: no run is there, its configuration cannot be read, or the new run cannot be
            written or is another one.
    """
    folder, into = user_path(folder), user_path(into)
    check_run_exists(folder)
    if folder.resolve() == into.resolve():
        raise InputError(f"expected another folder to save {folder} into, got itself. Name one.")
    configuration = stored_configuration(folder)
    if configuration is None:
        raise InputError(
            f"cannot save {folder}: its configuration cannot be read. Restore it from a copy, or "
            "begin again in another folder."
        )
    with Store.open(into, configuration) as store, recover(folder) as recovery:
        names, finished = store.images(), store.finished()
        for name, entries, digest in recovery.images:
            if name not in names:
                store.add_image(name, entries, digest)
        for row in recovery.items:
            if key_of(row) not in finished:
                store.copy_item(recovery.rows, row)
        return recovery.salvage
