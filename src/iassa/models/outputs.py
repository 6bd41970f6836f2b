"""A look at the outputs of the whole image, before they are taken for scores.

A wrong choice makes wrong maps, and nothing in the scores shows it: a softmax of one output is
always 1, that of probabilities flattens them, and a class number is no score. The values of the
outputs show it. So the first call of a run looks at them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from iassa.errors import BlackBoxError, ConventionWarning, IassaError, InputError, require, warn
from iassa.models.conventions import Conventions

ROUNDING = 0.002  # of a sum of probabilities in half precision, or written with three digits
BYTES = (torch.uint8, torch.int8)  # of quantised scores


def count_columns(outputs: Tensor, images: int) -> int | None:
    """K of outputs (N, K), (N,) or (N, K, 1, ...); None of others, which `ask` refuses."""
    sound = outputs.shape[:1] == (images,) and outputs.shape[2:].numel() == 1
    return outputs.shape[1:].numel() if sound else None


def check_count(
    count: int | None, given: Conventions, name: str, error: type[IassaError] = InputError
) -> None:
    """Refuse a softmax of one output.

    Args:
        count: K, of the outputs; None where it is open.
        given: how they become scores.
        name: of the model, for the error.
        error: its kind.

    Raises:
        IassaError: of that kind.
    """
    require(
        not (given.softmax and count == 1),
        f"expected several outputs of {name} for softmax, got one: its softmax is 1 for every "
        "image. Use sigmoid (--sigmoid), or take the output as it is (--no-softmax).",
        error,
    )


def check_outputs(outputs: Tensor, given: Conventions, name: str) -> None:
    """Compare outputs of a whole image with what they are taken for.

    Args:
        outputs: (1, K), before the activation.
        given: how they become scores.
        name: of the model, for messages.

    Raises:
        BlackBoxError: softmax or sigmoid behind what are probabilities already: K numbers, two or
            more, in [0, 1], whose sum is 1.

    Warns:
        ConventionWarning: numbers in [0, 1] that softmax or sigmoid takes for logits; or whole
            numbers in the place of scores, as those of an ArgMax.
    """
    count = count_columns(outputs, 1)
    if not count or outputs.is_complex():
        return
    values = outputs.double()
    low, high, total = values.min().item(), values.max().item(), values.sum().item()
    whole = outputs.dtype not in BYTES and bool((values == values.round()).all())
    # A server may write 1 for 1.0.
    if whole and (high > 1 or not outputs.is_floating_point()):
        warn(
            f"the outputs of {name} are whole numbers, {low:g} to {high:g}, as class numbers are, "
            "which are no scores. If they are, take the scores before the ArgMax.",
            ConventionWarning,
        )
    elif (given.softmax or given.sigmoid) and low >= 0 and high <= 1:
        kind = "softmax" if given.softmax else "sigmoid"
        seen = f"in [0, 1], {low:.3g} to {high:.3g}"
        require(
            count == 1 or abs(total - 1) > ROUNDING,
            f"expected logits of {name} for {kind}, got probabilities: {count} numbers "
            f"{seen}, whose sum is {total:.3g}. Leave {kind} out (--no-softmax).",
            BlackBoxError,
        )
        warn(
            f"the outputs of {name} are {seen}, as probabilities are, and {kind} takes them for "
            f"logits. If they are probabilities, leave {kind} out (--no-softmax).",
            ConventionWarning,
        )
