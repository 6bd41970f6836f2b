"""The attention branch: what flows through it, its losses, and the black box that it stays."""

from __future__ import annotations

import copy
import pickle
import re

import numpy as np
import pytest
import torch
from torch import nn

import iassa
from iassa.training import Attended, AttentionBranch

N, C, H, W, K = 4, 3, 20, 28, 5


def classifier():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(C, 8, 3, stride=2), nn.ReLU(), nn.Conv2d(8, 6, 3), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(6, K),
    )  # fmt: skip


def images(seed=0):
    return torch.rand(N, C, H, W, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("residual", [True, False])
def test_the_perception_branch_gets_the_features_that_are_attended_to(residual):
    network = classifier()
    model = AttentionBranch(network, "1", images(), residual=residual).eval()
    with torch.no_grad():
        answer = model(images())
        features = network[:2](images())
        planes = model.planes(features)
        attention = torch.sigmoid(model.attend(planes))
        scale = 1 + attention if residual else attention
        assert torch.equal(answer.logits, network[2:](scale * features))
        assert torch.equal(answer.attention, attention[:, 0])
        assert torch.equal(answer.branch_logits, model.score(planes).mean((2, 3)))
    assert planes.shape == (N, K, 9, 13)
    assert answer.attention.shape == (N, 9, 13)
    assert answer.size == (H, W)


def test_the_network_is_as_before_outside_of_it():
    network = classifier().train()
    before = network(images())
    model = AttentionBranch(network, "1", images())
    assert all(part.training for part in network.modules())
    model(images())
    assert torch.equal(network(images()), before)
    assert model.network is network


def test_a_layer_inside_of_a_layer_is_found():
    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = classifier()

        def forward(self, planes):
            return self.body(planes)

    outer = AttentionBranch(Wrapped(), "body.1", images()).eval()
    inner = AttentionBranch(outer.network.body, "1", images()).eval()
    inner.load_state_dict(
        {name.replace("network.body", "network"): v for name, v in outer.state_dict().items()}
    )
    assert torch.equal(outer(images()).logits, inner(images()).logits)


def test_the_losses_are_those_of_a_loop():
    answer = AttentionBranch(classifier(), "1", images())(images())
    labels = torch.tensor([0, 3, 4, 1])
    expected = 0.0
    for logits in (answer.logits, answer.branch_logits):
        for row, label in zip(logits, labels, strict=True):
            expected -= row.log_softmax(0)[label].item() / N
    assert answer.loss(labels).item() == pytest.approx(expected, rel=1e-5)


def test_the_map_loss_is_the_distance_to_the_map():
    attention = torch.tensor([[[0.5, 0.5, 0.5]], [[0.0, 0.0, 0.0]]])
    answer = Attended(torch.zeros(2, K), torch.zeros(2, K), attention, (2, 6))
    wanted = torch.tensor([[[1.0, 0.5, 0.0]], [[0.0, 0.0, 0.0]]])
    assert answer.map_loss(wanted).item() == pytest.approx(0.5**0.5 / 2)
    # At the size of the images: 2 x 2 pixels of each are averaged.
    large = torch.zeros(2, 2, 6)
    large[0] = torch.tensor([[1, 1, 0, 1, 0, 0], [1, 1, 1, 0, 0, 0]])
    assert answer.map_loss(large).item() == pytest.approx(0.5**0.5 / 2)
    assert answer.map_loss(large > 0).item() == pytest.approx(0.5**0.5 / 2)


def test_the_map_loss_has_a_gradient_where_it_is_zero():
    attention = torch.rand(2, 3, 4).requires_grad_()
    answer = Attended(torch.zeros(2, K), torch.zeros(2, K), attention, (6, 8))
    answer.map_loss(attention.detach()).backward()
    assert torch.equal(attention.grad, torch.zeros(2, 3, 4))


def test_training_moves_the_attention_to_the_maps():
    model = AttentionBranch(classifier(), "1", images())
    wanted = torch.zeros(N, H, W)
    wanted[:, :, : W // 2] = 1
    labels = torch.arange(N)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(150):
        answer = model(images())
        loss = answer.loss(labels) + answer.map_loss(wanted)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    taught = model.eval()(images())
    assert taught.attention[:, :, :5].mean() > taught.attention[:, :, 8:].mean() + 0.3
    assert torch.equal(taught.logits.argmax(1), labels)


def test_it_is_a_black_box_as_it_stands():
    model = AttentionBranch(classifier(), "1", images()).eval()
    black_box = iassa.models.TorchModel(model, softmax=True)
    shown = images().permute(0, 2, 3, 1).numpy()
    with torch.no_grad():
        expected = model(images()).logits.softmax(1).numpy()
    np.testing.assert_allclose(black_box(shown), expected, rtol=1e-5)
    explanation = iassa.explain(shown[0], black_box, method="rise", calls=100)
    assert explanation.saliency.shape == (1, H, W)


def test_it_is_copied_and_pickled_with_what_it_learnt():
    model = AttentionBranch(classifier(), "1", images()).eval()
    expected = model(images())
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        found = other(images())
        assert found.size == expected.size
        for name in ("logits", "branch_logits", "attention"):
            assert torch.equal(getattr(found, name), getattr(expected, name))


def test_it_has_the_type_of_the_network():
    model = AttentionBranch(classifier().double(), "1", images().double())
    assert {one.dtype for one in model.parameters()} == {torch.float64}
    assert model(images().double()).attention.dtype == torch.float64


class Odd(nn.Module):
    """Runs a part twice, another never, and returns two things."""

    def __init__(self):
        super().__init__()
        self.twice, self.never, self.once = nn.ReLU(), nn.ReLU(), nn.Identity()

    def forward(self, planes):
        found = self.once(self.twice(self.twice(planes)))
        return found.mean((2, 3)), found


@pytest.mark.parametrize(
    ("network", "after", "message"),
    [
        (classifier(), "layer4", "expected the name of a submodule to cut behind, got 'layer4'"),
        (classifier(), "", "got ''"),
        (classifier(), "4", "expected features (N, c, h, w) of '4', got (4, 6)"),
        (Odd(), "twice", "expected 'twice' to run once for each batch, got a second run"),
        (Odd(), "never", "expected 'never' to run once for each batch, got no run"),
        (Odd(), "once", "expected logits (4, K) of the network, got tuple"),
    ],
)
def test_a_cut_that_cannot_be_made_is_refused(network, after, message):
    with pytest.raises(iassa.InputError, match=re.escape(message)) as caught:
        AttentionBranch(network, after, images())
    assert "\n" not in str(caught.value)
    assert not any(part._forward_hooks for part in network.modules())


def test_what_is_no_network_or_no_batch_is_refused():
    with pytest.raises(iassa.InputError, match="expected a torch module to cut, got function"):
        AttentionBranch(classifier, "1", images())
    for example in (images()[0], images().numpy()):
        with pytest.raises(iassa.InputError, match="expected images as a tensor"):
            AttentionBranch(classifier(), "1", example)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (
            torch.zeros(N, W, H),
            "maps as a tensor (4, 20, 28) or (4, 9, 13), got (4, 28, 20)",
        ),
        (torch.zeros(3, H, W), "got (3, 20, 28)"),
        (np.zeros((N, H, W)), "or (4, 9, 13), got ndarray"),
        (torch.zeros(N, 1, H, W), "got (4, 1, 20, 28)"),
        (torch.full((N, H, W), 1.5), "expected maps from 0 to 1"),
        (torch.full((N, H, W), float("nan")), "expected maps from 0 to 1"),
    ],
)
def test_a_map_of_another_size_or_range_is_refused(wanted, message):
    answer = AttentionBranch(classifier(), "1", images())(images())
    with pytest.raises(iassa.InputError, match=re.escape(message)) as caught:
        answer.map_loss(wanted)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("labels", "got"),
    [
        ([0, 1, 2, 3], "list"),
        (np.arange(N), "ndarray"),
        (torch.arange(N + 1), "(5,)"),
        (torch.arange(N)[:, None], "(4, 1)"),
        (torch.arange(N).float(), "(4,) in torch.float32"),
    ],
)
def test_labels_of_another_type_or_shape_are_refused(labels, got):
    answer = AttentionBranch(classifier(), "1", images())(images())
    with pytest.raises(iassa.InputError, match=re.escape(f"(4,) in torch.int64, got {got}")):
        answer.loss(labels)
    assert torch.equal(answer.loss(torch.arange(N).int()), answer.loss(torch.arange(N)))


def test_a_batch_or_a_name_of_another_type_is_refused():
    model = AttentionBranch(classifier(), "1", images())
    for odd, got in ((images().numpy(), "ndarray"), (images()[0], "(3, 20, 28)"), (None, "None")):
        with pytest.raises(iassa.InputError, match=re.escape(f"(N, C, H, W), got {got}")):
            model(odd)
    with pytest.raises(iassa.InputError, match="expected after to be a text, got 1"):
        AttentionBranch(classifier(), 1, images())
    with pytest.raises(iassa.InputError, match="expected residual to be True or False"):
        AttentionBranch(classifier(), "1", images(), residual="no")
