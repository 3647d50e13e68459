# SPDX-License-Identifier: BSD-3-Clause
"""Who runs out of memory: a `MemoryError` if there is a limit to it, else the kernel kills."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import owngil
from harness import scripts

pytestmark = pytest.mark.kinds(
    "process"
)  # an interpreter's death is its host's: test_interpreter_kind.py

LIMIT = 160 << 20


@pytest.fixture
def memory_cgroup() -> Iterator[Path]:
    """A cgroup with a limit, in that of this process; skips where there is no making one."""
    home = _own_cgroup()
    if home is None:
        pytest.skip("no memory cgroup of this process is to be seen")
    made = home / f"owngil-test-{os.getpid()}"
    try:
        made.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup can be made in {home}: {error}")
    try:
        for limit, swap in (
            ("memory.max", "memory.swap.max"),
            ("memory.limit_in_bytes", "memory.swappiness"),
        ):
            if (made / limit).exists():
                (made / limit).write_text(str(LIMIT))
                if (made / swap).exists():
                    (made / swap).write_text("0")
                break
        else:
            pytest.skip(f"{home} does not pass the memory controller on")
        yield made
    finally:
        made.rmdir()


def test_a_worker_that_the_kernel_kills_for_lack_of_memory_is_told_so(
    memory_cgroup: Path,
) -> None:
    done = scripts.run_code(
        """
        import os, signal, sys, time
        with open(sys.argv[1] + "/cgroup.procs", "w") as file: file.write(str(os.getpid()))
        import owngil
        def fill():
            held = []
            while True: held.append(b"x" * (1 << 20))
        def die(): os.kill(os.getpid(), signal.SIGKILL)
        with owngil.Pool(1) as pool:
            known = [None]
            def is_known():  # what dies before it was seen to run leaves no evidence
                return pool.stats().workers[0].pid not in known
            for task in (die, fill, die):
                while not is_known(): time.sleep(0.001)
                known.append(pool.stats().workers[0].pid)
                error = pool.submit(task).exception()
                print(type(error).__name__, error.signal, error.oom, str(error).splitlines())
            print(pool.submit(pow, 2, 3).result())
        """,
        str(memory_cgroup),
    )
    before, killed, after, alive = done.lines
    assert before.startswith("WorkerDied 9 False")
    assert after.startswith("WorkerDied 9 False")
    assert "lack of memory" not in before + after
    assert killed.startswith("WorkerDied 9 True")
    assert re.search(
        "probably killed it for lack of memory: the oom_kill count of its cgroup, "
        r"which may have 160 MiB in all, rose from 0 to 1\.",
        killed,
    )
    assert alive == "8"


def test_a_worker_at_its_address_space_limit_raises_and_lives() -> None:
    with owngil.Pool(1) as pool:
        pool.submit(_limit_address_space, 1 << 30).result()
        for _ in range(3):
            assert isinstance(pool.submit(_allocate, 2 << 30).exception(), MemoryError)
        assert pool.submit(_allocate, 1 << 20).result() == 1 << 20
        assert pool.stats().restarts == 0


@pytest.mark.parametrize("number", [1, 11, 15])
def test_a_signal_that_is_not_that_of_the_oom_killer_is_no_lack_of_memory(
    pool: owngil.Pool, number: int
) -> None:
    error = pool.submit(_end_by, number).exception()
    assert isinstance(error, owngil.WorkerDied)
    assert error.oom is False


def test_a_worker_that_the_pool_kills_has_no_lack_of_memory(pool: owngil.Pool) -> None:
    future = pool.submit(_scribble)
    error = future.exception()
    assert isinstance(error, owngil.WorkerDied)
    assert error.oom is False
    assert "lack of memory" not in str(error)


def _own_cgroup() -> Path | None:
    mounts = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        mount, _, source = line.partition(" - ")
        kind, _, options = source.split(" ", 2)
        if kind == "cgroup2" or (kind == "cgroup" and "memory" in options.split(",")):
            mounts[kind] = (mount.split(" ")[3], mount.split(" ")[4])
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        number, controllers, path = line.split(":", 2)
        kind = "cgroup2" if number == "0" else "cgroup"
        if kind in mounts and ("memory" in controllers.split(",") or kind == "cgroup2"):
            root, point = mounts[kind]
            home = Path(point + path.removeprefix(root.rstrip("/")))
            if any(home.glob("memory.*")):
                return home
    return None


def _limit_address_space(more: int) -> None:
    import resource

    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + more, hard))


def _allocate(size: int) -> int:
    return len(bytearray(size))


def _end_by(number: int) -> None:
    import signal

    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _scribble() -> None:
    """Says that it has answered more than it was asked, and waits for what comes of it."""
    import mmap
    import time

    (channel,) = (
        int(name)
        for name in os.listdir("/proc/self/fd")
        if "owngil-channel" in os.path.realpath(f"/proc/self/fd/{name}")
    )
    with mmap.mmap(channel, 0x13000) as words:
        words[0x300:0x308] = (1 << 40).to_bytes(8, "little")  # result_tail, see ipc/LAYOUT.md
        time.sleep(60)
