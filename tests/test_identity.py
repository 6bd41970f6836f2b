"""Identities: the same for the same model in every process, another for another one."""

from __future__ import annotations

import functools
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from torch import nn

from iassa.models import efficientnet_lite0
from iassa.models.black_box import BlackBox, FunctionModel
from iassa.models.identity import ELEMENTS, digest_code, digest_module
from iassa.models.opening import open_model
from iassa.models.torch_module import TorchModel

SOURCE = """
    import numpy as np
    import torch
    from torch import nn

    def by_sets(images):
        words = [word for word in ("a", "b", "c") if word in {"a", "c", "kept"}]
        inner = lambda x: x.mean((1, 2)) * 2.5
        return inner(images)[:, : len(words)]

    def changed_constant(images):
        words = [word for word in ("a", "b", "c") if word in {"a", "c", "kept"}]
        inner = lambda x: x.mean((1, 2)) * 2.25
        return inner(images)[:, : len(words)]

    def network(seed=0):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(3, 40, 3), nn.BatchNorm2d(40), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2)
        )

    def network_that_ran(seed=0):
        made = network(seed)
        made.eval()(torch.zeros(1, 3, 5, 7))
        return made
"""
NAMES: dict = {}
exec(textwrap.dedent(SOURCE), NAMES)  # as the subprocess does


def identities():
    return [
        FunctionModel(NAMES["by_sets"]).identity(),
        FunctionModel(NAMES["by_sets"], name="mine").identity(),
        FunctionModel(NAMES["changed_constant"], name="mine").identity(),
        TorchModel(NAMES["network_that_ran"]()).identity(),
        TorchModel(NAMES["network_that_ran"](1), softmax=True).identity(),
        open_model("efficientnet-lite0", "cpu").identity(),
    ]


def test_the_same_in_another_process():
    """Sets of texts are ordered anew in every process, and addresses differ."""
    script = textwrap.dedent(SOURCE) + textwrap.dedent("""
        from iassa.models.black_box import FunctionModel
        from iassa.models.opening import open_model
        from iassa.models.torch_module import TorchModel
        print(FunctionModel(by_sets).identity())
        print(FunctionModel(by_sets, name="mine").identity())
        print(FunctionModel(changed_constant, name="mine").identity())
        print(TorchModel(network_that_ran()).identity())
        print(TorchModel(network_that_ran(1), softmax=True).identity())
        print(open_model("efficientnet-lite0", "cpu").identity())
    """)
    mine = identities()
    assert len(set(mine)) == len(mine)
    for _ in range(2):
        run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
        assert run.stdout.splitlines() == mine, run.stderr


def test_functions_of_one_name_are_told_apart_by_what_they_do():
    def make(source):
        names: dict = {}
        exec(source, names)
        return digest_code(names["f"])

    bodies = {
        "x.mean()": "lambda x: x.mean()",
        "another name": "lambda x: x.sum()",
        "another operation": "lambda x: -x.mean()",
        "another constant": "lambda x: x.mean() + 1",
        "its float": "lambda x: x.mean() + 1.0",
        "a bool": "lambda x: x.mean() + True",
        "nested": "lambda x: (lambda y: y + 1)(x.mean())",
        "nested constant": "lambda x: (lambda y: y + 2)(x.mean())",
        "default": "lambda x, k=1: x[k]",
        "another default": "lambda x, k=2: x[k]",
        "a default by name": "lambda x, *, k=3: x[k]",
        "of a set": "lambda x: x in {1, 2}",
        "of another set": "lambda x: x in {1, 3}",
        "of a tuple": "lambda x: x in (1, 2)",
    }
    digests = {what: make(f"f = {body}") for what, body in bodies.items()}
    assert len(set(digests.values())) == len(bodies)
    # Where it stands, how it is spelled and what its arguments are called does not matter.
    assert make("\n\n# here\nf = lambda z : (z.mean( ))") == digests["x.mean()"]
    assert make("f = lambda x, k=1: x[k]\ng = 3") == digests["default"]


