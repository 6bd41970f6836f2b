"""The loop: budgets, seeds, rounds, failures, and analytic black boxes whose true map is known."""

from __future__ import annotations

import itertools
import json
import math
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

import iassa
from iassa.errors import BlackBoxError, CancelledError, InputError, WeakEvidenceWarning
from iassa.explanations.explanation import Explanation
from iassa.explanations.failure import RunFailedError
from iassa.masks.plans import GridPlan
from iassa.methods import Iassa, IassaPaper, KernelShap, Lime, Occlusion, Rise, ShapPartition
from iassa.methods.engine.base import Explainer
from iassa.methods.engine.budget import Progress
from iassa.methods.engine.loop import Method
from iassa.methods.explain import explain
from iassa.methods.registry import METHODS, open_method
from iassa.models.black_box import FunctionModel
from iassa.models.features import TorchLayers
from rounding import steps

Array = NDArray[np.float32]
Scorer = Callable[[Array], Any]

SIZE = (18, 27)
PATCH = (slice(4, 9), slice(15, 22))  # bright, and what the black boxes below look at
FLAT = "every masked image scores the same; there is nothing to explain"


def patch_image(seed: int = 0) -> Array:
    """Nearly black, nowhere the grey of the baseline, and one bright patch."""
    image = np.random.default_rng(seed).uniform(0.10, 0.12, (*SIZE, 3))
    image[PATCH] = 0.95
    return image.astype(np.float32)


def patch_brightness(images: Array) -> NDArray[np.float64]:
    """One output: the mean of the patch."""
    rows, columns = PATCH
    return images[:, rows, columns].mean(axis=(1, 2, 3), dtype=np.float64)[:, None]


def three_outputs(images: Array) -> NDArray[np.float64]:
    """The patch, another place, and a product of the two."""
    patch = patch_brightness(images)[:, 0]
    other = images[:, 11:16, 3:9].mean(axis=(1, 2, 3), dtype=np.float64)
    return np.stack([patch, other, 4 * patch * other], axis=1)


@dataclass
class Recorder:
    """A black box that keeps what it is shown."""

    function: Scorer = patch_brightness
    batches: list[Array] = field(default_factory=list)

    def __call__(self, images: Array) -> Any:
        self.batches.append(images.copy())
        return self.function(images)

    @property
    def images(self) -> Array:
        """Each once: the third batch is one image of the second, asked about again."""
        return np.concatenate([batch for k, batch in enumerate(self.batches) if k != 2])


def cheap_iassa(**fields: Any) -> Iassa:
    """The default's loop, small: a round of 32 masks, attention over colour and place."""
    small: dict[str, Any] = {
        "round_calls": 32,
        "segment_counts": (8, 16),
        "fine_segment_counts": (16,),
        "compactness": (10.0,),
        "features": "colour-position",
        "positions": 12,
    }
    return Iassa(**{**small, **fields})


def cheap_paper(**fields: Any) -> IassaPaper:
    return IassaPaper(**{"features": "colour-position", "positions": 12, **fields})


def cheap_lime(**fields: Any) -> Lime:
    """Of an image as small as this quickshift makes one segment."""
    return Lime(**{"round_calls": 32, "segmentation": "slic", "num_segments": 12, **fields})


CHEAP: dict[str, Method] = {
    "iassa": cheap_iassa(),
    "iassa with kernel regression": cheap_iassa(kernel_share=0.5),
    "iassa without attention": cheap_iassa(beta=1.0),
    "iassa-paper": cheap_paper(),
    "rise": Rise(round_calls=32),
    "rise, debiased": Rise(round_calls=32, debiased=True),
    "sliding-window": Occlusion(round_calls=32),
    "lime": cheap_lime(),
}
methods = pytest.mark.parametrize("method", CHEAP.values(), ids=CHEAP.keys())


def assert_same_map(one: Explanation, other: Explanation, number: float = 64) -> None:
    for a, b in ((one.saliency, other.saliency), (one.standard_error, other.standard_error)):
        known = np.isfinite(b)
        np.testing.assert_array_equal(np.isfinite(a), known)
        np.testing.assert_allclose(a[known], b[known], rtol=0, atol=steps(number, other.saliency))


# --- the same loop ----------------------------------------------------------------------------


def test_plain_rise_is_the_formula_on_the_masks_that_the_black_box_saw() -> None:
    """On a white image over a black baseline, what the black box sees are the masks."""
    white = np.ones((*SIZE, 3), np.float32)
    recorder = Recorder(three_outputs)
    found = iassa.explain(
        white, recorder, method=Rise(baseline=0.0), target=[0, 1, 2], calls=201, batch_size=7
    )
    masks = recorder.images[1:, :, :, 0].astype(np.float64)
    assert masks.shape == (199, *SIZE)
    scores = three_outputs(recorder.images)[1:]
    expected = np.einsum("nt,nhw->thw", scores, masks) / masks.sum(0)
    np.testing.assert_allclose(found.saliency, expected, rtol=1e-5)


@pytest.mark.parametrize(
    "method",
    [
        Rise(baseline=0.0, debiased=True, keep_probability=0.3),
        cheap_iassa(
            baseline=0.0,
            beta=1.0,
            kernel_share=0.0,
            round_calls=256,
            max_rounds=1,
            keep_probability=(0.3, 0.3),
        ),
    ],
    ids=["rise", "iassa"],
)
def test_the_effect_of_one_round_is_the_covariance_over_the_variance(method: Method) -> None:
    white = np.ones((*SIZE, 3), np.float32)
    recorder = Recorder(three_outputs)
    found = iassa.explain(
        white, recorder, method=method, target=[0, 1, 2], calls=201, batch_size=16
    )
    masks = recorder.images[1:, :, :, 0].astype(np.float64)
    masks -= masks.mean(0)
    scores = three_outputs(recorder.images)[1:]
    scores -= scores.mean(0)
    expected = np.einsum("nt,nhw->thw", scores, masks) / (masks**2).sum(0)
    assert np.abs(found.saliency - expected).max() < steps(64, expected)


