"""Blocked attention against the explicit P x P softmax, in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from iassa.estimators import attention as attention_module
from iassa.estimators.attention import BLOCK, KEPT, Attention, spatial_attention
from rounding import steps

Array = NDArray[np.float64]

SMALL = (5, 7)
OVER_ONE_BLOCK = (23, 41)  # 943 positions: two blocks and a part of a third
assert 2 * BLOCK < 23 * 41 < 3 * BLOCK


def softmax(logits: Array) -> Array:
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    weights: Array = shifted / shifted.sum(axis=1, keepdims=True)
    return weights


def random_levels(shapes: list[tuple[int, int, int]], seed: int) -> list[torch.Tensor]:
    rng = np.random.default_rng(seed)
    return [torch.from_numpy(rng.normal(size=shape)).float() for shape in shapes]


def explicit(attention: Attention) -> Array:
    """A, all P x P of it."""
    features = attention.features.double().numpy()
    return softmax(attention.scale * features @ features.T)


def attend_explicitly(attention: Attention, maps: torch.Tensor) -> Array:
    values = maps.double().numpy().reshape(len(maps), -1)
    mapped: Array = (explicit(attention) @ values.T).T.reshape(maps.shape)
    return mapped


@pytest.mark.parametrize("size", [SMALL, (7, 5), (1, 9), (1, 1), (16, 28), OVER_ONE_BLOCK])
@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("temperature", [0.05, 0.1, 1.0])
def test_attention_equals_the_explicit_softmax(
    size: tuple[int, int], normalise: bool, temperature: float
) -> None:
    levels = random_levels([(6, *size), (9, *size)], 0)
    attention = spatial_attention(levels, size, temperature=temperature, normalise=normalise)
    maps = torch.from_numpy(np.random.default_rng(1).normal(size=(3, *size))).float()
    attended = attention.attend(maps)
    assert attended.dtype == torch.float32
    expected = attend_explicitly(attention, maps)
    # A weight is off by as much as the logit that it is made of.
    np.testing.assert_allclose(
        attended.numpy(), expected, atol=steps(16, maps, largest_logit(attention))
    )


def largest_logit(attention: Attention) -> float:
    squares = attention.features.square().sum(1)
    return attention.scale * float(squares.max())


@pytest.mark.parametrize("size", [(BLOCK // 16, 16), (BLOCK // 16, 32), (1, BLOCK + 1)])
def test_positions_that_fill_a_block_to_its_edge(size: tuple[int, int]) -> None:
    attention = spatial_attention(random_levels([(5, *size)], 2), size)
    maps = torch.from_numpy(np.random.default_rng(3).normal(size=(1, *size))).float()
    expected = attend_explicitly(attention, maps)
    np.testing.assert_allclose(
        attention.attend(maps).numpy(), expected, atol=steps(8, expected, attention.scale)
    )


def test_features_are_levels_of_length_one_over_the_root_of_their_number() -> None:
    """So that a product is the mean over levels of cosines, whatever the levels' scales."""
    levels = random_levels([(4, *SMALL), (6, *SMALL), (3, *SMALL)], 4)
    attention = spatial_attention([1e3 * levels[0], levels[1], 1e-3 * levels[2]], SMALL)
    products = attention.features @ attention.features.T
    cosines = []
    for level in levels:
        flat = level.double().numpy().reshape(len(level), -1)
        flat = flat / np.linalg.norm(flat, axis=0)
        cosines.append(flat.T @ flat)
    np.testing.assert_allclose(products.numpy(), np.mean(cosines, axis=0), atol=steps(8, products))
    assert attention.scale == pytest.approx(10)
    assert attention.bounded


def test_raw_features_are_the_levels_one_after_another() -> None:
    levels = random_levels([(4, *SMALL), (6, *SMALL)], 5)
    attention = spatial_attention(levels, SMALL, temperature=1.0, normalise=False)
    expected = torch.cat(levels).flatten(1).T
    np.testing.assert_array_equal(attention.features, expected)


@settings(max_examples=40)
@given(
    size=st.tuples(st.integers(1, 6), st.integers(1, 8)),
    channels=st.integers(1, 5),
    temperature=st.floats(0.05, 10),
    normalise=st.booleans(),
    scale=st.sampled_from([1e-3, 1.0, 30.0]),
    value=st.floats(-1000, 1000, width=32),
    seed=st.integers(0, 2**16),
)
def test_rows_sum_to_one(
    size: tuple[int, int],
    channels: int,
    temperature: float,
    normalise: bool,
    scale: float,
    value: float,
    seed: int,
) -> None:
    """A constant map stays what it is, and no map leaves its own range."""
    levels = [scale * level for level in random_levels([(channels, *size)], seed)]
    attention = spatial_attention(levels, size, temperature=temperature, normalise=normalise)
    constant = attention.attend(torch.full((1, *size), value))
    np.testing.assert_allclose(constant, value, rtol=1e-5)
    one = torch.from_numpy(np.random.default_rng(seed).normal(size=(1, *size))).float()
    attended = attention.attend(one)
    assert attended.min() >= one.min() - steps(32, one)
    assert attended.max() <= one.max() + steps(32, one)


