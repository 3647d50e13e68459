# SPDX-License-Identifier: BSD-3-Clause
"""The command `owngil`: what it prints, what it refuses, and that the ways of the demo agree."""

import importlib.util
import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness import kinds
from owngil import __version__
from owngil._cli import main, workloads
from owngil._cli.cpu_clock import cpu_seconds
from owngil._cli.live_line import LiveLine
from owngil._cli.table import bar, render


@pytest.fixture
def three_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the standard library as small as three modules."""
    modules = workloads.standard_library()[:3]
    monkeypatch.setattr(workloads, "standard_library", lambda: modules)


def test_without_a_command_it_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    out = capsys.readouterr().out
    assert "owngil demo" in out
    assert "import owngil" in out


def test_version_names_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"owngil {__version__}\n"


def test_python_m_owngil_is_the_command() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "owngil", "demo", "--help"], capture_output=True, text=True
    )
    assert run.returncode == 0
    assert "--plot FILE" in run.stdout


@pytest.mark.parametrize("value", ["0", "-3", "many", "1.5"])
def test_a_count_that_is_none_is_refused(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["demo", "--workers", value])
    assert ended.value.code == 2
    assert f"'{value}' is not a whole number of 1 or more" in capsys.readouterr().err


@pytest.mark.usefixtures("three_modules")
def test_demo_does_the_same_work_in_every_way(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--n", "1000", "--json"]) == 0
    captured = capsys.readouterr()
    record = json.loads(captured.out)
    assert [experiment["name"] for experiment in record["experiments"]] == ["countdown", "parse"]
    for experiment in record["experiments"]:
        ways = [row["way"] for row in experiment["rows"]]
        interpreters = ["2 interpreters"] if "interpreter" in kinds.HERE else []
        assert ways == ["serial", "2 threads", "2 processes", *interpreters]
        assert len({row["result"] for row in experiment["rows"]}) == 1
        assert all(row["cpu_seconds"] >= 0 for row in experiment["rows"])
    expected = sum(map(workloads.count_nodes, workloads.standard_library()))
    assert record["experiments"][1]["rows"][0]["result"] == expected > 0
    assert (record["no_interpreters"] == "") == ("interpreter" in kinds.HERE)
    assert captured.err == ""  # no live line off a terminal


@pytest.mark.usefixtures("three_modules")
def test_demo_shows_a_table_a_sentence_and_bars(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--n", "1000", "--workers", "1"]) == 0
    out = capsys.readouterr().out
    for text in ("seconds", "times faster", "CPU used", "countdown(1,000), once", "1 process", "█"):
        assert text in out
    assert "with the same results" in out
    assert ("Not in interpreters: " in out) == ("interpreter" not in kinds.HERE)


@pytest.mark.usefixtures("three_modules")
def test_demo_says_why_there_are_no_interpreters(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "hexversion", 0x030C_01F0)
    assert main(["demo", "--n", "1000"]) == 0
    out = capsys.readouterr().out
    assert "2 processes" in out
    assert "2 interpreters" not in out
    assert 'Not in interpreters: kind="interpreter" needs CPython 3.13 or later' in out


def test_the_live_line_shows_what_runs_and_is_wiped_at_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with LiveLine() as live:
        live.show("parse: serial", 2)
        live.advance()
        while "parse: serial" not in terminal.getvalue():
            os.sched_yield()
    assert " s  1/2" in terminal.getvalue()
    assert terminal.getvalue().endswith("\r\x1b[2K")


@pytest.mark.skipif(
    importlib.util.find_spec("matplotlib") is not None, reason="matplotlib is installed"
)
def test_plot_without_matplotlib_says_what_to_install(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--plot", "demo.png"]) == 2
    assert "pip install 'owngil[plot]'" in capsys.readouterr().err


@pytest.mark.usefixtures("three_modules")
def test_plot_writes_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    picture = tmp_path / "demo.png"
    assert main(["demo", "--n", "1000", "--plot", str(picture)]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert main(["demo", "--plot", str(tmp_path / "nowhere" / "demo.png")]) == 2
    assert "cannot write" in capsys.readouterr().err


def test_a_module_that_does_not_parse_counts_nothing(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text("x = (1\n")
    assert workloads.count_nodes(str(module)) == 0
    module.write_text("x = 1\n")
    assert workloads.count_nodes(str(module)) == 5  # Module, Assign, Name, Store, Constant


def test_the_standard_library_is_found_without_its_tests() -> None:
    paths = workloads.standard_library()
    assert any(path.endswith("/argparse.py") for path in paths)
    assert any("/json/" in path for path in paths)
    assert not any("/test/" in path for path in paths)


def test_cpu_seconds_are_those_of_the_named_processes() -> None:
    before, own_before = cpu_seconds([os.getpid()]), time.process_time()
    workloads.countdown(100_000)
    own = time.process_time() - own_before
    assert cpu_seconds([os.getpid()]) - before >= own > 0
    gone = subprocess.Popen([sys.executable, "-c", "pass"])
    gone.wait()
    assert cpu_seconds([gone.pid]) == 0


def test_a_table_lines_up_and_a_bar_fills_its_scale() -> None:
    assert render(["", "n"], [["a", "10"], ["bcd", "2"]]).splitlines() == [
        "     n",
        "a    10",
        "bcd  2",
    ]
    assert len(bar(2, 2, width=10)) == 10
    assert len(bar(1, 2, width=10)) == 5
    assert bar(0, 0) == ""
