"""Several fills in one run: who gets which masks, each fill's own map, and how far they agree."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr

import iassa
from iassa.benchmark.contestant import parse_contestant
from iassa.errors import InputError, WeakEvidenceWarning
from iassa.estimators.agreement import rank_agreement
from iassa.estimators.by_fill import average
from iassa.estimators.effect import Effect
from iassa.estimators.jackknife import standard_error
from iassa.masks.cells import draw_designs
from iassa.masks.dealing import deal
from iassa.masks.grids import draw_grids
from iassa.methods import Hsic, Iassa, IassaPaper, Lime, Occlusion, Rise, Sobol
from iassa.methods.engine.loop import Method
from iassa.methods.registry import METHODS, open_method, read_fields, reopen_method
from rounding import steps

Array = NDArray[np.float32]

SIZE = (18, 27)
GREY = np.full((*SIZE, 3), 0.5, np.float32)
BLACK_AND_WHITE = "zero,#ffffff"
PLACE = (7, 20)  # that the black boxes below look at

SMALL: dict[str, Any] = {
    "round_calls": 32,
    "segment_counts": (8, 16),
    "fine_segment_counts": (16,),
    "compactness": (10.0,),
    "features": "colour-position",
    "positions": 12,
}
PAPER: dict[str, Any] = {"features": "colour-position", "positions": 12, "max_rounds": 2}
CASES: dict[str, Method] = {
    "iassa": Iassa(**SMALL, baseline=BLACK_AND_WHITE),
    "iassa-paper": IassaPaper(**PAPER, window=90.0, stride=60.0, baseline=BLACK_AND_WHITE),
    "rise": Rise(round_calls=32, baseline=BLACK_AND_WHITE),
    "sliding-window": Occlusion(round_calls=32, baseline=BLACK_AND_WHITE),
    "lime": Lime(round_calls=32, segmentation="slic", num_segments=12, baseline=BLACK_AND_WHITE),
    "sobol": Sobol(round_designs=2, grid_size=3, baseline=BLACK_AND_WHITE),
    "hsic": Hsic(round_calls=32, grid_size=4, baseline=BLACK_AND_WHITE),
}
cases = pytest.mark.parametrize("name", CASES)
# Most black boxes here rise with what is lighter: black and white are opposites to them.
pytestmark = pytest.mark.filterwarnings("ignore:.*disagree beyond their errors")


def textured(seed: int = 0) -> Array:
    """An image that has superpixels, far from black and white."""
    return np.random.default_rng(seed).uniform(0.3, 0.7, (*SIZE, 3)).astype(np.float32)


def light(images: Array) -> NDArray[np.float64]:
    """Three scores that are no sums of pixels."""
    row, column = PLACE
    near = images[:, row - 3 : row + 4, column - 5 : column + 4].mean((1, 2)).astype(np.float64)
    return near * near[:, [1, 2, 0]]


class Witness:
    """A black box that remembers what it was shown, in order, without the whole image."""

    def __init__(self) -> None:
        self.seen: list[Array] = []

    def __call__(self, images: Array) -> NDArray[np.float64]:
        self.seen.append(images.copy())
        return light(images)

    @property
    def masked(self) -> Array:
        """The masked images, without the one that is asked about twice."""
        return np.concatenate([batch for k, batch in enumerate(self.seen) if k not in (0, 2)])


# --- who gets which masks ------------------------------------------------------------------------


@pytest.mark.parametrize("num_fills", [2, 3, 5])
@pytest.mark.parametrize("seed", [0, 7])
def test_every_beginning_of_a_family_is_dealt_evenly(num_fills: int, seed: int) -> None:
    plan = draw_grids(101, (3, 4), (0.2, 0.8), np.random.default_rng(0))
    dealt = deal(plan, num_fills, seed, 3, 1)
    for length in range(len(plan) + 1):
        counts = [0] * num_fills
        for fill in dealt[:length]:
            counts[fill] += 1
        assert max(counts) - min(counts) <= 1
        np.testing.assert_array_equal(deal(plan[:length], num_fills, seed, 3, 1), dealt[:length])
    others = [deal(plan, num_fills, *key) for key in ((seed + 1, 3, 1), (seed, 4, 1), (seed, 3, 0))]
    assert not any(np.array_equal(dealt, other) for other in others)
    # Not by turns: they would go along with the targets of level sets, which take turns.
    assert (
        len({tuple(block) for block in dealt[: 100 - 100 % num_fills].reshape(-1, num_fills)}) > 1
    )


def test_a_design_stays_together() -> None:
    plan = draw_designs(0, 8, (2, 3), np.arange(6), np.random.default_rng(0))
    dealt = deal(plan, 2, 5, 0, 0).reshape(8, 8)
    assert (dealt == dealt[:, :1]).all()
    assert dealt[:, 0].sum() == 4


@pytest.mark.parametrize("seed", [0, 3])
@pytest.mark.parametrize("name", ["iassa", "rise"])
def test_what_the_black_box_sees_is_dealt_evenly_in_each_family_of_each_round(
    name: str, seed: int
) -> None:
    witness = Witness()
    made = iassa.explain(
        textured(), witness, method=CASES[name], target=0, calls=120, seed=seed, batch_size=32
    )
    shown = witness.masked
    assert len(shown) == made.calls - 2
    black, white = (sign * (shown - textured()) > 1e-3 for sign in (-1, 1))  # some of it shows
    black, white = black.any((1, 2, 3)), white.any((1, 2, 3))
    assert not (black & white).any()
    first = 0
    for one in made.rounds:
        for count in one.masks.values():
            family = np.s_[first : first + count]
            unknown = int((~black[family] & ~white[family]).sum())
            assert abs(int(black[family].sum()) - int(white[family].sum())) <= 1 + unknown
            assert unknown <= count // 2  # masks that hide nothing
            first += count
    assert first == len(shown)


# --- each fill's own map -------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [7, 40])
def test_each_map_is_the_method_on_the_masks_of_its_fill(batch_size: int) -> None:
    """RISE by hand: on grey, behind black and white, the masks can be read off the images."""
    witness = Witness()
    method = Rise(round_calls=64, baseline=BLACK_AND_WHITE)
    made = iassa.explain(GREY, witness, method=method, calls=130, target=1, batch_size=batch_size)
    shown = witness.masked[..., 0].astype(np.float64)
    scores = light(witness.masked)[:, 1]
    white = shown.max((1, 2)) > 0.5
    masks = np.where(white[:, None, None], 2 * (1 - shown), 2 * shown)
    assert made.fills is not None
    for fill, mine in enumerate((~white, white)):
        total, weight = np.zeros(SIZE), np.zeros(SIZE)
        for score, mask in zip(scores[mine], masks[mine], strict=True):
            total += score * mask
            weight += mask
        np.testing.assert_allclose(made.fills.saliency[fill, 0], total / weight, atol=1e-6)
    together = made.fills.saliency.mean(0)
    np.testing.assert_allclose(made.saliency, together, atol=steps(2, together))


@cases
def test_every_method_that_draws_masks_has_a_map_of_each_fill(name: str, tmp_path: Path) -> None:
    """And goes on, and is another target's, and is saved, as under one fill."""
    options: dict[str, Any] = {"method": CASES[name], "target": [0, "0 vs 2"], "seed": 4}
    made = iassa.explain(textured(), light, calls=101, keep_scores="all", **options)
    assert made.fills is not None
    assert made.fills.names == ("zero", "#ffffff")
    together = made.fills.saliency.mean(0)
    np.testing.assert_allclose(made.saliency, together, atol=steps(2, made.fills.saliency))
    assert not np.array_equal(*made.fills.saliency)
    assert [(one.target, one.fills) for one in made.fills.agreements] == [
        (target.name, ("zero", "#ffffff")) for target in made.targets
    ]

    begun = iassa.explain(textured(), light, calls=70, keep_scores="all", **options)
    begun.save(tmp_path, pictures="none")
    loaded = iassa.Explanation.load(tmp_path)
    assert loaded.fills is not None
    assert begun.fills is not None
    for part in ("names", "agreements"):
        assert getattr(loaded.fills, part) == getattr(begun.fills, part)
    for part in ("saliency", "standard_error"):
        np.testing.assert_array_equal(getattr(loaded.fills, part), getattr(begun.fills, part))
    longer = iassa.extend(loaded, light, calls=31)
    assert longer.fills is not None
    assert longer.calls == made.calls
    np.testing.assert_array_equal(longer.saliency, made.saliency)
    np.testing.assert_array_equal(longer.standard_error, made.standard_error)
    np.testing.assert_array_equal(longer.fills.saliency, made.fills.saliency)
    assert longer.fills.agreements == made.fills.agreements
    other = iassa.retarget(longer, "0 vs 2")
    assert other.fills is not None
    atol = steps(64, made.fills.saliency)
    np.testing.assert_allclose(other.fills.saliency[:, 0], made.fills.saliency[:, 1], atol=atol)