# --- seeds and batches ------------------------------------------------------------------------


@methods
def test_batch_sizes_change_neither_the_masks_nor_the_map(method: Method) -> None:
    found, shown = [], []
    for batch_size in (16, 1, 7, 64):
        recorder = Recorder(three_outputs)
        found.append(
            iassa.explain(
                patch_image(),
                recorder,
                method=method,
                target=[0, 2],
                calls=90,
                seed=3,
                batch_size=batch_size,
            )
        )
        shown.append(recorder.images)
        assert max(map(len, recorder.batches)) <= batch_size
    for explanation, images in zip(found[1:], shown[1:], strict=True):
        assert images.shape == shown[0].shape
        np.testing.assert_allclose(images, shown[0], rtol=0, atol=steps(4, shown[0]))
        assert_same_map(explanation, found[0])
        assert explanation.scores == found[0].scores


@pytest.mark.parametrize("seed", range(4))
def test_rounding_that_depends_on_the_batch_moves_the_map_by_as_little(seed: int) -> None:
    """A processor may round a score otherwise in a batch of another size: float32 by 1e-7 or so."""

    def rounded(images: Array) -> NDArray[np.float64]:
        noise = np.random.default_rng(len(images)).uniform(-3e-7, 3e-7, (len(images), 3))
        return three_outputs(images) * (1 + noise)

    one, other = (
        iassa.explain(
            patch_image(),
            rounded,
            method=cheap_iassa(explore_every=3),
            target=[0, 2],
            calls=2 + 32 * 5,
            seed=seed,
            batch_size=batch_size,
        )
        for batch_size in (5, 16)
    )
    assert "level" in one.rounds[1].masks
    assert one.evidence is not None
    assert other.evidence is not None
    for mine, its in zip(one.evidence.rounds, other.evidence.rounds, strict=True):
        assert {k: v.plan for k, v in mine.families.items()} == {
            k: v.plan for k, v in its.families.items()
        }
    for mine, its in zip(one.saliency, other.saliency, strict=True):
        assert np.abs(mine - its).max() <= 1e-5 * np.ptp(mine)
    assert not np.array_equal(one.saliency, other.saliency)


@methods
def test_the_same_seed_gives_the_same_map_and_another_another(method: Method) -> None:
    one, again, other = (
        iassa.explain(patch_image(), patch_brightness, method=method, calls=80, seed=seed)
        for seed in (4, 4, 5)
    )
    np.testing.assert_array_equal(one.saliency, again.saliency)
    np.testing.assert_array_equal(one.standard_error, again.standard_error)
    assert not np.array_equal(one.saliency, other.saliency)


def test_the_number_of_threads_does_not_change_the_masks() -> None:
    shown, found = [], []
    before = torch.get_num_threads()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        recorder = Recorder()
        found.append(iassa.explain(patch_image(), recorder, method=cheap_iassa(), calls=80))
        shown.append(recorder.images)
    torch.set_num_threads(before)
    np.testing.assert_array_equal(*shown)
    assert_same_map(*found)


@methods
def test_a_larger_budget_begins_with_the_same_images(method: Method) -> None:
    """Within a round each family's end is cut off; whole rounds are the same."""
    small, large = Recorder(), Recorder()
    iassa.explain(patch_image(), small, method=method, calls=66)  # two whole rounds of 32
    iassa.explain(patch_image(), large, method=method, calls=121)
    if isinstance(method, IassaPaper):  # its first round is longer than either budget
        np.testing.assert_allclose(
            large.images[:65], small.images, rtol=0, atol=steps(4, small.images)
        )
    else:
        np.testing.assert_array_equal(large.images[:65], small.images)
    cut, whole = Recorder(), Recorder()
    iassa.explain(patch_image(), cut, method=method, calls=26)
    iassa.explain(patch_image(), whole, method=method, calls=34)
    seen = {image.tobytes() for image in whole.images.round(5)}
    assert len(cut.images) == 25
    assert all(image.tobytes() in seen for image in cut.images.round(5))


# --- budgets ----------------------------------------------------------------------------------


@settings(max_examples=60)
@given(
    calls=st.integers(17, 700),
    batch_size=st.integers(1, 300),
    name=st.sampled_from(sorted(set(CHEAP) - {"iassa with kernel regression"})),
)
def test_the_budget_is_never_exceeded_and_reported(calls: int, batch_size: int, name: str) -> None:
    asked = 0

    def black_box(images: Array) -> NDArray[np.float64]:
        nonlocal asked
        asked += len(images)
        assert len(images) <= batch_size
        return patch_brightness(images)

    found = iassa.explain(
        patch_image(), black_box, method=CHEAP[name], calls=calls, batch_size=batch_size
    )
    masks = sum(sum(one.masks.values()) for one in found.rounds)
    assert found.calls == asked == 1 + masks + (calls > 17)
    assert asked <= calls
    assert found.complete
    assert found.stopped == ("calls" if asked == calls else "rounds")
    if not name.startswith(("iassa-paper", "sliding-window")):  # their windows may be used up
        assert asked == calls
    assert np.isfinite(found.saliency).all()
    assert not np.isnan(found.standard_error).any()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"calls": 16}, "at least 17 calls"),
        ({"calls": -1}, "at least 17 calls"),
        ({"max_seconds": 0}, "above 0 seconds"),
        ({"max_seconds": math.nan}, "above 0 seconds"),
        ({"seed": -1}, "seed to be a whole number, from 0 to"),
        ({"batch_size": 0}, "batch_size to be .*, from 1 to"),
        ({"device": "abacus"}, "device"),
    ],
)
def test_arguments_are_checked_before_the_first_call(arguments: dict[str, Any], text: str) -> None:
    recorder = Recorder()
    with pytest.raises(InputError, match=text):
        Rise().iterate(patch_image(), recorder, **arguments)  # not only at the first `next`
    assert recorder.batches == []


