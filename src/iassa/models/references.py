"""`package.module:attribute`: a black box, a source of features, or a factory of one.

Importing a module runs its code: name only what you trust.
"""

from __future__ import annotations

import inspect
import pkgutil
import sys
from pathlib import Path

from torch import nn

from iassa.errors import InputError, require


def import_attribute(reference: str) -> object:
    """The object that `package.module:attribute` names; a factory is called.

    A callable without required parameters, a class included, is a factory; one that takes
    images is what was wanted itself. The current folder is searched too, as `python -m` does.

    Args:
        reference: module path and attribute path, joined by a colon.

    Raises:
        InputError: the module or the attribute is not there, or raised when imported or called.
    """
    module, _, attribute = reference.partition(":")
    require(module and attribute, f"expected package.module:attribute, got {reference!r}.")
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)
    try:
        named: object = pkgutil.resolve_name(reference)
        if callable(named) and not isinstance(named, nn.Module) and _takes_nothing(named):
            named = named()
    except (Exception, SystemExit) as error:  # a user's module may do anything while it is imported
        raise InputError(
            f"cannot open {reference}: {type(error).__name__}: {error}. Check the module path and "
            "the attribute, and that the module can be imported from here."
        ) from error
    return named


def _takes_nothing(function: object) -> bool:
    try:
        parameters = inspect.signature(function).parameters.values()  # type: ignore[arg-type]
    except (TypeError, ValueError):  # some builtins have no signature
        return False
    optional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return all(p.default is not p.empty or p.kind in optional for p in parameters)
