"""Sources of features: layers of a network of our own, colour and place, the default."""

from __future__ import annotations

import math
from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from iassa.errors import InputError
from iassa.models.features import (
    FEATURES,
    ColourPosition,
    FeatureExtractor,
    TorchLayers,
    open_features,
)
from rounding import steps

CPU = torch.device("cpu")


def tiny_network() -> nn.Sequential:
    """Strides 2 and 4, with batch norm and dropout, which tell training from evaluation."""
    torch.manual_seed(0)
    return nn.Sequential(
        OrderedDict(
            first=nn.Conv2d(3, 4, 3, stride=2, padding=1),
            norm=nn.BatchNorm2d(4),
            drop=nn.Dropout(0.5),
            second=nn.Conv2d(4, 6, 3, stride=2, padding=1),
            pool=nn.AdaptiveAvgPool2d(1),
            flat=nn.Flatten(),
            head=nn.Linear(6, 2),
        )
    )


def random_image(height: int = 12, width: int = 20, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).random((3, height, width))).float()


def test_layers_give_their_outputs_in_the_order_named() -> None:
    network = tiny_network()
    image = random_image()
    with torch.no_grad():
        network.eval()
        first = network.first(image[None])
        second = network.second(network.norm(first))
    fine, coarse = TorchLayers(network, ("first", "second"))(image)
    assert fine.shape == (4, 6, 10)
    assert coarse.shape == (6, 3, 5)
    np.testing.assert_allclose(fine, first[0], atol=steps(16, first))
    np.testing.assert_allclose(coarse, second[0], atol=steps(16, second))
    reverse = TorchLayers(network, ("second", "first"))(image)
    assert [len(level) for level in reverse] == [6, 4]


def test_the_module_is_left_as_it_was() -> None:
    network = tiny_network().train()
    network.norm.eval()  # frozen by its owner, in a network that trains
    modes = {name: module.training for name, module in network.named_modules()}
    state = {name: value.clone() for name, value in network.state_dict().items()}
    extractor = TorchLayers(network, ("first", "second"))
    one, other = extractor(random_image()), extractor(random_image())
    for a, b in zip(one, other, strict=True):
        assert torch.equal(a, b)  # no dropout
    assert {name: module.training for name, module in network.named_modules()} == modes
    for name, value in network.state_dict().items():
        assert torch.equal(value, state[name])  # running means and counts included
    assert not any(module._forward_hooks for module in network.modules())


class Broken(nn.Module):
    """Raises after its first layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 1)

    def forward(self, planes: Tensor) -> Tensor:
        self.first(planes)
        raise RuntimeError("no second layer")


def test_a_module_that_raises_is_left_as_it_was_too() -> None:
    network = Broken().train()
    with pytest.raises(RuntimeError, match="no second layer"):
        TorchLayers(network, ("first",))(random_image())
    assert network.training
    assert network.first.training
    assert not network.first._forward_hooks


@pytest.mark.parametrize("layers", [(), ("third",), ("first", "thrid", "frist")])
def test_unknown_layers_are_refused_by_name(layers: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match="names of layers of Sequential") as caught:
        TorchLayers(tiny_network(), layers)
    for name in set(layers) - {"first"}:
        assert repr(name) in str(caught.value)


@pytest.mark.parametrize("layer", ["flat", "head"])
def test_layers_without_a_place_are_refused(layer: str) -> None:
    with pytest.raises(InputError, match=rf"layer '{layer}' to give feature maps"):
        TorchLayers(tiny_network(), ("first", layer))(random_image())


def test_a_layer_that_does_not_run_is_refused() -> None:
    network = tiny_network()
    network.first.spare = nn.Conv2d(1, 1, 1)
    with pytest.raises(InputError, match=r"'first.spare' .* got nothing"):
        TorchLayers(network, ("first.spare",))(random_image())


def test_the_image_is_resized_and_normalised_first() -> None:
    network = nn.Sequential(OrderedDict(same=nn.Identity()))
    extractor = TorchLayers(network, ("same",), (6, 4), lambda planes: 2 * planes - 1)
    (level,) = extractor(torch.full((3, 12, 20), 0.75))
    assert level.shape == (3, 6, 4)
    np.testing.assert_allclose(level, 0.5, atol=steps(8, 1.0))


def test_features_outlive_the_pass_and_can_be_computed_with() -> None:
    """Tensors of inference mode that leak would refuse the work of others."""
    (level,) = TorchLayers(tiny_network(), ("first",))(random_image())
    assert not level.is_inference()
    assert not level.requires_grad
    weights = torch.ones(1, requires_grad=True)
    (level.sum() * weights).sum().backward()
    assert weights.grad is not None


# --- colour and place -------------------------------------------------------------------------


def test_colour_is_about_mid_grey() -> None:
    image = torch.zeros(3, 4, 6)
    image[0] = 1.0
    image[1] = 0.5
    (level,) = ColourPosition(input_size=(4, 6))(image)
    assert level.shape == (7, 4, 6)
    for channel, value in enumerate((1.0, 0.0, -1.0)):
        assert (level[channel] == value).all()


@pytest.mark.parametrize("position", [0.0, 0.5, 2.0])
def test_the_product_of_two_places_falls_with_their_distance(position: float) -> None:
    """cos a cos b + sin a sin b = cos(a - b), with a quarter turn over each side."""
    height, width = 5, 9
    level = ColourPosition(position, (height, width))(torch.full((3, 10, 30), 0.5))[0]
    place = level[3:].double().numpy()
    for row, column in ((0, 0), (2, 5), (4, 8)):
        products = np.einsum("chw,c->hw", place, place[:, row, column])
        for r in range(height):
            for c in range(width):
                down = math.cos((r - row) / height * math.pi / 2)
                right = math.cos((c - column) / width * math.pi / 2)
                assert products[r, c] == pytest.approx(
                    position**2 * (down + right), abs=steps(4, 2 * position**2)
                )


# --- by name ----------------------------------------------------------------------------------


def test_sources_by_name() -> None:
    assert open_features("none", CPU) is None
    assert open_features("colour-position", CPU) == ColourPosition()
    own = ColourPosition(position=2.0)
    assert open_features(own, CPU) is own
    for name in FEATURES:
        assert isinstance(open_features(name, CPU), FeatureExtractor)


@pytest.mark.parametrize("name", ["resnet50", "", "None"])
def test_an_unknown_source_is_refused_with_those_known(name: str) -> None:
    with pytest.raises(
        InputError, match=r"colour-position, none, FILE.onnx:.* or an extractor, got"
    ):
        open_features(name, CPU)


def test_the_default_network_has_levels_at_strides_4_8_16_32() -> None:
    extractor = open_features("efficientnet-lite0", CPU)
    assert extractor is not None
    levels = extractor(random_image(30, 50))
    assert [tuple(level.shape[1:]) for level in levels] == [(56, 56), (28, 28), (14, 14), (7, 7)]
    assert [224 // level.shape[1] for level in levels] == [4, 8, 16, 32]
    assert all(torch.isfinite(level).all() and level.std() > 0 for level in levels)


def test_the_default_network_sees_where_an_image_changes() -> None:
    """Features of the left half do not hear of the right edge, at the finest level."""
    extractor = open_features("efficientnet-lite0", CPU)
    assert extractor is not None
    image = random_image(224, 224)
    other = image.clone()
    other[:, :, 200:] = 0
    one, two = extractor(image)[0], extractor(other)[0]
    assert torch.equal(one[:, :, :30], two[:, :, :30])
    assert not torch.allclose(one[:, :, 50:], two[:, :, 50:])