def test_all_windows_under_each_fill_are_the_maps_of_each_fill_alone() -> None:
    method = CASES["sliding-window"]
    both = iassa.explain(textured(), light, method=method, target=0, calls=1000)
    assert both.stopped == "rounds"
    assert both.fills is not None
    for k, fill in enumerate(("zero", "#ffffff")):
        alone = Occlusion(round_calls=32, baseline=fill)
        expected = iassa.explain(textured(), light, method=alone, target=0, calls=1000)
        found = both.fills.saliency[k]
        np.testing.assert_allclose(found, expected.saliency, atol=steps(16, found))
        assert both.calls - 2 == 2 * (expected.calls - 2)
    assert (both.standard_error == 0).all()
    assert (both.fills.standard_error == 0).all()


@pytest.mark.parametrize("seed", [0, 1])
def test_batches_of_any_size_give_the_same_maps_and_seeds_do_not(seed: int) -> None:
    made = [
        iassa.explain(
            textured(), light, method=CASES["iassa"], target=0, calls=90, seed=s, batch_size=size
        ).fills
        for s, size in ((seed, 5), (seed, 32), (seed + 1, 32))
    ]
    small, large, other = (one.saliency for one in made if one is not None)
    np.testing.assert_allclose(small, large, atol=1e-4 * np.abs(large).max())
    assert np.abs(other - large).max() > 0.01 * np.abs(large).max()


