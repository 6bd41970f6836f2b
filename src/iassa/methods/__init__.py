"""The methods, by the names that the command line and the benchmark know, and `iassa.explain`."""

from __future__ import annotations

import ast
import dataclasses
import difflib
from collections.abc import Sequence
from typing import Any, Unpack

from iassa.black_boxes import BlackBoxLike
from iassa.errors import InputError
from iassa.explainer import Explainer, RunOptions
from iassa.explanation import Explanation
from iassa.image import ImageLike
from iassa.methods.iassa import Iassa
from iassa.methods.iassa_paper import IassaPaper
from iassa.methods.kernel_shap import KernelShap
from iassa.methods.lime import Lime
from iassa.methods.rise import Rise
from iassa.methods.shap_partition import ShapPartition
from iassa.methods.sliding_window import SlidingWindow

__all__ = [
    "METHODS",
    "Iassa",
    "IassaPaper",
    "KernelShap",
    "Lime",
    "Rise",
    "ShapPartition",
    "SlidingWindow",
    "explain",
    "open_method",
    "read_fields",
]

METHODS: dict[str, type[Explainer]] = {
    method.name: method
    for method in (Iassa, IassaPaper, Rise, SlidingWindow, Lime, KernelShap, ShapPartition)
}


def open_method(method: str | Explainer, **fields: Any) -> Explainer:
    """A method by name.

    Args:
        method: a name in `METHODS`, or a method, returned as it is.
        fields: hyperparameters that differ from the defaults.

    Raises:
        InputError: no such method, a field of it that is unknown or of the wrong kind, or a
            package that it wraps is missing.
    """
    if isinstance(method, Explainer):
        return method
    kind = _method_type(method)
    # JSON has lists where a field is a tuple: what `explanation.json` says is to open it again.
    fields = {name: tuple(v) if isinstance(v, list) else v for name, v in fields.items()}
    try:
        return kind(**fields)
    except TypeError as error:
        raise InputError(f"cannot use these fields of {method}: {error}.") from None


def read_fields(method: str, settings: Sequence[str]) -> dict[str, Any]:
    """Hyperparameters as a command line has them, each FIELD=VALUE.

    Args:
        method: a name in `METHODS`.
        settings: a value is a Python literal; what is none, is a word, as in features=none.

    Raises:
        InputError: an unknown method, another form, an unknown field, or one that is given twice.
    """
    known = [field.name for field in dataclasses.fields(_method_type(method))]
    values: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or name not in known:
            raise InputError(
                f"expected FIELD=VALUE with a field of {method}, got {setting!r}. "
                f"Its fields: {', '.join(known)}."
            )
        if name in values:
            raise InputError(f"expected one value for {name}, got another: {text!r}. Give it once.")
        try:
            values[name] = ast.literal_eval(text.strip())
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            values[name] = text.strip()
    return values


def _method_type(method: str) -> type[Explainer]:
    if method not in METHODS:
        near = difflib.get_close_matches(str(method), METHODS, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise InputError(f"unknown method {method!r}. Use {', '.join(METHODS)}.{hint}")
    return METHODS[method]


def explain(
    image: ImageLike,
    black_box: BlackBoxLike = "efficientnet-lite0",
    *,
    method: str | Explainer = "iassa",
    **options: Unpack[RunOptions],
) -> Explanation:
    """Explain what a black box looks at in an image.

    Args:
        image: a path, a Pillow image or an array (H, W, 3), uint8 or floating point in [0, 1].
        black_box: any callable, images (N, H, W, 3) float32 in [0, 1] -> scores (N, K), a torch
            module, or the name of a model.
        method: a name, or an instance with hyperparameters of your own.
        options: `target`, `calls`, `seconds`, `tolerance`, `seed`, `batch_size`, `keep`, `device`,
            `progress` and `cancel`, as in `Explainer.iterate`.

    Returns:
        The explanation.

    Raises:
        InputError: an argument that cannot be used.
        BlackBoxError: the black box failed; its `explanation` holds the map so far.
        CancelledError: cancelled before there was a map.

    Example:
        >>> import numpy as np, iassa
        >>> image = np.zeros((24, 32, 3), np.float32)
        >>> image[6:12, 8:16] = 1  # a bright patch, and a black box that looks at nothing else
        >>> brightness = lambda images: images[:, 6:12, 8:16].mean(axis=(1, 2, 3))[:, None]
        >>> explanation = iassa.explain(image, brightness, method="rise", calls=200)
        >>> row, column = np.unravel_index(explanation.saliency[0].argmax(), (24, 32))
        >>> bool(6 <= row < 12 and 8 <= column < 16), explanation.calls
        (True, 200)
    """
    return open_method(method).explain(image, black_box, **options)
