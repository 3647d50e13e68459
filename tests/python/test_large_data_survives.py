# SPDX-License-Identifier: BSD-3-Clause
"""Large data when workers go, meddle with their memory, or the machine is short of something."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from typing import Any

import pytest
import tasks

import owngil
from harness import scripts

LARGE = 100_000
FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE = 1, 2


def make(number: int) -> bytearray:
    return bytearray(number.to_bytes(4, "little") * (LARGE // 4))


def own_arenas() -> list[int]:
    """In a worker: the descriptors of its arenas."""
    found = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            if "owngil-" in os.readlink(f"/proc/self/fd/{fd}"):
                found.append(int(fd))
        except OSError:
            pass
    return found


def test_results_outlive_a_thousand_workers() -> None:
    with owngil.Pool(2, max_tasks_per_child=1) as pool:
        futures = [pool.submit(tasks.echo, memoryview(make(n))) for n in range(1000)]
        results = [future.result() for future in futures]
    assert all(result == make(n) for n, result in enumerate(results))


def _truncate() -> list[str]:
    refused = []
    for fd in own_arenas():
        for size in (0, 1 << 40):
            try:
                os.ftruncate(fd, size)
            except PermissionError as error:
                refused.append(str(error))
    return refused


def test_a_worker_cannot_truncate_its_memory(pool: owngil.Pool) -> None:
    before = pool.submit(memoryview, make(1)).result()
    refused = pool.submit(_truncate).result()
    assert refused
    assert before == make(1)
    assert pool.submit(make, 2).result() == make(2)


def _punch() -> int:
    """Gives all memory of its own results back, without a word to anybody."""
    libc = ctypes.CDLL(None, use_errno=True)
    punched = 0
    for fd in own_arenas():
        if "owngil-results" in os.readlink(f"/proc/self/fd/{fd}"):
            mode = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE
            size = ctypes.c_long(os.fstat(fd).st_size)
            punched += libc.fallocate(fd, mode, ctypes.c_long(0), size) == 0
    return punched


def test_a_worker_that_gives_its_memory_back_harms_its_own_results_at_most() -> None:
    with owngil.Pool(1) as pool, owngil.Pool(1) as other:
        mine = [pool.submit(memoryview, make(n)).result() for n in range(3)]
        others = other.submit(memoryview, make(7)).result()
        assert pool.submit(_punch).result() == 1
        assert all(bytes(one) in (bytes(make(n)), bytes(LARGE)) for n, one in enumerate(mine))
        assert others == make(7)
        assert [pool.submit(make, n).result() for n in range(5)] == [make(n) for n in range(5)]


def _unmap() -> None:
    """Takes its arenas out of its address space, and goes on."""
    libc = ctypes.CDLL(None)
    with open("/proc/self/maps") as maps:
        lines = [line for line in maps if "owngil-results" in line or "owngil-arguments" in line]
    for line in lines:
        begin, end = (int(one, 16) for one in line.split()[0].split("-"))
        libc.munmap(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin))


def test_a_worker_that_unmaps_its_memory_harms_nobody_else(pool: owngil.Pool) -> None:
    before = pool.submit(memoryview, make(1)).result()
    pool.submit(_unmap).exception()
    ends = [pool.submit(make, n).exception() for n in range(8)]
    assert all(end is None or isinstance(end, owngil.WorkerDied) for end in ends)
    assert before == make(1)
    assert pool.submit(make, 2).result() == make(2)


def test_where_numpy_is_not_installed_all_else_works() -> None:
    done = scripts.run_code(
        """
        import sys
        sys.modules["numpy"] = None
        import owngil
        def check(data):
            sys.modules["numpy"] = None
            return bytearray(data)
        with owngil.Pool(1) as pool:
            buffer = owngil.buffer(1 << 20)
            buffer[:3] = b"abc"
            with pool.share(buffer) as shared:
                print(pool.submit(check, shared).result() == buffer)
            print(pool.submit(check, bytes(1 << 20)).result() == bytes(1 << 20))
            try: owngil.zeros(3)
            except ImportError as error: print(error)
        """
    )
    assert done.lines[:2] == ["True", "True"]
    assert "numpy" in done.lines[2]


PROGRAM = """
import os, owngil
assert os.statvfs("/dev/shm").f_blocks * os.statvfs("/dev/shm").f_frsize == 64 << 20
with owngil.Pool(2) as pool:
    data = bytes(200 << 20)
    print(len(pool.submit(bytes, data).result()))
    with pool.share(data) as shared:
        print(pool.submit(len, shared).result())
    print(len(owngil.buffer(200 << 20)))
"""


def test_a_small_dev_shm_is_no_limit() -> None:
    command = ["unshare", "--mount", "sh", "-c"]
    mount = "mount -t tmpfs -o size=64m tmpfs /dev/shm"
    try:
        subprocess.run([*command, mount], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no file system can be mounted here")
    done = scripts.run([*command, f'{mount} && exec "$0" -c "$1"', sys.executable, PROGRAM])
    assert done.lines == [str(200 << 20)] * 3


def _fork_and_write(data: Any, shared: Any) -> tuple[int, bytes, bytes]:
    """A child of the worker writes over all that it has inherited."""
    pid = os.fork()
    if pid == 0:
        data[:] = b"x" * len(data)
        libc = ctypes.CDLL(None)
        with open("/proc/self/maps") as maps:
            lines = [line.split() for line in maps if "/memfd:owngil-" in line]
        for where, rights, *_ in lines:
            if rights.startswith("rw"):
                libc.memset(ctypes.c_void_p(int(where.split("-")[0], 16)), 255, 4096)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), bytes(data[:9]), bytes(shared[:9])


def test_what_a_child_of_a_worker_writes_is_its_own() -> None:
    with owngil.Pool(1) as pool:
        kept = pool.submit(memoryview, make(5)).result()
        with pool.share(memoryview(make(3))) as shared:
            for _ in range(3):
                ended = pool.submit(_fork_and_write, memoryview(make(4)), shared).result()
                assert ended == (0, bytes(make(4)[:9]), bytes(make(3)[:9]))
        assert kept == make(5)
        assert pool.submit(make, 6).result() == make(6)
