"""The result: saved, read again, damaged, and of which files it consists."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import iassa
from iassa.errors import InputError
from iassa.explanations.evidence import Evidence, Feedback, Scored, ScoredRound
from iassa.explanations.explanation import Explanation, Round
from iassa.explanations.record import SCHEMA
from iassa.masks.grids import draw_grids
from iassa.masks.windows import plan_windows, sliding_windows
from iassa.models.targets import Target

SIZE = (6, 9)
TARGETS = (Target("tabby", (281,), (1.0,)), Target("a vs b", (1, 2, 3), (1.0, 1.0, -1.0)))


def evidence():
    """Two rounds, the second in a region; the readings of three outputs and a function."""
    rng = np.random.default_rng(7)
    region = rng.random(SIZE) > 0.5
    windows = sliding_windows(SIZE, 3, 2)
    first = {
        "grid": Scored(draw_grids(30, (2, 3), (0.1, 0.9), rng), rng.normal(size=(30, 4))),
        "window": Scored(plan_windows(windows, SIZE, rng), np.ones((len(windows), 4)) / 4),
    }
    second = {
        "grid": Scored(draw_grids(1, (4, 4), (0.5, 0.5), rng, region), rng.normal(size=(1, 4)))
    }
    return Evidence(
        size=SIZE,
        num_outputs=9,
        outputs=(1, 2, 3),
        functions={"margin": "0123456789abcdef"},
        class_names=("bee, Bienchen", "crane", "crane"),
        reference=rng.normal(size=4),
        superpixels="0f",
        rounds=(
            ScoredRound(Feedback(), first, 0.5),
            ScoredRound(Feedback(region, (0.25, 0.5)), second, 0.25),
        ),
    )


def example(num_targets=2, *, eight_bit=True, **changes):
    rng = np.random.default_rng(num_targets)
    image = rng.random((*SIZE, 3), np.float32)
    if eight_bit:
        image = np.round(image * 255).astype(np.uint8).astype(np.float32) / np.float32(255)
    error = rng.random((num_targets, *SIZE), np.float32)
    error[:, 0, 0] = np.inf  # where no mask varied
    one = Round(
        masks={"grid": 30, "segment": 33},
        region_share=0.25,
        score_mean=(0.1,) * num_targets,
        score_low=(-0.2,) * num_targets,
        score_high=(1 / 3,) * num_targets,
        seconds=0.1,
    )
    fields = {
        "saliency": rng.normal(size=(num_targets, *SIZE)).astype(np.float32),
        "standard_error": error,
        "relative_errors": tuple((0.5, 0.125)[k % 2] for k in range(num_targets)),
        "image": image,
        "targets": tuple(
            dataclasses.replace(TARGETS[k % 2], name=f"{k}") for k in range(num_targets)
        ),
        "scores": tuple(rng.random(num_targets).tolist()),
        "calls": 64,
        "seconds": 1.25,
        "method": {"name": "rise", "measures": "effect", "fields": {"baseline": 0.5}},
        "rounds": (one, dataclasses.replace(one, masks={"grid": 1})),
        "seed": 3,
        "model": "mine",
        "identity": "mine 0f",
        "device": "cpu",
        "source": "photo.png",
        "complete": True,
        "stopped": "calls",
        "warnings": ("take care",),
        "versions": {"iassa": "0", "numpy": "2"},
    }
    return Explanation(**{**fields, **changes})


def assert_same(one, other):
    for field in dataclasses.fields(Explanation):
        if field.name == "deviations":
            continue  # it is not saved
        mine, its = getattr(one, field.name), getattr(other, field.name)
        if isinstance(mine, np.ndarray):
            assert mine.dtype == its.dtype, field.name
            np.testing.assert_array_equal(mine, its)
        elif isinstance(mine, Evidence):
            assert_same_evidence(mine, its)
        else:
            assert mine == its, field.name


def assert_same_evidence(mine, its):
    for name in ("size", "num_outputs", "outputs", "functions", "class_names", "superpixels"):
        assert getattr(mine, name) == getattr(its, name), name
    np.testing.assert_array_equal(mine.reference, its.reference)
    assert len(mine.rounds) == len(its.rounds)
    for one, other in zip(mine.rounds, its.rounds, strict=True):
        np.testing.assert_array_equal(one.feedback.region, other.feedback.region)
        assert one.feedback.keep_probability == other.feedback.keep_probability
        assert one.seconds == other.seconds
        assert list(one.families) == list(other.families)
        for family, scored in one.families.items():
            assert scored.plan == other.families[family].plan  # by digest of its content
            readings = other.families[family].readings
            assert readings.dtype == np.float64
            np.testing.assert_array_equal(scored.readings, readings)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("eight_bit", [True, False])
@pytest.mark.parametrize("source", [None, "dir/photo of Zoë.png"])
@pytest.mark.parametrize("kept", [None, evidence()], ids=["no evidence", "evidence"])
def test_round_trip_is_exact(tmp_path, eight_bit, source, kept):
    errors = (0.1, 0.2 if source else np.inf)
    before = example(eight_bit=eight_bit, source=source, evidence=kept, relative_errors=errors)
    assert before.save(tmp_path / "new" / "folder") == tmp_path / "new" / "folder"
    after = Explanation.load(str(tmp_path / "new" / "folder"))
    assert_same(before, after)
    assert repr(after) == repr(before)


@pytest.mark.parametrize("kept", [None, evidence()], ids=["no evidence", "evidence"])
def test_files_of_the_contract(tmp_path, kept):
    before = example(3, evidence=kept)
    before.save(tmp_path)
    overlays = ["overlay-0.png", "overlay-1.png", "overlay-2.png"]
    files = ["explanation.npz"] if kept is None else ["evidence.npz", "explanation.npz"]
    assert names(tmp_path) == sorted(["explanation.json", *files, *overlays, "sheet.png"])
    with np.load(tmp_path / "explanation.npz") as arrays:
        for name in ("saliency", "standard_error"):
            assert arrays[name].shape == (3, *SIZE)
            assert arrays[name].dtype == np.float32
        np.testing.assert_array_equal(arrays["saliency"], before.saliency)
    for picture_name in (*overlays, "sheet.png"):
        with Image.open(tmp_path / picture_name) as picture:
            picture.load()
            assert picture.format == "PNG"
    record = json.loads((tmp_path / "explanation.json").read_text("utf-8"))
    sums = {name: hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in files}
    assert record.pop("sha256") == sums
    assert record["schema"] == SCHEMA == 2
    assert record == json.loads(json.dumps(before.as_dict()))


def test_json_says_all_that_is_needed_to_run_it_again(tmp_path):
    example(2).save(tmp_path)
    record = json.loads((tmp_path / "explanation.json").read_text("utf-8"))
    assert record["image"] == {"path": "photo.png", "size": [6, 9]}
    assert (record["model"], record["identity"]) == ("mine", "mine 0f")
    assert record["relative_errors"] == [0.5, 0.125]
    assert record["method"] == {"name": "rise", "measures": "effect", "fields": {"baseline": 0.5}}
    assert record["targets"][1] == {"name": "1", "indices": [1, 2, 3], "weights": [1.0, 1.0, -1.0]}
    assert len(record["scores"]) == 2
    assert (record["calls"], record["seconds"], record["seed"]) == (64, 1.25, 3)
    assert [one["masks"] for one in record["rounds"]] == [{"grid": 30, "segment": 33}, {"grid": 1}]
    assert record["versions"]["iassa"] == "0"
    assert (record["complete"], record["stopped"]) == (True, "calls")
    assert record["warnings"] == ["take care"]


def test_an_explanation_that_was_made_round_trips_and_runs_again(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (20, 28, 3), dtype=np.uint8)
    black_box = iassa.models.FunctionModel(lambda images: images.mean((1, 2)), name="mean")
    fields = {"grid_size": 4, "round_calls": 20}
    made = iassa.explain(
        image, black_box, method=iassa.methods.Rise(**fields), target=[0, "2"], calls=50, seed=5
    )
    made.save(tmp_path)
    after = Explanation.load(tmp_path)
    assert_same(made, after)
    assert after.method["fields"].items() >= fields.items()
    again = iassa.explain(
        after.image,
        black_box,
        method=iassa.methods.Rise(**after.method["fields"]),
        target=after.targets,
        calls=after.calls,
        seed=after.seed,
    )
    np.testing.assert_array_equal(again.saliency, made.saliency)


def test_what_an_earlier_run_with_more_targets_and_evidence_left_goes(tmp_path):
    example(4, evidence=evidence()).save(tmp_path)
    assert "evidence.npz" in names(tmp_path)
    assert "overlay-3.png" in names(tmp_path)
    (tmp_path / "overlay-mine.png").write_text("mine")
    (tmp_path / "overlay-77.png").mkdir()  # odd, but none of ours
    example(1).save(tmp_path)
    expected = ["explanation.json", "explanation.npz", "overlay-0.png", "overlay-77.png"]
    assert names(tmp_path) == [*expected, "overlay-mine.png"]
    assert Explanation.load(tmp_path).evidence is None


@pytest.mark.parametrize(
    "name", ["overlay-7.png", "overlay-0.png", "sheet.png", "evidence.npz", "explanation.npz"]
)
@pytest.mark.parametrize("kept", [None, evidence()], ids=["no evidence", "evidence"])
def test_files_that_it_did_not_write_are_left_as_they_are(tmp_path, name, kept):
    mine = (name, "notes.txt", "overlay-7.jpg")
    for each in mine:
        (tmp_path / each).write_text("mine")
    with pytest.raises(InputError, match=f"files of yours that have names of ours, got {name}"):
        example(1, evidence=kept).save(tmp_path)
    texts = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert texts == dict.fromkeys(mine, "mine")
    (tmp_path / name).unlink()
    example(1, evidence=kept).save(tmp_path)
    assert {"notes.txt", "overlay-7.jpg"} < set(names(tmp_path))


@pytest.mark.parametrize("record", ["whole", "damaged"])
def test_a_copy_of_a_picture_under_another_name_is_left_as_it_is(tmp_path, record):
    example(1).save(tmp_path, pictures="named")
    (tmp_path / "overlay-0-last-week.png").write_text("mine")
    if record == "damaged":
        os.truncate(tmp_path / "explanation.json", 99)
    with pytest.raises(InputError, match="overlay-0-last-week"):
        example(1).save(tmp_path)
    assert (tmp_path / "overlay-0-last-week.png").read_text() == "mine"


@pytest.mark.parametrize(
    "name", ["../" * 9 + "x", "\u732b" * 200, "a/b\\c:d", "$(rm -r .)", "\n", "-"]
)
def test_a_class_of_any_name_makes_a_picture_in_the_folder(tmp_path, name):
    target = dataclasses.replace(example(1).targets[0], name=name)
    made = dataclasses.replace(example(1), targets=(target,))
    made.save(tmp_path, pictures="named")
    (drawn,) = tmp_path.glob("*.png")
    assert drawn.name.startswith("overlay-0")
    assert set(drawn.name.removesuffix(".png")).isdisjoint(" .,/\\:$()\n")
    made.save(tmp_path, pictures="none")
    assert not [*tmp_path.glob("*.png")]


def test_pictures_of_no_such_kind(tmp_path):
    with pytest.raises(InputError, match="expected pictures to be 'none' or 'sheet' or 'all' or"):
        example(1).save(tmp_path / "o", pictures="few")
    assert not (tmp_path / "o").exists()


def test_a_file_that_came_later_is_left_as_it_is(tmp_path):
    example(1).save(tmp_path)
    (tmp_path / "overlay-7.png").write_text("mine")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(InputError, match=r"got overlay-7\.png"):
        example(1, evidence=evidence()).save(tmp_path)
    assert before == {path.name: path.read_bytes() for path in tmp_path.iterdir()}


@pytest.mark.parametrize(
    "record", ["mine", '{"mine": 1}', '{"schema": 2, "mine": 1}', "[" * 10**5, ""]
)
def test_a_record_of_another_program_and_what_is_beside_it_are_left_as_they_are(tmp_path, record):
    mine = {"explanation.json": record, "evidence.npz": "mine", "overlay-7.png": "mine"}
    for name, text in mine.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=r"files of yours .*evidence\.npz, explanation\.json"):
        example(1).save(tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == mine


def test_a_record_claims_no_picture_by_its_sums(tmp_path):
    example(1).save(tmp_path)
    record = json.loads((tmp_path / "explanation.json").read_text())
    record["sha256"]["overlay-7.png"] = "0" * 64
    (tmp_path / "explanation.json").write_text(json.dumps(record))
    (tmp_path / "overlay-7.png").write_text("mine")
    with pytest.raises(InputError, match=r"got overlay-7\.png"):
        example(1).save(tmp_path)


@pytest.mark.parametrize("lost", ["explanation.npz", "evidence.npz", "overlay-0.png"])
@pytest.mark.parametrize("record", ["whole", "damaged"])
def test_a_save_that_was_killed_or_damaged_can_be_done_again(tmp_path, lost, record):
    """The record is renamed first: whatever else is there, it is known to be of a save."""
    example(2, evidence=evidence()).save(tmp_path)
    (tmp_path / lost).unlink()
    if record == "damaged":
        os.truncate(tmp_path / "explanation.json", 99)
    example(1).save(tmp_path)
    assert names(tmp_path) == ["explanation.json", "explanation.npz", "overlay-0.png"]
    assert Explanation.load(tmp_path).evidence is None


def test_the_record_is_renamed_first(tmp_path, monkeypatch):
    order = []
    replace = type(tmp_path).replace

    def watched(self, target):
        order.append(target.name)
        return replace(self, target)

    monkeypatch.setattr(type(tmp_path), "replace", watched)
    example(1, evidence=evidence()).save(tmp_path, pictures="none")
    assert order == ["explanation.json", "explanation.npz", "evidence.npz"]


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="cannot write to"):
        example().save(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "in the way"


def test_missing_files(tmp_path):
    with pytest.raises(InputError, match=r"got no .*explanation\.json"):
        Explanation.load(tmp_path)
    with pytest.raises(InputError, match="got no"):
        Explanation.load(tmp_path / "none")
    example().save(tmp_path)
    (tmp_path / "explanation.npz").unlink()
    with pytest.raises(InputError, match=r"cannot read explanation\.npz in .*: No such file"):
        Explanation.load(tmp_path)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    example(1, evidence=evidence()).save(folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    """A copy of a saved explanation, to be spoilt."""
    return shutil.copytree(saved, tmp_path / "copy")


def one_array() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    return buffer.getvalue()


def pickled() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, saliency=np.array([{}]), standard_error=np.zeros(1), image=np.zeros(1))
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["explanation.npz", "evidence.npz"])
@pytest.mark.parametrize("content", [b"", b"junk" * 99, b"PK\x03\x04", one_array(), pickled()])
def test_damaged_arrays(folder, content, name):
    (folder / name).write_bytes(content)
    with pytest.raises(InputError, match=rf"{name} in .* damaged, or of another run"):
        Explanation.load(folder)


@pytest.mark.parametrize("name", ["explanation.npz", "evidence.npz"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.999])
def test_half_written_arrays(folder, name, share):
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match=rf"{name} in .* damaged, or of another run"):
        Explanation.load(folder)


def test_without_its_evidence_an_explanation_can_be_read(tmp_path):
    before = example(evidence=evidence())
    before.save(tmp_path)
    (tmp_path / "evidence.npz").unlink()
    after = Explanation.load(tmp_path)
    assert_same(dataclasses.replace(before, evidence=None), after)


@pytest.mark.parametrize("name", ["explanation.npz", "evidence.npz"])
def test_what_stands_in_the_place_of_a_file(folder, name):
    (folder / name).unlink()
    (folder / name).mkdir()
    with pytest.raises(InputError, match=f"cannot read {name} in .*: Is a directory"):
        Explanation.load(folder)


def test_evidence_of_another_run_is_refused(tmp_path):
    example(evidence=evidence()).save(tmp_path / "one")
    other = dataclasses.replace(evidence(), num_outputs=10)
    example(evidence=other).save(tmp_path / "two")
    example().save(tmp_path / "three")
    for folder in ("two", "three"):  # of which the second has none
        shutil.copy(tmp_path / "one" / "evidence.npz", tmp_path / folder)
        with pytest.raises(InputError, match=r"evidence.npz in .* of another run"):
            Explanation.load(tmp_path / folder)


def test_a_record_of_schema_1_is_refused(folder):
    path = folder / "explanation.json"
    record = json.loads(path.read_text())
    old = {k: v for k, v in record.items() if k not in ("sha256", "identity", "relative_errors")}
    old |= {"schema": 1, "arrays_sha256": record["sha256"]["explanation.npz"]}
    path.write_text(json.dumps(old))
    with pytest.raises(InputError, match=r"expected schema 2 in .*, got 1: .* another version"):
        Explanation.load(folder)


@pytest.mark.parametrize("sums", [None, [], {}, {"explanation.npz": None}, "0"])
def test_records_without_sums_are_refused(folder, sums):
    path = folder / "explanation.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"sha256": sums}))
    with pytest.raises(InputError, match=r"of another run|expected sha256"):
        Explanation.load(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"null", b"[]", b"{}", b"3", b"NaN"])
def test_damaged_records(folder, content):
    (folder / "explanation.json").write_bytes(content)
    with pytest.raises(InputError, match=r"cannot read|expected schema 2"):
        Explanation.load(folder)


@pytest.mark.parametrize("lost", sorted(set(example().as_dict()) - {"schema"}))
def test_records_that_lack_an_item(folder, lost):
    path = folder / "explanation.json"
    record = json.loads(path.read_text())
    del record[lost]
    path.write_text(json.dumps(record))
    with pytest.raises(InputError, match=f"cannot use explanation.json .*: expected {lost}, got n"):
        Explanation.load(folder)
    record[lost] = None
    path.write_text(json.dumps({**record, "schema": 99}))
    with pytest.raises(InputError, match=r"expected schema 2 in .*, got 99"):
        Explanation.load(folder)


def test_files_of_two_runs_are_refused(tmp_path):
    example(2).save(tmp_path / "one")
    example(2, eight_bit=False).save(tmp_path / "two")
    shutil.copy(tmp_path / "one" / "explanation.npz", tmp_path / "two")
    with pytest.raises(InputError, match="of another run"):
        Explanation.load(tmp_path / "two")


@settings(max_examples=150, deadline=None)
@given(
    name=st.sampled_from(["explanation.npz", "explanation.json", "evidence.npz"]),
    place=st.integers(0, 5000),
    value=st.integers(0, 255),
    cut=st.booleans(),
)
def test_any_damage_is_read_or_refused(tmp_path_factory, saved, name, place, value, cut):
    folder = tmp_path_factory.mktemp("damaged")
    for other in ("explanation.npz", "explanation.json", "evidence.npz"):
        content = bytearray((saved / other).read_bytes())
        if other == name:
            place %= len(content)
            content[place] = value
            content = content[:place] if cut else content
        (folder / other).write_bytes(content)
    refusal = ""
    try:
        assert Explanation.load(folder).saliency.shape == (1, *SIZE)
    except InputError as error:
        refusal = str(error)
    assert not refusal or str(folder) in refusal


def test_plot_says_what_it_shows():
    figure = example(2, complete=False, stopped="cancelled").plot(1)
    score = example(2).scores[1]
    assert figure.get_suptitle() == f"1: {score:.3g}"
    caption = "photo.png: rise, 64 calls of mine; standard error 12% of the peak"
    assert figure.get_supxlabel().startswith(f"{caption}, incomplete (cancelled)")
    unknown = example(relative_errors=(np.inf, 0.1), standard_error=np.full((1, *SIZE), np.inf))
    assert unknown.plot().get_supxlabel() == "photo.png: rise, 64 calls of mine"
    array = example(source=None).plot().get_supxlabel()
    assert array.startswith("rise, 64 calls of mine")


def test_a_target_is_found_as_it_is_written():
    letters = example(2, targets=(Target("W", (0,), (1.0,)), Target("w", (1,), (1.0,))))
    for name in ("W", " w "):
        assert letters.plot(name).get_suptitle().startswith(f"{name.strip()}: ")


def test_the_largest_relative_error_is_what_a_tolerance_is_about():
    assert example(relative_errors=(0.25, 0.5)).relative_error == 0.5
    assert example(relative_errors=(0.25, np.inf)).relative_error == np.inf


def test_an_end_while_it_is_drawn_loses_pictures_only(tmp_path):
    before = example(3)
    before.save(tmp_path, pictures="none")
    drawing = before.draw(tmp_path)
    assert next(drawing) == tmp_path / "overlay-0.png"
    drawing.close()
    assert names(tmp_path) == ["explanation.json", "explanation.npz", "overlay-0.png"]
    assert_same(before, Explanation.load(tmp_path))


def test_repr_is_one_line():
    assert repr(example(1)) == (
        f"Explanation(0 {example(1).scores[0]:.3g}; 6 x 9, rise, 64 calls, 1.2 s, calls)"
    )
