"""The command line: exit codes, stdout, stderr and files, to the letter of the contract."""

from __future__ import annotations

import json
import logging
import os
import pty
import re
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import iassa
from iassa.cli import main
from iassa.methods.registry import open_method
from iassa.models.efficientnet_lite0 import exported_graph
from rounding import steps

BOXES = """
import itertools
import numpy as np
import torch
from iassa.models import FunctionModel

calls = itertools.count()

def bright(images):
    patch = images[:, 3:8, 4:12].mean((1, 2))
    return np.stack([patch[:, 0], 1 - patch[:, 1], images.mean((1, 2, 3))], 1)

named = FunctionModel(bright, name="named", class_names=("ant, pismire", "b$e_e$", "cow"))
constant = FunctionModel(lambda images: np.full((len(images), 2), 0.25), name="constant")
def negative(images): return bright(images) - 5
def one_dimension(images): return images.mean((0, 1, 2))
def too_few(images): return np.zeros((max(0, len(images) - 1), 2))
def other_classes(images): return np.zeros((len(images), 2 + len(images)))
def not_a_number(images): return np.full((len(images), 2), np.nan)
def infinite(images): return np.full((len(images), 2), np.inf)
def broken(images): raise ValueError("first line\\nsecond line")
def nan_when_masked(images):
    return bright(images) if next(calls) == 0 else np.full((len(images), 3), np.nan)
def fails_half_way(images):
    if next(calls) == 8: raise ConnectionError("the server has gone away")
    return bright(images)
def huge(images): return bright(images).astype(np.float64) * 1e30
def tiny(images): return bright(images).astype(np.float64) * 1e-30
def odds(scores): return scores[:, 0] - 2 * scores[:, 1]
def two_dimensions(scores): return scores
def unlucky(scores): raise ValueError("no luck")
number = 7
network = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
"""
REFERENCE = "cli_boxes:named"


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    """A folder with a photo and black boxes, and a process that is left as it was."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "cli_boxes.py").write_text(BOXES)
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (20, 28, 3), dtype=np.uint8)).save("photo.png")
    level = logging.getLogger("iassa").level
    yield tmp_path
    logging.getLogger("iassa").setLevel(level)
    sys.modules.pop("cli_boxes", None)


@pytest.fixture
def run(capsys):
    """The command, in this process: exit status, stdout, stderr."""

    def run_command(*arguments):
        with pytest.raises(SystemExit) as exit_:
            main([str(one) for one in arguments])
        captured = capsys.readouterr()
        return exit_.value.code, captured.out, captured.err

    return run_command


@pytest.fixture
def explain(run):
    """`iassa explain` with the black box that knows names, quick."""

    def explain_quickly(*arguments, model=REFERENCE, method="rise", calls=60):
        options = ["--model", model, "--method", method, "--calls", calls]
        return run("explain", *arguments, *options)

    return explain_quickly


@pytest.fixture(scope="module")
def explained():
    """The files of an explanation of the photo, once they have been made."""
    return {}


@pytest.fixture
def saved(explain, explained):
    """The folder `o` with an explanation of the photo by the black box that knows names."""
    if not explained:
        assert explain("photo.png", "--out", "o")[0] == 0
        explained.update(contents("o"))
        sys.modules.pop("cli_boxes")
    folder = Path("o")
    folder.mkdir(exist_ok=True)
    for name, content in explained.items():
        (folder / name).write_bytes(content)
    return folder


def refused(outcome) -> str:
    """The one line that a refusal says, all of stderr; stdout is empty."""
    status, out, err = outcome
    assert status == 2, err
    assert out == ""
    assert err.startswith("error: ")
    assert err.endswith("\n")
    assert len(err.splitlines()) == 1, err
    return err


def subprocess_of(*arguments, **options):
    return subprocess.Popen(
        [sys.executable, "-W", "error::UserWarning", "-m", "iassa", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def names(folder):
    return sorted(path.name for path in folder.iterdir())


FILES = ["evidence.npz", "explanation.json", "explanation.npz", "overlay-0.png"]

# What it writes and says.


def test_a_run_writes_the_files_of_the_contract(explain, workplace):
    status, out, err = explain("photo.png")
    folder = workplace / "explanations" / "photo"
    assert status == 0, err
    assert out.splitlines() == ["explanations/photo/overlay-0.png"]
    assert names(folder) == FILES
    assert "60 calls of named" in err
    explanation = iassa.Explanation.load(folder)
    assert explanation.complete
    assert explanation.calls == 60
    assert explanation.saliency.shape == explanation.standard_error.shape == (1, 20, 28)
    assert explanation.source == "photo.png"
    assert np.isfinite(explanation.saliency).all()


def test_the_map_is_the_librarys(explain, workplace):
    assert explain("photo.png", "--target", "ant", "--seed", 3, "--out", "x")[0] == 0
    sys.modules.pop("cli_boxes")
    same = iassa.explain(
        "photo.png", "cli_boxes:named", method="rise", target="ant", calls=60, seed=3
    )
    mine = iassa.Explanation.load("x")
    np.testing.assert_array_equal(mine.saliency, same.saliency)
    np.testing.assert_array_equal(mine.standard_error, same.standard_error)


def test_json_is_the_content_of_the_file_and_nothing_else(explain, workplace):
    status, out, _ = explain("photo.png", "--json", "--target", "top-2")
    assert status == 0
    written = (workplace / "explanations" / "photo" / "explanation.json").read_text("utf-8")
    assert json.loads(out) == json.loads(written)
    assert len(out.splitlines()) == 1


def test_json_of_a_real_process_with_the_default_model(workplace):
    command = ["explain", "--example", "cat", "--calls", 40, "--json", "--out", "cat"]
    # On as many threads as there are cores, where other tests have one.
    environment = {name: text for name, text in os.environ.items() if "NUM_THREADS" not in name}
    process = subprocess_of(*command, "--device", "cpu", env=environment)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    record = json.loads(out)
    assert record == json.loads((workplace / "cat" / "explanation.json").read_text("utf-8"))
    assert record["targets"][0]["name"] == "Egyptian cat"
    assert 0.75 < record["scores"][0] < 0.82
    assert record["calls"] == 40
    assert record["image"]["size"] == [300, 451]
    assert "Traceback" not in err
    assert "Warning" not in err


def test_quiet_says_nothing(explain):
    assert explain("photo.png", "--quiet") == (0, "explanations/photo/overlay-0.png\n", "")
    status, out, err = explain(
        "photo.png", "--quiet", "--json", "--out", "o", model="cli_boxes:constant"
    )
    assert (status, err) == (0, "")
    assert json.loads(out)["warnings"]
    assert refused(explain("none.png", "--quiet"))


def test_targets(explain, workplace):
    wanted = ["ant", "1,cow", "b$e_e$ vs 0", "top-3"]
    options = [option for text in wanted for option in ("--target", text)]
    status, out, err = explain("photo.png", *options, "--out", "out")
    assert status == 0, err
    explanation = iassa.Explanation.load("out")
    found = [target.name for target in explanation.targets]
    assert found[:3] == ["ant", "b$e_e$ + cow", "b$e_e$ vs ant"]
    assert len(found) == 5  # the ant was asked for before
    drawn = [*(f"overlay-{k}.png" for k in range(5)), "sheet.png"]
    assert out.splitlines() == [f"out/{name}" for name in drawn]
    assert names(workplace / "out") == [*FILES[:3], *drawn]
    for name in found:
        assert f"{name}: " in err


@pytest.mark.parametrize("method", iassa.methods.METHODS)
def test_methods(explain, method):
    arguments = ["--set", "features=none"] if method.startswith("iassa") else []
    status, _, err = explain("photo.png", "--json", *arguments, method=method)
    assert status == 0, err
    explanation = iassa.Explanation.load("explanations/photo")
    assert explanation.method["name"] == method
    assert explanation.calls <= 60


def test_hyperparameters(explain):
    fields = ["grid-size=4", "keep_probability=0.25", "baseline=(0, 0.5, 1)", "debiased=True"]
    options = [option for text in fields for option in ("--set", text)]
    status, _, err = explain("photo.png", *options)
    assert status == 0, err
    found = json.loads(Path("explanations/photo/explanation.json").read_text())["method"]["fields"]
    expected = {"grid_size": 4, "keep_probability": 0.25, "baseline": [0, 0.5, 1], "debiased": True}
    assert found.items() >= expected.items()


FILLS = {
    "0.25": 0.25,
    "0,0.5,1": [0, 0.5, 1],
    "#0080ff": "#0080ff",
    "zero": "zero",
    "grey": "grey",
    "mean": "mean",
    "blur": "blur",
    "noise": "noise",
    "fill.png": "fill.png",
    "example:cat": "example:cat",
}


@pytest.mark.parametrize(
    ("option", "fill"),
    [
        *(("--baseline", fill) for fill in FILLS),
        *(("--set", fill) for fill in ("0,0.5,1", "#0080ff", "fill.png")),
    ],
)
def test_fills(explain, option, fill):
    Image.new("RGB", (9, 5), (30, 90, 200)).save("fill.png")
    status, _, err = explain("photo.png", option, fill if option != "--set" else f"baseline={fill}")
    assert status == 0, err
    record = json.loads(Path("explanations/photo/explanation.json").read_text())
    assert record["method"]["fields"]["baseline"] == FILLS[fill]
    again = open_method("rise", **record["method"]["fields"])
    same = iassa.explain("photo.png", REFERENCE, method=again, calls=60)
    found = iassa.Explanation.load("explanations/photo")
    np.testing.assert_array_equal(found.saliency, same.saliency)
    assert found.method == same.method


def test_two_fills_give_two_maps_from_the_same_masks(explain):
    """The first output is a mean over a patch: on one colour its map is in step with the fill."""
    Image.new("RGB", (28, 20), (51, 51, 51)).save("flat.png")  # 51 is a fifth of white
    maps = {}
    for fill in ("zero", "#ffffff"):
        options = ["--set", "debiased=True", "--target", "0", "--out", fill]
        status, _, err = explain("flat.png", "--baseline", fill, *options)
        assert status == 0, err
        found = iassa.Explanation.load(fill)
        assert found.scores == (pytest.approx(0.2),)
        assert found.method["fields"]["baseline"] == fill
        maps[fill] = found.saliency
    assert maps["zero"].max() > 0.01
    np.testing.assert_allclose(maps["#ffffff"], -4 * maps["zero"], atol=steps(64, maps["#ffffff"]))


@pytest.mark.parametrize("calls", [17, 18, 33])
@pytest.mark.parametrize("method", ["rise", "iassa", "iassa-paper"])
def test_budgets_below_a_batch_are_kept(explain, calls, method):
    arguments = ["--set", "features=none"] if method != "rise" else []
    batch = ["--batch-size", 1000]
    status, _, err = explain("photo.png", *batch, *arguments, calls=calls, method=method)
    assert status == 0, err
    explanation = iassa.Explanation.load("explanations/photo")
    assert explanation.calls == calls
    assert explanation.complete
    assert np.isfinite(explanation.saliency).all()


def test_time_budget(explain):
    status, _, err = explain("photo.png", "--seconds", "0.001", calls=10**9)
    assert status == 0, err
    explanation = iassa.Explanation.load("explanations/photo")
    assert (explanation.complete, explanation.stopped) == (True, "seconds")
    assert explanation.calls < 10**6


def test_several_images(explain, workplace):
    (workplace / "more").mkdir()
    Image.new("L", (9, 5), 77).save("more/grey.v2.png")
    status, out, _ = explain("photo.png", "more/grey.v2.png", "--out", "all")
    assert status == 0
    assert out.splitlines() == ["all/photo/overlay-0.png", "all/grey.v2/overlay-0.png"]
    assert names(workplace / "all") == ["grey.v2", "photo"]
    assert iassa.Explanation.load("all/grey.v2").saliency.shape == (1, 5, 9)
    _, out, _ = explain("photo.png", "more/grey.v2.png", "--json")
    assert [json.loads(line)["image"]["path"] for line in out.splitlines()] == [
        "photo.png",
        "more/grey.v2.png",
    ]


def test_a_bad_image_does_not_stop_the_others(explain, workplace):
    (workplace / "empty.png").write_bytes(b"")
    status, out, err = explain("none.png", "empty.png", "photo.png", "--quiet")
    assert status == 1  # some of several
    assert explain("none.png", "empty.png", "--quiet")[0] == 2
    assert out.splitlines() == ["explanations/photo/overlay-0.png"]
    assert [line[:7] for line in err.splitlines()] == ["error: "] * 2
    assert "none.png" in err
    assert "empty.png" in err
    assert names(workplace / "explanations") == ["photo"]


def test_images_of_the_same_name(explain, workplace):
    (workplace / "more").mkdir()
    for path in ("more/photo.jpg", "photo.png"):
        assert "different names" in refused(explain("photo.png", path))
        Image.new("RGB", (9, 5)).save("more/photo.jpg")
    assert not (workplace / "explanations").exists()


def test_overlays_of_an_earlier_run_go(explain, workplace):
    assert explain("photo.png", "--target", "top-3", "--out", "o")[0] == 0
    assert len(names(workplace / "o")) == 7
    assert explain("photo.png", "--target", "top-1", "--out", "o", "--overwrite")[0] == 0
    assert names(workplace / "o") == FILES


def test_files_of_the_users_are_found_before_a_call(explain, workplace):
    (workplace / "o").mkdir()
    (workplace / "o" / "overlay-7.png").write_text("mine")
    for more in ([], ["--overwrite"]):
        said = refused(explain("photo.png", "--out", "o", *more, model="cli_boxes:broken"))
        assert "expected o without files of yours that have names of ours" in said
    assert names(workplace / "o") == ["overlay-7.png"]


def test_names_that_are_no_utf8(workplace):
    name = os.fsdecode(b"caf\xe9.png")
    Path("photo.png").rename(name)
    command = [sys.executable, "-m", "iassa", "explain", name, "--method", "rise"]
    command += ["--model", REFERENCE, "--calls", "20"]
    done = subprocess.run(command, capture_output=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout == b"explanations/caf\xe9/overlay-0.png\n"
    assert b"Traceback" not in done.stderr


# What is not written over.


@pytest.mark.parametrize("method", ["rise", "shap-partition"])
@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["photo.png"], ""),
        (["./photo.png", "--target", "pismire"], ""),
        (["copy.png", "--target", "0"], ""),
        (["photo.png", "--seed", 4], ""),
        (["photo.png", "--target", "cow"], "targets"),
        (["photo.png", "--target", "top-2"], "targets"),
        (["photo.png", "--target", "0,1"], "targets"),
        (["other.png"], "image"),
        (["photo.png", "--set", "baseline=blur"], "method"),
        (["photo.png", "--model", "cli_boxes:constant"], "model"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else value or "same",
)
def test_only_the_same_case_is_written_over(run, workplace, method, arguments, what):
    if method != "rise" and "pismire" in arguments:
        pytest.skip("without evidence a synonym is not there to be compared")
    Image.open("photo.png").save("copy.png")
    Image.open("photo.png").transpose(Image.Transpose.ROTATE_180).save("other.png")
    rest = ["--method", method, "--calls", 30, "--out", "o"]
    model = [] if "--model" in arguments else ["--model", REFERENCE]
    first = run("explain", "photo.png", "--model", REFERENCE, "--target", "ant", *rest)
    assert first[0] == 0, first
    before = contents("o")
    asked = [] if "--target" in arguments else ["--target", "0"]
    command = ["explain", *arguments, *asked, *model, *rest]
    outcome = run(*command)
    if what:
        err = refused(outcome)
        assert f"got an explanation that differs in {what} there" in err
        assert "--overwrite" in err
        assert contents("o") == before
        outcome = run(*command, "--overwrite")
    assert outcome[0] == 0, outcome
    assert contents("o") != before


@pytest.mark.usefixtures("saved")
def test_extending_writes_over_its_own_folder_and_no_other(explain, run, extend):
    assert explain("photo.png", "--target", "cow", "--out", "p")[0] == 0
    before = contents("p")
    for outcome in (
        extend("o", "--calls", 5, "--out", "p"),
        run("extend", "o", "--target", "ant", "--out", "p"),
    ):
        assert "differs in targets there" in refused(outcome)
        assert contents("p") == before
    assert extend("o", "--calls", 5)[0] == 0
    assert run("extend", "o", "--target", "cow", "--out", "p")[0] == 0
    assert extend("o", "--calls", 5, "--out", "p", "--overwrite")[0] == 0


def test_what_cannot_be_read_is_not_written_over(explain, workplace):
    (workplace / "o").mkdir()
    (workplace / "o" / "explanation.json").write_text('{\n  "schema": 1\n}')
    assert "--overwrite" in refused(explain("photo.png", "--out", "o"))
    assert explain("photo.png", "--out", "o", "--overwrite")[0] == 0


def test_one_of_several_that_is_there_already_stops_no_other(explain, workplace):
    Image.new("RGB", (9, 5)).save("one.png")
    Image.new("RGB", (9, 5), "red").save("two.png")
    assert explain("one.png", "--out", "all/two")[0] == 0
    status, out, err = explain("one.png", "two.png", "--out", "all", "--quiet")
    assert (status, out) == (1, "all/one/overlay-0.png\n")
    assert err.startswith("error: two.png: expected all/two to be free")


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("...png", "_"),
        ("con.png", "_con"),
        ("what?.png", "what_"),
        ("a. .png", "a"),
        ("example:cat", "cat"),
    ],
)
def test_folders_have_names_that_every_system_takes(explain, workplace, name, folder):
    if name != "example:cat":
        Path("photo.png").rename(name)
    status, out, err = explain(name, "--pictures", "none", calls=20)
    assert status == 0, err
    assert out == f"explanations/{folder}/explanation.json\n"
    assert names(workplace / "explanations") == [folder]


# What is drawn.


@pytest.mark.parametrize(
    ("pictures", "drawn"),
    [
        ("none", []),
        ("sheet", ["sheet.png"]),
        ("all", ["overlay-0.png", "overlay-1.png", "sheet.png"]),
    ],
)
def test_pictures(explain, run, workplace, pictures, drawn):
    options = ["--target", "top-2", "--pictures", pictures, "--out", "o"]
    status, out, err = explain("photo.png", *options)
    assert status == 0, err
    assert names(workplace / "o") == sorted([*FILES[:3], *drawn])
    assert out.splitlines() == [f"o/{name}" for name in drawn or ["explanation.json"]]
    options = ["--target", "ant", "--target", "cow", *options[2:], "--overwrite"]
    status, out, err = run("extend", "o", *options)
    assert status == 0, err
    assert out.splitlines() == [f"o/{name}" for name in drawn or ["explanation.json"]]


def test_pictures_named_by_their_class(explain, workplace):
    options = ["--target", "cow, ant", "--target", "b$e_e$", "--out", "o", "--pictures"]
    drawn = ["overlay-0-cow-ant.png", "overlay-1-b-e-e.png", "sheet.png"]
    status, out, err = explain("photo.png", *options, "named")
    assert status == 0, err
    assert out.splitlines() == [f"o/{name}" for name in drawn]
    assert names(workplace / "o") == sorted([*FILES[:3], *drawn])
    named = [Path("o", name).read_bytes() for name in drawn]
    explain("photo.png", *options, "all")  # takes their place
    drawn = ["overlay-0.png", "overlay-1.png", "sheet.png"]
    assert names(workplace / "o") == sorted([*FILES[:3], *drawn])
    assert [len(Path("o", name).read_bytes()) for name in drawn] == [*map(len, named)]


def test_pictures_of_another_name(explain):
    message = "expected --pictures none, sheet, all or named, got 'few'"
    assert message in refused(explain("photo.png", "--pictures", "few"))


# Several images: each line names its own.


def test_each_line_names_its_image(run, workplace):
    boxes = BOXES + "\nimport warnings\n\ndef warns(images):\n"
    boxes += (
        "    warnings.warn('take\\ncare')\n    log.warning('a line')\n    return bright(images)\n"
    )
    (workplace / "cli_boxes.py").write_text(
        boxes + "import logging\nlog = logging.getLogger('x')\n"
    )
    Image.new("RGB", (20, 12)).save("flat.png")
    command = ["explain", "photo.png", "flat.png", "none.png", "--model", "cli_boxes:warns"]
    command += ["--method", "rise", "--calls", "40"]
    done = subprocess.run(
        [sys.executable, "-W", "always", "-m", "iassa", *command],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    lines = done.stderr.splitlines()
    assert done.returncode == 1, done.stderr
    assert "error: none.png: no such image: none.png. Check the path." in lines
    for image in ("photo.png", "flat.png"):
        assert f"warning: {image}: take care" in lines
        assert f"{image}: a line" in lines
        assert any(line.startswith(f"{image}: 40 calls of warns on cpu") for line in lines)
        assert any(line.startswith(f"warning: {image}: only 38 masks for") for line in lines)
    named = re.compile(r"((error|warning): )?(photo|flat|none)\.png: ")
    assert all(named.match(line) for line in lines), lines


# What it refuses, each with one line.


def pictures(folder):
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "truncated.png")
    whole = (folder / "truncated.png").read_bytes()
    (folder / "truncated.png").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.png").write_text("Dear diary,\n")
    (folder / "folder.png").mkdir()
    Image.new("1", (7072, 7072)).save(folder / "bomb.png")
    Image.fromarray(np.full((4, 5), 7.0, np.float32)).save(folder / "float.tiff")


BAD_IMAGES = {
    "none.png": "no such image: none.png",
    "truncated.png": "cannot decode truncated.png",
    "empty.png": "got an empty file: empty.png",
    "text.png": "no known image: text.png",
    "folder.png": "expected images in folder.png, got no file named .bmp",
    "bomb.png": "bomb.png: expected an image of at most 50000000 pixels",
    "float.tiff": "float.tiff: expected grey values in [0, 1], got [7, 7]",
    "photo.png/below.png": "photo.png/below.png",
}


@pytest.mark.parametrize("name", BAD_IMAGES)
def test_bad_images(explain, workplace, name):
    pictures(workplace)
    assert BAD_IMAGES[name] in refused(explain(name))
    assert not (workplace / "explanations").exists()


ODD_IMAGES = {
    "grey.png": Image.new("L", (28, 20), 99),
    "palette.png": Image.new("RGB", (28, 20), "red").convert("P"),
    "bilevel.png": Image.new("1", (28, 20), 1),
    "alpha.png": Image.new("RGBA", (28, 20), (1, 2, 3, 4)),
    "deep.png": Image.fromarray(np.full((20, 28), 40000, np.uint16)),
    "cmyk.jpg": Image.new("CMYK", (28, 20), (9, 99, 199, 9)),
}


@pytest.mark.parametrize("name", ODD_IMAGES)
def test_odd_images(explain, name):
    ODD_IMAGES[name].save(name)
    status, _, err = explain(name, "--out", "o", calls=30)
    assert status == 0, err
    assert iassa.Explanation.load("o").saliency.shape == (1, 20, 28)


@pytest.mark.parametrize("size", [(1, 1), (1, 30), (30, 1), (2, 3)])
@pytest.mark.parametrize("method", ["rise", "iassa", "iassa-paper"])
def test_tiny_images(explain, workplace, size, method):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)).save(
        "tiny.png"
    )
    (workplace / "cli_means.py").write_text("def means(images): return images.mean((1, 2))")
    arguments = ["--set", "features=none"] if method != "rise" else []
    options = {"model": "cli_means:means", "method": method, "calls": 40}
    status, _, err = explain("tiny.png", "--out", "o", *arguments, **options)
    assert status == 0, err
    explanation = iassa.Explanation.load("o")
    assert explanation.saliency.shape == (1, *size)
    assert np.isfinite(explanation.saliency).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected image files or --example cat"),
        (["photo.png", "--example", "cat"], "expected image files or --example cat"),
        (["--example", "dog"], "expected an example among cat, coffee, got 'dog'"),
        (["--example", ""], "expected image files or --example cat"),
        (["photo.png", "--model", "resnet"], "unknown model 'resnet'"),
        (
            ["photo.png", "--model", "resnet"],
            "efficientnet-lite0-features, FILE.onnx, hf:NAME, hf:FOLDER, a URL or package.module:",
        ),
        (["photo.png", "--model", "cli_none:f"], "No module named 'cli_none'"),
        (["photo.png", "--model", "cli_boxes:none"], "no attribute 'none'"),
        (
            ["photo.png", "--method", "lasso"],
            "unknown method 'lasso' (nearest: iassa). Use iassa, ",
        ),
        (["photo.png", "--method", "isa"], "(nearest: iassa"),
        (["photo.png", "--target", "emu"], "unknown class 'emu'"),
        (["photo.png", "--target", "emu,ant,gnu", "--target", "yak"], "'emu'; 'gnu'"),
        (["photo.png", "--target", "ants"], "nearest: ant"),
        (["photo.png", "--device", "gpu"], "got 'gpu': devices are cpu, cuda, cuda:1, mps and the"),
        (["photo.png", "--target", "3"], "class index from 0 to 2, got 3"),
        (["photo.png", "--target", "top-9"], "expected top-1 to top-3"),
        (["photo.png", "--target", ""], "unknown class ''"),
        (["photo.png", "--target", "9" * 5000], "class index from 0 to 2"),
        (["photo.png", "--calls", "0"], "at least 17 calls"),
        (["photo.png", "--calls", "1"], "at least 17 calls"),
        (["photo.png", "--calls", "16"], "at least 17 calls"),
        (["photo.png", "--calls", "-5"], "at least 17 calls"),
        (["photo.png", "--calls", "1e9"], "--calls to be a whole number or auto, got '1e9'"),
        (["photo.png", "--calls", "many"], "--calls to be a whole number or auto, got 'many'"),
        (["photo.png", "--seconds", "0"], "time budget above 0 seconds, got 0"),
        (["photo.png", "--seconds", "nan"], "time budget above 0 seconds, got nan"),
        (["photo.png", "--tolerance", "0"], "tolerance above 0 and below 1"),
        (["photo.png", "--tolerance", "-1"], "tolerance above 0 and below 1"),
        (["photo.png", "--tolerance", "1"], "tolerance above 0 and below 1"),
        (["photo.png", "--tolerance", "nan"], "tolerance above 0 and below 1"),
        (["photo.png", "--tolerance", "inf"], "tolerance above 0 and below 1"),
        (["photo.png", "--tolerance", "small"], "--tolerance to be a number, got 'small'"),
        (["photo.png", "--seconds", "-1"], "time budget above 0 seconds, got -1"),
        (["photo.png", "--keep", "x"], "--keep to be a whole number or all, got 'x'"),
        (["photo.png", "--keep", "1.5"], "--keep to be a whole number or all, got '1.5'"),
        (["photo.png", "--keep", "-1"], "'all' or a whole number, from 0 to 1000000000"),
        (["photo.png", "--target", "cli_boxes:none"], "no attribute 'none'"),
        (["photo.png", "--target", "cli_none:f"], "No module named 'cli_none'"),
        (["photo.png", "--target", "cli_boxes:number"], "a function of scores (N, K)"),
        (["photo.png", "--target", "cli_boxes:two_dimensions"], "got shape (1, 3)"),
        (["photo.png", "--target", "cli_boxes:unlucky"], "ValueError: no luck"),
        (["photo.png", "--measure", "cosine"], "expected --measure cosine with --similar-to IMAGE"),
        (["photo.png", "--similar-to", "none.png"], "no such image: none.png"),
        (["photo.png", "--similar-to", ""], "each once, got one without a name"),
        (["photo.png"] + 2 * ["--similar-to", "photo.png"], "each once, got photo.png twice"),
        (["photo.png", "--similar-to", "photo.png", "--measure", "x"], "measure cosine or euclid"),
        (["photo.png", "--similar-to", "photo.png", "--target", "ant"], "unknown class 'ant'"),
        (["photo.png", "--box", "1,2,9,9"], "expected --box with a detector, got named"),
        (["photo.png", "--box", "1,2,9"], "expected a box as top,left,bottom,right"),
        (
            ["photo.png", "--box", "1,2,9,9", "--similar-to", "photo.png"],
            "expected --box or --similar-to, got both",
        ),
        (["photo.png", "--model-option", "bgr=yes"], "expected bgr=yes for an ONNX file"),
        (["photo.png", "--range", "0-1"], "expected range=0-1 for an ONNX file"),
        (["photo.png", "--seed", "-1"], "from 0 to 18446744073709551615, got -1. Change it."),
        (
            ["photo.png", "--batch-size", "0"],
            "number or None, from 1 to 65536, got 0",
        ),
        (["photo.png", "--nonsense"], "--nonsense"),
        (["photo.png", "--set", "grid_size"], "expected FIELD=VALUE"),
        (["photo.png", "--set", "beta=1"], "expected FIELD=VALUE with a field of rise"),
        (["photo.png", "--set", "=1"], "expected FIELD=VALUE"),
        (["photo.png", "--set", "grid_size=1"], "from 2 to 224"),
        (["photo.png", "--set", "keep_probability=1"], "above 0 and below 1"),
        (["photo.png", "--set", "baseline=red"], "expected baseline of rise"),
        (["photo.png", "--set", "baseline={[]: 1}"], "expected baseline of rise"),
        (["photo.png", "--baseline", "red"], "got 'red'. If it is a file, write ./red."),
        (["photo.png", "--baseline", "blurr"], "(nearest: blur)"),
        (["photo.png", "--baseline", ""], "expected baseline of rise"),
        (["photo.png", "--baseline", "2"], "expected baseline of rise"),
        (["photo.png", "--baseline", "0,2"], "expected baseline of rise"),
        (["photo.png", "--baseline", "none.png"], "baseline: no such image: none.png"),
        (["photo.png", "--baseline", "blur", "--set", "baseline=0"], "one value for baseline"),
        (["photo.png", "--set", "grid_size=4", "--set", "grid-size=5"], "one value for grid_size"),
        (["photo.png", "--set", "grid_size=seven"], "of rise"),
        (["photo.png", "--set", "round_calls=20.5"], "of rise"),
        (["photo.png", "--set", "baseline=(0, 2)"], "expected baseline of rise"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_bad_arguments(run, workplace, arguments, message):
    defaults = {"--model": REFERENCE, "--method": "rise", "--calls": "60"}
    for option, value in defaults.items():
        if option not in arguments:
            arguments = [*arguments, option, value]
    assert message in refused(run("explain", *arguments))
    assert not [path for path in workplace.rglob("*") if path.name.startswith("explanation.")]


@pytest.mark.parametrize(
    ("setting", "word"),
    [
        ("keep_probability=(0.1,)", "of iassa"),
        ("keep_probability=0.5", "of iassa"),
        ("segment_counts=7", "of iassa"),
        ("features=resnet", "features"),
        ("positions=0", "positions"),
        ("temperature=0", "temperature"),
        ("max_rounds=0.5", "max_rounds"),
    ],
)
def test_bad_hyperparameters_of_iassa(explain, setting, word):
    outcome = explain("photo.png", "--set", setting, method="iassa")
    assert word in refused(outcome)


def test_features_of_an_onnx_file(explain, workplace):
    path = exported_graph()
    maps = iassa.models.onnx_feature_names(path)
    last = {stride: names[-1] for stride, names in maps.items()}
    said = refused(explain("photo.png", "--set", f"features={path}", method="iassa"))
    assert f"16: {last[16]}, 32: {last[32]}." in said
    text = f"{path}:{last[8]},{last[32]}"
    status, out, err = explain("photo.png", "--set", f"features={text}", method="iassa")
    assert status == 0, err
    assert out.splitlines() == ["explanations/photo/overlay-0.png"]
    explanation = iassa.Explanation.load(workplace / "explanations" / "photo")
    assert explanation.method["fields"]["features"] == text


def test_features_of_a_module_that_prints(explain, workplace):
    (workplace / "cli_features.py").write_text(
        "import iassa\nprint('noise')\nown = iassa.models.ColourPosition(position=1.0)\n"
    )
    arguments = ["--set", "features=cli_features:own", "--json", "--quiet"]
    status, out, err = explain("photo.png", *arguments, method="iassa")
    assert status == 0, err
    assert json.loads(out)["method"]["fields"]["features"] == "cli_features:own"
    assert "noise" in err
    del sys.modules["cli_features"]


@pytest.mark.parametrize("device", ["banana", "meta", "cuda:99"])
def test_unknown_devices(run, device):
    outcome = run("explain", "photo.png", "--device", device)
    assert "expected a device that is here" in refused(outcome)


@pytest.mark.parametrize("out", ["photo.png", "photo.png/below", "/proc/self/fd/none"])
def test_folders_that_cannot_be_written(explain, workplace, out):
    before = (workplace / "photo.png").read_bytes()
    assert "Choose another folder" in refused(explain("photo.png", "--out", out))
    assert (workplace / "photo.png").read_bytes() == before


def test_usage(run):
    assert "expected a command" in run()[2]
    assert run()[0] == 2
    assert "No such command 'explode'" in refused(run("explode"))


def test_help_lists_the_options_of_the_contract(run):
    status, out, err = run("explain", "--help")
    assert (status, err) == (0, "")
    for option in (
        *("--example", "--model", "--target", "--method", "--calls", "--seconds", "--seed"),
        *("--batch-size", "--device", "--out", "--json", "--quiet", "--set"),
        *("--tolerance", "--keep", "--baseline", "--similar-to", "--measure"),
    ):
        assert option in out
    status, out, err = run("extend", "--help")
    assert (status, err) == (0, "")
    for option in (
        *("DIR", "--model", "--target", "--calls", "--seconds", "--tolerance", "--batch-size"),
        *("--device", "--out", "--json", "--quiet", "--similar-to", "--measure"),
    ):
        assert option in out
    assert "explain" in run("--help")[1]
    assert run("--version")[1] == f"iassa {iassa.__version__}\n"


# Black boxes at fault.


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ("one_dimension", "expected scores (N, K) with N = 1 images, got (3,)"),
        ("too_few", "got (0, 2)"),
        ("other_classes", "expected 3 scores for each image, got"),
        ("not_a_number", "NaN or infinity for 1 of 1"),
        ("infinite", "NaN or infinity for 1 of 1"),
        ("broken", "raised ValueError: first line second line"),
        ("nan_when_masked", "NaN or infinity for 16 of 16"),
    ],
)
def test_black_boxes_at_fault(explain, workplace, box, message):
    assert message in refused(explain("photo.png", model=f"cli_boxes:{box}"))
    assert not list(workplace.rglob("explanation.*"))


@pytest.mark.parametrize("method", ["rise", "iassa", "iassa-paper"])
def test_constant_scores_are_a_warning(explain, method):
    arguments = ["--set", "features=none"] if method != "rise" else []
    status, _, err = explain("photo.png", *arguments, model="cli_boxes:constant", method=method)
    assert status == 0, err
    line = "warning: every masked image scores the same; there is nothing to explain"
    assert err.splitlines().count(line) == 1
    explanation = iassa.Explanation.load("explanations/photo")
    assert explanation.complete
    assert np.isfinite(explanation.saliency).all()
    np.testing.assert_allclose(
        explanation.saliency, explanation.saliency[0, 0, 0], atol=steps(16, explanation.scores)
    )


@pytest.mark.parametrize("box", ["negative", "huge", "tiny"])
@pytest.mark.parametrize("method", ["rise", "iassa", "iassa-paper"])
def test_scores_of_any_size(explain, box, method):
    arguments = ["--set", "features=none"] if method != "rise" else []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        status, _, err = explain(
            "photo.png", *arguments, model=f"cli_boxes:{box}", method=method, calls=200
        )
    assert status == 0, err
    assert "warning" not in err
    explanation = iassa.Explanation.load("explanations/photo")
    assert np.isfinite(explanation.saliency).all()
    assert np.ptp(explanation.saliency) > 0


def test_a_black_box_that_fails_half_way(explain, workplace):
    arguments = ["photo.png", "--batch-size", 10, "--quiet"]
    status, out, err = explain(*arguments, model="cli_boxes:fails_half_way", calls=500)
    assert status == 2
    assert out.splitlines() == ["explanations/photo/overlay-0.png"]
    assert len(err.splitlines()) == 1
    assert err.startswith("error: the black box fails_half_way raised ConnectionError")
    assert "The map of the 72 calls so far is in explanations/photo" in err
    explanation = iassa.Explanation.load("explanations/photo")
    assert (explanation.complete, explanation.stopped) == (False, "failed")
    assert explanation.calls == 72  # the whole image, the check, six batches, the one that failed
    assert np.isfinite(explanation.saliency).all()
    assert names(workplace / "explanations" / "photo") == FILES


# Ctrl-C.

ENDLESS = """
import numpy as np
from pathlib import Path