@pytest.mark.parametrize("normalise", [True, False])
def test_constant_maps_stay_constant_over_several_blocks(normalise: bool) -> None:
    size = OVER_ONE_BLOCK
    attention = spatial_attention(random_levels([(3, *size)], 6), size, normalise=normalise)
    values = torch.tensor([0.25, -7.0])
    attended = attention.attend(values[:, None, None].expand(2, 60, 90))
    np.testing.assert_allclose(
        attended, np.broadcast_to(values[:, None, None], (2, 60, 90)), rtol=1e-5
    )


def fused_explicitly(
    levels: list[torch.Tensor], size: tuple[int, int], *, normalise: bool
) -> Array:
    """Eq. 9 in float64: every level at the positions, one after another, (P, C)."""
    fused = []
    for level in levels:
        enlarged = torch.nn.functional.interpolate(
            level[None].double(), size, mode="bilinear", antialias=True
        )[0].numpy()
        if normalise:
            enlarged = enlarged / np.linalg.norm(enlarged, axis=0) / np.sqrt(len(levels))
        fused.append(enlarged.reshape(len(level), -1))
    features: Array = np.concatenate(fused).T
    return features


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("size", [(3, 4), (9, 14), (31, 17)])
def test_levels_with_more_channels_than_positions_give_the_same_attention(
    size: tuple[int, int], normalise: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are shortened by a QR decomposition first; all products must survive it.

    With all of their squares kept: what less leaves is the next test's.
    """
    monkeypatch.setattr(attention_module, "KEPT", 1)
    wide, fine = random_levels([(40, 3, 4), (5, 8, 6)], 7)
    wide = wide / 6  # raw products of moderate size
    attention = spatial_attention([fine, wide], size, temperature=0.5, normalise=normalise)
    positions, channels = attention.features.shape
    assert positions == size[0] * size[1]
    assert channels == 5 + 12 if not normalise else channels <= 5 + 12
    features = fused_explicitly([fine, wide], size, normalise=normalise)
    np.testing.assert_allclose(
        (attention.features @ attention.features.T).numpy(),
        features @ features.T,
        atol=steps(64, features @ features.T),
    )
    np.testing.assert_allclose(
        explicit(attention),
        softmax(features @ features.T / 0.5),
        atol=steps(32, features @ features.T / 0.5),
    )


@pytest.mark.parametrize("kept", [0.999, KEPT, 0.95])
@pytest.mark.parametrize("size", [(9, 14), (31, 17)])
def test_fewer_directions_change_products_and_map_by_no_more_than_what_they_leave_out(
    size: tuple[int, int], kept: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unit features a, b of which shares r_a, r_b are left out, the rest at length 1 again.

    With a = Pa + Qa the product changes by c (1 - |Pa| |Pb|) - Qa Qb, c the new product, so by no
    more than 1 - sqrt((1 - r_a) (1 - r_b)) + sqrt(r_a r_b) <= 2 max r = d. Weights then change by
    a factor within exp(+-2 d / temperature), and the map by that less 1, of its largest value.
    """
    monkeypatch.setattr(attention_module, "KEPT", kept)
    mix = np.random.default_rng(18).normal(size=(24, 24)) * 0.5 ** np.arange(24)  # few directions
    levels = [
        torch.einsum("chw,dc->dhw", level, torch.from_numpy(mix[:, : len(level)]).float())
        for level in random_levels([(20, 3, 4), (6, 8, 6)], 19)
    ]
    attention = spatial_attention(levels, size)
    features = fused_explicitly(levels, size, normalise=True)
    _, strengths, directions = np.linalg.svd(features, full_matrices=False)
    shares = strengths**2 / (strengths**2).sum()
    number = next(n for n in range(1, 99) if shares[:n].sum() >= kept)  # the fewest that keep it
    assert attention.features.shape[1] == number < 24
    left_out = 1 - ((features @ directions[:number].T) ** 2).sum(1)
    assert left_out.mean() <= 1 - kept

    kept_root, left_root = np.sqrt(1 - left_out), np.sqrt(np.maximum(left_out, 0))
    bound = 1 - np.outer(kept_root, kept_root) + np.outer(left_root, left_root)
    found = attention.features.double().numpy()
    change = np.abs(found @ found.T - features @ features.T)
    assert (change <= bound + steps(64, 1.0)).all()

    maps = torch.from_numpy(np.random.default_rng(20).uniform(-1, 1, (2, *size))).float()
    expected = softmax(10 * features @ features.T) @ maps.double().numpy().reshape(2, -1).T
    difference = np.abs(attention.attend(maps).numpy() - expected.T.reshape(maps.shape))
    assert (difference.reshape(2, -1) <= 10 * change.max(axis=1) + steps(64, 1.0)).all()


@pytest.mark.parametrize("normalise", [True, False])
def test_a_coarser_attention_is_that_of_averaged_features(normalise: bool) -> None:
    """6 x 8 positions to 3 x 4; loops over the widened bilinear filter, the softmax explicit."""
    fine, coarse = (6, 8), (3, 4)
    levels = random_levels([(5, *fine), (4, *fine)], 16)
    attention = spatial_attention(levels, fine, normalise=normalise)
    coarser = attention.coarsen(coarse)
    planes = attention.features.double().numpy().reshape(*fine, -1)
    down, across = (triangle(n, m) for n, m in zip(fine, coarse, strict=True))
    features = np.einsum("ir,jc,rcf->ijf", down, across, planes).reshape(12, -1)
    if normalise:
        features /= np.linalg.norm(features, axis=1, keepdims=True)
    np.testing.assert_allclose(coarser.features, features, atol=steps(8, features))
    assert (coarser.size, coarser.scale, coarser.bounded) == (coarse, 10, normalise)
    assert attention.coarsen(coarse) is coarser  # it keeps its blocks for the next round
    maps = torch.from_numpy(np.random.default_rng(17).normal(size=(2, *coarse))).float()
    expected = softmax(10 * features @ features.T) @ maps.double().numpy().reshape(2, -1).T
    np.testing.assert_allclose(
        coarser.attend(maps).numpy(),
        expected.T.reshape(maps.shape),
        atol=steps(8, coarser.scale, expected),
    )
    for no_coarser in (fine, (9, 8), (28, 28)):  # maps of that size are averaged to the positions
        assert attention.coarsen(no_coarser) is attention
    assert attention.coarsen((3, 28)).size == (3, 8)


def triangle(pixels: int, parts: int) -> Array:
    """Weights (parts, pixels) of a bilinear filter as wide as `pixels / parts` on either side."""
    weights = np.zeros((parts, pixels))
    for i in range(parts):
        for j in range(pixels):
            distance = abs((j + 0.5) * parts / pixels - (i + 0.5))
            weights[i, j] = max(0, 1 - distance)
    normal: Array = weights / weights.sum(axis=1, keepdims=True)
    return normal


def test_maps_of_another_size_are_averaged_to_the_positions_and_back() -> None:
    """2 x 3 positions, all features alike: every row of A is the mean."""
    attention = Attention(torch.ones(6, 1), (2, 3), scale=1.0, bounded=True)
    maps = torch.arange(4 * 9, dtype=torch.float32).reshape(1, 4, 9)
    attended = attention.attend(maps)
    assert attended.shape == (1, 4, 9)
    np.testing.assert_allclose(attended, 17.5, rtol=1e-6)


def test_attention_moves_the_map_to_what_looks_alike() -> None:
    """Two kinds of position: each gets the mean of its own kind, the other counts for nothing."""
    kind = np.random.default_rng(8).random(SMALL) < 0.4
    level = torch.from_numpy(np.stack([kind, ~kind])).float()
    attention = spatial_attention([level], SMALL, temperature=0.02)
    one = np.random.default_rng(9).random(SMALL).astype(np.float32)
    attended = attention.attend(torch.from_numpy(one)[None])[0].numpy()
    np.testing.assert_allclose(attended[kind], one[kind].mean(), rtol=1e-5)
    np.testing.assert_allclose(attended[~kind], one[~kind].mean(), rtol=1e-5)


def test_a_low_temperature_attends_to_itself_and_a_high_one_to_all() -> None:
    one = torch.from_numpy(np.random.default_rng(10).random((1, *SMALL))).float()
    levels = random_levels([(8, *SMALL)], 11)
    sharp = spatial_attention(levels, SMALL, temperature=0.002).attend(one)
    np.testing.assert_allclose(sharp, one, atol=steps(16, one))
    blunt = spatial_attention(levels, SMALL, temperature=1e6).attend(one)
    np.testing.assert_allclose(blunt, float(one.mean()), rtol=1e-5)


def test_raw_products_of_any_size_do_not_overflow() -> None:
    """Products of a thousand: exp overflows at 89. One product wins, the softmax is one-hot."""
    levels = [50 * level for level in random_levels([(6, *SMALL)], 12)]
    attention = spatial_attention(levels, SMALL, temperature=1.0, normalise=False)
    assert largest_logit(attention) > 1000
    one = torch.from_numpy(np.random.default_rng(13).random((1, *SMALL))).float()
    attended = attention.attend(one)
    np.testing.assert_allclose(
        attended.numpy(), attend_explicitly(attention, one), atol=steps(16, one)
    )


def test_positions_without_any_feature_attend_to_all_alike() -> None:
    """Where rectified features are all zero, every product is: no NaN, the mean of the map."""
    level = random_levels([(4, *SMALL)], 14)[0]
    level[:, 1, 2] = 0
    one = torch.from_numpy(np.random.default_rng(15).random((1, *SMALL))).float()
    attended = spatial_attention([level], SMALL).attend(one)
    assert attended[0, 1, 2] == pytest.approx(float(one.mean()), rel=1e-4)
    assert torch.isfinite(attended).all()
