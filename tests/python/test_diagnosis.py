# SPDX-License-Identifier: BSD-3-Clause
"""`WorkerDied` says what the worker was doing: which task, for how long, where in the code."""

from __future__ import annotations

import ctypes
import os
import pickle
import re
import resource
import signal
import struct
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tasks

import owngil
from harness import scripts
from harness.conditions import wait_until
from harness.gate import Gate

pytestmark = pytest.mark.kinds(
    "process"
)  # an interpreter's death is its host's: test_interpreter_kind.py

# Of ipc/layout.hpp: where the words of a dump stand in a channel, and where its text does.
DUMP, TEXT = 0x500, 0x13000
ASK = signal.SIGRTMAX - 3  # ipc/stack_signal.hpp


def death(pool: owngil.Pool, function: Callable[..., Any], *args: Any) -> owngil.WorkerDied:
    error = pool.submit(function, *args).exception()
    assert isinstance(error, owngil.WorkerDied), error
    return error


def functions(stack: str) -> list[str]:
    """The functions of the first thread, the innermost first."""
    return re.findall(r"line \d+ in (\S+)$", stack.partition("\n\n")[0], re.MULTILINE)


# --- what was running


def test_the_task_is_named_by_its_function(pool: owngil.Pool) -> None:
    error = death(pool, tasks.end_by_exit_code, 3)
    assert error.task_name == "tasks.end_by_exit_code"
    assert "tasks.end_by_exit_code" in str(error)


def test_a_partial_is_named_by_what_it_calls(pool: owngil.Pool) -> None:
    import functools

    error = death(pool, functools.partial(tasks.end_by_exit_code, 3))
    assert error.task_name == "functools.partial(tasks.end_by_exit_code)"


def test_each_task_has_a_number_of_its_own(pool: owngil.Pool) -> None:
    numbers = [death(pool, tasks.end_by_exit_code, 3).task_id for _ in range(3)]
    assert numbers == sorted(set(numbers))
    assert f"task {numbers[-1]}" in str(death(pool, os._exit, 1)) or numbers[-1] > 0


@pytest.mark.parametrize("chunksize", [1, 10, None])
def test_in_map_the_item_is_named_by_its_index(pool: owngil.Pool, chunksize: int | None) -> None:
    results = pool.map(tasks.die_at, range(10), [4] * 10, chunksize=chunksize)
    errors = [e for e in tasks.outcomes(results) if isinstance(e, owngil.WorkerDied)]
    assert [error.item for error in errors] == [4]
    assert "item 4 of a map of tasks.die_at" in str(errors[0])


def test_in_map_items_that_never_travelled_count_as_well(pool: owngil.Pool) -> None:
    items = [threading.Lock(), 1, threading.Lock(), 3, 4]  # locks cannot be pickled
    outcomes = tasks.outcomes(pool.map(tasks.die_at, items, [4] * 5))
    assert [getattr(outcome, "item", None) for outcome in outcomes] == [None, None, None, None, 4]


def test_a_call_is_no_item(pool: owngil.Pool) -> None:
    assert death(pool, tasks.end_by_exit_code, 3).item is None


def test_time_and_memory_of_the_worker_are_told(pool: owngil.Pool) -> None:
    error = death(pool, _fill_and_die, 30 << 20)
    assert error.peak_rss > 30 << 20
    assert 0 < error.seconds < 60
    assert f"{error.peak_rss / 2**20:.0f} MiB" in str(error)


def test_all_that_is_known_survives_pickling(pool: owngil.Pool) -> None:
    error = death(pool, _crash_below, 3)
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is owngil.WorkerDied
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)


def test_all_that_is_known_comes_out_of_a_pool_in_a_worker(pool: owngil.Pool) -> None:
    error = pool.submit(_crash_in_a_pool_of_its_own).exception()
    assert isinstance(error, owngil.WorkerDied)
    assert functions(error.stack)[-1] == "_crash_below"


# --- where it was


