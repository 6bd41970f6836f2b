"""The scripts of docs/paper.md: the paper's figures, the lines of a lattice, and the tables."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import iassa
from iassa.metrics import periodic_share
from rounding import steps
from scripts import loaded
from working import COLOURS, colours

NAMES = ("red", "green", "blue", "yellow", "cyan")
SIZE = (112, 140)


@pytest.fixture(scope="module")
def lines():
    with loaded("lattice_lines") as module:
        yield module


def ask(images):
    """The share of red among the pixels that have a colour."""
    return colours(images)[:, :1]


@pytest.fixture(scope="module")
def image():
    """A red disc and a blue one on grey."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    drawn = np.full((*SIZE, 3), 0.5, np.float32)
    drawn[np.hypot(rows - 40, columns - 50) < 22] = COLOURS[0]
    drawn[np.hypot(rows - 80, columns - 100) < 18] = COLOURS[2]
    return drawn


def score_windows(image, window, stride):
    """`iassa-paper` without attention, all of its first windows, and their scores."""
    method = iassa.methods.IassaPaper(window=window, stride=stride, max_rounds=1, beta=1.0)
    made = iassa.explain(image, ask, target=0, method=method, calls=10_000)
    (scored,) = made.evidence.rounds[0].families.values()
    return made, scored.plan.windows, scored.readings[:, 0]


def test_the_divisors_make_the_maps_of_the_methods(lines, image):
    made, windows, scores = score_windows(image, 90.0, 32.0)
    whole = float(made.evidence.reference[0])
    maps = lines.divide(windows, scores, SIZE, whole)
    rounding = steps(100, 1.0)
    np.testing.assert_allclose(maps["each pixel's"], made.saliency[0], atol=rounding)
    method = iassa.methods.Occlusion(window=90.0, stride=32.0)
    occlusion = iassa.explain(image, ask, target=0, method=method, calls=10_000).saliency[0]
    np.testing.assert_allclose(maps["hidden"], occlusion, atol=rounding)
    total, covered = np.zeros(SIZE), np.zeros(SIZE)
    for (top, left, bottom, right), score in zip(windows, scores, strict=True):
        mask = np.ones(SIZE)
        mask[top:bottom, left:right] = 0
        total, covered = total + score * mask, covered + mask
    np.testing.assert_allclose(maps["one divisor"], total / covered.mean(), rtol=1e-9)


def test_lines_are_where_the_stride_does_not_divide_the_window(lines, image):
    """At half the size, a window of 44 is 22 pixels and a stride of 8 is 4."""
    drawn = lines.draw_lines("discs", image, ask, lattices=((44, 8), (48, 8)))
    found = {(one.lattice, one.made): one for one in drawn}
    assert len(found) == len(drawn) == 2 * 5
    for one in drawn:
        assert one.share == periodic_share(one.saliency, 4)
        expected = (
            periodic_share(one.saliency, 4 * 2 / 3) * periodic_share(one.saliency, 6)
        ) ** 0.5
        assert one.beside == pytest.approx(expected)
    odd, fitting = found[(44, 8), "one divisor"], found[(48, 8), "one divisor"]
    assert odd.share > 0.2 > 10 * fitting.share
    # All pixels are kept equally often where the stride divides the window: one divisor is each's.
    each = found[(48, 8), "each pixel's"]
    np.testing.assert_allclose(fitting.saliency, each.saliency, rtol=1e-9)
    assert found[(44, 8), "each pixel's"].share < odd.share / 10
    default = found[(44, 8), "iassa"]
    assert default.share < 10 * default.beside
    np.testing.assert_array_equal(default.saliency, found[(48, 8), "iassa"].saliency)
    figure = lines.draw_figure({"discs": image}, drawn)
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles[0] == f"44 every 8, one divisor: {100 * odd.share:.2g} %"
    assert titles[-1] == f"iassa: {100 * default.share:.2g} %"
    rows = [*csv.DictReader(lines.write_rows(drawn).decode().splitlines())]
    assert [float(row["share"]) for row in rows] == [one.share for one in drawn]


