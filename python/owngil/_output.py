# SPDX-License-Identifier: BSD-3-Clause
"""Shows in the user's process what workers print and log.

Text goes to what `sys.stdout` and `sys.stderr` are at the moment (a terminal, a notebook's cell,
pytest's capture), unmodified and in whole lines: a line that is not complete waits for its end, for
the result of its task, or for the end of who writes. Of each worker's stderr the last lines are
kept, for the error that tells of its death.

Threads: one of this module's, which reads as text comes; and whoever asks for the result of a task
that has printed, so that the text is out before the result is. A lock for each worker keeps its
text in order. Nobody waits for that lock for long: its holder may be stuck in the user's stream,
or may be waiting for the very thread that wants it.
Not: descriptors, which are runtime/output_pipes.hpp's and do not survive a fork.
"""

from __future__ import annotations

import _signal  # `signal` makes classes of them, which takes half a millisecond
import _thread
import sys
import threading
import traceback
from collections import OrderedDict

from . import _core

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["close", "show", "show_all", "start", "tail"]

_OUT, _ERR, _LOG = range(3)
_NAMES = ("stdout", "stderr")

# A line that does not end is shown in pieces of this size: the user's memory is not the worker's.
_LONGEST_LINE = 1 << 20
# Of stderr: what is kept of a worker, and of how many that have ended.
_TAIL_BYTES = 8 << 10
_TAILS = 256
# How long a result waits for text of its worker that another thread is showing.
_PATIENCE_S = 1.0
# What a worker may have sent before its result: the pipe's size at most, a read's; or in records,
# which each take some room in the socket.
_MOST_READS = (8, 8, 2000)
_THREAD_NAME = "owngil-output"


class _Worker:
    """What is known of one worker's output."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.holder = 0  # thread that holds the lock
        self.unfinished = (bytearray(), bytearray())  # of stdout, of stderr: no line yet
        self.holds_text = False  # from before it is read until all of it has been shown
        self.ended = [False, False, False]
        self.tail = bytearray()
        self.log: Any = None  # a LogReader, once there is something to be read


_workers: OrderedDict[int, _Worker] = OrderedDict()
_ended: OrderedDict[int, _Worker] = OrderedDict()  # the last to end, for their tails
_registry = threading.Lock()
_thread_lock: _thread.LockType | None = None  # held by the thread while it lives


def start() -> None:
    """Sees to it that the thread runs."""
    global _thread_lock
    with _registry:
        if _thread_lock is not None:
            return
        _thread_lock = _thread.allocate_lock()
        _thread_lock.acquire()
        # Not a threading.Thread: ipykernel gives the output of such a one to the cell that made
        # it, and this one works for whichever cell is running.
        _thread.start_new_thread(_run, (_thread_lock,))


def show(worker: int) -> None:
    """What this worker has sent so far is shown when this returns, an unfinished line as well."""
    _read(worker, range(3), flush=True)


def show_all() -> None:
    """The same for all workers; only those that have ended may have unfinished lines."""
    for worker in _core.output_workers():
        _read(worker, range(3), flush=False)


def tail(worker: int) -> str:
    """The last of what this worker wrote to stderr: whole lines, as far as they are known."""
    _read(worker, range(3), flush=True)
    known = _workers.get(worker) or _ended.get(worker)
    if known is None:
        return ""
    text = bytes(known.tail).decode(errors="backslashreplace")
    if len(known.tail) == _TAIL_BYTES:
        text = text.partition("\n")[2] or text
    return text


def close() -> None:
    """Shows the rest and ends the thread. Requires: the workers are gone."""
    global _thread_lock
    show_all()
    lock = _thread_lock
    if lock is None:
        return
    _core.close_output()
    if lock.acquire(timeout=_PATIENCE_S):
        lock.release()
    _thread_lock = None


def after_fork() -> None:
    """In the child of the user's fork(): nothing is its own, and locks may be held for ever."""
    global _registry, _thread_lock
    _registry = threading.Lock()
    _thread_lock = None
    _workers.clear()
    _ended.clear()


def _run(alive: _thread.LockType) -> None:
    # Signals are for the user's threads.
    _signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals())
    _core.name_thread(_THREAD_NAME)
    threading.current_thread().name = _THREAD_NAME
    try:
        while (ready := _core.next_output()) is not None:
            for worker, stream in ready:
                try:
                    _read(worker, (stream,), flush=False, patience=-1, most=1)
                except BaseException:
                    # Of a stream or handler of the user's. Without this thread workers would wait
                    # for ever with their pipes full.
                    traceback.print_exc()
    finally:
        alive.release()


