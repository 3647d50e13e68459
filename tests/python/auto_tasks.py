# SPDX-License-Identifier: BSD-3-Clause
"""What the tests of Pool(kind="auto") call.

It brings in nothing that an interpreter is refused, as pytest does.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import time
import uuid
from typing import TYPE_CHECKING

import owngil

if TYPE_CHECKING:
    from harness.gate import Gate


def kind_here() -> str:
    worker = owngil.worker()
    assert worker is not None
    return worker.kind


def needs_readline() -> str:
    import readline  # noqa: F401

    return kind_here()


def does_without_readline() -> tuple[bool, str]:
    try:
        import readline
    except ImportError:
        readline = None  # type: ignore[assignment]
    return readline is not None, kind_here()


def calls_one_that_needs_readline() -> str:
    return needs_readline()


def note(path: str) -> None:
    with open(path, "a") as file:
        file.write("x")


def imports_by_name(path: str, module: str = "readline") -> str:
    note(path)
    importlib.import_module(module)
    return kind_here()


def imports_by_name_and_swallows(path: str) -> str:
    note(path)
    try:
        importlib.import_module("readline")
    except ImportError:
        pass
    return kind_here()


def fork_and_wait() -> str:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return kind_here()


def kind_or_import(item: int) -> tuple[int, str]:
    if item == 3:
        importlib.import_module("readline")
    return item, kind_here()


def count_at_work(folder: str) -> int:
    """How many tasks are between their beginning and their end, this one included."""
    own = os.path.join(folder, str(uuid.uuid4()))
    note(own)
    try:
        found = len(os.listdir(folder))
        time.sleep(0.001)  # be seen by others
        return max(found, len(os.listdir(folder)))
    finally:
        os.remove(own)


def count_at_work_with_readline(folder: str) -> int:
    import readline  # noqa: F401

    return count_at_work(folder)


def hold_here(gate: Gate) -> str:
    gate.enter()
    return kind_here()


def hold_with_readline(gate: Gate) -> str:
    import readline  # noqa: F401

    gate.enter()
    return kind_here()


def dates(year: int) -> str:
    import datetime

    return (datetime.date(year, 2, 28) + datetime.timedelta(days=1)).isoformat()


def decimals(digits: int) -> str:
    import decimal

    with decimal.localcontext() as context:
        context.prec = digits
        return str(decimal.Decimal(2).sqrt())


def table(rows: int) -> list[tuple[int, int]]:
    import sqlite3

    with contextlib.closing(sqlite3.connect(":memory:")) as database:
        database.execute("create table t(a, b)")
        database.executemany("insert into t values(?, ?)", [(i, i * i) for i in range(rows)])
        return database.execute("select * from t order by a desc").fetchall()


def digest(data: bytes) -> str:
    import hashlib

    return hashlib.sha256(data).hexdigest()


def tree(text: str) -> list[str]:
    import xml.etree.ElementTree as ElementTree

    return [element.tag for element in ElementTree.fromstring(text).iter()]


def libc_length(text: bytes) -> int:
    import ctypes

    return int(ctypes.CDLL(None).strlen(text))


def numpy_product(size: int) -> list[float]:
    import numpy as np

    return list((np.arange(size) @ np.arange(size * size).reshape(size, size)).tolist())


def pandas_sums(rows: int) -> dict[int, int]:
    import pandas as pd

    frame = pd.DataFrame({"key": [i % 3 for i in range(rows)], "value": range(rows)})
    return {int(key): int(value) for key, value in frame.groupby("key")["value"].sum().items()}
