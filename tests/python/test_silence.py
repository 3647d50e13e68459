# SPDX-License-Identifier: BSD-3-Clause
"""An idle pool is silent: no process and no thread of it wakes up, the user's included.

The bench measures the exact figure over 30 s; here the bound is what no timer of even one second's
period could keep.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator

import pytest

from harness import scripts

PROGRAM = """
    import json, os, sys, time
    sys.path.insert(0, sys.argv[1])
    import owngil
    from harness import processes

    WINDOW_S, SETTLED_AFTER = 5.0, 3

    def switches():
        counts = {}
        for pid in [os.getpid(), *(process.pid for process in processes.family(os.getpid()))]:
            try:
                count(pid, counts)
            except OSError:
                pass  # it has just ended
        return counts

    def count(pid, counts):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/status") as file:
                for line in file:
                    if line.startswith("voluntary_ctxt_switches"):
                        name = open(f"/proc/{pid}/task/{thread}/comm").read().strip()
                        counts[f"{name} {pid}/{thread}"] = int(line.split()[1])

    pool = owngil.Pool(2, **settings)
    prepare(pool)
    before = switches()
    while True:  # spinning has decayed, and templates have warmed up, when a second brings nothing
        time.sleep(1)
        now = switches()
        if all(now[key] - before.get(key, 0) <= 1 for key in now):
            break
        before = now
    before = switches()
    time.sleep(WINDOW_S)
    after = switches()
    print(json.dumps({key: after[key] - before[key] for key in after if key in before}))
"""

STATES = {
    "after a call": "pool.submit(pow, 2, 3).result()",
    "after a map": "list(pool.map(abs, range(10_000)))",
    "after a callback": "pool.submit(pow, 2, 3).add_done_callback(print)",
    "with results that nobody asked for": "pool.kept = [pool.submit(abs, n) for n in range(50)]",
    "after a line and a record": "import logging; pool.submit(print, 1).result(); "
    "pool.submit(logging.getLogger().info, 1).result()",
    "after a death": "pool.submit(os._exit, 1).exception(); pool.submit(abs, 1).result()",
    "with an idle timeout that is far": "pool.submit(pow, 2, 3).result()",
    "when its workers have left": (
        "while any(w.pid for w in pool.stats().workers): os.sched_yield()"
    ),
    "after it was resized": "pool.resize(3); pool.submit(pow, 2, 3).result(); pool.resize(1)",
}
SETTINGS = {
    "with an idle timeout that is far": {"idle_timeout": 3600},
    "when its workers have left": {"idle_timeout": 0.2},
}


@pytest.fixture(scope="module")
def programs() -> Iterator[dict[str, scripts.Program]]:
    """One for each state, all at once: they do next to nothing, each for seconds."""
    import harness

    (folder,) = {path.rpartition("/")[0] for path in harness.__path__}
    with contextlib.ExitStack() as running:
        started = {}
        for state, work in STATES.items():
            prepare = f"def prepare(pool):\n    import os, sys\n    {work}\n"
            prepare += f"settings = {SETTINGS.get(state, {})}\n"
            command = [sys.executable, "-c", prepare + scripts.dedent(PROGRAM), folder]
            started[state] = running.enter_context(scripts.Program(command))
        yield started


@pytest.mark.parametrize("state", STATES)
def test_an_idle_pool_is_silent(state: str, programs: dict[str, scripts.Program]) -> None:
    done = programs[state].finish()
    assert done.code == 0, done.err
    counts = json.loads(done.lines[-1])
    assert len(counts) >= 4, counts
    assert all(count <= 3 for count in counts.values()), counts
