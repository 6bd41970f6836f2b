"""`package.module:attribute`: a black box, a source of features, or a factory of one.

Importing a module runs its code: name only what you trust.
"""

from __future__ import annotations

import inspect
import pkgutil
import sys
from pathlib import Path

from torch import nn

from iassa.errors import InputError, describe_error, require


def import_attribute(reference: str) -> object:
    """The object that `package.module:attribute` names; a factory is called.

    A callable without parameters is a factory, and so is a class that can be called without any;
    one that can be given images is what was wanted itself. The current folder is searched too, as
    `python -m` does.

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
            f"cannot open {reference}: {describe_error(error)}. Check the module path and the "
            "attribute, and that the module can be imported from here."
        ) from error
    return named


def _takes_nothing(function: object) -> bool:
    try:
        parameters = inspect.signature(function).parameters.values()  # type: ignore[arg-type]
    except (TypeError, ValueError):  # some builtins have no signature
        return False
    open_ended = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    required = [p for p in parameters if p.default is p.empty and p.kind not in open_ended]
    given = [p for p in parameters if p.default is not p.empty and p.kind is not p.KEYWORD_ONLY]
    # A function's parameter with a default may be the images; a class takes those when it is made.
    return not required and (not given or inspect.isclass(function))
