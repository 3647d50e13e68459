# SPDX-License-Identifier: BSD-3-Clause
"""Words for how a worker or a pool came to its end; called by `_core`."""

from __future__ import annotations

import os
import signal

from . import _output
from ._broken import PoisonTask, PoolBroken, WorkerDied
from ._errors import TaskTimeout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, TypedDict

    class Facts(TypedDict):
        """A runtime::Failure. What is bytes may be any."""

        worker_key: int
        pid: int
        rank: int
        wait_status: int
        status_known: bool
        broke_protocol: bool
        peak_rss: int
        oom: bool | None
        oom_of_system: bool
        oom_kills_before: int
        oom_kills: int
        memory_limit: int  # 0: unknown
        collateral: bool | None
        cost_others: bool
        stack: bytes
        task_id: int
        task_name: bytes
        item: int | None
        seconds: float
        limit: float
        of_deadline: bool
        begun: bool

    # Of a worker that broke the pool: also whether it came up, and why there never was one.
    Loss = tuple[Facts, bool, str]


__all__ = ["pool_broken", "task_timed_out", "tell_attempts", "worker_died", "worker_lost"]

# Of a dead worker's stderr, in the message; the exception has all that was kept.
_LINES = 12
_LONGEST_LINE = 200
_INITIALIZER = 2**64 - 1  # runtime::kInitializerTask


def worker_died(facts: Facts) -> WorkerDied:
    """A death that failed the task, or the initializer, that the worker had begun."""
    task_name = facts["task_name"].decode(errors="replace")
    text = (
        f"the worker that ran {_describe_task(facts, task_name)} ended {_how(facts)} "
        f"after {facts['seconds']:.3g} s ({_describe_worker(facts)})."
    )
    if facts["collateral"]:
        text += " It shared its process with the worker whose task ended that."
    elif facts["collateral"] is None:
        text += (
            " It shared its process with other workers, and nobody can tell whose task ended it."
        )
    elif facts["cost_others"]:
        text += " What the other workers of its process ran is lost with it; the pool goes on."
    elif facts["task_id"] != _INITIALIZER:
        text += " Only this task is lost; the pool goes on."
    return _died(
        facts,
        text,
        task_id=facts["task_id"],
        task_name=task_name,
        item=facts["item"],
        seconds=facts["seconds"],
    )


def worker_lost(facts: Facts, came_up: bool, reason: str) -> WorkerDied:
    """A death that no task was to blame for, or (`reason`) a start that came to nothing."""
    rank = facts["rank"]
    if reason:
        return WorkerDied(f"no worker could be started (rank {rank}): {reason}", rank=rank)
    when = "while it ran no task" if came_up else "before it was ready"
    return _died(facts, f"a worker ended {_how(facts)} {when} ({_describe_worker(facts)}).")


def _died(facts: Facts, text: str, **of_task: Any) -> WorkerDied:
    status, known = facts["wait_status"], facts["status_known"]
    number = os.WTERMSIG(status) if known and os.WIFSIGNALED(status) else None
    exitcode = os.waitstatus_to_exitcode(status) if known and number is None else None
    stack = _stack(facts["stack"])
    lines = [text]
    if facts["oom"]:
        lines.append(_describe_oom(facts))
    if stack:
        lines.append(f"Where it was:\n{stack}")
    elif number is not None and of_task and not facts["broke_protocol"]:
        lines.append("It left no Python stack.")
    stderr = _output.tail(facts["worker_key"])
    if stderr:
        lines.append(f"The last that this worker wrote to stderr:\n{_last_lines(stderr)}")
    return WorkerDied(
        "\n".join(lines),
        exitcode=exitcode,
        signal=number,
        pid=facts["pid"],
        rank=facts["rank"],
        peak_rss=facts["peak_rss"],
        oom=facts["oom"],
        collateral=facts["collateral"],
        stack=stack,
        stderr=stderr,
        **of_task,
    )


def _how(facts: Facts) -> str:
    status = facts["wait_status"]
    if facts["broke_protocol"]:
        return "by the pool: it had written nonsense to its shared memory"
    if not facts["status_known"]:
        return "in a way that nobody saw"
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return f"by signal {number} ({_signal_name(number)})"
    return f"with exit code {os.waitstatus_to_exitcode(status)}"


