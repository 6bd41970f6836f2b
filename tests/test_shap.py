"""The methods of the `shap` package: against it run by hand, and against games that are solved."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import iassa
import rounding
from iassa.errors import BlackBoxError, CancelledError, InputError, WeakEvidenceWarning
from iassa.explanations.explanation import Explanation
from iassa.explanations.failure import RunFailedError
from iassa.image import to_planes
from iassa.masks.superpixels import segment_once
from iassa.methods import KernelShap, ShapPartition
from iassa.methods.engine.budget import Progress
from iassa.methods.engine.shap_game import ShapExplainer
from iassa.methods.explain import explain, extend, retarget
from iassa.methods.registry import METHODS
from iassa.models.black_box import FunctionModel

Array = NDArray[np.float32]
SIZE = (24, 33)
PATCH = (slice(4, 11), slice(17, 26))
GREY = np.full((*SIZE, 3), 0.5, np.float32)

METHODS_HERE: dict[str, ShapExplainer] = {
    "partition": ShapPartition(),
    "partition, two at a time": ShapPartition(step_calls=2),
    "kernel": KernelShap(num_segments=24),
    "kernel, all segments": KernelShap(num_segments=24, max_segments=None),
}
both = pytest.mark.parametrize("method", METHODS_HERE.values(), ids=METHODS_HERE.keys())
partitions = pytest.mark.parametrize("step", [2, 10])


def photo(seed: int = 0) -> Array:
    """Nowhere the grey that hidden pixels show."""
    return np.random.default_rng(seed).uniform(0.6, 1, (*SIZE, 3)).astype(np.float32)


def weights(seed: int = 3) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(size=(*SIZE, 3)) / 100


def linear(images: Array) -> NDArray[np.float64]:
    """Two outputs, each a weighted sum of the pixels."""
    return np.stack(
        [np.einsum("nhwc,hwc->n", images.astype(float), weights(s)) for s in (3, 4)], axis=1
    )


def curved(images: Array) -> NDArray[np.float64]:
    """Three outputs, none of them linear in what is hidden."""
    patch = images[:, PATCH[0], PATCH[1]].mean(axis=(1, 2, 3), dtype=np.float64)
    other = images[:, 14:20, 3:12].mean(axis=(1, 2, 3), dtype=np.float64)
    total = linear(images)[:, 0]
    return np.stack([np.tanh(4 * patch), patch * other, np.sin(total) + patch**3], axis=1)


def smooth(images: Array) -> NDArray[np.float64]:
    """Three outputs that every pixel changes, so that no two patches tie."""
    one, other = linear(images).T
    return np.stack([np.sin(one), one * other, np.tanh(other)], axis=1)


class Recorder:
    """A black box that keeps what it is shown."""

    def __init__(self, function: Callable[[Array], Any] = curved) -> None:
        self.function = function
        self.batches: list[Array] = []

    def __call__(self, images: Array) -> Any:
        self.batches.append(images.copy())
        return self.function(images)

    @property
    def images(self) -> Array:
        """Each once: after the image, the baseline and the first batch one is asked about again."""
        return np.concatenate([batch for k, batch in enumerate(self.batches) if k != 3])

    @property
    def calls(self) -> int:
        return sum(map(len, self.batches))


def gain(function: Callable[[Array], Any], image: Array) -> NDArray[np.float64]:
    """f(I) - f(baseline)."""
    difference: NDArray[np.float64] = (function(image[None]) - function(GREY[None]))[0]
    return difference


def labels_of(method: KernelShap, image: Array) -> NDArray[np.int32]:
    planes = to_planes(image, image.shape[:2])
    segments = segment_once(planes, method.segmentation, method.num_segments)
    return segments.labels[0].numpy()


@pytest.fixture
def shap_package() -> Any:
    from iassa.methods.engine.shap_game import _open_shap

    return _open_shap()


# --- against the package, run by hand ----------------------------------------------------------


@partitions
@pytest.mark.parametrize("calls", [120, 300])
def test_partition_is_what_the_package_says_of_a_masked_image(
    shap_package: Any, step: int, calls: int
) -> None:
    """Its own masker, with three players to a pixel: so few calls never come to a single one."""
    image = photo()
    recorder = Recorder(smooth)
    found = iassa.explain(
        image,
        recorder,
        method=ShapPartition(step_calls=step),
        target=[0, 1, 2],
        calls=calls,
        batch_size=7,
    )
    masker = shap_package.maskers.Image(np.full((*SIZE, 3), 0.5, np.float32))
    asked = 0

    def black_box(images: Array) -> NDArray[np.float64]:
        nonlocal asked
        asked += len(images)
        return smooth(images)

    explainer = shap_package.PartitionExplainer(black_box, masker)
    theirs = explainer(image[None], max_evals=found.calls - 1, batch_size=step, silent=True)
    expected = theirs.values[0].sum(axis=2).transpose(2, 0, 1)
    assert asked + 1 == found.calls == recorder.calls
    np.testing.assert_allclose(found.saliency, expected, atol=rounding.steps(8, expected))


def test_kernel_is_what_the_package_says_of_superpixels(shap_package: Any) -> None:
    """So few superpixels that all coalitions are asked about, and nothing is drawn."""
    image, method = photo(), KernelShap(num_segments=9, max_segments=4)
    labels = labels_of(method, image)
    count = int(labels.max()) + 1
    assert 5 <= count <= 11
    found = iassa.explain(image, curved, method=method, target=[0, 1, 2], calls=5000)
    assert found.calls == 2**count + 1
    assert found.stopped == "rounds"

    def shown(bits: NDArray[np.float64]) -> NDArray[np.float64]:
        kept = bits.astype(bool)[:, labels][..., None]
        return curved(np.where(kept, image, GREY))

    explainer = shap_package.KernelExplainer(shown, np.zeros((1, count)))
    theirs = explainer.shap_values(
        np.ones((1, count)), nsamples=5000, l1_reg="num_features(4)", silent=True
    )
    expected = theirs[0].T[:, labels]
    np.testing.assert_allclose(found.saliency, expected, atol=rounding.steps(16, expected))
    for one in found.saliency:
        assert len({float(one[labels == s][0]) for s in range(count)} - {0.0}) <= 4


# --- games that are solved --------------------------------------------------------------------


@partitions
def test_a_linear_score_is_shared_as_it_is_made(step: int) -> None:
    """Of a patch that is not divided, evenly among its pixels; here all are divided to the end."""
    image = photo()[:4, :6]
    small = weights()[:4, :6]

    def score(images: Array) -> NDArray[np.float64]:
        return np.einsum("nhwc,hwc->n", images.astype(float), small)[:, None]

    found = iassa.explain(image, score, method=ShapPartition(step_calls=step), calls=2000)
    expected = (small * (image.astype(float) - 0.5)).sum(axis=2)
    assert found.stopped == "rounds"
    np.testing.assert_allclose(found.saliency[0], expected, atol=rounding.steps(32, expected))


def test_a_patch_that_is_not_divided_shares_its_effect_evenly() -> None:
    """Of a linear score every patch's sum is exact, once it has been asked about."""
    image = photo()
    positive = np.abs(weights())

    def score(images: Array) -> NDArray[np.float64]:
        return np.einsum("nhwc,hwc->n", images.astype(float), positive)[:, None]

    found = iassa.explain(image, score, method=ShapPartition(), calls=120)
    effect = (positive * (image.astype(float) - 0.5)).sum(axis=2)
    # The first cuts: the longer side, then the other. The package counts pixels from the end.
    top, left = SIZE[0] - SIZE[0] // 2, SIZE[1] - SIZE[1] // 2
    for rows in (slice(0, top), slice(top, None)):
        for columns in (slice(0, left), slice(left, None)):
            part = found.saliency[0][rows, columns]
            assert part.sum() == pytest.approx(
                effect[rows, columns].sum(),
                abs=rounding.steps(64, np.abs(effect[rows, columns]).sum()),
            )
    assert len(np.unique(found.saliency[0])) <= 120 / 2 + 1


