"""Adapting features: a file that methods use, resuming to the bit, and what is refused."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

import iassa
from iassa.adapting import Adaptation, adapt_features
from iassa.adapting.checkpoint import part_of
from iassa.adapting.pictures import read_pictures
from iassa.adapting.training import Training
from iassa.cli import main
from iassa.errors import CancelledError, InputError
from iassa.models import OnnxLayers
from iassa.models.features import open_features

SMALL = Adaptation(views="texture", epochs=2, minutes=None, clusters=4)
Draw = Callable[..., Path]


@pytest.fixture
def draw(tmp_path: Path) -> Draw:
    """A folder of images of several sizes, the left half of each unlike the right."""

    def make(number: int = 3, name: str = "images") -> Path:
        folder = tmp_path / name
        folder.mkdir()
        for k in range(number):
            rng = np.random.default_rng(k)
            pixels = rng.integers(0, 120, (40 + 8 * k, 72 - 8 * k, 3), dtype=np.uint8)
            pixels[:, : 30 - 4 * k] += 100
            Image.fromarray(pixels).save(folder / f"{k}.png")
        return folder

    return make


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def draw_masks(images: Path, size: tuple[int, int] | None = None) -> Path:
    folder = images.parent / "masks"
    folder.mkdir()
    for path in images.iterdir():
        width, height = size or size_of(path)
        mask = np.zeros((height, width), np.uint8)
        mask[:, : 30 * width // 72] = 255  # about the bright half
        Image.fromarray(mask).save(folder / path.name)
    return folder


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as exit_:
        main([*map(str, arguments)])
    out, err = capsys.readouterr()
    return int(exit_.value.code or 0), out, err


def weights(path: Path) -> dict[str, bytes]:
    return {one.name: one.raw_data for one in onnx.load(path).graph.initializer}


def read_state(part: Path) -> dict[str, Any]:
    """The state in a checkpoint, behind the 32 bytes of its digest."""
    found = torch.load(io.BytesIO(part.read_bytes()[32:]), weights_only=True)
    state: dict[str, Any] = found["state"]
    return state


@pytest.fixture(scope="module")
def adapted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Features of two epochs, for the tests that only read them."""
    folder = tmp_path_factory.mktemp("adapted")
    images = folder / "images"
    images.mkdir()
    for k in range(3):
        pixels = np.random.default_rng(k).integers(0, 255, (50, 70 + k, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(images / f"{k}.png")
    return adapt_features(images, folder / "mine.onnx", SMALL, even_if_worse=True).out


def test_a_method_uses_the_file_by_its_name_alone(
    adapted: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    photo = tmp_path / "photo.png"
    pixels = np.random.default_rng(5).integers(0, 255, (48, 80, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(photo)
    given = ("explain", photo, "--model", "working:brightness", "--target", "1", "--calls", 40)
    folders = {}
    for name in (str(adapted), "efficientnet-lite0"):
        folders[name] = tmp_path / Path(name).stem
        settings = ("--set", f"features={name}", "--set", "round_calls=16")
        out = ("--out", folders[name], "--pictures", "none")
        assert call(capsys, *given, *settings, *out)[0] == 0
    saved = [iassa.Explanation.load(folder) for folder in folders.values()]
    assert saved[0].method["fields"]["features"] == str(adapted)
    assert np.abs(saved[0].saliency - saved[1].saliency).max() > 0  # trained features differ


def test_as_a_model_the_file_is_refused_with_what_it_is_for(
    adapted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = tmp_path / "photo.png"
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(photo)
    status, out, err = call(capsys, "explain", photo, "--model", adapted, "--calls", 40)
    assert (status, out) == (2, "")
    (line,) = err.splitlines()
    assert line.startswith(f"error: expected a model that gives scores, got {adapted}, which gives")
    assert f"--set features={adapted}, in Python" in line


def test_the_file_says_how_it_is_read(adapted: Path) -> None:
    extractor = open_features(str(adapted), torch.device("cpu"))
    assert isinstance(extractor, OnnxLayers)
    assert extractor.tensors == ("level_4", "level_8", "level_16", "level_32")
    image = torch.rand(3, 60, 90, generator=torch.Generator().manual_seed(1))
    shapes = [tuple(level.shape) for level in extractor(image)]
    assert shapes == [(24, 56, 56), (40, 28, 28), (112, 14, 14), (320, 7, 7)]
    embedded = open_features("efficientnet-lite0", torch.device("cpu"))
    assert embedded is not None
    for ours, theirs in zip(extractor(image), embedded(image), strict=True):
        assert torch.isfinite(ours).all()
        assert float((ours - theirs).abs().max()) > 0.01 * float(theirs.abs().max())
    # Named tensors still count, and what is made of the text is the text of the whole.
    one = OnnxLayers.parse(f"{adapted}:level_8")
    assert one.tensors == ("level_8",)
    assert OnnxLayers.parse(str(extractor)) == extractor
    notes = {note.key: note.value for note in onnx.load(adapted).metadata_props}
    assert json.loads(notes["iassa.adaptation"])["epochs"] == 2


def test_a_file_that_says_it_wrongly_is_refused(adapted: Path, tmp_path: Path) -> None:
    model = onnx.load(adapted)
    for text in ("level_8,nowhere", "level_8?layout=odd", "?"):
        next(n for n in model.metadata_props if n.key == "iassa.features").value = text
        path = tmp_path / "wrong.onnx"
        path.write_bytes(model.SerializeToString())
        with pytest.raises(InputError, match="expected"):
            OnnxLayers.parse(str(path))


def test_a_cancelled_adaptation_goes_on_from_its_last_epoch_with_the_same_bits(
    draw: Draw, tmp_path: Path
) -> None:
    """Of the training alone, as none of these calls is let to its end."""
    images, longer = draw(), dataclasses.replace(SMALL, epochs=3)

    def run_into(out: Path, last: int) -> list[tuple[int, int]]:
        """Cancel in an epoch; the steps that were made."""
        steps: list[tuple[int, int]] = []
        with pytest.raises(CancelledError):
            adapt_features(
                *(images, out, longer),
                progress=lambda step: steps.append((step.epoch, step.step)),
                cancel=lambda: steps[-1][0] == last,
            )
        return steps

    whole, parts = tmp_path / "whole.onnx", tmp_path / "parts.onnx"
    assert run_into(whole, 3) == [(1, 1), (2, 1), (3, 1)]
    assert run_into(parts, 2) == [(1, 1), (2, 1)]
    assert run_into(parts, 3) == [(2, 1), (3, 1)]  # the second epoch was lost, the first was kept
    states = [read_state(part_of(out)) for out in (whole, parts)]
    assert [state["epoch"] for state in states] == [2, 2]
    for name, value in states[0]["levels"].items():
        assert torch.equal(value, states[1]["levels"][name]), name
    assert {path.name for path in tmp_path.glob("*.onnx*")} == {
        part_of(out).name for out in (whole, parts)
    }


@pytest.mark.thorough  # it judges and exports twice
def test_the_same_seed_gives_the_same_features_and_resuming_gives_its_bits(
    draw: Draw, tmp_path: Path
) -> None:
    images = draw()
    whole = adapt_features(images, tmp_path / "whole.onnx", SMALL, even_if_worse=True)
    assert (whole.epochs, whole.images, whole.saved) == (2, 2, True)
    assert not part_of(whole.out).exists()
    out = tmp_path / "parts.onnx"
    steps: list[tuple[int, int]] = []

    def stop() -> bool:
        return len(steps) == 2  # in the second epoch, of one step each

    with pytest.raises(CancelledError):
        adapt_features(
            *(images, out, SMALL),
            progress=lambda step: steps.append((step.epoch, step.step)),
            cancel=stop,
        )
    assert steps == [(1, 1), (2, 1)]
    assert part_of(out).exists()
    assert not out.exists()
    steps = [(0, 0)]  # and `stop` is not asked in this call
    again = adapt_features(
        *(images, out, SMALL),
        even_if_worse=True,
        progress=lambda step: steps.append((step.epoch, step.step)),
    )
    assert steps == [(0, 0), (2, 1)]  # the first epoch was kept
    assert weights(again.out) == weights(whole.out)
    assert [str(one) for one in again.judgements] == [str(one) for one in whole.judgements]


@pytest.mark.thorough  # in two processes that import all anew
def test_a_killed_command_goes_on(draw: Draw, tmp_path: Path) -> None:
    images, out = draw(), tmp_path / "killed.onnx"
    command = [sys.executable, "-m", "iassa", "features", "adapt", "--images", str(images)]
    command += ["--out", str(out), "--views", "texture", "--clusters", "4", "--epochs"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    first = subprocess.Popen([*command, "1000"], env=environment, stderr=subprocess.PIPE)
    while not part_of(out).exists() and first.poll() is None:
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert part_of(out).exists()
    assert not out.exists()
    made = read_state(part_of(out))["epoch"]
    assert made >= 1
    again = subprocess.run(
        [*command, str(made), "--even-if-worse", "--json"],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["epochs"] == made
    assert out.exists()
    assert not part_of(out).exists()


def test_no_epoch_begins_that_would_end_late(
    draw: Draw, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A microminute is over when the first epoch is, which is always made."""
    out = tmp_path / "A.ONNX"  # an ending in any case
    given = ("--images", draw(), "--out", out, "--clusters", 4, "--epochs", 50)
    status, printed, err = call(
        capsys, "features", "adapt", *given, "--minutes", "1e-6", "--even-if-worse"
    )
    assert (status, printed) == (0, f"{out}\n")
    assert "trained on 2 images, 1 epoch in" in err
    notes = {note.key: note.value for note in onnx.load(out).metadata_props}
    assert json.loads(notes["iassa.adaptation"])["epochs"] == 1
    assert isinstance(open_features(str(out), torch.device("cpu")), OnnxLayers)


def test_another_seed_trains_other_features(draw: Draw) -> None:
    planes = read_pictures(draw(), None, 0).planes
    made = []
    for seed in (0, 0, 1):
        training = Training(dataclasses.replace(SMALL, seed=seed), planes, torch.device("cpu"))
        training.run_epoch(lambda _: None, lambda: False)
        made.append(training.levels.stem[0].weight.detach())
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])


def test_objects_judge_where_there_are_masks(
    draw: Draw, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = draw()
    given = ("--images", images, "--masks", draw_masks(images), "--out", tmp_path / "m.onnx")
    rest = ("--epochs", 0, "--json", "--even-if-worse")
    status, out, err = call(capsys, "features", "adapt", *given, *rest)
    assert status == 0
    found = json.loads(out)
    assert [one["what"] for one in found["judgements"]] == ["superpixels", "objects"]
    assert found["judgements"][1]["before"] > 0.53  # the halves look unlike each other
    assert found["judgements"][1]["difference"]["low"] is None  # of one image
    assert "objects told apart: 0." in err
    assert "on 1 held-out image: not shown, with fewer than 6" in err
    assert "trained on 2 images, 0 epochs in 0 s; --epochs 0 gives the same features again" in err


def draw_patches(folder: Path) -> Path:
    """Flat patches of one colour each: the embedded network tells them apart better."""
    folder.mkdir()
    for k in range(28):  # of which six are held out
        rng = np.random.default_rng(k)
        pixels = np.zeros((48, 64, 3))
        for _ in range(8):
            row, column = rng.integers(0, 36), rng.integers(0, 52)
            pixels[row : row + 14, column : column + 18] = rng.integers(0, 255, 3)
        pixels += rng.normal(0, 4, pixels.shape)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{k}.png")
    return folder


def test_worse_features_are_not_saved(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = draw_patches(tmp_path / "patches")
    given = ("--images", images, "--out", tmp_path / "worse.onnx", "--epochs", 0, "--json")
    status, printed, err = call(capsys, "features", "adapt", *given)
    assert status == 2
    found = json.loads(printed)
    (judged,) = found["judgements"]
    assert (found["saved"], judged["verdict"]) == (False, "worse")
    assert judged["difference"]["low"] < judged["difference"]["high"] < 0
    assert judged["after"] - judged["before"] == pytest.approx(judged["difference"]["mean"])
    assert "on 6 held-out images: worse" in err
    assert err.splitlines()[-1].startswith("error: the features got worse")
    assert [path.name for path in tmp_path.iterdir()] == ["patches"]


@pytest.mark.thorough  # it judges and exports
def test_worse_features_are_saved_on_demand(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "worse.onnx"
    given = ("--images", draw_patches(tmp_path / "patches"), "--out", out, "--epochs", 0)
    status, printed, err = call(capsys, "features", "adapt", *given, "--even-if-worse")
    assert (status, printed) == (0, f"{out}\n")
    assert "on 6 held-out images: worse" in err
    assert isinstance(open_features(str(out), torch.device("cpu")), OnnxLayers)


# --- what is refused --------------------------------------------------------------------------


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line of error of a command that writes nothing."""
    status, out, err = call(capsys, "features", "adapt", *arguments)
    assert (status, out) == (2, "")
    lines = err.splitlines()
    assert len(lines) == 1, err
    return lines[0]


def test_images_that_cannot_be_used(
    draw: Draw, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "made" / "new.onnx"
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "expected images in" in refused(capsys, "--images", empty, "--out", out)
    assert "expected a folder" in refused(capsys, "--images", tmp_path / "no", "--out", out)
    alone = draw(1, "alone")
    assert "expected two images or more" in refused(capsys, "--images", alone, "--out", out)
    few = draw(3, "few")
    said = refused(capsys, "--images", few, "--out", out, "--epochs", 1)
    assert "expected at least 9 images for 32 clusters, got 3." in said
    assert "--clusters 9." in said  # of 2 x 7 x 7 positions, 10 each
    (few / "1.png").write_bytes((few / "1.png").read_bytes()[:200])
    assert "1.png" in refused(capsys, "--images", few, "--out", out)
    (few / "1.png").write_text("no image")
    assert "1.png" in refused(capsys, "--images", few, "--out", out)
    assert not out.parent.exists()


def test_images_that_are_all_alike(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, colours in (("same", (7, 7, 7)), ("flat", (7, 99, 200))):
        folder = tmp_path / name
        folder.mkdir()
        for k, colour in enumerate(colours):
            Image.fromarray(np.full((20, 30, 3), colour, np.uint8)).save(folder / f"{k}.png")
        said = refused(capsys, "--images", folder, "--out", tmp_path / "a.onnx", "--clusters", 4)
        assert ("all alike" if name == "same" else "one colour in each") in said


def test_masks_that_do_not_fit(
    draw: Draw, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = draw()
    masks = draw_masks(images, size=(31, 17))
    given = ("--images", images, "--masks", masks, "--out", tmp_path / "a.onnx", "--clusters", 4)
    assert "expected a mask of" in refused(capsys, *given)
    for path in masks.iterdir():
        Image.fromarray(np.zeros(size_of(images / path.name)[::-1], np.uint8)).save(path)
    assert "both an object and a background" in refused(capsys, *given)


def test_files_that_are_there_already(
    draw: Draw, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, out = draw(), tmp_path / "a.onnx"
    given = ("--images", images, "--clusters", 4, "--epochs", 0, "--out")
    assert "named *.onnx" in refused(capsys, *given, tmp_path / "a.pt")
    out.write_text("mine")
    assert "not there yet" in refused(capsys, *given, out)
    assert out.read_text() == "mine"
    out.unlink()
    part = part_of(out)
    for folder in (out, part):
        folder.mkdir()
        said = refused(capsys, *given, out, "--overwrite")
        assert f"expected a file to write, got a folder: {folder}. Choose" in said
        folder.rmdir()
    part.write_bytes(b"x" * 64)
    assert "damaged" in refused(capsys, *given, out)
    assert call(capsys, "features", "adapt", *given, out, "--overwrite", "--even-if-worse")[0] == 0
    assert not part.exists()


def test_a_file_that_is_there_is_seen_on_any_way_to_it(draw: Draw, tmp_path: Path) -> None:
    """'new/../a.onnx' would be 'a.onnx' as soon as the folder 'new' was made."""
    images, there = draw(), tmp_path / "a.onnx"
    there.write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "link.onnx").symlink_to(there)
    for around in ("new/../a.onnx", "images/../a.onnx", "link/a.onnx", "link.onnx", "./a.onnx"):
        with pytest.raises(InputError, match="not there yet"):
            adapt_features(images, f"{tmp_path}/{around}", Adaptation(epochs=0))
    assert there.read_text() == "mine"
    assert {path.name for path in tmp_path.iterdir()} == {"images", "a.onnx", "link", "link.onnx"}
    (tmp_path / "part.onnx.part").write_text("a checkpoint")
    with pytest.raises(InputError, match="damaged"):
        adapt_features(images, f"{tmp_path}/new/../part.onnx", Adaptation(epochs=0))


def test_arguments_of_another_type(draw: Draw, tmp_path: Path) -> None:
    given = {"images": draw(), "out": tmp_path / "a.onnx"}
    cases: dict[str, tuple[object, str]] = {
        "images": ([tmp_path], "the folder of images as a text or a Path, got "),
        "out": (None, "the file to write as a text or a Path, got None"),
        "masks": (3, "the folder of masks as a text or a Path, got 3"),
        "settings": ({"epochs": 1}, r"settings to be Adaptation\(...\) or None, got {'epochs': 1}"),
        "even_if_worse": ("no", "even_if_worse to be True or False, got 'no'"),
        "overwrite": (None, "overwrite to be True or False, got None"),
        "progress": (True, "progress to be a function or None, got True"),
        "cancel": (3, "cancel to be a function or None, got 3"),
        "device": (["cpu"], r"a device that is here, got \['cpu'\]"),
    }
    for name, (value, words) in cases.items():
        with pytest.raises(InputError, match=f"expected {words}"):
            adapt_features(**{**given, name: value})  # type: ignore[arg-type]
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


def test_a_checkpoint_of_another_adaptation(
    draw: Draw, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, out = draw(), tmp_path / "a.onnx"
    steps: list[object] = []
    with pytest.raises(CancelledError):
        adapt_features(*(images, out, SMALL), progress=steps.append, cancel=lambda: len(steps) == 2)
    given = ("--images", images, "--out", out, "--clusters", 4, "--views", "texture")
    given = (*given, "--epochs", 0)
    assert "expected at least 1 epoch, as many" in refused(capsys, *given)
    given = ("--images", images, "--out", out, "--clusters", 5, "--views", "texture")
    assert "got one that differs in clusters." in refused(capsys, *given)
    assert "differs in clusters, seed." in refused(capsys, *given, "--seed", 1)
    extra = np.random.default_rng(9).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(extra).save(images / "extra.png")
    given = ("--images", images, "--out", out, "--clusters", 4, "--views", "texture")
    assert "got one that differs in images." in refused(capsys, *given)


@pytest.mark.parametrize(
    ("option", "value"),
    [("--views", "sonar"), ("--minutes", "0"), ("--epochs", "-1"), ("--clusters", "1")],
)
def test_options_out_of_range(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, value: str
) -> None:
    given = ("--images", tmp_path, "--out", tmp_path / "a.onnx", option, value)
    assert f"expected {option.removeprefix('--')} to be" in refused(capsys, *given)


def test_another_action_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ("--images", tmp_path, "--out", tmp_path / "a.onnx")
    status, _, err = call(capsys, "features", "train", *given)
    assert status == 2
    assert err == "error: expected `iassa features adapt`, got 'train'. See --help.\n"
