# SPDX-License-Identifier: BSD-3-Clause
"""What does a C++ program wait for, with workers of a python3 and of a program that embeds Python?

Every turn is a new program: one worker, started by the face for C++, or by a Pool in Python.
first      from the constructor to the first result; in C++ it includes asking the interpreter
call       one call, submitted and waited for
countdown  5,000,000 steps of pure Python in the worker
owngil-host is linked to libpython.so. Whether python3 is, too, stands in its name: only where it is
not, the countdown shows what that costs.
"""

import json
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import owngil
from harness import native
from harness.contest import Variant, main
from harness.figures import Goal, Metric, Samples
from harness.turns import Contender, Settings, Turn
from harness.work import countdown, identity

_N = 5_000_000
_CALLS, _PRACTICE = 3_000, 200
_BENCH = Path(__file__).parent
_HOST = native.program("owngil-host", "workers")
_LINKED = "linked to" if sysconfig.get_config_var("Py_ENABLE_SHARED") else "without"
_BY_PYTHON = f"C++, python3 {_LINKED} libpython"
_BY_HOST = "C++, owngil-host"
_IN_PYTHON = "Pool in Python"


def start(settings: Settings) -> int:
    """Where the countdown begins."""
    return _N // 20 if settings.quick else _N


def in_cpp(name: str, interpreter: str, missing: Callable[[], str]) -> Contender:
    """The C++ program with this interpreter."""

    @contextmanager
    def open_(settings: Settings) -> Iterator[Turn]:
        package = Path(owngil.__file__ or "").parent
        path = native.program("embed_cpp")
        assert path is not None
        command = [path, interpreter, package, _BENCH, str(start(settings))]

        def turn(number: int) -> Samples:
            run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            samples: Samples = json.loads(run.stdout)
            return samples

        yield turn

    return Contender(name, open_, missing)


@contextmanager
def in_python(settings: Settings) -> Iterator[Turn]:
    """The same program in Python."""
    command = [sys.executable, __file__, "--program", str(start(settings))]

    def turn(number: int) -> Samples:
        run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        samples: Samples = json.loads(run.stdout)
        return samples

    yield turn


def one_program(n: int) -> Samples:
    """The measured program. Runs in a process of its own."""
    began = time.perf_counter()
    with owngil.Pool(1) as pool:
        if pool.submit(identity, 7).result() != 7:
            raise AssertionError("a wrong result")
        samples: Samples = {"first": [time.perf_counter() - began], "call": []}
        for number in range(-_PRACTICE, _CALLS):
            began = time.perf_counter()
            pool.submit(identity, number).result()
            if number >= 0:
                samples["call"].append(time.perf_counter() - began)
        began = time.perf_counter()
        pool.submit(countdown, n).result()
        samples["countdown"] = [time.perf_counter() - began]
    return samples


def missing_program() -> str:
    """Why the C++ program cannot run; empty if it can."""
    return "" if native.program("embed_cpp") else native.missing("embed_cpp")


def missing_host() -> str:
    """The same of the host."""
    if _HOST is None:
        return "this Python came without libpython, so owngil-host was not built"
    return missing_program()


VARIANTS = (
    Variant(
        "embed",
        "one worker",
        [
            in_cpp(_BY_PYTHON, sys.executable, missing_program),
            in_cpp(_BY_HOST, str(_HOST), missing_host),
            Contender(_IN_PYTHON, in_python, str),
        ],
        (
            Metric("first", "latency", "ms", 1e3),
            Metric("call", "latency", "µs", 1e6),
            Metric("countdown", "amount", "ms", 1e3),
        ),
        (
            Goal("call", "within", 1.3, _IN_PYTHON, contender=_BY_PYTHON),
            Goal("countdown", "within", 1.03, _IN_PYTHON, contender=_BY_PYTHON),
        ),
        references=(_IN_PYTHON,),
        rounds=11,
    ),
)

if __name__ == "__main__":
    if sys.argv[1:2] == ["--program"]:
        print(json.dumps(one_program(int(sys.argv[2]))))
    else:
        main(__doc__, VARIANTS)