@pytest.mark.parametrize("one", [["blur"], ("blur",), "blur"])
def test_one_fill_is_one_fill(one: Any) -> None:
    method = Rise(baseline=one)
    assert method == Rise(baseline="blur")
    assert iassa.explain(textured(), light, method=method, target=0, calls=40).fills is None


def test_the_run_stops_by_the_error_of_the_mean() -> None:
    method = Rise(debiased=True, round_calls=128, baseline=BLACK_AND_WHITE)
    found = iassa.explain(textured(), keeping, method=method, target=0, calls=2000, tolerance=0.2)
    assert found.stopped == "tolerance"
    assert found.relative_error <= 0.2
    assert found.fills is not None
    errors = found.fills.standard_error.astype(np.float64)
    apart = np.sqrt(np.square(errors).sum(0)) / 2
    # Errors under two fills have nothing to do with each other; 32 groups show it to 1 / sqrt(32).
    assert abs(np.mean(found.standard_error / apart) - 1) < 0.15


# --- how far they agree --------------------------------------------------------------------------


def keeping(images: Array) -> NDArray[np.float64]:
    """How far a place is from black and white alike: what hides it does not matter."""
    row, column = PLACE
    shown = images[:, row - 2 : row + 3, column - 4 : column + 5].astype(np.float64)
    return np.square((1 - np.abs(2 * shown - 1)).mean((1, 2, 3)))[:, None]


def taking_sides(images: Array) -> NDArray[np.float64]:
    """Black on the left and white on the right lower the score: each fill has its own place."""
    black = (1 - 2 * images[:, 4:14, 2:10].astype(np.float64)).clip(0).mean((1, 2, 3))
    white = (2 * images[:, 4:14, 17:25].astype(np.float64) - 1).clip(0).mean((1, 2, 3))
    return (1 - black - white)[:, None]


