"""`iassa benchmark synthetic`: runs as they are typed, killed, refused and reported."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import iassa
from iassa import metrics
from iassa.benchmark import ItemKey, Store
from iassa.benchmark.datasets import ImageFolder, SyntheticScenes
from iassa.benchmark.evaluation import method_seed
from iassa.benchmark.report.comparison import Arm
from iassa.benchmark.report.known_answers import answer_means, answer_table, standing_table
from iassa.benchmark.report.tables import NOTHING
from iassa.benchmark.store.records import Entry, Item, Snapshot
from iassa.benchmark.synthetic import BOXES, SyntheticModel, draw_scene, read_regions, right_map
from iassa.cli import main
from iassa.errors import InputError
from iassa.image import load_image
from iassa.models.targets import Target
from made_runs import contents

SIZES = [(64, 96), (90, 56)]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with photographs, so that scenes are small."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for number, size in enumerate(SIZES):
        pixels = np.random.default_rng(number).integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{number}.jpg")
    return tmp_path


RUN = ["benchmark", "synthetic", "--run", "run", "--images", "photos", "--calls", "40"]
FAST = ["--protocol", "pixels_per_step=2000"]


def call(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    captured = capsys.readouterr()
    assert isinstance(exit_.value.code, int)
    return exit_.value.code, captured.out, captured.err


def test_a_run_and_its_report(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    methods = ["--methods", "rise,kernel-shap", "--method", "slic=lime:segmentation=slic"]
    typed = [*RUN, *FAST, "--scenes", "1", *methods]
    status, out, err = call(typed, capsys)
    assert (status, out) == (0, "run\n"), err
    assert "30 of 30 items, 30 of them new" in err
    status, out, err = call(["report", "run", "--images", "run/scenes", "--pictures", "1"], capsys)
    assert status == 0, err
    text = Path("run/report/report.md").read_text("utf-8")
    sections = [line for line in text.splitlines() if line.startswith("## ")]
    assert sections[0] == "## Known answers"
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| k-of-n ")]
    assert [row[1] for row in rows] == ["rise", "kernel-shap", "slic"]
    with Path("run/report/items.csv").open(newline="", encoding="utf-8") as file:
        items = [row for row in csv.DictReader(file) if row["category"] == "k-of-n"]
    for row in rows:
        own = [item for item in items if item["method"] == row[1]]
        mean = np.mean([float(item["average_precision"]) for item in own])
        assert row[3].strip("*") == f"{mean:.3f}"
        assert row[-1].strip(" |") == f"{np.mean([int(item['calls']) for item in own]):.0f}"
    assert rows[0][4] == NOTHING  # a mean score has no sign
    assert rows[1][6] == NOTHING  # and the package has no error bars


def test_an_item_is_the_map_against_the_right_one(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, err = call([*RUN, *FAST, "--methods", "lime", "--scenes", "1"], capsys)
    assert status == 0, err
    image = load_image("run/scenes/0.jpg.png")
    assert image.shape == (64, 96, 3)
    key = ItemKey("0.jpg.png contrast", "lime", 0)
    maps = [
        iassa.explain(
            image,
            SyntheticModel(),
            method="lime",
            target="contrast",
            calls=40,
            seed=method_seed(key, repeat),
        )
        for repeat in (0, 1)
    ]
    right = right_map(BOXES["contrast"], read_regions(image))
    first, second = (each.saliency[0] for each in maps)
    errors = [each.standard_error[0] for each in maps]
    with Store.read(Path("run")) as store:
        (item,) = [each for each in store.items() if each.key == key]
    found = item.snapshots[0].metrics
    assert found["iou"] == metrics.overlap_at(first, right > 0).iou
    assert found["average_precision"] == metrics.average_precision(first, right > 0)
    assert found["right_signs"] == metrics.right_signs(first, right)
    assert found["right_order"] == metrics.right_order(first, right)
    assert found["error_coverage"] == metrics.error_coverage(first, second, *errors)
    steps = -(-image.shape[0] * image.shape[1] // 2000) + 1
    assert item.calls == maps[0].calls
    assert item.metric_calls == maps[1].calls + 2 * steps


def test_scenes_are_drawn_and_kept(tmp_path: Path) -> None:
    scenes = SyntheticScenes(tmp_path / "scenes", scenes=2)
    assert [each.name for each in scenes.samples()] == ["scene-0.png", "scene-1.png"]
    for number, sample in enumerate(scenes.samples()):
        drawn = draw_scene(number)
        np.testing.assert_array_equal(np.rint(load_image(sample.path) * 255), drawn.pixels)
        found = list(scenes.annotations(sample, drawn.pixels.shape[:2]))
        assert [each.category for each in found] == list(BOXES) == list(scenes.categories)
        for each in found:
            assert each.right is not None
            np.testing.assert_array_equal(each.annotation, each.right > 0)
    kept = scenes.samples()[1].path
    kept.write_bytes(b"mine")
    scenes.samples()[0].path.unlink()
    assert SyntheticScenes(tmp_path / "scenes", scenes=2).describe() == scenes.describe()
    assert kept.read_bytes() == b"mine"
    assert scenes.samples()[0].path.exists()
    assert SyntheticScenes(tmp_path / "scenes", scenes=1).describe() != scenes.describe()


def test_scenes_on_photographs(place: Path) -> None:
    folder = ImageFolder(place / "photos")
    scenes = SyntheticScenes(place / "scenes", folder)
    assert [each.name for each in scenes.samples()] == ["0.jpg.png", "1.jpg.png"]
    assert [load_image(each.path).shape[:2] for each in scenes.samples()] == SIZES
    assert scenes.describe()["photographs"] == folder.describe()["images"]
    with pytest.raises(InputError, match="expected 3 photographs, got 2"):
        SyntheticScenes(place / "more", folder, 3)
    Image.new("RGB", (800, 40)).save(place / "photos" / "wide.png")
    with pytest.raises(InputError, match="sides of 48 pixels or more, got 40 x 800"):
        SyntheticScenes(place / "wide", ImageFolder(place / "photos"))
    (place / "photos" / "wide.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"wide\.png"):
        SyntheticScenes(place / "wide", ImageFolder(place / "photos"))


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--model", "efficientnet-lite0"], "without --model"),
        (["--target", "linear"], "without --target"),
        (["--classes", "same"], "without --classes"),
        (["--masks", "photos"], "without --masks"),
        (["--boxes"], "without --boxes"),
        (["--softmax"], "--model with softmax=yes, got none"),
        (["--scenes", "0"], "scenes"),
        (["--images", "nowhere"], "expected a folder, got nowhere"),
        (["--methods", "ries"], "unknown method 'ries'"),
        (["--calls", "many"], "got 'many'"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_line(
    more: list[str], told: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err = call([*RUN, *more], capsys)
    assert (status, out) == (2, "")
    assert err.startswith("error: ")
    assert told in err
    assert err.count("\n") == 1
    assert not (place / "run").exists()


@pytest.mark.parametrize("kind", ["coco", "masks", "images"])
def test_other_kinds_need_images_and_take_no_scenes(
    kind: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, err = call(["benchmark", kind, "--run", "run"], capsys)
    assert (status, err.count("\n")) == (2, 1)
    assert f"`iassa benchmark {kind}` with --images" in err
    status, _, err = call(["benchmark", kind, *RUN[2:], "--scenes", "1"], capsys)
    assert (status, err.count("\n")) == (2, 1)
    assert "without --scenes" in err


def test_other_scenes_are_another_run(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    typed = [*RUN, *FAST, "--methods", "rise"]
    assert call([*typed, "--limit", "1"], capsys)[0] == 0
    status, _, err = call([*typed, "--scenes", "1"], capsys)
    assert status == 2
    assert "dataset.scenes: 2 in the run, 1 asked for" in err
    Image.new("RGB", (70, 60)).save("photos/1.jpg")
    status, _, err = call(typed, capsys)
    assert status == 2
    assert "not the photographs (names and sizes of the files)" in err


def test_a_killed_run_goes_on(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    typed = [*RUN, *FAST, "--methods", "rise,lime", "--scenes", "1"]
    assert call([*typed, "--run", "whole"], capsys)[0] == 0
    with subprocess.Popen(
        [sys.executable, "-m", "iassa", *typed, "--workers", "2"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    ) as driver:
        assert driver.stderr is not None
        told = driver.stderr.readline()  # of an item that is in the store
        driver.send_signal(signal.SIGKILL)
    assert "/20 " in told
    with Store.read(Path("run")) as store:
        before = len(store.finished())
    assert 0 < before < 20
    status, _, err = call(typed, capsys)
    assert status == 0
    assert f"20 of 20 items, {20 - before} of them new" in err
    assert contents(Path("run")) == contents(Path("whole"))


# --- tables -----------------------------------------------------------------------------------


def make_item(entry: str, method: str, seed: int, calls: int, **values: float) -> Item:
    snapshot = Snapshot(calls, 1, calls - 1, None, 0.1, values, {})
    return Item(ItemKey(entry, method, seed), calls, 0, 0.0, 0.0, (), None, (snapshot,))


def test_the_tables_hold_means_and_who_is_first() -> None:
    entries = [
        Entry(f"{scene} {box}", scene, 0, (9, 12), box, Target(box), 1.0)
        for scene in ("a.png", "b.png")
        for box in ("and", "or")
    ]
    arms = [Arm("one", 50), Arm("two", 50), Arm("late", 90)]
    items = []
    for number, entry in enumerate(entries):
        for seed in (0, 1):
            shared = {"iou": 0.5, "right_order": 0.1 * number}
            high = 0.9 - 0.1 * seed
            items += [
                make_item(entry.key, "one", seed, 50, **shared, average_precision=high),
                make_item(entry.key, "two", seed, 50, **shared, average_precision=0.2 * number),
                make_item(entry.key, "late", seed, 90, **shared, average_precision=1.0),
            ]
    items.append(make_item("c.png and", "one", 0, 50, iou=0.0, average_precision=0.0))
    means = answer_means(items, entries, arms)
    assert means["and", arms[0]]["average_precision"] == pytest.approx(0.85)
    assert means["or", arms[1]]["average_precision"] == pytest.approx(np.mean([0.2, 0.6]))
    assert means["and", arms[2]]["calls"] == 89
    lines = answer_table(means).splitlines()
    (row,) = [line for line in lines if line.startswith("| and | one ")]
    cells = ["and", "one", "**0.500**", "**0.850**", NOTHING, "**0.100**", NOTHING, "49"]
    assert row == f"| {' | '.join(cells)} |"
    (row,) = [line for line in lines if line.startswith("| and | late ")]
    assert "**" not in row  # alone at its number of calls
    standing = standing_table(means).splitlines()
    assert standing[-3:] == [
        "| one | 50 | 0.850 | 2 | 0 | 0.500 | 2 | 2 |",
        "| two | 50 | 0.300 | 0 | 2 | 0.500 | 2 | 2 |",
        "| late | 90 | 1.000 | 0 | 0 | 0.500 | 0 | 0 |",
    ]
    assert answer_table({}) == standing_table({}) == ""
