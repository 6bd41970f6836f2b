"""Torch modules as black boxes: against the bare call, and what goes wrong said plainly."""

from __future__ import annotations

import collections
import dataclasses
import warnings
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

import iassa
from iassa.errors import BlackBoxError, InputError, TrainingModeWarning
from iassa.models.torch_module import TorchModel
from rounding import steps

PLANES = torch.rand(4, 3, 5, 7, generator=torch.Generator().manual_seed(0))
IMAGES = PLANES.permute(0, 2, 3, 1).contiguous().numpy()
MEANS = IMAGES.mean((1, 2))


class Noisy(nn.Module):
    """Dropout, batch norm and a linear layer: random and not per image, unless in eval mode."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.norm = nn.BatchNorm2d(3)
        self.drop = nn.Dropout(0.5)
        self.frozen = nn.BatchNorm1d(3).eval()
        self.linear = nn.Linear(3, 4)
        self.modes = []

    def forward(self, planes):
        self.modes.append((self.training, self.norm.training, torch.is_inference_mode_enabled()))
        return self.linear(self.frozen(self.drop(self.norm(planes).mean((2, 3)))))


class Means(nn.Module):
    def forward(self, planes):
        return planes.mean((2, 3))


class Returning(nn.Module):
    """Whatever is made of its scores."""

    def __init__(self, make):
        super().__init__()
        self.make = make

    def forward(self, planes):
        return self.make(planes.mean((2, 3)))


def network(seed: int = 0) -> nn.Module:
    """A small classifier of images of any size."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.SiLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.LayerNorm(8),
        nn.Linear(8, 5),
    ).eval()


# Modes.


def test_modules_run_in_eval_mode_and_are_left_as_they_were():
    module = Noisy()
    state = {name: value.clone() for name, value in module.state_dict().items()}
    box = TorchModel(module)
    first, second = box(IMAGES), box(IMAGES)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(box(IMAGES[:1]), first[:1], rtol=1e-5)
    assert set(module.modes) == {(False, False, True)}
    assert module.training
    assert module.norm.training
    assert not module.frozen.training  # what was in eval mode stays in it
    for name, value in module.state_dict().items():
        torch.testing.assert_close(value, state[name], rtol=0, atol=0)


def test_modules_are_left_as_they_were_after_a_failure():
    module = nn.Sequential(nn.Linear(99, 3))
    with pytest.raises(BlackBoxError, match="Sequential raised RuntimeError"):
        TorchModel(module)(IMAGES)
    assert module.training
    assert module[0].training


class Fixed(nn.Module):
    """Takes one size alone, as a network that ends in a flattened layer does."""

    def __init__(self):
        super().__init__()
        self.last = nn.Linear(3 * 5 * 7, 2)

    def forward(self, planes):
        return self.last(planes.flatten(1))


def test_a_network_of_one_size_that_was_not_given():
    photo = np.random.default_rng(0).random((9, 13, 3), np.float32)
    with pytest.raises(BlackBoxError, match="mat1 and mat2 shapes") as caught:
        iassa.explain(photo, Fixed().eval(), calls=40)
    assert "shown 9 x 13 pixels, as it has no input_size" in str(caught.value)
    assert "wrap it with input_size=(height, width)" in str(caught.value)
    given = TorchModel(Fixed().eval(), input_size=(5, 7))
    assert iassa.explain(photo, given, calls=40).calls == 40


@pytest.mark.parametrize(
    ("error", "size", "images"),
    [
        (ValueError("cannot reshape array of size 8"), (5, 7), 1),  # the size was given
        (ValueError("cannot reshape array of size 8"), None, 2),  # one image went well
        (KeyError("weights"), None, 1),  # of something else
    ],
)
def test_an_error_that_is_not_about_the_size(error, size, images):
    def fail(_):
        raise error

    model = iassa.models.FunctionModel(fail, input_size=size)
    with pytest.raises(BlackBoxError, match=type(error).__name__) as caught:
        model(np.zeros((images, 9, 13, 3), np.float32))
    assert "input_size" not in str(caught.value)


