"""Model randomisation: what it does to a network, and that it finds out a method that is blind."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn

import iassa
from iassa.errors import InputError
from iassa.metrics import model_randomisation, randomised

HEIGHT, WIDTH = 28, 36
SQUARE = 9
SEEDS = st.integers(0, 2**40)


class Network(nn.Module):
    """One of each kind of layer, with tensors of all sorts; never run."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
        self.plain = nn.BatchNorm1d(20, affine=False)
        self.attention = nn.MultiheadAttention(12, 3)
        self.scale = nn.Parameter(torch.tensor(3.0))
        self.prompt = nn.Parameter(torch.randn(2, 30))
        self.register_buffer("table", torch.arange(40.0))
        self.head = nn.Linear(12, 5)


@cache
def network() -> nn.Module:
    """With values that are all different, so that each can be followed; do not change it."""
    generator = torch.Generator().manual_seed(0)
    module = Network()
    with torch.no_grad():
        for tensor in module.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.1)
    return module.eval()


def changed(module: nn.Module) -> set[str]:
    """Names of the tensors that are not as in the network."""
    before = network().state_dict()
    after = module.state_dict()
    assert list(before) == list(after)
    return {name for name in before if not torch.equal(before[name], after[name])}


LEARNT = {
    *("stem.0.weight", "stem.0.bias"),
    *("stem.1.weight", "stem.1.bias", "stem.1.running_mean", "stem.1.running_var"),
    *("plain.running_mean", "plain.running_var"),
    *("attention.in_proj_weight", "attention.in_proj_bias"),
    *("attention.out_proj.weight", "attention.out_proj.bias"),
    "prompt",
    *("head.weight", "head.bias"),
}


def test_all_that_was_learnt_is_shuffled_and_nothing_else() -> None:
    kept = copy.deepcopy(network().state_dict())
    state = torch.get_rng_state()
    module = randomised(network(), 1)
    assert changed(module) == LEARNT  # a scalar has nothing to be shuffled, a table is not learnt
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(kept[name], value) for name, value in network().state_dict().items())
    assert not module.training
    for name, tensor in module.state_dict().items():
        assert sorted(tensor.flatten().tolist()) == sorted(kept[name].flatten().tolist())


@given(SEEDS)
def test_a_channel_stays_with_its_statistics(seed: int) -> None:
    before, after = network().state_dict(), randomised(network(), seed).state_dict()

    def channels(state: dict[str, torch.Tensor]) -> set[tuple[float, ...]]:
        names = ("weight", "bias", "running_mean", "running_var")
        columns = [state[f"stem.1.{name}"].tolist() for name in names]
        return set(zip(*columns, strict=True))

    assert channels(before) == channels(after)
    assert len(channels(after)) == 8


@given(SEEDS, st.sets(st.sampled_from(["stem", "stem.0", "plain", "attention", "head"])))
def test_a_layer_is_shuffled_alike_whatever_others_are(seed: int, names: set[str]) -> None:
    whole = randomised(network(), seed).state_dict()
    some = randomised(network(), seed, sorted(names))
    inside = {name for name in LEARNT if any(name.startswith(f"{each}.") for each in names)}
    # Two values may stay in their places by chance, so the names are an upper bound.
    assert changed(some) <= inside
    for name, tensor in some.state_dict().items():
        expected = whole if name in inside else network().state_dict()
        assert torch.equal(tensor, expected[name])


def test_the_seed_decides() -> None:
    first, again, other = (randomised(network(), seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[name], again[name]) for name in LEARNT)
    assert not any(torch.equal(first[name], other[name]) for name in LEARNT)


def test_layers_alike_are_shuffled_apart() -> None:
    layers = nn.Sequential(nn.Linear(6, 7), nn.Linear(6, 7))
    layers[1].load_state_dict(layers[0].state_dict())
    shuffled = randomised(layers, 0)
    assert not torch.equal(shuffled.get_parameter("0.weight"), shuffled.get_parameter("1.weight"))


