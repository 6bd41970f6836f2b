"""Overlap, best F1 and IoU against sets, scikit-learn, brute force and cases worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from sklearn.metrics import f1_score, jaccard_score, precision_score, recall_score

from iassa.errors import InputError
from iassa.metrics import best_f1, measure_overlap, overlap_at, threshold_region
from rounding import steps

SHAPES = st.tuples(st.integers(1, 5), st.integers(1, 7))
FEW_VALUES = st.integers(-3, 4).map(float)  # many ties
MANY_VALUES = st.floats(-1e6, 1e6, width=32)


def maps(shape: tuple[int, int]) -> st.SearchStrategy[NDArray[np.float32]]:
    return arrays.arrays(np.float32, shape, elements=FEW_VALUES) | arrays.arrays(
        np.float32, shape, elements=MANY_VALUES
    )


def outlines(shape: tuple[int, int]) -> st.SearchStrategy[NDArray[np.bool_]]:
    return arrays.arrays(np.bool_, shape).filter(lambda annotation: bool(annotation.any()))


PAIRS = SHAPES.flatmap(lambda shape: st.tuples(maps(shape), outlines(shape)))
REGIONS = SHAPES.flatmap(lambda shape: st.tuples(arrays.arrays(np.bool_, shape), outlines(shape)))

# 5 x 7, worked by hand below: peak 10, three pixels above 30 % of it, negatives around.
HAND_MAP = np.array(
    [
        [-4, 0, 0, 0, 0, 0, 0],
        [0, 10, 5, 0, 0, 0, 0],
        [0, 4, 3, 1, 0, 0, 0],
        [0, 0, 1, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, -9],
    ],
    dtype=np.float32,
)
HAND_ANNOTATION = np.zeros((5, 7), dtype=np.bool_)
HAND_ANNOTATION[1:3, 1:3] = True
HAND_ANNOTATION[3, 1] = True


def points(mask: NDArray[np.bool_]) -> set[tuple[int, int]]:
    return {
        (row, column)
        for row in range(mask.shape[0])
        for column in range(mask.shape[1])
        if mask[row, column]
    }


def f1_of_sets(region: set[tuple[int, int]], annotation: set[tuple[int, int]]) -> float:
    inside = len(region & annotation)
    if inside == 0:
        return 0.0
    precision, recall = inside / len(region), inside / len(annotation)
    return 2 * precision * recall / (precision + recall)


def brute_force_best_f1(saliency: NDArray[np.float32], annotation: NDArray[np.bool_]) -> float:
    positive = [[float(value) for value in row] for row in saliency]
    if min(map(min, positive)) < 0:
        positive = [[max(value, 0.0) for value in row] for row in positive]
    lowest = min(map(min, positive)) if saliency.min() >= 0 else 0.0
    best = 0.0
    for threshold in {value for row in positive for value in row if value > lowest}:
        region = {
            (r, c)
            for r, row in enumerate(positive)
            for c, value in enumerate(row)
            if value >= threshold
        }
        best = max(best, f1_of_sets(region, points(annotation)))
    return best


def test_hand_case_at_the_threshold() -> None:
    region = threshold_region(HAND_MAP, 0.3)
    assert points(region) == {(1, 1), (1, 2), (2, 1)}  # 3 is not above 0.3 x 10
    overlap = overlap_at(HAND_MAP, HAND_ANNOTATION)
    assert overlap.precision == 1
    assert overlap.recall == pytest.approx(3 / 5)
    assert overlap.f1 == pytest.approx(6 / 8)
    assert overlap.iou == pytest.approx(3 / 5)


def test_hand_case_of_the_best_threshold() -> None:
    best = best_f1(HAND_MAP, HAND_ANNOTATION)
    assert best.f1 == pytest.approx(8 / 9)  # the four pixels down to 3; 5 annotated, 4 found
    assert best.fraction == pytest.approx(0.2)  # between the values 3 and 1, over the peak 10
    assert best.iou == pytest.approx(4 / 5)


def test_negatives_make_zero_the_minimum() -> None:
    saliency = np.array([[-10, 0, 2, 4, 10]], dtype=np.float32)
    assert threshold_region(saliency, 0.3).tolist() == [[False, False, False, True, True]]
    # Min-max over [-10, 10] would put the threshold at -4.
    assert threshold_region(saliency + 10, 0.3).tolist() == [[False, True, True, True, True]]


def test_a_map_without_negatives_is_stretched_from_its_own_minimum() -> None:
    saliency = np.array([[5, 6, 8], [9, 15, 8.1]], dtype=np.float32)
    assert points(threshold_region(saliency, 0.3)) == {(1, 0), (1, 1), (1, 2)}


@pytest.mark.parametrize(
    "saliency",
    [
        np.zeros((5, 7), np.float32),
        np.full((5, 7), 2.5, np.float32),
        np.full((5, 7), -2.5, np.float32),
        -np.arange(35, dtype=np.float32).reshape(5, 7),
    ],
)
@pytest.mark.parametrize("fraction", [0.0, 0.3, 0.99])
def test_a_map_that_marks_nothing_has_an_empty_region(
    saliency: NDArray[np.float32], fraction: float
) -> None:
    assert not threshold_region(saliency, fraction).any()
    overlap = overlap_at(saliency, HAND_ANNOTATION, fraction=fraction)
    assert (overlap.iou, overlap.precision, overlap.recall, overlap.f1) == (0, 0, 0, 0)
    assert best_f1(saliency, HAND_ANNOTATION).f1 == 0
    assert best_f1(saliency, HAND_ANNOTATION).iou == 0


@given(PAIRS, st.floats(0, 0.999), st.integers(1, 64))
def test_the_region_does_not_depend_on_the_scale(
    pair: tuple[NDArray[np.float32], NDArray[np.bool_]], fraction: float, power: int
) -> None:
    saliency, _ = pair
    scaled = saliency.astype(np.float64) * 2.0**power  # exact
    np.testing.assert_array_equal(
        threshold_region(saliency, fraction), threshold_region(scaled, fraction)
    )


@given(REGIONS)
def test_overlap_equals_sets(pair: tuple[NDArray[np.bool_], NDArray[np.bool_]]) -> None:
    region, annotation = pair
    marked, annotated = points(region), points(annotation)
    overlap = measure_overlap(region, annotation)
    assert overlap.iou == pytest.approx(len(marked & annotated) / len(marked | annotated))
    assert overlap.recall == pytest.approx(len(marked & annotated) / len(annotated))
    assert overlap.precision == pytest.approx(len(marked & annotated) / max(len(marked), 1))
    assert overlap.f1 == pytest.approx(f1_of_sets(marked, annotated))


@given(REGIONS)
def test_overlap_equals_scikit_learn(pair: tuple[NDArray[np.bool_], NDArray[np.bool_]]) -> None:
    region, annotation = pair
    overlap = measure_overlap(region, annotation)
    for name, reference in (
        ("iou", jaccard_score),
        ("precision", precision_score),
        ("recall", recall_score),
        ("f1", f1_score),
    ):
        expected = reference(annotation.ravel(), region.ravel(), zero_division=0.0)
        assert getattr(overlap, name) == pytest.approx(expected)


@settings(max_examples=100)
@given(PAIRS)
def test_the_best_iou_is_the_best_of_all_thresholds(
    pair: tuple[NDArray[np.float32], NDArray[np.bool_]],
) -> None:
    saliency, annotation = pair
    lowest = max(float(saliency.min()), 0.0)
    thresholds = [value for value in np.unique(saliency) if value > lowest]
    by_hand = [
        jaccard_score(annotation.ravel(), (saliency >= value).ravel()) for value in thresholds
    ]
    best = best_f1(saliency, annotation)
    assert best.iou == pytest.approx(max(by_hand, default=0.0))
    assert overlap_at(saliency, annotation, fraction=best.fraction).iou == pytest.approx(best.iou)


@given(outlines((5, 7)))
def test_the_annotation_overlaps_itself_perfectly(annotation: NDArray[np.bool_]) -> None:
    overlap = measure_overlap(annotation, annotation)
    assert (overlap.iou, overlap.precision, overlap.recall, overlap.f1) == (1, 1, 1, 1)
    perfect = 0.0 if annotation.all() else 1.0  # then the map is flat
    assert best_f1(annotation.astype(np.float32), annotation).f1 == perfect
    assert best_f1(annotation.astype(np.float32), annotation).iou == perfect


@settings(max_examples=300)
@given(PAIRS)
def test_best_f1_equals_brute_force(pair: tuple[NDArray[np.float32], NDArray[np.bool_]]) -> None:
    saliency, annotation = pair
    assert best_f1(saliency, annotation).f1 == pytest.approx(
        brute_force_best_f1(saliency, annotation)
    )


@settings(max_examples=300)
@given(PAIRS)
def test_the_best_threshold_gives_the_best_f1(
    pair: tuple[NDArray[np.float32], NDArray[np.bool_]],
) -> None:
    saliency, annotation = pair
    best = best_f1(saliency, annotation)
    assert 0 <= best.fraction < 1
    assert overlap_at(saliency, annotation, fraction=best.fraction).f1 == pytest.approx(best.f1)


@given(PAIRS, st.floats(0, 0.999))
def test_no_threshold_beats_the_best(
    pair: tuple[NDArray[np.float32], NDArray[np.bool_]], fraction: float
) -> None:
    saliency, annotation = pair
    assert overlap_at(saliency, annotation, fraction=fraction).f1 <= (
        best_f1(saliency, annotation).f1 + steps(16, 1.0, dtype=np.float64)
    )


def test_tied_values_are_taken_together() -> None:
    """Half of the tied pixels would be a perfect region; no threshold can take only half."""
    saliency = np.array([[1, 1, 1, 1, 0, 0]], dtype=np.float32)
    annotation = np.array([[True, True, False, False, False, False]])
    assert best_f1(saliency, annotation).f1 == pytest.approx(2 / 3)


@pytest.mark.parametrize("measure", [overlap_at, best_f1])
@pytest.mark.parametrize(
    ("saliency", "annotation", "message"),
    [
        (HAND_MAP, np.zeros((5, 7), np.bool_), "got an empty one"),
        (HAND_MAP, np.ones((7, 5), np.bool_), r"annotation of shape \(5, 7\).*got \(7, 5\)"),
        (HAND_MAP, np.ones((5, 7), np.uint8), "annotation of dtype bool, got uint8"),
        (HAND_MAP[0], HAND_ANNOTATION, r"one map \(H, W\), got shape \(7,\)"),
        (HAND_MAP > 0, HAND_ANNOTATION, "floating point values, got bool"),
        (HAND_MAP + np.float32(np.inf), HAND_ANNOTATION, "finite values in the map"),
        (np.zeros((0, 7), np.float32), HAND_ANNOTATION, r"got shape \(0, 7\)"),
    ],
)
def test_bad_input_is_named(
    measure: object, saliency: object, annotation: object, message: str
) -> None:
    assert callable(measure)
    with pytest.raises(InputError, match=message):
        measure(saliency, annotation)


@pytest.mark.parametrize("fraction", [-0.1, 1.0, 30.0, float("nan")])
def test_the_threshold_is_a_fraction(fraction: float) -> None:
    with pytest.raises(InputError, match=r"fraction in \[0, 1\)"):
        threshold_region(HAND_MAP, fraction)


@pytest.mark.parametrize("region", [HAND_MAP, HAND_ANNOTATION[0]])
def test_a_region_is_a_bool_mask(region: NDArray[np.float32]) -> None:
    with pytest.raises(InputError, match=r"a region \(H, W\) of dtype bool"):
        measure_overlap(region, HAND_ANNOTATION)