def test_maps_that_differ_by_fill_are_known_and_told() -> None:
    """On grey: under black only the left counts, under white only the right."""
    method = Rise(debiased=True, baseline=BLACK_AND_WHITE)
    with pytest.warns(WeakEvidenceWarning, match="disagree beyond their errors: rank correlation"):
        made = iassa.explain(GREY, taking_sides, method=method, target=0, calls=800)
    assert made.fills is not None
    black, white = made.fills.saliency[:, 0]
    left, right = np.zeros((2, *SIZE), np.bool_)
    left[4:14, 2:10] = right[4:14, 17:25] = True
    for saliency, place in ((black, left), (white, right)):
        assert saliency[place].mean() > 4 * np.abs(saliency[~place]).mean()
        assert np.abs(saliency[(left | right) & ~place]).mean() < 0.2 * saliency[place].mean()
    found = made.fills.agreement()
    assert found.correlation == pytest.approx(spearmanr(black.ravel(), white.ravel())[0], abs=1e-3)
    assert found.interval is not None
    assert found.expected is not None
    assert found.interval[0] < found.correlation < found.interval[1] < 0.3 < found.expected
    assert found.beyond_errors


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    "method",
    [Rise(debiased=True, baseline=BLACK_AND_WHITE), CASES["hsic"], CASES["sliding-window"]],
)
def test_maps_that_are_one_map_agree_within_their_errors(method: Method, seed: int) -> None:
    """Errors may be too large, as those of HSIC, or those of the same windows."""
    made = iassa.explain(GREY, keeping, method=method, target=0, calls=300, seed=seed)
    assert not any("disagree" in text for text in made.warnings)
    assert made.fills is not None
    found = made.fills.agreement()
    assert found.interval is not None
    assert found.expected is not None
    assert found.expected <= found.interval[1] + 1e-12
    assert found.correlation is not None
    assert found.correlation > 0.3


def test_a_flat_map_agrees_with_nothing() -> None:
    method = Rise(debiased=True, baseline=BLACK_AND_WHITE)
    with pytest.warns(WeakEvidenceWarning, match="nothing to explain"):
        made = iassa.explain(
            GREY, lambda images: np.ones((len(images), 1)), method=method, target=0, calls=60
        )
    assert made.fills is not None
    found = made.fills.agreement()
    assert (found.correlation, found.interval, found.expected) == (None, None, None)
    assert str(found) == "zero and #ffffff unknown"


