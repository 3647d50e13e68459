# SPDX-License-Identifier: BSD-3-Clause
"""`owngil.compare`: what it recommends on recorded figures, and that it runs; nothing is timed."""

from __future__ import annotations

import json
import random
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import owngil
from harness import kinds
from owngil._cli import main
from owngil._compare.advice import advise
from owngil._compare.comparison import Comparison, Row
from owngil._compare.measure import worker_counts
from owngil._compare.models import Amdahl, Usl, amdahl, amdahl_speed_up, usl, usl_speed_up
from owngil._compare.sizes import bytes_per_task, private_bytes
from owngil._compare.text import predictions, told
from owngil._lab.verdict import Conditions
from owngil._report.compare import comparison_page


def row(kind: str, workers: int, seconds: float, spread: float = 0.01) -> Row:
    times = [seconds * (1 + spread * step) for step in (-1, 0, 1, 0.5, -0.5)]
    return Row(kind, workers, times, [seconds] * 5, 2_000_000, 0.03)


def compared(*rows: Row, **changes: Any) -> Comparison:
    comparison = Comparison(
        function="module:work",
        items=100,
        items_given=1000,
        call_seconds=0.01,
        cpu_share=1.0,
        bytes_per_task=35.0,
        gil_share=0.97,
        rows=[row("serial", 1, 1.0), *rows],
        absent={},
        conditions=Conditions(2, 0.99, 0.01),
        results_agree=True,
    )
    return replace(comparison, **changes)


CPU_BOUND = compared(
    row("process", 1, 1.01), row("process", 2, 0.52), row("thread", 1, 1.0), row("thread", 2, 1.02)
)


def test_a_function_that_holds_the_gil_gets_processes() -> None:
    advice = advise(CPU_BOUND)
    assert advice.code == ("with owngil.Pool(2) as pool: results = list(pool.map(work, items))")
    assert "holds the GIL 97% of the time" in advice.reason
    assert "they share a GIL" in advice.reason
    assert "pays off from about 6 items on" in advice.reason  # 30 ms, 4.8 ms saved each


def test_interpreters_that_are_as_fast_are_simpler() -> None:
    both = compared(row("process", 2, 0.52), row("interpreter", 2, 0.54), row("thread", 2, 1.0))
    assert 'owngil.Pool(2, kind="interpreter")' in advise(both).code
    refused = compared(
        row("process", 2, 0.52), absent={"interpreter": "ImportError: numpy does not support it"}
    )
    assert "owngil.Pool(2) " in advise(refused).code
    assert "interpreters could not run it (ImportError: numpy" in advise(refused).reason


def test_a_function_that_waits_gets_threads() -> None:
    advice = advise(compared(row("process", 2, 0.52), row("thread", 2, 0.51)))
    assert 'owngil.Pool(2, kind="thread")' in advice.code
    assert "gives the GIL up" in advice.reason
    assert "more threads than CPUs" not in advice.reason  # it computes without the GIL
    waits = compared(row("process", 2, 0.52), row("thread", 2, 0.51), cpu_share=0.01)
    assert "computes 1% of the time" in advise(waits).reason
    assert "more threads than CPUs" in advise(waits).reason


def test_a_function_that_is_too_short_stays_serial() -> None:
    advice = advise(compared(row("process", 1, 1.9), row("process", 2, 1.5), row("thread", 2, 3.0)))
    assert advice.code == "results = [work(item) for item in items]"
    assert "no pool was worth it" in advice.reason


def test_a_machine_that_is_not_fit_gets_no_recommendation() -> None:
    for conditions in (Conditions(2, 0.5, 0.0), Conditions(1, 1.0, 0.0), Conditions(2, 1, 0.9)):
        advice = advise(replace(CPU_BOUND, conditions=conditions))
        assert advice.code == ""
        assert advice.reason.startswith("No recommendation: ")


def test_wide_intervals_get_no_recommendation() -> None:
    advice = advise(compared(row("process", 2, 0.7, spread=0.6)))
    assert advice.code == ""
    assert "too wide" in advice.reason


