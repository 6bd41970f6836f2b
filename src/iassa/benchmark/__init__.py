"""Is this map better? Methods on a dataset, at equal numbers of model calls.

In: a dataset, a model, methods and numbers of calls; `run` shares the work out to workers.
Out: a store of maps and metrics, one for each image, method and seed, and a report that reads it.
"""

from iassa.benchmark.composing import compose_mosaics
from iassa.benchmark.contestant import Contestant, parse_contestant, read_contestants
from iassa.benchmark.outcome import Outcome, Tally
from iassa.benchmark.protocol import Protocol
from iassa.benchmark.run import run
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
    "compose_mosaics",
    "parse_contestant",
    "read_contestants",
    "run",
    "salvage",
]
