"""What is saved is data: nothing that it names is imported, opened or asked over a network.

The oracle is Python's own audit of what a process imports, opens and connects to.
"""

from __future__ import annotations

import dataclasses
import io
import json
import subprocess
import sys
import typing

import numpy as np
import pytest
from PIL import Image

import iassa
from iassa.benchmark import salvage
from iassa.benchmark.report import write_report
from iassa.benchmark.store.map_archive import unpack_map
from iassa.benchmark.store.store import Store
from iassa.checks import fits
from iassa.cli import main
from iassa.errors import InputError
from iassa.files import inside
from iassa.methods.registry import BUILT_IN, METHODS
from reported_runs import PLAIN, SIZE, make_entry, make_item, make_run

MODULE = """
from pathlib import Path
import torch
Path("sprung").write_text("imported")

def go():
    return lambda value: [value[:, ::4, ::4]] if isinstance(value, torch.Tensor) else value[:, 0]

def double(scores):
    return 2 * scores[:, 0]
"""

# Each text of a saved explanation becomes each trap in turn; then all is done with it that can be.
SPRING = """
import hashlib, io, json, sys
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
import numpy as np
import iassa
from iassa.cli import main
from bright import bright

TRAPS = ["evil_trap:go", "./trap.png", "trap.onnx:a,b", "http://127.0.0.1:9/trap"]
heard = []

def listen(event, arguments):
    named = event in ("open", "import") and "trap" in str(arguments[0])
    if named or event.startswith("socket.") and event != "socket.gethostname":
        heard.append(f"{event} {arguments}")

def leaves(value, path=()):
    if isinstance(value, str):
        yield path
    for key, one in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(
        value, list) else ():
        yield from leaves(one, (*path, key))

def changed(value, path, trap):
    copy = json.loads(json.dumps(value))
    place = copy
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = trap
    return copy

def use(record, contents):
    out = Path("used")
    out.mkdir(exist_ok=True)
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    for name, content in contents.items():
        (out / name).write_bytes(content)
    (out / "explanation.json").write_text(json.dumps({**record, "sha256": sums}))
    with suppress(iassa.InputError):
        loaded = iassa.Explanation.load(out)
        for go in (
            lambda: iassa.retarget(loaded, 1),
            lambda: iassa.retarget(loaded, loaded.targets),
            lambda: iassa.extend(loaded, bright, calls=3),
        ):
            with suppress(iassa.InputError):
                go()

def command(*arguments):
    with redirect_stdout(io.TextIOWrapper(io.BytesIO())), redirect_stderr(io.StringIO()):
        try:
            main([*arguments, "--pictures", "none"])
        except SystemExit as end:
            return end.code

source = Path(sys.argv[1])
record = json.loads((source / "explanation.json").read_text())
sums = record.pop("sha256")
contents = {name: (source / name).read_bytes() for name in sums}
with np.load(source / "evidence.npz") as archive:
    arrays = dict(archive)
header = json.loads(arrays["header"].tobytes())
sys.addaudithook(listen)
tried = 0
for trap in TRAPS:
    for path in leaves(record):
        use(changed(record, path, trap), contents)
        tried += 1
        if path[0] == "check" or path[-1] == "baseline":
            with suppress(iassa.InputError):
                iassa.verify(iassa.Explanation.load("used"), bright)
        if path[0] in ("method", "model"):
            for arguments in (["--calls", "3"], ["--target", "1"]):
                assert command("extend", "used", *arguments) in (0, 2)
    for path in leaves(header):
        text = json.dumps(changed(header, path, trap)).encode()
        buffer = io.BytesIO()
        np.savez(buffer, **{**arrays, "header": np.frombuffer(text, np.uint8)})
        use(record, {**contents, "evidence.npz": buffer.getvalue()})
    function = {"name": trap, "indices": [], "weights": []}
    use({**record, "targets": [function]}, contents)
quiet, heard = heard, []
use(record, contents)
named = command("extend", "used", "--target", "evil_trap:double")  # now by the user
print(json.dumps({"tried": tried, "quiet": quiet, "named": named, "heard": heard}))
"""
BRIGHT = "def bright(images):\n    return images[:, :2, :3].mean((1, 2))\n"


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A folder with a model, and with all that a record may lead to."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "evil_trap.py").write_text(MODULE)
    (tmp_path / "bright.py").write_text(BRIGHT)
    rng = np.random.default_rng(0)
    for name in ("photo.png", "trap.png"):
        Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)).save(name)
    yield tmp_path
    for module in ("evil_trap", "bright"):
        sys.modules.pop(module, None)


def test_no_text_of_a_saved_explanation_leads_anywhere(workplace):
    fields = {"features": "colour-position", "baseline": "blur", "round_calls": 16, "positions": 4}
    bright = iassa.open_model("bright:bright")
    method = iassa.methods.Iassa(**fields)
    made = iassa.explain(
        "photo.png", bright, method=method, target=[0, "0 vs 1"], calls=24, keep_scores="all"
    )
    check = iassa.verify(made, bright, fills=["noise"])
    made.with_check(check).save("saved", pictures="none")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SPRING, "saved"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["tried"] > 60
    assert told["quiet"] == []
    assert told["named"] == 0
    assert any("evil_trap" in event for event in told["heard"])  # it can hear
    assert (workplace / "sprung").exists()