def test_the_laws_find_the_parameters_that_made_the_figures() -> None:
    rounds = [{w: amdahl_speed_up(0.1, w) for w in (1, 2, 4, 8)}] * 5
    law = amdahl(rounds, cpus=8)
    assert isinstance(law, Amdahl)
    assert law.serial_share.median == pytest.approx(0.1)
    assert law.predict(1000).median == pytest.approx(9.91, abs=0.01)
    assert law.trust.startswith("up to about 32 workers")

    rounds = [{w: usl_speed_up(0.05, 0.01, w) for w in (1, 2, 4, 8)}] * 5
    scaling = usl(rounds, cpus=8)
    assert isinstance(scaling, Usl)
    assert scaling.contention.median == pytest.approx(0.05)
    assert scaling.coherence.median == pytest.approx(0.01)
    assert scaling.peak == pytest.approx(9.75, abs=0.01)
    assert scaling.predict(8) == pytest.approx(usl_speed_up(0.05, 0.01, 8))


def test_no_parameter_is_below_nothing() -> None:
    better_than_linear = [{1: 1.0, 2: 2.2, 4: 4.5}] * 5
    law, scaling = amdahl(better_than_linear, 4), usl(better_than_linear, 4)
    assert isinstance(law, Amdahl)
    assert law.serial_share.median == 0
    assert isinstance(scaling, Usl)
    assert (scaling.contention.median, scaling.coherence.median, scaling.peak) == (0, 0, None)


def test_a_law_says_how_little_two_cores_tell() -> None:
    rounds = [{1: 1.0, 2: 1.9}] * 5
    law = amdahl(rounds, 2)
    assert isinstance(law, Amdahl)
    assert "nothing shows whether the law fits" in law.trust
    assert "two parameters" in str(usl(rounds, 2))
    assert "2 workers or more" in str(amdahl([{1: 1.0}], 2))
    crowded = amdahl([{1: 1.0, 2: 1.9, 4: 1.9}] * 5, 2)
    assert isinstance(crowded, Amdahl)
    assert "waited for each other" in crowded.trust
    (said,) = predictions(CPU_BOUND)
    assert "Amdahl" in said
    assert "USL" in said


def test_figures_of_a_row_come_from_ratios_within_rounds() -> None:
    two = CPU_BOUND.of_kind("process")[1]
    assert CPU_BOUND.speed_up(two).median == pytest.approx(1 / 0.52)
    assert CPU_BOUND.efficiency(two) == pytest.approx(0.5 / 0.52)
    assert CPU_BOUND.overhead(two) == pytest.approx((2 * 0.52 - 1) / 100, rel=0.01)


def test_worker_counts_are_all_while_few_then_double() -> None:
    assert worker_counts(1) == [1]
    assert worker_counts(3) == [1, 2, 3]
    assert worker_counts(12) == [1, 2, 3, 4, 8, 12]


def test_bytes_are_those_of_argument_and_result() -> None:
    assert bytes_per_task([b"x" * 1000], [None]) > 1000
    assert bytes_per_task([lambda: 1], [1]) > 0
    assert private_bytes([0]) == 0
    assert private_bytes([__import__("os").getpid()]) > 1_000_000


def half(n: int) -> float:
    return n / 2


def test_it_runs_in_every_way_and_shows_itself() -> None:
    comparison = owngil.compare(half, range(50), workers=2, seconds=0.05)
    labels = {(one.kind, one.workers) for one in comparison.rows}
    assert {("serial", 1), ("process", 1), ("process", 2), ("thread", 2)} <= labels
    assert all(len(one.seconds) >= 5 for one in comparison.rows)
    assert comparison.results_agree
    assert set(comparison.absent) == {"process", "interpreter"}.difference(kinds.HERE)
    text = str(comparison)
    assert "process, 2 workers" in text
    assert "group many into one call" in text
    assert "<svg" in comparison._repr_html_()
    assert json.loads(json.dumps(comparison.record()))["items"] == comparison.items


def test_a_function_with_a_mind_of_its_own_is_noticed() -> None:
    comparison = owngil.compare(lambda n: random.random(), range(50), workers=1, seconds=0.05)
    assert not comparison.results_agree
    assert "did not find the same results" in told(comparison)


