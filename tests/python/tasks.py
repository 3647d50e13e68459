# SPDX-License-Identifier: BSD-3-Clause
"""Functions for workers to run, in a module that is cheap to import there."""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import owngil


def add(a: Any, b: Any = 1) -> Any:
    return a + b


def echo(value: Any) -> Any:
    return value


def call(call: tuple[Any, ...]) -> Any:
    function, *args = call
    return function(*args)


def capture(*args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return args, kwargs


def fail(kind: type[BaseException], *args: Any) -> None:
    raise kind(*args)


def rank_and_pid(_: object = None) -> tuple[int, int]:
    worker = owngil.worker()
    assert worker is not None
    return worker.rank, worker.pid


def end_by_signal(number: int = signal.SIGKILL) -> None:
    os.kill(os.getpid(), number)
    signal.pause()


def end_by_exit_code(code: int) -> None:
    os._exit(code)


def die_at(item: int, bad: int) -> int:
    if item == bad:
        end_by_signal()
    return item


def raise_at(item: int, bad: int) -> int:
    if item == bad:
        raise ValueError(f"item {item}")
    return item


def touch(path: Path) -> None:
    path.touch()


def append_line(path: Path, line: object) -> object:
    with path.open("a") as file:
        file.write(f"{line}\n")
    return line


def count_to(limit: int) -> int:
    total = 0
    for number in range(limit):
        total += number
    return total


def outcomes(results: Iterator[Any]) -> list[Any]:
    """All results of a map; an exception stands for the item that raised it."""
    found = []
    while True:
        try:
            found.append(next(results))
        except StopIteration:
            return found
        except Exception as error:
            found.append(error)


def make_lock(_: object = None) -> Any:
    return threading.Lock()


def random_numbers(_: object = None) -> tuple[float, ...]:
    return tuple(random.random() for _ in range(4))


def environment(name: str) -> str | None:
    return os.environ.get(name)


def is_imported(name: str) -> bool:
    return name in sys.modules


class Unhappy:
    """Pickles, but raises when it is unpickled."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __setstate__(self, state: dict[str, Any]) -> None:
        raise state["error"]


class UnhappyToGo:
    def __init__(self, word: str) -> None:
        self.word = word

    def __del__(self) -> None:
        raise RuntimeError(self.word)


class FarFromHomeError(Exception):
    """Pickles, but cannot be made again from its args."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


class HoldsALockError(Exception):
    """Cannot be pickled."""

    def __init__(self, word: str) -> None:
        super().__init__(word)
        self.lock = threading.Lock()


def leave_a_thread_behind(gate: Any) -> None:
    threading.Thread(target=gate.enter).start()


_kept: list[bytes] = []


def keep(size: int) -> tuple[int, int]:
    """Leaks so many bytes; returns what has leaked in this process, and its pid."""
    _kept.append(os.urandom(1) * size)
    return sum(map(len, _kept)), os.getpid()
