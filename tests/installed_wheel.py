"""The package as users get it: `make test-package`, on every Python that it is for.

A wheel is built, installed without extras into a fresh environment, and run from another folder.
Pythons are looked for on PATH and in pyenv: of each minor version that the classifiers name, the
newest. Others can be given: `make test-package PYTHONS='python3.14 /path/to/python'`.

It needs nothing but the Python that runs it. An environment takes up to 5 GB, because torch brings
CUDA where no build for CPUs is offered. It is made in the folder for temporary files (`TMPDIR`) and
removed after use, while the next one is made.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
CONSTRAINTS = ROOT / "constraints.txt"

# Fails where no environment for the wheels of CPython can be made: the stand-ins of pyenv for
# versions that are not switched on, a Python without ensurepip, PyPy, a build without the GIL.
WHO_ARE_YOU = """
import ensurepip, platform, sys, sysconfig, venv
assert sys.implementation.name == "cpython" and not sysconfig.get_config_var("Py_GIL_DISABLED")
print(sys.hexversion, platform.python_version())
"""
# Every module is imported: none may need an extra to be there, or a file that the wheel lacks.
WHAT_IS_THERE = """
import importlib, json, pkgutil
import iassa
for module in pkgutil.walk_packages(iassa.__path__, "iassa."):
    try:
        importlib.import_module(module.name)
    except iassa.InputError as error:  # a plug-in or the server says which package it needs
        needs = module.name.startswith(("iassa.plugins.", "iassa.app."))
        if not (needs and "pip install" in str(error)):
            raise
made = iassa.Explanation.load("explanations/cat")
targets = [target.name for target in made.targets]
print(json.dumps([iassa.__file__, targets, made.calls, made.saliency.shape]))
"""


class Python(NamedTuple):
    """One that can make environments. The newest compares highest."""

    hexversion: int
    version: str
    path: str

    @property
    def minor(self) -> str:
        return ".".join(self.version.split(".")[:2])


def named_minors(project: dict[str, Any]) -> list[str]:
    """The versions of Python that the classifiers name, as in ['3.11', '3.12']."""
    pattern = r"Programming Language :: Python :: (\d+\.\d+)"
    return [found[1] for line in project["classifiers"] if (found := re.fullmatch(pattern, line))]


def variables_of_a_user() -> dict[str, str]:
    """Those of the shell, but for what it says to Python: PYTHONPATH could lead to the checkout."""
    return {name: text for name, text in os.environ.items() if not name.startswith("PYTHON")}


def ask_python(path: str) -> Python | None:
    """What is at the path; None if no environment can be made with it."""
    try:
        answer = subprocess.run(
            [path, "-c", WHO_ARE_YOU], capture_output=True, text=True, env=variables_of_a_user()
        )
    except OSError:
        return None
    if answer.returncode:
        return None
    hexversion, version = answer.stdout.split()
    return Python(int(hexversion), version, path)


def candidates(minors: Sequence[str]) -> Iterator[str]:
    yield sys.executable
    folders = [Path(folder) for folder in os.get_exec_path()]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    folders += sorted(pyenv.glob("versions/*/bin"))
    names = ["python3", *(f"python{minor}" for minor in minors)]
    for path in (folder / name for folder in folders for name in names):
        if path.exists():
            yield str(path)


def find_pythons(minors: Sequence[str]) -> list[Python]:
    """The newest of each minor version that is there, the newest first."""
    newest: dict[str, Python] = {}
    for path in dict.fromkeys(candidates(minors)):
        python = ask_python(path)
        if python and python.minor in minors:
            known = newest.setdefault(python.minor, python)
            if python.hexversion > known.hexversion:
                newest[python.minor] = python
    return sorted(newest.values(), reverse=True)


def given_pythons(names: Sequence[str]) -> list[Python]:
    found = [(name, ask_python(shutil.which(name) or name)) for name in names]
    bad = [name for name, python in found if python is None]
    if bad:
        sys.exit(f"expected CPythons that can make environments, got {', '.join(bad)}")
    return [python for _, python in found if python is not None]


def run(*command: str | Path, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """What a command says. It may not fail: all of it is shown then, and nothing else is run."""
    words = [str(word) for word in command]
    environment = variables_of_a_user() | variables
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{done.stdout}{done.stderr}{shlex.join(words)} ended with {done.returncode}")
    return done


def expect(what: str, found: object, wanted: object) -> None:
    if found != wanted:
        sys.exit(f"{what}: expected {wanted}, got {found}")


def make_environment(python: str, folder: Path, *wanted: str | Path) -> Path:
    """A fresh environment with what is wanted in it; the folder of its programs."""
    run(python, "-m", "venv", folder / "environment", folder=folder)
    programs = folder / "environment/bin"
    # --no-compile halves the time: what is not imported need not be compiled.
    run(
        *(programs / "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"),
        *("-c", CONSTRAINTS, *wanted),
        folder=folder,
    )
    return programs


def build_wheel(folder: Path) -> Path:
    """The wheel, made by the pinned build backend: pip's own environment for it knows no pins."""
    programs = make_environment(sys.executable, folder, *PROJECT["build-system"]["requires"])
    options = ("--no-deps", "--no-build-isolation", "--wheel-dir", folder)
    run(programs / "pip", "wheel", *options, ROOT, folder=folder)
    (wheel,) = folder.glob("*.whl")
    return wheel


