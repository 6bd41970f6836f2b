"""Places that the maps of a class share: found where there is one, and not by chance."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from iassa.auditing import find_shared_places, measure_places
from iassa.errors import InputError


def draw_map(rng: np.random.Generator, stamp: float = 0.0, size=(56, 70)) -> np.ndarray:
    """An object somewhere in the middle, noise, and perhaps a stamp at the bottom right."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    middle = rng.normal((28, 35), 9)
    saliency = np.exp(-((rows - middle[0]) ** 2 + (columns - middle[1]) ** 2) / 72)
    noise = gaussian_filter(rng.normal(size=size), 4)
    saliency += 0.25 * noise / noise.std()
    return saliency + stamp * np.exp(-((rows - 49) ** 2 + (columns - 61) ** 2) / 18)


def places(seed: int, stamps: list[float]) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.array([measure_places(draw_map(rng, stamp)) for stamp in stamps])


def test_the_share_of_each_cell_is_that_of_its_pixels() -> None:
    saliency = np.random.default_rng(0).normal(size=(28, 42))
    wanted = np.zeros((14, 14))
    for row in range(28):
        for column in range(42):
            wanted[row // 2, column // 3] += max(saliency[row, column], 0)
    np.testing.assert_allclose(measure_places(saliency), wanted / wanted.sum(), atol=1e-12)
    assert measure_places(np.full((28, 42), -1.0)).sum() == 0
    assert measure_places(saliency[:9, :5]).sum() == pytest.approx(1)  # of fewer pixels than cells
    with pytest.raises(InputError, match="finite"):
        measure_places(np.full((28, 42), np.nan))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_stamp_of_one_class_is_found(seed: int) -> None:
    classes = ["cat", "dog", "bird"] * 12
    stamps = [1.5 if one == "dog" and k < 30 else 0.0 for k, one in enumerate(classes)]
    found = find_shared_places(places(seed, stamps), classes)
    assert [one.category for one in found] == ["dog"]
    top, left, bottom, right = found[0].box
    assert top < 49.5 / 56 < bottom
    assert left < 61.5 / 70 < right
    stamped = {k for k, stamp in enumerate(stamps) if stamp}
    assert len(stamped & {*found[0].images}) >= 8
    assert {classes[k] for k in found[0].images} == {"dog"}
    assert (found[0].of, found[0].of_others) == (12, 24)
    assert found[0].others <= 6
    assert found[0].chance <= 0.01


def test_where_there_is_none_one_audit_in_twenty_reports_one() -> None:
    """Of 60 audits with three classes: more than 8 would be a chance of one in a thousand."""
    classes = ["cat", "dog", "bird"] * 8
    reports = sum(
        bool(find_shared_places(places(seed, [0.0] * 24), classes, seed=seed))
        for seed in range(100, 160)
    )
    assert reports <= 8


def test_what_all_classes_share_is_no_place_of_one() -> None:
    classes = ["cat", "dog"] * 12
    assert find_shared_places(places(5, [2.0] * 24), classes) == ()


def test_one_class_or_few_images_have_nothing_to_compare() -> None:
    assert find_shared_places(places(6, [2.0] * 9), ["cat"] * 9) == ()
    assert find_shared_places(places(6, [2.0] * 2 + [0.0] * 2), [*"aabb"]) == ()
    assert find_shared_places(np.zeros((0, 14, 14)), []) == ()
    assert find_shared_places(np.zeros((8, 14, 14)), [*"aaaabbbb"]) == ()  # flat maps
