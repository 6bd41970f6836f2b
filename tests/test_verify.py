"""Statements that the model confirmed, against searches over all level sets by NumPy."""

from __future__ import annotations

import dataclasses
import json
import warnings

import numpy as np
import pytest
from PIL import Image

import iassa
from iassa.cli import main
from iassa.errors import BlackBoxError, CancelledError, InputError, WeakEvidenceWarning
from iassa.explanations.check import Part, Statement
from iassa.methods.engine.narrowing import QUESTIONS, RESOLUTION, Narrowing
from iassa.methods.engine.shrinking import Shrinking
from iassa.models import FunctionModel

SIZE = (18, 27)
RNG = np.random.default_rng(1)
IMAGE = RNG.uniform(0.6, 1, (*SIZE, 3)).astype(np.float32)
ROWS, COLUMNS = np.mgrid[: SIZE[0], : SIZE[1]]
# No two pixels have one height: a level set of each number of pixels.
MAP = np.exp(-((ROWS - 5.1) ** 2 + (COLUMNS - 9.3) ** 2) / 60).astype(np.float32)
WEIGHTS = (MAP * (MAP > 0.6)).astype(np.float64)  # what the score looks at
FILLS = [0.0, 0.1]


def parts(images):
    """A weighted mean, a logit that is far from 0, what the image lowers, and a constant."""
    mean = (images.astype(np.float64).mean(axis=3) * WEIGHTS).sum((1, 2)) / WEIGHTS.sum()
    return np.stack([mean, 100 + mean, 1 - mean, np.full(len(images), 0.25)], axis=1)


def jagged(images):
    """A score that falls for a while as more is shown."""
    grey = images.astype(np.float64).mean(axis=3)
    one, two = grey[:, 3:8, 7:12].mean((1, 2)), grey[:, :, 20:].mean((1, 2))
    return np.stack([one * (1 - 0.8 * np.sin(np.pi * two)), one], axis=1)


def explain(model=parts, target=0, saliency=MAP, image=IMAGE):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", WeakEvidenceWarning)  # of a constant score
        made = iassa.explain(image, model, target=target, method="rise", calls=20)
    return dataclasses.replace(
        made, saliency=np.broadcast_to(saliency, made.saliency.shape).astype(np.float32)
    )


def masked(region, fill, *, hide=False):
    shown = ~region if hide else region
    return np.where(shown[:, :, None], IMAGE, np.float32(fill))[None]


def smallest(score, whole, hidden, *, keeps, saliency=MAP):
    """Share of the smallest level set that holds, by asking about every one."""
    for height in sorted(saliency.ravel().tolist(), reverse=True):
        region = saliency >= height
        left = (score(region) - hidden) / (whole - hidden)
        if left >= 0.9 if keeps else left <= 0.1:
            return region.mean()
    raise AssertionError("the whole image holds")


@pytest.mark.parametrize("target", [0, 1, 2])
def test_the_parts_are_the_smallest_and_the_model_gives_what_is_said(target):
    check = iassa.verify(explain(target=target), parts, fills=FILLS)
    assert 20 <= check.calls <= 35
    saliency = MAP
    for fill, one in zip(FILLS, check.statements[0], strict=True):
        whole = parts(IMAGE[None])[0, target]
        hidden = parts(masked(np.zeros(SIZE, np.bool_), fill))[0, target]
        np.testing.assert_allclose([one.whole, one.hidden], [whole, hidden])
        # Where the image lowers the score, the map of that score has its lowest pixels first.
        order = -saliency if target == 2 else saliency
        for part, hide in ((one.keeps, False), (one.loses, True)):

            def score(region, fill=fill, hide=hide):
                return parts(masked(region, fill, hide=hide))[0, target]

            assert part.score == pytest.approx(score(part.region), abs=1e-6)
            best = smallest(score, whole, hidden, keeps=not hide, saliency=order)
            assert best <= part.share
            assert np.sqrt(part.share) - np.sqrt(best) <= RESOLUTION + 1e-9


