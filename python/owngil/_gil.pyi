# SPDX-License-Identifier: BSD-3-Clause
from typing import TypedDict

class Sampled(TypedDict):
    samples: int
    held: int
    waited_for: int
    holding: dict[int, int]
    waiting: dict[int, int]
    switches: int
    dropped: int
    cpu_ns: int
    sees_waiters: bool
    slices: list[tuple[int, bool, int, int]]

class Sampler:
    def __init__(self, interval_ns: int, keep_slices: bool = False) -> None: ...
    def run(self, limit_ns: int, /) -> None: ...
    def stop(self) -> None: ...
    def take(self) -> Sampled: ...

def count_holding(n: int, /) -> int: ...
def count_releasing(n: int, /) -> int: ...