def test_kernel_gives_each_superpixel_of_a_linear_score_its_own() -> None:
    image, method = photo(), KernelShap(num_segments=30, max_segments=None)
    labels = labels_of(method, image)
    found = iassa.explain(image, linear, method=method, target=[0, 1], calls=400)
    for t, seed in enumerate((3, 4)):
        effect = (weights(seed) * (image.astype(float) - 0.5)).sum(axis=2)
        expected = np.bincount(labels.ravel(), effect.ravel())[labels]
        np.testing.assert_allclose(found.saliency[t], expected, atol=rounding.steps(32, expected))


def test_kernel_gives_shapley_values_where_it_asks_about_all_coalitions() -> None:
    """The definition: the mean over all orders of what adding a superpixel changes."""
    image, method = photo(), KernelShap(num_segments=5, max_segments=None)
    labels = labels_of(method, image)
    count = int(labels.max()) + 1
    assert 3 <= count <= 8

    def wins(coalition: frozenset[int]) -> NDArray[np.float64]:
        kept = np.isin(labels, list(coalition))[..., None]
        scores: NDArray[np.float64] = curved(np.where(kept, image, GREY)[None])[0]
        return scores

    expected = np.zeros((count, 3))
    for player in range(count):
        others = [p for p in range(count) if p != player]
        for size in range(count):
            share = math.factorial(size) * math.factorial(count - size - 1) / math.factorial(count)
            for chosen in itertools.combinations(others, size):
                with_player = wins(frozenset(chosen) | {player})
                expected[player] += share * (with_player - wins(frozenset(chosen)))
    found = iassa.explain(image, curved, method=method, target=[0, 1, 2], calls=1000)
    np.testing.assert_allclose(
        found.saliency, expected.T[:, labels], atol=rounding.steps(32, expected)
    )


