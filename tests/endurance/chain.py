# SPDX-License-Identifier: BSD-3-Clause
"""Do arenas grow when thousands of arrays of random sizes go through chains of three tasks?

Some chains are under way at once; each task gets what the one before it returned, adds 1 and
returns that. The memory of each arena is what the kernel says that its file has. Alive is what has
to lie there at once: in the arena of arguments what tasks have that have not ended, in a worker's
what it has returned and the program still has, and twice the largest array: one that is being made,
and one of whose end the worker has not been told. In the end it must hold that
  each array is right       in its first and in its last element, after each task
  no arena is too large     the most that was alive there and a quarter
  nothing grows             twice as many arrays take no more of what is alive, but a tenth, once it
                            is more than that
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from collections import Counter, deque
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import numpy
from seeds import add_seed

import owngil
from owngil._cli.live_line import LiveLine

TASKS = 3
UNDER_WAY = 8
LEAST, MOST = 12, 23  # powers of two: bytes of an array
EVERY = 20  # chains: so often memory is measured
MOST_OVER, MOST_GROWTH = 0.25, 0.1
SLACK = 2 << 20  # an arena takes so much at once

Files = Counter[int]  # of arenas, by inode: bytes


def arenas(name: str) -> dict[int, int]:
    """Those of this kind that this process has open."""
    found = {}
    for fd in os.listdir("/proc/self/fd"):
        try:
            if f"owngil-{name}" in os.readlink(f"/proc/self/fd/{fd}"):
                state = os.stat(f"/proc/self/fd/{fd}")
                found[state.st_ino] = state.st_blocks * 512
        except FileNotFoundError:
            pass  # it was the one of the folder itself
    return found


_own: list[int] = []  # in a worker: the inode of its arena


def add_one(array: Any) -> tuple[Any, int]:
    """The task; also where what it returns lies."""
    if not _own:
        (inode,) = arenas("results")
        _own.append(inode)
    return array + 1, _own[0]


@dataclass
class Link:
    """A task under way, or ended and not looked at yet."""

    array_bytes: int
    task: int
    future: Future[tuple[Any, int]]


class Chains:
    def __init__(self, pool: owngil.Pool, seed: int) -> None:
        self.pool, self.random = pool, random.Random(seed)
        self.links: deque[Link] = deque()
        self.largest = 0
        self.alive: Files = Counter()  # the most until now, by inode
        self.memory: Files = Counter()
        self.faults: list[str] = []
        (self._arguments,) = arenas("arguments")

    def begin(self) -> None:
        size = int(2 ** self.random.uniform(LEAST, MOST)) // 8
        self.largest = max(self.largest, 8 * size)
        self._submit(numpy.zeros(size), 1)

    def go_on(self) -> bool:
        """Looks at the oldest; whether a chain has come to its end."""
        self._count_alive()
        link = self.links.popleft()
        array, _ = link.future.result()
        if not array[0] == array[-1] == link.task or array.nbytes != link.array_bytes:
            self.faults.append(f"task {link.task} of a chain of {link.array_bytes} bytes is wrong")
        if link.task == TASKS:
            return True
        self._submit(array, link.task + 1)
        return False

    def measure(self) -> None:
        self.memory |= Counter(arenas("arguments") | arenas("results"))

    def part_of_alive(self) -> float:
        """How much of what may be alive all arenas have, at most, until now."""
        return sum(self.memory.values()) / sum(self._most_alive(inode) for inode in self.memory)

    def judge(self) -> None:
        for inode, size in self.memory.items():
            name = "arguments" if inode == self._arguments else "a worker's results"
            alive = self._most_alive(inode)
            print(f"{name}: {size / alive:.2f} of the {alive >> 20} MiB that were alive at most")
            if size > (1 + MOST_OVER) * alive + SLACK:
                self.faults.append(f"{name}: {size >> 20} MiB is more than is alive and a quarter")

    def _most_alive(self, inode: int) -> int:
        beside = 0 if inode == self._arguments else 2 * self.largest
        return self.alive[inode] + beside

    def _submit(self, array: Any, task: int) -> None:
        self.links.append(Link(array.nbytes, task, self.pool.submit(add_one, array)))

    def _count_alive(self) -> None:
        now: Counter[int] = Counter()
        for link in self.links:
            # One that ends just now is both; that is the most that there can be.
            now[self._arguments] += link.array_bytes
            if link.future.done():
                now[link.future.result()[1]] += link.array_bytes
        self.alive |= now


def run(count: int, seed: int) -> int:
    """Prints what it measures; the program's exit code."""
    began = time.monotonic()
    with owngil.Pool(2) as pool, LiveLine() as live:
        chains = Chains(pool, seed)
        half = 0.0
        live.show("chains", count)
        begun = ended = 0
        while ended < count:
            while begun < count and len(chains.links) < UNDER_WAY:
                chains.begin()
                begun += 1
            if chains.go_on():
                ended += 1
                live.advance()
                if ended % EVERY == 0:
                    chains.measure()
                if ended == count // 2:
                    half = chains.part_of_alive()
        took = time.monotonic() - began
        print(f"{count:,} arrays through {TASKS} tasks each in {took:.0f} s, seed {seed}")
        chains.judge()
        whole = chains.part_of_alive()
        print(f"all: {half:.2f} after the first half of the arrays, {whole:.2f} in the end")
        if whole > (1 + MOST_GROWTH) * max(half, 1):
            chains.faults.append("the arenas grow")
    for fault in chains.faults[:20]:
        print(f"  FAULT {fault}")
    print(f"{len(chains.faults)} faults")
    return 1 if chains.faults else 0


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="./dev chain",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--count", type=int, default=10_000, metavar="N", help="default: 10000")
    add_seed(parser)
    given = parser.parse_args()
    return run(given.count, given.seed)


if __name__ == "__main__":
    sys.exit(main())