def test_the_other_side_of_a_target_has_the_same_parts_for_no_call_more():
    one = iassa.verify(explain(), parts, fills=FILLS)
    target = iassa.Target("other side", (0,), (-1.0,), offset=1.0)
    both = explain(target=[0, target])
    both = dataclasses.replace(both, saliency=np.stack([MAP, -MAP]))
    check = iassa.verify(both, parts, fills=FILLS)
    assert check.calls == one.calls
    for plain, other in zip(*check.statements, strict=True):
        np.testing.assert_array_equal(plain.keeps.region, other.keeps.region)
        np.testing.assert_array_equal(plain.loses.region, other.loses.region)
        assert other.loses.score == pytest.approx(1 - plain.loses.score)
        assert "it is" in str(other)


def test_of_a_score_that_goes_up_and_down_what_is_said_is_true_all_the_same():
    check = iassa.verify(explain(jagged), jagged, fills=FILLS, refine=20)
    for fill, one in zip(FILLS, check.statements[0], strict=True):
        for part, hide in ((one.keeps, False), (one.loses, True)):
            score = jagged(masked(part.region, fill, hide=hide))[0, 0]
            assert part.score == pytest.approx(score, abs=1e-6)
            left = (score - one.hidden) / (one.whole - one.hidden)
            assert left <= 0.1 + 1e-6 if hide else left >= 0.9 - 1e-6


@pytest.mark.parametrize("threshold", [1, 2, 40, 300, 486])
def test_a_narrowing_finds_the_smallest_set_in_so_many_questions(threshold):
    shares = np.arange(487) / 486
    search, asked = Narrowing(shares), 0
    for count in QUESTIONS:
        numbers = search.ask(count)
        assert all(0 < number < 486 for number in numbers)
        asked += len(numbers)
        search.tell({number: number >= threshold for number in numbers})
    assert asked <= sum(QUESTIONS) == 8
    assert search.found >= threshold
    before = shares[max(threshold, search.found - 1)]  # a set is found, not a share
    assert np.sqrt(before) - np.sqrt(shares[threshold]) <= RESOLUTION


def test_refined_regions_are_smaller_and_every_call_is_counted():
    shown = []

    def counting(images):
        shown.append(len(images))
        return parts(images)

    saliency = 0.2 * MAP + np.float32(0.8) * (MAP > 0.3) * RNG.random(SIZE)  # a poor order
    made = explain(counting, saliency=saliency)
    shown.clear()
    plain = iassa.verify(made, counting, fills=FILLS)
    assert sum(shown) == plain.calls
    shown.clear()
    refined = iassa.verify(made, counting, fills=FILLS, refine=60)
    assert sum(shown) == refined.calls == plain.calls + refined.refine_calls
    assert 0 < refined.refine_calls <= 60
    assert f"{refined.calls} calls, {refined.refine_calls} of them" in refined.count()
    smaller = 0
    for before, one in zip(plain.statements[0], refined.statements[0], strict=True):
        for part, was in ((one.keeps, before.keeps), (one.loses, before.loses)):
            assert not (part.region & ~was.region).any()
            smaller += part.share < was.share
    assert smaller >= 2