def test_a_segmentation_fault_shows_the_calls_that_led_to_it(pool: owngil.Pool) -> None:
    error = death(pool, _crash_below, 3)
    assert error.signal == signal.SIGSEGV
    assert functions(error.stack) == ["string_at", "_read_address_zero", *["_crash_below"] * 4]
    line = _crash_below.__code__.co_firstlineno + 3
    assert f'File "{__file__}", line {line} in _crash_below' in error.stack
    assert error.stack in str(error)


def test_an_abort_shows_the_calls_that_led_to_it(pool: owngil.Pool) -> None:
    error = death(pool, _abort)
    assert error.signal == signal.SIGABRT
    assert functions(error.stack) == ["_abort"]


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL])
def test_a_fatal_signal_from_outside_shows_where_it_came(
    pool: owngil.Pool, gate: Gate, number: signal.Signals
) -> None:
    future = pool.submit(gate.enter)
    ((pid, _),) = gate.wait_for_entered()
    os.kill(pid, number)
    error = future.exception()
    assert isinstance(error, owngil.WorkerDied)
    assert error.signal == number
    assert functions(error.stack)[-1] == "enter"


def test_an_overflow_of_the_c_stack_is_a_death_with_a_stack(pool: owngil.Pool) -> None:
    error = death(pool, _overflow_the_c_stack)
    assert error.signal == signal.SIGSEGV
    assert functions(error.stack) == ["_overflow_the_c_stack"]


def test_a_recursion_through_c_without_end_is_a_death_with_a_stack(pool: owngil.Pool) -> None:
    error = death(pool, _recurse_through_c)
    assert error.signal == signal.SIGSEGV
    assert set(functions(error.stack)) == {"_recurse", "<lambda>"}
    assert 50 <= len(functions(error.stack)) <= 100  # as faulthandler writes


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_signal_that_leaves_no_stack_says_so(
    pool: owngil.Pool, gate: Gate, number: signal.Signals
) -> None:
    future = pool.submit(gate.enter)
    ((pid, _),) = gate.wait_for_entered()
    os.kill(pid, number)
    error = future.exception()
    assert isinstance(error, owngil.WorkerDied)
    assert error.stack == ""
    assert "no Python stack" in str(error)


def test_an_exit_leaves_no_stack(pool: owngil.Pool) -> None:
    error = death(pool, tasks.end_by_exit_code, 7)
    assert error.stack == ""
    assert "stack" not in str(error)


def test_the_thread_that_crashed_comes_first_and_the_others_follow(pool: owngil.Pool) -> None:
    error = death(pool, _crash_in_a_thread)
    crashed, *others = error.stack.split("\n\n")
    assert crashed.startswith("Current thread")
    assert "_read_address_zero" in functions(crashed)
    assert any("_crash_in_a_thread" in functions(other) for other in others)


def test_a_crash_while_the_arguments_are_unpickled_shows_where(pool: owngil.Pool) -> None:
    error = death(pool, tasks.echo, _CrashesWhenUnpickled())
    assert "__setstate__" in functions(error.stack)


def test_a_crash_while_the_result_is_pickled_shows_where(pool: owngil.Pool) -> None:
    error = death(pool, _make_one_that_crashes_when_pickled)
    assert "__reduce__" in functions(error.stack)


def test_a_crash_in_a_chunk_shows_the_stack_of_that_item(pool: owngil.Pool) -> None:
    outcomes = tasks.outcomes(pool.map(_crash_at, range(10), [4] * 10, chunksize=10))
    assert [n for n, outcome in enumerate(outcomes) if outcome != n] == [4]
    assert isinstance(outcomes[4], owngil.WorkerDied)
    assert functions(outcomes[4].stack) == ["string_at", "_read_address_zero", "_crash_at"]


def test_a_crash_in_the_initializer_is_told_with_its_stack() -> None:
    with owngil.Pool(1, initializer=_crash_below, initargs=(2,)) as pool:
        error = pool.submit(tasks.echo, 1).exception()
    assert isinstance(error, owngil.PoolBroken)
    cause = error.__cause__
    assert isinstance(cause, owngil.WorkerDied)
    assert "_crash_below" in functions(cause.stack)
    assert "the initializer test_diagnosis._crash_below" in str(cause)


