# SPDX-License-Identifier: BSD-3-Clause
"""A core dump has what the sides told each other, and none of the address space of arenas.

Where core dumps are on, a worker that crashes would otherwise be written to disk with 64 GiB and
more, hole by hole, before anybody hears that it is dead.
"""

from __future__ import annotations

import owngil

MOST = 16 << 20  # bytes


def dumped_memory() -> dict[str, int]:
    """How many bytes of our memory a core dump of this process has, by the name of the file."""
    found: dict[str, int] = {}
    name = ""
    size = 0
    with open("/proc/self/smaps") as smaps:
        for line in smaps:
            first, *rest = line.split()
            if not first.endswith(":"):
                begin, end = (int(place, 16) for place in first.split("-"))
                name, size = " ".join(rest[4:]), end - begin
            elif first == "VmFlags:" and "memfd:owngil" in name and "dd" not in rest:
                found[name] = found.get(name, 0) + size
    return found


def use_all_arenas(written: bytearray, shared: bytes) -> tuple[bytearray, dict[str, int]]:
    written[len(shared) // 2] = 1
    return written, dumped_memory()


def test_the_rings_are_in_a_core_dump_and_the_arenas_are_not(pool: owngil.Pool) -> None:
    shared = pool.share(bytes(1 << 20))
    made_here = owngil.buffer(1 << 20)
    result, of_worker = pool.submit(use_all_arenas, bytearray(1 << 20), shared).result()
    shared_again = pool.share(made_here)
    assert pool.submit(len, shared_again).result() == len(made_here)
    for found in (of_worker, dumped_memory()):
        assert any("channel" in name for name in found), found
        assert sum(found.values()) < MOST, found
    assert len(result) == 1 << 20
