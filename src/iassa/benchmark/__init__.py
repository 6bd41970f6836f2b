"""Is this map better? Methods on a dataset, at equal numbers of model calls.

`run` goes through a dataset, `store` keeps what it finds, `salvage` saves what a damaged store
still holds; `iassa.benchmark.report` reads it.
"""

from iassa.benchmark.contestant import Contestant, parse_contestant, read_contestants
from iassa.benchmark.evaluation import Protocol
from iassa.benchmark.run import Outcome, Tally, run
from iassa.benchmark.store.records import Entry, Failure, Item, ItemKey, Snapshot
from iassa.benchmark.store.salvage import salvage
from iassa.benchmark.store.store import Store

__all__ = [
    "Contestant",
    "Entry",
    "Failure",
    "Item",
    "ItemKey",
    "Outcome",
    "Protocol",
    "Snapshot",
    "Store",
    "Tally",
    "parse_contestant",
    "read_contestants",
    "run",
    "salvage",
]
