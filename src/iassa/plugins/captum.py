"""iassa as an attribution of captum, beside its `Occlusion` and `FeatureAblation`.

    from iassa.plugins.captum import Iassa
    attributions = Iassa(model).attribute(inputs, target=labels, calls=500)

It needs the scores of `forward_func` alone: no gradients, no layers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from iassa.errors import InputError, require, show
from iassa.explanations.explanation import Explanation
from iassa.methods.engine.base import Explainer
from iassa.plugins.model_space import explain_tensor

try:
    from captum.attr import Attribution
except ImportError:
    raise InputError("iassa.plugins.captum needs captum: pip install captum.") from None

OneTarget: TypeAlias = int | tuple[int, ...] | None
Targets: TypeAlias = OneTarget | Tensor | Sequence[int] | Sequence[tuple[int, ...]]
Inputs: TypeAlias = Tensor | tuple[Tensor, ...]


class Iassa(Attribution):  # type: ignore[misc]  # captum's types are not strict
    """Maps of any black-box method of iassa, as captum returns them.

    Example:
        >>> import torch
        >>> from iassa.plugins.captum import Iassa
        >>> inputs = torch.zeros(2, 3, 24, 32)
        >>> inputs[:, :, 6:12, 8:16] = 2.0  # a bright patch, all that the model looks at
        >>> model = lambda images: images[:, :, 6:12, 8:16].mean(dim=(1, 2, 3))[:, None]
        >>> maps = Iassa(model, method="rise").attribute(inputs, target=0, calls=200)
        >>> tuple(maps.shape), bool(maps[0, 0, 9, 12] > maps[0, 0, 20, 28])
        ((2, 3, 24, 32), True)
    """

    def __init__(
        self, forward_func: Callable[..., Tensor], *, method: str | Explainer = "iassa"
    ) -> None:
        """Take a model.

        Args:
            forward_func: a module in evaluation mode, or a function: (N, C, H, W), and what
                `additional_forward_args` has, to (N,) or (N, K, ...).
            method: a name, or an instance with hyperparameters. `baselines` of `attribute` takes
                the place of its `baseline`.
        """
        super().__init__(forward_func)
        self.method = method

    def attribute(
        self,
        inputs: Inputs,
        baselines: float | Inputs | None = None,
        target: Targets = None,
        additional_forward_args: Any = None,
        perturbations_per_eval: int | None = None,
        show_progress: bool = False,
        *,
        calls: int = 1000,
        seed: int = 0,
    ) -> Inputs:
        """A map for each example.

        Args:
            inputs: (N, C, H, W) floating point with 1 or 3 channels, as the model takes them:
                normalised. Or a tuple of one such tensor.
            baselines: what hidden pixels show, in the same numbers: a number, or a tensor that
                `inputs` can be compared with, such as (1, C, 1, 1). None is 0, as in captum.
            target: index of the output, or a tuple of its indices; or one for each example, in a
                list or a tensor (N,). None where the model has one output.
            additional_forward_args: handed to the model. A tensor with N rows is split: each
                example gets its own row, repeated.
            perturbations_per_eval: the most images at a time; None takes 16 on a CPU, 128 on a GPU.
            show_progress: a bar on a terminal, or the map so far in a notebook.
            calls: the most model calls for each example.
            seed: of all randomness.

        Returns:
            Maps in units of the score. They have the shape, dtype and device of the inputs. All
            channels of an example have the same map. A tuple of inputs gives a tuple.

        Raises:
            InputError: an argument that cannot be used.
        """
        found = self.explain(
            inputs,
            baselines,
            target,
            additional_forward_args,
            perturbations_per_eval,
            show_progress,
            calls=calls,
            seed=seed,
        )
        tensor = _only(inputs, "inputs")
        maps = torch.stack([torch.from_numpy(one.enlarge(one.saliency[0])) for one in found])
        attributions = maps[:, None].to(tensor).expand_as(tensor).clone()
        return (attributions,) if isinstance(inputs, tuple) else attributions

    def explain(
        self,
        inputs: Inputs,
        baselines: float | Inputs | None = None,
        target: Targets = None,
        additional_forward_args: Any = None,
        perturbations_per_eval: int | None = None,
        show_progress: bool = False,
        *,
        calls: int = 1000,
        seed: int = 0,
    ) -> list[Explanation]:
        """The explanation of each example, with its standard error; arguments as of `attribute`."""
        tensor = _only(inputs, "inputs")
        require(tensor.ndim == 4, f"expected inputs (N, C, H, W), got {tuple(tensor.shape)}.")
        fills = _open_baselines(baselines, tensor)
        extra = additional_forward_args
        extra = extra if isinstance(extra, tuple) else () if extra is None else (extra,)
        found = []
        for k, (one, aim) in enumerate(zip(tensor, _aims(target, len(tensor)), strict=True)):
            own = [_row(each, k, len(tensor)) for each in extra]

            def score(images: Tensor, own: Sequence[Any] = own, aim: OneTarget = aim) -> Tensor:
                repeated = [each(len(images)) for each in own]
                return _pick(self.forward_func(images, *repeated), aim, len(images))

            made = explain_tensor(
                score,
                one,
                fills[k],
                name=getattr(self.forward_func, "__name__", type(self.forward_func).__name__),
                method=self.method,
                calls=calls,
                seed=seed,
                batch_size=perturbations_per_eval,
                device=tensor.device,
                progress=show_progress,
            )
            found.append(made)
        return found


def _only(inputs: Inputs, what: str) -> Tensor:
    """The one tensor."""
    one = inputs[0] if isinstance(inputs, tuple) and len(inputs) == 1 else inputs
    if not isinstance(one, Tensor):
        raise InputError(
            f"expected {what} to be a tensor, or a tuple of one, got {show(inputs)}. Hand the "
            "others over as additional_forward_args."
        )
    return one


def _open_baselines(baselines: float | Inputs | None, inputs: Tensor) -> Tensor:
    """(N, C, H, W)."""
    if baselines is None or isinstance(baselines, int | float):
        return torch.full_like(inputs, float(baselines or 0))
    fills = _only(baselines, "baselines").to(inputs)
    try:
        return fills.expand_as(inputs)
    except RuntimeError as error:
        raise InputError(
            f"expected baselines of the inputs' shape {tuple(inputs.shape)}, got "
            f"{tuple(fills.shape)}. A number or (1, C, 1, 1) will do."
        ) from error


def _aims(target: Targets, number: int) -> list[OneTarget]:
    """The target of each example."""
    if isinstance(target, Tensor):
        target = target.tolist()
    several = isinstance(target, list)
    aims: list[Any] = list(target) if isinstance(target, list) else [target]
    for aim in aims:
        known = aim is None or isinstance(aim, int)
        known = known or (isinstance(aim, tuple) and all(isinstance(one, int) for one in aim))
        require(
            known,
            f"expected a target to be an index, a tuple of indices, or one of these for each "
            f"example, got {show(target)}.",
        )
    aims = aims if several and len(aims) > 1 else aims * number
    require(
        len(aims) == number,
        f"expected one target, or {number}, one for each example, got {len(aims)}.",
    )
    return aims


def _row(extra: Any, k: int, number: int) -> Callable[[int], Any]:
    """What the model gets as an additional argument with so many images of example k."""
    if isinstance(extra, Tensor) and extra.ndim and len(extra) == number:
        return lambda times: extra[k : k + 1].expand(times, *extra.shape[1:])
    return lambda _: extra


def _pick(output: Tensor, aim: OneTarget, number: int) -> Tensor:
    """The scores (N,) of the target."""
    indices = () if aim is None else aim if isinstance(aim, tuple) else (int(aim),)
    try:
        picked = output
        for index in indices:
            picked = picked[:, index]
    except IndexError as error:
        raise InputError(
            f"expected a target within outputs {tuple(output.shape)}, got {show(aim)}."
        ) from error
    picked = picked.reshape(number) if picked.numel() == number else picked
    require(
        picked.shape == (number,),
        f"expected a target that picks one score of each example, got scores "
        f"{tuple(picked.shape)} for {number} with the target {show(aim)}. Name one output.",
    )
    return picked
