"""What the blocks of a page leave is right: names, files, what was printed."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

import iassa
import pages
from iassa.image import resize
from rounding import steps


def _readme(names: dict[str, Any], place: Path, _: Any) -> None:
    explanation = names["explanation"]
    assert explanation.saliency.shape == (2, 300, 451)
    assert explanation.calls == 50 + 10
    assert np.isfinite(explanation.saliency).all()
    assert names["tabby"].targets[0].name == "tabby"
    assert {path.name for path in (place / "explanations/cat").iterdir()} == {
        *("explanation.npz", "explanation.json", "evidence.npz"),
        *("overlay-0.png", "overlay-1.png", "sheet.png"),
    }
    assert (place / "cat.png").stat().st_size > 10_000
    assert "PHOTO.jpg" in (place / "explanations/FOLDER/index.html").read_text("utf-8")
    assert "| iassa | 60 |" in (place / "runs/coco/report/report.md").read_text("utf-8")


def _command_line(_: Any, place: Path, __: Any) -> None:
    for gallery in ("explanations/photos", "gallery"):
        assert "PHOTO.jpg" in (place / gallery / "index.html").read_text("utf-8")


def _methods(_: Any, __: Path, ___: Any) -> None:
    explanation = iassa.Explanation.load("explanations/PHOTO")
    assert explanation.method["fields"]["features"].startswith("FILE.onnx:")


def _python(names: dict[str, Any], place: Path, _: Any) -> None:
    assert names["partial"].calls == 60
    assert names["explanation"].stopped in ("tolerance", "calls")
    assert (place / "maps.pdf").read_bytes().startswith(b"%PDF")
    text = (pages.ROOT / "docs/python.md").read_text("utf-8")
    (function,) = re.findall(r"`target=(lambda [^`]+)`", text)
    assert eval(function)(np.eye(3)).tolist() == [1, 1, 1]
    (wrapped,) = re.findall(r"`(iassa\.models\.TorchModel\(.*?\))`", text, re.DOTALL)
    network = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    black_box = eval(wrapped.replace('"cuda"', '"cpu"'), {"iassa": iassa, "network": network})
    scores = black_box(np.random.default_rng(0).random((2, 30, 20, 3)).astype(np.float32))
    np.testing.assert_allclose(scores.sum(axis=1), 1, rtol=1e-5)


def _verify(names: dict[str, Any], place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert names["check"].calls <= 55
    assert "outlined" in capsys.readouterr().out
    assert (place / "regions/instances.json").exists()
    there = {one.name for one in (place / "explanations/cat").iterdir()}
    assert {"check.npz", "overlay-0.png"} <= there


def _benchmark(_: Any, place: Path, __: Any) -> None:
    for run, said in {"mine": "| iassa | 50 |", "coco": "iassa at 50 against rise at 60"}.items():
        assert said in (place / f"runs/{run}/report/report.md").read_text("utf-8")


def _detectors(names: dict[str, Any], _: Path, capsys: pytest.CaptureFixture[str]) -> None:
    explanation = names["explanation"]
    assert explanation.saliency.shape == (1, 341, 512)
    assert explanation.target_boxes.names[0] == "cup"
    assert "\ncup [" in capsys.readouterr().out
    assert names["mine"].targets[0].name == "box"


def _zero_shot(names: dict[str, Any], _: Path, __: Any) -> None:
    scores = names["model"](np.random.default_rng(1).random((2, 40, 56, 3), np.float32))
    assert scores.shape == (2, 2)
    np.testing.assert_allclose(scores.sum(axis=1), 1, rtol=1e-5)


def _torch(_: Any, place: Path, __: Any) -> None:
    """By hand: windows of 5 x 5 pixels every 4, and the mean of what is positive in them."""
    weights = torch.load(place / "weights.pt", weights_only=True)
    images = np.random.default_rng(0).random((2, 96, 128, 3)).astype(np.float32)
    scores = sys.modules["mine"].model(images)
    seen = (images.astype(np.float64) - 0.45) / 0.225
    windows = np.lib.stride_tricks.sliding_window_view(seen, (5, 5), (1, 2))[:, ::4, ::4]
    found = np.einsum("nyxcij,fcij->nyxf", windows, weights["windows.weight"].double().numpy())
    means = np.maximum(found + weights["windows.bias"].numpy(), 0).mean((1, 2))
    powers = np.exp(means @ weights["head.weight"].numpy().T + weights["head.bias"].numpy())
    np.testing.assert_allclose(
        scores, powers / powers.sum(1, keepdims=True), rtol=1e-4, atol=steps(8, 1.0)
    )


def _targets(names: dict[str, Any], _: Path, __: Any) -> None:
    _check_segmentation(names)
    _check_labels(names)
    assert [target.indices for target in names["alike"].targets] == [(0,), (0, 1)]


def _check_segmentation(names: dict[str, Any]) -> None:
    explanation, image = names["explanation"], names["image"]
    # By hand: each output is of its 4 x 4 pixels alone, so a map is of the region and no more.
    seen = resize(torch.from_numpy(image).permute(2, 0, 1), (56, 84)).numpy()
    logits = (8 * seen[0] - 8 * seen[2] - 4).reshape(14, 4, 21, 4).mean((1, 3))
    assert explanation.scores[0] == pytest.approx(logits[1:9, 6:15].mean(), rel=1e-4)
    assert explanation.scores[1] == 1
    np.testing.assert_array_equal(names["whole"], logits > 0)
    assert 0.2 < names["whole"].mean() < 0.8
    cup, agreement = explanation.saliency
    inside = np.zeros(cup.shape, bool)
    inside[400 * 1 // 14 : 400 * 9 // 14, 600 * 6 // 21 : 600 * 15 // 21] = True
    assert np.abs(cup[inside]).mean() > 4 * np.abs(cup[~inside]).mean()
    assert agreement[~inside].max() > 0.3 * agreement.max()  # it is about the whole prediction


def _check_labels(names: dict[str, Any]) -> None:
    explanation, tags = names["several"], names["tags"]
    (scores,) = tags(names["image"][None])
    grid = names["image"].reshape(25, 16, 600, 3)[:, :, :592].reshape(25, 16, 37, 16, 3)
    cells = grid.mean((1, 3)).reshape(-1, 3)
    logits = cells @ np.array([[6.0, 0, -6], [-4, -4, -4], [-8, 12, -4]]).T + [-3, 3, -1]
    np.testing.assert_allclose(scores, 1 / (1 + np.exp(-logits.max(0))), rtol=1e-4)
    warm, dark, green = scores.astype(float)
    top = sorted({"warm": warm, "dark": dark, "green": green}.items(), key=lambda one: -one[1])[:2]
    expected = [*top, ("warm + green", warm + green), ("warm vs dark", warm - dark)]
    expected.append(("warm_or_green", warm + green - warm * green))
    found = zip(explanation.targets, explanation.scores, strict=True)
    for (target, score), (name, value) in zip(found, expected, strict=True):
        assert (target.name, score) == (name, pytest.approx(value, rel=1e-4))
    assert np.isfinite(explanation.saliency).all()


def _tensorboard(_: Any, place: Path, __: Any) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(place / "runs/PHOTO"), size_guidance={"images": 0})
    read.Reload()
    errors = read.Scalars("relative error")
    assert [one.step for one in errors] == [one.step for one in read.Images("map")]
    assert errors[-1].step == 60
    assert errors[-1].value > 0


def _mlflow(names: dict[str, Any], _: Path, __: Any) -> None:
    import mlflow

    run = mlflow.get_run(names["run"].info.run_id)
    assert run.data.metrics["score_0"] == pytest.approx(names["explanation"].scores[0])
    assert run.data.metrics["calls"] == 50
    folder = mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path="iassa")
    assert iassa.Explanation.load(folder).targets == names["explanation"].targets


def _wandb(_: Any, place: Path, __: Any) -> None:
    (run,) = (place / "wandb").glob("offline-run-*")
    assert list(run.glob("*.wandb"))
    logged = {one.read_bytes() for one in (run / "files").rglob("*.png")}
    assert logged == {one.read_bytes() for one in Path("explanations/PHOTO").glob("overlay-*.png")}


def _label_studio(names: dict[str, Any], place: Path, _: Any) -> None:
    """The polygons fill what the region has, by Pillow's own filling."""
    ((task),) = json.loads((place / "tasks.json").read_text())
    (prediction,) = task["predictions"]
    height, width = region = names["explanation"].region(share=0.1).shape
    filled = Image.new("1", (8 * width, 8 * height))
    for one in prediction["result"]:
        assert (one["original_width"], one["original_height"]) == (451, 300)
        outline = np.array(one["value"]["points"]) / 100 * (8 * width, 8 * height)
        ImageDraw.Draw(filled).polygon([tuple(point) for point in outline], fill=1)
    found = np.asarray(filled).reshape(height, 8, width, 8).mean((1, 3)) > 0.5
    assert (found != names["explanation"].region(share=0.1)).mean() < 0.002, region