def test_what_has_no_code_is_known_by_its_name():
    class Machine:
        def __init__(self, gain):
            self.gain = gain

        def __call__(self, images):
            return images.mean((1, 2)) * self.gain

    assert FunctionModel(Machine(1)).identity() == FunctionModel(Machine(2)).identity()
    assert FunctionModel(Machine(1)).identity().endswith("Machine")
    partial = functools.partial(np.mean, axis=(1, 2))
    assert FunctionModel(partial, name="mean").identity() == "mean"
    assert digest_code(np.add) == digest_code(None) == ""
    assert digest_code(Machine(1).__call__) == digest_code(Machine.__call__) != ""

    class Mine(BlackBox):
        name = "mine"

        def score(self, planes):
            return planes.mean((2, 3))

    assert Mine().identity() == "mine"


def test_closures_and_globals_are_not_seen():
    """As documented: a black box that counts its calls must stay the same one."""

    def make(gain):
        return lambda images: images.mean((1, 2)) * gain

    assert digest_code(make(1)) == digest_code(make(2))


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Conv2d(5, 2, 1))


@pytest.mark.parametrize(
    "place", ["0.weight", "0.bias", "1.weight", "1.running_mean", "1.running_var", "3.bias"]
)
def test_a_weight_or_buffer_that_changes_changes_it(place):
    before = network()
    after = network()
    assert digest_module(before) == digest_module(after)
    with torch.no_grad():
        after.state_dict()[place].view(-1)[-1] += 1e-6
    assert digest_module(before) != digest_module(after)
    assert TorchModel(before).identity() != TorchModel(after).identity()


def test_parts_shapes_and_types_change_it():
    plain = network()
    others = [
        network(1),
        network().double(),
        network().bfloat16(),
        nn.Sequential(*list(network())[:2], nn.Sigmoid(), network()[3]),
        nn.ModuleDict({"a": network()}),
        nn.Sequential(*network(), nn.ReLU()),
    ]
    digests = {digest_module(one) for one in [plain, *others]}
    assert len(digests) == 1 + len(others)
    assert digest_module(nn.Identity()) == digest_module(nn.Identity())


def test_memory_layout_mode_and_gradients_do_not():
    plain = digest_module(network())
    assert digest_module(network().to(memory_format=torch.channels_last)) == plain
    assert digest_module(network().eval()) == plain
    assert digest_module(network().requires_grad_(False)) == plain


def test_of_large_tensors_evenly_spaced_elements_are_looked_at():
    """Every ELEMENTS-th part has one: a change of that many in a row is always seen."""
    size = 10 * ELEMENTS + 7
    plain, digests = nn.Embedding(1, size), set()
    with torch.no_grad():
        plain.weight.zero_()
        digests.add(digest_module(plain))
        for start in (0, 5000, size - 11):
            plain.weight.zero_()
            plain.weight[0, start : start + 11] = 1
            digests.add(digest_module(plain))
    assert len(digests) == 4


def test_a_model_is_more_than_its_weights():
    def halve(planes):
        return planes / 2

    def third(planes):
        return planes / 3

    kinds = [{}, {"softmax": True}, {"normalise": halve}, {"normalise": third}, {"name": "mine"}]
    found = [TorchModel(network(), **kind).identity() for kind in kinds]
    assert len(set(found)) == len(kinds)
    assert all(one.startswith("Sequential ") for one in found[:-1])


def test_it_is_computed_once_and_without_a_call():
    class Silent(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(3))

        def forward(self, planes):
            raise AssertionError("asked")

    module = Silent()
    black_box = TorchModel(module)
    first = black_box.identity()
    with torch.no_grad():
        module.weight += 1
    assert black_box.identity() == first  # as documented
    assert TorchModel(module).identity() != first


def test_the_default_model_is_one_on_all_devices():
    on_cpu = open_model("efficientnet-lite0", "cpu")
    in_torch = efficientnet_lite0._TorchNetwork(network(), name="efficientnet-lite0")
    assert on_cpu.identity() == in_torch.identity()
    assert on_cpu.identity().startswith("efficientnet-lite0 0.")
