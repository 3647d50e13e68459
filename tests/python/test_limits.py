# SPDX-License-Identifier: BSD-3-Clause
"""Where the system refuses, one clear error names the call and the limit; nothing stays behind."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

import harness
import owngil
import owngil._core as _core
from harness import processes, scripts
from harness.conditions import wait_until

(TESTS,) = {path.rpartition("/")[0] for path in harness.__path__}


@pytest.mark.parametrize("spare", range(14))
def test_too_few_file_descriptors_make_one_clear_error(spare: int) -> None:
    """Whichever of its descriptors is the one too many."""
    source = f"""
        import os, resource, sys
        import owngil
        used = len(os.listdir("/proc/self/fd"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + {spare}, used + {spare}))
        before = sorted(os.listdir("/proc/self/fd"))
        try:
            pool = owngil.Pool(2)
            print(pool.submit(pow, 2, 3).result())
            pool.shutdown()
        except OSError as error:
            print("refused:", error)
            del error
    """
    done = scripts.run_code(source, quiet=False)
    assert done.lines == ["8"] or (
        done.lines[0].startswith("refused: ")
        and "Too many open files" in done.lines[0]
        and "RLIMIT_NOFILE" in done.out
    ), done
    assert "Traceback" not in done.err


def test_after_too_few_file_descriptors_a_pool_works_once_there_are_enough() -> None:
    assert scripts.run_code("""
        import os, resource, owngil
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        used = len(os.listdir("/proc/self/fd"))
        for spare in range(12):
            resource.setrlimit(resource.RLIMIT_NOFILE, (used + spare, hard))
            try:
                with owngil.Pool(2) as pool: pool.submit(pow, 2, 3).result()
            except OSError: pass
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        with owngil.Pool(2) as pool: print(pool.submit(pow, 2, 3).result())
    """).lines == ["8"]


def test_a_pool_that_was_refused_leaves_no_descriptors() -> None:
    assert scripts.run_code("""
        import gc, os, resource, time, owngil
        until = time.monotonic() + 20
        with owngil.Pool(1) as pool: pool.submit(pow, 2, 3).result()
        def count(): gc.collect(); return len(os.listdir("/proc/self/fd"))
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        before = count()
        resource.setrlimit(resource.RLIMIT_NOFILE, (before + 3, hard))
        for _ in range(5):
            try:
                with owngil.Pool(2) as pool: pool.submit(pow, 2, 3).result()
                print("was not refused")
            except OSError: pass
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        while count() > before and time.monotonic() < until: os.sched_yield()
        print(max(0, count() - before))
    """).lines == ["0"]


def test_without_memory_for_a_result_or_an_argument_that_task_fails_and_the_pool_lives() -> None:
    assert scripts.run_code("""
        import resource
        resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
        import owngil
        SIZE = 300_000_000
        with owngil.Pool(1) as pool:
            print(type(pool.submit(bytes, SIZE).exception()).__name__)
            try: pool.submit(len, bytes(SIZE)).result()
            except MemoryError: print("MemoryError")
            print(len(pool.submit(bytes, SIZE // 1000).result()))
    """).lines == ["MemoryError", "MemoryError", "300000"]


def test_a_package_that_was_upgraded_under_a_running_program_is_told_clearly(
    tmp_path: Path,
) -> None:
    """The template finds another build where the user's process had found its own."""
    package = Path(owngil.__file__).parent
    shutil.copytree(package, tmp_path / "owngil", ignore=shutil.ignore_patterns("__pycache__"))
    compiled = Path(_core.__file__)
    if not (tmp_path / "owngil" / compiled.name).exists():
        shutil.copy(compiled, tmp_path / "owngil")
    source = """
        import os, sys
        from pathlib import Path
        sys.path.insert(0, sys.argv[1])
        import owngil
        assert owngil.__file__.startswith(sys.argv[1]), owngil.__file__
        with owngil.Pool(1) as pool:
            pool.submit(pow, 2, 3).result()
            files = list(Path("/proc/self/fd").iterdir())
            (board,) = [f for f in files if f.is_symlink() and "owngil-board" in str(f.readlink())]
            number = os.pread(int(board.name), 8, 8)
        (core,) = Path(sys.argv[1]).glob("owngil/_core*.so")
        data = core.read_bytes()
        assert number in data, "the build's number does not stand in the module as it is"
        core.unlink()
        core.write_bytes(data.replace(number, bytes(8)))
        try:
            with owngil.Pool(1, preload=["colorsys"]) as pool:
                print(pool.submit(pow, 2, 3).result())
        except Exception as error:
            print(type(error).__name__, error, error.__cause__)
    """
    done = scripts.run_code(source, str(tmp_path), quiet=False)
    assert "8" not in done.lines
    assert "the owngil package was replaced while the program ran" in done.out


def test_a_missing_guardian_is_told_clearly(tmp_path: Path) -> None:
    package = Path(owngil.__file__).parent
    shutil.copytree(package, tmp_path / "owngil", ignore=shutil.ignore_patterns("owngil-guardian"))
    done = scripts.run_code(
        """
        import sys
        sys.path.insert(0, sys.argv[1])
        import owngil
        assert owngil.__file__.startswith(sys.argv[1]), owngil.__file__
        try:
            with owngil.Pool(1) as pool: print(pool.submit(pow, 2, 3).result())
        except Exception as error: print(type(error).__name__, error)
        """,
        str(tmp_path),
        quiet=False,
    )
    assert "owngil-guardian" in done.out


def test_a_killed_guardian_does_not_hang_the_pool() -> None:
    """Without it nobody can start workers; what is left is told, not waited for."""
    source = """
        import os, signal, sys, time
        sys.path.insert(0, sys.argv[1])
        import owngil
        from harness import processes
        pool = owngil.Pool(1)
        pool.submit(pow, 2, 3).result()
        (guardian,) = processes.guardians(os.getpid())
        os.kill(guardian.pid, signal.SIGKILL)
        while processes.is_alive(guardian): pass
        try: print(pool.submit(pow, 2, 3).result(timeout=30))
        except Exception as error: print(type(error).__name__)
        with owngil.Pool(1) as later:
            print(later.submit(pow, 2, 3).result(timeout=30))
    """
    done = scripts.run_code(source, TESTS, quiet=False)
    assert done.lines[0] in ("8", "WorkerDied", "PoolBroken"), done
    assert done.lines[1] == "8"


def test_a_killed_template_takes_no_worker_with_it_and_is_replaced() -> None:
    source = """
        import os, signal, sys
        sys.path.insert(0, sys.argv[1])
        import owngil
        from harness import leaks, processes
        pool = owngil.Pool(1)
        pid = pool.submit(os.getpid).result()
        for template in leaks.take_stock().templates: os.kill(template, signal.SIGKILL)
        print(pool.submit(os.getpid).result() == pid)
        try: pool.submit(os._exit, 1).result()
        except owngil.WorkerDied: print("died")
        print(pool.submit(pow, 2, 3).result())
    """
    done = scripts.run_code(source, TESTS, quiet=False)
    assert done.lines == ["True", "died", "8"]


def test_a_refused_pool_leaves_no_processes() -> None:
    source = """
        import os, resource, owngil
        used = len(os.listdir("/proc/self/fd"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + 7, used + 7))
        try:
            with owngil.Pool(2) as pool: pool.submit(pow, 2, 3).result()
        except OSError: pass
        print("ready", flush=True)
        import signal; signal.pause()
    """
    with scripts.Program([sys.executable, "-c", scripts.dedent(source)]) as program:
        wait_until(program.out)
        family = processes.family(program.pid)
        program.kill(9)
        program.finish()
    wait_until(lambda: not any(map(processes.is_alive, family)), "all have ended")
