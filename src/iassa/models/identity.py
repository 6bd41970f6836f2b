"""Digests of code and weights tell one function or network from another without running it.

They are the same in every process. They do not cover values that a function reads from closures,
globals, attributes or files, weights between those of the sample, and what a network's `forward`
does beyond its parts. Another version of Python compiles to other code.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from itertools import chain
from types import CodeType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

ELEMENTS = 1024  # of a tensor: a whole network would take as long to read as a second to run
DIGITS = 16  # of a SHA-256 in hexadecimal: it is to tell mistakes, not forgers


def digest_code(function: object) -> str:
    """Digest of what a Python function does; empty for what has no code of its own.

    It is that of its instructions, constants and names, and of the numbers and texts among the
    defaults of its parameters.

    Args:
        function: a function or method; other callables, as a `partial`, have no code.
    """
    code = getattr(function, "__code__", None)
    if not isinstance(code, CodeType):
        return ""
    named: dict[str, object] = getattr(function, "__kwdefaults__", None) or {}
    defaults = [*(getattr(function, "__defaults__", None) or ()), *named.values()]
    plain = [value for value in defaults if isinstance(value, int | float | str)]
    return _digest([f"{_describe(code)} {plain!r}".encode()])


def _describe(constant: object) -> str:
    """A constant of some code, without addresses, and in one order where it has none."""
    if isinstance(constant, CodeType):
        inner = [_describe(one) for one in constant.co_consts]
        return repr((constant.co_code, constant.co_names, constant.co_freevars, inner))
    if isinstance(constant, frozenset):
        return f"frozenset {sorted(map(_describe, constant))}"
    if isinstance(constant, tuple):
        return repr([_describe(one) for one in constant])
    return repr(constant)


def digest_module(module: nn.Module) -> str:
    """Digest of a network: the classes of its parts, and names, shapes and values of its tensors.

    It samples up to `ELEMENTS` values of each parameter and buffer, evenly spaced. It does not
    depend on the device.
    """
    return _digest(_contents(module))


def _contents(module: nn.Module) -> Iterable[bytes]:
    for name, part in module.named_modules():
        yield f"{name} {type(part).__qualname__}\n".encode()
    for name, tensor in chain(module.named_parameters(), module.named_buffers()):
        yield f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode()
        values = tensor.detach().flatten()
        count = min(len(values), ELEMENTS)
        places = torch.arange(count, device=values.device) * len(values) // max(count, 1)
        yield values[places].cpu().view(torch.uint8).numpy().tobytes()


def digest_arrays(arrays: Iterable[NDArray[Any]]) -> str:
    """Digest of arrays in their order: their types, shapes and all values."""
    return _digest(
        part
        for array in arrays
        for part in (f"{array.dtype} {array.shape}\n".encode(), np.ascontiguousarray(array).data)
    )


def _digest(contents: Iterable[bytes | memoryview]) -> str:
    digest = hashlib.sha256()
    for content in contents:
        digest.update(content)
    return digest.hexdigest()[:DIGITS]