def test_training_mode_is_warned_of_once():
    with pytest.warns(TrainingModeWarning, match=r"m is in training mode: .*module\.eval\(\)") as w:
        box = TorchModel(Noisy(), name="m")
    assert len(w) == 1
    assert w[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        box(IMAGES)
        TorchModel(Noisy().eval())(IMAGES)
    with pytest.warns(TrainingModeWarning):
        iassa.open_model(Noisy())


def test_training_mode_of_a_part_is_warned_of():
    module = network()
    module[6] = nn.Linear(8, 3)  # a new head, after module.eval()
    with pytest.warns(iassa.TrainingModeWarning, match="Sequential is in training mode"):
        TorchModel(module)


# Transforms.


def test_softmax_and_normalisation_are_the_black_boxes():
    box = TorchModel(Means(), normalise=lambda planes: 4 * planes - 2, softmax=True, name="m")
    powers = np.exp(4 * MEANS - 2)
    np.testing.assert_allclose(box(IMAGES), powers / powers.sum(1, keepdims=True), rtol=1e-5)
    plain = TorchModel(Means())
    np.testing.assert_allclose(plain(IMAGES), MEANS, rtol=1e-5)
    assert (box.name, plain.name) == ("m", "Means")


# What it returns.


@dataclasses.dataclass
class Output:
    logits: torch.Tensor
    hidden: Any = None


class Named(NamedTuple):
    logits: torch.Tensor
    aux: Any


@pytest.mark.parametrize("softmax", [False, True])
@pytest.mark.parametrize(
    "make",
    [
        lambda scores: Output(scores),
        lambda scores: Named(scores, None),
        lambda scores: {"loss": 0.0, "logits": scores},
        lambda scores: collections.OrderedDict(logits=scores),
    ],
)
def test_logits_of_an_output_are_the_scores(make, softmax):
    plain = TorchModel(Means(), softmax=softmax)
    box = TorchModel(Returning(make), softmax=softmax)
    np.testing.assert_array_equal(box(IMAGES), plain(IMAGES))


@pytest.mark.parametrize(
    ("make", "pick"),
    [
        (lambda scores: (None, scores), lambda outputs: outputs[1]),
        (lambda scores: {"other": 1, "scores": scores}, lambda outputs: outputs["scores"]),
        (lambda scores: {"logits": None, "other": scores}, lambda outputs: outputs["other"]),
        (lambda scores: Output(None, [scores]), lambda outputs: outputs.hidden[0]),
        (lambda scores: scores[:, :, None], lambda outputs: outputs[:, :, 0]),
    ],
)
def test_scores_are_picked_from_what_it_returns(make, pick):
    box = TorchModel(Returning(make), pick=pick)
    np.testing.assert_allclose(box(IMAGES), MEANS, rtol=1e-5)


@pytest.mark.parametrize("softmax", [False, True])
@pytest.mark.parametrize(
    ("make", "got", "advice"),
    [
        (
            lambda s: (s, s[:, :2]),
            "tuple of 0: Tensor (4, 3), 1: Tensor (4, 2)",
            "outputs: outputs[0])",
        ),
        (
            lambda s: [None, s],
            "list of 0: NoneType, 1: Tensor (4, 3)",
            "lambda outputs: outputs[1])",
        ),
        (lambda s: [[s], s[0]], "list of 0: list of 0: Tensor (4, 3), 1: Tensor (3,)", "pick=...)"),
        (lambda s: {"a": 1, "out": s}, "dict of 'a': int, 'out': Tensor (4, 3)", "outputs['out'])"),
        (lambda s: (s,) * 9, ": Tensor (4, 3) and 5 more. Say", "outputs[0])"),
        (lambda s: (), "empty tuple", "pick=...)"),
        (lambda s: None, "got NoneType", "pick=...)"),
        (lambda s: s.numpy(), "got ndarray", "pick=...)"),
        (lambda s: Output(None), "got Output", "pick=...)"),
    ],
)
def test_modules_that_return_no_tensor(make, got, advice, softmax):
    with pytest.raises(BlackBoxError) as refusal:
        TorchModel(Returning(make), softmax=softmax, name="Odd")(IMAGES)
    text = str(refusal.value)
    assert text.startswith("expected scores (N, K) of the module Odd, or an output with logits, ")
    assert got in text
    assert advice in text
    assert "\n" not in text
    assert refusal.value.images == 4


def test_what_the_advice_says_works():
    module = Returning(lambda scores: ("loss", scores))
    with pytest.raises(BlackBoxError) as refusal:
        TorchModel(module)(IMAGES)
    advice = str(refusal.value).partition("scores: ")[2].removesuffix(".")
    box = eval(advice, {"iassa": iassa, "module": module})
    np.testing.assert_allclose(box(IMAGES), MEANS, rtol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda s: {"logits": s[0]}, r"got \(3,\)"),
        (lambda s: {"logits": s[:2]}, r"got \(2, 3\)"),
        (lambda s: s[:, :, None, None].expand(4, 3, 1, 2), r"got \(4, 3, 1, 2\)"),
        (lambda s: s > 0.5, "expected real scores, got torch.bool"),
        (lambda s: s / 0, "NaN or infinity for 4 of 4"),
    ],
)
def test_tensors_that_are_no_scores(make, message):
    with pytest.raises(BlackBoxError, match=message):
        TorchModel(Returning(make))(IMAGES)