def test_seconds_end_a_run() -> None:
    """Time is checked after every batch; the first batch alone takes longer than this."""
    found = iassa.explain(
        patch_image(), patch_brightness, method=Rise(), max_seconds=1e-9, calls=10_000
    )
    assert found.stopped == "seconds"
    assert found.complete
    assert 17 <= found.calls < 100
    assert found.seconds >= 1e-9


def test_progress_is_told_of_every_call() -> None:
    told: list[Progress] = []
    recorder = Recorder()
    iassa.explain(
        patch_image(), recorder, method=cheap_iassa(), calls=80, batch_size=7, progress=told.append
    )
    assert [p.calls for p in told] == np.cumsum([len(b) for b in recorder.batches]).tolist()
    assert {p.budget for p in told} == {80}
    seconds = [p.seconds for p in told]
    assert seconds == sorted(seconds)


@methods
def test_cancelling_gives_the_map_so_far(method: Method) -> None:
    recorder = Recorder()
    found = iassa.explain(
        patch_image(),
        recorder,
        method=method,
        calls=500,
        batch_size=8,
        cancel=lambda: len(recorder.batches) >= 4,
    )
    assert len(recorder.images) + 1 == found.calls == 1 + 2 * 8 + 1
    assert found.stopped == "cancelled"
    assert not found.complete
    assert np.isfinite(found.saliency).all()


def test_cancelling_before_a_mask_is_scored_leaves_no_map() -> None:
    recorder = Recorder()
    with pytest.raises(CancelledError):
        iassa.explain(patch_image(), recorder, method=Rise(), cancel=lambda: True)
    assert len(recorder.images) == 1


# --- rounds -----------------------------------------------------------------------------------


@methods
def test_iterate_yields_a_map_after_every_round(method: Method) -> None:
    arguments: dict[str, Any] = {"target": [0, 1], "calls": 150, "seed": 2}
    if isinstance(method, IassaPaper):
        arguments["calls"] = 1500
    found = list(method.iterate(patch_image(), three_outputs, **arguments))
    assert len(found) > 2
    for k, explanation in enumerate(found, start=1):
        assert len(explanation.rounds) == k
        assert explanation.saliency.shape == (2, *SIZE)
        assert explanation.complete == (k == len(found))
        assert (explanation.stopped == "running") == (k < len(found))
    calls = [explanation.calls for explanation in found]
    assert calls == sorted(calls)
    last = iassa.explain(patch_image(), three_outputs, method=method, **arguments)
    np.testing.assert_array_equal(found[-1].saliency, last.saliency)
    np.testing.assert_array_equal(found[-1].standard_error, last.standard_error)


def test_a_map_in_between_is_that_of_a_run_that_ends_there() -> None:
    found = list(cheap_iassa().iterate(patch_image(), patch_brightness, calls=98))
    shorter = iassa.explain(patch_image(), patch_brightness, method=cheap_iassa(), calls=66)
    np.testing.assert_array_equal(found[1].saliency, shorter.saliency)


def test_later_rounds_hide_only_the_region_of_the_map_before() -> None:
    recorder = Recorder()
    image = patch_image()
    seen_before, regions = [1], [np.ones(SIZE, np.bool_)]
    method = cheap_iassa(round_calls=128, threshold=0.4, features="none", level_share=0.0)
    for explanation in method.iterate(image, recorder, calls=514):
        seen_before.append(len(recorder.images))
        adjusted = torch.from_numpy(explanation.saliency)
        region = method.region(adjusted)
        regions.append(np.ones(SIZE, np.bool_) if region is None else region)
    assert len(seen_before) == 5
    for start, stop, region in zip(seen_before, seen_before[1:], regions, strict=False):
        hidden = (np.abs(recorder.images[start:stop] - image) > steps(8, image)).any(axis=3)
        assert not hidden[:, ~region].any()
        np.testing.assert_array_equal(hidden.any(axis=0), region)  # and all of it
    assert regions[-1].mean() < 0.6
    assert regions[-1][PATCH].all()


@pytest.mark.parametrize("every", [1, 2, 3])
def test_some_rounds_hide_any_place_as_the_first_does(every: int) -> None:
    method = cheap_iassa(explore_every=every)
    found = iassa.explain(patch_image(), patch_brightness, method=method, calls=2 + 32 * 7)
    anywhere = [k % every == 0 for k in range(7)]
    assert [one.region_share == 1 for one in found.rounds] == anywhere
    assert ["level" not in one.masks for one in found.rounds] == anywhere


@pytest.mark.parametrize("seed", [0, 1])
def test_level_sets_show_what_the_map_before_has_highest(seed: int) -> None:
    method = cheap_iassa(level_share=0.75, level_shuffle=0.0, level_cells=5, features="none")
    found = list(method.iterate(patch_image(), patch_brightness, calls=98, seed=seed))
    assert len(found) == 3
    for before, after in itertools.pairwise(found):
        assert after.evidence is not None
        families = after.evidence.rounds[-1].families
        assert {name: len(one.plan) for name, one in families.items()} == {
            "segment": 8,
            "level": 24,
        }
        plan = families["level"].plan
        assert isinstance(plan, GridPlan)
        rows, columns = plan.cells.shape[1] - 2, plan.cells.shape[2] - 2
        # Each row of a band of pixels belongs to the cells that it overlaps.
        heights = [
            [block.mean() for block in _parts(band, columns, axis=1)]
            for band in _parts(before.saliency[0].astype(np.float64), rows, axis=0)
        ]
        for kept in plan.cells[:, 1:-1, 1:-1]:
            assert np.array(heights)[kept].min() >= np.array(heights)[~kept].max()


