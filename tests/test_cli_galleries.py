"""`iassa explain` of a folder: real images, workers and folders; killed, gone on, refused."""

from __future__ import annotations

import hashlib
import html
import json
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

import iassa
from iassa.cli import main

CALLS = 60
NAMES = ("a.png", "b.png", "sub/c.png")
Run = Callable[..., tuple[int, str, str]]


def draw(name: str, seed: int = 0, size: tuple[int, int] = (40, 56)) -> None:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(name)


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with three photographs, and a file that counts what the black box is asked."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("COUNT", str(tmp_path / "count"))
    monkeypatch.setenv("MOOD", str(tmp_path / "mood"))
    for seed, name in enumerate(NAMES):
        draw(f"photos/{name}", seed, (36 + seed, 50))
    return tmp_path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """A command in this process: exit status, stdout, stderr."""

    def run_command(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exit_:
            main([str(one) for one in arguments])
        said = capsys.readouterr()
        return int(exit_.value.code or 0), said.out, said.err

    return run_command


@pytest.fixture
def explain(run: Run) -> Run:
    def explain_quickly(*arguments: object, model: str = "counted", calls: int = CALLS):
        options = ["--model", f"working:{model}", "--method", "rise", "--calls", calls]
        return run("explain", *arguments, *options)

    return explain_quickly


def asked() -> int:
    """How many images the black box was asked about, since the last time."""
    path = Path(os.environ["COUNT"])
    number = len(path.read_text()) if path.exists() else 0
    path.unlink(missing_ok=True)
    return number


def results(folder: str) -> list[str]:
    """The folders with a saved explanation."""
    return sorted(
        path.parent.relative_to(folder).as_posix()
        for path in Path(folder).rglob("*.json")
        if path.name == "explanation.json"
    )


def done(folder: str | Path) -> list[Path]:
    """The folders of the images that are done: their `entry.json` is no mark alone."""
    return [
        path.parent for path in Path(folder).rglob("entry.json") if "record" in path.read_text()
    ]


def state(folder: str | Path) -> dict[str, str]:
    """A digest of the record of each image that is done: it holds the seconds of its run."""
    return {
        str(place): hashlib.sha256((place / "explanation.json").read_bytes()).hexdigest()
        for place in done(folder)
    }


def refused(outcome: tuple[int, str, str]) -> str:
    status, out, err = outcome
    assert (status, out) == (2, ""), err
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1, err
    return err


# What is made.


@pytest.mark.parametrize("workers", [1, 2])
def test_a_gallery_is_what_explain_makes_of_each_image(
    explain: Run, run: Run, workers: int
) -> None:
    status, out, err = explain("photos", "--workers", workers, "--target", "top-2")
    assert (status, out) == (0, "explanations/photos/index.html\n"), err
    assert err.splitlines()[-1] == "3 of 3 images, 3 of them new, in explanations/photos"
    assert "/3 photos/sub/c.png: " in err
    assert results("explanations/photos") == ["a", "b", "sub/c"]
    options = {"target": "top-2", "method": "rise", "calls": CALLS}
    for name in NAMES:
        place = Path("explanations/photos") / name.removesuffix(".png")
        found = iassa.Explanation.load(place)
        wanted = iassa.explain(Path("photos") / name, "working:brightness", **options)
        np.testing.assert_array_equal(found.saliency, wanted.saliency)
        np.testing.assert_array_equal(found.standard_error, wanted.standard_error)
        assert (found.source, found.calls) == (f"photos/{name}", CALLS)
        assert {path.name for path in place.iterdir()} == {
            *("explanation.json", "explanation.npz", "evidence.npz"),
            *("overlay-0.png", "overlay-1.png", "sheet.png"),
            *("entry.json", "index.html", "thumbnail.jpg"),
        }
    page = Path("explanations/photos/index.html").read_text()
    assert [f'href="{place}/index.html"' in page for place in ("a", "b", "sub/c")] == [True] * 3
    # The evidence is that of any explanation: go on from it.
    assert run("extend", "explanations/photos/a", "--target", "0")[0] == 0


def test_what_is_done_is_not_done_again(explain: Run) -> None:
    explain("photos", "--out", "g")
    once = asked()
    before = state("g")
    draw("photos/d.png", 7)
    status, _, err = explain("photos", "--out", "g", "--workers", 2)
    assert status == 0
    assert "4 of 4 images, 1 of them new, in g" in err
    assert state("g").items() > before.items()
    # One more call for each process that opens the model.
    assert 0 <= asked() - once // 3 <= 3
    assert explain("photos/*.png", "--out", "g")[0] == 0  # their names begin where they lie
    assert state("g").items() > before.items()
    assert asked() <= 2


def test_what_was_deleted_is_made_anew_alone(explain: Run) -> None:
    explain("photos", "--out", "g")
    before = state("g")
    Path("g/b/overlay-0.png").unlink()
    for path in Path("g/sub/c").iterdir():
        path.unlink()
    _, _, err = explain("photos", "--out", "g")
    assert "3 of 3 images, 2 of them new" in err
    after = state("g")
    assert [key for key in before if before[key] == after[key]] == ["g/a"]


def test_an_extended_or_verified_explanation_stays_and_is_shown(explain: Run, run: Run) -> None:
    explain("photos", "--out", "g", model="brightness")
    assert run("extend", "g/a", "--calls", 40, "--model", "working:brightness")[0] == 0
    assert run("verify", "g/b", "--model", "working:brightness")[0] == 0
    before = state("g")
    _, _, err = explain("photos", "--out", "g", model="brightness")
    assert "3 of 3 images, 0 of them new" in err
    assert state("g") == before
    assert iassa.Explanation.load("g/a").calls == CALLS + 40
    assert f"{CALLS + 40} in " in Path("g/a/index.html").read_text()
    checked = iassa.Explanation.load("g/b").check
    assert checked is not None
    assert html.escape(checked.lines()[0]) in Path("g/b/index.html").read_text()


def test_pictures_of_a_gallery(explain: Run) -> None:
    explain("photos/a.png", "photos/b.png", "--workers", 2, "--pictures", "none", "--out", "g")
    assert {path.name for path in Path("g/a").iterdir()} == {
        *("explanation.json", "explanation.npz", "evidence.npz"),
        *("entry.json", "index.html", "thumbnail.jpg"),
    }
    assert 'src="thumbnail.jpg"' in Path("g/a/index.html").read_text()


def test_json_has_a_line_for_each_image_done_before_or_now(explain: Run) -> None:
    explain("photos/*.png", "--out", "g", "--quiet")
    status, out, err = explain("photos/*.png", "photos/sub", "--out", "h", "--json", "--quiet")
    assert (status, err) == (0, "")
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["image"]["path"] for line in lines] == [f"photos/{name}" for name in NAMES]
    assert lines[2] == json.loads(Path("h/sub/c/explanation.json").read_text())
    assert explain("photos", "--out", "h", "--json", "--quiet")[1] == out


