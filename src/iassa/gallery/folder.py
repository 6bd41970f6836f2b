"""The folder of a gallery, which can be killed at any moment and gone on with.

Each image has a saved explanation in a folder of its own. An image is done if its `entry.json` is
there, of the same settings and the same image file, with all that it names. No database says so a
second time: it could say other than the folders, which people move, extend and delete.

`gallery.json` has the settings. They tell a gallery to go on with from another one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, Self

from iassa.archives import read_json
from iassa.benchmark.configuration import as_json, differences
from iassa.benchmark.store.database import DATABASE
from iassa.errors import InputError, list_choices, require
from iassa.explanations.explanation import Explanation
from iassa.explanations.record import RECORD, list_earlier
from iassa.files import is_there, lock_folder, read_whole, user_path, write_whole
from iassa.gallery.entry import (
    ENTRY,
    THUMBNAIL,
    Entry,
    Mark,
    digest_record,
    make_entry,
    pack_mark,
    read_mark,
)
from iassa.gallery.explaining import Explained
from iassa.gallery.pages import is_ours, render_gallery, render_photo
from iassa.gallery.photos import CONFIGURATION, INDEX, Photo
from iassa.methods.engine.replacing import refuse_others


class Gallery:
    """A folder with a saved explanation for each image. A context manager; it locks the folder.

    Attributes:
        folder: of the gallery.
        kind: what the folder is, for errors.
        option: of the command that names the folder.
    """

    kind: ClassVar[str] = "a gallery"
    option: ClassVar[str] = "--out"

    def __init__(
        self, folder: Path, configuration: Mapping[str, Any], *, overwrite: bool = False
    ) -> None:
        """Begin a gallery, or go on with it.

        Args:
            folder: made if it is not there; other files in it are left alone.
            configuration: the settings, of JSON values, with the record of the method as 'method',
                see `Explainer.as_dict`. Those of a gallery to go on with have to agree, unless
                nothing in it is done.
            overwrite: whether a gallery of other settings may be replaced, image by image.

        Raises:
            InputError: another process works on the folder; it is that of another gallery, of a
                saved explanation or of a benchmark; it has an index.html that is none of ours; or
                it cannot be written.
        """
        self.folder = user_path(folder)
        self._refuse_others()
        asked = as_json(configuration)
        ordered = json.dumps(asked, sort_keys=True).encode()
        self._overwrite = overwrite
        self._measures = str(asked["method"]["measures"])
        self._run = hashlib.sha256(ordered).hexdigest()
        self._lock = lock_folder(self.folder)
        try:
            self._begin(asked)
        except BaseException:
            self._lock.release()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def find(
        self, photo: Photo, digest: str, differs: Callable[[Explanation], str]
    ) -> Entry | None:
        """The entry of an image that is done; None for one that is to be explained.

        Args:
            photo: the image.
            digest: SHA-256 of its file.
            differs: in what a saved explanation differs from the one that is wanted; '' if it does
                not. It is asked where the explanation was extended or verified after it was made.

        Raises:
            InputError: it was, and facts that were measured of it are kept beside it.
        """
        place = self.folder / photo.folder
        entry = read_mark(place)
        if not isinstance(entry, Entry) or (entry.run, entry.image) != (self._run, digest):
            return None
        needed = (RECORD, "explanation.npz", INDEX, THUMBNAIL, *entry.pictures)
        if not all((place / name).is_file() for name in needed):
            return None
        if digest_record(place) == entry.record:
            return entry
        try:
            changed = Explanation.load(place)
        except InputError:
            return None
        if entry.facts is not None:  # they are of the explanation as it was
            require(
                self._overwrite,
                f"expected the map in {place} as {self.kind} made it, got one that was extended or "
                "verified since. Move that folder away, or say --overwrite to have it made again.",
            )
            return None
        if not changed.complete or differs(changed):
            return None
        return self._publish(photo, entry, changed, entry.pictures)

    def check_free(self, photo: Photo, digest: str, differs: Callable[[Explanation], str]) -> None:
        """Refuse to write over files of the user's, or over the result of another case.

        Args:
            photo: the image.
            digest: SHA-256 of its file.
            differs: as of `find`; not asked of a gallery that may be replaced.

        Raises:
            InputError: some are where the result of the image goes.
        """
        place = self.folder / photo.folder
        require(
            not is_there(place) or place.is_dir(),
            f"expected a folder, got the file {place}. {self._move}",
        )
        list_earlier(place)
        if read_mark(place) == Mark(run=self._run, image=digest):
            return  # it was begun; a kill may have left some of the files
        if not is_ours(place / INDEX):
            for name in (INDEX, THUMBNAIL, ENTRY):
                require(
                    not is_there(place / name),
                    f"expected {place} without files of yours that have names of ours, got {name}. "
                    f"{self._move}",
                )
        if not self._overwrite:
            refuse_others(place, differs, self.option)

    def keep(self, photo: Photo, digest: str, made: Explained) -> Entry | None:
        """Save what became of an image.

        Returns:
            Its entry; None if the map is incomplete, so that it will be made again.

        Raises:
            InputError: it cannot be written.
        """
        mark, place = Mark(run=self._run, image=digest), self.folder / photo.folder
        write_whole(place, {ENTRY: pack_mark(mark)})
        made.explanation.save(place, pictures="none")
        write_whole(place, made.pictures)
        if made.error or not made.explanation.complete:
            return None
        return self._publish(photo, mark, made.explanation, made.pictures, made)

    def write_index(
        self,
        photos: Sequence[Photo],
        entries: Mapping[Photo, Entry],
        failures: Mapping[Photo, str],
    ) -> Path:
        """Write the page that shows all images.

        Args:
            photos: that were asked for.
            entries: those of them that are done.
            failures: why others could not be explained.

        Returns:
            Its path.
        """
        title = self.folder.resolve().name
        page = render_gallery(title, photos, entries, failures, self._measures)
        write_whole(self.folder, {INDEX: page})
        return self.folder / INDEX

    # --- inside -------------------------------------------------------------------------------

    @property
    def _move(self) -> str:
        return f"Move it, or choose another {self.option}."

    def _refuse_others(self) -> None:
        for name, what in ((RECORD, "a saved explanation"), (DATABASE, "a benchmark")):
            require(
                not is_there(self.folder / name),
                f"expected the folder of {self.kind} or a free one, got that of {what}: "
                f"{self.folder}. Choose another {self.option}.",
            )
        index = self.folder / INDEX
        require(
            is_ours(index) or not is_there(index),
            f"expected {self.folder} without an {INDEX} of yours, got one. {self._move}",
        )

    def _begin(self, asked: dict[str, Any]) -> None:
        """Compare the settings with those in the folder, and write them where none are."""
        path = self.folder / CONFIGURATION
        differing = ["it cannot be read"]
        if is_there(path):
            with suppress(InputError):
                differing = [*differences(read_json(read_whole(path), CONFIGURATION), asked)]
            if not differing:
                return
            marks = (read_mark(path.parent) for path in self.folder.rglob(ENTRY))
            has_results = any(isinstance(mark, Entry) for mark in marks)
            require(
                self._overwrite or not has_results,
                f"expected the settings with which {self.folder} began, got others: "
                f"{list_choices(differing, '; ')}. Ask for the same, choose another "
                f"{self.option}, or add --overwrite.",
            )
        text = json.dumps(asked, indent=2, ensure_ascii=False) + "\n"
        write_whole(self.folder, {CONFIGURATION: text.encode()})

    def _publish(
        self,
        photo: Photo,
        mark: Mark,
        explanation: Explanation,
        pictures: Collection[str],
        made: Explained | None = None,
    ) -> Entry:
        """Write the page of an image, its thumbnail, and last the entry: it is done."""
        place = self.folder / photo.folder
        beside = (None, None) if made is None else (made.facts, made.outline)
        record = digest_record(place)
        entry, thumbnail = make_entry(explanation, pictures, mark, record, *beside)
        page = render_photo(photo, explanation, entry, () if made is None else made.lines)
        contents = {INDEX: page, THUMBNAIL: thumbnail, ENTRY: pack_mark(entry)}
        write_whole(place, contents)  # in this order
        return entry
