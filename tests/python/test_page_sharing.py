# SPDX-License-Identifier: BSD-3-Clause
"""Workers share the template's memory for as long as nobody writes to it."""

from __future__ import annotations

import os
import sys
import textwrap
from pathlib import Path

import pytest

import owngil
from harness import scripts

pytestmark = pytest.mark.kinds("process")  # about the process that a worker is


def test_a_worker_that_has_done_a_task_has_less_than_a_mebibyte_of_its_own() -> None:
    # In a program of its own: what pytest has set up here, such as filters for warnings, a worker
    # would have to set up, too.
    sizes = scripts.run_code("""
        import os, owngil
        from pathlib import Path

        def private_dirty(pid):
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            return next(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty:"))

        with owngil.Pool(2) as pool:
            pids = {pool.submit(os.getpid).result()}
            pids |= {worker.pid for worker in pool.stats().workers if worker.pid is not None}
            for pid in pids: print(private_dirty(pid))
    """).lines
    assert max(map(int, sizes)) < 1024, sizes  # KiB


def test_a_worker_does_not_count_references_to_what_programs_are_made_of(
    pool: owngil.Pool,
) -> None:
    assert pool.submit(_are_uncounted).result() == []


def test_what_a_preloaded_module_holds_is_finalized_when_a_worker_lets_it_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = """
        class Held:
            def __del__(self):
                ended.append(self.name)

        def held(name):
            one = Held()
            one.name = name
            return one

        ended = []
        kept = held("alone")
        listed = [held("in a list")]
        mapped = {"key": held("in a dictionary")}
    """
    (tmp_path / "preloaded_holder.py").write_text(textwrap.dedent(source))
    monkeypatch.syspath_prepend(tmp_path)
    with owngil.Pool(1, preload=["preloaded_holder"]) as pool:
        ended = pool.submit(_let_go, "preloaded_holder").result()
    assert ended == ["alone", "in a list", "in a dictionary"]


def test_a_worker_frees_what_it_has_made_itself(pool: owngil.Pool) -> None:
    assert pool.submit(_make_and_drop).result() == 0


def _are_uncounted() -> list[str]:
    """Those of some things that have been there since the template began which are counted."""
    import importlib.machinery as machinery

    finder = machinery.PathFinder
    things = {
        "module": os,
        "function": os.path.join,
        "code": os.path.join.__code__,
        "class": finder,
        "built-in function": os.getpid,
        "string": os.__doc__,
    }
    forever = sys.getrefcount(None)
    return [name for name, thing in things.items() if sys.getrefcount(thing) != forever]


def _let_go(name: str) -> list[str]:
    module = sys.modules[name]
    del module.kept
    module.listed.clear()
    del module.mapped
    return list(module.ended)


def _make_and_drop() -> int:
    import weakref

    made = [type("Made", (), {}), lambda: None]
    alive = [weakref.ref(thing) for thing in made]
    made.clear()
    import gc

    gc.collect()
    return sum(one() is not None for one in alive)