def _parts(values: Array, count: int, axis: int) -> list[Array]:
    """The parts that pixels k n / count to (k + 1) n / count belong to, cut pixels in both."""
    n = values.shape[axis]
    edges = [(k * n // count, -(-(k + 1) * n // count)) for k in range(count)]
    return [values.take(range(start, stop), axis) for start, stop in edges]


def test_one_kind_of_later_masks_may_be_all() -> None:
    for share, families in ((0.0, {"segment"}), (1.0, {"level"})):
        method = cheap_iassa(level_share=share)
        evidence = iassa.explain(patch_image(), patch_brightness, method=method, calls=97).evidence
        assert evidence is not None
        assert [set(one.families) for one in evidence.rounds] == [
            {"segment"},
            families,
            families,
        ]
        assert [one.feedback.ranks is None for one in evidence.rounds] == [
            True,
            *[share == 0] * 2,
        ]


@pytest.mark.parametrize("level_share", [0.0, 0.5])
def test_the_share_of_the_image_that_a_round_may_hide_is_told(level_share: float) -> None:
    method = cheap_iassa(level_share=level_share)
    found = list(method.iterate(patch_image(), patch_brightness, calls=97))
    region = method.region(torch.from_numpy(found[0].saliency))
    assert region is not None
    assert found[-1].rounds[0].region_share == 1
    assert found[-1].rounds[1].region_share == pytest.approx(region.mean())
    assert found[-1].rounds[1].region_share < 1
    for one in found[-1].rounds:
        assert one.score_low[0] <= one.score_mean[0] <= one.score_high[0]


def test_max_rounds_end_a_run_below_its_budget() -> None:
    recorder = Recorder()
    found = iassa.explain(patch_image(), recorder, method=cheap_iassa(max_rounds=2), calls=500)
    assert found.stopped == "rounds"
    assert found.complete
    assert found.calls == len(recorder.images) + 1 == 2 + 2 * 32


# --- targets ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "method",
    [
        cheap_iassa(max_rounds=1),
        cheap_iassa(max_rounds=1, kernel_share=0.5),
        cheap_paper(max_rounds=1),
        Rise(round_calls=32),
        Rise(round_calls=32, debiased=True),
        Occlusion(round_calls=32),
        cheap_lime(),
    ],
    ids=lambda method: method.name,
)
def test_several_targets_cost_no_more_and_equal_their_own_runs(method: Method) -> None:
    wanted: list[str | int] = [0, 2, "1 vs 0", "0,2"]
    together = Recorder(three_outputs)
    every = iassa.explain(patch_image(), together, method=method, target=wanted, calls=120)
    for t, one in enumerate(wanted):
        alone = Recorder(three_outputs)
        single = iassa.explain(patch_image(), alone, method=method, target=one, calls=120)
        assert single.calls == every.calls == len(together.images) + 1
        np.testing.assert_array_equal(alone.images, together.images)
        np.testing.assert_allclose(
            single.saliency[0], every.saliency[t], atol=steps(64, single.saliency)
        )
        assert single.scores[0] == pytest.approx(
            every.scores[t], abs=steps(16, every.scores, dtype=np.float64)
        )


def test_a_contrast_is_the_difference_of_its_sides() -> None:
    """Estimators are linear in the score."""
    found = iassa.explain(
        patch_image(),
        three_outputs,
        method=Rise(debiased=True),
        target=[0, 1, "0 vs 1", "0,1"],
        calls=100,
    )
    one, other, difference, total = found.saliency
    np.testing.assert_allclose(difference, one - other, atol=steps(16, one, other))
    np.testing.assert_allclose(total, one + other, atol=steps(16, one, other))


# --- analytic black boxes ---------------------------------------------------------------------


def peak(explanation: Explanation) -> tuple[int, int]:
    row, column = np.unravel_index(explanation.saliency[0].argmax(), explanation.saliency.shape[1:])
    return int(row), int(column)


def in_patch(point: tuple[int, int], scale: int = 1) -> bool:
    rows, columns = PATCH
    return (
        rows.start * scale <= point[0] < rows.stop * scale
        and columns.start * scale <= point[1] < columns.stop * scale
    )


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("scale", [1, 4])
def test_every_method_finds_the_patch_in_a_non_square_image(name: str, scale: int) -> None:
    """A function without an input size is shown the image at its own."""
    image = patch_image().repeat(scale, axis=0).repeat(scale, axis=1)

    def black_box(images: Array) -> NDArray[np.float64]:
        assert images.shape[1:] == (SIZE[0] * scale, SIZE[1] * scale, 3)
        assert images.dtype == np.float32
        assert images.min() >= 0
        assert images.max() <= 1
        return patch_brightness(images[:, ::scale, ::scale])

    fields: dict[str, Any] = {"features": "none"} if name.startswith("iassa") else {}
    if name == "lime" and scale == 1:  # where quickshift makes one segment
        fields = {"segmentation": "slic"}
    found = iassa.explain(image, black_box, method=METHODS[name](**fields), calls=600)
    assert found.saliency.shape == found.standard_error.shape == (1, *image.shape[:2])
    assert in_patch(peak(found), scale)


@pytest.mark.parametrize("features", ["efficientnet-lite0", "colour-position", "none"])
@pytest.mark.parametrize("kind", [Iassa, IassaPaper])
def test_every_source_of_features_leads_to_the_patch(
    kind: type[Iassa | IassaPaper], features: str
) -> None:
    """IASSA: effect and its sign; the paper's single windows, attended to by colour alone here."""
    scale = 4
    image = patch_image().repeat(scale, axis=0).repeat(scale, axis=1)

    def black_box(images: Array) -> NDArray[np.float64]:
        return patch_brightness(images[:, ::scale, ::scale])

    found = iassa.explain(image, black_box, method=kind(features=features), calls=513)
    inside = np.zeros(SIZE, np.bool_)
    inside[PATCH] = True
    inside = inside.repeat(scale, axis=0).repeat(scale, axis=1)
    saliency = found.saliency[0]
    assert saliency[inside].mean() > saliency[~inside].mean() + 2 * saliency[~inside].std()
    if kind is Iassa:
        assert in_patch(peak(found), scale)
        assert saliency[inside].min() > 0


def test_features_of_a_network_of_ones_own() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU())
    extractor = TorchLayers(network, ("0", "1"))
    found = iassa.explain(
        patch_image(), patch_brightness, method=cheap_iassa(features=extractor), calls=300
    )
    assert in_patch(peak(found))
    assert "TorchLayers" in found.method["fields"]["features"]


