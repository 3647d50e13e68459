# SPDX-License-Identifier: BSD-3-Clause
"""The C++ floors of bench/floor, found in the newest build that has them."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.figures import Samples
from harness.turns import Contender, Settings, Turn

_BUILDS = Path(__file__).resolve().parents[2] / "build"
_SECONDS = 1.0


def program(name: str, folder: str = "bench") -> Path | None:
    """Where it was built; the preset `release` comes first, None if it was not."""
    for preset in ("release", "ci", "dev"):
        path = _BUILDS / preset / folder / name
        if path.exists():
            return path
    return None


def missing(name: str) -> str:
    """Why it cannot run; empty if it can."""
    return "" if program(name) else f"{name} is not built (./dev build)"


def paced_futex(contender: str, pause_ms: int, *placement: str) -> Contender:
    """Round trips between two C++ processes that sleep on a futex, one every `pause_ms`.

    With the placement "apart" they have a CPU each; else the kernel puts them where it likes.
    """

    @contextmanager
    def open_(settings: Settings) -> Iterator[Turn]:
        path = program("paced_futex")
        assert path is not None

        def turn(number: int) -> Samples:
            run = subprocess.run(
                [path, str(pause_ms), str(_SECONDS), *placement],
                stdout=subprocess.PIPE,
                check=True,
            )
            return {"round trip": json.loads(run.stdout)}

        yield turn

    return Contender(contender, open_, lambda: missing("paced_futex"))
