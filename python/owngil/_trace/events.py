# SPDX-License-Identifier: BSD-3-Clause
"""From what was recorded to the Trace Event format, which Perfetto and chrome://tracing open.

Pure: records in, a dict for JSON out. Each thread has two rows: its tasks, and its GIL. An arrow
leads from where a task, or the map of an item, was submitted to where it began.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Submitted", "Timeline", "timeline", "trace_events"]

_ITEM_BITS = 24  # of an arrow's number: the items of a map are fewer than 16 million
_GIL_ROWS = 1_000_000_000  # added to a thread's number: rows that tasks and GIL do not share


@dataclass(frozen=True)
class Submitted:
    """The caller's side of one task, in ns; `sent` is when submit() or map() had returned."""

    task: int
    name: str
    thread: int
    submitted: int
    sent: int
    collected: int | None = None
    items: list[int] | None = None  # of a map: when the result of each was taken, in their order

    def item_collected(self, item: int) -> int | None:
        """None if its result was not taken while the trace ran."""
        return self.items[item] if self.items is not None and item < len(self.items) else None

    def until(self, ended: int) -> int:
        """When the last of it was collected, or else the end of the trace."""
        return self.collected or (self.items[-1] if self.items else ended)


@dataclass(frozen=True)
class Timeline:
    """Everything that was recorded, by process."""

    pid: int  # who traced
    began: int
    ended: int
    submitted: list[Submitted]
    tasks: dict[int, list[dict[str, Any]]]
    slices: dict[int, list[tuple[int, bool, int, int]]]
    threads: dict[int, dict[int, str]]
    sampling_cpu_ns: dict[int, int]
    cannot_see: list[str]


def timeline(
    pid: int,
    began: int,
    ended: int,
    submitted: Iterable[Submitted],
    records: Iterable[tuple[int, Mapping[str, Any]]],
) -> Timeline:
    """Sort what the processes have written."""
    found = Timeline(pid, began, ended, list(submitted), {}, {}, {}, {}, list(_ALWAYS_HIDDEN))
    hidden: dict[str, None] = {}
    ranks: dict[tuple[int, int], str] = {}  # in every worker that thread is MainThread
    for process, record in records:
        if "task" in record:
            found.tasks.setdefault(process, []).append(dict(record))
            if "rank" in record:
                ranks[process, record["thread"]] = f"rank {record['rank']}"
        elif "slices" in record:
            found.slices.setdefault(process, []).extend(
                (thread, holds, begin, end) for thread, holds, begin, end in record["slices"]
            )
            names = found.threads.setdefault(process, {})
            names.update({int(thread): name for thread, name in record["threads"].items()})
            cpu = found.sampling_cpu_ns
            cpu[process] = cpu.get(process, 0) + record["cpu_ns"]
            if record["dropped"]:
                hidden[f"{record['dropped']} slices of process {process}: too many"] = None
            if not record["sees_waiters"] and len(names) > 2:
                hidden["who waits for the GIL: this kernel has no /proc/self/task/*/syscall"] = None
        elif "blind" in record:
            hidden[f"the GIL of process {process}: {record['blind']}"] = None
    for (process, thread), rank in ranks.items():
        found.threads.setdefault(process, {})[thread] = rank
    found.cannot_see.extend(hidden)
    return found


_ALWAYS_HIDDEN = (
    "holders and waiters for less than about 0.2 ms: they are sampled at that pace",
    "interpreters that have run no traced task, and a worker's GIL before its first",
    "stages inside the runtime: sent is when submit() had returned, collected when the future's "
    "callbacks ran, or an item's result was taken",
)


def trace_events(found: Timeline) -> dict[str, Any]:
    """The file's content."""
    events: list[dict[str, Any]] = []
    processes = {found.pid, *found.tasks, *found.slices}
    for process in sorted(processes):
        name = "the program" if process == found.pid else "worker"
        events.append(_named("process_name", process, 0, f"{name} {process}"))
        events.append(_sorted("process_sort_index", process, 0, process != found.pid))
        names = found.threads.get(process, {})
        rows = {one["thread"] for one in found.tasks.get(process, ())}
        gil_rows = {thread for thread, *_ in found.slices.get(process, ())}
        if process == found.pid:
            rows |= {one.thread for one in found.submitted}
        for thread in sorted(rows | gil_rows):
            label = names.get(thread, f"thread {thread}")
            if thread in rows:
                events.append(_named("thread_name", process, thread, label))
            if thread in gil_rows:
                row = _GIL_ROWS + thread
                events.append(_named("thread_name", process, row, f"GIL of {label}"))
    for one in found.submitted:
        events += _submitted(found, one)
    submitted = {one.task: one for one in found.submitted}
    for process, tasks in found.tasks.items():
        for task in tasks:
            events += _task(found, process, task, submitted.get(task["task"]))
    for process, slices in found.slices.items():
        for thread, holds, begin, end in slices:
            name = "holds the GIL" if holds else "waits for the GIL"
            events.append(_slice(process, _GIL_ROWS + thread, name, "gil", begin, end))
    return {
        "traceEvents": events,
        "displayTimeUnit": "ms",
        "otherData": {"cannot see": found.cannot_see},
    }


def _task(
    found: Timeline, process: int, task: Mapping[str, Any], origin: Submitted | None
) -> list[dict[str, Any]]:
    """Where it ran; and an arrow to there from where it was submitted, each item its own."""
    args = {"task": task["task"], "ok": task["ok"]}
    arrow: dict[str, Any] = {"cat": "task", "name": "to worker", "id": task["task"]}
    collected = origin.collected if origin else None
    item = task.get("item")
    if item is not None:
        args["item"] = item
        arrow |= {"cat": "item", "id": (task["task"] << _ITEM_BITS) + item}
        collected = origin.item_collected(item) if origin else None
    if collected is not None:
        args["collected after [us]"] = (collected - task["done"]) / 1e3
    where = {"pid": process, "tid": task["thread"], "ts": task["begun"] / 1e3}
    events = [
        _slice(process, task["thread"], task["name"], "task", task["begun"], task["done"])
        | {"args": args}
    ]
    if origin is not None:
        start = {"pid": found.pid, "tid": origin.thread, "ts": origin.submitted / 1e3}
        events += [{"ph": "s", **arrow, **start}, {"ph": "f", "bp": "e", **arrow, **where}]
    return events


def _submitted(found: Timeline, one: Submitted) -> list[dict[str, Any]]:
    call = "submit" if one.items is None else "map"
    span = {"cat": "task", "name": one.name, "id": one.task, "pid": found.pid, "tid": one.thread}
    return [
        _slice(found.pid, one.thread, f"{call} {one.name}", "submit", one.submitted, one.sent)
        | {"args": {"task": one.task}},
        {"ph": "b", **span, "ts": one.submitted / 1e3},
        {"ph": "e", **span, "ts": one.until(found.ended) / 1e3},
    ]


def _slice(
    process: int, thread: int, name: str, category: str, begin: int, end: int
) -> dict[str, Any]:
    return {
        "ph": "X",
        "name": name,
        "cat": category,
        "pid": process,
        "tid": thread,
        "ts": begin / 1e3,
        "dur": (end - begin) / 1e3,
    }


def _named(what: str, process: int, thread: int, name: str) -> dict[str, Any]:
    return {"ph": "M", "name": what, "pid": process, "tid": thread, "args": {"name": name}}


def _sorted(what: str, process: int, thread: int, index: int) -> dict[str, Any]:
    place = {"sort_index": int(index)}
    return {"ph": "M", "name": what, "pid": process, "tid": thread, "args": place}