def check_contents(wheel: Path, sources: Path) -> None:
    """Everything beside the code is in the wheel, too: tables, the page of the report, py.typed."""
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    files = {path.relative_to(sources) for path in sources.rglob("*") if path.is_file()}
    wanted = {path.as_posix() for path in files if "__pycache__" not in path.parts}
    expect("files missing in the wheel", sorted(wanted - packed), [])
    expect("files in the wheel, but not in src", sorted(packed - wanted), [])


def try_wheel(wheel: Path, python: Python, folder: Path) -> None:
    """Install the wheel and explain a picture, as a user does the first time."""
    print(f"Python {python.version}, {python.path}: ", end="", flush=True)
    start = time.monotonic()
    programs = make_environment(python.path, folder, wheel)
    run(programs / "pip", "check", folder=folder)
    installed = time.monotonic()

    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    # No model is there yet that another run prepared. Warnings of what will be gone are told, too.
    variables = {"XDG_CACHE_HOME": str(folder / "cache"), "PYTHONWARNINGS": "default"}
    version = run(programs / "iassa", "--version", folder=elsewhere).stdout
    expect("iassa --version", version, f"iassa {wheel.name.split('-')[1]}\n")

    done = run(programs / "iassa", "explain", "--example", "cat", folder=elsewhere, **variables)
    expect("printed path", done.stdout, "explanations/cat/overlay-0.png\n")
    files = sorted(path.relative_to(elsewhere).as_posix() for path in elsewhere.rglob("*.*"))
    names = ("evidence.npz", "explanation.json", "explanation.npz", "overlay-0.png")
    expect("files", files, [f"explanations/cat/{name}" for name in names])
    expect("prepared models", len([*folder.glob("cache/iassa/*.onnx")]), 1)

    looked = run(programs / "python", "-c", WHAT_IS_THERE, folder=elsewhere, **variables)
    site = folder / f"environment/lib/python{python.minor}/site-packages"
    wanted = [str(site / "iassa/__init__.py"), ["Egyptian cat"], 1000, [1, 300, 451]]
    expect("package, targets, calls and shape", json.loads(looked.stdout), wanted)
    told = [line for line in (done.stderr + looked.stderr).splitlines() if "Warning" in line]
    expect("warnings", told, [])
    explained = time.monotonic()
    print(f"installed in {installed - start:.0f} s, explained in {explained - installed:.0f} s")


def try_each(wheel: Path, pythons: Sequence[Python]) -> None:
    """One after another: two at a time took longer on two cores.

    To remove 5 GB takes some disks a minute, and no computing: the next one need not wait for it.
    """
    removals = []
    with ThreadPoolExecutor() as beside:
        for python in pythons:
            scratch = tempfile.TemporaryDirectory()
            try:
                try_wheel(wheel, python, Path(scratch.name).resolve())
            finally:
                removals.append(beside.submit(scratch.cleanup))
    for removal in removals:
        removal.result()


def main(names: Sequence[str]) -> None:
    minors = named_minors(PROJECT["project"])
    pythons = given_pythons(names) or find_pythons(minors)
    found = {python.minor for python in pythons}
    missing = [minor for minor in minors if minor not in found]
    print("Pythons found:", ", ".join(python.version for python in pythons) or "none")
    print("Pythons not tried:", ", ".join(missing) or "none", flush=True)
    if not pythons:
        sys.exit(f"expected a Python that the classifiers name: {', '.join(minors) or 'none'}")
    with tempfile.TemporaryDirectory() as folder:
        wheel = build_wheel(Path(folder).resolve())
        check_contents(wheel, ROOT / "src")
        try_each(wheel, pythons)


if __name__ == "__main__":
    # Whoever ends it early leaves no environment behind: an exit removes the folders.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    main(sys.argv[1:])