def naps(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def test_what_a_call_waits_for_needs_no_cpu() -> None:
    comparison = owngil.compare(naps, [0.01] * 8, workers=2, seconds=0.05)
    assert comparison.call_seconds >= 0.01
    assert comparison.cpu_share < 0.5
    assert comparison.conditions.share == 1.0  # no loop had to count beside it


def test_rounds_are_as_short_as_the_slowest_way_demands() -> None:
    comparison = owngil.compare(half, range(20_000), workers=1, seconds=0.2)
    assert comparison.items < 20_000
    assert comparison.items_given == 20_000
    assert comparison.results_agree


def fails_late(n: int) -> int:
    if n == 40:
        raise KeyError(n)
    return n


@pytest.mark.parametrize(
    ("function", "items", "sentence"),
    [
        ("no function", [1], "takes a function, not 'no function'"),
        (half, [], "there are no items"),
        (half, 5, "items must be something to iterate over"),
        (half, ["a"], "fails on its first item, 'a': TypeError"),
        (fails_late, range(50), "fails on an item, 40: KeyError"),
    ],
)
def test_what_cannot_be_compared_is_said_in_a_sentence(
    function: Any, items: Any, sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        owngil.compare(function, items, workers=1, seconds=0.05)


def test_a_call_that_takes_too_long_is_killed() -> None:
    with pytest.raises(ValueError, match="one call takes longer than"):
        owngil.compare(time.sleep, [600], seconds=1)


def test_counts_and_times_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="workers must be"):
        owngil.compare(half, [1], workers=0)
    with pytest.raises(ValueError, match="seconds must be"):
        owngil.compare(half, [1], seconds=0)


@pytest.mark.parametrize(
    ("function", "items", "sentence"),
    [
        ("math", "[1]", "does not name a function as MODULE:FUNCTION does"),
        ("no_such_module:f", "[1]", "there is no module no_such_module"),
        ("math:no_such", "[1]", "module math has no no_such"),
        ("math:pi", "[1]", "math:pi cannot be called: it is float"),
        ("math:sqrt", "range(", "cannot be evaluated: SyntaxError"),
        ("math:sqrt", "pi", "is float, which cannot be iterated over"),
        ("math:sqrt", "[-1.0]", "fails on its first item, -1.0: ValueError"),
    ],
)
def test_bad_input_ends_with_a_sentence_and_status_2(
    function: str, items: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", function, "--items", items]) == 2
    err = capsys.readouterr().err
    assert sentence in err
    assert "Traceback" not in err


def test_a_module_that_cannot_be_imported_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken_here.py").write_text("1 / 0\n")
    monkeypatch.chdir(tmp_path)
    assert main(["compare", "broken_here:f", "--items", "[1]"]) == 2
    assert "cannot be imported: ZeroDivisionError" in capsys.readouterr().err


def test_the_command_writes_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report, figures = tmp_path / "report.html", tmp_path / "figures.json"
    assert main(
        ["compare", "math:sqrt", "--items", "range(50)", "--workers", "1", "--seconds", "0.05",
         "--report", str(report), "--json", str(figures)]
    ) == 0  # fmt: skip
    assert report.read_text().count("<svg") == 2
    record = json.loads(figures.read_text())["comparison"]
    assert record["function"] == "math:sqrt"
    assert record["items_given"] == 50
    # On a machine that is busy it may have taken fewer, so that a round is not too long.
    assert f"math:sqrt over {record['items']} items" in capsys.readouterr().out
    assert main(["compare", "math:sqrt", "--items", "[1]", "--report", "/no/such/x.html"]) == 2


def test_a_browser_shows_its_report_without_a_complaint(tmp_path: Path) -> None:
    from harness import browser

    machine = {"cpu": "a CPU", "cpus": 2, "kernel": "6", "python": "3.13 x", "owngil": "1"}
    document, console = browser.after_script(comparison_page(CPU_BOUND, machine, "today"), tmp_path)
    assert 'data-owngil="ready"' in document
    assert console == []
