# SPDX-License-Identifier: BSD-3-Clause
"""What does one bad task cost the others: 20 tasks of 20 ms, 2 workers, task 5 is bad?

Each pool meets each bad task in a process of its own with a time limit, so that a pool that hangs
is a result like any other. Nothing is timed: these are counts.
  ok      tasks that gave their right result; a lambda that arrives counts
  failed  tasks that gave an error, and which
  hang    tasks of which nothing was heard before the limit
  after   does the same pool still run a task?
"""

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from harness import bad_tasks, machine, report
from harness.executors import KINDS, OWNGIL, POOL, PPE, Face
from harness.processes import kill_session

_TASKS, _BAD, _WORKERS = 20, 5, 2
_TO_START_S = 20.0
_CONTENDERS = (OWNGIL, PPE, POOL, "loky", "joblib", "pebble", "mpire", "Dask", "Ray")


@dataclass(frozen=True)
class Variant:
    """One way to be bad."""

    name: str
    title: str
    bad: Callable[[int], Any]


VARIANTS = (
    Variant("exits", "task 5 calls os._exit(7)", bad_tasks.exits),
    Variant("killed", "task 5 kills its worker with SIGKILL", bad_tasks.is_killed),
    Variant("unmakable", "task 5 raises what fails to unpickle", bad_tasks.raises_unmakable),
    Variant("lambda", "task 5 returns a lambda", bad_tasks.returns_lambda),
)


@dataclass
class Seen:
    """What was heard from one pool."""

    ok: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    usable: bool = False

    @property
    def hanging(self) -> int:
        return _TASKS - self.ok - self.errors.total()

    def row(self, name: str) -> list[str]:
        errors = ", ".join(f"{count} {kind}" for kind, count in self.errors.items())
        return [
            name,
            str(self.ok),
            str(self.errors.total()),
            str(self.hanging),
            "usable" if self.usable else "UNUSABLE",
            errors,
        ]

    def record(self) -> dict[str, object]:
        counts = {"ok": self.ok, "failed": self.errors.total(), "hang": self.hanging}
        return {"tasks": counts, "errors": self.errors, "usable": self.usable}


# --- the contender's process ---------------------------------------------------------------------


def meet(variant: Variant, name: str, limit_s: float, answers: IO[str]) -> None:
    """Open the pool, give it the tasks, say what comes of each; leave without closing it."""

    def say(**heard: object) -> None:
        answers.write(json.dumps(heard) + "\n")
        answers.flush()

    with KINDS[name].open(_WORKERS) as face:
        for outcome in outcomes(face, variant, time.monotonic() + limit_s):
            say(**outcome)
        with suppress(Exception):
            say(usable=still_works(face, limit_s))
        say(finished=True)
        os._exit(0)


def outcomes(face: Face, variant: Variant, deadline: float) -> Iterator[dict[str, object]]:
    """Of each task that ends in time: {"ok": …} or {"error": …}."""
    functions = [variant.bad if n == _BAD else bad_tasks.good for n in range(_TASKS)]
    if face.submit is None:  # joblib: all or nothing
        try:
            results = list(face.map(_apply, list(zip(functions, range(_TASKS), strict=True)), None))
        except Exception as error:
            yield from [{"error": type(error).__name__}] * _TASKS
        else:
            yield from ({"ok": is_right(n, result)} for n, result in enumerate(results))
        return

    tasks: list[Any] = []
    for number, function in enumerate(functions):
        try:
            tasks.append(face.submit(function, number))
        except Exception as error:
            tasks.append(None)
            yield {"error": type(error).__name__}
    for number, task in enumerate(tasks):
        if task is None:
            continue
        try:
            result = task.result(max(0.01, deadline - time.monotonic()))
        except Exception as error:
            if not type(error).__name__.endswith("TimeoutError"):  # each pool has one of its own
                yield {"error": type(error).__name__}
        else:
            yield {"ok": is_right(number, result)}


