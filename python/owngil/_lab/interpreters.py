# SPDX-License-Identifier: BSD-3-Clause
"""Sub-interpreters, in a child process of the lab: they leak, and a process that had some may not
fork. The child answers one order a line, each with a number.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from statistics import median

from .estimates import ratios
from .experiment import FIND_OUT, Experiment, Opened, Samples, Settings
from .verdict import Claim

__all__ = ["COUNTDOWN", "EXPERIMENTS", "Child", "child"]

# The code that is shown is the code that runs.
COUNTDOWN = '''\
def countdown(ids, n):
    """Once in each interpreter, each in a thread of its own."""
    code = f"def count(n):\\n while n > 0: n -= 1\\ncount({n})"
    threads = [threading.Thread(target=run_string, args=(id, code)) for id in ids]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - began
'''

CREATION = '''\
def private_bytes():
    with open("/proc/self/smaps_rollup") as file:
        return sum(int(line.split()[1]) * 1024 for line in file if line.startswith("Private_Dirty"))

def creation(gil):
    """Seconds until one more interpreter is there."""
    began = time.perf_counter()
    id = create(gil)
    took = time.perf_counter() - began
    destroy(id)
    return took

def memory(gil, count=4):
    """Private bytes of one more interpreter."""
    before = private_bytes()
    ids = [create(gil) for _ in range(count)]
    more = (private_bytes() - before) / count
    for id in ids:
        destroy(id)
    return max(0, more)
'''

_CHILD = f"""
import sys, threading, time
if sys.version_info >= (3, 13):
    import _interpreters as interpreters
    def create(gil):
        return interpreters.create("isolated" if gil == "own" else "legacy")
    run_string = interpreters.run_string
else:
    import _xxsubinterpreters as interpreters
    def create(gil):
        return interpreters.create(isolated=gil == "own")
    run_string = interpreters.run_string
destroy = interpreters.destroy

{COUNTDOWN}
{CREATION}
ids = {{}}
def interpreters_of(gil, count):
    while len(ids.setdefault(gil, [])) < count:
        ids[gil].append(create(gil))
    return ids[gil]

count = int(sys.argv[1])
sys.setswitchinterval(float(sys.argv[2]))
print("ready", flush=True)
for line in sys.stdin:
    what, gil, n = line.split()
    if what == "countdown":
        answer = countdown(interpreters_of(gil, count), int(n))
    elif what == "creation":
        answer = creation(gil)
    else:
        answer = memory(gil)
    print(repr(float(answer)), flush=True)
"""


class Child:
    """The child process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, order: str, n: int = 0) -> float:
        """Its answer to one order; RuntimeError if it dies of it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(f"{order} {n}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # read below why
        answer = self._process.stdout.readline()
        if not answer.strip():
            raise RuntimeError(f"the process with the sub-interpreters died ({order})")
        return float(answer)


@contextmanager
def child(settings: Settings) -> Iterator[tuple[Child | None, str]]:
    """The child with `settings.threads` interpreters of each kind; or why there is none."""
    with subprocess.Popen(
        [sys.executable, "-c", _CHILD, str(settings.threads), str(settings.switch_interval)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            if process.stdout.readline().strip() == "ready":
                yield Child(process), ""
            else:
                reason = process.stderr.read().strip().rpartition("\n")[2]
                yield None, f"this Python has no sub-interpreters for Python code: {reason}"
        finally:
            process.kill()  # its interpreters need no orderly end


_COUNT = "countdown, {} GIL"
_CREATE = "creation, {} GIL"
_MEMORY = "memory, {} GIL"


@contextmanager
def _open_times(settings: Settings) -> Iterator[Opened]:
    opened = Opened({})
    with child(settings) as (process, missing):
        for gil in ("shared", "own"):
            if process is None:
                opened.absent[f"{gil} GIL"] = missing
                continue
            process.ask(f"countdown {gil}", settings.n // 10)
            process.ask(f"creation {gil}")

            def ask(order: str, n: int = 0, process: Child = process) -> Sequence[float]:
                return [process.ask(order, n)]

            opened.ways[_COUNT.format(gil)] = lambda ask=ask, gil=gil: ask(  # type: ignore[misc]
                f"countdown {gil}", settings.n
            )
            opened.ways[_CREATE.format(gil)] = lambda ask=ask, gil=gil: [  # type: ignore[misc]
                ask(f"creation {gil}")[0] for _ in range(5)
            ]
            opened.ways[_MEMORY.format(gil)] = lambda ask=ask, gil=gil: ask(  # type: ignore[misc]
                f"memory {gil}"
            )
        yield opened


def _claims(samples: Samples, settings: Settings) -> list[Claim]:
    own, shared = (_COUNT.format(gil) for gil in ("own", "shared"))
    least = 0.75 * settings.threads
    return [
        Claim(
            f"{settings.threads} countdowns take longer where interpreters share the GIL",
            ratios(samples.get(shared, ()), samples.get(own, ())),
            at_least=least,
            unit="x",
        ),
        Claim(
            "an own GIL takes more private memory",
            [
                median(own_bytes) / 2**20 - median(shared_bytes) / 2**20
                for own_bytes, shared_bytes in zip(
                    samples.get(_MEMORY.format("own"), ()),
                    samples.get(_MEMORY.format("shared"), ()),
                    strict=False,
                )
            ],
            at_least=0.0,
            unit=" MiB",
        ),
    ]


EXPERIMENTS = (
    Experiment(
        name="sub-interpreters",
        title="interpreters that share one GIL against those that own theirs",
        article=FIND_OUT,
        saw="not possible then: sub-interpreters of Python 3.8 shared the GIL",
        saw_seconds={},
        teaches="An interpreter that owns its GIL also owns its allocator and its modules, "
        "which is why it runs beside the others and why it costs memory. One that shares the GIL "
        "costs less and computes only while nobody else does.",
        measures="time until all countdowns are done",
        unit="s",
        quantities={
            "creation": ("time until one more interpreter is there", "s"),
            "memory": ("private memory of one more interpreter", "B"),
        },
        source=[COUNTDOWN, CREATION],
        open=_open_times,
        claims=_claims,
    ),
)