def test_a_spawned_worker_shows_its_stack_as_well() -> None:
    with owngil.Pool(1, start="spawn") as pool:
        error = death(pool, _crash_below, 1)
    assert functions(error.stack)[-1] == "_crash_below"


def test_a_crash_whose_signal_nobody_could_tell_shows_its_stack_as_well() -> None:
    done = scripts.run_code(
        """
        import ctypes, os, signal, sys
        sys.path.insert(0, sys.argv[1])
        import owngil
        from harness import processes
        def crash(): ctypes.string_at(0)
        pool = owngil.Pool(1)
        pool.submit(pow, 2, 3).result()
        (guardian,) = processes.guardians(os.getpid())
        os.kill(guardian.pid, signal.SIGKILL)
        while processes.is_alive(guardian): pass
        error = pool.submit(crash).exception()
        print(error.signal, error.exitcode, error.oom)
        print(error.stack)
        """,
        str(Path(__file__).parents[1]),
        quiet=False,
    )
    assert done.lines[0] == "None None None"
    assert "in crash" in done.out


# --- whose stack it is


def test_the_stack_of_a_forked_child_is_not_shown_as_the_workers(pool: owngil.Pool) -> None:
    error = death(pool, _die_after_a_child_has_crashed)
    assert error.signal == signal.SIGKILL
    assert error.stack == ""


def test_a_child_that_crashes_does_no_harm_to_the_task(pool: owngil.Pool) -> None:
    status = pool.submit(_wait_for_a_child_that_crashes).result()
    assert os.WTERMSIG(status) == signal.SIGABRT


def test_a_stack_that_was_asked_for_is_not_shown_as_that_of_a_later_death(
    pool: owngil.Pool,
) -> None:
    error = death(pool, _show_where_and_die)
    assert error.signal == signal.SIGKILL
    assert error.stack == ""


def test_a_task_that_closes_everything_gets_nothing_written_into_its_files(
    pool: owngil.Pool, tmp_path: Path
) -> None:
    error = death(pool, _close_everything_and_crash, tmp_path)
    assert error.signal == signal.SIGABRT
    assert error.stack == ""
    assert {path.read_bytes() for path in tmp_path.iterdir()} == {b""}


def test_a_worker_that_scribbles_over_its_stack_makes_no_more_of_it_than_text(
    pool: owngil.Pool,
) -> None:
    error = death(pool, _scribble_and_die, os.urandom(64 << 10))
    assert 0 < len(error.stack) <= 20_000
    assert all(line.isprintable() for line in error.stack.split("\n"))
    assert pool.submit(tasks.echo, 1).result() == 1


@pytest.mark.parametrize("size", [0, 1, 0x10000, 0x10001, 0xFFFFFFFF])
def test_a_worker_that_lies_about_the_size_of_its_stack_is_not_believed(
    pool: owngil.Pool, size: int
) -> None:
    error = death(pool, _scribble_and_die, b"nonsense\n", size)
    assert len(error.stack) <= 20_000


# --- whose signals they are


def test_who_turns_faulthandler_on_in_a_task_gets_both() -> None:
    for environment in ({"PYTHONFAULTHANDLER": None}, {"PYTHONFAULTHANDLER": "1"}):
        done = scripts.run_code(
            """
            import ctypes, faulthandler, owngil
            def crash():
                faulthandler.enable()
                ctypes.string_at(0)
            with owngil.Pool(1) as pool:
                print(pool.submit(crash).exception().stack)
            """,
            env=environment,
            quiet=False,
        )
        for text in (done.err, done.out):
            assert "(most recent call first)" in text
            assert "in crash" in text
        assert "Fatal Python error: Segmentation fault" in done.err


