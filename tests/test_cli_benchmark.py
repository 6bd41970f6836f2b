"""`iassa benchmark`, `iassa report` and `iassa salvage` as they are typed."""

from __future__ import annotations

import csv
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from iassa.benchmark import Store
from iassa.cli import main
from made_runs import contents

SIZES = [(40, 56), (36, 80)]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with photographs."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for number, size in enumerate(SIZES):
        pixels = np.random.default_rng(number).integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{number}.png")
    return tmp_path


RUN = [
    *("benchmark", "images", "--images", "photos", "--run", "run", "--calls", "40,90"),
    *(
        "--model",
        "working:brightness",
        "--protocol",
        "pixels_per_step=400",
        "--protocol",
        "gain_steps=2",
    ),
]


def call(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    captured = capsys.readouterr()
    assert isinstance(exit_.value.code, int)
    return exit_.value.code, captured.out, captured.err


def test_run_report_and_salvage(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = ["--method", "fine=rise@60:grid_size=9", "--methods", "rise"]
    status, out, err = call([*RUN, *more], capsys)
    assert (status, out) == (0, "run\n")
    assert "4 of 4 items, 4 of them new" in err
    assert len(err.splitlines()) == 5  # a line an item, where there is no terminal for a bar
    with Store.read(Path("run")) as store:
        assert store.configuration["methods"]["fine"]["fields"]["grid_size"] == 9
        assert store.configuration["methods"]["fine"]["calls"] == [60]
        assert store.configuration["methods"]["rise"]["calls"] == [40, 90]
    status, out, err = call([*RUN, *more, "--quiet"], capsys)
    assert (status, out, err) == (0, "run\n", "")
    status, out, err = call([*RUN, *more, "--json", "--quiet"], capsys)
    assert (status, err) == (0, "")
    numbers = {"items": 4, "wanted": 4, "made": 0, "cancelled": False}
    told = json.loads(out)
    assert told == {"run": "run", **numbers, "failures": [], "excluded": {}, "missing": []}

    compare = ["--compare", "fine@60 vs rise@90", "--images", "photos", "--pictures", "1.png"]
    status, out, err = call(["report", "run", *compare], capsys)
    assert (status, out) == (0, "run/report/report.md\nrun/report/report.html\n")
    assert "4 of 4 items, 2 entries compared" in err
    text = Path("run/report/report.md").read_text("utf-8")
    assert "fine at 60 against rise at 90" in text
    assert "data:image/" in Path("run/report/report.html").read_text("utf-8")
    assert not list(Path("run/report").glob("*.jp*g"))
    status, out, err = call(["report", "run", "--json", "--quiet", "--methods", "rise"], capsys)
    assert (status, err) == (0, "")
    told = json.loads(out)
    assert [told["finished"], told["expected"], told["entries"]] == [2, 2, 2]
    assert all(Path(file).exists() for file in told["files"])
    for name in ("summary", "differences"):
        text = Path(f"run/report/{name}.csv").read_text("utf-8")
        rows = told["means" if name == "summary" else name]
        as_text = [["" if one is None else str(one) for one in row.values()] for row in rows]
        assert [*csv.reader(text.splitlines())][1:] == as_text
    assert told["means"]

    whole = contents(Path("run"))
    database = Path("run/run.sqlite")
    database.write_bytes(database.read_bytes()[:-4096])  # its last page
    status, out, err = call([*RUN, *more], capsys)
    assert status == 2
    assert "with `iassa salvage run NEW`; then go on with NEW" in err
    status, out, err = call(["salvage", "run", "saved", "--json"], capsys)
    assert status == 0
    assert "saved" in err
    assert "lost" in err
    told = json.loads(out)
    assert told["run"] == "saved"
    assert len(told["saved"]) + len(told["lost"]) + told["unknown"] == 4
    assert all({"entry", "method", "seed"} == key.keys() for key in told["saved"])
    again = [word if word != "run" else "saved" for word in RUN]
    status, out, err = call([*again, *more], capsys)
    assert status == 0
    assert "4 of 4 items" in err
    assert contents(Path("saved")) == whole


def test_the_error_of_a_damaged_run_tells_a_command_that_saves_it(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = "a run; it's mine"
    asked = [*RUN, "--methods", "rise", "--run", folder]
    assert call(asked, capsys)[0] == 0
    database = Path(folder, "run.sqlite")
    database.write_bytes(database.read_bytes()[:-4096])
    for damaged in (asked, ["report", folder]):
        status, _, err = call(damaged, capsys)
        assert status == 2
        found = re.search("`(.*)`", err)
        assert found is not None
        told, *arguments = shlex.split(found[1])
        assert told == "iassa"
    assert call(arguments, capsys)[:2] == (0, "NEW\n")
    assert call([*asked, "--run", "NEW"], capsys)[0] == 0


def test_the_threshold_is_that_of_the_region(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "masks").mkdir()
    objects = {}
    for number, (height, width) in enumerate(SIZES):
        mask = np.zeros((height, width), bool)
        mask[5 : height // 2, width // 3 : width - 9] = True
        Image.fromarray(mask).save(place / "masks" / f"{number}.png")
        objects[f"{number}.png"] = mask
    with_masks = ["benchmark", "masks", "--masks", "masks", *RUN[2:], "--methods", "rise"]
    found = {}
    for typed, expected in ((["--protocol", "threshold=0.6"], 0.6), ([], 0.3)):
        folder = f"run-{expected}"
        status, _, err = call([*with_masks, *typed, "--run", folder], capsys)
        assert status == 0, err
        with Store.read(Path(folder)) as store:
            assert store.configuration["metrics"]["threshold"] == expected
            for item in store.items():
                saliency = store.saliency(item.key, 0)
                low = max(saliency.min(), 0)
                region = saliency > low + expected * (saliency.max() - low)
                mask = objects[item.key.entry]
                f1 = 2 * (region & mask).sum() / (region.sum() + mask.sum())
                found[expected, item.key.entry] = item.snapshots[0].metrics["f1"]
                # The stored map is rounded: a few pixels may be on the other side.
                assert abs(found[expected, item.key.entry] - f1) < 0.02
    for name in objects:
        assert abs(found[0.6, name] - found[0.3, name]) > 0.04
    status, _, err = call([*with_masks, "--run", "run-0.6"], capsys)
    assert status == 2
    assert "metrics.threshold: 0.6 in the run, 0.3 asked for" in err


def test_the_report_of_a_limited_run_that_is_done(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, err = call([*RUN, "--methods", "rise", "--limit", "1"], capsys)
    assert status == 0
    assert "1 of 1 items" in err
    status, _, err = call(["report", "run"], capsys)
    assert status == 0
    assert "1 of 1 items" in err
    text = Path("run/report/report.md").read_text("utf-8")
    assert "limited to 1 target, the highest scores first" in text
    assert "Not asked for, and in no comparison: 1 more" in text
    assert "not done yet" not in text
    assert "so far" not in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["benchmark", "movies", *RUN[2:]],
            "coco, masks, images, pairs, synthetic, mosaics, got 'movies'",
        ),
        (["benchmark", "coco", *RUN[2:]], "with --annotations"),
        (["benchmark", "masks", *RUN[2:]], "with --masks"),
        ([*RUN, "--masks", "photos"], "without --masks"),
        ([*RUN, "--annotations", "a.json"], "without --annotations"),
        ([*RUN, "--boxes"], "images` without --boxes"),
        ([*RUN, "--orientation", "left"], "--orientation stored or upright, got 'left'"),
        ([*RUN, "--white", "0"], "expected white to be a number or None, above 0, got 0"),
        ([*RUN, "--calls", "many"], "expected --calls as in 500 or 250,500,1000, got 'many'"),
        ([*RUN, "--methods", "rize"], "(nearest: rise)"),
        ([*RUN, "--methods", "rise,rise"], "a label of its own"),
        ([*RUN, "--method", "rise"], "LABEL=METHOD"),
        ([*RUN, "--protocol", "normalise=size"], "normalise to be none or score or range"),
        ([*RUN, "--half", "third"], "both, even, odd"),
        ([*RUN, "--workers", "0"], "workers to be a whole number, from 1 to 1000"),
        ([*RUN, "--images", "nowhere"], "nowhere"),
        ([*RUN, "--model", "nothing"], "unknown model"),
        ([*RUN, "--ray", "127.0.0.1:1"], "cannot reach a Ray cluster"),
        ([*RUN, "--protocol", "fill=2"], "expected fill to be a number, from 0 to 1, got 2.0"),
        ([*RUN, "--protocol", "pixels-per-step=4"], "expected pixels_per_step once, got it twice"),
        ([*RUN, "--protocol", "seeds=3"], "expected a known field, got seeds. Fields: size, "),
        ([*RUN, "--protocol", "fill"], "expected field=value&field=value"),
        ([*RUN, "--methods", ""], "unknown method"),
        ([*RUN, "--seed", "-1"], "seeds to be a tuple of whole numbers, from 0 to"),
        ([*RUN, "--calls", "1"], "17 calls or more"),
        (
            [*RUN, "--protocol", "threshold=1"],
            "expected threshold to be a number, from 0 to below 1, got 1.0",
        ),
        ([*RUN, "--protocol", "threshold=half"], "threshold to be a number, got threshold=half"),
        ([*RUN, "--model-option", "detector=yolov8"], "expected detector=yolov8 for an ONNX file"),
        (["report", "nowhere"], "expected a run in nowhere"),
        (["report", "run", "--masks", "photos"], "expected --images"),
        (["report", "run", "--annotations", "a.json"], "expected --images"),
        (["report", "run", "--photographs"], "expected --images with --photographs, got none"),
        (["report", "run", "--pictures", "6"], "expected --images with --pictures, got none"),
        (["report", "run", "--photographs", "--pictures", "abc"], "expected --images"),
        (["report", "run", "--compare", "a vs b"], "iassa@500 vs rise@1000"),
        (["salvage", "nowhere", "new"], "expected a run in nowhere"),
    ],
)
def test_bad_usage(
    arguments: list[str], message: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err = call(arguments, capsys)
    assert (status, out) == (2, "")
    assert message in err
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1
    assert not (place / "run" / "run.sqlite").exists()


def test_failed_items_are_told(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOOD", str(place / "mood"))
    (place / "mood").touch()
    moody = [*RUN, "--model", "working:moody", "--methods", "rise"]
    status, out, err = call([*moody, "--json"], capsys)
    assert status == 2
    (failure,) = json.loads(out)["failures"]
    assert (failure["method"], failure["entry"].split()[0]) == ("rise", "1.png")
    assert "not today" in failure["error"]
    assert "rise, 1.png" in err
    assert "not today" in err
    assert "1 failed. The same command tries them again." in err
    status, out, err = call(["report", "run"], capsys)
    assert status == 0
    assert "not today" in Path("run/report/report.md").read_text("utf-8")
    (place / "mood").unlink()
    status, out, err = call(moody, capsys)
    assert (status, out) == (0, "run\n")
