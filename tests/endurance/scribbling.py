# SPDX-License-Identifier: BSD-3-Clause
"""A task that scribbles over all the shared memory that its worker can write.

Runs in workers. The memory is found as any stray pointer could find it: by what /proc/self/maps
says is mapped for writing. Part of the scribbles are random bytes, part hit the words that matter
with values that nearly make sense; ipc/LAYOUT.md has the offsets.
"""

from __future__ import annotations

import ctypes
import os
import random
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import journal

CHANNEL, RESULTS = "owngil-channel", "owngil-results"

# Of the channel: the counters, the worker's words, the rings.
COUNTERS = (128, 256, 384, 640, 768, 896, 1408, 1536)
ORDERS, EPOCH, CURRENT = 512, 1024, 1152
TASK_RING, RESULT_RING, SLOTS, SLOT_BYTES = 0x1000, 0x9000, 256, 128
RETURN_TAIL, RETURN_RING, RETURN_SLOTS = 1536, 0x12000, 512
BUFFERS = 5  # the format of a payload
RESULTS_BYTES = 1 << 20  # of an arena that is mostly address space: where results are


class Memory:
    """The mappings that this process can write, by name."""

    def __init__(self) -> None:
        self.parts: dict[str, memoryview] = {}
        for line in Path("/proc/self/maps").read_text().splitlines():
            name = line.partition("/memfd:")[2].partition(" ")[0]
            if name.startswith("owngil-") and " rw-s " in line:
                begin, end = (int(part, 16) for part in line.split()[0].split("-"))
                size = min(end - begin, RESULTS_BYTES if name == RESULTS else end - begin)
                raw = (ctypes.c_char * size).from_address(begin)
                self.parts[name] = memoryview(raw).cast("B")

    def put(self, name: str, offset: int, data: bytes) -> None:
        part = self.parts[name]
        offset %= len(part)
        data = data[: len(part) - offset]
        part[offset : offset + len(data)] = data


def scribble_once(memory: Memory, random_: random.Random) -> None:
    """One write of nonsense, somewhere."""
    kinds: tuple[Callable[[Memory, random.Random], None], ...] = (
        _anything,
        _anything,
        _counter,
        _current,
        _current,
        _result_slot,
        _task_slot,
        _chain,
        _returns,
        _buffer_list,
    )
    random_.choice(kinds)(memory, random_)


def scribble(path: str, number: int, seed: int, times: int, end: str) -> int:
    """The task: so many scribbles, and then `end` (see ENDS)."""
    journal.begin(path, number)
    memory, random_ = Memory(), random.Random(seed)
    for _ in range(times):
        scribble_once(memory, random_)
    return ENDS[end](memory, random_)


def _anything(memory: Memory, random_: random.Random) -> None:
    name = random_.choice(list(memory.parts))
    size = random_.choice((1, 4, 8, 8, 64, 400))
    data = random_.choice((random_.randbytes(size), bytes(size), b"\xff" * size))
    memory.put(name, random_.randrange(len(memory.parts[name])), data)


def _word(random_: random.Random) -> bytes:
    word = random_.choice(
        (
            0,
            random_.randrange(512),
            2**64 - 1 - random_.randrange(4),
            1 << random_.randrange(64),
            random_.getrandbits(64),
        )
    )
    return word.to_bytes(8, "little")


def _counter(memory: Memory, random_: random.Random) -> None:
    offset = random_.choice(COUNTERS)
    true = int.from_bytes(memory.parts[CHANNEL][offset : offset + 8], "little")
    near = (true + random_.randrange(-2, 4)) % 2**64
    memory.put(CHANNEL, offset, random_.choice((_word(random_), near.to_bytes(8, "little"))))


def _current(memory: Memory, random_: random.Random) -> None:
    offset = random_.choice((EPOCH, ORDERS, ORDERS + 8, *range(CURRENT, CURRENT + 48, 8)))
    memory.put(CHANNEL, offset, _word(random_))


def _slot(random_: random.Random) -> int:
    return random_.randrange(SLOTS) * SLOT_BYTES + random_.randrange(0, SLOT_BYTES, 8)


def _result_slot(memory: Memory, random_: random.Random) -> None:
    memory.put(CHANNEL, RESULT_RING + _slot(random_), _word(random_))


def _task_slot(memory: Memory, random_: random.Random) -> None:
    memory.put(CHANNEL, TASK_RING + _slot(random_), _word(random_))


def _chain(memory: Memory, random_: random.Random) -> None:
    """A block of results that leads to another one, or to itself."""
    offset = random_.randrange(0, 1 << 14, 64)
    words = [random_.randrange(0, 1 << 14, 64), random_.randrange(64, 1 << 14, 64)]
    item = [random_.choice((8, 64, 2**32 - 1, random_.getrandbits(32))), 1]
    data = b"".join(word.to_bytes(8, "little") for word in words)
    data += b"".join(word.to_bytes(4, "little") for word in item)
    memory.put(RESULTS, offset, data)


def _returns(memory: Memory, random_: random.Random) -> None:
    """Buffers of arguments that this worker has let go of, has not, or has never had."""
    tail = int.from_bytes(memory.parts[CHANNEL][RETURN_TAIL : RETURN_TAIL + 8], "little")
    name = random_.choice((_word(random_), (random_.randrange(512) << 12).to_bytes(8, "little")))
    memory.put(CHANNEL, RETURN_RING + tail % RETURN_SLOTS * 8, name)
    if random_.randrange(4):
        memory.put(CHANNEL, RETURN_TAIL, ((tail + 1) % 2**64).to_bytes(8, "little"))


def _buffer_list(memory: Memory, random_: random.Random) -> None:
    """A list of buffers of results, where the lists lie that this worker makes."""
    offset = random_.randrange(0, 1 << 14, 64)
    head = [random_.randrange(4), random_.randrange(4), 0]
    if not random_.randrange(8):
        head[random_.randrange(3)] = random_.getrandbits(32)
    data = b"".join(word.to_bytes(4, "little") for word in head)
    for _ in range(4):
        place = (random_.randrange(512) << 12).to_bytes(8, "little")
        data += random_.choice((place, place, _word(random_)))
        data += random_.choice((random_.randrange(1 << 18).to_bytes(8, "little"), _word(random_)))
    memory.put(RESULTS, offset, data)
    # The result that comes next may be that list.
    result = RESULT_RING + random_.randrange(SLOTS) * SLOT_BYTES
    memory.put(CHANNEL, result + 33, bytes((BUFFERS, 1)))
    memory.put(CHANNEL, result + 48, offset.to_bytes(8, "little") + (100).to_bytes(8, "little"))


def _goes_on(memory: Memory, random_: random.Random) -> int:
    """A thread that the task leaves behind scribbles while the worker goes on."""

    def for_a_while() -> None:
        for _ in range(200):
            scribble_once(memory, random_)

    threading.Thread(target=for_a_while, daemon=True).start()
    return 0


def _is_killed(memory: Memory, random_: random.Random) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("it was not")


def _raises(memory: Memory, random_: random.Random) -> int:
    raise ValueError("after scribbling")


ENDS: dict[str, Callable[[Memory, random.Random], int]] = {
    "returns": lambda memory, random_: 0,
    "raises": _raises,
    "exits": lambda memory, random_: os._exit(random_.choice((0, 3, 7))),
    "is killed": _is_killed,
    "goes on": _goes_on,
}
