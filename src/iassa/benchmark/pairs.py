"""Similarity: what in an image makes it like the query images that it is paired with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from iassa.benchmark.aim import AtQueries
from iassa.benchmark.datasets import ImagePairs, Sample
from iassa.benchmark.selection import ScoredImage, Selection, leave_out
from iassa.benchmark.store.records import Entry
from iassa.models.targets import Target


@dataclass(frozen=True, eq=False)
class PairSelection(Selection):
    """The rule that makes an entry of each pair: its category is the name of the query.

    Attributes:
        dataset: the pairs.
    """

    dataset: ImagePairs

    def describe(self) -> dict[str, Any]:
        """See `Selection.describe`."""
        return super().describe() | {"targets": {"similarity": "cosine"}}

    def aim_whole(self, sample: Sample) -> AtQueries:
        """Similarity to all queries of an image."""
        return self._at(*sample.categories)

    def aim(self, sample: Sample, entry: Entry) -> AtQueries:
        """Similarity to the query of an entry."""
        del sample
        return self._at(entry.category)

    def entries(self, sample: Sample, whole: ScoredImage) -> list[Entry]:
        """An entry for each query of an image."""
        return [
            self.scored(
                leave_out(sample, "", whole.size, query),
                Target(query, (0,), (1.0,)),  # of the similarity to this query alone
                float(whole.scores[place]),
                None,
            )
            for place, query in enumerate(sample.categories)
        ]

    def _at(self, *queries: str) -> AtQueries:
        contents = {query: self.dataset.read_query(query) for query in queries}
        return AtQueries(contents, self.dataset.reading)