def test_tied_weights_stay_tied_and_a_kind_of_number_stays() -> None:
    tied = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6)).to(torch.bfloat16)
    tied[1].weight = tied[0].weight
    shuffled = randomised(tied, 0)
    assert shuffled.get_parameter("0.weight") is shuffled.get_parameter("1.weight")
    assert shuffled.get_parameter("0.weight").dtype == torch.bfloat16
    assert shuffled.get_parameter("0.weight").requires_grad
    assert not torch.equal(shuffled.get_parameter("0.weight"), tied[0].weight)


class Follower:
    """An explainer that keeps the names of what is changed in each module that it gets."""

    def __init__(self) -> None:
        self.seen: list[set[str]] = []

    def __call__(self, module: nn.Module) -> NDArray[np.float32]:
        assert module is not network()
        self.seen.append(changed(module))
        return np.random.default_rng(len(self.seen)).random((12, 17)).astype(np.float32)


def test_cascading_goes_from_the_output_down() -> None:
    explain = Follower()
    stages = model_randomisation(explain, network())
    assert [stage.layer for stage in stages] == [
        *("head", "attention.out_proj", "attention", "plain", "stem.1", "stem.0", ""),
    ]
    nothing, *seen = explain.seen
    assert nothing == set()
    assert seen[0] == {"head.weight", "head.bias"}
    assert all(upper < lower for upper, lower in pairwise(seen))
    assert seen[-1] == LEARNT


def test_independent_takes_one_layer_at_a_time() -> None:
    explain = Follower()
    stages = model_randomisation(
        explain, network(), order="independent", layers=["head", "stem", "plain"]
    )
    assert [stage.layer for stage in stages] == ["head", "stem", "plain"]
    assert explain.seen == [
        set(),
        {"head.weight", "head.bias"},
        {name for name in LEARNT if name.startswith("stem.")},
        {"plain.running_mean", "plain.running_var"},
    ]


def test_the_figures_of_a_stage_compare_it_with_the_trained_network() -> None:
    saliency = np.random.default_rng(0).normal(size=(30, 44))

    def explain(module: nn.Module) -> NDArray[np.float64]:
        return -saliency if changed(module) else saliency

    (stage,) = model_randomisation(explain, network(), layers=["head"])
    assert stage.rank_correlation == pytest.approx(-1)
    assert stage.absolute_rank_correlation == pytest.approx(1)
    assert stage.structural_similarity < 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": -1}, "seed of 0 or more, got -1"),
        ({"order": "bottom-up"}, "order among 'cascading', 'independent', got 'bottom-up'"),
        ({"layers": ["neck"]}, r"submodule with parameters, got 'neck'.*There are '', 'stem.0',"),
        ({"layers": ["hea"]}, "submodule with parameters, got 'hea'"),
        ({"module": nn.ReLU()}, "a module with parameters, got one without"),
        ({"explain": lambda module: np.zeros((3, 12, 17))}, r"one map \(H, W\)"),
        ({"explain": lambda module: np.zeros((9, 17))}, "maps of 11 x 11 pixels or more"),
    ],
)
def test_bad_input_is_named(changes: dict[str, object], message: str) -> None:
    arguments: dict[str, object] = {"explain": Follower(), "module": network()}
    with pytest.raises(InputError, match=message):
        model_randomisation(**(arguments | changes))  # type: ignore[arg-type]


def test_a_layer_that_is_not_there_is_refused_before_anything_is_explained() -> None:
    explain = Follower()
    with pytest.raises(InputError, match="got 'neck'"):
        model_randomisation(explain, network(), layers=["head", "neck"])
    assert explain.seen == []


def test_a_module_that_cannot_be_copied_is_named() -> None:
    module = nn.Linear(3, 4)
    module.lock = threading.Lock()  # type: ignore[assignment]
    with pytest.raises(InputError, match="cannot copy the module: TypeError"):
        randomised(module, 0)


