"""Nothing is sent that the user did not ask for: no telemetry, no question about a name."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import iassa
from iassa.models.efficientnet_lite0 import exported_graph
from network_guard import Guarded, run_guarded

# With the settings of the libraries as nobody has made them.
UNSET = dict.fromkeys(
    ("ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY", "RAY_USAGE_STATS_ENABLED")
)
# ONNX Runtime makes it, with a number of this machine and its notes, long before it sends them.
NOTES = "Microsoft/DeveloperTools/.onnxruntime"
REACHING = """
import socket
for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
    for address in (("127.0.0.1", 9), ("192.0.2.7", 80), ("127.0.0.1", 53)):
        with socket.socket(socket.AF_INET, kind) as one:
            try:
                one.connect(address)
            except OSError:
                pass
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
    for send in (lambda: one.sendto(b"x", ("192.0.2.8", 5)),
                 lambda: one.sendmsg([b"x"], [], 0, ("192.0.2.9", 5))):
        try:
            send()
        except OSError:
            pass
try:
    socket.getaddrinfo("nowhere.example", 80)
except OSError:
    pass
"""


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in range(2):
        pixels = np.random.default_rng(seed).integers(0, 256, (40, 56, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{seed}.png")
    return folder


def guarded(tmp_path: Path, *command: object, after: float = 0, **variables: str) -> Guarded:
    """An `iassa` command with a cache of its own, which holds the default model alone."""
    cache = tmp_path / "cache" / "iassa"
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    graph = exported_graph()
    if not (cache / graph.name).exists():
        (cache / graph.name).write_bytes(graph.read_bytes())
    here = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "HOME": str(tmp_path)}
    code = (
        "import sys, time\nfrom iassa.cli import main\n"
        f"try:\n    main(sys.argv[1:])\nfinally:\n    time.sleep({after})\n"
    )
    arguments = ["-c", code, *map(str, command)]
    return run_guarded(arguments, tmp_path / "work", {**UNSET, **here, **variables})


def check_silent(tmp_path: Path, ended: Guarded) -> None:
    assert ended.status == 0, ended.err
    assert ended.attempts == []
    if ended.native is None:
        pytest.skip("this system has no filter of system calls: Python's own calls were none")
    assert ended.native == []
    assert not (tmp_path / "cache" / NOTES).exists()


def test_the_guards_see_what_is_tried(tmp_path: Path) -> None:
    ended = run_guarded(["-c", REACHING], tmp_path / "work", {})
    assert ended.status == 0, ended.err
    assert [line.split(" in ")[0] for line in ended.attempts] == [
        *("socket.connect ('192.0.2.7', 80)",) * 2,
        "socket.sendto ('192.0.2.8', 5)",
        "socket.sendmsg ('192.0.2.9', 5)",
        ended.attempts[-1].split(" in ")[0],
    ]
    assert "socket.getaddrinfo ('nowhere.example', 80" in ended.attempts[-1]
    # Where Python's hook is not in the way.
    ended = run_guarded(["-S", "-c", REACHING], tmp_path / "again", {})
    assert (ended.status, ended.attempts) == (0, [])
    if ended.native is None:
        pytest.skip("this system has no filter of system calls")
    found = [line.split(" in ")[0] for line in ended.native]
    both = ["connect 192.0.2.7:80", "connect 127.0.0.1:53"]
    assert found[:6] == [*both, *both, "sendto 192.0.2.8:5", "sendmsg 192.0.2.9:5"]
    assert all(line.endswith(":53") for line in found[6:])  # servers that know names


def test_explain_is_silent(tmp_path: Path, photos: Path) -> None:
    command = ("explain", photos / "0.png", "--calls", 40, "--out", tmp_path / "out")
    check_silent(tmp_path, guarded(tmp_path, *command))


def benchmark(tmp_path: Path, photos: Path) -> tuple[object, ...]:
    """A command that measures two maps, in few steps."""
    coarse = ("--protocol", "pixels_per_step=12544", "--protocol", "gain_steps=2")
    options = ("--methods", "rise", "--calls", 20, "--run", tmp_path / "run", *coarse)
    return ("benchmark", "images", "--images", photos, *options)


def test_workers_are_silent(tmp_path: Path, photos: Path) -> None:
    check_silent(tmp_path, guarded(tmp_path, *benchmark(tmp_path, photos), "--workers", 2))


@pytest.mark.thorough  # a cluster is started for it
def test_ray_is_silent(tmp_path: Path, photos: Path) -> None:
    pytest.importorskip("ray")
    check_silent(tmp_path, guarded(tmp_path, *benchmark(tmp_path, photos), "--ray", "local"))


@pytest.mark.thorough  # transformers takes seconds to import
def test_a_folder_of_hugging_face_is_silent(tmp_path: Path, photos: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    transformers.ViTForImageClassification(config).save_pretrained(tmp_path / "vit")
    transformers.ViTImageProcessor().save_pretrained(tmp_path / "vit")
    options = ("--model", f"hf:{tmp_path / 'vit'}", "--calls", 20, "--method", "rise")
    command = ("explain", photos / "0.png", *options, "--out", tmp_path / "out")
    check_silent(tmp_path, guarded(tmp_path, *command))


def test_onnx_runtime_takes_notes_unless_it_is_told(tmp_path: Path, photos: Path) -> None:
    """What the tests above look for would be there: with the variable as a user may set it."""
    command = ("explain", photos / "0.png", "--calls", 20, "--method", "rise", "--out", "out")
    ended = guarded(tmp_path, *command, ORT_DISABLE_TELEMETRY="0")
    assert ended.status == 0, ended.err
    if not (tmp_path / "cache" / NOTES).exists():
        pytest.skip("this build of ONNX Runtime takes no notes")


@pytest.mark.thorough  # it sends its notes after nine seconds
@pytest.mark.parametrize("told", [True, False])
def test_onnx_runtime_sends_nothing_for_as_long_as_it_would(
    tmp_path: Path, photos: Path, told: bool
) -> None:
    command = ("explain", photos / "0.png", "--calls", 20, "--method", "rise", "--out", "out")
    said = {} if told else {"ORT_DISABLE_TELEMETRY": "0"}
    ended = guarded(tmp_path, *command, after=12, **said)
    if told:
        check_silent(tmp_path, ended)
        return
    assert ended.attempts == []  # it is native code that sends them
    if not ended.native:
        pytest.skip("this build of ONNX Runtime sends nothing, or the system has no filter")
    assert {line.split(":")[1].split()[0] for line in ended.native} <= {"53", "443"}


def test_onnx_runtime_is_imported_in_one_place() -> None:
    """It reads the variable when it is imported."""
    root = Path(iassa.__file__).parent
    users = [
        path.relative_to(root).as_posix()
        for path in sorted(root.rglob("*.py"))
        if re.search(r"^\s*(import|from) onnxruntime", path.read_text("utf-8"), re.MULTILINE)
    ]
    assert users == ["models/onnx/session.py"]