made = 0

def endless(images):
    global made
    made += len(images)
    Path("progress").write_text(str(made))
    return images[:, 3:8, 4:12].mean((1, 2))
"""


def wait_for_progress(process, folder, calls):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        path = folder / "progress"
        if path.exists() and int(path.read_text() or 0) >= calls:
            return
        time.sleep(0.02)
    raise AssertionError(f"no progress: {process.poll()}, {process.communicate()}")


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_saves_the_map_so_far(workplace, number, as_json):
    (workplace / "cli_endless.py").write_text(ENDLESS)
    command = ["explain", "photo.png", "--model", "cli_endless:endless", "--calls", 1_000_000_000]
    options = ["--json"] if as_json else []
    process = subprocess_of(*command, "--method", "rise", "--out", "o", *options)
    wait_for_progress(process, workplace, 1000)
    process.send_signal(number)
    if number != signal.SIGINT:  # a system sends it to the process and to its group
        process.send_signal(number)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 128 + number, err
    assert "Traceback" not in err
    assert names(workplace / "o") == FILES
    explanation = iassa.Explanation.load(workplace / "o")
    assert (explanation.complete, explanation.stopped) == (False, "cancelled")
    assert 1000 <= explanation.calls <= int((workplace / "progress").read_text())
    assert np.isfinite(explanation.saliency).all()
    if as_json:
        assert json.loads(out) == json.loads((workplace / "o" / "explanation.json").read_text())
    else:
        assert out.splitlines() == ["o/overlay-0.png"]
        assert "incomplete: cancelled" in err


def test_a_terminal_that_is_closed_loses_no_map(workplace):
    """Its process gets SIGHUP, and can write to it no more."""
    (workplace / "cli_endless.py").write_text(ENDLESS)
    command = ["explain", "photo.png", "--model", "cli_endless:endless", "--calls", "1000000000"]
    child, terminal = pty.fork()
    if not child:
        os.execv(sys.executable, [sys.executable, "-m", "iassa", *command, "--out", "o"])
    deadline = time.monotonic() + 120
    progress = workplace / "progress"
    while time.monotonic() < deadline and not (progress.exists() and progress.read_text() > "1"):
        os.read(terminal, 1000)
    os.close(terminal)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 129
    assert iassa.Explanation.load("o").stopped == "cancelled"


def test_nohup_is_obeyed(workplace):
    (workplace / "cli_endless.py").write_text(ENDLESS)
    command = ["explain", "photo.png", "--model", "cli_endless:endless", "--calls", 30000]
    ignoring = lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)  # noqa: E731
    process = subprocess_of(*command, "--method", "rise", "--out", "o", preexec_fn=ignoring)
    wait_for_progress(process, workplace, 100)
    process.send_signal(signal.SIGHUP)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert iassa.Explanation.load("o").calls == 30000


def test_a_second_ctrl_c_ends_at_once(workplace):
    stuck = "\n    import time\n    while made > 100: time.sleep(0.01)\n    return images"
    (workplace / "cli_stuck.py").write_text(ENDLESS.replace("\n    return images", stuck))
    command = ["explain", "photo.png", "--model", "cli_stuck:endless", "--calls", 1_000_000_000]
    process = subprocess_of(*command, "--method", "rise", "--out", "o")
    wait_for_progress(process, workplace, 101)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    assert process.stderr.readline().startswith("stopping after the batch in flight")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert out == ""
    assert [line for line in err.splitlines() if line] == [
        "error: interrupted; nothing of this image was saved."
    ]
    assert not (workplace / "o").exists()


# How well the map is known, and when that is enough.


def known_to(folder) -> float:
    return iassa.Explanation.load(folder).relative_error


@pytest.mark.parametrize("tolerance", [0.12, 0.06])
def test_tolerance_ends_the_run_after_the_first_round_that_knows_enough(explain, tolerance):
    options = ["--set", "round_calls=32", "--set", "debiased=True"]
    arguments = [*options, "--tolerance", tolerance, "--out", "o"]
    status, _, err = explain("photo.png", *arguments, calls=100_000)
    assert status == 0, err
    found = iassa.Explanation.load("o")
    assert (found.complete, found.stopped) == (True, "tolerance")
    assert found.relative_error <= tolerance
    assert (found.calls - 2) % 32 == 0
    # A round before it was not yet known so well.
    assert explain("photo.png", *options, "--out", "p", calls=found.calls - 32)[0] == 0
    assert known_to("p") > tolerance
    assert explain("photo.png", *options, "--out", "p", calls=found.calls)[0] == 0
    same = iassa.Explanation.load("p")
    np.testing.assert_array_equal(found.saliency, same.saliency)


def test_the_budget_ends_a_run_that_does_not_reach_its_tolerance(explain):
    status, _, err = explain("photo.png", "--tolerance", "0.001", "--out", "o", calls=100)
    assert status == 0, err
    found = iassa.Explanation.load("o")
    assert (found.calls, found.complete, found.stopped) == (100, True, "calls")


def test_the_last_line_says_how_well_the_map_is_known(explain):
    _, _, err = explain("photo.png", "--target", "top-2", "--out", "o")
    last = err.splitlines()[-1]
    share = max(iassa.Explanation.load("o").relative_errors)
    assert last.startswith("60 calls of named on cpu, ")
    assert last.endswith(f" s, standard error {share:.1%} of the peak")
    _, _, err = explain("photo.png", "--out", "o", "--overwrite", method="kernel-shap")
    assert err.splitlines()[-1].endswith(" s, standard error not known")
    assert known_to("o") == np.inf


def drawn_panels(path) -> int:
    """Pictures side by side: columns of the overlay that hold no white gap, in runs."""
    picture = np.asarray(Image.open(path).convert("L"))
    rows = picture[len(picture) // 4 : 3 * len(picture) // 4]
    inked = (rows < 250).mean(axis=0) > 0.9
    starts = np.flatnonzero(np.diff(np.concatenate([[False], inked]).astype(int)) == 1)
    ends = np.flatnonzero(np.diff(np.concatenate([inked, [False]]).astype(int)) == -1)
    return int((ends - starts > picture.shape[1] / 10).sum())


@pytest.mark.parametrize(("method", "panels"), [("rise", 3), ("kernel-shap", 2)])
def test_the_overlay_has_a_panel_for_an_error_that_is_known(explain, method, panels):
    assert explain("photo.png", "--out", "o", method=method)[0] == 0
    assert drawn_panels("o/overlay-0.png") == panels


@pytest.mark.parametrize(("keep", "kept"), [("0", 1), ("2", 2), ("all", 3), ("99", 3)])
def test_keep(explain, keep, kept):
    status, _, err = explain("photo.png", "--keep", keep, "--out", "o")
    assert status == 0, err
    evidence = iassa.Explanation.load("o").evidence
    assert evidence is not None
    assert len(evidence.outputs) == kept


def test_a_function_of_the_scores_as_a_target(explain):
    """A weighted sum, written as a function, has the map of the sum."""
    options = ["--target", "cli_boxes:odds", "--target", "ant", "--target", "b$e_e$"]
    status, _, err = explain("photo.png", *options, "--out", "o", "--set", "debiased=True")
    assert status == 0, err
    assert "cli_boxes:odds: " in err
    found = iassa.Explanation.load("o")
    assert found.targets[0].name == "cli_boxes:odds"
    odds, ant, bee = found.saliency
    np.testing.assert_allclose(odds, ant - 2 * bee, atol=steps(16, ant, 2 * bee))
    assert found.scores[0] == pytest.approx(found.scores[1] - 2 * found.scores[2])


def test_training_mode_is_told_of_without_a_place_in_the_code(run):
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        options = ["photo.png", "--model", "cli_boxes:network", "--method", "rise", "--calls", 60]
        _, out, err = run("explain", *options)
        assert out == "explanations/photo/overlay-0.png\n"
        assert err.startswith("warning: Sequential is in training mode: it is run in eval mode")
        assert "black_boxes" not in err
        status, _, err = run("explain", *options, "--quiet")
    assert (status, err) == (0, "")


# What makes it similar to another image.


@pytest.fixture
def others(workplace):
    """Images to compare with, of another size."""
    for seed, name in enumerate(("one.png", "two.png")):
        pixels = np.random.default_rng(seed + 5).integers(0, 256, (15, 11, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(name)
    return ["--similar-to", "two.png", "--similar-to", "one.png"]


@pytest.mark.parametrize("measure", ["cosine", "euclidean"])
def test_similarity_to_all_that_are_named(explain, run, others, caplog, measure):
    arguments = [*others, "--measure", measure]
    status, out, err = explain("photo.png", *arguments, "--out", "o", "--json")
    assert status == 0, err
    record = json.loads(out)
    assert [target["name"] for target in record["targets"]] == ["two.png", "one.png"]
    assert record["model"] == f"named compared by {measure} with two.png, one.png"
    assert record["identity"].startswith(f"{measure} to ")
    assert "named: 2 calls for what is compared with" in caplog.text
    like = iassa.models.Similarity(["two.png", "one.png"], REFERENCE, measure=measure)
    same = iassa.explain("photo.png", like, target=[0, 1], method="rise", calls=60)
    found = iassa.Explanation.load("o")
    np.testing.assert_array_equal(found.saliency, same.saliency)
    assert found.scores == same.scores
    assert found.calls == 60
    # Going on from it, and another target from the same masks.
    assert "expected --model" in refused(run("extend", "o", "--calls", 20))
    more = ["extend", "o", "--calls", 20, "--model", REFERENCE]
    assert "the black box that was asked before" in refused(run(*more))
    assert "the black box that was asked before" in refused(run(*more, *others[:2]))
    status, _, err = run(*more, *arguments)
    assert status == 0, err
    assert iassa.Explanation.load("o").calls == 80
    status, out, err = run("extend", "o", "--target", "one.png vs two.png", "--out", "p")
    assert status == 0, err
    mine, before = iassa.Explanation.load("p").saliency, iassa.Explanation.load("o").saliency
    np.testing.assert_allclose(mine[0], before[1] - before[0], rtol=1e-4, atol=steps(8, before))


def test_similarity_to_one_target_of_several_images(explain, others):
    arguments = ["photo.png", "one.png", *others, "--target", "one.png", "--out", "o"]
    status, out, err = explain(*arguments)
    assert status == 0, err
    assert out.splitlines() == ["o/photo/overlay-0.png", "o/one/overlay-0.png"]
    assert iassa.Explanation.load("o/one").scores[0] == pytest.approx(1)


def test_similarity_by_the_default_model_and_the_reverse(run):
    example_image_of = {name: iassa.example_image(name) for name in ("cat", "coffee")}
    for name, image in example_image_of.items():
        Image.fromarray((255 * image).round().astype(np.uint8)).save(f"{name}.png")
    options = ["--method", "rise", "--calls", 20, "--device", "cpu"]
    scores = []
    for one, other in (("cat", "coffee"), ("coffee", "cat")):
        status, _, err = run("explain", f"{one}.png", "--similar-to", f"{other}.png", *options)
        assert status == 0, err
        found = iassa.Explanation.load(f"explanations/{one}")
        assert found.targets[0].name == f"{other}.png"
        assert found.identity.split(" by ")[1].startswith("efficientnet-lite0-features 0.")
        scores += found.scores
    assert scores[0] == pytest.approx(scores[1])
    assert 0 < scores[0] < 0.9
    folder = "explanations/coffee"
    name = "efficientnet-lite0-features compared by cosine with cat.png"
    said = refused(run("extend", folder, "--calls", 5))
    assert f"the explanation does not save how to open {name}." in said
    more = ["extend", folder, "--calls", 5, "--device", "cpu", "--similar-to", "cat.png"]
    assert "got euclidean to" in refused(run(*more, "--measure", "euclidean", "--quiet"))
    status, _, err = run(*more)
    assert status == 0, err
    assert f"25 calls of {name} on cpu" in err


# Going on from what was saved.


@pytest.fixture
def extend(run):
    """`iassa extend` with the black box that `explain` asks."""
    return lambda *arguments, model=REFERENCE: run("extend", *arguments, "--model", model)


def arrays_of(folder):
    with np.load(Path(folder) / "explanation.npz") as arrays:
        return {name: arrays[name] for name in arrays.files}


def assert_same_arrays(one, other):
    mine, its = arrays_of(one), arrays_of(other)
    assert mine.keys() == its.keys() == {"saliency", "standard_error", "image"}
    for name in mine:
        np.testing.assert_array_equal(mine[name], its[name])


def contents(folder):
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("rise", ["round_calls=50"]),
        ("iassa", ["features=none", "round_calls=64"]),
        ("iassa", ["features=colour-position", "round_calls=64", "adapt_keep_probability=True"]),
        ("iassa-paper", ["features=none"]),
        ("sliding-window", ["stride=8"]),
        ("lime", ["segmentation=slic", "num_segments=12"]),
    ],
)
def test_more_calls_give_the_map_of_one_run_with_all(explain, extend, method, settings):
    options = [option for text in settings for option in ("--set", text)]
    targets = ["--target", "ant", "--target", "cow vs ant"]
    for calls, out in ((70, "part"), (150, "whole")):
        arguments = ["photo.png", *options, *targets, "--out", out]
        assert explain(*arguments, method=method, calls=calls)[0] == 0
    status, out, err = extend("part", "--calls", 80)
    assert status == 0, err
    assert out.splitlines() == ["part/overlay-0.png", "part/overlay-1.png", "part/sheet.png"]
    assert "150 calls of named" in err
    assert_same_arrays("part", "whole")
    mine, its = (iassa.Explanation.load(folder).evidence for folder in ("part", "whole"))
    assert mine is not None
    assert its is not None
    assert len(mine) == len(its) == 148
    for one, other in zip(mine.rounds, its.rounds, strict=True):
        for family, scored in one.families.items():
            assert scored.plan == other.families[family].plan
            np.testing.assert_array_equal(scored.readings, other.families[family].readings)
    # It can be gone on from once more.
    assert extend("part", "--calls", 1)[0] == 0
    assert iassa.Explanation.load("part").calls == 151


def test_out_leaves_what_was_there(explain, extend, workplace):
    assert explain("photo.png", "--out", "o")[0] == 0
    before = contents("o")
    status, out, err = extend("o", "--calls", 40, "--out", "more/o")
    assert status == 0, err
    assert out.splitlines() == ["more/o/overlay-0.png"]
    assert contents("o") == before
    assert names(workplace / "more" / "o") == FILES
    assert iassa.Explanation.load("more/o").calls == 100


def test_without_out_the_folder_is_written_over_whole(explain, run, extend, workplace):
    assert explain("photo.png", "--target", "top-3", "--out", "o")[0] == 0
    before = contents("o")
    assert extend("o", "--calls", 40)[0] == 0
    after = contents("o")
    assert after.keys() == before.keys()
    assert all(after[name] != before[name] for name in before)
    assert run("extend", "o", "--target", "ant", "--out", "o", "--overwrite")[0] == 0
    assert names(workplace / "o") == FILES  # the overlays of the other two are gone


def test_another_target_goes_into_a_folder_beside(explain, run, workplace, monkeypatch):
    assert explain("photo.png", "--target", "ant", "--out", "o")[0] == 0
    before = contents("o")
    status, out, err = run("extend", "o", "--target", "cow", "--target", "ant vs cow")
    assert (status, out.splitlines()[-1]) == (0, "o-cow-ant vs cow/sheet.png"), err
    monkeypatch.chdir("o")
    status, out, _ = run("extend", ".", "--target", "cow")
    assert (status, out) == (0, f"{workplace}/o-cow/overlay-0.png\n")
    monkeypatch.chdir("..")
    status, out, _ = run("extend", "o/", "--target", ",".join(["ant"] * 200))
    assert (status, out) == (0, f"o-{'ant,' * 49}an/overlay-0.png\n")
    assert run("extend", "o", "--target", "cow")[0] == 0  # the same again
    assert "differs in targets there" in refused(
        run("extend", "o", "--target", "cow", "--out", "o")
    )
    assert contents("o") == before
    assert iassa.Explanation.load("o-cow").targets[0].name == "cow"


def test_another_target_costs_no_call(explain, run, workplace):
    targets = ["cow", "ant vs cow", "0,1"]
    for calls, out in ((60, "o"), (60, "at once")):
        wanted = ["ant"] if out == "o" else targets
        options = [option for text in wanted for option in ("--target", text)]
        assert explain("photo.png", *options, "--out", out, calls=calls)[0] == 0
    (workplace / "cli_boxes.py").unlink()  # the black box is not so much as opened
    options = [option for text in targets for option in ("--target", text)]
    status, out, err = run("extend", "o", *options, "--out", "p")
    assert status == 0, err
    assert out.splitlines() == [*(f"p/overlay-{k}.png" for k in range(3)), "p/sheet.png"]
    assert "60 calls of named" in err
    assert_same_arrays("p", "at once")
    assert iassa.Explanation.load("p").calls == 60


def test_another_target_that_is_a_function(explain, run):
    assert explain("photo.png", "--keep", "all", "--out", "o")[0] == 0
    assert run("extend", "o", "--target", "cli_boxes:odds", "--out", "p")[0] == 0
    assert explain("photo.png", "--target", "cli_boxes:odds", "--out", "q")[0] == 0
    assert_same_arrays("p", "q")
    assert explain("photo.png", "--keep", "2", "--out", "o")[0] == 0
    assert "whose scores were kept" in refused(run("extend", "o", "--target", "cli_boxes:odds"))


def test_extending_a_function_of_the_scores(explain, extend):
    target = ["--target", "cli_boxes:odds"]
    assert explain("photo.png", *target, "--out", "part", calls=60)[0] == 0
    assert explain("photo.png", *target, "--out", "whole", calls=90)[0] == 0
    assert "Name all targets again with --target" in refused(extend("part", "--calls", 30))
    assert extend("part", "--calls", 30, *target)[0] == 0
    assert_same_arrays("part", "whole")


def test_extending_to_a_tolerance_and_for_a_time(explain, extend):
    options = ["--set", "round_calls=32", "--set", "debiased=True", "--out", "o"]
    assert explain("photo.png", *options)[0] == 0
    assert known_to("o") > 0.1
    assert extend("o", "--calls", 10**6, "--tolerance", "0.1")[0] == 0
    found = iassa.Explanation.load("o")
    assert found.relative_error <= 0.1
    assert found.stopped == "tolerance"
    assert found.calls > 60
    assert extend("o", "--calls", 10**9, "--seconds", "0.001")[0] == 0
    longer = iassa.Explanation.load("o")
    assert longer.stopped == "seconds"
    assert found.calls < longer.calls < 10**6


def test_extended_json_is_the_content_of_the_file_and_nothing_else(explain, extend, run):
    assert explain("photo.png", "--out", "o")[0] == 0
    status, out, err = extend("o", "--calls", 40, "--json", "--quiet")
    assert (status, err) == (0, "")
    assert json.loads(out) == json.loads(Path("o/explanation.json").read_text("utf-8"))
    assert json.loads(out)["calls"] == 100
    status, out, err = run("extend", "o", "--target", "cow", "--json", "--quiet")
    assert (status, err) == (0, "")
    assert json.loads(out) == json.loads(Path("o-cow/explanation.json").read_text("utf-8"))
    assert json.loads(out)["targets"][0]["name"] == "cow"


def test_the_default_model_need_not_be_named(run):
    arguments = ["--example", "cat", "--method", "rise", "--calls", 20, "--device", "cpu"]
    assert run("explain", *arguments, "--out", "o")[0] == 0
    status, _, err = run("extend", "o", "--calls", 5, "--device", "cpu")
    assert status == 0, err
    assert "25 calls of efficientnet-lite0 on cpu" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none"], "expected a saved explanation in none"),
        (["photo.png"], "expected a saved explanation in photo.png"),
        (["."], "expected a saved explanation in"),
        (["--measure", "cosine", "--model", REFERENCE], "--measure cosine with --similar-to"),
        (["--target", "ant", "--similar-to", "photo.png"], "--target without the options of a run"),
        (["--target", "ant", "--measure", "cosine"], "--target without the options of a run"),
        (["--similar-to", "photo.png", "--model", REFERENCE], "the black box that was asked befo"),
        ([], "the explanation does not save how to open named"),
        (["--model", "cli_boxes:constant"], "expected the black box that was asked before, named"),
        (["--model", "cli_boxes:bright"], "expected the black box that was asked before, named"),
        (["--model", "resnet"], "unknown model 'resnet'"),
        (["--calls", "0", "--model", REFERENCE], "at least 1 more call, got 0"),
        (["--calls", "-5", "--model", REFERENCE], "at least 1 more call, got -5"),
        (["--tolerance", "0", "--model", REFERENCE], "tolerance above 0 and below 1"),
        (["--tolerance", "-1", "--model", REFERENCE], "tolerance above 0 and below 1"),
        (["--tolerance", "nan", "--model", REFERENCE], "tolerance above 0 and below 1"),
        (["--seconds", "0", "--model", REFERENCE], "time budget above 0 seconds"),
        (["--target", "emu"], "unknown class 'emu'"),
        (["--target", "3"], "class index from 0 to 2, got 3"),
        (["--target", "ant", "--model", REFERENCE], "--target without the options of a run"),
        (["--target", "ant", "--calls", "9"], "--target without the options of a run"),
        (["--target", "ant", "--seconds", "9"], "--target without the options of a run"),
        (["--target", "ant", "--tolerance", "0.1"], "--target without the options of a run"),
        (["--seed", "1"], "--seed"),
        (["--out", "photo.png", "--model", REFERENCE], "Choose another folder"),
    ],
    ids=lambda value: str(value)[:40],
)
@pytest.mark.usefixtures("saved")
def test_what_cannot_be_extended(run, arguments, message):
    before = contents("o")
    folder = [] if arguments and not arguments[0].startswith("--") else ["o"]
    assert message in refused(run("extend", *folder, *arguments))
    assert contents("o") == before


@pytest.mark.parametrize("name", ["explanation.json", "explanation.npz", "evidence.npz"])
@pytest.mark.parametrize("damage", ["gone", "empty", "cut", "bit"])
def test_damaged_folders_are_not_extended(saved, run, extend, name, damage):
    path = saved / name
    whole = path.read_bytes()
    middle = len(whole) // 2
    if damage == "gone":
        path.unlink()
    elif damage == "bit" and name == "explanation.json":
        path.write_text(path.read_text().replace('"schema"', '"scheme"'))
    else:
        flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
        path.write_bytes({"empty": b"", "cut": whole[:middle], "bit": flipped}[damage])
    before = contents("o")
    assert refused(extend("o", "--calls", 40))
    assert refused(run("extend", "o", "--target", "ant"))
    assert contents("o") == before


def test_methods_without_evidence_are_not_extended(explain, run, extend):
    assert explain("photo.png", "--out", "o", method="kernel-shap")[0] == 0
    for outcome in (extend("o", "--calls", 40), run("extend", "o", "--target", "ant")):
        assert "expected an explanation with its evidence" in refused(outcome)


def test_a_name_in_a_saved_file_is_not_run(explain, run, workplace):
    """Whoever sends a folder must not choose what is imported."""
    assert explain("photo.png", "--out", "o")[0] == 0
    (workplace / "cli_trap.py").write_text("open('sprung', 'w').close()\n")
    path = workplace / "o" / "explanation.json"
    path.write_text(path.read_text().replace('"named"', '"cli_trap:box"'))
    assert "expected --model" in refused(run("extend", "o", "--calls", 5))
    assert not (workplace / "sprung").exists()


def test_a_black_box_that_fails_while_it_is_extended(explain, extend, workplace):
    assert explain("photo.png", "--out", "o", model="cli_boxes:fails_half_way")[0] == 0
    status, out, err = extend(
        "o", "--calls", 500, "--batch-size", 10, "--quiet", model="cli_boxes:fails_half_way"
    )
    assert status == 2
    assert err.startswith("error: the black box fails_half_way raised ConnectionError")
    assert "calls so far is in o" in err
    assert len(err.splitlines()) == 1
    assert out.splitlines() == ["o/overlay-0.png"]
    found = iassa.Explanation.load("o")
    assert (found.complete, found.stopped) == (False, "failed")
    assert found.calls > 60


def test_ctrl_c_saves_what_was_extended_so_far(workplace):
    (workplace / "cli_endless.py").write_text(ENDLESS)
    model = ["--model", "cli_endless:endless"]
    first = subprocess_of(
        "explain", "photo.png", *model, "--method", "rise", "--out", "o", "--calls", 300
    )
    first.communicate(timeout=120)
    assert first.returncode == 0
    (workplace / "progress").unlink()
    process = subprocess_of("extend", "o", *model, "--calls", 1_000_000_000)
    wait_for_progress(process, workplace, 1000)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "incomplete: cancelled" in err
    assert out.splitlines() == ["o/overlay-0.png"]
    assert names(workplace / "o") == FILES
    found = iassa.Explanation.load(workplace / "o")
    assert (found.complete, found.stopped) == (False, "cancelled")
    assert 1300 <= found.calls <= 300 + int((workplace / "progress").read_text())
    assert np.isfinite(found.saliency).all()


@pytest.mark.filterwarnings("default::iassa.ImageWarning")
def test_deep_grey_is_read_with_its_white(explain, workplace, monkeypatch):
    monkeypatch.setenv("HOME", str(workplace))
    values = np.random.default_rng(0).integers(0, 4096, (20, 28), dtype=np.uint16)
    Image.fromarray(values).save("deep.png")
    status, _, err = explain("~/deep.png", "--out", "o")
    assert status == 0
    told = [line for line in err.splitlines() if "deep.png: its brightest value is" in line]
    assert len(told) == 1
    assert told[0].startswith("warning: ")
    status, _, err = explain("deep.png", "--out=~/p", "--white", "4095")
    assert status == 0
    assert "brightest" not in err
    pixels = iassa.Explanation.load("~/p").image
    np.testing.assert_allclose(pixels[:, :, 0], values / 4095, atol=0.5 / 255)
    assert json.loads(Path("p/explanation.json").read_text())["image"]["path"] == "deep.png"
    assert not Path("~").exists()
    assert "brightest" not in explain("deep.png", "--out", "q", "--quiet")[2]
