# SPDX-License-Identifier: BSD-3-Clause
"""A module to preload: the first workers that it finds itself in are killed before they are ready.

A template preloads it for its workers, which it forks; a spawned worker for itself.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

FOLDER, DEATHS = "DIES_AT_START_FOLDER", "DIES_AT_START_DEATHS"


def die_if_wanted() -> None:
    for number in range(int(os.environ[DEATHS])):
        try:
            os.close(os.open(f"{os.environ[FOLDER]}/{number}", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            continue
        os.kill(os.getpid(), signal.SIGKILL)


if FOLDER in os.environ:
    if Path("/proc/self/cmdline").read_bytes().endswith(b"template\0"):
        os.register_at_fork(after_in_child=die_if_wanted)
    else:
        die_if_wanted()
