"""`iassa benchmark mosaics`: what is composed and asked, what quarters show, what is refused."""

from __future__ import annotations

import csv
import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import working
from iassa.benchmark import Contestant, Store, compose_mosaics, run
from iassa.benchmark.composing import ANSWERS, PICTURES
from iassa.benchmark.datasets import ImageFolder
from iassa.benchmark.datasets.mosaics import Mosaics, Single, compose
from iassa.benchmark.report.tables import MINUS, NOTHING
from iassa.cli import main
from iassa.errors import CancelledError, InputError
from iassa.image import load_image
from iassa.methods import Occlusion
from iassa.models.targets import Target
from made_runs import contents

SIDES = (24, 32)  # height, width
MODEL = "working:small_colours"
RUN = ["benchmark", "mosaics", "--images", "photos", "--run", "run", "--model", MODEL]
FAST = ["--calls", "60", "--protocol", "pixels_per_step=2000"]


def patch(colour: int, place: int = 0) -> Image.Image:
    """A grey picture with a patch of one colour."""
    pixels = np.full((*SIDES, 3), 0.5, np.float32)
    pixels[5 + place : 15 + place, 8:20] = working.COLOURS[colour]
    return Image.fromarray(np.rint(pixels * 255).astype(np.uint8))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with nine photographs of five classes: enough for two mosaics."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COUNT", str(tmp_path / "count"))
    (tmp_path / "photos").mkdir()
    for number in range(9):
        patch(number % 5, number // 5).save(tmp_path / "photos" / f"{number}.png")
    return tmp_path


def call(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    captured = capsys.readouterr()
    assert isinstance(exit_.value.code, int)
    return exit_.value.code, captured.out, captured.err


def asked() -> int:
    """How many images the black box was asked about so far, in all processes."""
    count = Path("count")
    return len(count.read_text()) if count.exists() else 0


# --- which images are together ------------------------------------------------------------------


def singles(counts: list[int]) -> list[Single]:
    return [
        Single(
            f"{output}-{number}.png", f"{output}{number}", Target(f"c{output}", (output,), (1.0,))
        )
        for output, count in enumerate(counts)
        for number in range(count)
    ]


@given(st.lists(st.integers(0, 7), max_size=7), st.integers(0, 2**40))
def test_four_classes_each_and_as_many_mosaics_as_can_be(counts: list[int], seed: int) -> None:
    mosaics = compose(singles(counts), seed)
    assert all(len({one.output for one in mosaic}) == 4 == len(mosaic) for mosaic in mosaics)
    used = Counter(one.name for mosaic in mosaics for one in mosaic)
    assert set(used.values()) <= {1}
    # m mosaics can be made if and only if no class is needed twice in one of them.
    can_be = [m for m in range(20) if sum(min(count, m) for count in counts) >= 4 * m]
    assert len(mosaics) == max(can_be)
    assert mosaics == compose(singles(counts)[::-1], seed)


def test_the_seed_draws_images_and_quarters() -> None:
    made = [compose(singles([9] * 4), seed) for seed in range(40)]
    assert len({str(each) for each in made}) == 40
    corners = Counter(mosaic[0].output for mosaics in made for mosaic in mosaics)
    assert min(corners.values()) > 60  # of 360 in four classes alike


# --- pictures and quarters ----------------------------------------------------------------------


def mosaics_of(place: Path, **options: object) -> Mosaics:
    settings = {"model": MODEL, **options}
    return compose_mosaics(ImageFolder(place / "photos"), place / "run", **settings)  # type: ignore[arg-type]


def test_a_mosaic_shows_its_images_in_the_quarters_of_their_classes(place: Path) -> None:
    found = mosaics_of(place)
    assert not (place / "run" / PICTURES).exists()  # before the run has its folder
    found.prepare()
    sources = {
        load_image(each.path).tobytes(): int(Path(each.name).stem)
        for each in ImageFolder(place / "photos").samples()
    }
    seen = []
    for sample in found.samples():
        picture = load_image(sample.path)
        assert picture.shape == (48, 64, 3)
        quarters = list(found.annotations(sample, (48, 64)))
        assert len(quarters) == 4
        for each, (row, column) in zip(quarters, itertools.product((0, 24), (0, 32)), strict=True):
            number = sources[picture[row : row + 24, column : column + 32].tobytes()]
            seen.append(number)
            marked = np.zeros((48, 64), bool)
            marked[row : row + 24, column : column + 32] = True
            np.testing.assert_array_equal(each.annotation, marked)
            assert found.targets is not None
            assert found.targets[each.category].indices == (number % 5,)
    assert len(seen) == len(set(seen)) == 8
    before = {path: path.stat().st_mtime_ns for path in (place / "run" / PICTURES).iterdir()}
    found.prepare()
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_classes_of_one_name_are_apart(tmp_path: Path) -> None:
    patch(0).save(tmp_path / "a.png")
    mosaic = tuple(
        Single("a.png", str(k), Target("crane" if k < 2 else f"c{k}", (k,), (1.0,)))
        for k in range(4)
    )
    found = Mosaics(tmp_path / "made", ImageFolder(tmp_path), [mosaic], (4, 5), {})
    assert found.categories == ("c2", "c3", "crane (0)", "crane (1)")


# --- runs ---------------------------------------------------------------------------------------


def test_a_run_and_its_report(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    typed = [*RUN, *FAST, "--methods", "sliding-window,rise,kernel-shap"]
    status, out, err = call(typed, capsys)
    assert (status, out) == (0, "run\n"), err
    assert "24 of 24 items, 24 of them new" in err
    with Store.read(Path("run")) as store:
        items, entries = list(store.items()), {entry.key: entry for entry in store.entries()}
        assert store.configuration["dataset"]["calls"] == 9
        explained = sum(item.calls + item.metric_calls for item in items)
        for item in items:
            entry = entries[item.key.entry]
            picture = load_image(Path("run") / PICTURES / entry.image)
            # The quarter with pixels of the class's colour, by looking at them.
            colour = working.COLOURS[entry.target.indices[0]]
            shown = np.abs(picture - colour).max(axis=2) < 0.01
            row, column = np.argwhere(shown)[0] // SIDES * SIDES
            saliency = store.saliency(item.key, 0).astype(np.float64)
            positive = (saliency - max(saliency.min(), 0)).clip(0)
            share = positive[row : row + 24, column : column + 32].sum() / positive.sum()
            assert item.snapshots[0].metrics["relevance_mass"] == pytest.approx(share, abs=2e-3)
            assert entry.annotated == 0.25
    # One call for each image and each mosaic, and two that count the outputs.
    assert asked() == explained + 9 + 2 + 2
    masses = {
        name: np.mean(
            [one.snapshots[0].metrics["relevance_mass"] for one in items if one.key.method == name]
        )
        for name in ("sliding-window", "rise", "kernel-shap")
    }
    assert masses["sliding-window"] > 0.5 > masses["rise"]
    status, out, err = call(["report", "run", "--images", f"run/{PICTURES}"], capsys)
    assert status == 0, err
    text = Path("run/report/report.md").read_text("utf-8")
    sections = [line for line in text.splitlines() if line.startswith("## ")]
    assert sections[0] == "## The right quarter"
    assert "one call for each of 9 images," in text
    (row,) = [line for line in text.splitlines() if line.startswith("| sliding-window | 60 | ")][:1]
    assert f"{masses['sliding-window']:.3f}" in row
    with Path("run/report/items.csv").open(newline="", encoding="utf-8") as file:
        of_other = {
            row["method"]: row["other_class_rank_correlation"] for row in csv.DictReader(file)
        }
    assert of_other["kernel-shap"] == ""
    start = text.index("## The map of another class")
    rows = [line.split(" | ") for line in text[start:].splitlines() if line.startswith("| ")]
    cells = {row[0].strip("| "): row[2] for row in rows}
    assert cells["kernel-shap"] == NOTHING
    assert float(cells["sliding-window"].split()[0].replace(MINUS, "-")) < 0.9


def test_the_same_command_asks_nothing_again(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = [*RUN, *FAST, "--methods", "rise", "--workers", "2"]
    assert call(typed, capsys)[0] == 0
    before = asked()
    status, _, err = call(typed, capsys)
    assert status == 0
    assert "8 of 8 items, 0 of them new" in err
    assert asked() == before + 2  # that learn how many outputs there are
    assert call([*typed, "--run", "alone", "--workers", "1"], capsys)[0] == 0
    assert contents(Path("run")) == contents(Path("alone"))
    status, _, err = call([*typed, "--min-score", "0.6"], capsys)
    assert status == 2
    assert "dataset.min_score: 0.5 in the run, 0.6 asked for" in err
    assert len(list(Path("run", PICTURES).iterdir())) == 2  # nothing of the other command's


def test_what_was_answered_before_an_end_is_kept(place: Path) -> None:
    with pytest.raises(CancelledError):
        mosaics_of(place, cancel=lambda: asked() >= 3)
    with Store.read(place / "run" / ANSWERS) as store:
        kept = len(store.images())
    assert 0 < kept < 9
    before = asked()
    assert mosaics_of(place).describe() == mosaics_of(place).describe()
    assert asked() == before + 9 - kept + 2  # and how many outputs there are


def test_fewer_mosaics(place: Path) -> None:
    every, one = mosaics_of(place), mosaics_of(place, number=1)
    assert [each.name for each in one.samples()] == [every.samples()[0].name]
    with pytest.raises(
        InputError, match=r"expected images for 3 mosaics, got some for 2: 9 images of"
    ):
        mosaics_of(place, number=3)


def test_an_image_that_changed_is_not_used(place: Path) -> None:
    found = mosaics_of(place)
    (used, *_) = (one for part in found._parts.values() for one in part)
    (place / "photos" / used.name).write_bytes(b"other")
    with pytest.raises(InputError, match="is not as it was when the model was asked"):
        run(found, place / "run", [Contestant("a", Occlusion(), (60,))], model=MODEL)
    with pytest.raises(InputError, match="not the images of the folder"):
        mosaics_of(place)


def test_a_target_of_ones_own_is_refused(place: Path) -> None:
    contestants = [Contestant("a", Occlusion(), (60,))]
    with pytest.raises(InputError, match="expected no target with mosaics"):
        run(mosaics_of(place), place / "run", contestants, model=MODEL, target="1")


@pytest.mark.filterwarnings("default::iassa.errors.ImageWarning")
def test_images_that_cannot_be_used_are_told_and_the_others_are(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "photos" / "8.png").write_bytes(b"no picture")
    status, _, err = call([*RUN, *FAST, "--methods", "rise"], capsys)
    assert status == 0, err
    assert "warning: left out" in err
    assert "8.png" in err


@pytest.mark.parametrize(
    ("colours", "more", "told"),
    [
        ([0, 1, 2], [], "expected 4 images or more for a mosaic, got 0.png, 1.png, 2.png alone"),
        (
            [0] * 5,
            [],
            "of 4 classes, each with a score of 0.5 or more, got 5 images of class 0. Add",
        ),
        ([0, 1, 2, 2], [], "got 4 images of class 0, class 1, class 2."),
        ([0, 1, 2, 3], ["--min-score", "2"], "got 0 images of none; 4 images with a lower score."),
        ([0, 1, 2, 3], ["--mosaics", "2"], "expected images for 2 mosaics, got some for 1"),
        ([0, 1, 2, 3], ["--mosaics", "0"], "expected number of mosaics to be"),
        (
            [0, 1, 2, 3],
            ["--model", "working:detector"],
            "expected a model that scores classes for mosaics, got the detector",
        ),
        ([0, 1, 2, 3], ["--target", "1"], "without --target"),
        ([0, 1, 2, 3], ["--classes", "same"], "without --classes"),
        ([0, 1, 2, 3], ["--masks", "photos"], "without --masks"),
        ([0, 1, 2, 3], ["--scenes", "0"], "without --scenes"),
        ([0, 1, 2, 3], ["--run", "photos/run"], "a run apart from the images"),
        ([], [], "expected images in photos"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_line(
    colours: list[int],
    more: list[str],
    told: str,
    place: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for path in (place / "photos").iterdir():
        path.unlink()
    for number, colour in enumerate(colours):
        patch(colour).save(place / "photos" / f"{number}.png")
    status, out, err = call([*RUN, "--methods", "rise", *more], capsys)
    assert (status, out) == (2, "")
    assert err.startswith("error: ")
    assert told in err
    assert err.count("\n") == 1


def test_damaged_images_alone_are_told_in_a_line(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (place / "photos").iterdir():
        path.write_bytes(b"no picture")
    status, _, err = call(RUN, capsys)
    assert (status, err.count("\n")) == (2, 1)
    assert "got 0 images of none; left out: " in err
    assert "0.png" in err


def test_an_image_that_cannot_be_opened_is_told_and_tried_again(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mood = place / "mood"
    monkeypatch.setenv("MOOD", str(mood))
    patch(0).resize((80, 40)).save(place / "photos" / "wide.png")
    mood.touch()
    typed = [*RUN, "--model", "working:choosy_colours"]
    status, _, err = call(typed, capsys)
    assert (status, err.count("\n")) == (2, 1)
    assert "cannot ask about 1 image: wide.png: " in err
    assert "not today" in err


@pytest.mark.parametrize("kind", ["coco", "masks", "images", "synthetic"])
def test_other_kinds_take_no_number_of_mosaics(
    kind: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, err = call(["benchmark", kind, *RUN[2:6], "--mosaics", "1"], capsys)
    assert (status, err.count("\n")) == (2, 1)
    assert "without --mosaics" in err
