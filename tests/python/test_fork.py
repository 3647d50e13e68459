# SPDX-License-Identifier: BSD-3-Clause
"""fork() in the user's process leaves the child with a closed pool that says so."""

from __future__ import annotations

from pathlib import Path

from harness import scripts

# The child reports through its exit code and stdout, and leaves without running the parent's exit.
PRELUDE = """
    import os, sys, warnings, owngil
    warnings.simplefilter("ignore", DeprecationWarning)

    def in_child(ask):
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                print(ask())
                sys.stdout.flush()
                code = 0
            finally:
                os._exit(code)
        _, status = os.waitpid(pid, 0)
        assert status == 0, status

    def refused(call):
        try:
            return call()
        except RuntimeError as error:
            return f"{type(error).__name__}: {error}"
"""


def run(source: str, *arguments: str) -> list[str]:
    program = scripts.dedent(PRELUDE) + scripts.dedent(source)
    return scripts.run_code(program, *arguments).lines


def test_submit_in_the_child_is_refused_naming_the_fork() -> None:
    (child, parent) = run("""
        pool = owngil.Pool(2)
        pool.submit(pow, 2, 3).result()
        in_child(lambda: refused(lambda: pool.submit(pow, 2, 3)))
        print(pool.submit(pow, 2, 3).result())
    """)
    assert child.startswith("RuntimeError: ")
    assert "fork" in child
    assert parent == "8"


def test_map_and_stats_in_the_child_do_not_hang() -> None:
    lines = run("""
        pool = owngil.Pool(2)
        pool.submit(pow, 2, 3).result()
        in_child(lambda: refused(lambda: list(pool.map(abs, [1]))))
        in_child(lambda: refused(lambda: type(pool.stats()).__name__))
        print("parent", list(pool.map(abs, [-1])))
    """)
    assert "fork" in lines[0]
    assert len(lines) == 3
    assert lines[2] == "parent [1]"


def test_a_future_that_was_pending_fails_in_the_child_and_not_in_the_parent(
    tmp_path: Path,
) -> None:
    lines = run(
        """
        pool = owngil.Pool(1)
        def wait(path):
            open(path).read()
            return "opened"
        fifo = os.path.join(sys.argv[1], "fifo")
        os.mkfifo(fifo)
        future = pool.submit(wait, fifo)
        def ask():
            try: return future.result(timeout=20)
            except BaseException as error: return f"{type(error).__name__}: {error}"
        in_child(ask)
        open(fifo, "w").close()
        print(future.result())
        """,
        str(tmp_path),
    )
    assert "fork" in lines[0]
    assert lines[1] == "opened"


def test_a_future_that_was_finished_can_be_read_in_the_child() -> None:
    assert run("""
        pool = owngil.Pool(1)
        future = pool.submit(pow, 2, 3)
        future.result()
        in_child(lambda: future.result())
    """) == ["8"]


def test_shutdown_in_the_child_hurts_nobody() -> None:
    assert run("""
        pool = owngil.Pool(2)
        pool.submit(pow, 2, 3).result()
        in_child(lambda: pool.shutdown())
        in_child(lambda: pool.__exit__(None, None, None))
        print(pool.submit(pow, 2, 3).result())
    """) == ["None", "False", "8"]


def test_the_child_may_have_a_pool_of_its_own() -> None:
    assert run("""
        pool = owngil.Pool(1)
        pool.submit(pow, 2, 3).result()
        def own():
            with owngil.Pool(2) as mine:
                return mine.submit(pow, 2, 5).result(), list(mine.map(abs, [-1, 2]))
        in_child(own)
        print(pool.submit(pow, 2, 3).result())
    """) == ["(32, [1, 2])", "8"]


def test_a_child_that_exits_in_the_ordinary_way_does_not_hang() -> None:
    assert run("""
        pool = owngil.Pool(2)
        pool.submit(pow, 2, 3).result()
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            sys.exit(5)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        print(pool.submit(pow, 2, 3).result())
    """) == ["5", "8"]


def test_a_fork_while_other_threads_submit_and_wait_is_harmless() -> None:
    assert run("""
        import threading
        pool = owngil.Pool(2)
        stop = threading.Event()
        def work():
            while not stop.is_set():
                assert pool.submit(pow, 2, 3).result() == 8
        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads: thread.start()
        for _ in range(20):
            in_child(lambda: "fork" in refused(lambda: pool.submit(pow, 2, 3)))
        stop.set()
        for thread in threads: thread.join()
        print(pool.submit(pow, 2, 3).result())
    """) == ["True"] * 20 + ["8"]


def test_the_users_own_children_are_the_only_ones_it_can_wait_for() -> None:
    """The guardian and the workers never show up in os.wait() or in SIGCHLD handlers."""
    assert run("""
        import signal
        seen = []
        signal.signal(signal.SIGCHLD, lambda *_: seen.append(1))
        with owngil.Pool(2) as pool:
            pool.submit(pow, 2, 3).result()
            try: pool.submit(os._exit, 1).result()
            except owngil.WorkerDied: pass
            try: print(os.wait())
            except ChildProcessError: print("no children")
        print(seen)
    """) == ["no children", "[]"]
