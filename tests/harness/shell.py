# SPDX-License-Identifier: BSD-3-Clause
"""A shell with one job, for `terminal.py`: a program of its own.

It leads the terminal's session, starts the job in a process group in the foreground, and does what
shells do when a job stops or ends. Arguments: a descriptor to read orders from, one to write events
to, the job's command.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import subprocess
import sys
import termios


def main(orders: int, events: int, command: list[str]) -> None:
    # As a terminal's first process has them, whatever the tests run under: nohup, or behind an &.
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)
    # It changes the foreground from the background, and hears of its child through a pipe.
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    job = subprocess.Popen(
        command, process_group=0, preexec_fn=lambda: signal.signal(signal.SIGTTOU, signal.SIG_DFL)
    )
    os.tcsetpgrp(0, job.pid)
    os.write(events, b"started %d\n" % job.pid)
    while True:
        ready, _, _ = select.select([orders, woken], [], [])
        if orders in ready:
            for word in os.read(orders, 1024).split():
                obey(word, job.pid)
        if woken in ready:
            os.read(woken, 1024)
            if not tell_changes(events, job.pid):
                return


def obey(order: bytes, job: int) -> None:
    if order == b"fg":
        os.tcsetpgrp(0, job)
        os.killpg(job, signal.SIGCONT)
    elif order == b"cont":
        os.kill(job, signal.SIGCONT)


def tell_changes(events: int, job: int) -> bool:
    """False: the job has ended."""
    while True:
        pid, status = os.waitpid(job, os.WNOHANG | os.WUNTRACED | os.WCONTINUED)
        if pid == 0:
            return True
        if os.WIFCONTINUED(status):
            os.write(events, b"continued\n")
            continue
        os.tcsetpgrp(0, os.getpgrp())
        if not os.WIFSTOPPED(status):
            os.write(events, b"ended %d\n" % os.waitstatus_to_exitcode(status))
            return False
        os.write(events, b"stopped\n")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
