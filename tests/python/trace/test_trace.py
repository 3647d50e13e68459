# SPDX-License-Identifier: BSD-3-Clause
"""`owngil.trace`: what it records, that it leaves no mark, and what it says that it cannot see."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import owngil
from harness import browser
from owngil._cli import main
from owngil._lab.kinds import WORKER_KINDS, kinds
from owngil._options import PoolOptions
from owngil._pool import Pool
from owngil._report.trace import timeline_page
from owngil._threads import ThreadPool
from owngil._trace import spool
from owngil._trace.events import Submitted, timeline, trace_events


def square(n: int) -> int:
    return n * n


def fails(n: int) -> int:
    raise KeyError(n)


RECORDS: list[tuple[int, dict[str, Any]]] = [
    (10, {"sampling": 0}),
    (10, {"slices": [[11, True, 1000, 5000], [12, False, 1000, 5000]], "threads": {"11": "Main"},
          "cpu_ns": 70, "switches": 1, "dropped": 0, "sees_waiters": True}),
    (20, {"task": 1, "name": "f", "begun": 3000, "done": 9000, "thread": 21, "ok": True}),
    (20, {"task": 3, "item": 0, "name": "g", "begun": 9000, "done": 9500, "thread": 21,
          "ok": False}),
    (20, {"task": 3, "item": 1, "name": "g", "begun": 9500, "done": 9600, "thread": 21,
          "ok": True, "rank": 4}),
    (20, {"slices": [[21, True, 3000, 9000]], "threads": {"21": "MainThread"},
          "cpu_ns": 30, "switches": 1, "dropped": 2, "sees_waiters": True}),
    (30, {"blind": "no headers"}),
]  # fmt: skip
SUBMITTED = [
    Submitted(1, "f", 11, 2000, 2500, 9900),
    Submitted(2, "f", 11, 2600, 2700),
    Submitted(3, "g", 11, 2800, 2900, items=[9700]),
]


def test_tasks_become_slices_with_an_arrow_from_where_they_were_submitted() -> None:
    events = trace_events(timeline(10, 0, 10_000, SUBMITTED, RECORDS))["traceEvents"]

    def only(**wanted: Any) -> dict[str, Any]:
        (event,) = [e for e in events if all(e.get(k) == v for k, v in wanted.items())]
        return event

    task = only(ph="X", cat="task", name="f")
    assert (task["pid"], task["tid"], task["ts"], task["dur"]) == (20, 21, 3.0, 6.0)
    assert only(ph="s", id=1)["ts"] == 2.0
    assert only(ph="f", id=1)["ts"] == 3.0
    assert only(ph="e", id=1)["ts"] == 9.9
    assert only(ph="e", id=2)["ts"] == 10.0  # not collected while the trace ran
    assert only(ph="X", cat="submit", name="map g")["ts"] == 2.8
    first, second = [e for e in events if e["ph"] == "X" and e["name"] == "g"]
    assert first["args"] == {"task": 3, "item": 0, "ok": False, "collected after [us]": 0.2}
    assert second["args"] == {"task": 3, "item": 1, "ok": True}  # not taken while the trace ran
    assert only(ph="e", id=3)["ts"] == 9.7
    arrows = {(e["cat"], e["id"]) for e in events if e["ph"] == "s"}
    assert len(arrows) == 3
    assert arrows == {(e["cat"], e["id"]) for e in events if e["ph"] == "f"}
    assert [e["ts"] for e in events if e["ph"] == "s" and e["cat"] == "item"] == [2.8, 2.8]
    assert [e["ts"] for e in events if e["ph"] == "f" and e["cat"] == "item"] == [9.0, 9.5]


def test_rows_of_the_gil_are_apart_from_those_of_tasks() -> None:
    events = trace_events(timeline(10, 0, 10_000, SUBMITTED, RECORDS))["traceEvents"]
    gil = [e for e in events if e.get("cat") == "gil"]
    assert [(e["name"], e["ts"], e["dur"]) for e in gil] == [
        ("holds the GIL", 1.0, 4.0),
        ("waits for the GIL", 1.0, 4.0),
        ("holds the GIL", 3.0, 6.0),
    ]
    tasks = {(e["pid"], e["tid"]) for e in events if e.get("cat") in ("task", "submit")}
    assert not tasks & {(e["pid"], e["tid"]) for e in gil}
    names = {e["args"]["name"] for e in events if e["name"] == "thread_name"}
    assert {"Main", "GIL of Main", "rank 4", "GIL of rank 4", "GIL of thread 12"} <= names


def test_what_cannot_be_seen_is_said() -> None:
    hidden = timeline(10, 0, 1, [], RECORDS).cannot_see
    assert "the GIL of process 30: no headers" in hidden
    assert "2 slices of process 20: too many" in hidden
    assert any("stages inside the runtime" in one for one in hidden)


def test_the_page_draws_every_row_and_a_browser_has_no_complaint(tmp_path: Path) -> None:
    page = timeline_page(timeline(10, 0, 10_000, SUBMITTED, RECORDS))
    for row in ("program, Main: tasks", "program, Main: GIL", "worker 20, rank 4: tasks"):
        assert row in page
    document, console = browser.after_script(page, tmp_path)
    assert 'data-owngil="ready"' in document
    assert console == []


def test_tasks_of_every_pool_are_recorded_and_the_methods_given_back(tmp_path: Path) -> None:
    def methods() -> list[Any]:
        return [
            vars(owner).get(name)
            for owner in (Pool, ThreadPool, PoolOptions)
            for name in ("submit", "map")
        ]

    before = methods()
    path, html = tmp_path / "trace.json", tmp_path / "trace.html"
    with owngil.Pool(2) as pool, owngil.Pool(1, kind="thread") as threads:
        with owngil.trace(str(path), html=str(html)) as recording:
            assert pool.submit(square, 3).result() == 9
            assert threads.submit(square, 4).result() == 16
            assert pool.options(timeout=30).submit(square, 5).result() == 25
            assert list(pool.map(square, range(5))) == [0, 1, 4, 9, 16]
            assert list(threads.map(square, range(2))) == [0, 1]
            assert pool.submit(lambda: 7).result() == 7
            with pytest.raises(KeyError):
                pool.submit(fails, 1).result()
            with pytest.raises(TypeError, match="takes a callable"):
                pool.submit(3)  # type: ignore[arg-type]
        assert methods() == before
        assert pool.submit(square, 6).result() == 36
    found = recording.timeline
    names = [task["name"] for tasks in found.tasks.values() for task in tasks]
    assert names.count("square") == 1 + 1 + 1 + 5 + 2
    assert [t["ok"] for tasks in found.tasks.values() for t in tasks].count(False) == 1
    assert found.tasks.keys() - {os.getpid()}
    assert all(task["begun"] <= task["done"] for tasks in found.tasks.values() for task in tasks)
    begun = {task["task"]: task["begun"] for tasks in found.tasks.values() for task in tasks}
    (of_map,) = [one for one in found.submitted if one.items is not None]
    assert len(of_map.items or ()) == 5
    items = [t["item"] for tasks in found.tasks.values() for t in tasks if "item" in t]
    assert sorted(items) == [0, 1, 2, 3, 4]
    for one in found.submitted:
        assert one.submitted <= one.sent
        assert one.submitted <= begun[one.task]
    assert "of one CPU" in recording.overhead
    assert json.loads(path.read_text())["traceEvents"]
    assert html.read_text().startswith("<!DOCTYPE html>")


def test_a_traced_map_goes_on_behind_an_item_that_fails_and_can_be_closed() -> None:
    with owngil.Pool(1) as pool, owngil.trace() as recording:
        results = pool.map(square, [2, "x", 4], [])
        assert list(results) == []
        results = pool.map(square, [2, "x", 4])
        assert next(results) == 4
        with pytest.raises(TypeError):
            next(results)
        assert next(results) == 16
        with pytest.raises(StopIteration):
            next(results)
        endless = pool.map(square, iter(int, 1), buffersize=2)
        assert next(endless) == 0
        endless.close()  # type: ignore[attr-defined]
        assert list(pool.map(square)) == []
    assert [len(one.items or ()) for one in recording.timeline.submitted] == [0, 3, 1]


@pytest.mark.parametrize("kind", [kind for kind in kinds() if kind in WORKER_KINDS])
def test_workers_sample_their_own_gil(kind: str) -> None:
    try:
        opened = owngil.Pool(1, kind=kind)
    except (ValueError, RuntimeError) as error:  # this Python has no such workers
        pytest.skip(str(error))
    with opened as pool, owngil.trace() as recording:
        assert pool.submit(sum, range(3_000_000)).result()
    shown = recording._repr_html_()
    assert "1 tasks in" in shown
    assert "Overhead: sampling took" in shown
    assert "<html" not in shown
    (worker,) = recording.timeline.tasks
    assert worker != os.getpid()
    assert any(holds for _, holds, _, _ in recording.timeline.slices[worker])


def test_two_traces_at_once_are_refused_and_the_first_goes_on() -> None:
    with owngil.trace(), pytest.raises(RuntimeError, match="already"), owngil.trace():
        pass
    with owngil.trace():
        pass


def test_a_task_that_ends_after_the_trace_ends_as_any(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    with owngil.Pool(1) as pool:
        with owngil.trace():
            future = pool.submit(gate.read_text)
            while not future.running():
                os.sched_yield()
        gate.write_text("late")
        assert future.result() == "late"


def test_a_line_that_was_cut_is_left_out(tmp_path: Path) -> None:
    spool.append(str(tmp_path), {"sampling": 1})
    file = tmp_path / f"{os.getpid()}.jsonl"
    with file.open("a") as cut:
        cut.write('{"end":')
    assert list(spool.read(str(tmp_path))) == [(os.getpid(), {"sampling": 1})]
    assert not spool.finished(str(tmp_path))
    file.write_text('{"sampling":1}\n{"sampling":1}\n{"end":2}\n')  # of two interpreters
    assert not spool.finished(str(tmp_path))
    (tmp_path / "999999999.jsonl").write_text('{"sampling":1}\n')
    file.write_text('{"sampling":1}\n{"end":2}\n')
    assert spool.finished(str(tmp_path))  # the other process is gone
    spool.append(str(tmp_path / "no such folder"), {"task": 1})


SCRIPT = """
import sys, owngil
def work(n):
    return n + 1
with owngil.Pool(1) as pool:
    print(sys.argv[1:], pool.submit(work, 1).result(), __name__)
sys.exit(3)
"""


def test_the_command_runs_a_script_as_python_does(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    run = subprocess.run(
        [sys.executable, "-m", "owngil", "trace", "-o", "t.json", "--html", "t.html",
         "script.py", "--x", "2"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert run.stdout == "['--x', '2'] 2 __main__\n"
    assert run.returncode == 3, run.stderr
    assert "Overhead: sampling took" in run.stderr
    assert "Not to be seen: " in run.stderr
    events = json.loads((tmp_path / "t.json").read_text())["traceEvents"]
    assert any(event["name"] == "work" for event in events)
    assert (tmp_path / "t.html").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["no-such.py"], "there is no script no-such.py"),
        (["-o", "/no/such/x.json", __file__], "cannot write /no/such/x.json"),
    ],
)
def test_bad_input_ends_with_a_sentence_and_status_2(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["trace", *arguments]) == 2
    assert sentence in capsys.readouterr().err