def test_whole_numbers_are_scores():
    box = TorchModel(Returning(lambda scores: (100 * scores).long()))
    np.testing.assert_array_equal(box(IMAGES), np.floor(100 * PLANES.mean((2, 3)).numpy()))


# Precision.


@pytest.mark.parametrize(
    ("dtype", "tolerance", "given"),
    [
        (torch.bfloat16, 0.03, torch.float32),
        (torch.float32, steps(8, 1.0), torch.float32),
        (torch.float64, steps(8, 1.0), torch.float64),
    ],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_a_module_is_handed_planes_of_its_own_type(dtype, tolerance, given, seed):
    plain = TorchModel(network(seed), normalise=lambda planes: 2 * planes - 1)
    module = network(seed).to(dtype)
    box = TorchModel(module, normalise=lambda planes: 2 * planes - 1)
    np.testing.assert_allclose(box(IMAGES), plain(IMAGES), atol=tolerance)
    assert box.score(PLANES).dtype == given
    # To the bit that of the bare call on planes that were cast by hand.
    with torch.inference_mode():
        bare = module((2 * PLANES - 1).to(dtype))
    assert torch.equal(box.score(PLANES), bare.to(given))
    soft = TorchModel(module, normalise=lambda planes: 2 * planes - 1, softmax=True)
    np.testing.assert_allclose(soft(IMAGES).sum(1), 1, rtol=1e-6)  # softmax is in float32


def test_the_type_is_that_of_floating_point_weights():
    module = network().double()
    module.register_parameter("first", nn.Parameter(torch.tensor(1), requires_grad=False))
    module = nn.ModuleDict({"a": module})
    module.register_buffer("count", torch.tensor(3))
    found = []
    module.forward = lambda planes: found.append(planes.dtype) or planes.mean((2, 3))
    TorchModel(module)(IMAGES)
    TorchModel(Returning(lambda s: found.append(s.dtype) or s))(IMAGES)
    assert found == [torch.float64, torch.float32]


def test_autocast_runs_what_it_may_in_half_precision():
    module, types = network(), []
    module[0].register_forward_hook(lambda layer, given, made: types.append(made.dtype))
    plain, box = TorchModel(module), TorchModel(module, autocast=torch.bfloat16)
    exact, rough = plain(IMAGES), box(IMAGES)
    assert types == [torch.float32, torch.bfloat16]
    np.testing.assert_allclose(rough, exact, atol=0.03)
    assert not np.array_equal(rough, exact)
    assert box.score(PLANES).dtype == torch.float32
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(box.score(PLANES), module(PLANES).float())
    assert not torch.is_autocast_enabled("cpu")
    assert module[0].weight.dtype == torch.float32


def test_half_precision_on_a_cpu_is_refused():
    with pytest.raises(InputError, match=r"got float16 for Sequential: .*module\.float\(\)"):
        TorchModel(network().half())
    with pytest.raises(InputError, match="expected autocast in float32 or bfloat16 on a CPU"):
        TorchModel(network(), autocast=torch.float16)
    with pytest.raises(InputError, match="got float16 for Sequential"):
        iassa.open_model(network().half(), "cpu")
    for other in (torch.float64, torch.int8, "bfloat16"):
        with pytest.raises(InputError, match=r"expected autocast to be torch\.bfloat16"):
            TorchModel(network(), autocast=other)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_on_a_gpu(dtype):
    plain = TorchModel(network())
    for box in (
        TorchModel(network().to(dtype), device="cuda"),
        TorchModel(network(), device="cuda", autocast=dtype),
    ):
        scores = box.score(PLANES.cuda())
        assert (scores.dtype, scores.device.type) == (torch.float32, "cuda")
        np.testing.assert_allclose(box(IMAGES), plain(IMAGES), atol=0.03)


# What tells one from another.


def test_pick_and_autocast_are_of_its_identity():
    def first(outputs):
        return outputs[0]

    def second(outputs):
        return outputs[1]

    kinds = [{}, {"pick": first}, {"pick": second}, {"normalise": first}]
    kinds.append({"autocast": torch.bfloat16})
    found = [TorchModel(network(), **kind).identity() for kind in kinds]
    assert len(set(found)) == len(kinds)
    assert found == [TorchModel(network(), **kind).identity() for kind in kinds]


@pytest.mark.parametrize("make", [lambda scores: scores, lambda scores: Output(scores)])
def test_an_explanation_of_a_module(make):
    """The class that means green is explained by the green square."""
    image = np.full((18, 26, 3), 0.2, np.float32)
    image[4:10, 15:23, 1] = 1
    module = Returning(make).eval()
    made = iassa.explain(
        image, module, target=1, calls=300, method=iassa.methods.Rise(baseline=0.2, debiased=True)
    )
    inside = made.saliency[0, 4:10, 15:23].mean()
    assert inside > 3 * np.abs(made.saliency[0]).mean()
