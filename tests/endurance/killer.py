# SPDX-License-Identifier: BSD-3-Clause
"""Kills the processes of a pool at random instants, from a process of its own.

Its instants must not be tied to what the user's process is doing, not even by the GIL; so it is no
thread of it. It finds its victims by a mark that all of them have in their environment.
Processes: started by `Killer`, which reads a line for each kill.
Not: a judge of what the kills do; and it never kills the user's process or itself.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

MARK = "OWNGIL_ENDURANCE"

# A pool gives up after a few starts in a row that all fail, as it should; so what can make a start
# fail is killed only after so many that were at work.
AT_WORK_BETWEEN = 3
HARSH = 0.06  # the share of kills that go to anything but a worker at work
LOOKS = 20  # a start lasts for a few milliseconds only
HARSH_KINDS = ("template", "guardian", "starting")


class Killer:
    """The user's end: iterating yields the kind of each victim as it falls; `with` ends it."""

    def __init__(self, kills: int, pause_ms: float, seed: int) -> None:
        numbers = (str(number) for number in (os.getpid(), kills, pause_ms, seed))
        self._process = subprocess.Popen(
            [sys.executable, __file__, os.environ[MARK], *numbers],
            stdout=subprocess.PIPE,
            text=True,
        )

    def __iter__(self) -> Iterator[str]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            yield line.strip()

    def __enter__(self) -> Killer:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


def marked(mark: str) -> dict[int, tuple[str, int]]:
    """Every process that carries the mark: its name, and when it started."""
    found = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            if f"{MARK}={mark}\0".encode() not in Path(f"/proc/{entry}/environ").read_bytes():
                continue
            name, _, rest = Path(f"/proc/{entry}/stat").read_text().rpartition(") ")
        except OSError:
            continue  # it has ended, or is somebody else's
        if rest[0] not in "ZX":
            found[int(entry)] = name.partition("(")[2], int(rest.split()[19])
    return found


def victims(mark: str, spared: set[int]) -> dict[str, list[int]]:
    """The pool's processes, by kind."""
    found: dict[str, list[int]] = {"worker": [], **{kind: [] for kind in HARSH_KINDS}}
    templates = []
    for pid, (name, started) in marked(mark).items():
        if pid in spared:
            continue
        if name == "owngil-template":
            templates.append((started, pid))
        else:
            kind = name.removeprefix("owngil-") if "owngil" in name else "starting"
            found["worker" if kind == "host" else kind].append(pid)
    # A worker is called as the template that it was forked from until it has reported.
    templates.sort()
    found["template"] = [pid for _, pid in templates[:1]]
    found["starting"] += [pid for _, pid in templates[1:]]
    return found


def kill(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mark")
    parser.add_argument("user", type=int)
    parser.add_argument("kills", type=int)
    parser.add_argument("pause_ms", type=float)
    parser.add_argument("seed", type=int)
    arguments = parser.parse_args()
    random_ = random.Random(arguments.seed)
    spared = {arguments.user, os.getpid()}
    kills, at_work = 0, 0
    while kills < arguments.kills:
        kind = "worker"
        if at_work >= AT_WORK_BETWEEN and random_.random() < HARSH * (AT_WORK_BETWEEN + 1):
            kind = random_.choice(HARSH_KINDS)
        time.sleep(random_.expovariate(1e3 / arguments.pause_ms))
        found = victims(arguments.mark, spared)[kind]
        for _ in range(LOOKS if kind == "starting" else 0):
            found = found or victims(arguments.mark, spared)[kind]
        if not found or not kill(random_.choice(found)):
            continue
        at_work = at_work + 1 if kind == "worker" else 0
        kills += 1
        print(kind, flush=True)


if __name__ == "__main__":
    main()