def task_timed_out(facts: Facts) -> TaskTimeout:
    name = facts["task_name"].decode(errors="replace")
    task = _describe_task(facts, name)
    begun = facts["begun"]
    limit = f"the limit of {facts['limit']:g} s for {task}"
    if facts["of_deadline"]:
        limit = f"the deadline of {task}, {facts['limit']:g} s after its submission,"
    state = "it had not begun."
    if begun:
        state = (
            f"it had run for {facts['seconds']:.3g} s ({_describe_worker(facts)}). "
            + _what_it_cost(facts)
        )
    stack = _stack(facts["stack"])
    if stack:
        state += f"\nWhere it was:\n{stack}"
    return TaskTimeout(
        f"{limit} has passed; {state}",
        limit=facts["limit"],
        of_deadline=facts["of_deadline"],
        seconds=facts["seconds"] if begun else None,
        pid=facts["pid"] if begun else None,
        rank=facts["rank"] if begun else None,
        stack=stack,
        task_id=facts["task_id"],
        task_name=name,
        item=facts["item"],
    )


def tell_attempts(error: BaseException, attempts: list[BaseException]) -> BaseException:
    """The error of a task's last run, with those of the runs before it: `attempts` and notes."""
    deaths = [one for one in (*attempts, error) if isinstance(one, WorkerDied)]
    if type(error) is WorkerDied and len(deaths) == len(attempts) + 1 and _blames_all(deaths):
        died = error
        error = PoisonTask(f"given up after {len(attempts) + 1} runs: {died}")
        error.__dict__.update(died.__dict__)
    error.attempts = tuple(attempts)  # type: ignore[attr-defined]
    for number, attempt in enumerate(attempts, 1):
        text = str(attempt).partition("\n")[0]
        error.add_note(f"run {number} ended with {type(attempt).__name__}: {text}")
    return error


def _blames_all(deaths: list[WorkerDied]) -> bool:
    return all(one.collateral is False for one in deaths)


def _what_it_cost(facts: Facts) -> str:
    if facts["cost_others"]:
        return (
            "It did not stop when it was told to, and so its process was killed, with the other "
            'workers that lived there. With kind="process" it would have been alone.'
        )
    return "Its worker was stopped; no other task is lost."


def pool_broken(reason: str, failure: bytes, losses: Sequence[Loss]) -> PoolBroken:
    """`failure`: of the initializer. `losses`: the worker that died of it, or the last few of those
    that were lost with no task to blame.
    """
    _output.show_all()  # a worker may have said why
    cause: BaseException | None = None
    notes = []
    for facts, came_up, why in losses:
        if facts["task_id"] == _INITIALIZER:
            cause = worker_died(facts)
        else:
            cause = worker_lost(facts, came_up, why)
            notes.append(str(cause).partition("\n")[0])
    if notes:
        reason = f"{reason}; the last one: {notes[-1]}"
    if failure:
        from ._pickling import load_exception

        cause = load_exception(failure)
    error = PoolBroken(f"the pool is broken: {reason}")
    for note in notes:
        error.add_note(f"lost: {note}")
    error.__cause__ = cause
    return error


def _last_lines(text: str) -> str:
    lines = [f"  {line[:_LONGEST_LINE]}" for line in text.splitlines()[-_LINES:]]
    return "\n".join(lines)


def _stack(written: bytes) -> str:
    if not written:
        return ""
    from ._stacks import readable

    return readable(written)


def _describe_task(facts: Facts, name: str) -> str:
    if facts["task_id"] == _INITIALIZER:
        return f"the initializer {name}"
    if facts["item"] is not None:
        return f"item {facts['item']} of a map of {name}"
    return f"{name} (task {facts['task_id']})"


def _describe_worker(facts: Facts) -> str:
    text = f"pid {facts['pid']}, rank {facts['rank']}"
    if facts["peak_rss"]:
        text += f", peak memory {_size(facts['peak_rss'])}"
    return text


def _describe_oom(facts: Facts) -> str:
    whose = "the system" if facts["oom_of_system"] else "its cgroup"
    if facts["memory_limit"]:
        whose += f", which may have {_size(facts['memory_limit'])} in all,"
    return (
        "The kernel has probably killed it for lack of memory: the oom_kill count of "
        f"{whose} rose from {facts['oom_kills_before']} to {facts['oom_kills']}."
    )


def _size(size: int) -> str:
    return f"{size / 2**20:.0f} MiB" if size < 10 << 30 else f"{size / 2**30:.1f} GiB"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"
