# SPDX-License-Identifier: BSD-3-Clause
"""What `cmake --install` lays down is all that a C++ program needs: the examples build and run."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def built() -> Path:
    """The folder of the newest build that has the library as users get it."""
    found = [ROOT / "build" / preset for preset in ("release", "ci")]
    found = [folder for folder in found if (folder / "cpp" / "libowngil.so").exists()]
    if not found:
        pytest.skip("there is no build to install from: ./dev build")
    return max(found, key=lambda folder: (folder / "cpp" / "libowngil.so").stat().st_mtime)


def run(*command: object, environ: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        env={**os.environ, **(environ or {})},
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Moved after it was installed: nothing in it knows where it lies."""
    folder = tmp_path_factory.mktemp("installed")
    run("cmake", "--install", built(), "--prefix", folder / "before")
    return Path(shutil.move(folder / "before", folder / "after"))


@pytest.fixture(scope="module")
def examples(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("examples")
    run(
        "cmake",
        "-G",
        "Ninja",
        "-S",
        ROOT / "examples" / "cpp",
        "-B",
        folder,
        f"-DCMAKE_PREFIX_PATH={installed}",
        "-DCMAKE_CXX_FLAGS=-Wall -Wextra -Wpedantic -Wconversion -Werror",
    )
    run("cmake", "--build", folder)
    return folder


def with_python(path: str) -> dict[str, str]:
    return {"OWNGIL_PYTHON": path}


def test_nothing_but_the_package_is_installed(installed: Path) -> None:
    top = {str(path.relative_to(installed)) for path in installed.glob("*/*")}
    assert {"include/owngil", "lib/cmake", "lib/libowngil.so", "lib/owngil"} <= top
    assert {path.split("/")[0] for path in top} == {"include", "lib"}
    headers = "".join(path.read_text() for path in (installed / "include/owngil").glob("*.hpp"))
    assert not any(word in headers for word in ("boost", "Python.h", "runtime/", "ipc/"))


def test_the_library_exports_nothing_but_its_own(installed: Path) -> None:
    told = run("nm", "-D", "--defined-only", "-C", installed / "lib/libowngil.so")
    names = [line.split(maxsplit=2)[2] for line in told.splitlines()]
    assert names
    assert [name for name in names if "owngil::" not in name] == []


def test_the_examples_run_with_the_python_of_a_variable(examples: Path) -> None:
    environ = with_python(sys.executable)
    assert run(examples / "factorial", environ=environ) == "2432902008176640000\n"
    assert "at once" in run(examples / "countdown", environ=environ)
    lines = run(examples / "crash", environ=environ).splitlines()
    assert lines.pop(1).startswith("ValueError: ")  # in the words of its version
    assert lines == [
        "worker died of signal 11 in ctypes.string_at",
        "time.sleep was stopped",
        *("1", "2", "6", "24", "120"),
    ]


def test_python3_on_the_path_is_found(examples: Path) -> None:
    folder = str(Path(sys.executable).parent)
    environ = {"PATH": f"{folder}:{os.environ['PATH']}"}
    environ = {**environ, "OWNGIL_PYTHON": ""}
    assert run(examples / "factorial", environ=environ) == "2432902008176640000\n"


def test_without_any_python_the_host_embeds_one(examples: Path, installed: Path) -> None:
    if not (installed / "lib/owngil/owngil-host").exists():
        pytest.skip("this Python came without libpython, so there is no host")
    environ = {"PATH": "/nowhere", "OWNGIL_PYTHON": "", "VIRTUAL_ENV": ""}
    assert run(examples / "factorial", environ=environ) == "2432902008176640000\n"
