"""What a user is told before trusting a map: once, by name, in Python and on stderr; else nothing.

The black boxes know the share of a patch that is seen, which makes them linear, saturated or flat
by construction.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import iassa
from iassa.cli import main
from iassa.errors import WeakEvidenceWarning
from iassa.explanations.explanation import Explanation
from iassa.methods import Iassa, IassaPaper, Lime, Occlusion, Rise
from iassa.methods.engine.base import Explainer

pytestmark = pytest.mark.filterwarnings("default::iassa.errors.WeakEvidenceWarning")

Scores = Callable[[NDArray[np.float64]], NDArray[np.float64]]

SIZE = (40, 56)
PATCH = (slice(8, 24), slice(20, 40))
IMAGE = np.random.default_rng(0).integers(180, 256, (*SIZE, 3), dtype=np.uint8)
BRIGHTNESS = IMAGE[PATCH].mean() / 255

FLAT = "every masked image scores the same"
SURE = "the score barely moves for nearly all masks"
GONE = "the score is gone for nearly all masks"
AGAINST = "images with half of their pixels or more hidden score higher than the whole image"
CHANCE = "the map is mostly noise"


def seen(images: NDArray[np.float32]) -> NDArray[np.float64]:
    """Share of the patch that is seen: 1 for the whole image, 0 where the patch is grey."""
    patch = images[:, *PATCH].mean(axis=(1, 2, 3), dtype=np.float64)
    return (patch - 0.5) / (BRIGHTNESS - 0.5)


def sigmoid(steepness: float, centre: float) -> Scores:
    return lambda share: 1 / (1 + np.exp(-steepness * (share - centre)))


def linear(share: NDArray[np.float64]) -> NDArray[np.float64]:
    return 0.1 + 0.8 * share


def falling(share: NDArray[np.float64]) -> NDArray[np.float64]:
    return 0.9 - 0.8 * share


def flat(share: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.full_like(share, 0.3)


sure = sigmoid(60, 0.05)
gone = sigmoid(40, 0.95)


def black_box(*outputs: Scores, names: Sequence[str] | None = None) -> iassa.models.FunctionModel:
    """One output for each, and one that takes what is left to 1."""

    def answer(images: NDArray[np.float32]) -> NDArray[np.float64]:
        share = seen(images)
        columns = [output(share) for output in outputs]
        return np.stack([*columns, 1 - np.sum(columns, axis=0)], axis=1)

    return iassa.models.FunctionModel(answer, name="box", class_names=names)


def raw(*outputs: Scores) -> iassa.models.FunctionModel:
    """The outputs alone, which need sum to nothing."""
    return iassa.models.FunctionModel(
        lambda images: np.stack([output(seen(images)) for output in outputs], axis=1)
    )


IASSA = Iassa(features="none", segment_counts=(16, 32), fine_segment_counts=(32,))


def explain(
    box: iassa.models.FunctionModel,
    *,
    method: Explainer = IASSA,
    calls: int = 257,
    **options: object,
) -> Explanation:
    """An explanation whose warnings were warned of, each once."""
    options.setdefault("target", 0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        made = iassa.explain(IMAGE, box, method=method, calls=calls, **options)  # type: ignore[arg-type]
    assert all(one.category is WeakEvidenceWarning for one in caught)
    assert tuple(str(one.message) for one in caught) == made.warnings
    return made


HIDING_MUCH = {
    "iassa": IASSA,
    "rise": Rise(),
    "rise, debiased": Rise(debiased=True),
    "lime": Lime(segmentation="slic", num_segments=30),
}
hiding_much = pytest.mark.parametrize("method", HIDING_MUCH.values(), ids=HIDING_MUCH.keys())
ALL = {
    **HIDING_MUCH,
    "iassa-paper": IassaPaper(features="none"),
    "sliding-window": Occlusion(stride=8.0),
}
methods = pytest.mark.parametrize("method", ALL.values(), ids=ALL.keys())
more = (pytest.param(seed, marks=pytest.mark.thorough) for seed in (2, 3, 4))
seeds = pytest.mark.parametrize("seed", [0, 1, *more])


# --- what is told -----------------------------------------------------------------------------

ADVICE = {
    FLAT: "there is nothing to explain",
    SURE: "Hide more, with a lower keep_probability",
    GONE: "Hide less, with a higher keep_probability",
    AGAINST: "the visible image lowers the target's score",
}


@seeds
@hiding_much
@pytest.mark.parametrize(
    ("scores", "text"), [(flat, FLAT), (sure, SURE), (gone, GONE), (falling, AGAINST)]
)
def test_each_is_told_and_what_to_do(
    method: Explainer, scores: Scores, text: str, seed: int
) -> None:
    (told,) = explain(black_box(scores), method=method, seed=seed).warnings
    assert told.startswith(text)
    assert ADVICE[text] in told


@methods
def test_a_flat_score_is_told_of_whatever_the_method(method: Explainer) -> None:
    (told,) = explain(black_box(flat), method=method).warnings
    assert told.startswith(FLAT)


@pytest.mark.parametrize("method", ["iassa-paper", "sliding-window"])
def test_windows_that_never_move_a_likelihood(method: str) -> None:
    """They hide a twentieth of the image; not one of them takes two hundredths of the score."""
    box = black_box(lambda share: 0.97 + 0.01 * share)
    (told,) = explain(box, method=ALL[method]).warnings
    assert told.startswith(SURE)


def test_those_that_it_is_true_of_are_named_in_one_line() -> None:
    third = [lambda share, f=f: f(share) / 6 for f in (linear, sure, falling, gone, sure, flat)]
    names = ("linear", "sure", "falling, fallen", "gone", "sure too", "flat", "rest")
    made = explain(black_box(*third, names=names), target=list(range(6)))
    told = sorted(text.split(":")[0] for text in made.warnings)
    assert told == ["falling", "flat", "gone", "sure, sure too"]
    for text in made.warnings:
        name = text.split(":")[0].split(",")[0]
        assert {"falling": AGAINST, "flat": FLAT, "gone": GONE, "sure": SURE}[name] in text


@pytest.mark.parametrize(
    ("method", "calls", "cells"),
    [
        (Rise(grid_size=7), 40, 48),  # 6 x 8 nearly square cells
        (Rise(grid_size=14), 150, 192),  # 12 x 16
        (
            Iassa(
                features="none",
                segment_counts=(128,),
                fine_segment_counts=(128,),
                compactness=(10.0,),
            ),
            30,
            None,  # as many as SLIC makes of 128
        ),
    ],
    ids=str,
)
def test_fewer_masks_than_cells(method: Explainer, calls: int, cells: int | None) -> None:
    (told,) = explain(black_box(linear), method=method, calls=calls).warnings
    assert CHANCE in told
    assert told.startswith(f"only {calls - 2} masks for {cells or ''}")
    assert "Allow more calls, or use fewer cells" in told
    assert explain(black_box(linear), method=method, calls=600).warnings == ()


def test_hardly_any_masks_is_all_that_is_told() -> None:
    asked = iter([False, True, True])
    made = explain(black_box(flat), batch_size=3, cancel=lambda: next(asked))
    assert made.warnings == (
        "only 3 masks were scored; the map is noise. Allow more calls or seconds",
    )


def test_it_is_told_at_the_end_and_not_after_every_round() -> None:
    small = Rise(round_calls=32)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        maps = list(small.iterate(IMAGE, black_box(flat), target=0, calls=200))
    assert len(maps) > 4
    assert [one.warnings for one in maps[:-1]] == [()] * (len(maps) - 1)
    assert len(caught) == 1


def test_going_on_tells_it_again_and_another_target_its_own() -> None:
    halves = [lambda share, f=f: f(share) / 2 for f in (linear, falling)]
    made = explain(black_box(*halves), calls=60)
    assert made.warnings == ()
    (told,) = iassa.retarget(made, [0, 1]).warnings
    assert told.startswith(f"class 1: {AGAINST}")
    with pytest.warns(WeakEvidenceWarning, match=f"^{AGAINST}"):
        longer = iassa.extend(iassa.retarget(made, 1), black_box(*halves), calls=60)
    assert len(longer.warnings) == 1


# --- on the command line ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("box", "text"),
    [("flat", FLAT), ("sure", SURE), ("gone", GONE), ("falling", AGAINST), ("linear", None)],
)
@pytest.mark.parametrize("command", ["explain", "extend"])
def test_the_command_line_says_so_on_stderr(
    tmp_path, monkeypatch, capsys, box: str, text: str | None, command: str
) -> None:
    Image.fromarray(IMAGE).save(tmp_path / "photo.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "boxes_of_these_tests", sys.modules[__name__])
    wanted = ["--model", f"boxes_of_these_tests:{box}_box", "--method", "rise"]
    arguments = ["explain", "photo.png", *wanted, "--target", "0", "--calls", "257", "--out", "o"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # not told in Python's way as well
        assert status_of(arguments) == 0
        if command == "extend":
            capsys.readouterr()
            assert status_of(["extend", "o", "--calls", "50", *wanted[:2]]) == 0
    out, err = capsys.readouterr()
    told = [line for line in err.splitlines() if line.startswith("warning: ")]
    assert [line.startswith(f"warning: {text}") for line in told] == (
        [] if text is None else [True]
    )
    assert "warning" not in out
    assert iassa.Explanation.load("o").warnings == tuple(line[9:] for line in told)
    status_of(["explain", "photo.png", *wanted, "--target", "0", "--calls", "60", "--quiet"])
    assert capsys.readouterr().err == ""


def status_of(arguments: list[str]) -> object:
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    return exit_.value.code


linear_box, flat_box, falling_box = black_box(linear), black_box(flat), black_box(falling)
sure_box, gone_box = black_box(sure), black_box(gone)


# --- what is not ------------------------------------------------------------------------------


@seeds
@methods
@pytest.mark.parametrize("calls", [100, 257])
def test_a_linear_likelihood_is_healthy(method: Explainer, calls: int, seed: int) -> None:
    assert explain(black_box(linear), method=method, calls=calls, seed=seed).warnings == ()


@seeds
@methods
def test_a_likelihood_that_bends_is_healthy(method: Explainer, seed: int) -> None:
    """A window that hides a twentieth moves it by a hundredth: that is what windows do."""
    assert explain(black_box(sigmoid(10, 0.5)), method=method, seed=seed).warnings == ()


@pytest.mark.parametrize(
    "method", [Iassa(features="none"), Rise(), Occlusion()], ids=lambda method: method.name
)
def test_the_default_model_is_healthy(method: Explainer) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for seed in range(2):
            made = iassa.explain(
                "example:cat", "efficientnet-lite0", method=method, calls=100, seed=seed
            )
            assert made.warnings == ()


@methods
@pytest.mark.parametrize(
    ("scale", "offset"),
    [(1e-6, -1e3), (1e6, 1e3), (1e-3, 0.5), (30.0, -0.5), (1.0, -0.5), (1.0, 0.0), (1.0, 0.5)],
)
def test_logits_are_not_saturated(method: Explainer, scale: float, offset: float) -> None:
    """Of any unit and any zero, those that happen to lie in [0, 1] included."""
    box = raw(lambda x: scale * (x + offset), lambda x: scale * (0.2 - x), lambda x: 0 * x)
    assert explain(box, method=method, calls=130).warnings == ()


@hiding_much
@pytest.mark.parametrize(("scores", "text"), [(linear, ""), (sure, SURE), (gone, GONE)])
@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_the_unit_and_the_zero_of_the_scores_change_nothing(
    method: Explainer, scores: Scores, text: str, scale: float
) -> None:
    told = explain(raw(lambda x: scale * (scores(x) - 7), flat), method=method).warnings
    assert [one.startswith(text) for one in told] == [True] * bool(text)


@seeds
@methods
def test_a_contrast_that_favours_its_first_is_healthy(method: Explainer, seed: int) -> None:
    halves = [lambda share, f=f: f(share) / 2 for f in (linear, falling)]
    made = explain(black_box(*halves), method=method, target="0 vs 1", seed=seed)
    assert made.warnings == ()
    assert made.scores[0] > 0


@hiding_much
def test_a_contrast_that_favours_its_second_is_told_of(method: Explainer) -> None:
    """Rounds look closer where the map is positive, so the other way round is known better."""
    halves = [lambda share, f=f: f(share) / 2 for f in (linear, falling)]
    (told,) = explain(black_box(*halves), method=method, target="1 vs 0").warnings
    assert told.startswith(AGAINST)


@seeds
@methods
def test_negative_scores_are_healthy(method: Explainer, seed: int) -> None:
    box = raw(lambda share: share - 5, lambda share: -3 - share)
    assert explain(box, method=method, seed=seed).warnings == ()


@pytest.mark.parametrize("method", ["iassa-paper", "sliding-window"])
def test_windows_are_not_said_to_hide_most_of_the_image(method: str) -> None:
    assert explain(black_box(falling), method=ALL[method]).warnings == ()


def test_masks_that_keep_most_of_the_image_are_no_background() -> None:
    assert explain(black_box(falling), method=Rise(keep_probability=0.7)).warnings == ()


@seeds
def test_classes_that_the_image_has_little_of_are_not_saturated(seed: int) -> None:
    """A few masks bring them out: that is their map."""
    box = black_box(lambda share: 0.001 + 0.3 * np.clip(0.15 - share, 0, None) * share)
    for method in HIDING_MUCH.values():
        told = explain(box, method=method, seed=seed).warnings
        assert not [text for text in told if SURE in text or GONE in text]


# --- methods that keep no evidence ------------------------------------------------------------


@pytest.mark.parametrize("name", ["kernel-shap", "shap-partition", "shap-bpt", "greedy"])
@pytest.mark.parametrize(
    ("scores", "text"),
    [(linear, ""), (falling, ""), (flat, FLAT), (lambda share: 0.97 + 0.01 * share, SURE)],
)
def test_without_evidence_what_the_lowest_and_highest_scores_say(
    name: str, scores: Scores, text: str
) -> None:
    pytest.importorskip("shap")
    told = explain(black_box(scores), method=iassa.methods.METHODS[name](), calls=120).warnings
    assert [one.startswith(text) for one in told] == [True] * bool(text)
