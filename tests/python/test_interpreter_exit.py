# SPDX-License-Identifier: BSD-3-Clause
"""How a program with a pool ends: as with the standard pool, and never by hanging or crashing."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from harness import processes, scripts
from harness.conditions import wait_until


def test_a_program_that_leaves_its_pool_open_ends_silently() -> None:
    assert scripts.run_code("""
        import owngil
        pool = owngil.Pool(2)
        print(pool.submit(pow, 2, 3).result())
    """).lines == ["8"]


def test_a_program_that_never_used_its_pool_ends_silently() -> None:
    scripts.run_code("import owngil; pool = owngil.Pool(2)")


def test_a_generator_that_holds_its_pool_open_does_not_hang_the_exit() -> None:
    """Its `with` block is left while Python tears modules down."""
    assert scripts.run_code("""
        import owngil
        def pools():
            with owngil.Pool(2) as pool:
                yield pool
        open_ = pools()
        print(next(open_).submit(pow, 2, 3).result())
    """).lines == ["8"]


def test_the_exit_waits_for_tasks_that_were_submitted() -> None:
    assert scripts.run_code("""
        import owngil, time
        def task(): time.sleep(0.2); print("done")
        pool = owngil.Pool(1)
        pool.submit(task)
    """).lines == ["done"]


def test_the_exit_waits_for_the_items_of_a_map() -> None:
    assert sorted(
        scripts.run_code("""
        import owngil
        pool = owngil.Pool(2)
        results = pool.map(print, range(20))
    """).lines
    ) == sorted(map(str, range(20)))


def test_the_exit_waits_also_after_shutdown_without_waiting() -> None:
    assert scripts.run_code("""
        import owngil, time
        def task(): time.sleep(0.2); print("done")
        pool = owngil.Pool(1)
        pool.submit(task)
        pool.shutdown(wait=False)
    """).lines == ["done"]


def test_the_exit_runs_callbacks_of_what_was_submitted() -> None:
    assert scripts.run_code("""
        import owngil
        pool = owngil.Pool(1)
        pool.submit(pow, 2, 3).add_done_callback(lambda f: print(f.result()))
    """).lines == ["8"]


def test_submit_in_an_atexit_function_is_refused_as_by_the_standard_pool() -> None:
    done = scripts.run_code(
        """
        import atexit, owngil
        pool = owngil.Pool(1)
        pool.submit(pow, 2, 3).result()
        @atexit.register
        def last():
            try: pool.submit(pow, 2, 3)
            except RuntimeError as error: print(error)
        """
    )
    (line,) = done.lines
    assert "cannot schedule new futures after" in line
    assert "shutdown" in line


def test_submit_from_a_finalizer_at_exit_neither_hangs_nor_crashes() -> None:
    done = scripts.run_code(
        """
        import owngil
        class Late:
            def __init__(self, pool): self.pool = pool
            def __del__(self):
                try: self.pool.submit(pow, 2, 3)
                except RuntimeError: pass
        pool = owngil.Pool(1)
        pool.submit(pow, 2, 3).result()
        late = Late(pool)
        late.cycle = late
        """,
        quiet=False,
    )
    assert "Fatal" not in done.err


def test_submit_from_a_finalizer_while_the_collector_runs_works() -> None:
    assert scripts.run_code("""
        import gc, owngil
        pool = owngil.Pool(1)
        futures = []
        class Late:
            def __del__(self): futures.append(pool.submit(pow, 2, 3))
        for _ in range(50):
            late = Late()
            late.cycle = late
            del late
            pool.submit(pow, 2, 3)
        gc.collect()
        print({future.result() for future in futures}, len(futures))
    """).lines == ["{8} 50"]


def test_a_result_that_is_dropped_at_exit_is_harmless() -> None:
    scripts.run_code("""
        import owngil
        pool = owngil.Pool(1)
        futures = [pool.submit(bytes, 1_000_000) for _ in range(10)]
        results = [future.result() for future in futures]
    """)


@pytest.mark.parametrize("kept", ["pool", "future", "results"])
def test_a_class_of_the_users_that_is_garbage_with_what_it_made_is_harmless(kept: str) -> None:
    """The collector takes the class apart before its instances go."""
    source = f"""
        import gc, owngil
        class Mine(owngil.Pool): pass
        pool = Mine(1)
        future = pool.submit(pow, 2, 3)
        results = pool.map(abs, range(5))
        print(future.result(), sum(results))
        Mine.kept = {kept}
        pool.me = pool
        pool.shutdown()
        del Mine, pool, future, results
        if {kept == "pool"}: gc.collect()
    """
    assert scripts.run_code(source).lines == ["8 10"]


def test_a_new_pool_at_exit_is_refused_or_works_but_does_not_hang() -> None:
    done = scripts.run_code("""
        import atexit
        @atexit.register
        def last():
            import owngil
            try:
                with owngil.Pool(1) as pool: print(pool.submit(pow, 2, 3).result())
            except RuntimeError as error: print("refused:", error)
    """)
    assert done.lines == ["8"] or done.lines[0].startswith("refused: ")


def test_a_thread_that_wants_the_gil_back_when_the_interpreter_ends_just_ends() -> None:
    # Nobody lets it out: what owngil does at the exit is not run if it came at the exit. It wants
    # the GIL from within `sum`, which lets it go only when the interpreter is about to end.
    scripts.run_code("""
        import atexit
        atexit.register(sum, range(30_000_000))
        @atexit.register
        def last():
            import owngil, _thread, time
            global pool
            try: pool = owngil.Pool(1)
            except RuntimeError: return  # CPython 3.12 refuses threads then
            future = pool.submit(time.sleep, 0.1)
            comes = _thread.allocate_lock()
            comes.acquire()
            def wait():
                comes.release()
                future.result()
            _thread.start_new_thread(wait, ())
            comes.acquire()
    """)


def test_daemon_threads_that_wait_do_not_hold_up_the_exit() -> None:
    scripts.run_code("""
        import owngil, threading
        pool = owngil.Pool(2)
        def work():
            try:
                while True: pool.submit(pow, 2, 3).result()
            except RuntimeError: pass
        for _ in range(3): threading.Thread(target=work, daemon=True).start()
        for _ in range(100): pool.submit(pow, 2, 3).result()
    """)


def test_an_uncaught_exception_ends_the_program_with_its_traceback_only() -> None:
    done = scripts.run_code(
        """
        import owngil
        with owngil.Pool(2) as pool:
            pool.submit(pow, 2, 3)
            raise ValueError("mine")
        """,
        code=1,
        quiet=False,
    )
    assert done.err.count("Traceback") == 1
    assert done.err.strip().endswith("ValueError: mine")


@pytest.mark.parametrize("code", [0, 3])
def test_sys_exit_keeps_its_code(code: int) -> None:
    scripts.run_code(
        f"""
        import owngil, sys
        pool = owngil.Pool(2)
        pool.submit(pow, 2, 3).result()
        sys.exit({code})
        """,
        code=code,
    )


@pytest.mark.parametrize(
    "end", ["os._exit(4)", "os.kill(os.getpid(), signal.SIGKILL)", "os.abort()"]
)
def test_a_program_that_ends_at_once_leaves_nothing(end: str, tmp_path: Path) -> None:
    source = f"""
        import faulthandler, os, signal, sys, owngil
        faulthandler.disable()
        def task(path):
            with open(path, "a") as file: file.write(f"{{os.getpid()}}\\n")
            signal.pause()
        pool = owngil.Pool(2)
        pool.submit(pow, 2, 3).result()
        for name in "ab":
            os.mkfifo(sys.argv[1] + name)
            pool.submit(task, sys.argv[1] + name)
        pids = [open(sys.argv[1] + name).read().strip() for name in "ab"]
        print(os.getpid(), *pids, flush=True)
        {end}
    """
    command = [sys.executable, "-c", scripts.dedent(source), tmp_path / "fifo"]
    with scripts.Program(command) as program:
        done = program.finish()
    pids = [int(word) for word in done.out.split()]
    assert len(pids) == 3
    wait_until(lambda: not any(map(processes.read, pids)), f"{pids} have ended")


def test_a_killed_program_takes_everything_that_its_workers_started_with_it(
    tmp_path: Path,
) -> None:
    source = """
        import os, subprocess, sys, owngil
        def task(path):
            child = subprocess.Popen(["sleep", "1000"], start_new_session=True)
            with open(path, "w") as file: file.write(f"{os.getpid()} {child.pid}")
            child.wait()
        pool = owngil.Pool(1)
        os.mkfifo(sys.argv[1])
        pool.submit(task, sys.argv[1])
        print(open(sys.argv[1]).read(), flush=True)
        pool.submit(pow, 2, 3).result()
    """
    command = [sys.executable, "-c", scripts.dedent(source), tmp_path / "fifo"]
    with scripts.Program(command) as program:
        pids = [int(word) for word in wait_until(program.out).split()]
        guardians = [process.pid for process in processes.guardians(program.pid)]
        assert len(guardians) == 1
        program.kill(signal.SIGKILL)
        program.finish()
    wait_until(lambda: not any(map(processes.read, [*pids, *guardians])), f"{pids} have ended")


def test_when_guardian_and_program_are_killed_together_the_workers_end_by_themselves() -> None:
    source = """
        import time, owngil
        pool = owngil.Pool(2)
        list(pool.map(abs, range(2), chunksize=1))
        print(*[worker.pid for worker in pool.stats().workers if worker.pid], flush=True)
        time.sleep(1000)
    """
    with scripts.Program([sys.executable, "-c", scripts.dedent(source)]) as program:
        pids = [int(word) for word in wait_until(program.out).split()]
        everything = processes.family(program.pid)
        (guardian,) = processes.guardians(program.pid)
        os.kill(guardian.pid, signal.SIGKILL)
        program.kill(signal.SIGKILL)
        program.finish()
    assert set(pids) <= {process.pid for process in everything}
    wait_until(lambda: not any(map(processes.is_alive, everything)), "all have ended")


def test_when_a_program_ends_in_the_ordinary_way_its_guardian_does_too(tmp_path: Path) -> None:
    source = """
        import sys, owngil
        with owngil.Pool(2) as pool: pool.submit(pow, 2, 3).result()
        print("closed", flush=True)
        open(sys.argv[1]).read()
    """
    os.mkfifo(tmp_path / "fifo")
    command = [sys.executable, "-c", scripts.dedent(source), tmp_path / "fifo"]
    with scripts.Program(command) as program:
        wait_until(program.out)
        (guardian,) = processes.guardians(program.pid)
        (tmp_path / "fifo").write_text("go on")
        assert program.finish().code == 0
    wait_until(lambda: not processes.is_alive(guardian), "the guardian has ended")


# --- pools that nobody holds any more


def test_the_exit_waits_for_the_tasks_of_a_pool_that_nobody_holds() -> None:
    assert scripts.run_code("""
        import owngil, time
        def task(): time.sleep(0.2); print("done")
        owngil.Pool(1).submit(task)
    """).lines == ["done"]


def test_the_exit_waits_for_the_callbacks_of_a_pool_that_nobody_holds() -> None:
    assert scripts.run_code("""
        import owngil, time
        def tell(future): time.sleep(0.2); print(future.result())
        owngil.Pool(1).submit(pow, 2, 3).add_done_callback(tell)
    """).lines == ["8"]


def test_a_worker_that_dies_while_the_exit_waits_fails_its_task_as_ever() -> None:
    """What the exception needs is imported only then, when that is no longer foreseen."""
    done = scripts.run_code("""
        import os, owngil, time
        def task(): time.sleep(0.2); os._exit(7)
        pool = owngil.Pool(1)
        pool.submit(task).add_done_callback(lambda future: print(repr(future.exception())[:11]))
        pool.submit(print, "next")
    """)
    assert sorted(done.lines) == ["WorkerDied(", "next"]