def test_what_lowers_the_score_is_negative() -> None:
    found = iassa.explain(
        patch_image(),
        lambda images: -patch_brightness(images),
        method=cheap_iassa(features="none"),
        calls=300,
    )
    row, column = np.unravel_index(found.saliency[0].argmin(), SIZE)
    assert in_patch((int(row), int(column)))
    assert found.saliency[0].min() < 0


@methods
@pytest.mark.parametrize("offset", [-50.0, 1000.0])
def test_logits_of_any_sign_and_size(method: Method, offset: float) -> None:
    """A constant added to the score changes no effect, and moves the coverage mean by itself."""
    plain = iassa.explain(patch_image(), patch_brightness, method=method, calls=150)
    moved = iassa.explain(
        patch_image(),
        lambda images: 10 * patch_brightness(images) + offset,
        method=method,
        calls=150,
    )
    mean = isinstance(method, IassaPaper) or (isinstance(method, Rise) and not method.debiased)
    expected = 10 * plain.saliency + (offset if mean else 0)
    assert moved.scores[0] == pytest.approx(10 * plain.scores[0] + offset)
    np.testing.assert_allclose(moved.saliency, expected, atol=steps(24, expected))


def test_black_boxes_may_write_to_what_they_are_shown() -> None:
    def rude(images: Array) -> NDArray[np.float64]:
        scores = patch_brightness(images)
        images[:] = 7.0
        return scores

    for method in CHEAP.values():
        polite = iassa.explain(patch_image(), patch_brightness, method=method, calls=100)
        harmed = iassa.explain(patch_image(), rude, method=method, calls=100)
        np.testing.assert_array_equal(harmed.saliency, polite.saliency)
        np.testing.assert_array_equal(harmed.image, patch_image())


def test_a_torch_module_and_the_function_that_it_is_give_the_same_map() -> None:
    class Brightness(nn.Module):
        def forward(self, planes: Tensor) -> Tensor:
            return planes[:, :, PATCH[0], PATCH[1]].double().mean(dim=(1, 2, 3))[:, None]

    one = iassa.explain(patch_image(), Brightness(), method=cheap_iassa(), device="cpu", calls=100)
    other = iassa.explain(patch_image(), patch_brightness, method=cheap_iassa(), calls=100)
    assert_same_map(one, other)


def test_a_black_box_of_another_size_gets_its_own_and_the_map_the_images() -> None:
    shapes = set()

    def black_box(images: Array) -> NDArray[np.float64]:
        shapes.add(images.shape[1:])
        return images[:, 4:10, 10:20].mean(axis=(1, 2, 3), dtype=np.float64)[:, None]

    resized = FunctionModel(black_box, input_size=(20, 24))
    found = iassa.explain(patch_image(), resized, method=cheap_iassa(), calls=200)
    assert shapes == {(20, 24, 3)}
    assert found.saliency.shape == (1, *SIZE)
    row, column = peak(found)
    assert 4 / 20 <= (row + 0.5) / SIZE[0] <= 10 / 20
    assert 10 / 24 <= (column + 0.5) / SIZE[1] <= 20 / 24


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 3), (7, 2)])
@methods
def test_tiny_images(method: Method, size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).random((*size, 3))
    with warnings.catch_warnings():
        # One pixel has one window, and one superpixel is hidden or not.
        warnings.simplefilter("ignore", WeakEvidenceWarning)
        found = iassa.explain(
            image, lambda x: x.mean(axis=(1, 2, 3))[:, None], method=method, calls=120
        )
    assert found.saliency.shape == (1, *size)
    assert np.isfinite(found.saliency).all()


# --- the paper's method -----------------------------------------------------------------------


def test_the_papers_first_iteration_hides_one_window_at_a_time() -> None:
    image = np.random.default_rng(0).uniform(0.6, 1, (224, 224, 3)).astype(np.float32)
    boxes: list[tuple[int, int, int, int]] = []

    def black_box(images: Array) -> NDArray[np.float64]:
        for picture in images:
            hidden = (picture != image).any(axis=2)
            if hidden.any():
                rows, columns = np.flatnonzero(hidden.any(1)), np.flatnonzero(hidden.any(0))
                box = (rows[0], columns[0], rows[-1] + 1, columns[-1] + 1)
                assert hidden[box[0] : box[2], box[1] : box[3]].all()  # one box, whole
                np.testing.assert_array_equal(picture[hidden], np.float32(0.5))
                boxes.append(tuple(map(int, box)))
        return images.mean(axis=(1, 2, 3))[:, None]

    found = iassa.explain(
        image, black_box, method=IassaPaper(features="none"), calls=1000, batch_size=50
    )
    assert found.calls == 1000
    assert found.rounds[0].masks == {"window": 998}
    assert len(boxes) == len(set(boxes)) + 1 == 999  # one is asked about again
    edges = np.array([(bottom - top, right - left) for top, left, bottom, right in boxes])
    assert edges.max() == 45
    inner = [box for box in boxes if min(box[:2]) > 0 and max(box[2:]) < 224]
    assert all(bottom - top == right - left == 45 for top, left, bottom, right in inner)