NAMED = {
    "features": "evil_trap:go",
    "baseline": "./trap.png",
}


def run(*arguments):
    with pytest.raises(SystemExit) as end:
        main([str(one) for one in arguments])
    return end.value.code


def arrays_of(folder):
    with np.load(f"{folder}/explanation.npz") as arrays:
        return {name: arrays[name] for name in arrays.files}


def assert_same(one, other):
    mine, its = arrays_of(one), arrays_of(other)
    for name in its:
        np.testing.assert_array_equal(mine[name], its[name])


@pytest.mark.usefixtures("workplace")
def test_what_is_named_again_gives_the_map_of_one_run(capsys):
    model = ["--model", "bright:bright"]
    settings = ["--set", "features=evil_trap:go", "--baseline", "./trap.png"]
    options = ["--set", "round_calls=16", "--set", "positions=4"]
    for calls, out in ((24, "part"), (48, "whole")):
        arguments = ["photo.png", *model, *settings, *options, "--calls", calls, "--out", out]
        assert run("explain", *arguments, "--pictures", "none") == 0
    capsys.readouterr()
    for given, asked in ((settings[2:], "features"), (settings[:2], "baseline")):
        for more in ([*model, "--calls", 24], ["--target", 1]):
            assert run("extend", "part", *more, *given) == 2
            said = capsys.readouterr().err
            assert f"expected {asked} of iassa to be named again" in said
            assert f"--set {asked}={NAMED[asked]!r}" in said
    loaded = iassa.Explanation.load("part")
    bright = iassa.open_model("bright:bright")
    with pytest.raises(InputError, match="expected baseline, features of iassa to be named again"):
        iassa.extend(loaded, bright)
    with pytest.raises(InputError, match="expected the method that drew the masks"):
        iassa.extend(loaded, bright, method=NAMED | {"features": "none"})
    iassa.extend(loaded, bright, calls=24, method=NAMED).save("python", pictures="none")
    assert_same("python", "whole")
    assert run("extend", "part", *model, *settings, "--calls", 24, "--out", "o") == 0
    assert_same("o", "whole")
    iassa.retarget(loaded, 1, method=NAMED).save("other", pictures="none")
    assert run("extend", "part", *settings, "--target", 1, "--out", "p") == 0
    assert_same("p", "other")


def test_every_field_that_takes_any_text_is_known():
    for name, method in METHODS.items():
        kinds = typing.get_type_hints(method, include_extras=True)
        free = {f.name for f in dataclasses.fields(method) if fits("evil:go", kinds[f.name])}
        assert free <= set(BUILT_IN), name


@pytest.mark.parametrize(
    "text", ["", "evil:go", "evil", "a.onnx:b", "./blur", "blur.png", "http://a/b", "\\blur"]
)
def test_what_is_built_in_is_a_list(text):
    assert not any(built_in(text) for built_in in BUILT_IN.values())


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../trap.png", "a/../../b.png", "C:\\a.png", "\\\\server\\a.png"]
)
def test_names_that_lead_out_of_a_folder_are_refused(tmp_path, name):
    with pytest.raises(InputError, match="expected the name of a file in"):
        inside(tmp_path, name)
    assert inside(tmp_path, "a/b..png") == tmp_path / "a" / "b..png"


def test_a_run_of_somebody_else_is_read_and_leads_nowhere(workplace):
    """Its report opens images of the folder that the user names, and of no other."""
    trap = {"name": "iassa", "fields": {"features": "evil_trap:go", "baseline": "./trap.png"}}
    methods = {label: {**one, **trap} for label, one in PLAIN["methods"].items()}
    configuration = PLAIN | {"model": {"name": "evil_trap:go"}, "methods": methods}
    make_run(workplace / "run", 2, configuration=configuration)
    entry = dataclasses.replace(
        make_entry(9), image="../trap.png", target=iassa.Target("evil_trap:go"), size=(12, 16)
    )
    with Store.open(workplace / "run", configuration) as store:
        store.add_image(entry.image, [entry], "0" * 64)
        for label, definition in methods.items():
            rng = np.random.default_rng(0)
            store.add(make_item(rng, entry, label, definition, 0, size=SIZE))
    (workplace / "images").mkdir()
    few = {"num_resamples": 20}
    report = write_report(workplace / "run", workplace / "report", pictures=0, **few)
    assert entry.key in {one.key for one in report.entries}
    for pictures in (9, [entry.key]):
        with pytest.raises(InputError, match=r"expected the name of a file in .*images"):
            write_report(workplace / "run", images=workplace / "images", pictures=pictures, **few)
    assert salvage(workplace / "run", workplace / "saved").images == 4
    assert not (workplace / "sprung").exists()
    with Store.read(workplace / "saved") as store:
        (stored,) = (one for one in store.entries() if one.key == entry.key)
    with pytest.raises(InputError, match="'evil_trap:go', got its name alone"):
        iassa.explain("photo.png", lambda images: images[:, 0, 0], target=stored.target)
    assert not (workplace / "sprung").exists()


def test_maps_of_a_run_are_no_bombs():
    buffer, zeros = io.BytesIO(), np.zeros((20_000, 10_000), np.float16)
    np.savez_compressed(buffer, values=zeros, offset=0.0, scale=1.0)
    with pytest.raises(InputError, match=r"expected arrays of at most 256 MB in 0\.4 MB, got 381"):
        unpack_map(buffer.getvalue())