def test_who_does_not_turn_faulthandler_on_finds_nothing_on_stderr() -> None:
    done = scripts.run_code(
        """
        import ctypes, faulthandler, owngil
        def crash():
            assert not faulthandler.is_enabled()
            ctypes.string_at(0)
        with owngil.Pool(1) as pool:
            print(pool.submit(crash).exception().stack)
        """,
        env={"PYTHONFAULTHANDLER": None},
    )
    assert "in crash" in done.out


def test_a_signal_that_faulthandler_is_registered_for_goes_where_the_task_says(
    pool: owngil.Pool, tmp_path: Path
) -> None:
    pool.submit(_register_and_raise, tmp_path / "stacks").result()
    assert "_register_and_raise" in (tmp_path / "stacks").read_text()


def test_a_handler_of_the_tasks_own_is_called_instead(pool: owngil.Pool) -> None:
    assert pool.submit(_handle_abort).result() == [signal.SIGABRT]


def test_a_handler_that_was_there_before_is_called_after_the_stack_is_written() -> None:
    """What Python writes of a fatal error goes where it always went, and the worker dies of it."""
    done = scripts.run_code(
        """
        import ctypes, owngil
        def fail():
            ctypes.pythonapi.Py_FatalError(b"enough")
        with owngil.Pool(1) as pool:
            error = pool.submit(fail).exception()
            print(error.signal, repr(error.stack))
        """,
        env={"PYTHONFAULTHANDLER": None},
        quiet=False,
    )
    assert done.lines == ["6 ''"]
    assert "enough" in done.err
    assert "in fail" in done.err


# --- a worker that is asked


def test_a_worker_that_is_asked_says_where_it_is_and_goes_on(pool: owngil.Pool, gate: Gate) -> None:
    future = pool.submit(gate.enter)
    ((pid, _),) = gate.wait_for_entered()
    number, text = ask(pid)
    assert number == 1
    assert "enter" in functions(text)
    assert ask(pid)[0] == 2
    gate.open()
    assert future.result() == pid


def test_a_worker_whose_c_code_holds_the_gil_says_where_it_is(
    pool: owngil.Pool, tmp_path: Path
) -> None:
    future = pool.submit(_pause_with_the_gil, tmp_path / "there")
    wait_until(lambda: (tmp_path / "there").exists() and (tmp_path / "there").read_text())
    pid = int((tmp_path / "there").read_text())
    number, text = ask(pid)
    assert number == 1
    assert functions(text)[0] == "_pause_with_the_gil"
    assert future.result() == -1


def test_a_worker_that_is_asked_while_a_frame_cannot_be_read_goes_on(
    pool: owngil.Pool, gate: Gate
) -> None:
    future = pool.submit(_enter_from_a_frame_that_cannot_be_read, gate)
    ((pid, _),) = gate.wait_for_entered()
    number, text = ask(pid)
    assert number == 1
    assert "enter" in functions(text)  # the frames before it
    gate.open()
    assert future.result() == pid


def ask(pid: int) -> tuple[int, str]:
    """The number and the text of what the worker answers, read from its channel."""
    channel = _channel_of(pid)
    before = struct.unpack("<QIII", os.pread(channel, 20, DUMP))[1]
    os.kill(pid, ASK)

    def answer() -> tuple[int, str] | None:
        _, number, reason, size = struct.unpack("<QIII", os.pread(channel, 20, DUMP))
        if number == before:
            return None
        assert reason == 0
        return number, os.pread(channel, size, TEXT).decode()

    return wait_until(answer)


def _channel_of(pid: int) -> int:
    for name in os.listdir("/proc/self/fd"):
        try:
            if "owngil-channel" not in os.readlink(f"/proc/self/fd/{name}"):
                continue
        except FileNotFoundError:  # that of the listing
            continue
        # `current.pid`, see ipc/LAYOUT.md
        if struct.unpack("<I", os.pread(int(name), 4, 0x4AC))[0] == pid:
            return int(name)
    raise AssertionError(f"no channel of a worker {pid}")


# --- tasks