def estimates(truth: NDArray[np.float64], rng: np.random.Generator, noise: float) -> Effect:
    """A map of a number of masks in 32 groups, each the truth and smooth errors of its own."""
    errors = rng.standard_normal((32, 4, truth.size // 4)).repeat(4, axis=2)[
        :, :, : truth.size // 4
    ]
    groups = noise * math.sqrt(32) * errors.reshape(32, *truth.shape)
    mean = groups.mean(0)
    return Effect(
        saliency=torch.from_numpy(truth + mean)[None].float(),
        sampled=torch.ones(truth.shape, dtype=torch.bool),
        deviations=torch.from_numpy((mean - groups) / 31)[:, None],
        settled=torch.ones(truth.shape, dtype=torch.bool),
        signed=True,
    )


@pytest.mark.parametrize("noise", [0.3, 1.0])
def test_intervals_cover_and_errors_alone_are_no_disagreement(noise: float) -> None:
    """Of forty pairs of estimates of one map, and of two that are known to differ."""
    rng = np.random.default_rng(3)
    truth, other = rng.standard_normal((2, 8, 14))
    for second, same in ((truth, True), (0.6 * truth + 0.8 * other, False)):
        found = [
            rank_agreement(estimates(truth, rng, noise), estimates(second, rng, noise))[0]
            for _ in range(40)
        ]
        mean = np.mean([one.correlation for one in found])
        covered = [one.interval[0] <= mean <= one.interval[1] for one in found if one.interval]
        assert 0.88 <= np.mean(covered) <= 1
        width = np.mean([one.interval[1] - one.interval[0] for one in found if one.interval])
        assert width < 1.8 * 2 * 1.96 * np.std([one.correlation for one in found])
        told = np.mean(
            [one.interval[1] < one.expected for one in found if one.interval and one.expected]
        )
        if same:
            assert np.mean([one.expected for one in found]) == pytest.approx(mean, abs=0.06)
            assert told <= 0.1
        elif noise < 1:
            assert told > 0.8


def test_the_error_of_a_mean_is_of_independent_or_of_common_errors() -> None:
    """Groups that are orthogonal add up in the square, groups that are the same side by side."""
    rng = np.random.default_rng(0)
    signs = np.array([[1, 1, -1, -1], [1, -1, 1, -1]], np.float64)
    sizes = rng.uniform(0.5, 2, (2, *SIZE))
    effects = []
    for size, sign in zip(sizes, signs, strict=True):
        saliency = torch.from_numpy(rng.standard_normal((1, *SIZE))).float()
        everywhere = torch.ones(SIZE, dtype=torch.bool)
        deviations = torch.from_numpy(sign[:, None, None, None] * size)
        effects.append(Effect(saliency, everywhere, deviations, everywhere, signed=True))
    one, other = (math.sqrt(3 / 4 * 4) * size for size in sizes)
    apart = standard_error(average(effects).deviations, average(effects).settled)[0]
    np.testing.assert_allclose(apart, np.hypot(one, other) / 2)
    same = Effect(
        effects[1].saliency,
        effects[1].sampled,
        effects[0].deviations * torch.from_numpy(sizes[1] / sizes[0]),
        effects[1].settled,
        signed=True,
    )
    common = average([effects[0], same])
    found = standard_error(common.deviations, common.settled)[0]
    np.testing.assert_allclose(found, (one + other) / 2)
    assert average(effects[:1]) is effects[0]


# --- what is refused -----------------------------------------------------------------------------


def counted(calls: list[int]) -> Any:
    def box(images: Array) -> NDArray[np.float64]:
        calls.append(len(images))
        return light(images)

    return box


@pytest.mark.parametrize("name", sorted({*METHODS} - {one.name for one in CASES.values()}))
def test_a_method_that_cannot_deal_says_so(name: str) -> None:
    with pytest.raises(
        InputError, match=f"expected one fill as baseline of {name}, got grey, blur"
    ):
        open_method(name, baseline="grey,blur")


@pytest.mark.parametrize(
    ("baseline", "got"),
    [
        ("grey,0.5,0.5,0.5", "got grey and 0.5,0.5,0.5"),
        ("zero,grey,#808080", "got grey and #808080"),
        (["blur", np.full((5, 4, 3), 0.5)], "got blur and array [0-9a-f]{8}"),
        ("mean,blur", "got mean and blur"),
    ],
)
def test_fills_that_show_the_same_cost_no_call(baseline: Any, got: str) -> None:
    calls: list[int] = []
    with pytest.raises(InputError, match=rf"expected fills that differ, {got}, which show"):
        iassa.explain(GREY, counted(calls), method=Rise(baseline=baseline), calls=100)
    assert calls == []


@pytest.mark.parametrize(("fills", "fewest"), [("zero,blur", 33), ("zero,grey,blur", 49)])
def test_more_fills_than_masks_can_serve_cost_no_call(fills: str, fewest: int) -> None:
    calls: list[int] = []
    image, method = textured(), Rise(baseline=fills)
    with pytest.raises(InputError, match=f"at least {fewest} calls for . fills .*got {fewest - 1}"):
        iassa.explain(image, counted(calls), method=method, calls=fewest - 1)
    assert calls == []
    made = iassa.explain(image, light, method=method, target=0, calls=fewest)
    assert made.calls == fewest


# --- how they are written ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "fills"),
    [
        ("grey,blur", ("grey", "blur")),
        (" grey , blur ", ("grey", "blur")),
        ("0.2,0.7", (0.2, 0.7)),
        ("0,blur,1", (0.0, "blur", 1.0)),
        ("0.1,0.2,0.3", (0.1, 0.2, 0.3)),  # a colour
        ("blur,0.1,0.2,0.3", ("blur", (0.1, 0.2, 0.3))),
        ("0.5,#ff0000", (0.5, "#ff0000")),
        ("grey,./a.png", ("grey", "./a.png")),
    ],
)
def test_the_command_line_has_fills_between_commas(text: str, fills: Any) -> None:
    method = open_method("rise", **read_fields("rise", [f"baseline={text}"]))
    assert method.baseline == fills
    contestant = parse_contestant(f"both=rise:baseline={text},grid_size=5", [100]).method
    assert contestant == Rise(baseline=fills, grid_size=5)
    said = json.loads(json.dumps(method.as_dict()))
    assert open_method(said["name"], **said["fields"]) == method


