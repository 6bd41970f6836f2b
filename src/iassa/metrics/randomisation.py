"""Model randomisation: does the map change when the learnt weights are destroyed?

Adebayo, Gilmer, Muelly, Goodfellow, Hardt, Kim: Sanity Checks for Saliency Maps, NeurIPS 2018.
Layers of the model are randomised, the image is explained again, and the new map compared with that
of the trained model:

- cascading: from the output down, each stage with one more layer, to a network without knowledge;
- independent: each layer alone, the others as trained.

The similarity of a map that depends on the model falls to about 0. A map that stays similar, as
that of an edge detector does, shows the image alone. Smooth maps have few independent places, so
one pair may be at 0.3 or -0.3 by chance: take the mean over images and seeds. The sign of the rank
correlation may be chance, too; the correlation of the absolute values does not depend on it.

A layer is randomised by shuffling the values in each of its tensors. This keeps their distribution,
the scale of the activations at any depth, and properties of single values: a variance stays
positive. All vectors of a layer are shuffled alike, so that the weight and bias of a batch norm
stay with its running mean and variance. New initial weights would be further from the trained
network, but in eval mode, with no batch to normalise by, they leave nothing to explain: after
`reset_parameters` the logits of EfficientNet-Lite0 move by 1e-9 over masks of an image, less than
their rounding; after the shuffle by 0.2, before it by 0.6. A tensor of equal values, as in a new
batch norm, stays as it is.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from iassa.errors import InputError, list_choices, require
from iassa.metrics.overlap import as_map
from iassa.metrics.similarity import rank_correlation, structural_similarity

Randomisation: TypeAlias = Literal["cascading", "independent"]

STATISTICS = ("running_mean", "running_var")  # learnt, but not parameters


@dataclass(frozen=True)
class Stage:
    """How similar the map of a randomised model is to that of the trained one. Lower is better.

    Attributes:
        layer: the layer that this stage randomises; 'cascading' adds those of the stages before.
        rank_correlation: Spearman's, of the maps as they are, in [-1, 1].
        absolute_rank_correlation: of their absolute values, in [-1, 1].
        structural_similarity: of the maps as pictures, in [-1, 1].
    """

    layer: str
    rank_correlation: float
    absolute_rank_correlation: float
    structural_similarity: float


def model_randomisation(
    explain: Callable[[nn.Module], ArrayLike],
    module: nn.Module,
    *,
    seed: int = 0,
    order: Randomisation = "cascading",
    layers: Sequence[str] | None = None,
) -> tuple[Stage, ...]:
    """Explain a model once as it is and once for each stage of its randomisation.

    Args:
        explain: (module) -> map (H, W), with the same image, target and seed each time, as a new
            seed would lower the similarity as well. It gets copies of the module.
        module: the trained network; it is not changed.
        seed: of the randomisation, not negative.
        order: 'cascading' or 'independent'.
        layers: names of submodules from the output down, each with all inside it. None for all that
            have parameters, in the reverse order of definition. A stage costs an explanation, so
            name the blocks of a deep network.

    Returns:
        One stage for each layer, in their order.

    Raises:
        InputError: the module has no such layer or cannot be copied, the seed or the order is
            invalid, or the maps cannot be compared.

    Example:
        >>> network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4, 2))
        >>> image = np.random.default_rng(0).random((12, 16))
        >>> stages = model_randomisation(lambda module: np.diff(image), network)
        >>> [(stage.layer, round(stage.rank_correlation, 6)) for stage in stages]
        [('2', 1.0), ('0', 1.0)]
    """
    names = [name for name, _ in _layers(module)][::-1] if layers is None else list(layers)
    _choose(module, names)
    return compare_stages(lambda chosen: explain(randomised(module, seed, chosen)), names, order)


def compare_stages(
    explain: Callable[[Sequence[str]], ArrayLike], names: Sequence[str], order: Randomisation
) -> tuple[Stage, ...]:
    """Compare the map of the trained network with that of each stage.

    Args:
        explain: names of the layers that are randomised -> map (H, W).
        names: of the layers, from the output down.
        order: 'cascading' or 'independent'.

    Raises:
        InputError: the order is another, or the maps cannot be compared.
    """
    if order not in get_args(Randomisation):
        known = ", ".join(map(repr, get_args(Randomisation)))
        raise InputError(f"expected an order among {known}, got {order!r}.")
    trained = as_map(explain(()))
    stages = []
    for last, name in enumerate(names):
        saliency = as_map(explain(names[: last + 1] if order == "cascading" else [name]))
        stages.append(
            Stage(
                layer=name,
                rank_correlation=rank_correlation(trained, saliency),
                absolute_rank_correlation=rank_correlation(abs(trained), abs(saliency)),
                structural_similarity=structural_similarity(trained, saliency),
            )
        )
    return tuple(stages)


def randomised(module: nn.Module, seed: int, layers: Sequence[str] | None = None) -> nn.Module:
    """A copy of a network with the values in the tensors of some layers shuffled.

    The result for a layer depends on the seed and on its place in the network, but not on the other
    layers that are randomised, nor on torch's global generator.

    Args:
        module: the network; it is not changed.
        seed: not negative.
        layers: names of submodules as `named_modules` gives them, each with all inside it ('' is
            the whole network); None for all.

    Returns:
        The copy, on the same device and in the same mode.

    Raises:
        InputError: the module has no such layer or no parameters or cannot be copied, or the seed
            is negative.
    """
    check_seed(seed)
    chosen = _choose(module, [""] if layers is None else layers)
    try:
        copied = copy.deepcopy(module)
    except Exception as error:  # modules of others may hold anything
        raise InputError(
            f"cannot copy the module: {type(error).__name__}: {error}. Pass a newly loaded one."
        ) from error
    with torch.no_grad():
        for place, (name, layer) in enumerate(_layers(copied)):
            if name in chosen:
                tensors = [*_tensors(layer)]
                orders = draw_orders([tensor.shape for tensor in tensors], seed, place)
                for tensor, order in zip(tensors, orders, strict=True):
                    values = tensor.flatten()[order.to(tensor.device)]
                    tensor.copy_(values.reshape(tensor.shape))
    return copied


def check_seed(seed: int) -> None:
    """Refuse a negative seed.

    Raises:
        InputError: it is negative.
    """
    require(seed >= 0, f"expected a seed of 0 or more, got {seed}. Use 0.")


def draw_orders(shapes: Iterable[Sequence[int]], seed: int, place: int) -> list[Tensor]:
    """New orders of the values in the tensors of a layer; vectors of one length have the same.

    Args:
        shapes: of the tensors.
        seed: not negative.
        place: of the layer among all of the network.

    Returns:
        For each tensor its places, shuffled.
    """
    sequence = np.random.SeedSequence((seed, place))
    generator = torch.Generator().manual_seed(int(sequence.generate_state(1, np.uint64)[0]))
    of_channels: dict[int, Tensor] = {}
    orders = []
    for shape in shapes:
        order = torch.randperm(math.prod(shape), generator=generator)
        orders.append(of_channels.setdefault(shape[0], order) if len(shape) == 1 else order)
    return orders


def _choose(module: nn.Module, names: Sequence[str]) -> set[str]:
    """The layers that have one of the names, or are inside of one that has."""
    known = [name for name, _ in _layers(module)]
    if not known:
        raise InputError("expected a module with parameters, got one without. Pass the network.")
    chosen = set()
    for name in names:
        inside = {each for each in known if not name or f"{each}.".startswith(f"{name}.")}
        if not inside:
            raise InputError(
                f"expected the name of a submodule with parameters, got {name!r}. "
                f"There are {list_choices(map(repr, known))}."
            )
        chosen |= inside
    return chosen


def _layers(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Submodules with tensors of their own, in order of definition."""
    for name, layer in module.named_modules():
        if any(True for _ in _tensors(layer)):
            yield name, layer


def _tensors(layer: nn.Module) -> Iterator[Tensor]:
    yield from layer.parameters(recurse=False)
    for name, tensor in layer.named_buffers(recurse=False):
        if name in STATISTICS:
            yield tensor
