# SPDX-License-Identifier: BSD-3-Clause
"""A program with a pool in a terminal: Ctrl-C, Ctrl-Z and `fg`, Ctrl-backslash, hanging up.

The terminal signals the foreground group. Workers are not in it: an interrupt is the program's
alone, and stopping is passed on to them.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness import processes
from harness.conditions import wait_until
from harness.terminal import INTERRUPT, QUIT, SUSPEND, Terminal

# Each worker starts a program that reads from a fifo. Tells the pids of all once they do.
TWO_TASKS = """
    import os, subprocess, sys, time, owngil

    def task(path):
        program = subprocess.Popen(["sh", "-c", "read word < $0; echo $word", path], stdout=-1)
        with open(path + ".pids", "w") as file:
            file.write(f"{os.getpid()} {program.pid}")
        return program.communicate()[0].decode().strip(), program.returncode

    def start(pool):
        paths = [os.path.join(sys.argv[1], name) for name in "ab"]
        for path in paths:
            os.mkfifo(path)
            os.mkfifo(path + ".pids")
        futures = [pool.submit(task, path) for path in paths]
        print("pids", *[open(path + ".pids").read() for path in paths], flush=True)
        print("begun", flush=True)
        return futures
"""


def program(body: str) -> str:
    import textwrap

    return textwrap.dedent(TWO_TASKS) + textwrap.dedent(body)


def pids_of(terminal: Terminal) -> list[int]:
    """Of the workers and the programs that they have started."""
    terminal.wait_for("begun")
    line = next(line for line in terminal.screen().splitlines() if line.startswith("pids"))
    return [int(word) for word in line.split()[1:]]


def let_go_on(folder: Path) -> None:
    for name in "ab":
        (folder / name).write_text("read\n")


def are_stopped(pids: list[int]) -> bool:
    found = [processes.read(pid) for pid in pids]
    return all(process is not None and process.state == "T" for process in found)


def none_is_stopped(pids: list[int]) -> bool:
    return all((process := processes.read(pid)) and process.state != "T" for pid in pids)


def test_an_interrupt_that_is_caught_disturbs_no_task_and_no_program_of_a_task(
    tmp_path: Path,
) -> None:
    body = """
        with owngil.Pool(2) as pool:
            futures = start(pool)
            try:
                futures[0].result()
            except KeyboardInterrupt:
                print("caught", flush=True)
            print([future.result() for future in futures], flush=True)
    """
    with Terminal(program(body), str(tmp_path)) as terminal:
        pids_of(terminal)
        terminal.type(INTERRUPT)
        terminal.wait_for("caught")
        let_go_on(tmp_path)
        assert terminal.wait_for_end() == 0
        assert "[('read', 0), ('read', 0)]" in terminal.screen()
        assert "Traceback" not in terminal.screen()


def test_an_interrupt_that_leaves_the_with_block_ends_the_workers_and_their_programs(
    tmp_path: Path,
) -> None:
    body = """
        with owngil.Pool(2) as pool:
            start(pool)[0].result()
    """
    with Terminal(program(body), str(tmp_path)) as terminal:
        pids = pids_of(terminal)
        terminal.type(INTERRUPT)
        assert terminal.wait_for_end() == -2
        assert terminal.screen().count("Traceback") == 1
        assert terminal.screen().strip().endswith("KeyboardInterrupt")
        wait_until(lambda: not any(map(processes.read, pids)), "all have ended")


def test_ctrl_z_stops_workers_and_their_programs_and_fg_continues_them(tmp_path: Path) -> None:
    body = """
        with owngil.Pool(2) as pool:
            futures = start(pool)
            print([future.result() for future in futures], flush=True)
    """
    with Terminal(program(body), str(tmp_path)) as terminal:
        pids = pids_of(terminal)
        for times in (1, 2):
            terminal.type(SUSPEND)
            terminal.wait_for_event("stopped", times)
            wait_until(lambda: are_stopped(pids), "workers and programs are stopped")
            terminal.order("fg")
            wait_until(lambda: none_is_stopped(pids), "they go on")
        let_go_on(tmp_path)
        assert terminal.wait_for_end() == 0
        assert "[('read', 0), ('read', 0)]" in terminal.screen()


def test_workers_go_on_when_the_program_is_continued_without_its_group(tmp_path: Path) -> None:
    body = """
        with owngil.Pool(2) as pool:
            futures = start(pool)
            print([future.result() for future in futures], flush=True)
    """
    with Terminal(program(body), str(tmp_path)) as terminal:
        pids = pids_of(terminal)
        terminal.type(SUSPEND)
        wait_until(lambda: are_stopped(pids), "workers and programs are stopped")
        terminal.order("cont")
        wait_until(lambda: none_is_stopped(pids), "they go on")
        let_go_on(tmp_path)
        assert terminal.wait_for_end() == 0


def test_a_program_that_does_not_stop_keeps_its_workers_going(tmp_path: Path) -> None:
    body = """
        import signal
        signal.signal(signal.SIGTSTP, lambda *_: print("no", flush=True))
        with owngil.Pool(2) as pool:
            futures = start(pool)
            print([future.result() for future in futures], flush=True)
    """
    with Terminal(program(body), str(tmp_path)) as terminal:
        pids = pids_of(terminal)
        terminal.type(SUSPEND)
        terminal.wait_for("no")
        assert none_is_stopped(pids)
        let_go_on(tmp_path)
        assert terminal.wait_for_end() == 0


def test_a_stopped_program_that_is_killed_takes_its_stopped_workers_with_it(tmp_path: Path) -> None:
    body = """
        with owngil.Pool(2) as pool:
            start(pool)[0].result()
    """
    with Terminal(program(body), str(tmp_path)) as terminal:
        pids = pids_of(terminal)
        terminal.type(SUSPEND)
        wait_until(lambda: are_stopped(pids), "workers and programs are stopped")
        os.kill(terminal.job, 9)
        assert terminal.wait_for_end() == -9
        wait_until(lambda: not any(map(processes.read, pids)), "all have ended")


@pytest.mark.parametrize("how", ["quit", "hang up"])
def test_quitting_and_hanging_up_end_workers_and_their_programs(how: str, tmp_path: Path) -> None:
    body = """
        import faulthandler, resource
        faulthandler.disable()
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with owngil.Pool(2) as pool:
            start(pool)[0].result()
    """
    with Terminal(program(body), str(tmp_path)) as terminal:
        pids = pids_of(terminal)
        if how == "quit":
            terminal.type(QUIT)
        else:
            terminal.hang_up()
        wait_until(lambda: not any(map(processes.read, pids)), "all have ended")


def test_a_task_that_uses_the_terminal_is_not_stopped_by_it() -> None:
    """It is in the background: to write is allowed, also with `stty tostop`; to read fails."""
    body = """
        import os, termios, owngil

        def task():
            os.write(1, b"written\\n")
            tty = os.open("/dev/tty", os.O_RDWR)
            os.write(tty, b"written too\\n")
            try:
                os.read(tty, 1)
            except OSError as error:
                return error.strerror

        mode = termios.tcgetattr(1)
        mode[3] |= termios.TOSTOP
        termios.tcsetattr(1, termios.TCSANOW, mode)
        with owngil.Pool(1) as pool:
            print(pool.submit(task).result(), flush=True)
    """
    with Terminal(body) as terminal:
        assert terminal.wait_for_end() == 0
        assert "Input/output error" in terminal.screen()
        assert "written too" in terminal.screen()
