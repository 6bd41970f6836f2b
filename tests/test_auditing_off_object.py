"""How much of a map is off an object, its interval, and what hiding the object does."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import t as student

import iassa
from audited import CORNER, OBJECT, SIZE, mask_of, objects
from iassa.auditing import off_object, score_hidden
from iassa.errors import InputError
from iassa.image import resize

RISE = iassa.methods.Rise(debiased=True)


def photo(seed: int = 0, size: tuple[int, int] = SIZE) -> np.ndarray:
    image = np.random.default_rng(seed).uniform(0.1, 0.3, (*size, 3)).astype(np.float32)
    image[OBJECT], image[CORNER] = 0.9, 0.95
    return image


@pytest.fixture(scope="module")
def explanation() -> iassa.Explanation:
    return iassa.explain(photo(), objects, method=RISE, calls=96, target="cat")


def made(explanation: iassa.Explanation, saliency, error, moved) -> iassa.Explanation:
    """The same with other maps."""
    return dataclasses.replace(
        explanation,
        saliency=saliency[None].astype(np.float32),
        standard_error=error[None].astype(np.float32),
        deviations=moved[:, None].astype(np.float32),
    )


def test_without_errors_it_is_the_share_of_the_positive_parts(explanation) -> None:
    rng = np.random.default_rng(1)
    saliency, mask = rng.normal(size=SIZE).astype(np.float32), rng.random(SIZE) < 0.3
    exact = made(explanation, saliency, np.zeros(SIZE), np.zeros((32, 28, 28)))
    off = whole = 0.0
    for row in range(SIZE[0]):
        for column in range(SIZE[1]):
            height = max(float(saliency[row, column]), 0.0)
            whole += height
            off += 0.0 if mask[row, column] else height
    found = off_object(exact, mask)
    assert found.share == pytest.approx(off / whole, rel=1e-6)
    assert found.interval == pytest.approx((found.share, found.share))
    assert found.share == pytest.approx(1 - iassa.metrics.relevance_mass(saliency, mask), rel=1e-6)
    assert off_object(exact, ~mask).share == pytest.approx(1 - found.share)


def test_half_of_the_masks_say_which_pixels_are_positive_the_others_how_much(explanation) -> None:
    rng = np.random.default_rng(2)
    saliency, mask = rng.normal(size=SIZE), mask_of()
    saliency[mask] += 1
    error = rng.uniform(0.2, 1.5, SIZE)
    wanted, draws = np.zeros(SIZE), 4000
    for _ in range(draws):
        noise = rng.normal(size=SIZE) * error
        wanted += np.where(saliency + noise > 0, saliency - noise, 0) / draws
    found = off_object(made(explanation, saliency, error, np.zeros((32, 28, 28))), mask)
    assert found.share == pytest.approx(wanted[~mask].sum() / wanted.sum(), abs=0.01)


def test_the_interval_is_that_of_the_jackknife(explanation) -> None:
    mask = mask_of()
    found = off_object(explanation, mask)
    assert explanation.deviations is not None
    error, shares = explanation.standard_error[0], []
    for group in [None, *explanation.deviations[:, 0]]:
        saliency = explanation.saliency[0].astype(np.float64)
        if group is not None:
            saliency = saliency + resize(torch.from_numpy(group).double(), SIZE).numpy()
        exact = made(explanation, saliency, error, np.zeros((32, 28, 28)))
        shares.append(off_object(exact, mask).share)
    whole, without = shares[0], np.array(shares[1:])
    reach = student.ppf(0.975, 31) * np.sqrt(31 / 32 * ((without - without.mean()) ** 2).sum())
    assert found.share == pytest.approx(whole, abs=1e-6)
    assert found.interval == pytest.approx((max(whole - reach, 0), min(whole + reach, 1)), abs=1e-5)


def test_the_interval_covers_what_all_masks_would_say() -> None:
    """Of 50 runs; the share of the plain positive parts is too high."""
    image, mask = photo(), mask_of()

    def look(images):  # the object and, half as much, the corner
        both = images[:, 8:20, 12:28].mean((1, 2, 3)) + images[:, 24:, 34:].mean((1, 2, 3)) / 2
        return both[:, None]

    runs = [iassa.explain(image, look, method=RISE, calls=97, seed=s) for s in range(50)]
    mean = np.mean([one.saliency[0] for one in runs], axis=0)
    right = np.maximum(mean, 0)[~mask].sum() / np.maximum(mean, 0).sum()
    found = [off_object(one, mask) for one in runs]
    covered = np.mean([one.interval[0] <= right <= one.interval[1] for one in found])
    plain = np.mean([1 - iassa.metrics.relevance_mass(one.saliency[0], mask) for one in runs])
    assert covered >= 0.88
    assert abs(np.mean([one.share for one in found]) - right) < plain - right


def test_the_mask_may_be_that_of_a_larger_image() -> None:
    image = np.repeat(np.repeat(photo(), 20, axis=0), 20, axis=1)  # 640 x 880: kept at 512
    large = iassa.explain(
        image, dataclasses.replace(objects, input_size=SIZE), method=RISE, calls=60
    )
    assert large.saliency.shape[1:] == (372, 512)
    mask = np.repeat(np.repeat(mask_of(), 20, axis=0), 20, axis=1)
    whole = off_object(large, mask)
    small = off_object(large, np.asarray(large.saliency[0] > np.inf) | _shrunk(mask))
    assert whole.share == pytest.approx(small.share, abs=0.02)
    with pytest.raises(InputError, match=r"annotation of shape \(640, 880\)"):
        off_object(large, mask_of())


def _shrunk(mask: np.ndarray) -> np.ndarray:
    rows = (np.arange(372) + 0.5) * mask.shape[0] / 372
    columns = (np.arange(512) + 0.5) * mask.shape[1] / 512
    return mask[rows.astype(int)][:, columns.astype(int)]


def test_a_loaded_explanation_has_the_same_interval(explanation, tmp_path: Path) -> None:
    explanation.save(tmp_path / "map", pictures="none")
    loaded = iassa.Explanation.load(tmp_path / "map")
    assert loaded.deviations is None
    assert off_object(loaded, mask_of()) == off_object(explanation, mask_of())
    bare = dataclasses.replace(loaded, evidence=None)
    assert off_object(bare, mask_of()).interval is None


@pytest.mark.parametrize("method", ["rise", "greedy"])
def test_where_errors_say_nothing_of_a_sum_there_is_no_interval(method: str) -> None:
    one = iassa.explain(photo(), objects, method=method, calls=60)
    found = off_object(one, mask_of(), one.targets[0].name)
    wanted = 1 - iassa.metrics.relevance_mass(one.saliency[0], mask_of())
    assert (found.share, found.interval) == (pytest.approx(wanted), None)
    assert str(found) == f"{found.share:.0%}".replace("%", " %")


def test_a_map_that_is_all_errors_says_nothing(explanation) -> None:
    nothing = made(explanation, np.full(SIZE, 1e-3), np.ones(SIZE), np.zeros((32, 28, 28)))
    assert off_object(nothing, mask_of()).interval == (0.0, 1.0)
    flat = made(explanation, np.zeros(SIZE), np.zeros(SIZE), np.zeros((32, 28, 28)))
    assert off_object(flat, mask_of()).share == 0


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.zeros(SIZE, np.bool_), "an empty one"),
        (mask_of().astype(np.float32), "dtype bool, got float32"),
        (mask_of().T, r"shape \(32, 44\)"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused(explanation, mask, message: str) -> None:
    for function in (off_object, lambda one, m: score_hidden(one, objects, m)):
        with pytest.raises(InputError, match=message) as error:
            function(explanation, mask)
        assert "\n" not in str(error.value)


# What hiding does.


@pytest.mark.parametrize("fills", [None, 0.25, (0.0, 1.0)])
def test_the_hidden_scores_are_those_of_the_masked_images(explanation, fills) -> None:
    image, mask = photo(), mask_of()
    mask[0, 0] = True
    found = score_hidden(explanation, objects, mask, fills=fills)
    shown = {None: [0.5], 0.25: [0.25]}.get(fills, fills)
    for kept, score in ((~mask, found.without_object), (mask, found.without_background)):
        each = [np.where(kept[:, :, None], image, np.float32(fill)) for fill in shown]
        wanted = [objects(one[None])[0, 0] for one in each]
        assert score == pytest.approx(np.mean(wanted), abs=1e-6)
    assert found.calls == 2 * len(shown)
    assert found.whole == explanation.scores[0]


def test_another_black_box_is_refused(explanation) -> None:
    other = dataclasses.replace(objects, name="other")
    with pytest.raises(InputError, match="expected the black box that was asked before"):
        score_hidden(explanation, other, mask_of())


def test_a_tiny_object_is_hidden_at_the_size_that_the_black_box_sees() -> None:
    small = dataclasses.replace(objects, input_size=(16, 22))
    one = iassa.explain(photo(), small, method=RISE, calls=60)
    mask = np.zeros(SIZE, np.bool_)
    mask[12, 17] = True  # a quarter of the pixel at (6, 8)
    found = score_hidden(one, small, mask)
    assert found.without_object < found.whole
