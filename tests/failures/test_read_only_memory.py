# SPDX-License-Identifier: BSD-3-Clause
"""A worker cannot write what only its pool may write, by whatever way it tries.

But for root, who can open files that it has mapped, and the arena of arguments is not sealed.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import owngil

OF_THE_POOL = ("owngil-board", "owngil-arguments")


def _mappings() -> Iterator[tuple[str, str, str]]:
    """(name, range, rights) of the shared memory of this process."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        name = line.partition("/memfd:")[2].partition(" ")[0]
        if name.startswith("owngil-"):
            yield name, line.split()[0], line.split()[1]


def _rights() -> dict[str, set[str]]:
    rights: dict[str, set[str]] = {}
    for name, _, flags in _mappings():
        rights.setdefault(name, set()).add(flags)
    return rights


def _ways_in(name: str, is_sealed: bool) -> list[str]:
    """Runs in a worker: the ways by which it could write there after all."""
    found = []
    libc = ctypes.CDLL(None, use_errno=True)
    for other, where, flags in _mappings():
        if other != name:
            continue
        begin, end = (int(part, 16) for part in where.split("-"))
        rights = mmap.PROT_READ | mmap.PROT_WRITE
        # What is written to a private mapping nobody else sees.
        if (
            flags.endswith("s")
            and libc.mprotect(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), rights) == 0
        ):
            found.append("mprotect")
        try:
            fd = os.open(f"/proc/self/map_files/{where}", os.O_RDWR if is_sealed else os.O_RDONLY)
        except OSError:
            continue  # not even that
        try:
            mmap.mmap(fd, mmap.PAGESIZE, mmap.MAP_SHARED, rights)
            found.append("a mapping of its own")
        except PermissionError:
            pass
        try:
            os.pwrite(fd, b"x", 0)
            found.append("pwrite")
        except OSError:
            pass
        try:
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
            found.append("a seal")
        except PermissionError:
            pass
        os.close(fd)
    for fd in os.listdir("/proc/self/fd"):
        try:
            if name in os.readlink(f"/proc/self/fd/{fd}"):
                found.append(f"descriptor {fd}")
        except OSError:
            pass  # the listing's own
    return found


@pytest.mark.parametrize("name", OF_THE_POOL)
@pytest.mark.parametrize("start", ["template", "spawn"])
def test_a_worker_cannot_write_what_only_its_pool_may_write(start: str, name: str) -> None:
    with owngil.Pool(1, start=start) as pool:
        assert pool.submit(_rights).result()[name] <= {"r--s", "rw-p"}
        assert pool.submit(_ways_in, name, name == "owngil-board").result() == []