def _find(key: int) -> _Worker | None:
    """None: nothing can come from it any more. Whoever hears of it that late makes no new one."""
    with _registry:
        worker = _workers.get(key)
        if worker is None and _core.has_output(key):
            worker = _workers[key] = _Worker()
        return worker


def _read(
    key: int, streams: Any, *, flush: bool, patience: float = _PATIENCE_S, most: int = 0
) -> None:
    """Shows what can be read now. `flush`: and lines that have no end yet."""
    worker = _find(key)
    if worker is None:
        return
    me = _thread.get_ident()
    if worker.holder == me:
        return  # the user's stream, to which this thread writes, has asked for a result
    if not worker.lock.acquire(timeout=patience):
        return
    try:
        worker.holder = me
        if not worker.holds_text:
            worker.holds_text = True
            _core.begin_holding_text()
        for stream in streams:
            _read_stream(key, worker, stream, most or _MOST_READS[stream])
            if flush and stream != _LOG:
                _show(worker, stream, all_of_it=True)
    finally:
        if not any(worker.unfinished):
            worker.holds_text = False
            _core.end_holding_text()
        worker.holder = 0
        worker.lock.release()
    if any(worker.ended) and not _core.has_output(key):
        _retire(key)


def _read_stream(key: int, worker: _Worker, stream: int, most: int) -> None:
    for _ in range(most):
        if worker.ended[stream]:
            return
        data = _core.read_output(key, stream)
        if data is None:
            worker.ended[stream] = True
            if stream != _LOG:
                _show(worker, stream, all_of_it=True)
        elif not data:
            return
        elif stream == _LOG:
            _handle(worker, data)
        else:
            worker.unfinished[stream].extend(data)
            if stream == _ERR:
                worker.tail += data
                del worker.tail[:-_TAIL_BYTES]
            _show(worker, stream, all_of_it=False)


def _whole_characters(held: bytearray) -> int:
    """How many bytes of it there are without the beginning of a character of UTF-8 at its end."""
    for back in range(1, min(4, len(held) + 1)):
        byte = held[-back]
        if byte & 0xC0 == 0x80:
            continue  # not the first of its character
        length = 4 if byte >= 0xF0 else 3 if byte >= 0xE0 else 2 if byte >= 0xC0 else 1
        return len(held) - back if length > back else len(held)
    return len(held)


def _retire(key: int) -> None:
    with _registry:
        worker = _workers.get(key)
        if worker is None:
            return
        if worker.tail:
            _ended[key] = worker  # first: tail() takes no lock
            worker.log = None
            if len(_ended) > _TAILS:
                _ended.popitem(last=False)
        del _workers[key]


def _show(worker: _Worker, stream: int, *, all_of_it: bool) -> None:
    held = worker.unfinished[stream]
    end = len(held) if worker.ended[stream] else _whole_characters(held)
    if not all_of_it and len(held) < _LONGEST_LINE:
        # A progress bar ends its lines with \r alone; the last one may belong to a \r\n.
        end = max(held.rfind(b"\n"), held.rfind(b"\r", 0, -1)) + 1
    if end == 0:
        return
    data = bytes(held[:end])
    # Gone first: what a stream refuses is not offered twice.
    del held[:end]
    _write(_NAMES[stream], data)


def _write(name: str, data: bytes) -> None:
    """Writes to the user's stream, whatever that is; its failures are not the pool's."""
    target = getattr(sys, name, None)
    if target is None:
        return
    try:
        try:
            _write_text(target, data.decode())
        except UnicodeDecodeError:
            for line in data.splitlines(keepends=True):
                _write_line(target, line)
        target.flush()
    except Exception:
        pass  # closed, or a pipe that nobody reads


def _write_line(target: Any, line: bytes) -> None:
    try:
        _write_text(target, line.decode())
        return
    except UnicodeDecodeError:
        pass
    buffer = getattr(target, "buffer", None)
    if buffer is None:
        target.write(line.decode(errors="backslashreplace"))
        return
    target.flush()
    buffer.write(line)


def _write_text(target: Any, text: str) -> None:
    try:
        target.write(text)
    except UnicodeEncodeError:
        encoding = getattr(target, "encoding", None) or "ascii"
        target.write(text.encode(encoding, "backslashreplace").decode(encoding))


def _handle(worker: _Worker, message: bytes) -> None:
    if worker.log is None:
        from ._log_handling import LogReader

        worker.log = LogReader()
    try:
        worker.log.feed(message)
    except Exception:
        # A filter of the user's; handlers report their own.
        traceback.print_exc()