def test_a_file_may_have_a_comma_in_its_name(tmp_path: Path) -> None:
    path = tmp_path / "grey,blur.png"
    assert len(Rise(baseline=str(path)).fills) == 2
    path.touch()
    assert Rise(baseline=str(path)).baseline == str(path)


def test_a_saved_file_among_fills_is_not_opened() -> None:
    record = Rise(baseline=["grey", "./secret.png"]).as_dict()
    with pytest.raises(InputError, match="expected baseline of rise to be named again"):
        reopen_method(record, {})
    again = reopen_method(record, {"baseline": "grey,./secret.png"})
    assert again.as_dict() == record


def test_a_saved_array_among_fills_is_told_by_its_digest() -> None:
    pixels = np.random.default_rng(0).random((5, 4, 3), np.float32)
    method = Rise(baseline=["grey", pixels])
    made = iassa.explain(textured(), light, method=method, target=0, calls=60)
    said = json.loads(json.dumps(made.as_dict()))
    assert said["method"]["fields"]["baseline"][1].keys() == {"shape", "sha256"}
    assert said["fills"] == [
        "grey",
        f"array {said['method']['fields']['baseline'][1]['sha256'][:8]}",
    ]


def edit(folder: Path, **parts: Any) -> None:
    path = folder / "explanation.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | parts))


def test_saved_fills_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    made = iassa.explain(textured(), light, method=CASES["rise"], target=0, calls=60)
    made.save(tmp_path, pictures="none")
    one = json.loads((tmp_path / "explanation.json").read_text())["agreements"][0]
    for parts, fault in (
        ({"fills": []}, "expected 0 agreements of fills, got 1"),
        ({"fills": [], "agreements": []}, "expected fills for the maps of fills, got none"),
        ({"fills": ["a", "b", "c"], "agreements": [one] * 3}, r"expected fill_saliency \(3, "),
        ({"fills": ["a"], "agreements": []}, "expected several fills or none, got 1"),
        ({"agreements": [one | {"correlation": 2.0}]}, "correlation"),
    ):
        made.save(tmp_path, pictures="none")
        edit(tmp_path, **parts)
        with pytest.raises(InputError, match=fault):
            iassa.Explanation.load(tmp_path)


def test_three_fills_have_three_pairs_and_a_picture() -> None:
    method = Rise(round_calls=32, baseline="zero,grey,#ffffff")
    made = iassa.explain(textured(), light, method=method, target=[0, 1], calls=110)
    assert made.fills is not None
    names = ("zero", "grey", "#ffffff")
    expected = [
        (target.name, pair) for target in made.targets for pair in itertools.combinations(names, 2)
    ]
    assert [(one.target, one.fills) for one in made.fills.agreements] == expected
    least = min(one.correlation or 0 for one in made.fills.agreements[3:])
    assert made.fills.agreement(1).correlation == least
    figure = made.plot(1)
    titles = [axes.get_title() for axes in figure.axes]
    assert [title for title in titles if title] == [f"under {name}" for name in names]


def test_boxes_of_a_detector_have_maps_of_each_fill() -> None:
    """A box is as sure as its place is kept, and another place does not matter to it."""
    places = ((2, 3, 10, 11), (8, 15, 16, 25))

    def detect(images: Array) -> list[iassa.models.Detections]:
        kept = 1 - np.abs(2 * images - 1)
        sure = [[one[t:b, left:r].mean() for t, left, b, r in places] for one in kept]
        return [
            iassa.models.Detections.of_labels(np.array(places), (0, 0), scores, 1)
            for scores in sure
        ]

    box = iassa.models.FunctionDetector(detect, class_names=("dog",))
    method = Rise(debiased=True, baseline=BLACK_AND_WHITE)
    made = iassa.explain(GREY, box, method=method, target=["dog 1", "dog 2"], calls=300)
    assert made.fills is not None
    for target in made.targets:
        top, left, bottom, right = places[target.indices[0]]
        of_target = made.fills.saliency[:, made.targets.index(target)]
        for saliency in of_target:
            assert saliency[top:bottom, left:right].mean() > 2 * abs(saliency.mean())
    assert len(made.fills.agreements) == 2
