# SPDX-License-Identifier: BSD-3-Clause
"""`owngil bench`: what it calls a regression on recorded runs, and that it runs a program."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness import browser
from owngil._bench import programs
from owngil._bench.against import BETTER, REGRESSION, SAME, UNKNOWN, compared, differences
from owngil._cli import main
from owngil._report.bench import bench_page

SOURCE = programs.folder()
in_a_clone = pytest.mark.skipif(SOURCE is None, reason="installed without its source")


def recorded(
    ours: list[float], peers: list[float], kind: str = "latency", **machine: str
) -> dict[str, Any]:
    def figures(values: list[float]) -> dict[str, Any]:
        statistics = dict.fromkeys(("p50", "p90", "p99", "min", "max"), values[0])
        return {"round trip": statistics | {"round_medians": values}}

    about = {"cpu": "a CPU", "cpus_used": [0, 1], "kernel": "6", "python": "3.13 x", "commit": "c"}
    variant = {
        "metrics": {"round trip": {"kind": kind, "unit": "µs", "scale": 1e6}},
        "contenders": {"owngil": figures(ours), "loky": figures(peers)},
        "absent": {"pebble": "not installed"},
    }
    bench = {"machine": about | machine, "variants": {"plain": variant}}
    return {"when": "today", "benches": {"roundtrip": bench}}


STEADY = [1.00e-6, 1.01e-6, 1.02e-6, 0.99e-6, 1.00e-6]
SLOWER = [1.50e-6, 1.51e-6, 1.49e-6, 1.52e-6, 1.50e-6]
NOISY = [0.5e-6, 1.5e-6, 1.0e-6, 2.0e-6, 1.2e-6]


@pytest.mark.parametrize(
    ("old", "new", "state"),
    [
        (recorded(STEADY, STEADY), recorded(SLOWER, STEADY), REGRESSION),
        (recorded(SLOWER, STEADY), recorded(STEADY, STEADY), BETTER),
        (recorded(STEADY, STEADY), recorded(STEADY, STEADY), SAME),
        (recorded(STEADY, STEADY), recorded(NOISY, STEADY), SAME),
        (recorded(STEADY, STEADY), recorded(SLOWER, SLOWER), SAME),  # the machine is slower
        (recorded(STEADY, STEADY, "rate"), recorded(SLOWER, STEADY, "rate"), BETTER),
        (recorded(SLOWER, STEADY, "rate"), recorded(STEADY, STEADY, "rate"), REGRESSION),
        (recorded(STEADY[:2], STEADY), recorded(SLOWER, STEADY), UNKNOWN),
    ],
)
def test_a_regression_is_beyond_noise_and_beyond_the_machine(
    old: dict[str, Any], new: dict[str, Any], state: str
) -> None:
    (finding,) = compared(old, new)
    assert finding.contender == "owngil"
    assert finding.state == state, finding


def counted(ok: int, hang: int) -> dict[str, Any]:
    def seen(ok: int, hang: int) -> dict[str, Any]:
        tasks = {"ok": ok, "failed": 20 - ok - hang, "hang": hang}
        return {"tasks": tasks, "errors": {"WorkerDied": 1}, "usable": True}

    about = recorded(STEADY, STEADY)["benches"]["roundtrip"]["machine"]
    variant = {"contenders": {"owngil": seen(ok, hang), "loky": seen(5, 3)}, "absent": {}}
    return {
        "when": "today",
        "benches": {"crash": {"machine": about, "variants": {"killed": variant}}},
    }


@pytest.mark.parametrize(
    ("old", "new", "states"),
    [
        (counted(19, 0), counted(19, 0), [SAME, SAME]),
        (counted(19, 0), counted(18, 0), [REGRESSION, SAME]),
        (counted(19, 0), counted(18, 1), [REGRESSION, REGRESSION]),
        (counted(18, 2), counted(19, 1), [BETTER, BETTER]),
    ],
)
def test_what_is_counted_has_no_noise(
    old: dict[str, Any], new: dict[str, Any], states: list[str]
) -> None:
    findings = compared(old, new)
    assert [one.metric for one in findings] == ["ok", "hang"]
    assert [one.state for one in findings] == states
    assert all((one.cost > 1) == (one.state == REGRESSION) for one in findings)


def test_counts_are_drawn_as_bars_that_add_up(tmp_path: Path) -> None:
    page = bench_page(counted(19, 0), [], [])
    assert "19 right, 1 failed" in page
    assert "5 right, 12 failed, 3 left hanging" in page
    assert "1 WorkerDied" in page
    document, console = browser.after_script(page, tmp_path)
    assert 'data-owngil="ready"' in document
    assert console == []


def test_a_run_says_which_of_its_contenders_are_ours() -> None:
    old, new = recorded(STEADY, STEADY), recorded(STEADY, SLOWER)
    for run in (old, new):
        run["benches"]["roundtrip"]["variants"]["plain"]["ours"] = ["loky"]
    (finding,) = compared(old, new)
    assert (finding.contender, finding.state) == ("loky", REGRESSION)


def test_what_only_one_run_has_is_not_compared() -> None:
    other = recorded(STEADY, STEADY)
    other["benches"]["map"] = other["benches"].pop("roundtrip")
    assert compared(recorded(STEADY, STEADY), other) == []


def test_two_machines_are_told_apart() -> None:
    assert differences(recorded(STEADY, STEADY), recorded(STEADY, STEADY)) == []
    (note,) = differences(recorded(STEADY, STEADY), recorded(STEADY, STEADY, cpu="another"))
    assert note == "cpu differs: a CPU and another"


def test_a_browser_shows_its_report_without_a_complaint(tmp_path: Path) -> None:
    old, new = recorded(STEADY, STEADY), recorded(SLOWER, STEADY)
    page = bench_page(new, compared(old, new), ["a note"])
    for text in ("regression: 1 of 1", "roundtrip: plain", "round trip, µs", "1.50x", "a note"):
        assert text in page
    document, console = browser.after_script(page, tmp_path)
    assert 'data-owngil="ready"' in document
    assert console == []


@in_a_clone
def test_without_a_name_it_lists_the_questions(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench"]) == 0
    out = capsys.readouterr().out
    assert "\n  roundtrip    How long does one call take" in out
    assert "\n  crash        What does one bad task cost" in out
    assert "\n  ring         What do our ring" in out


@in_a_clone
@pytest.mark.time_limit(120)
def test_it_saves_a_run_and_compares_with_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved, report = tmp_path / "saved.json", tmp_path / "report.html"
    words = ["bench", "countdown", "--quick", "--rounds", "1", "--only", "owngil,serial"]
    assert main([*words, "--save", str(saved)]) == 0
    assert main([*words, "--against", str(saved), "--report", str(report)]) == 0
    out = capsys.readouterr().out
    assert "too few rounds" in out
    assert "record.json" not in out
    assert "<svg" in report.read_text()
    contenders = json.loads(saved.read_text())["benches"]["countdown"]["variants"]["countdown"]
    assert contenders["contenders"].keys() == {"owngil", "serial"}


@in_a_clone
@pytest.mark.time_limit(120)
def test_questions_without_turns_are_asked_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved, report = tmp_path / "saved.json", tmp_path / "report.html"
    words = ["bench", "crash", "--quick", "--only", "owngil,ThreadPoolExecutor", "--rounds", "1"]
    assert main([*words, "--save", str(saved), "--report", str(report)]) == 0
    seen = json.loads(saved.read_text())["benches"]["crash"]["variants"]
    assert list(seen) == ["exits"]
    assert seen["exits"]["contenders"]["owngil"]["tasks"] == {"ok": 19, "failed": 1, "hang": 0}
    assert "left hanging" in report.read_text()
    capsys.readouterr()
    assert main([*words, "--against", str(saved)]) == 0
    assert "within noise" in capsys.readouterr().out


@in_a_clone
def test_bad_input_ends_with_a_sentence_and_status_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken, other = tmp_path / "broken.json", tmp_path / "other.json"
    broken.write_text("{")
    other.write_text("{}")
    for arguments, sentence in (
        (["no-such"], "there is no benchmark no-such; there are: backlog"),
        (["countdown", "--save", "/no/such/x.json"], "cannot write /no/such/x.json"),
        (["countdown", "--against", str(tmp_path / "none")], "cannot read"),
        (["countdown", "--against", str(broken)], "is no run that was saved"),
        (["countdown", "--against", str(other)], "is no run that `owngil bench --save`"),
    ):
        assert main(["bench", *arguments]) == 2
        assert sentence in capsys.readouterr().err


def test_without_the_source_it_says_where_the_benchmarks_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(programs, "folder", lambda: None)
    assert main(["bench", "countdown"]) == 2
    assert "they are in the source tree" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["lab", "compare", "trace", "bench", "demo"])
def test_help_shows_two_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.rpartition("examples:")[2].count(f"owngil {command}") >= 2
