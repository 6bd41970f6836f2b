"""Save what can still be read of a damaged run into a fresh one, to go on with that."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from iassa.benchmark.store.database import DATABASE
from iassa.benchmark.store.records import ItemKey
from iassa.benchmark.store.remains import Lost, Remains
from iassa.benchmark.store.store import Store
from iassa.errors import InputError

__all__ = ["Salvage", "salvage"]


@dataclass(frozen=True)
class Salvage:
    """What was saved of a damaged run, and what was not.

    Attributes:
        saved: keys of the items that are whole in the new run.
        lost: keys of those that are not.
        unknown: items of which not even the key could be read.
        images: how many were saved, with all of their entries.
        lost_images: how many were not. Their items were, where they could be; the same command
            adds the images again.
    """

    saved: tuple[ItemKey, ...]
    lost: tuple[ItemKey, ...]
    unknown: int
    images: int
    lost_images: int


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
    folder, into = Path(folder), Path(into)
    if not (folder / DATABASE).is_file():
        raise InputError(
            f"expected a run in {folder}, got no {DATABASE} there. Name the folder of a run."
        )
    if folder.resolve() == into.resolve():
        raise InputError(f"expected another folder to save {folder} into, got itself. Name one.")
    with Remains(folder) as remains:
        configuration = remains.configuration()
        if configuration is None:
            raise InputError(
                f"cannot save {folder}: its configuration cannot be read. Restore it from a copy, "
                "or begin again in another folder."
            )
        with Store.open(into, configuration) as store:
            return _copy(remains, store)


def _copy(remains: Remains, store: Store) -> Salvage:
    images, lost_images, unknown = 0, 0, 0
    saved: list[ItemKey] = []
    lost: list[ItemKey] = []
    names, finished = set(store.images()), store.finished()
    for image in remains.images():
        if image is None:
            lost_images += 1
            continue
        images += 1
        if image[0] not in names:
            store.add_image_rows(*image)
    for item in remains.items():
        if not isinstance(item, Lost):
            saved.append(item.key)
            if item.key not in finished:
                store.add_rows(item)
        elif item.key is None:
            unknown += 1
        else:
            lost.append(item.key)
    return Salvage(tuple(saved), tuple(lost), unknown, images, lost_images)
