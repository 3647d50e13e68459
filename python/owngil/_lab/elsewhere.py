# SPDX-License-Identifier: BSD-3-Clause
"""Countdowns in Pythons other than this one: one before 3.2, and those without a GIL."""

from __future__ import annotations

import glob
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from . import countdown
from .countdown import SERIAL, THREADS
from .estimates import ratios
from .experiment import FIND_OUT, Experiment, Opened, Samples, Settings
from .verdict import Claim
from .work import count_python

__all__ = ["EXPERIMENTS", "HERE", "find_gil_free", "find_old"]

HERE = "in threads, over one after the other, this Python"
THERE = "in threads, over one after the other, {}"

# Runs in Python 2.4 and later, Jython included.
SCRIPT = """\
import sys, threading, time

def countdown(n):
    while n > 0:
        n -= 1

def serial(n, times):
    began = time.time()
    for _ in range(times):
        countdown(n)
    return time.time() - began

def in_threads(n, times):
    threads = [threading.Thread(target=countdown, args=(n,)) for _ in range(times)]
    began = time.time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.time() - began

n, times = int(sys.argv[1]), int(sys.argv[2])
for warm_up in (serial, in_threads):  # some compile what has run for a while
    warm_up(n // 4, times)
one, other = serial(n, times), in_threads(n, times)
sys.stdout.write("[%r, %r]\\n" % (one, other))
"""

_PATIENCE_S = 120.0


def _executables(*patterns: str) -> Iterator[str]:
    """Those on PATH and in pyenv whose name is one of the patterns; each file once."""
    seen = set()
    pyenv = os.environ.get("PYENV_ROOT") or os.path.expanduser("~/.pyenv")
    folders = [
        *os.environ.get("PATH", "").split(os.pathsep),
        *sorted(glob.glob(f"{pyenv}/versions/*/bin")),
    ]
    for folder in folders:
        for pattern in patterns:
            for path in sorted(glob.glob(os.path.join(folder, pattern))):
                real = os.path.realpath(path)
                if os.access(path, os.X_OK) and real not in seen:
                    seen.add(real)
                    yield path


def _prints(command: Sequence[str], expected: str) -> bool:
    try:
        run = subprocess.run(
            command, capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return run.returncode == 0 and run.stdout.strip() == expected


def find_old() -> list[str] | None:
    """The command of a CPython before 3.2."""
    question = (
        "import sys; sys.stdout.write(str(sys.version_info < (3, 2) "
        "and hasattr(sys, 'getcheckinterval')))"
    )
    for path in _executables("python2.[67]", "python2", "python3.[01]"):
        if _prints([path, "-c", question], "True"):
            return [path]
    return None


def find_gil_free(jython: str = "") -> list[str] | None:
    """The command of a Python without a GIL: free-threaded CPython, else Jython."""
    question = (
        "import sysconfig, sys; sys.stdout.write(str(bool(sysconfig.get_config_var("
        "'Py_GIL_DISABLED')) and not sys._is_gil_enabled()))"
    )
    if jython:
        java = shutil.which("java")
        return [java, "-jar", jython] if java and os.path.isfile(jython) else None
    for path in _executables("python3.[0-9]*t"):
        if _prints([path, "-c", question], "True"):
            return [path]
    for path in _executables("jython"):
        return [path]
    return None


def threads_over_serial(command: Sequence[str], n: int, times: int) -> float:
    """How many times longer the countdowns take in threads than one after the other."""
    run = subprocess.run(
        [*command, "-", str(n), str(times)],
        input=SCRIPT,
        capture_output=True,
        text=True,
        timeout=_PATIENCE_S,
        check=True,
    )
    serial, in_threads = json.loads(run.stdout)
    return float(in_threads) / float(serial)


def _here(n: int, times: int) -> float:
    return countdown.in_threads(count_python, (n,), times) / (
        countdown.one_after_the_other(n, times)
    )


def _name_of(command: Sequence[str]) -> str:
    return " ".join(os.path.basename(part) for part in command if not part.startswith("-"))


def _opened(settings: Settings, command: Sequence[str] | None, how_to_get: str) -> Opened:
    n = max(1, settings.n // 2)
    opened = Opened({HERE: lambda: [_here(n, settings.threads)]})
    if command is None:
        opened.absent[THERE.format("another Python")] = how_to_get
        return opened
    there = THERE.format(_name_of(command))
    try:
        threads_over_serial(command, 1000, settings.threads)  # warm-up: does it run at all?
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        opened.absent[there] = f"it does not run the script: {_said(error)}"
    else:
        opened.ways[there] = lambda: [threads_over_serial(command, n, settings.threads)]
    return opened


def _said(error: Exception) -> str:
    """What a program that failed has said last, or else the error."""
    stderr = str(getattr(error, "stderr", "") or "").strip()
    return stderr.rpartition("\n")[2] or f"{type(error).__name__}: {error}"


@contextmanager
def _open_old(settings: Settings) -> Iterator[Opened]:
    yield _opened(
        settings,
        find_old(),
        "there is no Python before 3.2 here, on PATH or in pyenv; to get one: pyenv install 2.7.18",
    )


@contextmanager
def _open_gil_free(settings: Settings) -> Iterator[Opened]:
    wrong = f"cannot run {settings.jython}: no java on PATH, or no such file; " * bool(
        settings.jython
    )
    yield _opened(
        settings,
        find_gil_free(settings.jython),
        wrong + "there is no Python without a GIL here, on PATH or in pyenv; to get one: "
        "uv python install 3.14t, or pyenv install 3.14t; or Jython: fetch "
        "jython-standalone.jar from jython.org and give it with --jython JAR",
    )


def _there(samples: Samples) -> Sequence[Sequence[float]]:
    return next((rounds for way, rounds in samples.items() if way != HERE), ())


def _old_claims(samples: Samples, settings: Settings) -> list[Claim]:
    return [
        Claim(
            "before 3.2, threads were slower than one after the other",
            [one[0] for one in _there(samples)],
            at_least=1.05,
            unit="x",
        ),
        Claim(
            "and lost more by it than this Python does",
            ratios(_there(samples), samples[HERE]),
            at_least=1.0,
            unit="x",
        ),
    ]


def _gil_free_claims(samples: Samples, settings: Settings) -> list[Claim]:
    return [
        Claim(
            "without a GIL, threads share the work",
            [one[0] for one in _there(samples)],
            at_most=0.5 + 0.5 / settings.threads,
            unit="x",
        )
    ]


EXPERIMENTS = (
    Experiment(
        name="old-gil",
        title="the GIL before Python 3.2, which was given up every 100 ticks",
        article=FIND_OUT,
        saw=f"described: {SERIAL} could be faster than {THREADS}",
        saw_seconds={},
        teaches="The old GIL was given up every 100 ticks of the interpreter, but the thread that "
        "gave it up mostly took it again before another CPU's thread had woken. That battle "
        "made two threads slower than one; since 3.2 who gives it up waits until it was taken.",
        measures="time in threads over time one after the other",
        unit="",
        source=[SCRIPT],
        open=_open_old,
        claims=_old_claims,
    ),
    Experiment(
        name="no-gil",
        title="Pythons without a GIL",
        article=FIND_OUT,
        saw="described: Jython and IronPython have none; today there is free-threaded CPython, too",
        saw_seconds={},
        teaches="The GIL belongs to CPython, not to the language: the same two threads run in "
        "parallel elsewhere. Each object must then be safe against threads, and that costs a "
        "single thread a little.",
        measures="time in threads over time one after the other",
        unit="",
        source=[SCRIPT],
        open=_open_gil_free,
        claims=_gil_free_claims,
    ),
)