@pytest.mark.parametrize("calls", [40, 150, 501])
@pytest.mark.parametrize("seed", [0, 7])
def test_values_sum_to_what_showing_the_image_gains(calls: int, seed: int) -> None:
    image = photo(seed)
    expected = gain(curved, image)
    found = iassa.explain(
        image, curved, method=ShapPartition(), target=[0, 1, 2], calls=calls, seed=seed
    )
    np.testing.assert_allclose(
        found.saliency.sum(axis=(1, 2)), expected, atol=rounding.steps(64, expected)
    )
    for most in (3, None):
        method = KernelShap(num_segments=12, max_segments=most)
        found = iassa.explain(
            image, curved, method=method, target=[0, 1, 2], calls=calls, seed=seed
        )
        labels = labels_of(method, image)
        first = [np.argmax(labels.ravel() == s) for s in range(labels.max() + 1)]
        values = found.saliency.reshape(3, -1)[:, first]
        np.testing.assert_allclose(values.sum(axis=1), expected, atol=rounding.steps(64, expected))


# --- budgets ------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [SIZE, (5, 4), (2, 1), (1, 1)])
@both
def test_the_budget_is_never_exceeded_and_reported(
    method: ShapExplainer, size: tuple[int, int]
) -> None:
    """Of every image given to the black box, with small trees whose steps are cut at leaves."""
    image = photo()[: size[0], : size[1]]
    # Of a linear fit to hardly more masks than values the package says that it is one of many.
    few = 60 if method.name == "kernel-shap" else method.fewest_calls[0]
    for calls in (*range(few, few + 14), 101, 333, 900):
        recorder = Recorder(lambda x: (x * np.arange(1, 4)).mean(axis=(1, 2, 3))[:, None] ** 2)
        found = quietly(method, image, recorder, calls=calls, batch_size=6)
        assert found.calls == recorder.calls <= calls
        assert found.calls - 1 - sum(found.rounds[0].masks.values()) in (0, 1)
        assert found.complete
        assert found.stopped in ("calls", "rounds")
        if found.stopped == "calls":
            assert found.calls > calls - method.step_calls
        assert found.saliency.shape == (1, *size)
        assert np.isfinite(found.saliency).all()


