# SPDX-License-Identifier: BSD-3-Clause
"""Is anything lost when processes are killed at random, thousands of times?

Four threads of a program keep a pool busy with tasks of mixed length and size, by submit(), with
retries, by callbacks and by map(), while another process sends SIGKILL at random instants: to
workers at work, and now and then to one that is just starting, to the template or to the guardian.
Each task writes its number to a file as soon as it begins, and each has one right answer.

In the end it must hold that
  every task has ended          with its right answer, or with WorkerDied; with PoisonTask, if
                                it was allowed retries and died in each
  no answer is wrong            each is compared with what it must be; large buffers in it once
                                more after a while; those of arguments, by their checksums, with
                                what was sent, though tasks write over them
  none has begun too often      once, and once more for each retry that it was allowed
  nothing is left behind        processes, descriptors, shared memory, threads

It prints the counts, and what it found fault with; the exit code is 1 if it did.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import journal
import watch
import work
from killer import HARSH_KINDS, Killer
from seeds import add_seed
from tally import Tally
from users import Users

import owngil
from harness import leaks
from owngil._cli.live_line import LiveLine

EXAMPLES = """\
examples:
  ./dev chaos                          2,000 kills, about a minute
  ./dev chaos --kills 10000
  ./dev chaos --start spawn --kills 500
  ./dev chaos --kind interpreter --kills 1000
  ./dev chaos --kind auto --kills 1000
  ./dev chaos --seed 7                 the tasks and pauses of the run that printed "seed 7";
                                       what they meet, the kernel decides anew
"""

FAULTS_SHOWN = 20
# What the tasks call, for workers of one kind or of both.
FUNCTIONS = {"auto": (work.run, work.run_in_a_process)}


@dataclass(frozen=True)
class Settings:
    kills: int
    seed: int
    workers: int
    start: str
    kind: str
    pause_ms: float


def run(settings: Settings) -> int:
    """Prints what it counts; the program's exit code."""
    mark = watch.mark_this_process()
    tally, fallen = Tally(), Counter[str]()
    began = time.monotonic()
    before = leaks.take_stock()
    with tempfile.TemporaryDirectory() as folder, LiveLine() as live:
        path = Path(folder, "journal")
        path.touch()
        with (
            watch.StallWatch(lambda: tally.ended),
            owngil.Pool(
                settings.workers, kind=settings.kind, start=settings.start, max_restarts=None
            ) as pool,
            Users(
                pool,
                path,
                tally,
                settings.seed,
                functions=FUNCTIONS.get(settings.kind, (work.run,)),
            ) as users,
            Killer(settings.kills, settings.pause_ms, settings.seed) as killer,
        ):
            live.show("kills", settings.kills)
            for kind in killer:
                fallen[kind] += 1
                live.advance()
                if users.errors or pool._broken:
                    break
        tally.let_go()
        often = tally.begun_wrongly(journal.begun(path))
    user_errors = [f"a thread of the program failed: {error!r}" for error in users.errors]
    del pool, users
    left = watch.what_is_left(before, mark)

    counts = ", ".join(f"{fallen[kind]:,} {kind}" for kind in ("worker", *HARSH_KINDS))
    print(f"{fallen.total():,} kills in {time.monotonic() - began:.0f} s ({counts})")
    never = tally.submitted - tally.ended
    print(
        f"{tally.submitted:,} tasks: {tally.counts['right']:,} right, "
        f"{tally.counts['WorkerDied']:,} died with their worker, "
        f"{tally.counts['PoisonTask']:,} with three, {len(tally.wrong):,} wrong, "
        f"{never:,} never ended, {len(often):,} begun too often or never; {len(left):,} leaked; "
        f"seed {settings.seed}"
    )
    faults = [*user_errors, *tally.wrong, *often, *(f"left behind: {line}" for line in left)]
    for line in faults[:FAULTS_SHOWN]:
        print(f"  FAULT {line}")
    return 1 if faults or never or fallen.total() < settings.kills else 0


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="./dev chaos",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--kills", type=int, default=2000, metavar="N", help="default: 2000")
    add_seed(parser)
    parser.add_argument("--workers", type=int, default=3, metavar="N", help="default: 3")
    parser.add_argument(
        "--start", choices=("template", "spawn"), default="template", help="default: template"
    )
    parser.add_argument(
        "--kind",
        choices=("process", "interpreter", "auto"),
        default="process",
        help="of workers; interpreters share a process, which is killed; with auto half of the "
        "tasks need a process besides (default: process)",
    )
    parser.add_argument(
        "--pause-ms",
        type=float,
        metavar="MS",
        help="mean between kills (default: 8; of hosts, which take longer to start, 200)",
    )
    given = vars(parser.parse_args())
    if given["pause_ms"] is None:
        given["pause_ms"] = 8.0 if given["kind"] == "process" else 200.0
    return run(Settings(**given))


if __name__ == "__main__":
    sys.exit(main())
