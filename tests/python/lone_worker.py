# SPDX-License-Identifier: BSD-3-Clause
"""A worker's Python half in a process of its own, without shared memory: calls go through a pipe.

It does what the C++ loop does with `owngil._worker`: loads a function when it is first named, or
each time if it says so, and prepares it when another one has run in between.
"""

from __future__ import annotations

import marshal
import os
import pickle
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

# This process may itself be a program that a test runs; the package lies beside it or is installed.
_PATHS = [str(Path(__file__).parent)]


class LoneWorker:
    """The user's side. Like a pool with one worker, and every submit waits for its result."""

    def __init__(
        self, initializer: Callable[..., Any] | None = None, initargs: tuple[Any, ...] = ()
    ) -> None:
        from owngil import _functions

        self.blobs: dict[int, bytes] = {}
        self.dropped: list[int] = []
        self._sent: set[int] = set()
        self.table = _functions.FunctionTable(
            self._add, self.dropped.append, lambda number, before: None
        )
        self._socket, theirs = socket.socketpair()
        package = str(Path(_functions.__file__).parents[1])
        paths = [package, *_PATHS]
        code = f"import sys; sys.path[:0] = {paths!r}; import lone_worker"
        code += f"; lone_worker.serve({theirs.fileno()})"
        self._process = subprocess.Popen(
            [sys.executable, "-c", code], pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL
        )
        theirs.close()
        self._stream = self._socket.makefile("rwb")
        if initializer is not None:
            self._initialize(initializer, initargs)

    def _add(self, blob: bytes, _: bytes) -> int:
        number = len(self.blobs) + 1
        self.blobs[number] = bytes(blob)
        return number

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()
        self._socket.close()
        self._process.wait()

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        from owngil import _pickling

        number = self.table.number(function)
        status, data = self._ask("call", number, _pickling.dump_arguments(args, kwargs))
        if status == "raised":
            raise _pickling.load_exception(data)
        try:
            return pickle.loads(data)
        except Exception as error:
            raise _pickling.undecodable(error, data) from error

    def apply_context(self) -> None:
        from owngil import _context

        assert self._ask("context", 0, _context.capture())[0] == "returned"

    def _initialize(self, function: Callable[..., Any], initargs: tuple[Any, ...]) -> None:
        from owngil import _mp, _pickling

        call, fds = _mp.pack_initializer(function, initargs)
        if fds:
            self._write(("fds", len(fds), b"", b""))
            socket.send_fds(self._socket, [b"f"], fds)
            for fd in fds:
                os.close(fd)
        number = self.table.number(call)
        status, data = self._ask("call", number, _pickling.dump_arguments((), None))
        if status == "raised":
            raise _pickling.load_exception(data)

    def _ask(self, verb: str, number: int, payload: bytes) -> tuple[str, bytes]:
        blob = b""
        if number and number not in self._sent:
            blob = self.blobs[number]
            self._sent.add(number)
        self._write((verb, number, blob, payload))
        answer: tuple[str, bytes] = marshal.load(self._stream)
        return answer

    def _write(self, message: tuple[Any, ...]) -> None:
        marshal.dump(message, self._stream)
        self._stream.flush()


def serve(fd: int) -> None:
    from owngil import _worker

    _worker.enter(0, os.getpid(), "process", "lone")
    connection = socket.socket(fileno=fd)
    stream = connection.makefile("rwb", buffering=0)
    blobs: dict[int, bytes] = {}
    loaded: dict[int, Any] = {}
    last = 0
    while True:
        try:
            verb, number, blob, payload = marshal.load(stream)
        except EOFError:
            stream.close()
            connection.close()
            return
        if verb == "fds":
            _worker.adopt_fds(socket.recv_fds(connection, 1, number)[1])
            continue
        if blob:
            blobs[number] = blob
        try:
            if verb == "context":
                _worker.apply_context(payload)
                answer = ("returned", b"")
            else:
                if number not in loaded:
                    function, prepare, reload = _worker.load_function(blobs[number])
                    if not reload:
                        loaded[number] = function, prepare
                else:
                    function, prepare = loaded[number]
                    if prepare is not None and number != last:
                        prepare()
                last = number
                args, kwargs = pickle.loads(payload)
                answer = ("returned", _worker.dump_result(function(*args, **kwargs)))
        except BaseException as error:
            answer = ("raised", _worker.dump_exception(error))
        marshal.dump(answer, stream)


def run_program(source: str, folder: Path) -> list[str]:
    """Runs a user's program by path, with LoneWorker at hand; the lines that it printed."""
    package = Path(__file__).parents[2] / "python"
    paths = [str(Path(__file__).parent), str(package), str(folder)]
    begin = f"import sys; sys.path[:0] = {paths!r}\nfrom lone_worker import LoneWorker\n"
    program = folder / "program.py"
    program.write_text(begin + textwrap.dedent(source))
    done = subprocess.run(
        [sys.executable, "-W", "error", program], capture_output=True, text=True, cwd=folder
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    return done.stdout.splitlines()
