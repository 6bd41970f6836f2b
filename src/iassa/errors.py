"""What iassa raises: one family of errors, each a sentence with expected, got and what to do."""

from __future__ import annotations


class IassaError(Exception):
    """Every error that iassa raises on purpose."""


class InputError(IassaError, ValueError):
    """A value that came in from the user cannot be used: a file, an image, a target, an option."""


class BlackBoxError(IassaError, RuntimeError):
    """The black box raised, or returned scores that cannot be used.

    Attributes:
        images: how many images the call that failed was about.
    """

    images: int = 0


class CancelledError(IassaError):
    """The run was cancelled before enough masks were scored to make a map."""


class WeakEvidenceWarning(UserWarning):
    """The explanation is valid but says little: flat or saturated scores, too few masks."""


class TrainingModeWarning(UserWarning):
    """A torch module was handed over in training mode; it is run in eval mode all the same."""
