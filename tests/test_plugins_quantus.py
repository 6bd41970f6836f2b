"""iassa as the explanation that Quantus judges: its own metrics call it.

Quantus brings OpenCV with libraries of a desktop, so it has an environment of its own:
`make test-plugins`. The tests that need it are left out elsewhere.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import iassa
import pages
from iassa.plugins.quantus import explain_func

SIZE = (20, 28)


class Patch(nn.Module):
    """Two outputs, each looks at a patch of its own, with a weight that may be changed."""

    def __init__(self, channels=3):
        super().__init__()
        self.convolution = nn.Conv2d(channels, 1, 1, bias=False)
        nn.init.ones_(self.convolution.weight)

    def forward(self, inputs):
        planes = self.convolution(inputs)
        return torch.cat([planes[:, :, 4:10, 8:16], planes[:, :, 12:18, 18:26]], 1).mean((2, 3))


@pytest.fixture
def model():
    return Patch().eval()


def inputs(number=2, channels=3):
    rng = np.random.default_rng(0)
    return (1 + rng.random((number, channels, *SIZE))).astype(np.float32)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_map_for_each_example(channels):
    maps = explain_func(
        Patch(channels).eval(), inputs(2, channels), np.array([0, 1]), method="rise", calls=400
    )
    assert maps.shape == (2, 1, *SIZE)
    assert maps.dtype == np.float32
    for one, (rows, columns) in zip(
        maps[:, 0], [(slice(4, 10), slice(8, 16)), (slice(12, 18), slice(18, 26))], strict=True
    ):
        inside = np.zeros(SIZE, np.bool_)
        inside[rows, columns] = True
        assert one[inside].mean() > one[~inside].mean()


def test_what_is_passed_is_what_is_explained(model):
    """A copy with other weights, as randomisation checks pass it."""
    first = explain_func(model, inputs(1), [0], method="rise", calls=60)
    with torch.no_grad():
        model.convolution.weight *= -2
    other = explain_func(model, inputs(1), [0], method="rise", calls=60)
    np.testing.assert_allclose(other, -2 * first, atol=1e-5 * np.abs(first).max())


def test_doubles_stay_doubles(model):
    maps = explain_func(model.double(), inputs(1), [0], method="rise", calls=40)
    assert maps.shape == (1, 1, *SIZE)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"targets": [0]}, "a target for each of 2 inputs"),
        ({"targets": [0, 2]}, "within the outputs"),
        ({"inputs": inputs()[0]}, "inputs (B, C, H, W)"),
    ],
)
def test_what_is_wrong_is_said(model, arguments, text):
    asked = {"inputs": inputs(), "targets": [0, 1], "calls": 40} | arguments
    with pytest.raises(iassa.InputError) as caught:
        explain_func(model, **asked)
    assert text in str(caught.value)


@pytest.mark.filterwarnings("ignore")  # Quantus warns of itself
@pytest.mark.parametrize("name", ["PixelFlipping", "MaxSensitivity", "MPRT", "Sparseness"])
def test_metrics_of_quantus_take_it(model, name):
    quantus = pytest.importorskip("quantus", reason="see make test-plugins", exc_type=ImportError)
    options = {
        "PixelFlipping": {"features_in_step": 28},
        "MaxSensitivity": {"nr_samples": 2},
    }.get(name, {})
    metric = getattr(quantus, name)(disable_warnings=True, **options)
    scores = metric(
        model=model,
        x_batch=inputs(),
        y_batch=np.array([0, 1]),
        a_batch=None,
        device="cpu",
        explain_func=explain_func,
        explain_func_kwargs={"calls": 60, "method": "rise"},
    )
    numbers = [*scores.values()] if isinstance(scores, dict) else scores
    assert np.isfinite(np.array(numbers, dtype=float)).all()


@pytest.mark.filterwarnings("ignore")
def test_the_page_runs(model):
    pytest.importorskip("quantus", reason="see make test-plugins", exc_type=ImportError)
    (block,) = pages.blocks("docs/plugins.md", "Quantus")
    names = {"model": model, "images": inputs(), "labels": np.array([1, 0])}
    pages.run_python(block, names)
    assert np.isfinite(names["scores"]).all()
