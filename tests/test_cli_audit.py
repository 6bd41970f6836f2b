"""`iassa audit`: what is printed, the exit status, and its page in a browser."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from audited import SIZE, draw, draw_mask
from iassa.cli import main

CALLS = 60
CHROMIUM = shutil.which("chromium")
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for k, name in enumerate(("cat/0", "dog/1")):
        draw(Path(f"photos/{name}.png"), k)
        draw_mask(Path(f"masks/{name}.png"))
    return tmp_path


@pytest.fixture
def audit(capsys: pytest.CaptureFixture[str]) -> Run:
    """A command in this process: exit status, stdout, stderr."""

    def run_command(*arguments: object, model: str = "corners") -> tuple[int, str, str]:
        given = ["audit", "--images", "photos", "--run", "run", "--calls", CALLS, "--method"]
        given += ["rise", "--set", "debiased=True", "--model", f"audited:{model}", *arguments]
        with pytest.raises(SystemExit) as exit_:
            main([str(one) for one in given])
        said = capsys.readouterr()
        return int(exit_.value.code or 0), said.out, said.err

    return run_command


def test_the_page_is_printed_and_a_line_for_each_image(audit: Run) -> None:
    status, out, err = audit("--masks", "masks")
    assert (status, out) == (0, "run/index.html\n"), err
    lines = err.splitlines()
    assert lines[0].startswith("1/2 photos/cat/0.png: cat: 0.941, ")
    assert lines[0].endswith("off the object")
    assert lines[-1] == f"2 images, {2 * (CALLS + 2)} calls, in run"
    assert {path.name for path in Path("run").iterdir()} == {
        *("index.html", "gallery.json", "audit.csv", "classes.csv", "run.lock"),
        *("cat", "dog"),
    }
    assert audit("--masks", "masks", "--quiet") == (0, "run/index.html\n", "")


def test_json_has_all_that_was_found(audit: Run) -> None:
    status, out, _ = audit("--masks", "masks", "--json", "--pictures", "none")
    found = json.loads(out)
    assert status == 0
    assert [*found] == [
        *("run", "calls", "images", "classes", "shared", "failures", "left", "unlabelled")
    ]
    first = found["images"][0]
    assert first["interval"][0] <= first["off"] <= first["interval"][1]
    assert {one["name"]: one["right"] for one in found["images"]} == {
        "cat/0.png": True,
        "dog/1.png": False,
    }


def test_images_that_fail_are_told_last_and_the_others_are_done(audit: Run) -> None:
    Path("photos/bad.png").write_bytes(b"no picture")
    draw_mask(Path("masks/dog/1.png"), SIZE[::-1])
    draw(Path("photos/dog/2.png"), 2)
    status, out, err = audit("--masks", "masks")
    assert (status, out) == (1, "run/index.html\n")
    told = err.splitlines()[-5:]
    assert told[0] == "warning: 1 image without a mask: dog/2.png"
    assert told[2].startswith("error: photos/bad.png: expected an image, got a file that is no")
    assert told[3].startswith("error: photos/dog/1.png: expected a mask of 32 x 44 (height x width")
    assert told[4] == "error: 2 of 4 images failed. The same command tries them again."


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--images", "nowhere"], "expected a folder of images, got nowhere"),
        (["--masks", "masks", "--annotations", "a.json"], "expected --masks or --annotations"),
        (["--masks", "photos"], "expected two folders beside each other"),
        (["--calls", "3"], "expected a budget of at least"),
        (["--workers", "0"], "expected --workers from 1"),
        (["--classes", "nothing.json"], "nothing.json"),
        (["--set", "cells=3"], "cells"),
        (["--run", "photos"], "expected an audit apart from the images, got their folder photos. "),
        (["--masks", "masks", "--run", "masks/r"], "apart from the masks, got masks/r inside of m"),
    ],
)
def test_a_wrong_command_is_refused_in_a_line(audit: Run, arguments, message: str) -> None:
    status, out, err = audit(*arguments)
    assert (status, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1
    assert not Path("run").exists()


def test_another_run_folder_is_refused(audit: Run) -> None:
    audit("--masks", "masks")
    status, out, err = audit("--masks", "masks", model="objects")
    assert (status, out) == (2, "")
    assert err.startswith("error: expected the settings with which run began, got others: model.")
    assert err.endswith("choose another --run, or add --overwrite.\n")


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_the_page_in_a_browser(audit: Run, workplace: Path) -> None:
    from playwright.sync_api import sync_playwright

    for k in range(2, 8):
        draw(Path(f"photos/{'dog' if k % 2 else 'cat'}/{k}.png"), k)
    Path("photos/bad <b>.png").write_bytes(b"no picture")
    status, _, _ = audit("--masks", "masks", "--pictures", "none")
    assert status == 1
    shown = "[...document.querySelectorAll('.cards strong')].map(one => one.textContent)"
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 340, "height": 700})
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.goto((workplace / "run/index.html").as_uri())
        first = page.evaluate(shown)
        page.click("button[value=border]")
        by_border = page.evaluate(shown)
        borders = page.evaluate(
            "[...document.querySelectorAll('.cards li')].map(one => Number(one.dataset.border))"
        )
        page.click("button[value=worst]")
        again = page.evaluate(shown)
        width = page.evaluate("document.documentElement.scrollWidth")
        broken = page.evaluate(
            "[...document.images].filter(one => one.complete && !one.naturalWidth).length"
        )
        failed = page.inner_text(".failures")
        page.click(".cards li:first-child a")
        facts = page.inner_text("body")
        browser.close()
    assert said == []
    assert len(first) == 8
    assert first == again
    assert {*first[:2]} == {"cat/0.png", "dog/1.png"}  # the others have no mask
    assert (by_border, borders) == ([*by_border], sorted(borders, reverse=True))
    assert np.isclose(width, 340)
    assert broken == 0
    assert "bad <b>.png" in failed
    assert "Positive saliency off the object: " in facts
