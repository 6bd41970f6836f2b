"""Scores of any size: the map of c times the scores is c times the map, or the scores are refused.

No map that float32 cannot hold is called exact.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import iassa
from iassa.errors import BlackBoxError, WeakEvidenceWarning
from iassa.estimators.effect import Effect
from iassa.methods import METHODS, open_method
from iassa.models import FunctionModel
from rounding import steps

pytestmark = pytest.mark.filterwarnings("ignore::iassa.errors.WeakEvidenceWarning")

PHOTO = np.random.default_rng(3).random((24, 36, 3), np.float32)
WEIGHTS = np.random.default_rng(4).random((24, 36))
POWERS = (2.0**-60, 2.0**53, 2.0**100)
# With the last, what lies near 0 is below the numbers that float32 has all digits of.
OTHERS = (3.7e-29, 1.1e-7, 7.3e29, 2.0**-100)
WITHOUT_UNIT = ("sobol", "hsic", "greedy")
WITHOUT_ERROR = ("kernel-shap", "shap-partition", "shap-bpt", "greedy")
# The package compiles itself for shap-partition, once in a process.
methods = pytest.mark.parametrize(
    "method",
    [
        pytest.param(name, marks=[pytest.mark.thorough] if name == "shap-partition" else [])
        for name in METHODS
    ],
)


class Scores:
    """Two scores in float64, one of them of either sign, times a factor; counts images."""

    def __init__(self, factor: float, offset: float = 0.0) -> None:
        self.factor = factor
        self.offset = offset
        self.images = 0

    def __call__(self, images: NDArray[np.float32]) -> NDArray[np.float64]:
        self.images += len(images)
        bright = images.astype(np.float64).mean(3) * WEIGHTS
        one, other = bright[:, 4:16, 10:24].mean((1, 2)), bright[:, 12:, 18:].mean((1, 2)) ** 2
        scores = np.stack([np.tanh(3 * one), one * other - 0.05], 1)
        return self.factor * scores + self.offset


def explain(function: Any, method: str = "rise", **options: Any) -> iassa.Explanation:
    fields = {"features": "colour-position"} if method.startswith("iassa") else {}
    calls = 1300 if method == "iassa-paper" else 200
    given = {"target": [0, 1, "0 vs 1"], "calls": calls} | options
    return iassa.explain(
        PHOTO, FunctionModel(function, name="f"), method=open_method(method, **fields), **given
    )


@methods
def test_the_map_of_scores_times_c_is_c_times_the_map(method: str) -> None:
    """Or the same map, where its values have no score unit."""
    plain = explain(Scores(1.0), method)
    size = np.abs(plain.saliency).max()
    has_unit = plain.method["measures"] in ("effect", "mean score")
    assert has_unit == (method not in WITHOUT_UNIT)
    for c in POWERS:  # to the bit
        unit = np.float32(c if has_unit else 1)
        scaled = explain(Scores(c), method)
        assert np.array_equal(scaled.saliency, plain.saliency * unit)
        assert np.array_equal(scaled.standard_error, plain.standard_error * unit)
        assert np.allclose(scaled.relative_errors, plain.relative_errors, rtol=1e-9)
        assert scaled.warnings == plain.warnings
    for c in OTHERS:
        scaled = explain(Scores(c), method)
        for name in ("saliency", "standard_error"):
            found = getattr(scaled, name).astype(np.float64) / (c if has_unit else 1)
            wanted = getattr(plain, name)
            known = np.isfinite(wanted)
            assert np.array_equal(known, np.isfinite(found))
            assert np.allclose(found[known], wanted[known], rtol=0, atol=steps(64, size))
        # That of a mean score is counted from the lowest: it rounds at the size of the score.
        assert np.allclose(scaled.relative_errors, plain.relative_errors, rtol=0.01)


@methods
@pytest.mark.parametrize(
    ("factor", "seen"),
    [
        (1e36, "at most 1e[+]33 in size, got .*e[+]35 for the target class 0"),
        (1e39, "got numbers above 3e38 for 1 of 1 images"),
        (1e300, "got numbers above 3e38 for 1 of 1 images"),
        (1.7e308, "got numbers above 3e38 for 1 of 1 images"),
        (1e-40, "at least 1e-33 in size, got .*e-41 for the target class 0"),
        (1e-300, "at least 1e-33 in size, got .*e-301 for the target class 0"),
    ],
)
def test_scores_that_no_map_can_show_are_refused_at_the_first_call(
    method: str, factor: float, seen: str
) -> None:
    function = Scores(factor)
    with pytest.raises(BlackBoxError, match=seen):
        explain(function, method)
    assert function.images == 1


@methods
@pytest.mark.parametrize(
    ("at", "value"),
    [(1, np.nan), (1, 1e35), (2, np.inf), (3, 1e39), (18, 1e35), (19, -np.inf), (60, np.nan)],
)
def test_a_number_that_cannot_be_used_ends_the_run_wherever_it_comes(
    method: str, at: int, value: float
) -> None:
    """The first image, the baseline of shap, the first batch, the image asked again, and later."""
    scores = Scores(1.0)

    def turns(images: NDArray[np.float32]) -> NDArray[np.float64]:
        before = scores.images
        answer = scores(images)
        answer[(np.arange(len(images)) + before + 1) == at] = value
        return answer

    # Three searches would share the calls, and be over by then.
    options: dict[str, Any] = {"target": 0} if method == "greedy" else {}
    with pytest.raises(BlackBoxError, match=r"finite|at most") as caught:
        explain(turns, method, calls=120, **options)
    if isinstance(caught.value, iassa.RunFailedError):
        part = caught.value.explanation
        assert part.calls == scores.images
        assert np.isfinite(part.saliency).all()
        assert not part.complete


@methods
@pytest.mark.parametrize("factor", [1e-37, 1e-40, 1e-170, 1e-300])
def test_what_only_masks_show_to_be_too_small_is_never_exact(method: str, factor: float) -> None:
    scores = Scores(factor)

    def nothing_at_first(images: NDArray[np.float32]) -> NDArray[np.float64]:
        return scores(images) * (scores.images > 1)

    # Half of the windows, so that there is something left to be unsure of.
    made = explain(nothing_at_first, method, target=0, calls=120, **_tolerance(method))
    assert made.relative_error == math.inf
    assert np.isinf(made.standard_error).all()
    assert made.stopped != "tolerance"
    assert any("too small for a map" in text for text in made.warnings)


def _tolerance(method: str) -> dict[str, float]:
    return {} if method in WITHOUT_ERROR else {"tolerance": 0.99}


def test_weights_of_a_target_count() -> None:
    made = explain(Scores(1.0), keep_scores="all")
    for weight, seen in ((1e40, "at most 1e[+]33"), (1e308, "at most"), (1e-40, "at least 1e-33")):
        target = iassa.models.Target("heavy", (0, 1), (weight, weight))
        function = Scores(1.0)
        with pytest.raises(BlackBoxError, match=f"{seen}.* for the target heavy"):
            explain(function, target=target)
        assert function.images == 1
        with pytest.raises(BlackBoxError, match=f"{seen}.* for the target heavy"):
            iassa.retarget(made, target)


def test_values_of_a_function_of_the_scores_count() -> None:
    def far(scores: NDArray[np.float64]) -> NDArray[np.float64]:
        return scores[:, 0] * 1e250

    with pytest.raises(BlackBoxError, match=r"at most 1e\+33 in size, got .* for the target"):
        explain(Scores(1.0), target=far)


def test_other_outputs_may_be_as_small_or_as_large_as_float32() -> None:
    def three(images: NDArray[np.float32]) -> NDArray[np.float64]:
        others = np.full((len(images), 2), [-3.4e38, 1e-300])
        return np.concatenate([Scores(1.0)(images), others], 1)

    assert np.array_equal(explain(three).saliency, explain(Scores(1.0)).saliency)


@pytest.mark.parametrize("offset", [1e6, -1e6])
def test_digits_that_float32_loses_to_an_offset_are_told(offset: float) -> None:
    def single(images: NDArray[np.float32]) -> NDArray[np.float32]:
        return Scores(1.0, offset)(images).astype(np.float32)

    with pytest.warns(WeakEvidenceWarning, match="rounding of a model.*Subtract a constant"):
        made = explain(single, "iassa", target=0)
    assert "every masked image scores the same" not in "".join(made.warnings)
    # In float64 none are lost: the same effect, to the rounding of the scores.
    wanted = explain(Scores(1.0), "iassa", target=0).saliency
    found = explain(Scores(1.0, offset), "iassa", target=0).saliency
    assert np.allclose(found, wanted, rtol=0, atol=1e-3 * np.abs(wanted).max())


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_map_that_is_no_map_has_an_infinite_relative_error(value: float) -> None:
    saliency = torch.tensor([[[0.5, value], [0.1, 0.2]]])
    deviations = torch.ones(2, 1, 2, 2, dtype=torch.float64)
    everywhere = torch.ones(2, 2, dtype=torch.bool)
    for error in (deviations, 0 * deviations):
        effect = Effect(saliency, everywhere, error, everywhere, signed=True)
        assert effect.relative_errors == (math.inf,)


def test_an_error_that_float32_would_round_to_0_is_not_0() -> None:
    deviations = torch.full((2, 1, 2, 2), 1e-60, dtype=torch.float64)
    everywhere = torch.ones(2, 2, dtype=torch.bool)
    effect = Effect(torch.zeros(1, 2, 2), everywhere, deviations, everywhere, signed=True)
    assert (effect.standard_error > 0).all()
    assert effect.relative_errors == (math.inf,)
