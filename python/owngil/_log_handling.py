# SPDX-License-Identifier: BSD-3-Clause
"""Handles in the user's process the records of `logging` that workers have sent (`_log_sending`).

Threads: whoever shows a worker's output, one at a time for each worker.
"""

from __future__ import annotations

import logging
from _pickle import loads

from ._log_sending import HEADER

__all__ = ["LogReader"]


class LogReader:
    """The records of one worker, and of processes that its tasks have forked."""

    def __init__(self) -> None:
        self._begun: dict[tuple[int, int], list[bytes]] = {}  # records that come in parts

    def feed(self, message: bytes) -> None:
        """One message of the socket; handles the record that it completes, if any."""
        if len(message) < HEADER.size:
            return
        pid, number, ends = HEADER.unpack_from(message)
        parts = self._begun.setdefault((pid, number), [])
        parts.append(message[HEADER.size :])
        if not ends:
            return
        del self._begun[pid, number]
        try:
            record = _record(b"".join(parts))
        except Exception:
            return  # somebody else's bytes: not a record
        logger = logging.getLogger(record.name)
        if logger.isEnabledFor(record.levelno):
            logger.handle(record)


def _record(data: bytes) -> logging.LogRecord:
    attributes, others = loads(data)
    for name, (pickle, shown) in others.items():
        attributes[name] = shown
        if pickle is not None:
            try:
                attributes[name] = loads(pickle)
            except Exception:
                pass  # of a class that only the worker knows: what it looked like has to do
    return logging.makeLogRecord(attributes)