def quietly(method: ShapExplainer, *arguments: Any, **options: Any) -> Explanation:
    """An image of a pixel or two has few coalitions, and is warned of."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", WeakEvidenceWarning)
        return iassa.explain(*arguments, method=method, **options)


@both
def test_a_budget_that_is_too_small_is_refused_before_a_call(method: ShapExplainer) -> None:
    recorder = Recorder()
    fewest = max(17, method.fewest_calls[0])
    with pytest.raises(InputError, match=f"at least {fewest} calls"):
        method.iterate(photo(), recorder, calls=fewest - 1)
    assert recorder.batches == []


def test_a_budget_that_is_too_small_for_the_superpixels_is_refused() -> None:
    method = KernelShap(num_segments=60, max_segments=None)
    count = labels_of(method, photo()).max() + 1
    with pytest.raises(InputError, match=f"at least {2 + 2 * count} calls for kernel-shap"):
        iassa.explain(photo(), curved, method=method, calls=1 + 2 * count)


@both
def test_a_tolerance_is_refused_and_no_error_is_claimed(method: ShapExplainer) -> None:
    with pytest.raises(InputError, match=f"no tolerance for {method.name}, got 0.1"):
        method.iterate(photo(), curved, tolerance=0.1)
    with pytest.raises(InputError, match="calls 'auto'"):
        method.iterate(photo(), curved, calls="auto")
    found = iassa.explain(photo(), curved, method=method, calls=100)
    assert np.isposinf(found.standard_error).all()
    assert found.standard_error.shape == (1, *SIZE)
    assert math.isinf(found.relative_error)
    assert found.evidence is None
    with pytest.raises(InputError, match=f"{method.name} keeps none"):
        extend(found, curved)
    with pytest.raises(InputError, match=f"{method.name} keeps none"):
        retarget(found, 1)


@both
def test_batches_are_no_larger_than_wanted_and_change_nothing(method: ShapExplainer) -> None:
    found, shown = [], []
    for batch_size in (16, 1, 3, 64):
        recorder = Recorder()
        found.append(
            iassa.explain(
                photo(), recorder, method=method, target=[0, 2], calls=100, batch_size=batch_size
            )
        )
        assert max(map(len, recorder.batches)) <= batch_size
        shown.append(recorder.images)
    for one, images in zip(found[1:], shown[1:], strict=True):
        np.testing.assert_array_equal(images, shown[0])
        np.testing.assert_allclose(
            one.saliency, found[0].saliency, atol=rounding.steps(8, found[0].scores)
        )


def test_progress_is_told_after_every_batch_and_there_is_one_map() -> None:
    for method in METHODS_HERE.values():
        told: list[Progress] = []
        recorder = Recorder()
        maps = list(method.iterate(photo(), recorder, calls=90, batch_size=7, progress=told.append))
        assert len(maps) == 1
        assert [p.calls for p in told] == np.cumsum([len(b) for b in recorder.batches]).tolist()


# --- images that are shown ----------------------------------------------------------------------


@pytest.mark.parametrize("baseline", [0.5, (0.1, 0.2, 0.3), "blur"])
@both
def test_pixels_are_shown_or_show_the_baseline(method: ShapExplainer, baseline: Any) -> None:
    import dataclasses

    recorder = Recorder()
    iassa.explain(
        photo(), recorder, method=dataclasses.replace(method, baseline=baseline), calls=80
    )
    whole, fill, *masked = recorder.images
    np.testing.assert_array_equal(whole, photo())
    if baseline != "blur":
        np.testing.assert_array_equal(fill, np.broadcast_to(np.float32(baseline), fill.shape))
    for image in masked:
        kept, hidden = (image == whole).all(axis=2), (image == fill).all(axis=2)
        assert (kept | hidden).all()
        assert kept.any()
        assert hidden.any()


def test_a_black_box_of_another_size_gets_its_own_and_the_map_the_images() -> None:
    shapes = set()

    def black_box(images: Array) -> NDArray[np.float64]:
        shapes.add(images.shape[1:])
        return images[:, 4:10, 10:20].mean(axis=(1, 2, 3), dtype=np.float64)[:, None]

    for method in METHODS_HERE.values():
        resized = FunctionModel(black_box, input_size=(20, 24))
        found = iassa.explain(photo(), resized, method=method, calls=200)
        assert shapes == {(20, 24, 3)}
        assert found.saliency.shape == found.standard_error.shape == (1, *SIZE)
        assert np.isposinf(found.standard_error).all()


# --- seeds --------------------------------------------------------------------------------------


def test_the_seed_decides_what_kernel_asks() -> None:
    method = KernelShap(num_segments=40)
    shown = []
    for seed in (4, 4, 5):
        recorder = Recorder()
        iassa.explain(photo(), recorder, method=method, calls=150, seed=seed)
        shown.append(recorder.images)
    np.testing.assert_array_equal(shown[0], shown[1])
    assert not np.array_equal(shown[0], shown[2])


@both
def test_numpys_global_generator_is_as_if_there_had_been_no_run(method: ShapExplainer) -> None:
    """For who calls, and for a black box that draws from it itself."""
    drawn: list[float] = []

    def black_box(images: Array) -> NDArray[np.float64]:
        drawn.append(float(np.random.random()))
        return curved(images)

    np.random.seed(11)
    expected = np.random.random(500)
    np.random.seed(11)
    iassa.explain(photo(), black_box, method=method, calls=120, seed=2)
    drawn.append(float(np.random.random()))
    np.testing.assert_array_equal(drawn, expected[: len(drawn)])

    np.random.seed(12)
    with pytest.raises(CancelledError):
        iassa.explain(photo(), curved, method=method, calls=120, cancel=lambda: True)
    after = np.random.random()
    np.random.seed(12)
    assert after == np.random.random()


# --- runs that are cut short --------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 4, 11])
@partitions
def test_a_partition_that_is_cut_short_is_the_one_of_that_many_calls(step: int, steps: int) -> None:
    """The steps that were answered; a step cut in two is paid for and not used."""
    method = ShapPartition(step_calls=step)
    for batch_size in (16, 4):
        recorder = Recorder()
        found = quietly(
            method,
            photo(),
            recorder,
            target=[0, 1, 2],
            calls=400,
            batch_size=batch_size,
            cancel=lambda recorder=recorder: len(recorder.batches) >= 3 + steps,
        )
        assert found.stopped == "cancelled"
        assert not found.complete
        assert found.calls == recorder.calls
        np.testing.assert_allclose(
            found.saliency.sum(axis=(1, 2)),
            gain(curved, photo()),
            atol=rounding.steps(64, gain(curved, photo())),
        )
        if found.calls - method.step_calls + step >= method.fewest_calls[0] and batch_size == 16:
            whole = iassa.explain(
                photo(), curved, method=method, target=[0, 1, 2], calls=found.calls + step - 1
            )
            assert whole.calls == found.calls
            np.testing.assert_array_equal(found.saliency, whole.saliency)


def test_kernel_has_no_map_before_all_is_asked() -> None:
    recorder = Recorder()
    with pytest.raises(CancelledError, match=r"kernel-shap needs all .* only 31 masks"):
        iassa.explain(
            photo(),
            recorder,
            method=KernelShap(num_segments=40),
            calls=200,
            batch_size=10,
            cancel=lambda: len(recorder.batches) >= 6,
        )
    assert recorder.calls == 33


@both
def test_cancelling_before_there_is_a_map(method: ShapExplainer) -> None:
    for batches in (1, 2):
        recorder = Recorder()
        with pytest.raises(CancelledError):
            iassa.explain(
                photo(),
                recorder,
                method=method,
                calls=200,
                cancel=lambda recorder=recorder, n=batches: len(recorder.batches) >= n,
            )
        assert len(recorder.batches) == batches


def test_time_that_is_up_leaves_a_poor_map_or_says_what_it_is_enough_for() -> None:
    found = iassa.explain(photo(), curved, method=ShapPartition(), max_seconds=1e-9, calls=10_000)
    assert found.stopped == "seconds"
    assert found.complete
    assert 17 <= found.calls < 40
    assert found.warnings == ()
    with pytest.raises(
        InputError, match=r"within the time limit. Allow more seconds, .* at most \d+ calls"
    ):
        iassa.explain(
            photo(), curved, method=KernelShap(num_segments=40), max_seconds=1e-9, calls=10_000
        )


@pytest.mark.parametrize("good", [1, 2, 60])
@both
def test_a_black_box_that_fails(method: ShapExplainer, good: int) -> None:
    answered = 0

    def black_box(images: Array) -> NDArray[np.float64]:
        nonlocal answered
        if answered >= good:
            raise ValueError("out of paper")
        answered += len(images)
        return curved(images)

    with pytest.raises(BlackBoxError, match="raised ValueError: out of paper") as caught:
        iassa.explain(photo(), black_box, method=method, target=0, calls=150, batch_size=8)
    if isinstance(method, KernelShap) or good < 60:
        assert not isinstance(caught.value, RunFailedError)
    else:
        assert isinstance(caught.value, RunFailedError)
        found = caught.value.explanation
        assert found.stopped == "failed"
        assert not found.complete
        assert found.calls == answered + caught.value.images
        assert sum(found.rounds[0].masks.values()) == answered - 2
        assert found.saliency.sum() == pytest.approx(
            gain(curved, photo())[0], abs=rounding.steps(64, gain(curved, photo()))
        )


def test_a_black_box_that_fails_in_the_package_prints_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    answers = iter([curved(photo()[None])])
    for method in METHODS_HERE.values():
        with pytest.raises(BlackBoxError):
            iassa.explain(photo(), lambda images: next(answers), method=method, calls=100)
    out, err = capsys.readouterr()
    assert out == err == ""


@both
@pytest.mark.parametrize("value", [0.0, -3.0])
def test_a_constant_black_box_is_told_of(method: ShapExplainer, value: float) -> None:
    with pytest.warns(WeakEvidenceWarning, match="every masked image scores the same"):
        found = iassa.explain(
            photo(), lambda x: np.full((len(x), 2), value), method=method, calls=100
        )
    assert (found.saliency == 0).all()
    assert len(found.warnings) == 1


# --- targets, and the record --------------------------------------------------------------------


def test_kernel_gives_several_targets_what_each_has_alone() -> None:
    method = KernelShap(num_segments=20)
    wanted: list[str | int] = [0, 2, "1 vs 0"]
    together = Recorder()
    every = iassa.explain(photo(), together, method=method, target=wanted, calls=120)
    for t, one in enumerate(wanted):
        alone = iassa.explain(photo(), curved, method=method, target=one, calls=120)
        assert alone.calls == every.calls == together.calls
        np.testing.assert_allclose(
            alone.saliency[0], every.saliency[t], atol=rounding.steps(64, every.saliency)
        )


def test_partition_spends_the_calls_of_several_targets_on_the_one_that_changes_most() -> None:
    """The other is scaled down until it decides nothing: then the map is that of the first."""

    def unequal(images: Array) -> NDArray[np.float64]:
        return curved(images)[:, :2] * [1, 1e-9]

    both_targets = iassa.explain(photo(), unequal, method=ShapPartition(), target=[0, 1], calls=120)
    alone = iassa.explain(photo(), unequal, method=ShapPartition(), target=0, calls=120)
    np.testing.assert_array_equal(both_targets.saliency[0], alone.saliency[0])
    assert both_targets.calls == alone.calls


@both
def test_the_record_can_be_saved_and_opened(method: ShapExplainer, tmp_path: Any) -> None:
    found = iassa.explain(photo(), curved, method=method, target=[0, 1], calls=100)
    assert found.method["measures"] == "effect"
    assert METHODS[method.name](**found.method["fields"]) == method
    loaded = Explanation.load(found.save(tmp_path / "out"))
    np.testing.assert_array_equal(loaded.saliency, found.saliency)
    assert loaded.evidence is None
    assert not (tmp_path / "out" / "evidence.npz").exists()


@pytest.mark.parametrize("name", ["shap-partition", "kernel-shap"])
def test_without_the_package_they_are_not_made(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "shap", None)
    with pytest.raises(InputError, match=rf"{name} needs the shap package: pip install shap"):
        METHODS[name]()
    with pytest.raises(InputError, match="pip install shap"):
        explain(photo(), curved, method=name)
    METHODS["rise"]()


def test_torch_gets_its_threads_back() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    seen = set()

    def black_box(images: Array) -> NDArray[np.float64]:
        seen.add(torch.get_num_threads())
        return curved(images)

    try:
        for method in METHODS_HERE.values():
            iassa.explain(photo(), black_box, method=method, calls=60)
            assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert seen == {3}
