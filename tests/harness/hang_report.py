# SPDX-License-Identifier: BSD-3-Clause
"""What every process of a hung test is doing, as text.

Python stacks: this process by faulthandler; the others by py-spy where it is installed, and by
`ask_for_python_stacks`, which ends them. Native stacks: gdb where it is installed; always /proc.
Threads: any. Takes seconds; only for tests that have failed already.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from harness import processes

STATUS_LINES = ("State", "Threads", "SigPnd", "ShdPnd", "SigBlk", "voluntary_ctxt_switches")
TOOL_LIMIT_S = 30
GDB = ["gdb", "-nx", "-batch", "-iex", "set auto-load python-scripts off"]


def describe(root: int) -> str:
    everyone = [process.pid for process in processes.family(root)]
    parts = [_own_python_stacks()] if root == os.getpid() else []
    parts += [_describe_one(pid) for pid in [root, *everyone]]
    return "\n".join(parts)


def ask_for_python_stacks(root: int) -> None:
    """Make descendants that run faulthandler print their stacks to their stderr, and end."""
    for process in processes.family(root):
        caught = _status(process.pid).get("SigCgt", "0")
        if int(caught, 16) & 1 << signal.SIGABRT - 1:
            _kill(process.pid, signal.SIGABRT)


def kill_family(root: int) -> None:
    for process in processes.family(root):
        _kill(process.pid, signal.SIGKILL)


def _own_python_stacks() -> str:
    import faulthandler  # here: interpreters import this module, and cannot have that

    with tempfile.TemporaryFile("w+") as file:
        faulthandler.dump_traceback(file, all_threads=True)
        file.seek(0)
        return f"== Python stacks of {os.getpid()}\n{file.read()}"


def _describe_one(pid: int) -> str:
    process = processes.read(pid)
    if process is None:
        return f"== process {pid} has ended"
    status = _status(pid)
    lines = [f"== process {process}"]
    lines += [f"   {name}: {status[name]}" for name in STATUS_LINES if name in status]
    lines += [_describe_thread(pid, thread) for thread in _list(f"/proc/{pid}/task")]
    if shutil.which("py-spy"):
        lines.append(_run(["py-spy", "dump", "--pid", str(pid)]))
    if shutil.which("gdb"):
        lines.append(_run([*GDB, "-p", str(pid), "-ex", "thread apply all bt 24"]))
    return "\n".join(lines)


def _describe_thread(pid: int, thread: str) -> str:
    base = f"/proc/{pid}/task/{thread}"
    words = " ".join(_text(f"{base}/{name}").strip() for name in ("comm", "wchan", "syscall"))
    kernel = _text(f"{base}/stack").strip().replace("\n", "\n      ")
    return f"   thread {thread}: {words}" + (f"\n      {kernel}" if kernel else "")


def _status(pid: int) -> dict[str, str]:
    lines = (line.partition(":") for line in _text(f"/proc/{pid}/status").splitlines())
    return {name: value.strip() for name, _, value in lines}


def _text(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""


def _list(path: str) -> list[str]:
    try:
        return sorted(os.listdir(path))
    except OSError:
        return []


def _kill(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TOOL_LIMIT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"   {command[0]}: {error}"
    noise = ("[New LWP", "warning:", "Download", "Using host", "[Thread debugging", "0x0000")
    kept = [line for line in done.stdout.splitlines() if line and not line.startswith(noise)]
    return "\n".join(f"   {line}" for line in kept) or f"   {command[0]}: {done.stderr.strip()}"


if __name__ == "__main__":
    print(describe(int(sys.argv[1])))
