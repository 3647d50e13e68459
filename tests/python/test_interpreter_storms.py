# SPDX-License-Identifier: BSD-3-Clause
"""Many interpreters of one process begin, import, end and are replaced at once: nothing is lost.

That is what crashes CPython 3.12 and 3.13 unless the host has imported the modules first and lets
interpreters begin one by one.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import Any

import pytest

import owngil
from harness.conditions import wait_until
from harness.starts import pids_of

if sys.version_info < (3, 13):
    pytest.skip("needs CPython 3.13 or later", allow_module_level=True)

WORKERS = 8
# All with something in C; each leaves a value that must be what it is in this process.
SNIPPETS = {
    "datetime": "str(m.date(2000, 1, 1) + m.timedelta(59))",
    "decimal": "str(m.Decimal(2).sqrt())",
    "hashlib": "m.sha256(b'storm').hexdigest()",
    "sqlite3": "m.complete_statement('select 6 * 7;')",
    "ssl": "m.SSLContext(m.PROTOCOL_TLS_CLIENT).verify_mode.name",
    "json": "m.dumps(m.loads('[1, 2.5, null]'))",
    "zoneinfo": "len(m.TZPATH) > 0",
    "ctypes": "m.c_uint8(511).value",
    "xml.etree.ElementTree": "m.fromstring('<a><b/></a>')[0].tag",
    "array": "m.array('d', [1.5]).tobytes().hex()",
    "random": "m.Random(7).random()",
    "struct": "m.pack('<d', 0.1).hex()",
}
NAMES = tuple(SNIPPETS)


def use_modules(names: tuple[str, ...], meeting: str = "", count: int = 0) -> list[object]:
    """Imports them and uses each; waits first, if asked to, until `count` calls are here."""
    import importlib
    import tempfile
    import time

    if meeting:
        os.close(tempfile.mkstemp(dir=meeting)[0])
        while len(os.listdir(meeting)) < count:
            time.sleep(0.001)
    return [eval(SNIPPETS[name], {"m": importlib.import_module(name)}) for name in names]


def rotated(by: int) -> tuple[str, ...]:
    return NAMES[by % len(NAMES) :] + NAMES[: by % len(NAMES)]


def storm(*, same: bool) -> list[tuple[str, ...]]:
    return [rotated(0 if same else number) for number in range(WORKERS)]


def is_whole(pool: owngil.Pool) -> bool:
    return pool.stats().restarts == 0


@pytest.mark.parametrize("same", [True, False], ids=["same modules", "different modules"])
def test_interpreters_that_begin_and_import_at_once(tmp_path: Any, same: bool) -> None:
    for number in range(2):
        meeting = tmp_path / str(number)
        meeting.mkdir()
        with owngil.Pool(WORKERS, kind="interpreter") as pool:
            futures = [
                pool.submit(use_modules, names, str(meeting), WORKERS) for names in storm(same=same)
            ]
            for names, future in zip(storm(same=same), futures, strict=True):
                assert future.result(60) == use_modules(names)
            assert len(set(pids_of(pool))) == 1
            assert is_whole(pool)


def test_interpreters_that_serve_one_task_each() -> None:
    tasks = [rotated(number) for number in range(4 * WORKERS)]
    with owngil.Pool(WORKERS, kind="interpreter", max_tasks_per_child=1) as pool:
        futures = [pool.submit(use_modules, names) for names in tasks]
        for names, future in zip(tasks, futures, strict=True):
            assert future.result(60) == use_modules(names)
        assert is_whole(pool)
        wait_until(lambda: pool.stats().leaving == 0)


def square_and_place(number: int) -> tuple[int, int]:
    return number * number, os.getpid()


def test_hosts_that_are_replaced_under_load_lose_nothing() -> None:
    """Callers in many threads, while all workers are replaced again and again."""
    each = 400
    wrong: list[object] = []

    def call(pool: owngil.Pool, offset: int) -> None:
        numbers = range(offset, offset + each)
        answers = [
            future.result(60) for future in [pool.submit(square_and_place, n) for n in numbers]
        ]
        answers += pool.map(square_and_place, numbers, chunksize=1)
        if [square for square, _ in answers] != [n * n for n in numbers] * 2:
            wrong.append(answers)

    with owngil.Pool(4, kind="interpreter", hosts=2, max_tasks_per_child=40) as pool:
        callers = [threading.Thread(target=call, args=(pool, n * each)) for n in range(4)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        assert not wrong
        assert pool.stats().recycled > 10
        assert is_whole(pool)


def test_hosts_that_are_killed_under_load_lose_only_what_had_begun() -> None:
    kills = 6
    with owngil.Pool(WORKERS, kind="interpreter", max_restarts=None) as pool:
        again = pool.options(retries=10 * kills)
        futures = []
        for number in range(kills):
            futures += [again.submit(use_modules, rotated(number + n)) for n in range(WORKERS)]
            assert again.submit(abs, -number).result(60) == number
            pid = pool.stats().workers[number % WORKERS].pid
            if pid is not None:
                os.kill(pid, 9)
        for number, future in enumerate(futures):
            expected = use_modules(rotated(number // WORKERS + number % WORKERS))
            assert future.result(60) == expected
