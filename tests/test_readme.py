"""What the README and the pages say is run as it stands."""

import dataclasses
import itertools
import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

import iassa
from iassa.cli import main
from iassa.image import example_image, resize
from iassa.models.efficientnet_lite0 import exported_graph
from rounding import steps

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")


def page(path: str) -> str:
    return (ROOT / path).read_text("utf-8")


def blocks(path: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page(path), flags=re.DOTALL)


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a photograph and the files that the README makes up."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.round(example_image("cat") * 255).astype(np.uint8)).save("PHOTO.jpg")
    (tmp_path / "FILE.onnx").write_bytes(exported_graph().read_bytes())
    (tmp_path / "IMAGES").mkdir()
    shutil.copy("PHOTO.jpg", "IMAGES")
    outline = {"id": 1, "image_id": 1, "category_id": 17, "iscrowd": 0}
    outline["segmentation"] = [[120, 20, 330, 20, 330, 280, 120, 280]]
    annotations = {
        "images": [{"id": 1, "file_name": "PHOTO.jpg", "height": 300, "width": 451}],
        "categories": [{"id": 17, "name": "cat"}],
        "annotations": [outline],
    }
    (tmp_path / "instances.json").write_text(json.dumps(annotations))
    return tmp_path


def test_python_of_the_readme_runs(workplace: Path) -> None:
    (first,) = blocks("README.md", "python")
    names: dict[str, Any] = {}
    exec(compile(first, "README.md", "exec"), names)
    explanation = names["explanation"]
    assert explanation.saliency.shape == (2, 300, 451)
    assert explanation.calls == 600
    assert explanation.warnings == ()
    assert np.isfinite(explanation.saliency).all()
    assert names["tabby"].targets[0].name == "tabby"
    assert {path.name for path in (workplace / "explanations/cat").iterdir()} == {
        *("explanation.npz", "explanation.json", "evidence.npz"),
        *("overlay-0.png", "overlay-1.png", "sheet.png"),
    }
    assert (workplace / "cat.png").stat().st_size > 10_000


def test_the_page_on_python_runs(workplace: Path) -> None:
    names: dict[str, Any] = {}
    (watched,) = blocks("docs/python.md", "python")
    assert "tolerance=0.1," in watched
    few = watched.replace("tolerance=0.1,", "tolerance=0.1, calls=300,")
    exec(compile(few, "python.md", "exec"), names)
    assert names["explanation"].stopped in ("tolerance", "calls")

    anytime, followed, axes = (
        "\n".join(line[4:] for line in block.splitlines())
        for block in blocks("docs/python.md", "pycon")
    )
    assert "> 60:" in anytime
    exec(compile(anytime.replace("> 60:", "> 0:"), "python.md", "exec"), names)
    assert names["partial"].calls == 258
    names |= {"model": "efficientnet-lite0", "other": names["explanation"]}
    assert "calls=5000" in followed
    exec(compile(followed.replace("calls=5000", "calls=40"), "python.md", "exec"), names)
    assert names["explanation"].calls == 40
    exec(compile(axes, "python.md", "exec"), names)
    assert Path("maps.pdf").read_bytes().startswith(b"%PDF")

    (function,) = re.findall(r"`target=(lambda [^`]+)`", page("docs/python.md"))
    assert eval(function)(np.eye(3)).tolist() == [1, 1, 1]


def test_the_page_on_verifying_runs(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for line in "".join(blocks("docs/verify.md", "bash")).splitlines():
        words = shlex.split(line, comments=True)
        made = [{"500": "40", "100": "5"}.get(word, word) for word in words]
        made += [] if "export" in made else ["--pictures", "none"]
        with pytest.raises(SystemExit) as exit_:
            main(made[1:])
        assert exit_.value.code == 0, capsys.readouterr().err
    assert (workplace / "regions/instances.json").exists()
    (code,) = blocks("docs/verify.md", "python")
    names: dict[str, Any] = {}
    exec(compile(code.replace("calls=500", "calls=40"), "verify.md", "exec"), names)
    assert names["check"].calls <= 55
    assert "outlined" in capsys.readouterr().out
    assert {"check.npz", "overlay-0.png"} <= {
        one.name for one in Path("explanations/cat").iterdir()
    }


def test_python_of_the_benchmark_s_page_runs(workplace: Path) -> None:
    (code,) = blocks("docs/benchmark.md", "python")
    script = workplace / "script.py"
    quick = code.replace("(250, 500)", "(40,)").replace(
        "Contestant, run", "Contestant, Protocol, run"
    )
    assert "workers=2)" in quick
    coarse = "workers=2, protocol=Protocol(pixels_per_step=12544, gain_steps=2))"
    script.write_text(quick.replace("workers=2)", coarse))
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, check=True, cwd=workplace
    )
    assert "report.html" in done.stdout
    assert (workplace / "runs/mine/report/report.md").exists()


