# SPDX-License-Identifier: BSD-3-Clause
"""A pytest plugin: whatever a module's tests leave behind fails the run.

Counted, in this process: open files by kind, mapped or open memfds, threads. Around it: processes,
the guardian's whole tree included. May stay: the guardian, templates, what this process needs to
talk to them, its control thread, the one that shows output, and its shared memory; pools share
them, so they are allowed once, not once a pool.
"""

from __future__ import annotations

import gc
import os
import threading
from collections import Counter
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from harness import processes
from harness.conditions import wait_until

TEMPLATE_NAME = "owngil-template"
TO_END_S = 15.0
FILES_OF_THE_RUNTIME = 14
FILES_OF_A_TEMPLATE = 4
THREADS_OF_THE_RUNTIME = 2
CONTROL_THREAD = "owngil-control"
PYTHON_THREAD_OF_THE_RUNTIME = "owngil-output"
# Of the process, not of a pool; what is in use of it shows as more of these.
SHARED_MEMORY = Counter(
    {"/memfd:owngil-shared (deleted)": 1, "mapped /memfd:owngil-shared (deleted)": 1}
)
OF_THE_STANDARD_LIBRARY = ("multiprocessing.resource_tracker", "multiprocessing.forkserver")


@dataclass
class Holdings:
    files: Counter[str] = field(default_factory=Counter)
    memfds: Counter[str] = field(default_factory=Counter)
    threads: Counter[str] = field(default_factory=Counter)
    python_threads: set[str] = field(default_factory=set)
    guardians: set[int] = field(default_factory=set)
    templates: set[int] = field(default_factory=set)
    others: dict[int, str] = field(default_factory=dict)


def take_stock() -> Holdings:
    held = Holdings()
    pid = os.getpid()
    held.guardians = {process.pid for process in processes.guardians(pid)}
    for process in processes.family(pid):
        if process.pid in held.guardians:
            continue
        if process.parent in held.guardians and process.name == TEMPLATE_NAME:
            held.templates.add(process.pid)
        elif not any(word in process.command for word in OF_THE_STANDARD_LIBRARY):
            held.others[process.pid] = str(process)
    for target in _open_files():
        if target.startswith("/memfd:"):
            held.memfds[target] += 1
        else:
            held.files[target.split(":[")[0]] += 1
    for line in Path("/proc/self/maps").read_text().splitlines():
        if "/memfd:" in line:
            held.memfds["mapped " + line[line.index("/memfd:") :]] += 1
    for thread in os.listdir("/proc/self/task"):
        held.threads[_text(f"/proc/self/task/{thread}/comm").strip()] += 1
    held.python_threads = {thread.name for thread in threading.enumerate()}
    return held


def left_behind(before: Holdings, after: Holdings) -> list[str]:
    """One line for each kind of thing that is there now and may not be."""
    has_guardian = bool(after.guardians - before.guardians) and not before.guardians
    # A guardian that was killed last has no successor before the next worker is to start.
    first = has_guardian or CONTROL_THREAD in after.threads - before.threads
    found = []
    files = after.files - before.files
    allowed = FILES_OF_A_TEMPLATE * len(after.templates - before.templates)
    if files.total() > allowed + (FILES_OF_THE_RUNTIME if first else 0):
        found.append(f"open files: {dict(files)}")
    if memfds := after.memfds - (before.memfds | SHARED_MEMORY):
        found.append(f"memfds: {dict(memfds)}")
    threads = after.threads - before.threads
    if threads.total() > (THREADS_OF_THE_RUNTIME if first else 0):
        found.append(f"threads: {dict(threads)}")
    if names := after.python_threads - before.python_threads - {PYTHON_THREAD_OF_THE_RUNTIME}:
        found.append(f"Python threads: {sorted(names)}")
    if pids := after.others.keys() - before.others.keys():
        found.append(f"processes: {[after.others[pid] for pid in sorted(pids)]}")
    if len(after.guardians) > max(1, len(before.guardians)):
        found.append(f"guardians: {sorted(after.guardians)}")
    return found


def check(before: Holdings) -> list[str]:
    """What is still left behind after everything had time to end."""
    gc.collect()
    found: list[str] = []

    def is_clean() -> bool:
        found[:] = left_behind(before, take_stock())
        return not found

    try:
        wait_until(is_clean, patience_s=TO_END_S)
    except AssertionError:
        return found
    return []


_at_start = pytest.StashKey[Holdings]()


def pytest_collection_finish(session: pytest.Session) -> None:
    session.stash[_at_start] = take_stock()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """What the test was given must not live on only because pytest remembers it."""
    getattr(item, "funcargs", {}).clear()


@pytest.fixture(autouse=True, scope="module")
def nothing_is_left_behind() -> Iterator[None]:
    before = take_stock()
    yield
    if found := check(before):
        pytest.fail("left behind by this module: " + "; ".join(found))


@pytest.hookimpl(wrapper=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None]:
    if found := check(session.stash.get(_at_start, Holdings())):
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            reporter.write_line("left behind: " + "; ".join(found), red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    return (yield)


def _open_files() -> Iterator[str]:
    for entry in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{entry}")
        except OSError:
            continue  # the listing's own
        if target != f"/proc/{os.getpid()}/fd":
            yield target


def _text(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""
