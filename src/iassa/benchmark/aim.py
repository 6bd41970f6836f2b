"""What an entry asks of the black box of a run, where that is not what the black box says alone."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

from iassa.decoding import Reading
from iassa.errors import ImageWarning
from iassa.image import decode_image
from iassa.models.black_box import BlackBox
from iassa.models.similarity import Similarity


class Aim(ABC):
    """Makes the black box of an entry of that of the run, in a worker. It can be pickled."""

    @property
    def calls(self) -> int:
        """How many calls that takes."""
        return 0

    @abstractmethod
    def at(self, black_box: BlackBox) -> BlackBox:
        """The black box of the entry.

        Raises:
            InputError: it cannot be made.
            BlackBoxError: the black box of the run failed.
        """


@dataclass(frozen=True, eq=False)
class AtQueries(Aim):
    """Similarity to query images, an output each.

    Attributes:
        contents: of their files, by name.
        reading: how the files are read.
    """

    contents: Mapping[str, bytes]
    reading: Reading

    @property
    def calls(self) -> int:
        """One for each query."""
        return len(self.contents)

    def at(self, black_box: BlackBox) -> BlackBox:
        """By the cosine of the features that the black box gives; see `Aim`."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ImageWarning)  # as an image to explain it is told
            photos = {
                name: decode_image(content, name, self.reading)
                for name, content in self.contents.items()
            }
        return Similarity(photos, black_box)
