# SPDX-License-Identifier: BSD-3-Clause
"""Programs of a user, run as processes of their own with a time limit.

Lifetime: `run` ends everything that it started; a program that does not end fails the test with the
stacks of all its processes. Output goes to files, so who outlives the program holds nothing up.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness import hang_report

LIMIT_S = 45.0
UNWANTED = {"PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "PYTHONWARNINGS"}


@dataclass(frozen=True)
class Finished:
    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


class Program:
    """A running program; `finish` waits for its end, leaving the `with` block forces it."""

    def __init__(
        self,
        command: Sequence[str | os.PathLike[str]],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str | None] | None = None,
        stdin: str | None = None,
        own_session: bool = False,
    ) -> None:
        # Of the settings of whoever runs the tests, those would change what programs print.
        environment = {name: os.environ[name] for name in os.environ.keys() - UNWANTED}
        for name, value in (env or {}).items():
            environment.pop(name, None)
            if value is not None:
                environment[name] = value
        self._in, self._out, self._err = (
            tempfile.TemporaryFile("w+b")  # noqa: SIM115 - closed by close()
            for _ in range(3)
        )
        self._in.write((stdin or "").encode())
        self._in.seek(0)
        self._process = subprocess.Popen(
            command,
            cwd=cwd,
            env=environment,
            stdin=self._in,
            stdout=self._out,
            stderr=self._err,
            start_new_session=own_session,
        )
        self.pid = self._process.pid

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def out(self) -> str:
        return self._read(self._out)

    def err(self) -> str:
        return self._read(self._err)

    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def kill(self, number: int) -> None:
        self._process.send_signal(number)

    def finish(self, limit_s: float = LIMIT_S) -> Finished:
        try:
            code = self._process.wait(limit_s)
        except subprocess.TimeoutExpired:
            report = hang_report.describe(self.pid)
            hang_report.ask_for_python_stacks(self.pid)
            hang_report.kill_family(self.pid)
            self._process.kill()
            self._process.wait()
            pytest.fail(f"the program hangs\n{report}\nout: {self.out()}\nerr: {self.err()}")
        return Finished(code, self.out(), self.err())

    def close(self) -> None:
        if self._process.poll() is None:
            hang_report.kill_family(self.pid)
            self._process.kill()
            self._process.wait()
        for file in (self._in, self._out, self._err):
            file.close()

    @staticmethod
    def _read(file: tempfile._TemporaryFileWrapper[bytes]) -> str:
        descriptor = file.fileno()
        size = os.fstat(descriptor).st_size
        return os.pread(descriptor, size, 0).decode(errors="replace")


def run(
    command: Sequence[str | os.PathLike[str]],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str | None] | None = None,
    stdin: str | None = None,
    code: int | None = 0,
    quiet: bool = True,
) -> Finished:
    """Run to the end. `code`: what it must exit with (None: anything); `quiet`: empty stderr."""
    with Program(command, cwd=cwd, env=env, stdin=stdin) as program:
        done = program.finish()
    if code is not None and done.code != code:
        pytest.fail(f"exit code {done.code}, not {code}\nout: {done.out}\nerr: {done.err}")
    if quiet and done.err:
        pytest.fail(f"stderr is not empty\nout: {done.out}\nerr: {done.err}")
    return done


def dedent(source: str) -> str:
    return textwrap.dedent(source).lstrip("\n")


def run_code(source: str, *arguments: str, **options: object) -> Finished:
    """Run source text as `python -c` does."""
    return run([sys.executable, "-c", dedent(source), *arguments], **options)  # type: ignore[arg-type]


def run_file(path: Path, source: str, *arguments: str, **options: object) -> Finished:
    """Write source text to a file and run that by path."""
    path.write_text(dedent(source))
    return run([sys.executable, path, *arguments], **options)  # type: ignore[arg-type]