def test_a_shrinking_ends_with_what_is_needed():
    labels = (ROWS // 3) * 9 + COLUMNS // 3  # squares
    needed = np.isin(labels, [10, 11, 20])
    search = Shrinking(np.ones(SIZE, np.bool_), labels, MAP)
    asked = 0
    while (region := search.propose()) is not None:
        assert region.any()
        assert (region < search.region).any()
        search.tell(passes=not (needed & ~region).any())
        asked += 1
    np.testing.assert_array_equal(search.region, needed)
    assert asked < 120


def test_pixels_of_one_height_stay_together():
    steps = np.floor(4 * MAP) / 4
    check = iassa.verify(explain(saliency=steps), parts, fills=FILLS)
    for one in check.statements[0]:
        for part in (one.keeps, one.loses):
            heights = steps[part.region].min()
            np.testing.assert_array_equal(part.region, steps >= heights)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_the_size_of_a_batch_changes_nothing(batch_size):
    made = explain(target=[0, 2])
    one = iassa.verify(made, parts, fills=FILLS, refine=9, batch_size=batch_size)
    other = iassa.verify(made, parts, fills=FILLS, refine=9)
    assert one.describe() == other.describe()
    assert one.pack() == other.pack()


def test_a_sentence_says_both_halves_and_what_the_fill_alone_gives():
    region = np.zeros((10, 10), np.bool_)
    region[:1, :7] = True
    numbers = {"target": "cat", "fill": "grey", "whole": 0.79}
    keeps, loses = Part(region, 0.74), Part(region[::-1], 0.05)
    one = Statement(**numbers, hidden=0.01, keeps=keeps, loses=loses)
    assert str(one) == (
        "the outlined 7 % alone give 0.74 of 0.79; without the dotted 7 %, 0.05 is left"
    )
    same = dataclasses.replace(one, loses=Part(region, 0.05), hidden=0.1)
    assert str(same) == (
        "the outlined 7 % alone give 0.74 of 0.79; without them 0.05 is left "
        "(the fill alone gives 0.1)"
    )


def test_a_flat_target_beside_others_has_no_parts():
    check = iassa.verify(explain(target=[3, 0]), parts, fills=FILLS)
    flat, other = check.statements
    assert all(one.keeps is None and "nothing to find" in str(one) for one in flat)
    assert all(one.keeps is not None for one in other)


def drifting(images):
    return parts(images) * 1.1


def count_bright(scores):
    return scores[:, 0] + scores[:, 1]


@pytest.mark.parametrize(
    ("made", "model", "options", "text"),
    [
        ({}, jagged, {}, "expected the black box that was asked before"),
        ({}, "no-such-model", {}, "no-such-model"),
        ({}, None, {}, "expected a black box|None"),
        ({"target": 3}, parts, {}, "expected a score that depends on the image, got 0.25"),
        ({"saliency": 0 * MAP}, parts, {}, "expected a map with a highest part"),
        ({}, parts, {"fills": [0.5, "grey"]}, "fills that differ"),
        ({}, parts, {"fills": []}, "to be one to 8 fills, got 0"),
        ({}, parts, {"refine": -1}, "refine to be a whole number, from 0"),
        ({}, parts, {"target": 1}, "expected the targets that were explained"),
    ],
)
def test_bad_input_is_told_in_one_line(made, model, options, text):
    explanation = explain(**made)
    with pytest.raises(InputError, match=text) as caught:
        iassa.verify(explanation, model, **{"fills": FILLS, **options})
    assert "\n" not in str(caught.value)


def test_another_image_or_weights_that_the_name_does_not_tell_are_noticed():
    made = explain()
    other = dataclasses.replace(made, image=made.image[::-1] * 0.5)
    with pytest.raises(InputError, match="another model or another image"):
        iassa.verify(other, parts)
    model = FunctionModel(parts, name="mine")
    first = explain(model)
    model.function = drifting
    model.identity = lambda: first.identity
    with pytest.raises(InputError, match=r"score of 0\.8.* as was saved, got 0\.8"):
        iassa.verify(first, model)


def test_a_fill_that_a_record_names_is_named_again():
    made = iassa.explain(IMAGE, parts, method=iassa.methods.Rise(baseline=IMAGE[::-1]), calls=20)
    with pytest.raises(InputError, match="expected the fills to be named"):
        iassa.verify(made, parts)
    blurred = iassa.explain(IMAGE, parts, method=iassa.methods.Rise(baseline="blur"), calls=20)
    check = iassa.verify(dataclasses.replace(blurred, saliency=MAP[None]), parts)
    assert [one.fill for one in check.statements[0]] == ["blur", "grey"]
    several = iassa.explain(IMAGE, parts, method=iassa.methods.Rise(baseline="zero,0.1"), calls=40)
    check = iassa.verify(dataclasses.replace(several, saliency=MAP[None]), parts)
    assert [one.fill for one in check.statements[0]] == ["zero", "0.1"]


def test_what_is_saved_is_loaded_and_tied_to_its_maps(tmp_path):
    made = explain(target=[0, count_bright])
    check = iassa.verify(made, parts, refine=5)
    made.with_check(check).save(tmp_path / "a", pictures="none")
    loaded = iassa.Explanation.load(tmp_path / "a")
    assert str(loaded.check) == str(check)
    assert loaded.check.count() == check.count()
    for before, after in zip(check.statements, loaded.check.statements, strict=True):
        for one, other in zip(before, after, strict=True):
            np.testing.assert_array_equal(one.keeps.region, other.keeps.region)
            np.testing.assert_array_equal(one.loses.region, other.loses.region)
    with pytest.raises(InputError, match="named again, as of count_bright"):
        iassa.verify(loaded, parts)
    again = iassa.verify(loaded, parts, target=[0, count_bright], refine=5)
    assert again.describe() == check.describe()
    with pytest.raises(InputError, match="a check of these maps"):
        explain(target=1).with_check(check)
    # A new map has no check, and its folder holds none.
    longer = iassa.extend(loaded, parts, calls=8, target=[0, count_bright])
    assert longer.check is None
    longer.save(tmp_path / "a", pictures="none")
    assert not (tmp_path / "a" / "check.npz").exists()


def test_a_changed_record_is_refused(tmp_path):
    made = explain()
    made.with_check(iassa.verify(made, parts)).save(tmp_path, pictures="none")
    record = json.loads((tmp_path / "explanation.json").read_text())
    for path, value, text in (
        (("check", "statements", 0, "keeps", "share"), 0.5, "a region of a share of 0.5"),
        (("check", "statements", 0, "keeps", "score"), "high", "keeps.score to be a number"),
        (("check", "statements", 0, "loses"), [1], "loses with its parts"),
        (("check", "statements", 0, "target"), "dog", "statements of all targets"),
        (("check", "statements"), [], "statements of all targets"),
        (("check", "size"), [10**6, 10**6], "MB"),
        (("check", "calls"), -1, "check.calls"),
    ):
        changed = json.loads(json.dumps(record))
        place = changed
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
        (tmp_path / "explanation.json").write_text(json.dumps(changed))
        with pytest.raises(InputError, match=text) as caught:
            iassa.Explanation.load(tmp_path)
        assert "\n" not in str(caught.value)
    (tmp_path / "explanation.json").write_text(json.dumps(record))
    (tmp_path / "check.npz").write_bytes(b"other")
    with pytest.raises(InputError, match=r"check\.npz .* is not the one"):
        iassa.Explanation.load(tmp_path)
    (tmp_path / "check.npz").unlink()
    assert iassa.Explanation.load(tmp_path).check is None


@pytest.mark.parametrize("seen", [(12, 20), None])
def test_of_a_large_image_it_asks_about_what_the_model_sees(seen, tmp_path):
    image = np.full((60, 600, 3), 0.3, np.float32)
    image[20:40, 100:300] = 1

    def bright(images):
        height, width = images.shape[1:3]
        patch = images[:, height // 3 : 2 * height // 3, width // 6 : width // 2]
        return patch.mean((1, 2, 3))[:, None]

    model = FunctionModel(bright, input_size=seen)
    made = iassa.explain(image, model, method="rise", calls=150)
    made.with_check(iassa.verify(made, model, fills=FILLS)).save(tmp_path, pictures="none")
    check = iassa.Explanation.load(tmp_path).check
    (one, _) = check.statements[0]
    assert one.keeps.region.shape == (seen or (60, 600))


def test_similarity_and_greedy_maps_are_verified_too():
    like = iassa.models.Similarity(
        {"itself": IMAGE}, lambda images: images[:, ::3, ::3].mean(3).reshape(len(images), -1)
    )
    made = iassa.explain(IMAGE, like, method=iassa.methods.Greedy(), calls=60)
    assert made.evidence is None
    (one, other) = iassa.verify(made, like).statements[0]
    assert one.whole == pytest.approx(1)
    assert one.keeps.score >= 0.9 * (1 - one.hidden) + one.hidden - 1e-6
    assert other.loses.score <= 0.1 * (1 - other.hidden) + other.hidden + 1e-6


def test_boxes_of_a_detector_are_verified_where_they_were():
    def detect(images):
        return [
            iassa.models.Detections([[3, 6, 9, 13]], [[float(one[3:9, 6:13].mean())]])
            for one in images
        ]

    detector = iassa.models.FunctionDetector(detect, class_names=["cat"])
    made = iassa.explain(IMAGE, detector, method="rise", calls=80)
    check = iassa.verify(made, detector, fills=FILLS)
    ((one, _),) = check.statements
    assert one.whole == pytest.approx(IMAGE[3:9, 6:13].mean(), abs=1e-3) or one.whole > 0.5
    assert one.loses.score < 0.2 * one.whole + one.hidden


def test_a_cancel_and_a_failure_are_told():
    made = explain()
    with pytest.raises(CancelledError, match="the map is as it was"):
        iassa.verify(made, parts, cancel=lambda: True)
    model = FunctionModel(parts, name="mine")
    first = explain(model)

    def broken(images):
        raise ConnectionError("gone")

    model.function, model.identity = broken, lambda: first.identity
    with pytest.raises(BlackBoxError, match="ConnectionError: gone"):
        iassa.verify(first, model)


MODULE = """
import numpy as np
def bright(images):
    patch = images[:, 3:8, 4:12].mean((1, 2))
    return np.stack([patch[:, 0], 1 - patch[:, 1], np.full(len(images), 0.5)], 1)
late = []
def fails_late(images):
    late.extend(images)
    if len(late) > 70:
        raise ConnectionError("the server has gone away")
    return bright(images)[:, :2]
"""


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "verified_box.py").write_text(MODULE)
    pixels = np.random.default_rng(0).integers(150, 256, (20, 28, 3), dtype=np.uint8)
    Image.fromarray(pixels).save("photo.png")

    def run_command(*arguments):
        with pytest.raises(SystemExit) as exit_:
            main([str(one) for one in arguments])
        captured = capsys.readouterr()
        return exit_.value.code, captured.out, captured.err

    return run_command


QUICK = ("--method", "rise", "--calls", "60", "--model", "verified_box:bright")
UNDRAWN = ("--pictures", "none")


def test_the_command_verifies_after_a_run_or_later(run):
    status, out, err = run(
        *("explain", "photo.png", *QUICK, *UNDRAWN, "--verify", "--refine", "7", "--json")
    )
    assert status == 0, err
    told = json.loads(out)["check"]
    assert told["refine_calls"] <= 7
    assert told["calls"] <= 42
    for one in told["statements"]:
        assert f"hidden by {one['fill']}: {one['says']}" in err
    assert f"verified with {told['calls']} calls" in err
    model = QUICK[-2:]
    fills = ("--baseline", "0.25,#102030")
    status, out, err = run("verify", "explanations/photo", *model, *fills)
    assert status == 0, err
    assert out.split() == ["explanations/photo/overlay-0.png"]
    saved = iassa.Explanation.load("explanations/photo").check
    assert [one.fill for one in saved.statements[0]] == ["0.25", "#102030"]
    assert saved.refine_calls == 0


def test_the_command_says_what_is_wrong_in_one_line_and_keeps_the_map(run):
    assert run("explain", "photo.png", *QUICK, *UNDRAWN)[0] == 0
    there = ("verify", "explanations/photo")
    for arguments, text in {
        there: "expected --model",
        (*there, "--model", "verified_box:fails_late"): "black box that was asked before",
        (*there, *QUICK[-2:], "--baseline", "0.5,grey"): "fills that differ",
        (
            "verify",
            "nowhere",
            *QUICK[-2:],
        ): "expected a saved explanation in nowhere, got no explanation.json. Name",
        ("explain", "photo.png", *QUICK, "--refine", "9"): "expected --refine 9 with --verify",
    }.items():
        status, out, err = run(*arguments)
        assert (status, out, err.count("error: ")) == (2, "", 1), err
        assert text in err
    flat = ("--target", "2", "--verify", "--out", "flat", *UNDRAWN)
    status, _, err = run("explain", "photo.png", *QUICK, *flat)
    assert status == 0
    assert "the map is not verified: expected a map" in err
    late = ("--model", "verified_box:fails_late", "--verify", "--out", "late", *UNDRAWN)
    status, _, err = run("explain", "photo.png", *QUICK[:-2], *late)
    assert status == 2
    assert "gone away" in err
    assert "The map of the 60 calls so far is in late." in err
    assert iassa.Explanation.load("late").check is None
