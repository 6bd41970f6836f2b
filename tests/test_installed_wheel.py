"""How `make test-package` finds Pythons and judges a wheel; it is run itself by `.ci/run`."""

import os
import re
import sys
import zipfile
from pathlib import Path

import pytest

import installed_wheel
from installed_wheel import PROJECT, ROOT, check_contents, find_pythons, named_minors

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
README = (ROOT / "README.md").read_text("utf-8")


def write_program(path: Path, line: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine whose PATH has nothing but pyenv's stand-ins, and whose python3 is one."""
    for name in ("python3", "python3.12", f"python{HERE}"):
        write_program(tmp_path / "shims" / name, "exit 127")
    monkeypatch.setenv("PATH", str(tmp_path / "shims"))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "shims/python3"))
    return tmp_path


def test_classifiers_and_the_readme_name_the_pythons_from_the_oldest_on() -> None:
    project = PROJECT["project"]
    minors = named_minors(project)
    oldest = re.fullmatch(r">=3\.(\d+)", project["requires-python"])
    assert oldest is not None
    assert minors == [f"3.{int(oldest[1]) + step}" for step in range(len(minors))]
    assert len(minors) > 1
    said = re.search(r"Python (\S+) or newer.*?tried on ([^(]+)\(", README, flags=re.DOTALL)
    assert said is not None
    assert said[1] == minors[0]
    assert re.findall(r"3\.\d+", said[2]) == minors


def test_a_python_of_pyenv_is_found_behind_its_stand_in(machine: Path) -> None:
    python = machine / "versions" / HERE / "bin/python3"
    python.parent.mkdir(parents=True)
    python.symlink_to(Path(sys.base_prefix, "bin", f"python{HERE}"))
    (found,) = find_pythons([HERE])
    assert found.path == str(python)
    assert found.minor == HERE
    assert found.hexversion == sys.hexversion


def test_the_newest_of_each_version_is_tried(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, version in (
        *((0x030C01F0, "3.12.1"), (0x030C0AF0, "3.12.10"), (0x030C09F0, "3.12.9")),
        *((0x030E00F0, "3.14.0"), (0x030D00F0, "3.13.0")),
    ):
        path = machine / "versions" / version / "bin/python3"
        write_program(path, f"echo {number} {version}")
    write_program(machine / "more/python3.13", f"echo {0x030D02F0} 3.13.2")
    monkeypatch.setenv("PATH", os.pathsep.join([str(machine / "shims"), str(machine / "more")]))
    found = find_pythons(["3.11", "3.12", "3.13"])
    assert [python.version for python in found] == ["3.13.2", "3.12.10"]


def test_without_a_python_nothing_passes(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert find_pythons(["3.11", "3.12"]) == []
    with pytest.raises(SystemExit, match="expected a Python that the classifiers name"):
        installed_wheel.main([])
    assert "Pythons not tried: 3.11, 3.12" in capsys.readouterr().out
    with pytest.raises(SystemExit, match=r"environments, got python3\.12, python4$"):
        installed_wheel.main(["python3.12", "python4"])


def test_a_wheel_has_every_file_and_no_other(tmp_path: Path) -> None:
    names = ["iassa/__init__.py", "iassa/benchmark/report/page.html", "iassa/py.typed"]
    ignored = "iassa/__pycache__/__init__.pyc"
    for name in (*names, ignored):
        (tmp_path / "src" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "src" / name).touch()

    def wheel(*packed: str) -> Path:
        path = tmp_path / f"{len(packed)}.whl"
        with zipfile.ZipFile(path, "w") as archive:
            for name in (*packed, "iassa-0.1.0.dist-info/METADATA"):
                archive.writestr(name, "")
        return path

    check_contents(wheel(*names), tmp_path / "src")
    with pytest.raises(SystemExit, match=r"missing in the wheel.*\['iassa/py.typed'\]"):
        check_contents(wheel(*names[:2]), tmp_path / "src")
    with pytest.raises(SystemExit, match=r"but not in src.*\['tests/conftest.py'\]"):
        check_contents(wheel(*names, "tests/conftest.py"), tmp_path / "src")


def test_a_command_that_fails_ends_all_with_what_it_said(tmp_path: Path) -> None:
    code = "import sys; print('out'); sys.exit('why')"
    with pytest.raises(SystemExit, match=r"out\nwhy\n.* ended with 1"):
        installed_wheel.run(sys.executable, "-c", code, folder=tmp_path)


def test_a_command_does_not_see_the_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    code = "import os; print('PYTHONPATH' in os.environ, os.getcwd())"
    said = installed_wheel.run(sys.executable, "-c", code, folder=tmp_path).stdout
    assert said == f"False {tmp_path.resolve()}\n"