def test_the_page_on_targets_runs(
    workplace: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [str(workplace), *sys.path])
    for name, part in {"A": (0, 0), "B": (30, 60), "C": (0, 200)}.items():
        pixels = example_image("cat")[part[0] :, part[1] :]
        Image.fromarray(np.round(pixels * 255).astype(np.uint8)).save(f"{name}.jpg")
    module, agreeing, several, alike = blocks("docs/targets.md", "python")
    Path("mine.py").write_text(module)
    lines = [shlex.split(line) for line in "".join(blocks("docs/targets.md", "bash")).splitlines()]
    assert [line[:2] for line in lines] == [["iassa", "explain"]] * 4 + [["iassa", "extend"]] * 2
    for line in lines:
        calls = [] if "--target" in line and "extend" in line else ["--calls", "40"]
        with pytest.raises(SystemExit) as exit_:
            main([*line[1:], *calls])
        assert exit_.value.code == 0, capsys.readouterr().err
    names: dict[str, Any] = {"iassa": iassa, "torch": torch}
    exec(compile(agreeing, "targets.md", "exec"), names)
    sys.modules.pop("mine")
    _check_segmentation(names)
    exec(compile(several, "targets.md", "exec"), names)
    _check_labels(names)
    exec(compile(alike, "targets.md", "exec"), names)
    assert [target.indices for target in names["explanation"].targets] == [(0,), (0, 1)]


def test_the_page_on_torch_runs(
    workplace: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [str(workplace), *sys.path])
    config = ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=32,
        patch_size=8,
        id2label={0: "cat", 1: "cup", 2: "dog"},
    )
    ViTForImageClassification(config).save_pretrained("FOLDER")
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained("FOLDER")
    shapes = {"windows.weight": (8, 3, 5, 5), "windows.bias": (8,)}
    shapes |= {"head.weight": (3, 8), "head.bias": (3,)}
    random = torch.Generator().manual_seed(0)
    weights = {name: torch.randn(*shape, generator=random) for name, shape in shapes.items()}
    torch.save(weights, "weights.pt")
    (module,) = blocks("docs/torch.md", "python")
    Path("mine.py").write_text(module)
    lines = [shlex.split(line) for line in "".join(blocks("docs/torch.md", "bash")).splitlines()]
    for line, model in zip(lines, ("Network", "FOLDER", "FOLDER"), strict=True):
        words = [word.replace("google/vit-base-patch16-224", "FOLDER") for word in line[1:]]
        with pytest.raises(SystemExit) as exit_:
            main([*words, "--calls", "40", "--method", "rise", "--overwrite"])
        said = capsys.readouterr().err
        assert exit_.value.code == 0, said
        assert "training mode" not in said
        assert iassa.Explanation.load("explanations/PHOTO").model == model
    # By hand: windows of 5 x 5 pixels every 4, and the mean of what is positive in them.
    images = np.random.default_rng(0).random((2, 96, 128, 3)).astype(np.float32)
    scores = sys.modules.pop("mine").model(images)
    seen = (images.astype(np.float64) - 0.45) / 0.225
    windows = np.lib.stride_tricks.sliding_window_view(seen, (5, 5), (1, 2))[:, ::4, ::4]
    found = np.einsum("nyxcij,fcij->nyxf", windows, weights["windows.weight"].double().numpy())
    means = np.maximum(found + weights["windows.bias"].numpy(), 0).mean((1, 2))
    powers = np.exp(means @ weights["head.weight"].numpy().T + weights["head.bias"].numpy())
    np.testing.assert_allclose(
        scores, powers / powers.sum(1, keepdims=True), rtol=1e-4, atol=steps(8, 1.0)
    )


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


def test_the_torch_module_of_the_page_is_wrapped() -> None:
    pattern = r"`(iassa\.models\.TorchModel\(.*?\))`"
    (expression,) = re.findall(pattern, page("docs/python.md"), flags=re.DOTALL)
    network = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    here = expression.replace('"cuda"', '"cpu"')
    black_box = eval(here, {"iassa": iassa, "network": network})
    scores = black_box(np.random.default_rng(0).random((2, 30, 20, 3)).astype(np.float32))
    np.testing.assert_allclose(scores.sum(axis=1), 1, rtol=1e-5)


def commands() -> list[list[str]]:
    """What the README and two pages have one type, but `make` and the name of the program."""
    pages = ("README.md", "docs/command-line.md", "docs/methods.md")
    typed = "".join(block for path in pages for block in blocks(path, "bash"))
    words = [shlex.split(line, comments=True) for line in typed.splitlines()]
    assert {line[0] for line in words} <= {"make", "iassa", ".venv/bin/iassa"}
    return [line[1:] for line in words if line[0] != "make"]


