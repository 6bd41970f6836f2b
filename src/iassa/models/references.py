"""`package.module:attribute`: a black box, a source of features, or a factory of one.

Importing a module runs its code: name only what you trust.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from pathlib import Path

from torch import nn

from iassa.errors import InputError

__all__ = ["import_attribute"]


def import_attribute(reference: str) -> object:
    """The object that `package.module:attribute` names; a factory is called.

    A callable without required parameters, a class included, is a factory; one that takes
    images is what was wanted itself. The current folder is searched too, as `python -m` does.

    Args:
        reference: module path and attribute path, joined by a colon.

    Raises:
        InputError: the module or the attribute is not there, or raised when imported or called.
    """
    module_name, _, attribute = reference.partition(":")
    if not module_name or not attribute:
        raise InputError(f"expected package.module:attribute, got {reference!r}.")
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)
    try:
        found: object = importlib.import_module(module_name)
        for part in attribute.split("."):
            found = getattr(found, part)
        if callable(found) and not isinstance(found, nn.Module) and _takes_nothing(found):
            found = found()
    except (Exception, SystemExit) as error:  # a user's module may do anything while it is imported
        raise InputError(
            f"cannot open {reference}: {type(error).__name__}: {error}. Check the module path and "
            "the attribute, and that the module can be imported from here."
        ) from error
    return found


def _takes_nothing(function: object) -> bool:
    try:
        parameters = inspect.signature(function).parameters.values()  # type: ignore[arg-type]
    except (TypeError, ValueError):  # some builtins have no signature
        return False
    optional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return all(p.default is not p.empty or p.kind in optional for p in parameters)
