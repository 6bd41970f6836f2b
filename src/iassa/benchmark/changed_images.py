"""Which images of a dataset are not those that a run has, in words."""

from __future__ import annotations

from collections.abc import Collection, Sequence

__all__ = ["list_some", "tell_changed_images"]

TOLD = 5  # names, of many


def tell_changed_images(known: Collection[str], names: Sequence[str], half: str) -> str:
    """How the images of a folder differ from those that a run has scored.

    Args:
        known: names of the run's.
        names: of all in the folder.
        half: of the images that the run is of; see `run`. Of 'even' or 'odd', those that are not in
            it are not told: the other half is none of it either.

    Returns:
        'not in the run: a.png; no longer in the folder: b.png, c.png and 3 more'; or that
        no name differs.
    """
    new = [name for name in names if name not in known] if half == "both" else []
    gone = sorted(set(known).difference(names))
    told = [
        f"{what}: {list_some(found)}"
        for what, found in (("not in the run", new), ("no longer in the folder", gone))
        if found
    ]
    if told:
        return "; ".join(told)
    same = "the names are the same, so a file has another size"
    return same if half == "both" else "those of this half are there, by name"


def list_some(names: Sequence[str]) -> str:
    """The first names of many: 'a.png, b.png and 3 more'."""
    more = len(names) - TOLD
    return ", ".join(names[:TOLD]) + (f" and {more} more" if more > 0 else "")