def test_the_papers_later_iterations_hide_smaller_windows_that_touch_the_region() -> None:
    """45 and 8 at 224 pixels are, at 56, 11 and 2; an iteration later 10.9 and 1.95."""
    image = np.random.default_rng(1).uniform(0.6, 1, (56, 60, 3)).astype(np.float32)
    image[10:20, 30:45] = 1
    recorder = Recorder(lambda images: images[:, 10:20, 30:45].mean(axis=(1, 2, 3))[:, None])
    method = IassaPaper(features="none", max_rounds=3, window_step=8.0)
    seen = [1]
    regions: list[NDArray[np.bool_]] = []
    for explanation in method.iterate(image, recorder, calls=5000):
        seen.append(len(recorder.images))
        low, high = explanation.saliency[0].min(), explanation.saliency[0].max()
        regions.append(explanation.saliency[0] > low + 0.3 * (high - low))
    assert explanation.stopped == "rounds"
    assert explanation.calls == seen[-1] + 1 < 5000
    assert len(seen) == 1 + 3
    edges = []
    for k in range(3):
        hidden = (recorder.images[seen[k] : seen[k + 1]] != image).any(axis=3)
        edges.append(max(int(hidden.any(2).sum(1).max()), int(hidden.any(1).sum(1).max())))
        if k:
            assert (hidden & regions[k - 1]).any(axis=(1, 2)).all()
    assert edges == [11, 9, 7]  # round(45 / 4), round(37 / 4), round(29 / 4)


def test_the_papers_method_stops_when_its_rounds_are_used_up() -> None:
    method = IassaPaper(features="none", max_rounds=2)
    found = iassa.explain(patch_image(), patch_brightness, method=method, calls=100_000)
    assert found.stopped == "rounds"
    assert found.complete
    assert len(found.rounds) == 2


# --- weak evidence and failures ---------------------------------------------------------------


@methods
@pytest.mark.parametrize("value", [0.0, 0.25, -3.0])
def test_a_constant_black_box_is_told_of(method: Method, value: float) -> None:
    with pytest.warns(WeakEvidenceWarning, match=FLAT):
        found = iassa.explain(
            patch_image(), lambda images: np.full((len(images), 2), value), method=method, calls=100
        )
    assert found.warnings == (FLAT,)
    assert found.complete
    if isinstance(method, IassaPaper):  # its attention rounds
        np.testing.assert_allclose(found.saliency, value, rtol=0, atol=steps(16, value))
    else:
        expected = value if method == CHEAP["rise"] else 0
        assert (found.saliency == np.float32(expected)).all()
    assert not np.isnan(found.standard_error).any()


def test_only_the_flat_one_of_several_targets_is_named() -> None:
    def black_box(images: Array) -> NDArray[np.float64]:
        return np.hstack([patch_brightness(images), np.full((len(images), 1), 0.5)])

    named = FunctionModel(black_box, class_names=("patch", "nothing"))
    with pytest.warns(WeakEvidenceWarning, match=f"^nothing: {FLAT}$"):
        found = iassa.explain(patch_image(), named, method=cheap_iassa(), target=[0, 1], calls=100)
    assert (found.saliency[1] == 0).all()
    assert np.abs(found.saliency[0]).max() > 0


def test_scores_that_differ_are_no_cause_for_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = iassa.explain(patch_image(), patch_brightness, method=cheap_iassa(), calls=100)
    assert found.warnings == ()


def raising(images: Array) -> Any:
    raise ValueError("out of paper")


FAILURES: dict[str, tuple[Scorer, str]] = {
    "raises": (raising, "raised ValueError: out of paper"),
    "NaN": (lambda x: np.full((len(x), 1), np.nan), "got NaN or infinity for 8 of 8 images"),
    "infinite": (lambda x: np.full((len(x), 1), np.inf), "got NaN or infinity"),
    "another K": (lambda x: np.zeros((len(x), 2)), "expected 1 scores for each image, got 2"),
    "no K": (lambda x: np.zeros((len(x), 0)), "expected 1 scores for each image, got 0"),
    "another N": (lambda x: np.zeros((len(x) - 1, 1)), r"N = 8 images, got \(7, 1\)"),
    "no axis": (lambda x: np.zeros(()), r"N = 8 images, got \(\)"),
    "nothing": (lambda x: None, "black box"),
    "text": (lambda x: [["a"]] * len(x), "black box"),
}


@methods
@pytest.mark.parametrize("kind", FAILURES)
def test_a_black_box_that_fails_half_way_leaves_the_map_so_far(method: Method, kind: str) -> None:
    answer, text = FAILURES[kind]
    scored = 0

    def black_box(images: Array) -> Any:
        nonlocal scored
        if scored >= 50:
            return answer(images)
        scored += len(images)
        return patch_brightness(images)

    with pytest.raises(BlackBoxError, match=text) as caught:
        iassa.explain(patch_image(), black_box, method=method, calls=300, batch_size=8)
    assert isinstance(caught.value, RunFailedError)
    found = caught.value.explanation
    assert found.stopped == "failed"
    assert not found.complete
    assert sum(sum(one.masks.values()) for one in found.rounds) == scored - 2 == 48
    assert np.isfinite(found.saliency).all()
    assert np.abs(found.saliency).max() > 0


