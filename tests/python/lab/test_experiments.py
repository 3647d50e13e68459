# SPDX-License-Identifier: BSD-3-Clause
"""Each experiment runs at a small size, and says what it measured; nothing here is timed."""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from owngil._cli import main
from owngil._lab import elsewhere, kinds, work
from owngil._lab.catalogue import EXPERIMENTS
from owngil._lab.experiment import Settings
from owngil._lab.runner import run, switch_interval
from owngil._lab.text import told
from owngil._lab.waking import late_beside

# NumPy's threads are there before the tests, so they are not left behind by one.
HAS_NUMPY = importlib.util.find_spec("numpy") and importlib.import_module("numpy")

SMALL = Settings(n=2_000, seconds=0.02, rounds=2)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_it_measures_every_way_in_every_round(name: str) -> None:
    if name == "io-vs-numpy":
        pytest.importorskip("numpy")
    interval = sys.getswitchinterval()
    for _ in range(5):
        result = run(EXPERIMENTS[name], SMALL)
        # How long a computation takes is measured first; where others took the CPUs meanwhile it
        # is over before the first sleep beside it.
        if all(map(any, result.samples.values())):
            break
    assert sys.getswitchinterval() == interval
    assert len({len(rounds) for rounds in result.samples.values()}) == 1
    for way, rounds in result.samples.items():
        assert 2 <= len(rounds) <= 4, way  # disturbed ones are repeated
        assert any(rounds), way
    assert all(result.absent.values())
    assert json.loads(json.dumps(result.record()))["name"] == name
    text = told(result)
    for part in (result.article, result.saw, result.source.splitlines()[0], "erdict"):
        assert part in text


def test_counting_comes_to_its_end_in_every_way() -> None:
    for count in (work.count_python, work.count_holding, work.count_releasing):
        assert count(1000) == 0
    pytest.importorskip("numpy")
    assert work.count_numpy(3) == 0


def test_the_extension_refuses_what_it_cannot_count_to() -> None:
    from owngil import _gil

    for count in (_gil.count_holding, _gil.count_releasing):
        with pytest.raises(OverflowError):
            count(-1)
        with pytest.raises(TypeError):
            count("1")  # type: ignore[arg-type]


def test_a_wake_up_counts_if_it_was_due_while_the_computation_ran() -> None:

    def compute() -> None:
        work.count_holding(work.steps_for(work.count_holding, 0.05))

    woken = late_beside(compute, 0.01)
    assert len(woken) >= 1
    assert all(late > -0.001 for late in woken)
    assert late_beside(lambda: None, 1.0) == []


def test_the_kinds_are_those_that_the_pool_accepts(monkeypatch: pytest.MonkeyPatch) -> None:
    from owngil import _pool

    monkeypatch.setattr(_pool, "KINDS", ("thread", "auto"))
    assert kinds.kinds() == ("thread",)
    assert kinds.kinds(with_auto=True) == ("thread", "auto")
    monkeypatch.setattr(kinds, "kinds", lambda: ("thread", "no such kind"))
    with kinds.pools(1, int) as (opened, absent):
        assert opened.keys() == {"thread"}
        assert absent["in a pool, kind=no such kind"].startswith("ValueError: kind must be one of")


def test_a_reason_is_the_last_line_of_what_was_said() -> None:
    said = ImportError("\nPLEASE READ THIS\n\nOriginal error was: it does not support it\n")
    assert kinds.reason(said) == "ImportError: Original error was: it does not support it"
    assert kinds.reason(KeyError("a")) == "KeyError: 'a'"
    assert kinds.reason(ValueError()) == "ValueError"


@pytest.fixture
def empty_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Nothing on PATH and no pyenv."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    return tmp_path


@pytest.mark.usefixtures("empty_path")
@pytest.mark.parametrize(("name", "cure"), [("old-gil", "2.7.18"), ("no-gil", "3.14t")])
def test_without_another_python_it_says_how_to_get_one(name: str, cure: str) -> None:
    result = run(EXPERIMENTS[name], SMALL)
    (reason,) = result.absent.values()
    assert cure in reason
    assert list(result.samples) == [elsewhere.HERE]
    assert result.verdict.state == "no verdict"


def test_another_python_is_asked_what_it_is(empty_path: Path) -> None:
    for name, answer in (("python2.7", "False"), ("python3.1", "True"), ("python3.13t", "no")):
        fake = empty_path / name
        fake.write_text(f"#!/bin/sh\nprintf {answer}\n")
        fake.chmod(0o755)
    assert elsewhere.find_old() == [str(empty_path / "python3.1")]
    assert elsewhere.find_gil_free() is None
    assert elsewhere.find_gil_free("no-such.jar") is None


def acts_as(folder: Path, name: str, script: str) -> None:
    """An executable of this name on PATH."""
    (folder / name).write_text("#!/bin/sh\n" + script)
    (folder / name).chmod(0o755)