def _cvat(names: dict[str, Any], place: Path, _: Any) -> None:
    """The run lengths, read by hand, are the region; so are those of the COCO file."""
    (mask,) = ElementTree.parse(place / "annotations.xml").iter("mask")
    lengths = [int(one) for one in mask.attrib["rle"].split(",")]
    inside = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
    top, left, height, width = (int(mask.attrib[k]) for k in ("top", "left", "height", "width"))
    found = np.zeros((300, 451), bool)
    found[top : top + height, left : left + width] = inside.reshape(height, width)
    region = names["explanation"].region(share=0.1, full_size=True)
    np.testing.assert_array_equal(found, region)
    coco = json.loads((place / "explanations/PHOTO/coco/instances.json").read_text())
    assert sum(one["area"] for one in coco["annotations"]) <= region.sum()


def _kserve(names: dict[str, Any], _: Path, __: Any) -> None:
    (made,) = names["answer"]["explanations"]
    assert np.isfinite(made["saliency"]).all()
    assert np.shape(made["saliency"]) == (300, 451)


def _bentoml(names: dict[str, Any], _: Path, __: Any) -> None:
    assert names["answer"]["target"] == "Egyptian cat"
    assert len(names["job"]) > 8
    assert np.shape(names["answer"]["boxes"])[1] == 4