@pytest.mark.parametrize("kind", sorted(set(FAILURES) - {"another K", "NaN", "another N"}))
def test_a_black_box_that_fails_at_once_leaves_no_map(kind: str) -> None:
    expected = FAILURES[kind][1].replace("expected 1 scores", "expected at least 1 scores")
    expected = expected.replace("N = 8", "N = 1")
    with pytest.raises(BlackBoxError, match=expected) as caught:
        iassa.explain(patch_image(), FAILURES[kind][0], method=Rise())
    assert not isinstance(caught.value, RunFailedError)


def test_a_black_box_that_fails_on_the_first_masks_leaves_no_map() -> None:
    for method in CHEAP.values():
        answers = iter([np.ones((1, 1))])
        with pytest.raises(BlackBoxError) as caught:
            iassa.explain(
                patch_image(), lambda images, left=answers: next(left), method=method, calls=100
            )
        assert not isinstance(caught.value, RunFailedError)


# --- threads ----------------------------------------------------------------------------------


def with_threads(threads: int, action: Callable[[], object]) -> int:
    """The number of threads that torch has after an action that starts with so many."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        action()
        return torch.get_num_threads()
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("method", [cheap_iassa(features="none"), cheap_paper(features="none")])
def test_torch_gets_its_threads_back(method: Method) -> None:
    seen = set()

    def black_box(images: Array) -> NDArray[np.float64]:
        seen.add(torch.get_num_threads())
        return patch_brightness(images)

    def whole() -> None:
        iassa.explain(patch_image(), black_box, method=method, calls=50)

    def abandoned() -> None:
        run = method.iterate(patch_image(), black_box, calls=50)
        next(run)
        run.close()  # type: ignore[attr-defined]

    def failed() -> None:
        with pytest.raises(BlackBoxError):
            iassa.explain(
                patch_image(), lambda x: np.zeros((1, 1)) + len(x) - 1, method=method, calls=100
            )

    def interrupted() -> None:
        def interrupt(progress: Progress) -> None:
            if progress.calls > 40:
                raise KeyboardInterrupt  # as in a terminal, at any moment

        with pytest.raises(KeyboardInterrupt):
            iassa.explain(patch_image(), black_box, method=method, calls=100, progress=interrupt)

    for action in (whole, abandoned, failed, interrupted):
        assert with_threads(3, action) == 3
    assert seen == {3}  # the black box keeps its threads all along


# --- hyperparameters --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("iassa", {"round_calls": 15}),
        ("iassa", {"max_rounds": 0}),
        ("iassa", {"explore_every": 0}),
        ("iassa", {"segment_counts": ()}),
        ("iassa", {"segment_counts": (1, 64, 128)}),
        ("iassa", {"fine_segment_counts": (65,)}),
        ("iassa", {"fine_segment_counts": ()}),
        ("iassa", {"level_share": 1.5}),
        ("iassa", {"level_cells": 1}),
        ("iassa", {"level_shown": (0.5, 0.2)}),
        ("iassa", {"level_shown": (0.0, 0.5)}),
        ("iassa", {"level_shuffle": -0.1}),
        ("iassa", {"compactness": (0.0,)}),
        ("iassa", {"compactness": ()}),
        ("iassa", {"keep_probability": (0.0, 0.9)}),
        ("iassa", {"keep_probability": (0.1, 1.0)}),
        ("iassa", {"keep_probability": (0.6, 0.4)}),
        ("iassa", {"beta": 1.5}),
        ("iassa", {"beta": math.nan}),
        ("iassa", {"threshold": 1.0}),
        ("iassa", {"positions": 0}),
        ("iassa", {"positions": 225}),
        ("iassa", {"temperature": 0.0}),
        ("iassa-paper", {"window": 0.5}),
        ("iassa-paper", {"stride": 0.0}),
        ("iassa-paper", {"stride": 46.0}),
        ("iassa-paper", {"window_step": -1.0}),
        ("iassa-paper", {"stride_step": -1.0}),
        ("iassa-paper", {"max_rounds": 0}),
        ("iassa-paper", {"beta": -0.1}),
        ("iassa-paper", {"threshold": -0.1}),
        ("iassa-paper", {"positions": 0}),
        ("rise", {"round_calls": 0}),
        ("rise", {"grid_size": 1}),
        ("rise", {"keep_probability": 1.0}),
        ("sliding-window", {"round_calls": 15}),
        ("sliding-window", {"window": 0.5}),
        ("sliding-window", {"stride": 0.0}),
        ("sliding-window", {"stride": 50.5}),
        ("lime", {"round_calls": 15}),
        ("lime", {"segmentation": "felzenszwalb"}),
        ("lime", {"num_segments": 1}),
        ("lime", {"num_segments": 501}),
        ("lime", {"kernel_width": 0.0}),
        ("lime", {"ridge": 0.0}),
        ("kernel-shap", {"segmentation": "felzenszwalb"}),
        ("kernel-shap", {"num_segments": 1}),
        ("kernel-shap", {"max_segments": 0}),
        ("shap-partition", {"step_calls": 0}),
        ("shap-partition", {"step_calls": 9}),
        ("shap-partition", {"baseline": 1.1}),
        ("sobol", {"round_designs": 0}),
        ("sobol", {"grid_size": 17}),
        ("hsic", {"round_calls": 15}),
        ("hsic", {"grid_size": 1}),
        ("shap-bpt", {"step_calls": 7}),
        ("greedy", {"num_segments": 1}),
        ("greedy", {"pending": -1}),
        ("rise", {"baseline": 1.1}),
        ("iassa", {"baseline": (0.1, 0.2, -0.3)}),
        ("iassa-paper", {"baseline": math.nan}),
    ],
)
def test_hyperparameters_out_of_range_are_refused_by_name(
    name: str, fields: dict[str, Any]
) -> None:
    (field_name,) = fields
    with pytest.raises(InputError, match=rf"expected {field_name} of {name} to be"):
        METHODS[name](**fields)


def test_unknown_methods_fields_and_features_are_refused() -> None:
    with pytest.raises(InputError, match=r"nearest: iassa"):
        explain(patch_image(), patch_brightness, method="iasa")
    with pytest.raises(TypeError, match="grid"):
        Iassa(grid=7)  # type: ignore[call-arg]
    with pytest.raises(InputError, match="resnet50"):
        iassa.explain(patch_image(), patch_brightness, method=Iassa(features="resnet50"), calls=100)


@pytest.mark.parametrize("baseline", [0.0, 1.0, (0.2, 0.4, 0.6)])
def test_hidden_pixels_show_the_baseline(baseline: float | tuple[float, float, float]) -> None:
    recorder = Recorder()
    iassa.explain(
        patch_image(), recorder, method=IassaPaper(baseline=baseline, features="none"), calls=50
    )
    hidden = (recorder.images[1:] != patch_image()).any(axis=3)
    assert hidden.any(axis=(1, 2)).all()
    shown = recorder.images[1:][hidden]
    np.testing.assert_array_equal(shown, np.broadcast_to(np.float32(baseline), shown.shape))


@methods
def test_a_method_is_a_value_and_tells_its_fields(method: Method) -> None:
    found = iassa.explain(patch_image(), patch_brightness, method=method, calls=40)
    assert found.method["name"] == method.name
    fields = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in found.method["fields"].items()
    }
    assert METHODS[method.name](**fields) == method


def test_the_clock_of_a_run_is_told() -> None:
    started = time.perf_counter()
    found = iassa.explain(patch_image(), patch_brightness, method=Rise(), calls=40)
    assert 0 < found.seconds <= time.perf_counter() - started
    assert sum(one.seconds for one in found.rounds) <= found.seconds


@pytest.mark.parametrize(
    "method",
    [
        Iassa(max_rounds=3),
        IassaPaper(),
        Rise(debiased=True),
        Occlusion(stride=7.5),
        Lime(segmentation="slic"),
        KernelShap(max_segments=None),
        ShapPartition(step_calls=4),
    ],
)
def test_what_a_result_says_of_its_method_opens_it_again(method: Explainer) -> None:
    said = json.loads(json.dumps(method.as_dict()))
    assert open_method(said["name"], **said["fields"]) == method
    assert said["measures"] == ("mean score" if method.name == "iassa-paper" else "effect")


def test_the_share_that_windows_may_hide_is_counted() -> None:
    maps = list(cheap_paper().iterate(patch_image(), patch_brightness, target=0, calls=2000))
    assert len(maps) > 1
    seen = Recorder(patch_brightness)
    last = iassa.explain(
        patch_image(), seen, method=cheap_paper(max_rounds=2), target=0, calls=2000
    )
    first, second = last.rounds
    assert first.region_share == 1.0
    images = seen.images[1 + sum(first.masks.values()) :]
    hidden = (images != patch_image()).any(axis=(0, 3))
    assert second.region_share == pytest.approx(hidden.mean(), abs=steps(16, 1.0, dtype=np.float64))
    assert second.region_share < 1


@pytest.mark.parametrize("method", [Iassa(features="none"), Rise()])
def test_a_run_of_too_few_masks_says_so(method: Method) -> None:
    with pytest.warns(WeakEvidenceWarning, match="only 2 masks were scored; the map is noise"):
        made = iassa.explain(
            patch_image(),
            patch_brightness,
            method=method,
            target=0,
            batch_size=2,
            cancel=after_calls(3),
        )
    assert made.calls == 3
    assert np.isfinite(made.saliency).all()


def after_calls(number: int) -> Callable[[], bool]:
    """A cancel that says yes from the second time it is asked: after one batch of masks."""
    asked = iter([False] + [True] * number)
    return lambda: next(asked)


@pytest.mark.parametrize(
    ("method", "fields"),
    [
        (Iassa, {"temperature": math.inf}),
        (Iassa, {"beta": math.nan}),
        (Iassa, {"round_calls": 20.5}),
        (Iassa, {"round_calls": 10**12}),
        (Iassa, {"segment_counts": 7}),
        (Iassa, {"segment_counts": (7.5,)}),
        (Iassa, {"keep_probability": (0.1,)}),
        (Iassa, {"features": "resnet50"}),
        (Iassa, {"segment_counts": tuple(range(2, 200)), "fine_segment_counts": (2,)}),
        (IassaPaper, {"window": math.inf}),
        (IassaPaper, {"max_rounds": True}),
        (Rise, {"debiased": 1}),
        (Occlusion, {"window": "50"}),
        (Lime, {"segmentation": 1}),
        (Lime, {"num_segments": 99.5}),
        (KernelShap, {"max_segments": 2.5}),
        (ShapPartition, {"step_calls": "10"}),
        (Rise, {"baseline": (0.5, 0.5)}),
    ],
)
def test_fields_of_a_wrong_kind_are_refused_by_name(
    method: type[Explainer], fields: dict[str, Any]
) -> None:
    wrong = "compactness" if "fine_segment_counts" in fields else next(iter(fields))
    with pytest.raises(InputError, match=f"expected {wrong} of {method.name} to be"):
        method(**fields)
