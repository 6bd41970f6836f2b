"""iassa as captum's users call it, against captum's own ways and iassa's own maps."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from captum.attr import Attribution, Occlusion
from torch import nn

import iassa
import pages
from iassa.plugins.captum import Iassa

SIZE = (20, 28)
MEAN, STD = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.2, 0.25, 0.3])
WEIGHTS = torch.zeros(2, *SIZE)
WEIGHTS[0, 4:10, 8:16] = 1.0  # the first output looks here, the second one there
WEIGHTS[1, 12:18, 20:26] = 1.0


def images(number=2, channels=3, seed=0):
    """(N, C, H, W) in [0, 1]."""
    return torch.from_numpy(
        np.random.default_rng(seed).random((number, channels, *SIZE)).astype(np.float32)
    )


def normalise(planes):
    return (planes - MEAN[:, None, None]) / STD[:, None, None]


def linear(inputs, shift=0.0):
    """Two scores, linear in the input."""
    return torch.einsum("nchw,khw->nk", inputs, WEIGHTS.to(inputs)) / 50 + shift


class Seen(nn.Module):
    """It keeps what it was shown."""

    def __init__(self):
        super().__init__()
        self.inputs = []

    def forward(self, inputs):
        self.inputs.append(inputs.clone())
        return linear(inputs)


def test_it_is_an_attribution():
    assert issubclass(Iassa, Attribution)
    assert not Iassa(linear).has_convergence_delta()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("baseline", [None, -1.5, "tensor"])
def test_masks_mix_the_input_and_the_baseline_in_the_model_s_numbers(channels, baseline):
    inputs = 4 * images(1, channels) - 2
    fill = torch.full_like(inputs, 0.0 if baseline is None else -1.5)
    if baseline == "tensor":
        fill = baseline = 3 * images(1, channels, seed=1) - 1
    model = Seen()
    Iassa(model, method="rise").attribute(inputs, baseline, target=0, calls=60)
    shown = torch.cat(model.inputs)
    assert len(shown) == 60
    torch.testing.assert_close(shown[0], inputs[0], rtol=0, atol=4e-6)  # the whole comes first
    # Where input and baseline differ enough, each pixel tells its mask: the same in all channels.
    far = (inputs - fill).abs()[0] > 0.5
    masks = (shown - fill)[1:] / (inputs - fill)
    for one in masks:
        assert one[far].min() > -1e-4
        assert one[far].max() < 1 + 1e-4
        if channels == 3:
            all_far = far.all(dim=0)
            spread = one[:, all_far].amax(dim=0) - one[:, all_far].amin(dim=0)
            assert spread.max() < 1e-4
    assert masks[:, far].std() > 0.2  # they do hide


def test_a_normalised_image_gives_the_map_of_the_image():
    """RISE's masks do not look at the image, so both runs draw the same ones."""
    planes = images(1)
    fill = torch.full((3,), 0.25)
    found = Iassa(lambda inputs: linear(inputs), method="rise").attribute(
        normalise(planes), normalise(fill[:, None, None].expand(3, *SIZE))[None], 1, calls=120
    )

    def of_images(pictures):
        return linear(normalise(torch.from_numpy(pictures).permute(0, 3, 1, 2))).numpy()

    method = iassa.methods.Rise(baseline=(0.25, 0.25, 0.25))
    image = planes[0].permute(1, 2, 0).numpy()
    expected = iassa.explain(image, of_images, target=1, method=method, calls=120)
    scale = np.abs(expected.saliency).max()
    for channel in found[0]:
        np.testing.assert_allclose(channel.numpy(), expected.saliency[0], atol=1e-5 * scale)


