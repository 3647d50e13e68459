# SPDX-License-Identifier: BSD-3-Clause
"""What tasks print comes out at the user's `sys.stdout` and `sys.stderr`, before their results."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import io
import os
import pickle
import pty
import subprocess
import sys
import threading
import warnings
from collections import Counter
from pathlib import Path

import pytest
import tasks

import owngil
from harness import scripts
from harness.conditions import wait_until
from harness.gate import Gate
from owngil import _core, _output

STARTS = pytest.mark.parametrize("start", ["template", "spawn"])


class Stream:
    """As a notebook's: no descriptor, no buffer, no encoding."""

    def __init__(self) -> None:
        self.written: list[str] = []
        self.threads: set[int] = set()

    def write(self, text: str) -> int:
        self.written.append(text)
        self.threads.add(threading.get_ident())
        return len(text)

    def flush(self) -> None:
        pass

    @property
    def text(self) -> str:
        return "".join(self.written)


# --- before the result


@STARTS
def test_what_a_task_printed_is_there_before_its_result(
    start: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with owngil.Pool(1, start=start) as pool:
        for number in range(20):
            pool.submit(_say, f"out {number}", f"err {number}").result()
            captured = capsys.readouterr()
            assert captured == (f"out {number}\n", f"err {number}\n")


def test_before_its_exception_too(pool: owngil.Pool, capsys: pytest.CaptureFixture[str]) -> None:
    assert isinstance(pool.submit(_say_and_fail, "word").exception(), ValueError)
    assert capsys.readouterr().out == "word\n"


def test_before_the_result_comes_a_line_without_an_end(
    pool: owngil.Pool, capsys: pytest.CaptureFixture[str]
) -> None:
    pool.submit(print, "no end", end="").result()
    assert capsys.readouterr().out == "no end"


def test_before_a_map_yields_comes_what_its_items_printed(
    pool: owngil.Pool, capsys: pytest.CaptureFixture[str]
) -> None:
    assert list(pool.map(_say, "abcdef", chunksize=2)) == [None] * 6
    assert sorted(capsys.readouterr().out.splitlines()) == list("abcdef")


def test_capfd_sees_it_as_well(pool: owngil.Pool, capfd: pytest.CaptureFixture[str]) -> None:
    pool.submit(_say, "out", "err").result()
    assert capfd.readouterr() == ("out\n", "err\n")


def test_redirect_stdout_gets_what_is_printed_meanwhile(
    pool: owngil.Pool, capsys: pytest.CaptureFixture[str]
) -> None:
    target = io.StringIO()
    with contextlib.redirect_stdout(target):
        pool.submit(_say, "inside").result()
    pool.submit(_say, "outside").result()
    assert target.getvalue() == "inside\n"
    assert capsys.readouterr().out == "outside\n"


def test_a_stream_without_descriptor_and_buffer_gets_text(
    pool: owngil.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = Stream()
    monkeypatch.setattr(sys, "stdout", stream)
    pool.submit(_say, "grüße").result()
    pool.submit(_write_bytes, b"\xff\xfe\n").result()
    assert stream.text == "grüße\n\\xff\\xfe\n"


def test_bytes_that_are_no_text_reach_a_stream_of_bytes_unchanged(
    pool: owngil.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="utf-8"))
    pool.submit(_write_bytes, b"first\n\xff\xfe\nlast\n").result()
    assert raw.getvalue() == b"first\n\xff\xfe\nlast\n"


def test_a_stream_that_cannot_say_it_gets_it_spelled_out(
    pool: owngil.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    pool.submit(_say, "→").result()
    assert raw.getvalue() == b"\\u2192\n"


def test_without_a_stream_it_is_dropped(pool: owngil.Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    assert pool.submit(_say, "word").result() is None


def test_a_stream_that_refuses_does_not_harm_the_pool(
    pool: owngil.Pool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Closed(Stream):
        def write(self, text: str) -> int:
            raise ValueError("closed")

    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", Closed())
        pool.submit(_say, "lost").result()
    pool.submit(_say, "found").result()
    assert capsys.readouterr().out == "found\n"


def test_a_stream_that_asks_for_a_result_itself_does_not_hang(
    pool: owngil.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Curious(Stream):
        def write(self, text: str) -> int:
            if "nested" not in text:
                pool.submit(_say, "nested").result(30)
            return super().write(text)

    stream = Curious()
    monkeypatch.setattr(sys, "stdout", stream)
    pool.submit(_say, "word").result()
    wait_until(lambda: sorted(stream.text.split()) == ["nested", "word"])


def test_a_lock_held_by_who_waits_for_a_result_does_not_hang_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lock = threading.Lock()
    entered = threading.Event()

    class Locked(Stream):
        def write(self, text: str) -> int:
            entered.set()
            with lock:
                return super().write(text)

    stream = Locked()
    with owngil.Pool(1) as pool:
        monkeypatch.setattr(sys, "stdout", stream)
        with lock:
            future = pool.submit(_say, "first", twice=True)
            assert entered.wait(30)  # the output thread stands before the lock
            assert future.result(30) is None
        wait_until(lambda: stream.text.count("first") == 2)


# --- meanwhile


def test_lines_come_while_the_task_still_runs(
    pool: owngil.Pool, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = Stream()
    monkeypatch.setattr(sys, "stdout", stream)
    future = pool.submit(_say_at_gate, gate)
    wait_until(lambda: stream.text == "line\n", "only whole lines")
    gate.open()
    future.result()
    assert stream.text == "line\nbeginning and end\n"


def test_a_progress_bar_moves_while_the_task_still_runs(
    pool: owngil.Pool, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = Stream()
    monkeypatch.setattr(sys, "stderr", stream)
    future = pool.submit(_progress_at_gate, gate)
    wait_until(lambda: stream.text == "\r 10%\r")
    gate.open()
    future.result()
    assert stream.text == "\r 10%\r 20%\r 30%"


def test_lines_of_two_workers_never_mix(pool: owngil.Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Stream()
    monkeypatch.setattr(sys, "stdout", stream)
    futures = [pool.submit(_long_lines, letter, 60) for letter in "ab"]
    for future in futures:
        future.result()
    lines = stream.text.splitlines()
    assert Counter(lines) == {"a" * 30_001: 60, "b" * 30_001: 60}


def test_threads_of_a_task_print_too(pool: owngil.Pool, capsys: pytest.CaptureFixture[str]) -> None:
    pool.submit(_say_by_threads, 8).result()
    assert sorted(capsys.readouterr().out.split()) == [str(number) for number in range(8)]


def test_code_in_c_prints_line_by_line(
    pool: owngil.Pool, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = Stream()
    monkeypatch.setattr(sys, "stdout", stream)
    future = pool.submit(_print_in_c, gate)
    wait_until(lambda: stream.text == "by printf\n")
    gate.open()
    future.result()
    assert stream.text == "by printf\nheld back"


def test_what_a_process_of_the_task_prints_comes_before_the_result(
    pool: owngil.Pool, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(100):  # the output thread has read some of them before the result comes
        pool.submit(os.system, f"echo child {number}").result()
        assert capsys.readouterr().out == f"child {number}\n"


def test_what_is_written_to_the_descriptor_comes_out(
    pool: owngil.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = Stream()
    monkeypatch.setattr(sys, "stdout", stream)
    pool.submit(os.write, 1, b"by os.write\n").result()
    wait_until(lambda: stream.text == "by os.write\n")


def test_warnings_and_what_cannot_be_raised_come_out_at_stderr(
    pool: owngil.Pool, capsys: pytest.CaptureFixture[str]
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        pool.submit(warnings.warn, "careful").result()
    assert "UserWarning: careful" in capsys.readouterr().err
    pool.submit(_drop_unhappy).result()
    assert "RuntimeError: dropped" in capsys.readouterr().err


def test_a_nested_pools_output_comes_up_through_its_worker(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with owngil.Pool(1) as pool:
        pool.submit(_say_in_nested_pool).result()
        assert capsys.readouterr().out == "from below\n"


# --- at the end


def test_the_last_words_of_a_worker_that_died_come_out(
    pool: owngil.Pool, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(owngil.WorkerDied) as caught:
        pool.submit(_say_and_exit).result()
    assert capsys.readouterr() == ("whole line\nbegun", "why\n")
    assert caught.value.stderr == "why\n"
    assert str(caught.value).endswith("The last that this worker wrote to stderr:\n  why")
    again = pickle.loads(pickle.dumps(caught.value))
    assert again.stderr == "why\n"


def test_of_much_that_a_dead_worker_wrote_the_error_has_the_last_whole_lines(
    pool: owngil.Pool, capsys: pytest.CaptureFixture[str]
) -> None:
    error = pool.submit(_complain_and_die, 5000).exception()
    assert isinstance(error, owngil.WorkerDied)
    lines = error.stderr.splitlines()
    assert lines[-1] == "complaint 4999"
    assert all(line.startswith("complaint ") for line in lines)
    assert 100 < len(lines) < 1000
    assert len(str(error).splitlines()) < 20
    assert len(capsys.readouterr().err.splitlines()) == 5000


def test_one_that_died_in_silence_says_so_by_saying_nothing(pool: owngil.Pool) -> None:
    error = pool.submit(os._exit, 1).exception()
    assert isinstance(error, owngil.WorkerDied)
    assert error.stderr == ""
    assert "stderr" not in str(error)


def test_of_workers_that_are_gone_nothing_is_kept_however_late_it_is_heard_of_them() -> None:
    seen: set[int] = set()
    with owngil.Pool(1, max_restarts=None) as pool:
        for _ in range(10):
            pool.submit(int).result()
            seen.update(_core.output_workers())
            assert isinstance(pool.submit(os._exit, 1).exception(), owngil.WorkerDied)
    assert len(seen) >= 10
    wait_until(lambda: not seen & set(_core.output_workers()))
    for worker in seen:
        # As the thread does with an event from before somebody else read the end of all.
        _output._read(worker, (0,), flush=False, patience=-1, most=1)
    assert not seen & _output._workers.keys()


@pytest.mark.kinds("process")  # of interpreters it goes to the first one's stderr: `stack` has it
def test_the_dump_of_a_fatal_signal_is_in_the_error(
    pool: owngil.Pool, capsys: pytest.CaptureFixture[str]
) -> None:
    error = pool.submit(_crash).exception()
    assert isinstance(error, owngil.WorkerDied)
    assert "Segmentation fault" in error.stderr
    assert "_crash" in error.stderr
    capsys.readouterr()


def test_what_atexit_functions_of_a_worker_print_is_there_after_shutdown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with owngil.Pool(1) as pool:
        pool.submit(atexit.register, print, "at exit", end="").result()
    assert capsys.readouterr().out == "at exit"


def test_what_a_recycled_worker_printed_is_not_lost(capsys: pytest.CaptureFixture[str]) -> None:
    with owngil.Pool(2, max_tasks_per_child=1) as pool:
        for future in [pool.submit(_say, str(number)) for number in range(20)]:
            future.result()
    assert sorted(map(int, capsys.readouterr().out.split())) == list(range(20))


def test_results_that_nobody_asked_for_print_as_well(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with owngil.Pool(2) as pool:
        for number in range(20):
            pool.submit(_say, str(number))
    assert sorted(map(int, capsys.readouterr().out.split())) == list(range(20))


def test_a_process_that_a_task_left_behind_does_not_hold_up_shutdown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with owngil.Pool(1) as pool:
        pid = pool.submit(_leave_child, tmp_path).result()
    assert capsys.readouterr().out == "parent\n"
    (tmp_path / "end").touch()
    wait_until(lambda: not os.path.exists(f"/proc/{pid}"))


def test_a_task_that_closes_its_output_harms_only_itself(
    pool: owngil.Pool, capsys: pytest.CaptureFixture[str]
) -> None:
    pool.submit(_close_output).result()
    for _ in range(8):
        pool.submit(tasks.echo, 1).result()
    capsys.readouterr()


def test_nor_does_one_that_closes_its_stream(
    pool: owngil.Pool, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(8):
        pool.submit(_close_stream).result()
    assert capsys.readouterr().out.startswith("last line\n")


# --- programs of their own


def test_redirected_to_a_file_all_of_it_is_there(tmp_path: Path) -> None:
    source = """
        import owngil
        def speak(n): print("line", n); return n
        with owngil.Pool(2) as pool:
            for n in pool.map(speak, range(1000)):
                pass
            print("end")
    """
    done = scripts.run_code(source)
    assert done.lines[-1] == "end"
    assert sorted(done.lines[:-1], key=lambda line: int(line[5:])) == [
        f"line {number}" for number in range(1000)
    ]


def test_on_a_terminal_it_is_there_when_the_result_is() -> None:
    source = """
        import owngil
        def speak(): print("from a worker")
        with owngil.Pool(1) as pool:
            for n in range(3):
                pool.submit(speak).result()
                print("then", n)
    """
    ours, theirs = pty.openpty()
    program = subprocess.Popen([sys.executable, "-c", scripts.dedent(source)], stdout=theirs)
    os.close(theirs)
    text = b""
    with contextlib.suppress(OSError):  # EIO: nobody has it open any more
        while some := os.read(ours, 4096):
            text += some
    os.close(ours)
    assert program.wait() == 0
    expected = [line for number in range(3) for line in ("from a worker", f"then {number}")]
    assert text.decode().splitlines() == expected


def test_a_reader_that_goes_away_ends_no_pool() -> None:
    source = """
        import os, sys, owngil
        def speak(n): print("x" * 1000); return n
        with owngil.Pool(2) as pool:
            assert list(pool.map(speak, range(2000))) == list(range(2000))
            print(pool.stats().restarts, file=sys.stderr)
        os._exit(0)
    """
    command = f"{sys.executable} -c '{scripts.dedent(source)}' | head -1"
    done = scripts.run(["bash", "-c", command], quiet=False)
    assert done.lines == ["x" * 1000]
    assert done.err == "0\n"


def test_a_program_without_stdout_runs() -> None:
    source = """
        import sys, owngil
        def speak(): print("nobody hears"); return 1
        with owngil.Pool(1) as pool:
            assert pool.submit(speak).result() == 1
        print("heard", file=sys.stderr)
    """
    command = f"{sys.executable} -c '{scripts.dedent(source)}' >&-"
    assert scripts.run(["bash", "-c", command], quiet=False).err == "heard\n"


def test_a_program_that_ends_without_shutdown_shows_all() -> None:
    source = """
        import owngil
        def speak(n): print(n, end=" ")
        pool = owngil.Pool(2)
        for n in range(50):
            pool.submit(speak, n)
    """
    assert sorted(map(int, scripts.run_code(source).out.split())) == list(range(50))


def test_with_forward_output_off_workers_have_the_users_descriptors() -> None:
    source = """
        import os, sys, owngil
        def look():
            print("direct")
            return [os.readlink(f"/proc/self/fd/{fd}") for fd in (1, 2)]
        with owngil.Pool(1, forward_output=False) as pool:
            there = pool.submit(look).result()
        here = [os.readlink(f"/proc/self/fd/{fd}") for fd in (1, 2)]
        print(there == here)
    """
    assert scripts.run_code(source).lines == ["direct", "True"]


def test_a_forked_child_neither_shows_nor_disturbs_it() -> None:
    source = """
        import os, sys, owngil
        def speak(word): print(word)
        with owngil.Pool(1) as pool:
            pool.submit(speak, "one").result()
            sys.stdout.flush()
            child = os.fork()
            if child == 0:
                with owngil.Pool(1) as own:
                    own.submit(speak, "child").result()
                sys.stdout.flush()
                os._exit(0)
            os.waitpid(child, 0)
            pool.submit(speak, "two").result()
    """
    done = scripts.run_code(source, quiet=False)  # Python warns of forks beside threads
    assert done.lines == ["one", "child", "two"]


def test_a_hundred_megabytes_from_two_workers_at_once_all_arrive_in_bounded_memory() -> None:
    source = """
        import hashlib, owngil, resource, sys

        class Sum:
            def __init__(self):
                self.of, self.size, self.rest = {}, 0, ""
            def write(self, text):
                self.size += len(text)
                *lines, self.rest = (self.rest + text).split("\\n")
                for line in lines:
                    self.of.setdefault(line[0], hashlib.sha256()).update(line.encode())
            def flush(self): pass

        def flood(letter, stream):
            sum = hashlib.sha256()
            out = getattr(sys, stream)
            for number in range(50_000):
                line = f"{letter}{number:*>1048}"
                sum.update(line.encode())
                out.write(line + "\\n")
            return sum.hexdigest()

        with owngil.Pool(3) as pool:
            terminal, sys.stdout = sys.stdout, Sum()
            sys.stderr = sys.stdout
            pool.submit(abs, 1).result()
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            floods = {
                letter: pool.submit(flood, letter, stream)
                for letter, stream in (("a", "stdout"), ("b", "stderr"))
            }
            assert pool.submit(abs, 2).result() == 2
            for future in floods.values():
                future.result()
            for letter, future in floods.items():
                assert sys.stdout.of[letter].hexdigest() == future.result(), letter
            grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        print(sys.stdout.size, grown < 16 << 10, file=terminal)
    """
    assert scripts.run_code(source).lines == [f"{100_000 * 1050} True"]


# --- tasks


def _say(out: str, err: str = "", twice: bool = False) -> None:
    print(out)
    if twice:
        print(out)
    if err:
        print(err, file=sys.stderr)


def _say_and_fail(word: str) -> None:
    print(word)
    raise ValueError(word)


def _write_bytes(data: bytes) -> None:
    sys.stdout.buffer.write(data)


def _say_at_gate(gate: Gate) -> None:
    print("line")
    print("beginning", end="", flush=True)
    gate.enter()
    print(" and end")


def _progress_at_gate(gate: Gate) -> None:
    for percent in (10, 20):
        print(f"\r {percent}%", end="", file=sys.stderr, flush=True)
    gate.enter()
    print("\r 30%", end="", file=sys.stderr)


def _long_lines(letter: str, count: int) -> None:
    for _ in range(count):
        for _ in range(3):
            print(letter * 10_000, end="", flush=True)
        print(letter)


def _say_by_threads(count: int) -> None:
    threads = [
        threading.Thread(target=sys.stdout.write, args=(f"{number}\n",)) for number in range(count)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _print_in_c(gate: Gate) -> None:
    library = ctypes.CDLL(None)
    library.printf(b"by %s\n", b"printf")
    gate.enter()
    library.printf(b"held back")


def _drop_unhappy() -> None:
    tasks.UnhappyToGo("dropped")


def _say_in_nested_pool() -> None:
    with owngil.Pool(1) as pool:
        pool.submit(print, "from below").result()


def _say_and_exit() -> None:
    print("whole line")
    print("begun", end="", flush=True)
    print("why", file=sys.stderr)
    os._exit(3)


def _complain_and_die(count: int) -> None:
    for number in range(count):
        print(f"complaint {number}", file=sys.stderr)
    tasks.end_by_signal()


def _crash() -> None:
    ctypes.string_at(0)


def _leave_child(folder: Path) -> int:
    print("parent")
    script = f"until test -e {folder}/end; do sleep 0.05; done"
    return subprocess.Popen(["sh", "-c", script], start_new_session=True).pid


def _close_output() -> None:
    print("unsent", end="")
    os.close(1)
    os.close(2)


def _close_stream() -> None:
    if not sys.stdout.closed:
        print("last line")
        sys.stdout.close()