def draw_pictures(number: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """A striped square and a plain one of any colour in noise; the class is the stripes' direction.

    A network without knowledge sees both squares, one that is trained looks at the stripes.
    """
    rng = np.random.default_rng(seed)
    images = rng.uniform(0.3, 0.7, (number, HEIGHT, WIDTH, 3)).astype(np.float32)
    classes = rng.integers(0, 2, number)
    stripes = np.where(np.arange(SQUARE) // 2 % 2, 0.9, 0.1)
    for image, vertical in zip(images, classes, strict=True):
        columns = [rng.integers(1, WIDTH // 2 - SQUARE), rng.integers(WIDTH // 2, WIDTH - SQUARE)]
        striped, plain = (
            image[row : row + SQUARE, column : column + SQUARE]
            for row, column in zip(
                rng.integers(1, HEIGHT - SQUARE, 2), rng.permutation(columns), strict=True
            )
        )
        striped[...] = stripes[None, :, None] if vertical else stripes[:, None, None]
        plain[...] = rng.choice([0.05, 0.95], 3)
    return images, classes


@cache
def trained() -> nn.Module:
    """A small network that tells the stripes' direction."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = nn.Sequential(
            *(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.AdaptiveMaxPool2d(1)),
            *(nn.Flatten(), nn.Linear(16, 2)),
        )
    optimiser = torch.optim.Adam(module.parameters(), lr=0.01)
    for step in range(60):
        images, classes = draw_pictures(64, step)
        logits = module(torch.from_numpy(images).permute(0, 3, 1, 2))
        loss = nn.functional.cross_entropy(logits, torch.from_numpy(classes))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return module.eval()


def final_similarities(
    explain: Callable[[nn.Module, NDArray[np.float32], int], NDArray[np.float32]],
) -> NDArray[np.float64]:
    """Means over images and seeds of the three figures, of the network without knowledge."""
    images, classes = draw_pictures(8, seed=10**6)
    figures = []
    for seed, (image, target) in enumerate(zip(images, classes.tolist(), strict=True)):
        (stage,) = model_randomisation(
            lambda module, image=image, target=target: explain(module, image, target),
            trained(),
            seed=seed,
            layers=[""],
        )
        figures.append(
            [
                stage.rank_correlation,
                stage.absolute_rank_correlation,
                stage.structural_similarity,
            ]
        )
    return np.mean(figures, axis=0)


def test_the_network_has_learnt_its_task() -> None:
    images, classes = draw_pictures(200, seed=10**5)
    logits = trained()(torch.from_numpy(images).permute(0, 3, 1, 2))
    found = logits.argmax(1).numpy()
    assert np.mean(found == classes) > 0.95


# What is left may be a constant; whether it is hangs on the processor that trained it.
@pytest.mark.filterwarnings("ignore:every masked image scores:iassa.errors.WeakEvidenceWarning")
@pytest.mark.parametrize(
    "method", [iassa.methods.Rise(), iassa.methods.Iassa(features="none", beta=1.0)]
)
def test_the_maps_of_a_method_go_with_the_models_knowledge(method: iassa.methods.Explainer) -> None:
    def explain(module: nn.Module, image: NDArray[np.float32], target: int) -> NDArray[np.float32]:
        black_box = iassa.models.TorchModel(module)
        return iassa.explain(image, black_box, method=method, target=target, calls=400).saliency[0]

    assert np.all(np.abs(final_similarities(explain)) < 0.3)


def test_an_edge_detector_is_found_out() -> None:
    def explain(module: nn.Module, image: NDArray[np.float32], target: int) -> NDArray[np.float32]:
        return np.hypot(*np.gradient(image.mean(axis=2)))

    np.testing.assert_allclose(final_similarities(explain), 1)