def test_similarity_with_workers(run: Run) -> None:
    command = ["explain", "photos", "--similar-to", "photos/a.png", "--model", "working:brightness"]
    options = ["--method", "rise", "--calls", CALLS, "--quiet", "--workers"]
    for workers in (1, 2):
        assert run(*command, *options, workers, "--out", f"g{workers}") == (
            *(0, f"g{workers}/index.html\n"),
            "",
        )
    one, two = (iassa.Explanation.load(f"g{k}/b") for k in (1, 2))
    np.testing.assert_array_equal(one.saliency, two.saliency)
    assert one.identity == two.identity


# Bad input.


@pytest.mark.parametrize("workers", [1, 2])
def test_images_that_cannot_be_read_are_listed_at_the_end(explain: Run, workers: int) -> None:
    Path("photos/bad.png").write_text("no image")
    Path("photos/empty.jpg").touch()
    Path("photos/gone.gif").symlink_to("nowhere")
    status, out, err = explain("photos", "--out", "g", "--workers", workers)
    assert (status, out) == (1, "g/index.html\n")
    last = err.splitlines()[-4:]
    assert [line.partition(":")[0] for line in last] == ["error"] * 4
    assert {line.split(": ")[1] for line in last[:3]} == {
        *("photos/bad.png", "photos/empty.jpg", "photos/gone.gif"),
    }
    assert last[3] == "error: 3 of 6 images failed. The same command tries them again."
    assert results("g") == ["a", "b", "sub/c"]
    page = Path("g/index.html").read_text()
    assert "3 images of 6" in page
    assert page.count("<dt>") == 3
    draw("photos/bad.png")
    status, _, err = explain("photos", "--out", "g", "--quiet")
    assert (status, len(err.splitlines())) == (1, 3)