# What Jython 2.7.4 and CPython 2.7.18 have answered.
JYTHON = "[0.18599987030029297, 0.08700013160705566]"
OLD = "[0.13144302368164062, 0.21187186241149902]"


def test_jython_is_run_by_java_and_its_answer_read(empty_path: Path) -> None:
    jar = empty_path / "jython-standalone.jar"
    jar.touch()
    acts_as(
        empty_path, "java", f'[ "$1 $2 $3 $4 $5" = "-jar {jar} - 1000 2" ] && echo "{JYTHON}"\n'
    )
    result = run(EXPERIMENTS["no-gil"], replace(SMALL, jython=str(jar)))
    there = result.samples["in threads, over one after the other, java jython-standalone.jar"]
    assert there == [[pytest.approx(0.4677, abs=1e-4)]] * len(there)
    assert not result.absent
    (number,) = result.verdict.numbers
    assert number.startswith("without a GIL, threads share the work: 0.468x")


def test_a_python_that_is_free_threaded_is_asked_whether_its_gil_is_off(empty_path: Path) -> None:
    answers = f'case $1 in -c) printf %s;; -) echo "{JYTHON}";; esac\n'
    acts_as(empty_path, "python3.13t", answers % "False")  # PYTHON_GIL=1
    assert elsewhere.find_gil_free() is None
    acts_as(empty_path, "python3.14t", answers % "True")
    assert elsewhere.find_gil_free() == [str(empty_path / "python3.14t")]
    result = run(EXPERIMENTS["no-gil"], SMALL)
    assert "in threads, over one after the other, python3.14t" in result.samples


def test_jython_on_path_is_found_too(empty_path: Path) -> None:
    acts_as(empty_path, "jython", "")
    assert elsewhere.find_gil_free() == [str(empty_path / "jython")]


def test_an_old_python_is_run_and_its_answer_read(empty_path: Path) -> None:
    acts_as(empty_path, "python2.7", f'case $1 in -c) printf True;; -) echo "{OLD}";; esac\n')
    result = run(EXPERIMENTS["old-gil"], SMALL)
    there = result.samples["in threads, over one after the other, python2.7"]
    assert there == [[pytest.approx(1.6119, abs=1e-4)]] * len(there)


def test_a_jython_that_cannot_be_run_is_said(empty_path: Path) -> None:
    missing = run(EXPERIMENTS["no-gil"], replace(SMALL, jython="no-such.jar"))
    assert "cannot run no-such.jar: no java on PATH" in next(iter(missing.absent.values()))
    jar = empty_path / "jython.jar"
    jar.touch()
    acts_as(empty_path, "java", "echo 'Error: Unable to access jarfile' >&2; exit 1\n")
    broken = run(EXPERIMENTS["no-gil"], replace(SMALL, jython=str(jar)))
    assert "Unable to access jarfile" in next(iter(broken.absent.values()))
    assert list(broken.samples) == [elsewhere.HERE]


def test_its_script_runs_in_this_python_too() -> None:
    assert elsewhere.threads_over_serial([sys.executable], 20_000, 2) > 0


def test_without_a_name_it_lists_the_experiments(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lab"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in EXPERIMENTS)


def test_it_keeps_the_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "lab.json"
    names = ["countdown-serial", "sleep-threads"]
    status = main(
        ["lab", *names, "--n", "2000", "--seconds", "0.001", "--rounds", "2", "--json", str(path)]
        + ["--report", str(tmp_path / "lab.html"), "--pictures", str(tmp_path)]
    )
    record = json.loads(path.read_text())
    assert [one["name"] for one in record["experiments"]] == names
    assert (tmp_path / "lab.html").read_text().count("<svg") == 2
    assert (tmp_path / "sleep-threads.svg").read_text().startswith("<svg")
    assert record["settings"]["n"] == 2000
    states = {one["verdict"]["state"] for one in record["experiments"]}
    assert status == ("does not hold" in states)
    assert "the shape" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["no-such"], "there is no experiment no-such; there are: countdown-serial"),
        (["sleep-threads", "--json", "/no/such/folder/x"], "cannot write /no/such/folder/x"),
        (["sleep-threads", "--pictures", "/no/such"], "there is no folder /no/such"),
        (["sleep-threads", "--json", "/"], "cannot write /: it is a folder"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["lab", *arguments]) == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "soon"])
def test_seconds_that_are_none_are_refused(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["lab", "all", "--seconds", value])
    assert ended.value.code == 2
    assert "is not a number of seconds above 0" in capsys.readouterr().err


def test_the_switch_interval_is_set_back() -> None:
    before = sys.getswitchinterval()
    with switch_interval(0.001):
        assert sys.getswitchinterval() == pytest.approx(0.001)
    assert sys.getswitchinterval() == before
