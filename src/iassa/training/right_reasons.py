"""The penalty on input gradients in the wrong place.

Ross, Hughes, Doshi-Velez: Right for the Right Reasons: Training Differentiable Models by
Constraining their Explanations, IJCAI 2017. A person says which pixels d of image n are not to
count, A_nd = 1. The loss gains a term that is high where the prediction changes with them:

    sum over n and d of (A_nd * derivative by x_nd of the sum over k of log p_nk) ** 2

with p_nk, the probability of class k.
"""

from __future__ import annotations

import torch
from torch import Tensor

from iassa.errors import require
from iassa.training.got import describe


def right_reasons(scores: Tensor, images: Tensor, forbidden: Tensor) -> Tensor:
    """How much a prediction changes with pixels that are not to count: a term for a loss.

    It is the sum of Ross et al. over pixels, and the mean over images, as of `cross_entropy`. They
    choose its weight so that both terms of the loss are of like size.

    Args:
        scores: (N, K) logits, K of 2 or more, as the network made them of `images`. Those of an
            image depend on that image alone, as in eval mode or without batch norm.
        images: (N, C, H, W) as the network took them, with `images.requires_grad_()` called before.
        forbidden: (N, H, W) bool, True for pixels that are not to count; for an image that nobody
            looked at, none. It is on the device of the images.

    Returns:
        () that gradients flow through, 0 or more.

    Raises:
        InputError: another shape or dtype, images that no gradient is asked of, or scores that do
            not depend on them.

    Example:
        >>> images = torch.rand(8, 3, 24, 32).requires_grad_()
        >>> network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 24 * 32, 4))
        >>> forbidden = torch.zeros(8, 24, 32, dtype=torch.bool)
        >>> forbidden[:, :6, :6] = True
        >>> scores = network(images)
        >>> right_answers = torch.nn.functional.cross_entropy(scores, torch.arange(8) % 4)
        >>> (right_answers + 10 * right_reasons(scores, images, forbidden)).backward()
    """
    require(
        isinstance(images, Tensor) and images.ndim == 4,
        f"expected images as a tensor (N, C, H, W), got {describe(images)}. Give it four axes.",
    )
    N, _, height, width = images.shape
    require(
        isinstance(scores, Tensor)
        and scores.ndim == 2
        and len(scores) == N
        and scores.shape[1] > 1,
        f"expected scores ({N}, K) with K of 2 or more, got {describe(scores)}. Of one output z "
        "make two: torch.cat([torch.zeros_like(z), z], 1).",
    )
    require(
        isinstance(forbidden, Tensor)
        and forbidden.dtype == torch.bool
        and forbidden.shape == (N, height, width),
        f"expected forbidden pixels ({N}, {height}, {width}) in torch.bool, got "
        f"{describe(forbidden)} in {getattr(forbidden, 'dtype', 'no dtype')}. Give a tensor with "
        "one mask for each image.",
    )
    require(
        images.requires_grad,
        "expected images with requires_grad, got images without. Call images.requires_grad_() "
        "before network(images).",
    )
    independent = (
        "expected scores that depend on the images, got scores that do not. Make them of the same "
        "tensor, as in network(images), outside of torch.no_grad()."
    )
    require(scores.requires_grad, independent)
    (gradient,) = torch.autograd.grad(
        scores.log_softmax(1).sum(), images, create_graph=True, allow_unused=True
    )
    require(gradient is not None, independent)
    return gradient.square().sum(1).mul(forbidden).sum() / N
