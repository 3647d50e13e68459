# SPDX-License-Identifier: BSD-3-Clause
"""The failure matrix: what happens, at which stage, and what the task, its neighbours and the pool
get. The tests read it (test_matrix.py), and ARCHITECTURE.md shows it:

    ./dev run python tests/failures/matrix.py --write ARCHITECTURE.md

A row is a line; it stands for a test for each of its stages and each way to have workers: processes
that were forked from a template, or spawned, and interpreters. Of these each has a host of its own
here, for what dies is the host; tests/python/test_interpreter_kind.py has those that share one.
With kind="auto" only what interpreters refuse differs.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BEGIN = "<!-- failures begin: made by tests/failures/matrix.py -->"
END = "<!-- failures end -->"

STARTS = ("template", "spawn")
INTERPRETER = "interpreter"  # in a host that was forked from a template
AUTO = "auto"  # the same, and processes for what those refuse
OPTIONS: dict[str, dict[str, Any]] = {
    "template": {"start": "template"},
    "spawn": {"start": "spawn"},
    INTERPRETER: {"kind": "interpreter", "hosts": 2},
    AUTO: {"kind": "auto", "hosts": 2},
}


@dataclass(frozen=True)
class Gets:
    """What comes of a task: its result, or an error of this type."""

    error: str = ""  # its type, or one of its bases; empty: the result comes
    how: str = ""  # of a worker that died: the signal, or the exit code

    def __str__(self) -> str:
        if not self.error:
            return self.how or "its result"
        return f"`{self.error}`" + (f", {self.how}" if self.how else "")


RESULT = Gets()
NOTHING = Gets(how="nobody is left to ask")
TIMEOUT = Gets("TaskTimeout")


def died(how: str) -> Gets:
    return Gets("WorkerDied", how)


# What the pool does.
KEPT = "keeps the worker"
REPLACED = "replaces the worker"
UNTOUCHED = "their results"
RENEWED = "replaces the worker, and starts a new {} for it"
BROKEN = "is broken, with the reason"
GONE = "is gone within a second, with every process of it"

IN_CODE = ("decoding", "executing", "encoding")
IN_MAP = ("first item", "middle item", "last item")
OUTSIDE = ("receiving", "idle")
BEFORE_COMMIT = "replying (before the commit)"
AFTER_COMMIT = "replying (after the commit)"
SHUTDOWN = "during shutdown"
STARTING = "starting"
INITIALIZER = "in the initializer"
TEMPLATE, GUARDIAN, USER = "to the template", "to the guardian", "to the user's process"

APART = (STARTING, INITIALIZER, USER)  # see apart.py


@dataclass(frozen=True)
class Row:
    event: str
    stages: tuple[str, ...]
    task: Gets
    pool: str
    neighbours: str = UNTOUCHED
    limited: bool = False  # the task has a time limit: without one it would run for ever
    disorder: bool = False  # the next cell gets a pool of its own
    kinds: tuple[str, ...] = ("process", INTERPRETER)
    starts: tuple[str, ...] = STARTS  # of processes

    def ways(self) -> list[str]:
        processes = self.starts if "process" in self.kinds else ()
        return [*processes, *(kind for kind in self.kinds if kind in OPTIONS)]


PROCESS, REFUSED, EITHER = ("process",), (INTERPRETER,), (AUTO,)

MATRIX = (
    # --- it raises
    Row("raises", (*IN_CODE, *IN_MAP, SHUTDOWN), Gets("ValueError"), KEPT),
    Row("raises what cannot be pickled", ("executing", *IN_MAP), Gets("RemoteError"), KEPT),
    Row("raises what cannot be unpickled", ("executing", *IN_MAP), Gets("RemoteError"), KEPT),
    Row("sys.exit(3)", ("decoding",), Gets("RemoteError"), KEPT),
    Row("sys.exit(3)", ("executing", "encoding", *IN_MAP), Gets("SystemExit"), KEPT),
    Row("MemoryError", (*IN_CODE, *IN_MAP), Gets("MemoryError"), KEPT),
    Row("memory limit of the process", (*IN_CODE, *IN_MAP), Gets("MemoryError"), KEPT),
    # --- it dies
    Row("os._exit(7)", (*IN_CODE, BEFORE_COMMIT, *IN_MAP, SHUTDOWN), died("exit code 7"), REPLACED),
    Row("SIGKILL", (*IN_CODE, BEFORE_COMMIT, *IN_MAP, SHUTDOWN), died("SIGKILL"), REPLACED),
    Row("SIGKILL", (*OUTSIDE, AFTER_COMMIT), RESULT, REPLACED),
    Row("SIGTERM", (*IN_CODE, BEFORE_COMMIT, *IN_MAP), died("SIGTERM"), REPLACED),
    Row("SIGTERM", (*OUTSIDE, AFTER_COMMIT), RESULT, REPLACED),
    Row("SIGABRT", (*IN_CODE, BEFORE_COMMIT, *IN_MAP), died("SIGABRT"), REPLACED),
    Row("SIGABRT", (*OUTSIDE, AFTER_COMMIT), RESULT, REPLACED),
    Row("segfault", (*IN_CODE, BEFORE_COMMIT, *IN_MAP, SHUTDOWN), died("SIGSEGV"), REPLACED),
    Row("segfault", (*OUTSIDE, AFTER_COMMIT), RESULT, REPLACED),
    Row("stack overflow in C", (*IN_CODE, *IN_MAP), died("SIGSEGV"), REPLACED),
    Row("exec", (*IN_CODE, *IN_MAP), died("exit code 0"), REPLACED, kinds=PROCESS),
    # --- it never ends
    Row("SIGSTOP", (*IN_CODE, *IN_MAP), TIMEOUT, REPLACED, limited=True),
    Row("endless Python loop", (*IN_CODE, *IN_MAP), TIMEOUT, REPLACED, limited=True),
    Row("endless C call with the GIL", (*IN_CODE, *IN_MAP), TIMEOUT, REPLACED, limited=True),
    Row("endless C call without the GIL", (*IN_CODE, *IN_MAP), TIMEOUT, REPLACED, limited=True),
    Row("future.cancel(running=True)", ("executing",), Gets("CancelledError"), KEPT, kinds=PROCESS),
    Row(
        "future.cancel(running=True) of what waits for a lock",
        ("executing",),
        Gets("CancelledError"),
        REPLACED,
        kinds=REFUSED,
    ),
    Row("pool.kill(future)", ("executing",), Gets("CancelledError"), REPLACED),
    # --- it leaves the worker in disorder
    Row("closes every fd", (*IN_CODE, *IN_MAP), RESULT, REPLACED),
    Row(
        "replaces signal handlers", (*IN_CODE, *IN_MAP), RESULT, KEPT, disorder=True, kinds=PROCESS
    ),
    Row("changes cwd, environment, umask", (*IN_CODE, *IN_MAP), RESULT, KEPT, disorder=True),
    Row("leaves a thread", (*IN_CODE, *IN_MAP), RESULT, KEPT, disorder=True),
    Row("leaves a daemon thread", (*IN_CODE, *IN_MAP), RESULT, KEPT, disorder=True, kinds=PROCESS),
    Row("leaves a child process", (*IN_CODE, *IN_MAP), RESULT, KEPT, disorder=True),
    Row("writes 100 MB to stdout and stderr", ("executing", "middle item"), RESULT, KEPT),
    Row("forks and returns twice", (*IN_CODE, *IN_MAP), RESULT, KEPT, disorder=True, kinds=PROCESS),
    # --- an interpreter refuses
    Row("exec", ("decoding",), Gets("RemoteError"), KEPT, kinds=REFUSED),
    Row("exec", (*IN_CODE[1:], *IN_MAP), Gets("RuntimeError"), KEPT, kinds=REFUSED),
    Row("replaces signal handlers", (*IN_CODE, *IN_MAP), Gets("ValueError"), KEPT, kinds=REFUSED),
    Row("leaves a daemon thread", ("decoding",), Gets("RemoteError"), KEPT, kinds=REFUSED),
    Row(
        "leaves a daemon thread", (*IN_CODE[1:], *IN_MAP), Gets("RuntimeError"), KEPT, kinds=REFUSED
    ),
    Row("forks and returns twice", ("decoding",), Gets("RemoteError"), KEPT, kinds=REFUSED),
    Row(
        "forks and returns twice",
        (*IN_CODE[1:], *IN_MAP),
        Gets("RuntimeError"),
        KEPT,
        kinds=REFUSED,
    ),
    # --- an interpreter refuses, and there are processes to run what has not begun
    Row("exec", ("decoding",), died("exit code 0"), KEPT, disorder=True, kinds=EITHER),
    Row("leaves a daemon thread", ("decoding",), RESULT, KEPT, disorder=True, kinds=EITHER),
    Row("forks and returns twice", ("decoding",), RESULT, KEPT, disorder=True, kinds=EITHER),
    *(
        Row(event, (*IN_CODE[1:], *IN_MAP), Gets("NeedsProcess"), KEPT, disorder=True, kinds=EITHER)
        for event in (
            "exec",
            "replaces signal handlers",
            "leaves a daemon thread",
            "forks and returns twice",
        )
    ),
    # --- it is not the worker that it happens to, or not yet
    Row("SIGKILL", (STARTING,), RESULT, REPLACED, kinds=PROCESS),
    Row("SIGKILL", (TEMPLATE,), RESULT, RENEWED.format("template"), starts=("template",)),
    Row("SIGKILL", (GUARDIAN,), RESULT, RENEWED.format("guardian")),
    Row("SIGKILL", (USER,), NOTHING, GONE, neighbours="-"),
    Row("raises", (INITIALIZER,), Gets("PoolBroken"), BROKEN, neighbours="`PoolBroken`"),
    Row("SIGKILL", (INITIALIZER,), Gets("PoolBroken"), BROKEN, neighbours="`PoolBroken`"),
)


def cells() -> list[tuple[Row, str, str]]:
    """(row, stage, way to have workers) of every test that this Python can run."""
    from harness import kinds  # here: the table is also written by this file as a program

    here = [way for way in OPTIONS if way in STARTS or "interpreter" in kinds.HERE]
    return [
        (row, stage, way)
        for row in MATRIX
        for stage in row.stages
        for way in row.ways()
        if way in here
    ]


def sentence(row: Row, stage: str, way: str) -> str:
    """The name of a test."""
    when = f"in the {stage} of a map" if stage in IN_MAP else stage
    when = f"while {when}" if stage in (*IN_CODE, *OUTSIDE, STARTING) else when
    return f"{row.event} {when}: the task gets {row.task}, and the pool {row.pool} ({way})"


def table() -> str:
    header = (
        "event",
        "stages",
        "worker",
        "start",
        "the task gets",
        "its neighbours get",
        "the pool",
    )
    rows = [
        (
            row.event,
            "; ".join(_grouped(row.stages)),
            ", ".join(row.kinds),
            _starts(row),
            str(row.task) + (" (it has a time limit)" if row.limited else ""),
            row.neighbours,
            row.pool,
        )
        for row in MATRIX
    ]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, ("---",) * 7, *rows))


def _starts(row: Row) -> str:
    if "process" not in row.kinds:
        return "template"
    return "both" if row.starts == STARTS else ", ".join(row.starts)


def _grouped(stages: tuple[str, ...]) -> list[str]:
    if not set(IN_MAP) <= set(stages):
        return [", ".join(stages)]
    return [
        ", ".join(stage for stage in stages if stage not in IN_MAP),
        "first, middle, last item of a `map`",
    ]


def shown_in(text: str) -> str:
    """The table that stands between the marks."""
    return text.partition(BEGIN)[2].partition(END)[0].strip()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", metavar="FILE", type=Path, help="renew the table in FILE")
    file = parser.parse_args().write
    if file is None:
        print(table())
        return
    head, begin, rest = file.read_text().partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        parser.error(f"{file} has no marks for the table")
    file.write_text(f"{head}{BEGIN}\n{table()}\n{END}{tail}")


if __name__ == "__main__":
    main()