def _fiftyone(names: dict[str, Any], _: Path, __: Any) -> None:
    (sample,) = names["samples"]
    assert sample["iassa"].map.shape == (300, 451)
    for field in ("iassa", "iassa_error"):
        low, high = sample[field].range
        assert np.isfinite(sample[field].map).all()
        assert low <= sample[field].map.min() <= sample[field].map.max() <= high


RIGHT: dict[str, Callable[[dict[str, Any], Path, Any], None]] = {
    "README.md": _readme,
    "docs/benchmark.md": _benchmark,
    "docs/command-line.md": _command_line,
    "docs/detectors.md": _detectors,
    "docs/methods.md": _methods,
    "docs/notebooks/zero-shot.md": _zero_shot,
    "docs/python.md": _python,
    "docs/recipes/bentoml.md": _bentoml,
    "docs/recipes/cvat.md": _cvat,
    "docs/recipes/fiftyone.md": _fiftyone,
    "docs/recipes/kserve.md": _kserve,
    "docs/recipes/label-studio.md": _label_studio,
    "docs/recipes/mlflow.md": _mlflow,
    "docs/recipes/tensorboard.md": _tensorboard,
    "docs/recipes/wandb.md": _wandb,
    "docs/targets.md": _targets,
    "docs/torch.md": _torch,
    "docs/verify.md": _verify,
}
