"""The folder of an audit: a gallery, with another page and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from iassa.auditing.pages import render_audit
from iassa.auditing.report import Audit, report
from iassa.auditing.subjects import Subjects
from iassa.auditing.tables import write_tables
from iassa.files import write_whole
from iassa.gallery.entry import Entry
from iassa.gallery.folder import Gallery
from iassa.gallery.photos import INDEX, Photo


class AuditFolder(Gallery):
    """A folder with a saved explanation and a finding for each image; see `Gallery`.

    Attributes:
        found: what `write_index` wrote; None before.
    """

    kind: ClassVar[str] = "an audit"
    option: ClassVar[str] = "--run"

    def __init__(
        self,
        folder: Path,
        configuration: Mapping[str, Any],
        subjects: Subjects,
        class_names: Sequence[str] | None,
        *,
        overwrite: bool = False,
    ) -> None:
        """Begin an audit, or go on with it; see `Gallery`.

        Args:
            folder: see there.
            configuration: likewise.
            subjects: what is in the images.
            class_names: of the model.
            overwrite: see `Gallery`.

        Raises:
            InputError: see there.
        """
        super().__init__(folder, configuration, overwrite=overwrite)
        self._subjects = subjects
        self._class_names = class_names
        self.found: Audit | None = None

    @property
    def result(self) -> Audit:
        """What `write_index` wrote."""
        assert self.found is not None, "ask after it"
        return self.found

    def write_index(
        self,
        photos: Sequence[Photo],
        entries: Mapping[Photo, Entry],
        failures: Mapping[Photo, str],
    ) -> Path:
        """Write the page and the tables; see `Gallery`."""
        del photos
        found = report(self.folder, self._subjects, self._class_names, entries, failures)
        sizes = {photo.name: entry.size for photo, entry in entries.items()}
        title = self.folder.resolve().name
        page = render_audit(title, found, sizes, self._subjects.kind is not None)
        write_whole(self.folder, {**write_tables(found), INDEX: page})
        self.found = found
        return found.page
