"""The steps of a dtype that tolerances are made of."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rounding import steps


def test_a_step_is_the_way_to_the_next_number() -> None:
    for value in (1.0, 1.9, 0.3, 1009.0, 3e-12):
        step = float(np.nextafter(np.float32(value), np.float32(np.inf)) - np.float32(value))
        assert steps(1, value) == steps(1, -value) == step
        assert steps(1, value, dtype=np.float64) == np.nextafter(value, np.inf) - value
    assert steps(1, 1009.0) == 2**-14
    assert steps(0.5, 1.0) == 2**-24
    assert steps(3, 2) == 3 * 2**-22


@pytest.mark.parametrize("kind", [list, np.array, torch.tensor, np.float32, np.float64])
def test_it_is_that_of_the_largest_value_of_all(kind) -> None:
    large = kind([[0.0, -3.0], [2.0, 1.0]]) if kind in (list, np.array, torch.tensor) else kind(-3)
    assert steps(4, large) == steps(4, 1.0, large) == steps(4, large, np.zeros(3)) == 4 * 2**-22
    assert steps(4, large, 1e6) == 4 * 2**-4


def test_what_is_not_finite_is_left_out() -> None:
    assert steps(1, [np.nan, 1, np.inf], -np.inf) == 2**-23
    with pytest.raises(ValueError, match="expected a finite value of float32"):
        steps(1, [np.nan, np.inf])
    for values in ([[]], [], [1e300]):
        with pytest.raises(ValueError, match="expected a finite value"):
            steps(1, *values)


def test_tensors_that_numpy_does_not_read_are_read() -> None:
    learnt = torch.ones(2, dtype=torch.bfloat16, requires_grad=True)
    assert steps(1, learnt) == 2**-23
