"""Methods of the `shap` package: it chooses the coalitions of the game and reads their scores."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType

import numpy as np

from iassa.errors import InputError
from iassa.methods.engine.budget import Budget
from iassa.methods.engine.game import CoalitionGame, GameExplainer


@dataclass(frozen=True, kw_only=True)
class ShapExplainer(GameExplainer):
    """A method of the `shap` package; see `GameExplainer`.

    The package draws from NumPy's global generator, whose state is put back. Runs in several
    threads of one process disturb each other's.
    """

    def __post_init__(self) -> None:
        """Refuse hyperparameters that make no sense, and to be made without the package."""
        super().__post_init__()
        if importlib.util.find_spec("shap") is None:
            raise InputError(f"{self.name} needs the shap package: pip install shap.")

    def check_budget(self, budget: Budget) -> None:
        """Refuse a budget that there is no map for; see `GameExplainer.check_budget`."""
        super().check_budget(budget)
        _open_shap()  # before the clock starts


@contextmanager
def played(game: CoalitionGame) -> Iterator[ModuleType]:
    """The package, with random numbers that begin at the seed, and none of the user's.

    The package draws from NumPy's global generator. Inside it has a state of its own, and the
    black box, when it is asked, the one that it would have without us.
    """
    shap = _open_shap()
    randomness = _Randomness(game.seed)
    game.around = randomness.swapped
    with randomness.swapped():
        yield shap


class _Randomness:
    """A state of NumPy's global generator, to be swapped with the one that it is in."""

    def __init__(self, seed: int) -> None:
        bits = np.random.MT19937(np.random.SeedSequence(seed))
        self._other = np.random.RandomState(bits).get_state()

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """The other state inside, this one after it. Inside of itself it is back at this one."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        current = np.random.get_state()  # noqa: NPY002 - it is what shap reads
        np.random.set_state(self._other)  # noqa: NPY002
        self._other = current


def _open_shap() -> ModuleType:
    with warnings.catch_warnings():
        # It calls what matplotlib is about to drop, as it is imported.
        for category in (DeprecationWarning, PendingDeprecationWarning, FutureWarning):
            warnings.simplefilter("ignore", category)
        import shap  # here: two seconds, and no other method needs it
    package: ModuleType = shap
    return package