def test_commands_of_the_readme_run(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert [line[0] for line in commands()] == [
        *("explain", "extend", "explain", "benchmark", "report"),
        *("explain", "extend", "extend"),
        *("explain", "explain", "explain"),
        *("models", "models", "methods", "methods"),
        "explain",
    ]
    for folder in ("FOLDER", "photos/there"):
        Path(folder).mkdir(parents=True)
        shutil.copy("PHOTO.jpg", folder)
    maps = iassa.models.onnx_feature_names("FILE.onnx")
    tensors = f"{maps[16][-1]},{maps[32][-1]}"
    for line in commands():
        made = [word.replace("relu_1,relu_4", tensors) for word in line]
        if "--ray" in made:  # tests/test_benchmark_ray.py has a cluster
            made = [word for word in made if word not in ("--ray", "auto")]
        if line[0] == "benchmark":
            made += ["--protocol", "pixels_per_step=12544", "--protocol", "gain_steps=2"]
        free = line[0] in ("report", "models", "methods") or (
            line[0] == "extend" and "--target" in line
        )
        made += [] if free else ["--calls", "40"]  # the last --calls counts
        made += ["--overwrite"] if line[0] == "explain" else []
        with pytest.raises(SystemExit) as exit_:
            main(made)
        assert exit_.value.code == 0, capsys.readouterr().err
    explanation = iassa.Explanation.load("explanations/PHOTO")
    assert explanation.method["fields"]["features"].startswith("FILE.onnx:")
    for gallery in ("explanations/FOLDER", "explanations/photos", "gallery"):
        assert "PHOTO.jpg" in (workplace / gallery / "index.html").read_text("utf-8")
    assert "| iassa | 40 |" in (workplace / "runs/coco/report/report.md").read_text("utf-8")


def test_options_fields_and_methods_of_the_pages_are_there(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    for command in ("explain", "app"):
        with pytest.raises(SystemExit):
            main([command, "--help"])
    known = capsys.readouterr().out
    pages = ("docs/command-line.md", "docs/methods.md", "docs/engine.md", "docs/app.md")
    spoken = README + "".join(map(page, pages))
    options = set(re.findall(r"`(--[a-z-]+)", spoken))
    assert options >= {"--target", "--tolerance", "--keep", "--baseline", "--set"}
    assert [option for option in options if option not in known] == []
    fields = {
        f.name for method in iassa.methods.METHODS.values() for f in dataclasses.fields(method)
    }
    used = set(re.findall(r"`(?:--set )?([a-z_]+)=", spoken)) - {"target", "keep_scores", "calls"}
    assert used >= {"adapt_keep_probability", "debiased", "segmentation"}
    assert used <= fields
    assert set(re.findall(r"^\| \[`([a-z-]+)`\]", spoken, flags=re.MULTILINE)) == set(
        iassa.methods.METHODS
    )


def test_links_of_the_readme_lead_somewhere() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert len(links) > 8
    assert [link for link in links if not (ROOT / link).exists()] == []
    headings = {
        re.sub(r"[^a-z -]", "", line.lower()).replace(" ", "-")
        for line in re.findall(r"^## (.*)$", README, re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", README)) <= headings
    for path, heading in re.findall(r"\]\((docs/[^)#]+)#([^)]+)\)", README):
        titles = re.findall(r"^## (.*)$", (ROOT / path).read_text("utf-8"), re.MULTILINE)
        assert heading in [title.lower().replace(" ", "-") for title in titles]
    for page in (ROOT / "docs").rglob("*.md"):
        links = re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text("utf-8"))
        assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_mandatory_dependency_has_its_line() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    named = {re.split(r"[><=]", text)[0] for text in project["dependencies"]}
    table = README.split("## What it needs, and why")[1].split("Extras:")[0]
    listed = set(re.findall(r"[a-z0-9_-]+", " ".join(re.findall(r"^\| ([^|]+) \|", table, re.M))))
    assert named == listed - {"package"} - {w for w in listed if set(w) == {"-"}}


def test_every_dependency_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    wanted = [*project["dependencies"], *itertools.chain.from_iterable(extras)]
    pins = (ROOT / "constraints.txt").read_text("utf-8").lower().replace("_", "-")
    missing = []
    for text in wanted:
        name = re.split(r"[><=]", text)[0].lower().replace("_", "-")
        if not re.search(rf"^{re.escape(name)}==", pins, re.M):
            missing.append(name)
    assert missing == []
