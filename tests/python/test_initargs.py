# SPDX-License-Identifier: BSD-3-Clause
"""multiprocessing's objects travel in `initargs` as they do to a process that is being spawned."""

from __future__ import annotations

from pathlib import Path

import pytest
from lone_worker import run_program

EVERYTHING = """
    import multiprocessing, os, socket
    things = None
    def keep(*given):
        global things
        things = given
    def use():
        queue, simple, lock, value, array, event, connection, sock = things
        with lock:
            value.value += 1
            array[1] = 2.5
        event.set()
        simple.put("simple")
        connection.send("connection")
        sock.sendall(b"socket")
        queue.put(os.getpid())
        queue.close()
        queue.join_thread()
    context = multiprocessing.get_context({method!r})
    queue, simple, lock = context.Queue(), context.SimpleQueue(), context.Lock()
    value, array, event = context.Value("i", 1), context.Array("d", 2), context.Event()
    mine, theirs = context.Pipe()
    sock, far = socket.socketpair()
    with sock, far:
        with LoneWorker(keep, (queue, simple, lock, value, array, event, theirs, far)) as w:
            w.submit(use)
            print(queue.get() != os.getpid(), simple.get(), value.value, list(array))
        print(event.is_set(), mine.recv(), sock.recv(10))
"""

SHARED_MEMORY = """
    from multiprocessing import shared_memory
    block = shared_memory.SharedMemory(create=True, size=4)
    def attach(given): pass
    def write():
        again = shared_memory.SharedMemory(block_name)
        again.buf[0] = 7
        again.close()
    block_name = block.name
    with LoneWorker(attach, (block,)) as w:
        w.submit(write)
    print(block.buf[0])
    again = shared_memory.SharedMemory(block_name)
    print(again.buf[0])
    again.close()
    block.close()
    block.unlink()
"""

FORK_LOCK = """
    import multiprocessing, os
    from owngil import _mp, _pickling
    spawn, fork = multiprocessing.get_context("spawn"), multiprocessing.get_context("fork")
    reader, writer = spawn.Pipe()
    lock, queue = fork.Lock(), spawn.SimpleQueue()
    before = os.listdir("/proc/self/fd")
    for initargs in ((reader, lock), (queue, lock)):
        try: _mp.dump_initargs(initargs)
        except RuntimeError as error: print("created in a fork context" in str(error))
    print(before == os.listdir("/proc/self/fd"))
    try: _pickling.dump_arguments((1, queue), None)
    except RuntimeError as error: print("argument 2" in str(error))
"""

PLAIN = """
    import multiprocessing
    from owngil import _mp
    data, fds = _mp.dump_initargs((1, lambda: 2))
    one, function = _mp.load_initargs(data, fds)
    print(one, function(), fds)
"""


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_locks_queues_values_and_connections_travel(method: str, tmp_path: Path) -> None:
    printed = run_program(EVERYTHING.replace("{method!r}", repr(method)), tmp_path)
    assert printed == ["True simple 2 [0.0, 2.5]", "True connection b'socket'"]


def test_a_worker_that_ends_takes_no_shared_memory_with_it(tmp_path: Path) -> None:
    assert run_program(SHARED_MEMORY, tmp_path) == ["7", "7"]


def test_a_lock_of_the_fork_context_says_why_it_cannot_travel(tmp_path: Path) -> None:
    assert run_program(FORK_LOCK, tmp_path) == ["True", "True", "True", "True"]


def test_what_is_nothing_of_multiprocessings_needs_no_descriptors(tmp_path: Path) -> None:
    assert run_program(PLAIN, tmp_path) == ["1 2 []"]