def _enter_from_a_frame_that_cannot_be_read(gate: Gate) -> int:
    """As a frame is for a moment when it ends, and its code with it."""
    code = sys._getframe().f_code
    name = code.co_filename
    words = (ctypes.c_size_t * (code.__sizeof__() // 8)).from_address(id(code))
    place = list(words).index(id(name))
    words[place] = 1 << 62  # nobody's address
    try:
        return gate.enter()
    finally:
        words[place] = id(name)


def _crash_below(depth: int) -> None:
    if depth == 0:
        return _read_address_zero()
    _crash_below(depth - 1)
    return None


def _read_address_zero() -> None:
    ctypes.string_at(0)


def _crash_at(number: int, bad: int) -> int:
    if number == bad:
        _read_address_zero()
    return number


def _abort() -> None:
    os.abort()


def _fill_and_die(size: int) -> None:
    filled = b"x" * size
    os._exit(len(filled) % 7)


def _overflow_the_c_stack() -> None:
    import faulthandler

    faulthandler._stack_overflow()  # type: ignore[attr-defined]


def _recurse_through_c() -> None:
    """The main thread's stack may grow as far as the limit that holds when it does."""
    resource.setrlimit(resource.RLIMIT_STACK, (1 << 18, resource.getrlimit(3)[1]))
    sys.setrecursionlimit(1_000_000)
    _recurse(0)


def _recurse(depth: int) -> int:
    return max([depth], key=lambda n: _recurse(n + 1))


def _crash_in_a_thread() -> None:
    thread = threading.Thread(target=_read_address_zero)
    thread.start()
    thread.join()


def _crash_in_a_pool_of_its_own() -> None:
    with owngil.Pool(1) as pool:
        pool.submit(_crash_below, 1).result()


class _CrashesWhenUnpickled:
    def __getstate__(self) -> int:
        return 1

    def __setstate__(self, _: int) -> None:
        _read_address_zero()


class _CrashesWhenPickled:
    def __reduce__(self) -> str:
        _read_address_zero()
        return ""


def _make_one_that_crashes_when_pickled() -> _CrashesWhenPickled:
    return _CrashesWhenPickled()


def _wait_for_a_child_that_crashes() -> int:
    child = os.fork()
    if child == 0:
        os.abort()
    return os.waitpid(child, 0)[1]


def _die_after_a_child_has_crashed() -> None:
    _wait_for_a_child_that_crashes()
    tasks.end_by_signal()


def _show_where_and_die() -> None:
    signal.raise_signal(ASK)
    tasks.end_by_signal()


def _close_everything_and_crash(folder: Path) -> None:
    last = max(int(name) for name in os.listdir("/proc/self/fd"))
    os.closerange(3, last + 1)
    for number in range(3, last + 1):
        os.open(folder / str(number), os.O_CREAT | os.O_WRONLY)
    os.abort()


def _scribble_and_die(junk: bytes, size: int | None = None) -> None:
    (channel,) = (
        int(name)
        for name in os.listdir("/proc/self/fd")
        if "owngil-channel" in os.path.realpath(f"/proc/self/fd/{name}")
    )
    (task,) = struct.unpack("<Q", os.pread(channel, 8, 0x480))
    size = len(junk) if size is None else size
    os.pwrite(channel, struct.pack("<QIII", task, 1, signal.SIGKILL, size), DUMP)
    os.pwrite(channel, junk, TEXT)
    tasks.end_by_signal()


def _register_and_raise(path: Path) -> None:
    import faulthandler

    with path.open("w") as file:
        faulthandler.register(signal.SIGUSR1, file=file)
        signal.raise_signal(signal.SIGUSR1)
        faulthandler.unregister(signal.SIGUSR1)


def _handle_abort() -> list[int]:
    seen: list[int] = []
    before = signal.signal(signal.SIGABRT, lambda number, _: seen.append(number))
    signal.raise_signal(signal.SIGABRT)
    signal.signal(signal.SIGABRT, before or signal.SIG_DFL)
    return seen


def _pause_with_the_gil(there: Path) -> int:
    pause = ctypes.PyDLL(None).pause
    pause.restype = ctypes.c_int
    there.write_text(str(os.getpid()))
    result: int = pause()
    return result
