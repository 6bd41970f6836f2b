"""iassa as the `explain_func` of a metric of Quantus.

    import quantus
    from iassa.plugins.quantus import explain_func
    metric = quantus.PixelFlipping(disable_warnings=True)
    metric(model, images, labels, explain_func=explain_func, explain_func_kwargs={"calls": 200})

Metrics of Quantus pass copies of the model with other weights, and other images. What is explained
is always what is passed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from iassa.errors import require
from iassa.methods.engine.base import Explainer
from iassa.plugins.model_space import explain_tensor


def explain_func(
    model: nn.Module,
    inputs: ArrayLike,
    targets: ArrayLike,
    *,
    method: str | Explainer = "iassa",
    calls: int = 1000,
    baseline: float = 0.0,
    seed: int = 0,
    batch_size: int | None = None,
    device: str | torch.device | None = None,
) -> NDArray[np.float32]:
    """A map for each example.

    Args:
        model: a torch module in evaluation mode, (N, C, H, W) -> (N, K).
        inputs: (B, C, H, W) with 1 or 3 channels, as the model takes them: normalised.
        targets: (B,) indices of outputs.
        method: a name, or an instance with hyperparameters; `baseline` takes the place of its own.
        calls: the most model calls for each example.
        baseline: what hidden pixels show, in the numbers of the inputs.
        seed: of all randomness.
        batch_size: the most images at a time.
        device: where the model is; None for where its first weight is.

    Returns:
        (B, 1, H, W) in units of the score.

    Raises:
        InputError: inputs or targets of another shape or range.
    """
    weight: Tensor | None = next(model.parameters(), None)
    place = device or (torch.device("cpu") if weight is None else weight.device)
    dtype = torch.float32 if weight is None else weight.dtype
    images = torch.as_tensor(np.asarray(inputs), dtype=dtype, device=place)
    labels = np.asarray(targets).astype(np.int64).reshape(-1)
    require(images.ndim == 4, f"expected inputs (B, C, H, W), got {tuple(images.shape)}.")
    require(
        len(labels) == len(images),
        f"expected a target for each of {len(images)} inputs, got {len(labels)}.",
    )
    options: dict[str, Any] = {"method": method, "calls": calls, "seed": seed, "device": place}
    maps = []
    for image, label in zip(images, labels, strict=True):

        def score(some: Tensor, label: int = int(label)) -> Tensor:
            scores: Tensor = model(some)
            number = scores.shape[-1] if scores.ndim == 2 else 0
            require(
                0 <= label < number,
                f"expected a target within the outputs {tuple(scores.shape)}, got {label}.",
            )
            return scores[:, label]

        fill = torch.full_like(image, baseline)
        name = type(model).__name__
        made = explain_tensor(score, image, fill, name=name, batch_size=batch_size, **options)
        maps.append(made.enlarge(made.saliency[:1]))
    return np.stack(maps)
