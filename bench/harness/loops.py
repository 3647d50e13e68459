# SPDX-License-Identifier: BSD-3-Clause
"""Loops that each lean on one part of the interpreter; what they return shows that all was done."""

import pickle
import re
import time

from harness import work

_LINE = "2026-11-26 07:41:09 worker-%d took %d.%03d ms for 'task %d' (ok)"
_PATTERN = re.compile(r"(\d{4})-(\d\d)-(\d\d) [\d:]+ (\w+)-(\d+) took (\d+\.\d+) ms for '([^']*)'")
_CLASS_SIZE = 5


def allocate(n: int) -> int:
    """Make n small trees of dicts, lists, floats and strings, and drop them by the hundred."""
    total = 0
    kept: list[dict[str, object]] = []
    for i in range(n):
        kept.append({"id": i, "name": str(i), "values": [i / 8, i, (i, "row")], "more": {i: None}})
        if len(kept) == 100:
            total += len(kept)
            kept = []
    return total + len(kept)


def pickle_unpickle(n: int) -> int:
    """Pickle and unpickle n lists of records."""
    value = [{"id": i, "name": f"row {i}", "at": (i, i / 8)} for i in range(20)]
    return sum(len(pickle.loads(pickle.dumps(value))) for _ in range(n))


def match(n: int) -> int:
    """Take n lines apart with a regular expression, and change each with another."""
    total = 0
    for i in range(n):
        line = _LINE % (i % 8, i, i % 1000, i)
        found = _PATTERN.match(line)
        assert found is not None
        total += len(found.groups()) + len(re.sub(r"\d+", "#", line))
    return total


def make_classes(n: int) -> int:
    """Make n classes with methods, an object of each, and call these."""
    total = 0
    for i in range(n):
        names = {f"method_{k}": lambda self, k=k: self.base + k for k in range(_CLASS_SIZE)}
        made = type(f"Made{i}", (), {"base": i, "__slots__": ("value",), **names})
        one = made()
        total += sum(getattr(one, name)() for name in names) - one.base * _CLASS_SIZE
    return total


LOOPS = {
    "allocate": allocate,
    "pickle": pickle_unpickle,
    "match": match,
    "classes": make_classes,
    "countdown": work.countdown,
}


def run(name: str, n: int, folder: str = "") -> tuple[int, float]:
    """What a loop returns, and its CPU seconds; `folder` is of a `Meeting` to attend first."""
    if folder:
        work.meet(folder)
    began = time.thread_time()
    done = LOOPS[name](n)
    return done, time.thread_time() - began
