"""The result: saved, read again, damaged, and of which files it consists."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import iassa
from iassa.errors import InputError
from iassa.explanation import Explanation, Round
from iassa.targets import Target

SIZE = (6, 9)
TARGETS = (Target("tabby", (281,), (1.0,)), Target("a vs b", (1, 2, 3), (1.0, 1.0, -1.0)))


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
        mine, its = getattr(one, field.name), getattr(other, field.name)
        if isinstance(mine, np.ndarray):
            assert mine.dtype == its.dtype, field.name
            np.testing.assert_array_equal(mine, its)
        else:
            assert mine == its, field.name


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("eight_bit", [True, False])
@pytest.mark.parametrize("source", [None, "dir/photo of Zoë.png"])
def test_round_trip_is_exact(tmp_path, eight_bit, source):
    before = example(eight_bit=eight_bit, source=source)
    assert before.save(tmp_path / "new" / "folder") == tmp_path / "new" / "folder"
    after = Explanation.load(str(tmp_path / "new" / "folder"))
    assert_same(before, after)
    assert repr(after) == repr(before)


def test_files_of_the_contract(tmp_path):
    before = example(3)
    before.save(tmp_path)
    overlays = ["overlay-0.png", "overlay-1.png", "overlay-2.png"]
    assert names(tmp_path) == ["explanation.json", "explanation.npz", *overlays]
    with np.load(tmp_path / "explanation.npz") as arrays:
        for name in ("saliency", "standard_error"):
            assert arrays[name].shape == (3, *SIZE)
            assert arrays[name].dtype == np.float32
        np.testing.assert_array_equal(arrays["saliency"], before.saliency)
    for overlay in overlays:
        with Image.open(tmp_path / overlay) as picture:
            picture.load()
            assert picture.format == "PNG"
    record = json.loads((tmp_path / "explanation.json").read_text("utf-8"))
    digest = hashlib.sha256((tmp_path / "explanation.npz").read_bytes()).hexdigest()
    assert record.pop("arrays_sha256") == digest
    assert record == json.loads(json.dumps(before.as_dict()))


def test_json_says_all_that_is_needed_to_run_it_again(tmp_path):
    example(2).save(tmp_path)
    record = json.loads((tmp_path / "explanation.json").read_text("utf-8"))
    assert record["image"] == {"path": "photo.png", "size": [6, 9]}
    assert record["model"] == "mine"
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
    black_box = iassa.FunctionAdapter(lambda images: images.mean((1, 2)), name="mean")
    fields = {"grid_size": 4, "round_calls": 20}
    made = iassa.Rise(**fields).explain(image, black_box, target=[0, "2"], calls=50, seed=5)
    made.save(tmp_path)
    after = Explanation.load(tmp_path)
    assert_same(made, after)
    assert after.method["fields"].items() >= fields.items()
    again = iassa.Rise(**after.method["fields"]).explain(
        after.image, black_box, target=after.targets, calls=after.calls, seed=after.seed
    )
    np.testing.assert_array_equal(again.saliency, made.saliency)


def test_overlays_of_an_earlier_run_with_more_targets_go(tmp_path):
    example(4).save(tmp_path)
    assert "overlay-3.png" in names(tmp_path)
    (tmp_path / "overlay-mine.png").write_text("mine")
    (tmp_path / "overlay-77.png").mkdir()  # odd, but none of ours
    example(1).save(tmp_path)
    expected = ["explanation.json", "explanation.npz", "overlay-0.png", "overlay-77.png"]
    assert names(tmp_path) == [*expected, "overlay-mine.png"]


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
    with pytest.raises(InputError, match=r"got no .*explanation\.npz"):
        Explanation.load(tmp_path)


def one_array() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    return buffer.getvalue()


def pickled() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, saliency=np.array([{}]), standard_error=np.zeros(1), image=np.zeros(1))
    return buffer.getvalue()


@pytest.mark.parametrize("content", [b"", b"junk" * 99, b"PK\x03\x04", one_array(), pickled()])
def test_damaged_arrays(tmp_path, content):
    example().save(tmp_path)
    (tmp_path / "explanation.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"explanation.npz in .* damaged, or of another run"):
        Explanation.load(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"null", b"[]", b"{}", b"3", b"NaN"])
def test_damaged_records(tmp_path, content):
    example().save(tmp_path)
    (tmp_path / "explanation.json").write_bytes(content)
    with pytest.raises(InputError, match=r"cannot read|expected schema 1"):
        Explanation.load(tmp_path)


@pytest.mark.parametrize("lost", sorted(set(example().as_dict()) - {"schema"}))
def test_records_that_lack_an_item(tmp_path, lost):
    example().save(tmp_path)
    path = tmp_path / "explanation.json"
    record = json.loads(path.read_text())
    del record[lost]
    path.write_text(json.dumps(record))
    with pytest.raises(InputError, match=f"lacks '{lost}'"):
        Explanation.load(tmp_path)
    record[lost] = None
    path.write_text(json.dumps({**record, "schema": 99}))
    with pytest.raises(InputError, match=r"expected schema 1 in .*, got 99"):
        Explanation.load(tmp_path)


def test_files_of_two_runs_are_refused(tmp_path):
    example(2).save(tmp_path / "one")
    example(2, eight_bit=False).save(tmp_path / "two")
    shutil.copy(tmp_path / "one" / "explanation.npz", tmp_path / "two")
    with pytest.raises(InputError, match="of another run"):
        Explanation.load(tmp_path / "two")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    example(1).save(folder)
    return folder


@settings(max_examples=150, deadline=None)
@given(
    name=st.sampled_from(["explanation.npz", "explanation.json"]),
    place=st.integers(0, 5000),
    value=st.integers(0, 255),
    cut=st.booleans(),
)
def test_any_damage_is_read_or_refused(tmp_path_factory, saved, name, place, value, cut):
    folder = tmp_path_factory.mktemp("damaged")
    for other in ("explanation.npz", "explanation.json"):
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
    assert figure.get_supxlabel() == "rise, 64 calls of mine, incomplete (cancelled)"
    assert example().plot().get_supxlabel() == "rise, 64 calls of mine"


def test_repr_is_one_line():
    assert repr(example(1)) == (
        f"Explanation(0 {example(1).scores[0]:.3g}; 6 x 9, rise, 64 calls, 1.2 s, calls)"
    )
