"""The penalty of Ross et al.: by hand, by finite differences, and what training with it does."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

import iassa
from iassa.training import right_reasons

N, C, H, W, K = 4, 2, 5, 7, 3


def batch(seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(N, C, H, W, generator=generator, dtype=torch.float64)
    forbidden = torch.rand(N, H, W, generator=generator) < 0.4
    return images.requires_grad_(), forbidden


def network(seed=0):
    torch.manual_seed(seed)
    layers = (nn.Conv2d(C, 6, 3), nn.Tanh(), nn.Flatten(), nn.Linear(6 * 3 * 5, K))
    return nn.Sequential(*layers).double()


def test_it_is_the_formula_of_a_linear_model():
    # z = V x + b: the derivative of the sum of log p_k is the sum of V's rows - K p V.
    images, forbidden = batch()
    V = torch.randn(K, C * H * W, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    scores = images.flatten(1) @ V.T + torch.arange(K)
    expected = 0.0
    for n in range(N):
        p = scores[n].softmax(0)
        slope = (V.sum(0) - K * (p @ V)).reshape(C, H, W)
        for row, column in forbidden[n].nonzero():
            expected += slope[:, row, column].square().sum().item()
    assert right_reasons(scores, images, forbidden).item() == pytest.approx(expected / N)


@pytest.mark.parametrize("seed", [0, 1])
def test_it_is_what_finite_differences_give(seed):
    images, forbidden = batch(seed)
    model, step, expected = network(seed), 1e-5, 0.0
    with torch.no_grad():
        for n, row, column in forbidden.nonzero():
            for channel in range(C):
                sums = []
                for sign in (1, -1):
                    moved = images.clone()
                    moved[n, channel, row, column] += sign * step
                    sums.append(model(moved)[n].log_softmax(0).sum())
                expected += float((sums[0] - sums[1]) / (2 * step)) ** 2
    found = right_reasons(model(images), images, forbidden)
    assert found.item() == pytest.approx(expected / N, rel=1e-6)


def test_its_gradient_is_right_too():
    images, forbidden = batch()
    model = network()

    def penalty(weight, bias):
        hidden = nn.functional.conv2d(images, weight, bias).tanh().flatten(1)
        return right_reasons(model[3](hidden), images, forbidden)

    weights = (model[0].weight, model[0].bias)
    assert torch.autograd.gradcheck(penalty, weights)


def test_it_does_not_depend_on_the_size_of_the_batch():
    images, forbidden = batch()
    model = network()
    whole = right_reasons(model(images), images, forbidden)
    parts = []
    for n in range(N):
        image = images[n : n + 1].detach().requires_grad_()
        parts.append(right_reasons(model(image), image, forbidden[n : n + 1]).item())
    assert whole.item() == pytest.approx(sum(parts) / N)


def test_nothing_forbidden_costs_nothing():
    images, forbidden = batch()
    assert right_reasons(network()(images), images, forbidden & False).item() == 0


def test_training_with_it_unlearns_a_shortcut():
    # One pixel tells the label at once, another one does so half as strongly: only it may.
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(2, (200,), generator=generator)
    planes = torch.zeros(200, 1, 2, 3)
    planes[:, 0, 0, 0] = 2.0 * labels - 1
    planes[:, 0, 1, 2] = labels - 0.5
    forbidden = torch.zeros(200, 2, 3, dtype=torch.bool)
    forbidden[:, 0, 0] = True
    relied = []
    for weight in (0, 10):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(6, 2))
        optimiser = torch.optim.Adam(model.parameters(), lr=0.05)
        for _ in range(150):
            images = planes.clone().requires_grad_()
            scores = model(images)
            loss = nn.functional.cross_entropy(scores, labels)
            loss = loss + weight * right_reasons(scores, images, forbidden)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        difference = (model[1].weight[1] - model[1].weight[0]).detach()
        relied.append((float(difference[0]), float(difference[5])))
        assert float((scores.argmax(1) == labels).float().mean()) == 1
    assert relied[0][0] > relied[0][1] > 0
    assert abs(relied[1][0]) < 0.1 * relied[1][1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s, x, f: (s, x[0], f), "expected images as a tensor (N, C, H, W), got (2, 5, 7)"),
        (lambda s, x, f: (s[:, :1], x, f), "scores (4, K) with K of 2 or more, got (4, 1)"),
        (lambda s, x, f: (s[:2], x, f), "got (2, 3)"),
        (lambda s, x, f: (s, x, f[:, :, 1:]), "got (4, 5, 6) in torch.bool"),
        (lambda s, x, f: (s, x, f.float()), "got (4, 5, 7) in torch.float32"),
        (lambda s, x, f: (s, x, f.numpy()), "got ndarray in bool. Give a tensor"),
        (lambda s, x, f: (s.tolist(), x, f), "K of 2 or more, got list"),
        (lambda s, x, f: (s, x, None), "got NoneType in no dtype"),
        (lambda s, x, f: (s, x.detach().numpy(), f), "a tensor (N, C, H, W), got ndarray"),
        (lambda s, x, f: (s, x.detach(), f), "expected images with requires_grad"),
        (lambda s, x, f: (s.detach(), x, f), "expected scores that depend on the images"),
        (
            lambda s, x, f: (s, x.detach().requires_grad_(), f),
            "expected scores that depend on the images",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused(change, message):
    images, forbidden = batch()
    with pytest.raises(iassa.InputError, match=re.escape(message)) as caught:
        right_reasons(*change(network()(images), images, forbidden))
    assert "\n" not in str(caught.value)


def test_one_output_is_made_two_as_the_error_says():
    images, forbidden = batch()
    z = network()(images)[:, :1]
    two = torch.cat([torch.zeros_like(z), z], 1)
    found = right_reasons(two, images, forbidden)
    # By hand: the sum of log s(z) and log s(-z) has the slope 1 - 2 s(z).
    (slope,) = torch.autograd.grad(((1 - 2 * z.sigmoid()).detach() * z).sum(), images)
    expected = (slope.square().sum(1) * forbidden).sum() / N
    assert found.item() == pytest.approx(expected.item())
