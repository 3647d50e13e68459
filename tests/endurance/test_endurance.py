# SPDX-License-Identifier: BSD-3-Clause
"""A share of what the programs of this folder do for minutes; they print what they found."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import delays
import pytest

from harness import kinds, scripts

HERE = Path(__file__).parent
LIMIT_S = 300.0  # of a few seconds' work, on a machine that is busy with other things

pytestmark = pytest.mark.time_limit(LIMIT_S + 30)


def long_run(name: str, *arguments: str) -> str:
    command = [sys.executable, HERE / f"{name}.py", *arguments]
    with scripts.Program(command, env={"PYTHONPATH": str(HERE.parent)}) as program:
        done = program.finish(LIMIT_S)
    assert done.code == 0, done.out + done.err
    return done.out


@pytest.mark.parametrize(
    ("kind", "start", "kills"),
    [
        ("process", "template", 250),
        ("process", "spawn", 50),
        ("interpreter", "template", 50),
        ("auto", "template", 50),
    ],
)
def test_nothing_is_lost_when_processes_are_killed_at_random(
    kind: str, start: str, kills: int
) -> None:
    if kind not in kinds.HERE:
        pytest.skip("this Python has no interpreters that could be workers")
    out = long_run("chaos", f"--kind={kind}", f"--start={start}", f"--kills={kills}")
    assert f"{kills} kills" in out
    assert " 0 wrong, 0 never ended, 0 begun too often or never; 0 leaked;" in out


def test_nothing_grows_while_everything_happens() -> None:
    """Too short to tell a slow leak of memory; what is left open shows at once."""
    out = long_run("soak", "--minutes=0.1", f"--memory-drift={128 << 20}")
    assert out.endswith("\n0 faults\n")


@pytest.mark.skipif(find_spec("numpy") is None, reason="it is about NumPy's arrays")
def test_arenas_are_bounded_by_what_is_alive_however_many_arrays_go_through() -> None:
    assert long_run("chain", "--count=2000").endswith("\n0 faults\n")


def test_a_worker_that_scribbles_harms_nothing_but_its_own_tasks() -> None:
    out = long_run("scribbles", "--count=500")
    assert "0 wrong in clean workers" in out
    assert "; 0 leaked" in out


@pytest.mark.skipif(not delays.may_trace_children(), reason="ptrace is not allowed here")
def test_pools_whose_threads_are_held_up_at_random_give_every_result() -> None:
    work = """
        import sys, time, owngil
        kinds = sys.argv[1:]
        pools = [owngil.Pool(2, kind=kind) for kind in kinds]
        end = time.monotonic() + 3
        while time.monotonic() < end:
            for pool in pools:
                assert list(pool.map(abs, range(100))) == list(range(100))
                assert pool.submit(pow, 2, 5).result() == 32
        print(*[sum(worker.tasks_done for worker in pool.stats().workers) > 0 for pool in pools])
    """
    here = [kind for kind in ("process", "interpreter") if kind in kinds.HERE]
    out = long_run("delays", sys.executable, "-c", scripts.dedent(work), *here)
    results, held = out.splitlines()
    assert results.split() == ["True"] * len(here)
    assert "owngil-control" in held
