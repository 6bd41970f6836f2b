"""Answers of a user's function: numbers, or an error that says what came in their place."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from iassa.errors import BlackBoxError

MOST_PARTS = 4  # of an answer, that an error lists


def parts_of(answer: object) -> dict[Any, Any]:
    """What is in a mapping or sequence, by key or place; nothing is in others."""
    if isinstance(answer, tuple | list):
        return dict(enumerate(answer))
    return dict(answer) if isinstance(answer, Mapping) else {}


def describe(answer: object) -> str:
    """Its type, and what is in it: 'tuple of 0: Tensor (4, 10), 1: NoneType'."""
    kind = type(answer).__name__
    if isinstance(answer, Tensor):
        return f"{kind} {tuple(answer.shape)}"
    if isinstance(answer, np.ndarray):
        return f"{kind} {answer.shape} of {answer.dtype}"
    if not isinstance(answer, Mapping | tuple | list):
        return kind
    parts = parts_of(answer)
    shown = [f"{key!r}: {describe(value)}" for key, value in [*parts.items()][:MOST_PARTS]]
    more = f" and {len(parts) - MOST_PARTS} more" if len(parts) > MOST_PARTS else ""
    return f"{kind} of {', '.join(shown)}{more}" if parts else f"empty {kind}"


def to_numbers(answer: object, expected: str, source: str) -> Tensor:
    """Numbers of any shape, on the CPU.

    Args:
        answer: what a function of the user's returned.
        expected: for the error, 'scores (N, K)'.
        source: for the error, what returned it.

    Raises:
        BlackBoxError: it is something else; the message says what, and what to do.
    """
    if isinstance(answer, Tensor) and answer.layout == torch.strided:
        return answer.detach().cpu()
    if _advise(answer) is None:
        try:
            array = np.array(answer if not isinstance(answer, list | tuple) else _plain(answer))
        except (TypeError, ValueError, RuntimeError):  # rows of several lengths, among others
            array = np.array(None)
        if array.dtype.kind in "biufc":
            wide = array.dtype.kind == "f" and array.dtype.itemsize > 8  # torch has none
            native = array.dtype.newbyteorder("=")
            return torch.from_numpy(array.astype(np.float64 if wide else native, copy=False))
    raise BlackBoxError(
        f"expected {expected} of numbers, got {describe(answer)} from {source}. "
        + (_advise(answer) or "Return an array or a tensor.")
    )


def drop_trailing(scores: Tensor, count: int) -> Tensor:
    """Scores (N,) or (N, K, 1, 1) as (N, K); others as they are."""
    if len(scores.shape) < 2 or len(scores) != count:
        return scores[:, None] if scores.shape == (count,) else scores
    return scores.flatten(1) if scores.shape[2:].numel() == 1 else scores


def _plain(parts: list[Any] | tuple[Any, ...]) -> list[Any]:
    """Tensors among them as arrays: NumPy refuses those that need a gradient."""
    return [one.detach().cpu().numpy() if isinstance(one, Tensor) else one for one in parts]


def _advise(answer: object) -> str | None:
    """What to do about an answer that is no numbers; None for what NumPy may read."""
    if answer is None:
        return "Return the scores: the function may lack a return."
    if inspect.isawaitable(answer):
        if inspect.iscoroutine(answer):
            answer.close()  # else Python warns that nobody awaited it
        return "The function is async: call it with asyncio.run inside of another function."
    if inspect.isgenerator(answer):
        return "The function yields: collect what it yields, and return an array."
    if hasattr(answer, "toarray") or isinstance(answer, Tensor):
        return "It is sparse: return its .to_dense() or .toarray()."
    if isinstance(answer, nn.Module) or callable(answer):
        return "Give what is returned in place of the function: a factory has no parameters."
    if isinstance(answer, str | bytes):
        return "Return the score of every class, not the name of one."
    return _advise_parts(answer)


def _advise_parts(answer: object) -> str | None:
    parts = parts_of(answer)
    flat = [*parts.values(), *(deep for one in parts.values() for deep in parts_of(one).values())]
    if not isinstance(answer, Mapping) and any(isinstance(one, Mapping) for one in flat):
        return (
            "It looks like the list of a Hugging Face pipeline, the best labels first: return the "
            "score of every class, in one order, or open the model as hf:NAME."
        )
    if any(isinstance(one, str) for one in flat):
        return "Return the score of every class, not the name of one."
    for key, value in parts.items():
        odd = isinstance(answer, Mapping) or any(one is None for one in parts.values())
        several = isinstance(answer, tuple) and np.ndim(value) == 2  # scores, and something else
        if value is not None and (odd or several):
            return f"Return the scores alone, outputs[{key!r}]; of a torch module say pick=..."
    if isinstance(getattr(answer, "logits", None), Tensor):
        return "Return its logits."
    return None
