"""A run that failed, and the map of the masks that were scored by then."""

from __future__ import annotations

from typing import Self

from iassa.errors import BlackBoxError
from iassa.explanations.explanation import Explanation


class RunFailedError(BlackBoxError):
    """The black box failed in a run that had a map by then.

    Attributes:
        explanation: the map of the masks that were scored before the failure, marked incomplete.
    """

    def __init__(self, message: str, explanation: Explanation) -> None:
        super().__init__(message, explanation)
        self.explanation = explanation

    @classmethod
    def after(cls, failure: BlackBoxError, explanation: Explanation) -> Self:
        """The same failure with the map; raise it from what caused the failure."""
        error = cls(str(failure), explanation)
        error.images = failure.images
        return error

    def __str__(self) -> str:
        return str(self.args[0])