def test_each_example_has_a_map_of_its_own_target():
    inputs = 2 * images() + 1
    maps = Iassa(linear).attribute(inputs, target=[0, 1], calls=300)
    occluded = Occlusion(linear).attribute(
        inputs, target=[0, 1], sliding_window_shapes=(3, 4, 4), strides=(3, 4, 4)
    )
    assert maps.shape == occluded.shape == inputs.shape
    for k, found in enumerate(maps):
        torch.testing.assert_close(found[0], found[2])
        inside = WEIGHTS[k] > 0
        assert found[0][inside].mean() > 3 * found[0][~inside].abs().mean()
        both = torch.stack([found[0].flatten(), occluded[k].sum(0).flatten()])
        assert torch.corrcoef(both)[0, 1] > 0.6
    for target in (torch.tensor([0, 1]), [(0,), (1,)]):
        torch.testing.assert_close(Iassa(linear).attribute(inputs, target=target, calls=300), maps)
    alone = Iassa(linear).attribute(inputs[1:], target=1, calls=300)
    torch.testing.assert_close(alone[0], maps[1])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_what_comes_back_is_like_what_went_in(dtype):
    inputs = (4 * images(1) - 2).to(dtype).requires_grad_(dtype == torch.float32)
    found = Iassa(linear, method="rise").attribute((inputs,), target=0, calls=40)
    assert isinstance(found, tuple)
    assert found[0].dtype == dtype
    assert found[0].shape == inputs.shape
    assert found[0].device == inputs.device
    assert not found[0].requires_grad
    found[0][0, 0] = 0  # memory of its own
    assert found[0][0, 1].abs().max() > 0


def test_additional_arguments_are_those_of_the_example():
    inputs = images()
    shifts = torch.tensor([[0.0], [10.0]])
    seen = []

    def shifted(pictures, shift, factor):
        assert shift.shape == (len(pictures), 1)
        seen.append(shift[0, 0].item())
        return factor * linear(pictures) + shift

    found = Iassa(shifted, method="rise").explain(
        inputs, target=0, additional_forward_args=(shifts, 2), calls=40
    )
    assert set(seen) == {0.0, 10.0}
    assert seen == sorted(seen)
    plain = [2 * linear(inputs)[k, 0].item() + shifts[k, 0].item() for k in (0, 1)]
    assert [one.scores[0] for one in found] == pytest.approx(plain, rel=1e-5)


def test_the_explanation_has_the_error_and_the_calls():
    (found,) = Iassa(linear).explain(images(1), target=0, calls=100, perturbations_per_eval=7)
    assert found.calls == 100
    assert np.isfinite(found.standard_error).any()
    assert found.saliency.shape == (1, *SIZE)


def test_one_output_needs_no_target():
    one = lambda inputs: linear(inputs)[:, 0]  # noqa: E731
    column = lambda inputs: linear(inputs)[:, :1]  # noqa: E731
    inputs = images(1)
    first, second = (
        Iassa(each, method="rise").attribute(inputs, calls=40) for each in (one, column)
    )
    torch.testing.assert_close(first, second)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"target": 7}, "target within outputs"),
        ({"target": [0] * 3}, "one target, or 2"),
        ({"target": "x"}, "index, a tuple of indices"),
        ({}, "one score of each example"),
        ({"baselines": torch.zeros(5), "target": 0}, "baselines of the inputs' shape"),
        ({"inputs": torch.zeros(2, 4, *SIZE), "target": 0}, "1 or 3 channels"),
        ({"inputs": torch.zeros(2, 3, *SIZE, dtype=torch.int64), "target": 0}, "of floats"),
        ({"inputs": torch.full((1, 3, *SIZE), torch.nan), "target": 0}, "finite"),
        ({"inputs": torch.zeros(3, *SIZE), "target": 0}, "inputs (N, C, H, W)"),
        ({"inputs": (images(), images()), "target": 0}, "a tuple of one"),
    ],
)
def test_what_is_wrong_is_said(arguments, text):
    arguments = {"inputs": images(), "calls": 40} | arguments
    with pytest.raises(iassa.InputError) as caught:
        Iassa(linear, method="rise").attribute(**arguments)
    assert text in str(caught.value)


def test_the_page_runs():
    (block,) = pages.blocks("docs/plugins.md", "captum")
    names = {"model": linear, "inputs": images(), "labels": torch.tensor([1, 0])}
    pages.run_python(block, names)
    assert names["maps"].shape == (2, 3, *SIZE)


def test_without_captum_one_line_says_what_to_install():
    code = (
        "import sys; sys.modules['captum'] = None; sys.modules['captum.attr'] = None\n"
        "import iassa\n"
        "try: import iassa.plugins.captum\n"
        "except iassa.InputError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "iassa.plugins.captum needs captum: pip install captum.\n"
