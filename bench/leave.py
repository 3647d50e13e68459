# SPDX-License-Identifier: BSD-3-Clause
"""How long until the prompt is back and everything is gone, after Ctrl-C and after SIGKILL?

Every turn is a new program, whose workers are all busy; each has started a program of its own, in a
session of its own, that would sleep on. Then the program's group is interrupted, as by a terminal,
or the program is killed.
sleep     Ctrl-C in `with`, in result(); tasks sleep
python    the same; tasks are loops in Python
large     the same; each worker holds 1 GiB of memory that it has written
exit      Ctrl-C at the end of the program, which waits for its pool
killed    SIGKILL of the program
prompt is until the program has ended, gone until its workers and what they have started have, too.
A contender that has not got there after 5 s is killed and counted as that; what is left, as well.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from harness.contest import Variant, floor, main
from harness.executors import KINDS, OWNGIL, POOL, PPE, Face
from harness.figures import Goal, Metric, Samples
from harness.turns import Contender, Settings, Turn

_LIMIT_S = 5.0
_PYTHON = "python -c sleep"
_GIBIBYTE = 1 << 30


def busy(how: str, folder: str) -> None:
    """A task that does not end."""
    held = bytearray(b"x") * _GIBIBYTE if how == "large" else b""
    started = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    (Path(folder) / f"{os.getpid()} {started.pid}").touch()
    while how == "python":
        pass
    time.sleep(1000 + len(held))


def program(name: str, how: str, workers: int, folder: str) -> None:
    """The program that is to end."""
    pool = KINDS[name].open(workers)
    if how == "exit":
        _kept.extend((pool, _start(pool.__enter__(), how, workers, folder)))
        return
    with pool as face:
        _start(face, how, workers, folder)[0].result()


def _start(face: Face, how: str, workers: int, folder: str) -> list[Any]:
    assert face.submit is not None
    tasks = [face.submit(busy, how, folder) for _ in range(workers)]
    while len(os.listdir(folder)) < workers:
        time.sleep(0.005)
    print("ready", flush=True)
    return tasks


_kept: list[object] = []  # until the interpreter ends


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def _leave(command: list[str], number: int, folder: Path) -> Samples:
    # What runs in the background of a script inherits that it ignores interrupts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    done = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    )
    assert done.stdout is not None
    if done.stdout.readline() != b"ready\n":
        raise AssertionError("the program did not get ready")
    time.sleep(0.2)  # it has still to get into result(), or to its end
    pids = [int(word) for path in folder.iterdir() for word in path.name.split()]
    began = time.perf_counter()
    if number == signal.SIGKILL:
        done.send_signal(number)
    else:
        os.killpg(done.pid, number)
    try:
        done.wait(_LIMIT_S)
    except subprocess.TimeoutExpired:
        done.kill()
    prompt = time.perf_counter() - began
    while any(map(_is_alive, pids)) and time.perf_counter() - began < _LIMIT_S:
        time.sleep(0.001)
    gone = time.perf_counter() - began
    for pid in pids:
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    with suppress(OSError):
        os.killpg(done.pid, signal.SIGKILL)
    done.wait()
    return {"prompt": [prompt], "gone": [gone]}


def programs(name: str, how: str) -> Contender:
    """A contender whose turn is the end of one program."""

    @contextmanager
    def open_(settings: Settings) -> Iterator[Turn]:
        def turn(number: int) -> Samples:
            with tempfile.TemporaryDirectory() as folder:
                command = [sys.executable, __file__, "--program", name, how, folder]
                command.append(str(settings.workers))
                ended_by = signal.SIGKILL if how == "killed" else signal.SIGINT
                return _leave(command, ended_by, Path(folder))

        yield turn

    return Contender(name, open_, KINDS[name].missing)


@contextmanager
def python_that_sleeps(settings: Settings) -> Iterator[Turn]:
    """What no pool can be faster than."""

    def turn(number: int) -> Samples:
        source = "import time; print('ready', flush=True); time.sleep(1000)"
        with tempfile.TemporaryDirectory() as folder:
            return _leave([sys.executable, "-c", source], signal.SIGINT, Path(folder))

    yield turn


def _variant(how: str, title: str) -> Variant:
    names = (OWNGIL,) if how == "large" else (OWNGIL, f"{PPE} fork", f"{POOL} fork", "loky")
    return Variant(
        how,
        title,
        [*(programs(name, how) for name in names), floor(_PYTHON, python_that_sleeps)],
        (Metric("prompt", "latency", "ms", 1e3), Metric("gone", "latency", "ms", 1e3)),
        (
            Goal("prompt", "at most", 200, statistic="max"),
            Goal("gone", "at most", 1000, statistic="max"),
        ),
        references=(_PYTHON,),
        rounds=10,
        practice=False,
    )


VARIANTS = (
    _variant("sleep", "Ctrl-C in `with`; tasks sleep"),
    _variant("python", "Ctrl-C in `with`; tasks are loops in Python"),
    _variant("large", "Ctrl-C in `with`; each worker holds 1 GiB"),
    _variant("exit", "Ctrl-C while the program waits for its pool at its end"),
    _variant("killed", "SIGKILL of the program"),
)

if __name__ == "__main__":
    if sys.argv[1:2] == ["--program"]:
        program(sys.argv[2], sys.argv[3], int(sys.argv[5]), sys.argv[4])
    else:
        main(__doc__, VARIANTS)