def test_no_image_that_can_be_read(explain: Run) -> None:
    for name in NAMES:
        Path(f"photos/{name}").write_text("no")
    status, out, err = explain("photos", "--quiet")
    assert (status, out) == (2, "explanations/photos/index.html\n")
    assert len(err.splitlines()) == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["empty"], "expected images in empty, got no file named .bmp"),
        (["photos/*.tif"], "expected images named photos/*.tif, got no such file"),
        (["photos", "--workers", "0"], "expected --workers from 1 to 1000, got 0"),
        (["--example", "cat", "--workers", "2"], "expected --workers and --ray with images"),
        (["photos", "--box", "1,2,30,40"], "expected one image with --box, got 3"),
        (["photos", "--out", "file"], "cannot write to file"),
        (["photos", "--out", "file/below"], "cannot write to file/below"),
        (["photos", "--out", "/proc/self/fd/none"], "cannot write to /proc/self/fd/none"),
        (["photos", "--out", "own"], "expected own without an index.html of yours"),
        (["photos", "--out", "saved"], "got that of a saved explanation: saved"),
        (["photos", "--out", "bench"], "got that of a benchmark: bench"),
        (["photos", "--ray", "127.0.0.1:1"], "cannot reach a Ray cluster"),
    ],
)
def test_what_is_refused(explain: Run, arguments: list[str], message: str) -> None:
    for name in ("empty/notes.txt", "file", "own/index.html", "saved/explanation.json"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text("mine")
    Path("bench").mkdir()
    Path("bench/run.sqlite").touch()
    before = {str(path): path.stat().st_mtime_ns for path in Path().rglob("*") if path.is_file()}
    if "--ray" in arguments:
        pytest.importorskip("ray")
    assert message in refused(explain(*arguments))
    assert asked() <= 1  # its outputs are counted
    for path, then in before.items():
        assert Path(path).stat().st_mtime_ns == then
    assert not Path("explanations").exists() or "--ray" in arguments


def test_a_folder_without_the_right_to_write(explain: Run) -> None:
    Path("locked").mkdir()
    Path("locked").chmod(0o500)
    if os.access("locked", os.W_OK):
        pytest.skip("this user may write anywhere")
    assert "cannot write to locked" in refused(explain("photos", "--out", "locked/g"))


def test_the_same_file_twice_is_explained_once(explain: Run) -> None:
    status, _, err = explain("photos", "photos/sub/../a.png", "--out", "g", calls=30)
    assert status == 0
    assert "warning: photos/sub/../a.png is named more than once. It is explained once." in err
    assert "3 of 3 images" in err
    # Files alone are as before: the name is the folder of the result.
    assert "different names" in refused(explain("photos/a.png", "photos/a.png"))


def test_what_no_image_can_be_explained_with_is_one_line(explain: Run) -> None:
    options = {"--seed": -1, "--seconds": 0, "--tolerance": 2, "--batch-size": 0}
    for option, wrong in options.items():
        assert str(wrong) in refused(explain("photos", "--out", "g", option, wrong))
    assert "calls" in refused(explain("photos", "--out", "g", calls=3))
    assert (asked(), Path("g").exists()) == (0, False)


def test_one_failure_of_many_images_is_told_once(explain: Run) -> None:
    status, _, err = explain("photos", "--out", "g", "--target", "nonsense")
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert status == 2
    assert errors[0].startswith("error: photos/a.png, photos/b.png, photos/sub/c.png: expected a ")
    assert errors[1:] == ["error: 3 of 3 images failed. The same command tries them again."]


def test_nothing_else_goes_into_the_folder_of_a_gallery(explain: Run, run: Run) -> None:
    assert explain("photos", "--out", "g")[0] == 0
    before = state("g")
    assert "that of a gallery: g" in refused(explain("photos/a.png", "--out", "g"))
    others = ["--model", "working:counted", "--calls", CALLS]
    benchmark = run("benchmark", "images", "--images", "photos", "--run", "g", *others)
    assert "expected a folder for a benchmark" in refused(benchmark)
    assert state("g") == before
    assert "0 of them new" in explain("photos", "--out", "g")[2]


def test_a_gallery_of_other_settings_is_refused(explain: Run, run: Run) -> None:
    explain("photos", "--out", "g")
    before = state("g")
    asked()
    others: list[tuple[list[object], dict, str]] = [
        ([], {"calls": 70}, "calls: 60 in the run, 70 asked for"),
        (["--seed", 1], {}, "seed: 0 in the run, 1 asked for"),
        (["--target", "0"], {}, "target: "),
        (["--set", "grid_size=5"], {}, "method.fields.grid_size: 7 in the run, 5 asked for"),
        (["--white", 255], {}, "white: null in the run, 255.0 asked for"),
        ([], {"model": "brightness"}, "model.identity: "),
        (["--pictures", "none"], {}, 'pictures: "all" in the run, "none" asked for'),
        (["--verify"], {}, "verify: "),
    ]
    for more, changes, told in others:
        said = refused(explain("photos", "--out", "g", *more, **changes))
        assert told in said
        assert "--overwrite" in said
    assert asked() <= 20
    assert state("g") == before
    status, _, err = explain("photos", "--out", "g", "--overwrite", calls=70)
    assert (status, "3 of them new" in err) == (0, True)
    assert iassa.Explanation.load("g/a").calls == 70
    assert "0 of them new" in explain("photos", "--out", "g", "--overwrite", calls=70)[2]


def test_settings_may_change_until_something_is_done(explain: Run) -> None:
    Path("mood").touch()
    assert explain("photos", "--out", "g", model="broken")[0] == 2
    assert explain("photos", "--out", "g")[0] == 0


def test_an_image_that_changed_is_not_written_over(explain: Run) -> None:
    explain("photos", "--out", "g")
    draw("photos/b.png", 9)
    before = state("g")
    status, _, err = explain("photos", "--out", "g")
    assert status == 1
    assert "error: photos/b.png: expected g/b to be free or of the same image" in err
    assert state("g") == before
    assert explain("photos", "--out", "g", "--overwrite")[0] == 0
    after = state("g")
    assert [key for key in before if before[key] != after[key]] == ["g/b"]


def test_results_and_files_of_yours_stay(explain: Run) -> None:
    assert explain("photos/b.png", "--out", "g/a")[0] == 0  # where that of a.png would go
    draw("g/b/thumbnail.jpg")
    Path("g/sub").mkdir()
    Path("g/sub/c").write_text("a file")
    status, _, err = explain("photos", "--out", "g", "--quiet")
    assert status == 2
    for text in (
        "differs in image",
        "of yours that have names of ours, got thumbnail.jpg",
        "expected a folder, got the file g/sub/c",
    ):
        assert text in err
    assert sorted(path.name for path in Path("g/b").iterdir()) == ["thumbnail.jpg"]


def test_another_explanation_in_the_place_of_one_that_is_done_stays(explain: Run) -> None:
    explain("photos", "--out", "g")
    assert explain("photos/b.png", "--out", "g/a", "--overwrite")[0] == 0
    before = state("g")
    status, _, err = explain("photos", "--out", "g")
    assert (status, "expected g/a to be free or of the same image" in err) == (1, True)
    assert state("g") == before


def test_one_process_at_a_time(explain: Run) -> None:
    from iassa.files import lock_folder

    lock = lock_folder(Path("g"))
    assert "another process works on g" in refused(explain("photos", "--out", "g"))
    lock.release()
    assert explain("photos", "--out", "g")[0] == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_a_black_box_that_fails_costs_that_image_alone(
    explain: Run, workplace: Path, workers: int
) -> None:
    draw("photos/wide.png", size=(30, 90))
    Path("mood").touch()
    arguments = ("photos", "--out", "g", "--workers", workers)
    status, _, err = explain(*arguments, model="moody")
    assert status == 1
    assert "error: photos/wide.png: " in err
    assert "not today" in err
    before = state("g")
    assert len(before) == 3
    Path("mood").unlink()
    status, _, err = explain(*arguments, model="moody")
    assert (status, "1 of them new" in err) == (0, True)
    assert state("g").items() > before.items()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_warning_is_said_once_and_of_an_image_with_its_name(explain: Run, workers: int) -> None:
    deep = np.random.default_rng(0).integers(0, 3000, (30, 40), dtype=np.uint16)
    Image.fromarray(deep).save("photos/dark.png")
    for quiet in ([], ["--quiet"]):
        arguments = ("photos", "--out", f"g{len(quiet)}", "--workers", workers, *quiet)
        # pytest makes errors of warnings, and the first call is made when the model is opened.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _, _, err = explain(*arguments, model="talkative")
        lines = [line for line in err.splitlines() if line.startswith("warning: ")]
        assert lines.count("warning: the moon is full") == 1
        named = [line for line in lines if line.startswith("warning: photos/dark.png: ")]
        assert (len(named), len(lines)) == ((0, 1) if quiet else (1, 2))


def test_a_file_whose_name_is_no_text(explain: Run) -> None:
    name = os.fsdecode(b"photos/\xff.png")
    draw(name)
    status, _, err = explain("photos", "--out", "g", "--json")
    assert status == 0, err
    assert (Path("g") / os.fsdecode(b"\xff") / "entry.json").exists()
    assert "4 of 4 images, 0 of them new" in explain("photos", "--out", "g")[2]


def test_verified_with_workers(explain: Run) -> None:
    for workers in (1, 2):
        assert explain("photos", "--out", f"g{workers}", "--verify", "--workers", workers)[0] == 0
    one, two = (iassa.Explanation.load(f"g{k}/b").check for k in (1, 2))
    assert one is not None
    assert two is not None
    assert one.lines() == two.lines()


def test_a_model_that_no_worker_can_open(explain: Run) -> None:
    said = explain("photos", "--out", "g", "--workers", 2, model="nothing_of_that_name")
    assert "cannot open working:nothing_of_that_name" in refused(said)


# Kills.


@pytest.mark.parametrize("lost", ["explanation.npz", "evidence.npz", "explanation.json"])
def test_what_a_kill_left_half_is_made_anew(explain: Run, lost: str) -> None:
    """As between the renaming of two files, which a kill hardly ever meets."""
    explain("photos", "--out", "g", "--target", "top-2")
    before = state("g")
    mark = json.loads(Path("g/b/entry.json").read_text())
    for name in (lost, "index.html", "overlay-1.png", "sheet.png"):
        Path(f"g/b/{name}").unlink()
    Path("g/b/entry.json").write_text(json.dumps({k: mark[k] for k in ("run", "image")}))
    status, _, err = explain("photos", "--out", "g", "--target", "top-2")
    if lost == "explanation.json":  # it is written first, so no kill leaves this
        assert (status, "of yours that have names of ours" in err) == (1, True)
        return
    assert (status, "1 of them new" in err) == (0, True), err
    after = state("g")
    assert [key for key in before if before[key] != after[key]] == ["g/b"]
    assert len(list(Path("g/b").iterdir())) == 9


def start(*arguments: object, model: str = "slow") -> subprocess.Popen[str]:
    """The command as a process of its own, in a session of its own."""
    paths = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    command = [sys.executable, "-m", "iassa", "explain", "photos", "--out", "g"]
    command += ["--model", f"working:{model}", "--method", "rise", "--calls", str(CALLS)]
    return subprocess.Popen(
        [*command, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for_more(process: subprocess.Popen[str], before: int) -> None:
    """Wait until the gallery has an image more."""
    deadline = time.monotonic() + 240
    while len(done("g")) <= before:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_gallery_that_is_killed_goes_on(explain: Run, workers: int) -> None:
    for number in range(9):
        draw(f"photos/{number}.png", number)
    before: dict[str, str] = {}
    for _ in range(2):
        with start("--workers", workers) as process:
            wait_for_more(process, len(before))
            os.killpg(process.pid, signal.SIGKILL)  # its workers, too
        now = state("g")
        assert len(before) < len(now) < 12
        assert now.items() >= before.items()
        before = now
    status, _, err = explain("photos", "--out", "g", "--workers", 3 - workers, model="slow")
    assert status == 0
    assert f"12 of 12 images, {12 - len(before)} of them new" in err
    assert len(state("g")) == 12
    assert state("g").items() > before.items()
    explain("photos", "--out", "h", "--pictures", "none", model="slow")
    for place in results("h"):
        found, wanted = (iassa.Explanation.load(Path(name) / place) for name in "gh")
        np.testing.assert_array_equal(found.saliency, wanted.saliency)


def test_a_worker_that_is_killed_costs_nothing(workplace: Path) -> None:
    for number in range(5):
        draw(f"photos/{number}.png", number)
    with start("--workers", 2) as process:
        wait_for_more(process, 0)
        before = state("g")
        driver = psutil.Process(process.pid)
        workers = {*driver.children(recursive=True)} - {*driver.children()}  # forks of its server
        assert len(workers) == 2
        workers.pop().kill()
        _, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    assert "8 of 8 images, 8 of them new" in err
    assert state("g").items() > before.items()


@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_keeps_what_was_done(explain: Run, workers: int) -> None:
    for number in range(9):
        draw(f"photos/{number}.png", number)
    with start("--workers", workers) as process:
        wait_for_more(process, 0)
        os.killpg(process.pid, signal.SIGTERM)
        out, err = process.communicate(timeout=240)
    assert process.returncode == 143, err
    assert out == "g/index.html\n"
    assert "The same command goes on from here." in err
    assert "Traceback" not in err
    before = state("g")
    assert 1 <= len(before) < 12
    for place in results("g"):  # that of the image in flight is there, and marked
        complete = iassa.Explanation.load(Path("g") / place).complete
        assert complete == (str(Path("g") / place) in before)
    assert "not explained yet" in Path("g/index.html").read_text()
    status, _, err = explain("photos", "--out", "g", model="slow")
    assert (status, f"{12 - len(before)} of them new" in err) == (0, True)
    assert all(iassa.Explanation.load(Path("g") / place).complete for place in results("g"))
