# SPDX-License-Identifier: BSD-3-Clause
"""One process a contender, and turns: so no two measure at once, and none disturbs another.

The process is this same script, started again with `--turn VARIANT/CONTENDER`. It opens its
pool, takes one turn for practice, and then a turn whenever it is told to. Parent and child
speak JSON lines over two pipes; standard output stays the contender's own.
"""

import gc
import json
import os
import select
import subprocess
import sys
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass
from typing import IO

from harness.figures import Samples, thinned
from harness.processes import kill_session

Turn = Callable[[int], Samples]  # takes the number of the round; -1 is practice

_PATIENCE_S = 300.0


@dataclass(frozen=True)
class Settings:
    """What every contender of a run is told alike."""

    workers: int
    units_per_ms: float  # of work.burn
    quick: bool


@dataclass(frozen=True)
class Contender:
    """Something that takes turns: `open(settings)` is a context manager of its turn."""

    name: str
    open: Callable[[Settings], AbstractContextManager[Turn]]
    missing: Callable[[], str] = str  # why it cannot take part; empty if it can


class TurnError(Exception):
    """The contender could not take its turn; the text says why."""


class Seat:
    """The parent's end of one contender's process."""

    def __init__(self, script: str, address: str, settings: Settings) -> None:
        read_turn, self._go = os.pipe()
        self._back, write_turn = os.pipe()
        self._process = subprocess.Popen(
            [
                sys.executable,
                script,
                "--turn",
                address,
                f"{read_turn},{write_turn}",
                json.dumps(asdict(settings)),
            ],
            pass_fds=(read_turn, write_turn),
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(read_turn)
        os.close(write_turn)
        self._buffer = b""

    def turn(self, number: int) -> Samples:
        """Let the contender take one turn and return what it measured; raise TurnError."""
        try:
            os.write(self._go, b"%d\n" % number)
        except BrokenPipeError:
            raise TurnError("its process is gone") from None
        answer = json.loads(self._line())
        if "error" in answer:
            raise TurnError(answer["error"])
        samples: Samples = answer["samples"]
        return samples

    def close(self, patience_s: float = 30) -> None:
        """Let it close its pool and end; after a while, end it."""
        os.close(self._go)
        os.close(self._back)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(patience_s)
        kill_session(self._process.pid)
        self._process.wait()

    def _line(self) -> bytes:
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([self._back], [], [], _PATIENCE_S)
            if not ready:
                raise TurnError(f"no answer for {_PATIENCE_S:.0f} s")
            data = os.read(self._back, 1 << 20)
            if not data:
                raise TurnError("its process ended")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line


def take_turns(contender: Contender, fds: str, settings: str) -> None:
    """The child's side: open the pool and take a turn for every line that comes."""
    read, write = (int(fd) for fd in fds.split(","))
    for fd in (read, write):
        os.set_inheritable(fd, False)
    with os.fdopen(read) as orders, os.fdopen(write, "w") as answers:
        try:
            with contender.open(Settings(**json.loads(settings))) as turn:
                for order in orders:
                    gc.collect()
                    samples = turn(int(order))
                    _answer(answers, {"samples": {k: thinned(v) for k, v in samples.items()}})
        except Exception as error:
            traceback.print_exc()
            _answer(answers, {"error": f"{type(error).__name__}: {error}"[:200]})


def _answer(answers: IO[str], answer: dict[str, object]) -> None:
    try:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
    except BrokenPipeError:
        pass  # the parent has given up on this contender
