"""Names from outside: what they do to a terminal, a page and a picture, which is to show."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.text import Text
from PIL import Image

from iassa.benchmark.report.columns import METRICS
from iassa.benchmark.report.figures import Panel, draw_panels, figure_bytes, styles
from iassa.benchmark.report.statistics import Estimate
from iassa.benchmark.report.trajectories import Trajectory
from iassa.cli import main
from iassa.errors import plain
from iassa.explanations.drawing import figure_png, overlay, sheet

TITLE, CLEAR, TURN = "\x1b]0;mine\x07", "\x1b[2J", "\u202egnp"
NAME = f"[red]ok{TITLE}{TURN}$a^b$"
SHOWN = r"[red]ok\x1b]0;mine\x07\u202egnp$a^b$"
MODEL = f"""
from iassa.models import FunctionModel
names = ("{NAME!s}", "[bold]{CLEAR}cow\\n")
hostile = FunctionModel(
    lambda images: images.mean((1, 2))[:, :2], name="[/red]{CLEAR}", class_names=names
)
"""


@given(st.text())
def test_what_is_plain_does_no_more_than_show(text: str) -> None:
    shown = plain(text)
    for letter in shown:
        assert unicodedata.category(letter)[0] not in "CZ" or letter in " \u200c\u200d"
    assert plain(shown) == shown
    assert len(shown) >= len(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a  b [red] \u00e9 \U0001f408", "a  b [red] \u00e9 \U0001f408"),
        ("a\nb\tc\r\u2028d\u00a0e", "a b c  d e"),
        ("\x1b[2J\x9b\x00\u2066\ud800", r"\x1b[2J\x9b\x00\u2066\ud800"),
        ("\u0645\u06cc\u200c\u062e", "\u0645\u06cc\u200c\u062e"),
    ],
)
def test_plain_by_hand(text: str, shown: str) -> None:
    assert plain(text) == shown


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a hostile image and a hostile model."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    monkeypatch.setenv("PYTHONIOENCODING", "utf-8")
    monkeypatch.setenv("COLUMNS", "200")
    Path("hostile.py").write_text(MODEL, "utf-8")
    (tmp_path / "images").mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (20, 28, 3), np.uint8)
    for name in (NAME, "plain"):
        Image.fromarray(noise).save(f"images/{name}.png")
    return tmp_path


def on_terminal(*arguments: str) -> str:
    """What a command writes to a terminal, of both streams."""
    main, other = pty.openpty()
    command = [sys.executable, "-m", "iassa", *arguments]
    with subprocess.Popen(command, stdout=other, stderr=other, stdin=other) as process:
        os.close(other)
        written = b""
        try:
            while part := os.read(main, 1 << 16):
                written += part
        except OSError:  # it has closed the terminal
            pass
    os.close(main)
    assert process.returncode in (0, 2), written
    return written.decode()


def check(written: str) -> None:
    for harm in (TITLE, CLEAR, TURN):
        assert harm not in written


@pytest.mark.usefixtures("workplace")
def test_names_on_a_terminal() -> None:
    options = ("--model", "hostile:hostile", "--method", "rise", "--calls", "40")
    written = on_terminal("explain", f"images/{NAME}.png", "--target", "top-2", *options)
    check(written)
    assert f"{SHOWN}: 0." in written  # the class
    assert r"[bold]\x1b[2Jcow: 0." in written
    assert r"40 calls of [/red]\x1b[2J on cpu" in written
    assert f"\x1b[2K{SHOWN}.png \x1b" in written  # the progress bar
    assert r"explanations/[red]ok_]0;mine_\u202egnp$a^b$/sheet.png" in written
    for bad in (["explain", "--none" + NAME], ["report", NAME]):
        written = on_terminal(*bad)
        check(written)
        assert SHOWN in written


def test_names_in_a_pipe_and_in_a_report(
    workplace: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The stored path is for programs, and stays as it is."""
    command = [sys.executable, "-m", "iassa", "benchmark", "images", "--images", "images"]
    command += ["--model", "hostile:hostile", "--methods", "rise", "--calls", "40"]
    command += ["--protocol", "pixels_per_step=200", "--target", NAME, "--run", f"run{TURN}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"run{TURN}\n"
    check(done.stderr)
    assert f"rise: {SHOWN}.png" in done.stderr
    with pytest.raises(SystemExit):
        main(["report", f"run{TURN}", "--images", "images"])
    folder = workplace / f"run{TURN}" / "report"
    written = capfd.readouterr()
    assert written.out == f"run{TURN}/report/report.md\nrun{TURN}/report/report.html\n"
    check(written.err)
    for name in ("report.md", "report.html"):
        text = (folder / name).read_text("utf-8")
        assert all(line.isprintable() for line in text.split("\n"))
        assert r"\x1b]0;mine\x07\u202egnp" in text.replace("\\]", "]")


def test_names_in_pictures() -> None:
    """A lone surrogate is in no font; a line that is turned shows another name."""
    name = f"{TURN}$a$\ud800\x00"
    shown = r"\u202egnp$a$\ud800\x00"
    square, flat = np.zeros((8, 9, 3), np.float32), np.zeros((1, 8, 9), np.float32)
    words = {"measures": "effect", "caption": name}
    for figure in (
        overlay(square, flat[0], title=name, **words),
        sheet(square, flat, names=[name], **words),
    ):
        texts = [text.get_text() for text in figure.findobj(Text)]
        assert texts.count(shown) == 2
        assert figure_png(figure)
    levels = {("image", "insertion"): [Estimate(0.5, 0.4, 0.6, 3, 3)]}
    panel = Panel(METRICS["insertion"], "image", "", "", [Trajectory(name, (1.0,), levels)])
    figure = draw_panels([panel], styles([name]))
    assert shown in [text.get_text() for text in figure.findobj(Text)]
    assert figure_bytes(figure, "png")