def test_images_keep_their_shape_at_the_short_side(lines):
    tall = np.random.default_rng(1).random((300, 120, 3), dtype=np.float32)
    assert lines.at_short_side(tall).shape == (560, 224, 3)
    assert lines.at_short_side(tall.transpose(1, 0, 2)).shape == (224, 560, 3)


@pytest.fixture
def coco(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with three drawn images, an object each, in MS-COCO's format."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    table = {"images": [], "annotations": [], "categories": []}
    table["categories"] = [{"id": 1 + k, "name": name} for k, name in enumerate(NAMES)]
    for number, (height, width) in enumerate([(40, 56), (36, 80), (50, 48)]):
        drawn = np.full((height, width, 3), 128, np.uint8)
        drawn[10:30, 12 + number : 34] = 255 * COLOURS[number]
        drawn[31:34, 2:6] = 255 * COLOURS[4]
        name = f"{number}.png"
        Image.fromarray(drawn).save(tmp_path / "photos" / name)
        size = {"height": height, "width": width}
        table["images"].append({"id": number, "file_name": name, **size})
        corners = [12 + number, 10, 34, 10, 34, 30, 12 + number, 30]
        of = {"id": 1 + number, "image_id": number, "category_id": 1 + number, "iscrowd": 0}
        table["annotations"].append({**of, "segmentation": [corners]})
    (tmp_path / "instances.json").write_text(json.dumps(table))
    return tmp_path


@pytest.mark.thorough
def test_one_command_draws_all_figures(coco: Path) -> None:
    words = "--images photos --annotations instances.json --out paper --limit 2 --scenes 1"
    words += " --model working:small_colours --classes same --calls 60 --rounds 3 --min-score 0.5"
    words += " --paper-calls 4000"
    with loaded("paper_figures") as figures:
        assert figures.main([*words.split(), "--quiet"]) == 0
        made = {path.name for path in (coco / "paper").iterdir()}
        pictures = {
            *(f"figure-{k}.jpg" for k in (1, 4, 5)),
            *(f"figure-{k}.png" for k in (6, 7, 8)),
        }
        assert made == {"run", "report", "figure-8.csv"} | pictures
        for name in pictures:
            with Image.open(coco / "paper" / name) as picture:
                assert min(picture.size) > 100
        with (
            Image.open(coco / "paper/figure-1.jpg") as one,
            Image.open("paper/figure-4.jpg") as two,
        ):
            assert one.height < two.height  # one image and two
        text = Path("paper/report/report.md").read_text("utf-8")
        assert "0.900967" in text
        assert "iassa-paper 0" in text  # a line of a plot along the iterations, in words
        before = Path("paper/run/run.sqlite").stat().st_mtime_ns
        assert figures.main([*words.split(), "--methods", "unknown"]) == 2
        assert Path("paper/run/run.sqlite").stat().st_mtime_ns == before


def test_a_number_of_scenes_below_0_is_refused_before_a_call(
    coco: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "--images photos --annotations instances.json --out paper --scenes -1"
    with loaded("paper_figures") as figures, pytest.raises(SystemExit) as exit_:
        figures.main(words.split())
    assert exit_.value.code == 2
    assert capsys.readouterr().err.endswith(
        "error: expected --scenes of 0 or more, got -1. Change it.\n"
    )
    assert not (coco / "paper").exists()


def test_the_page_has_the_tables_that_the_published_results_give(
    capsys: pytest.CaptureFixture[str],
) -> None:
    page = (Path(__file__).parents[1] / "docs" / "paper.md").read_text("utf-8")
    with loaded("paper_table") as script:
        assert script.main() == 0
    tables = [block for block in capsys.readouterr().out.split("\n\n") if block]
    assert len(tables) == 4
    for block in tables:
        assert block.strip() in page