def still_works(face: Face, limit_s: float) -> bool:
    """Whether one more task gives its result."""
    if face.submit is None:
        return list(face.map(bad_tasks.good, [1, 2], None)) == [1, 2]
    return bool(face.submit(bad_tasks.good, 99).result(limit_s) == 99)


def is_right(number: int, result: Any) -> bool:
    """The bad task that ends at all returns a function that returns its number."""
    return bool((result() if number == _BAD else result) == number)


def _apply(pair: tuple[Callable[[int], Any], int]) -> Any:
    return pair[0](pair[1])


# --- the parent's --------------------------------------------------------------------------------


def watch(variant: Variant, name: str, limit_s: float) -> Seen:
    """Run one contender in a process of its own and hear it out, or until it is too late."""
    read, write = os.pipe()
    process = subprocess.Popen(
        [sys.executable, __file__, "--turn", variant.name, name, str(limit_s), str(write)],
        pass_fds=(write,),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    os.close(write)
    seen = Seen()
    # One limit is for the tasks, another for the one afterwards, the rest for starting.
    too_late = threading.Timer(2 * limit_s + _TO_START_S, kill_session, (process.pid,))
    too_late.start()
    try:
        with os.fdopen(read) as answers:
            for line in answers:
                heard = json.loads(line)
                if "error" in heard:
                    seen.errors[heard["error"]] += 1
                elif heard.get("ok") is False:
                    seen.errors["wrong result"] += 1
                seen.ok += heard.get("ok", False)
                seen.usable = heard.get("usable", seen.usable)
                if "finished" in heard:
                    break
    finally:
        too_late.cancel()
        kill_session(process.pid)
        process.wait()
    return seen


def main() -> None:
    """Print a table for each way to be bad."""
    if sys.argv[1:2] == ["--turn"]:
        name, contender, limit_s, fd = sys.argv[2:]
        os.set_inheritable(int(fd), False)
        variant = next(v for v in VARIANTS if v.name == name)
        meet(variant, contender, float(limit_s), os.fdopen(int(fd), "w"))
    arguments = _parse()
    about = machine.describe()
    print((__doc__ or "").partition("\n")[0])
    print(machine.one_line(about))
    records = {}
    for variant in VARIANTS:
        if arguments.variants and variant.name not in arguments.variants:
            continue
        print(f"\n== {variant.name}: {variant.title}", flush=True)
        seen: dict[str, Seen] = {}
        absent: dict[str, str] = {}
        for name in arguments.only or _CONTENDERS:
            if reason := KINDS[name].missing():
                absent[name] = reason
            else:
                seen[name] = watch(variant, name, arguments.limit)
        header = ["", "ok", "failed", "hang", "after", "with"]
        print(report.aligned([header, *(one.row(name) for name, one in seen.items())]))
        for name, reason in absent.items():
            print(f"  absent   {name}: {reason}")
        records[variant.name] = {
            "contenders": {name: one.record() for name, one in seen.items()},
            "absent": absent,
        }
    if arguments.json:
        everything = {"bench": "crash", "machine": about, "variants": records}
        Path(arguments.json).parent.mkdir(parents=True, exist_ok=True)
        Path(arguments.json).write_text(json.dumps(everything, indent=2) + "\n")
        print(f"\nWritten to {arguments.json}.")


def _parse() -> argparse.Namespace:
    names = "\n".join(f"  {v.name:16} {v.title}" for v in VARIANTS)
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=f"variants:\n{names}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "variants",
        nargs="*",
        metavar="VARIANT",
        choices=[[], *(v.name for v in VARIANTS)],
        help="only these (default: all)",
    )
    parser.add_argument("--json", metavar="FILE", help="write the counts to FILE")
    parser.add_argument(
        "--only", type=lambda text: text.split(","), metavar="A,B", help="only these contenders"
    )
    parser.add_argument(
        "--limit", type=float, default=8.0, metavar="S", help="what is a hang (default: 8 s)"
    )
    parser.add_argument("--quick", action="store_true", help="only the first variant")
    arguments = parser.parse_args()
    if arguments.quick and not arguments.variants:
        arguments.variants = [VARIANTS[0].name]
    return arguments


if __name__ == "__main__":
    main()
