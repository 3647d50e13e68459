# SPDX-License-Identifier: BSD-3-Clause
"""What do our ring and our channel cost, in C++ and without Python, over the bare floor?

This runs the program bench/floor/ipc_floor.cpp: two processes, a CPU each, in ns a message. The
floor is a ring with nothing but slots and two counters, of the same slot size; asleep, it is a
bare futex. All take turns within each round; `x bare ring` is the median of the ratio in a round.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from harness import machine, native, report
from harness.figures import Figures, Goal, Metric

_OURS = ("spsc_ring", "channel")
_FLOORS = ("bare ring", "bare futex")
_GOALS = tuple(
    Goal(question, "within", 1.2, "bare ring", contender="spsc_ring")
    for question in ("round trip", "stream, a call and its answer")
)


def main() -> None:
    """Run the floor program, add the machine to its record, judge."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", metavar="FILE", help="write the figures to FILE")
    parser.add_argument("--rounds", type=int, default=15, metavar="N", help="default: 15")
    parser.add_argument("--quick", action="store_true", help="two rounds")
    arguments = parser.parse_args()

    path = native.program("ipc_floor")
    if path is None:
        sys.exit(native.missing("ipc_floor"))
    about = machine.describe()
    print((__doc__ or "").partition("\n")[0])
    print(machine.one_line(about), end="\n\n", flush=True)
    rounds = 2 if arguments.quick else arguments.rounds
    output = subprocess.run(
        [path, "--rounds", str(rounds), "--json", "-"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    measured = json.loads(output[output.index("{") :])["figures"]
    metrics = [Metric(name, "amount", "ns", 1e9) for name in _in_order(measured, "question")]
    figures = Figures()
    for one in measured:
        for nanoseconds in one["rounds_ns"]:
            figures.add(one["contestant"], {one["question"]: [nanoseconds * 1e-9]})
    print(report.tables(figures, metrics, _in_order(measured, "contestant"), _FLOORS))
    print("\n".join(report.verdicts(figures, metrics, _GOALS)))
    if arguments.json:
        record = report.record(figures, metrics, _GOALS, {}) | {"rounds": rounds, "ours": _OURS}
        everything = {"bench": "ring", "machine": about, "variants": {"ring": record}}
        Path(arguments.json).parent.mkdir(parents=True, exist_ok=True)
        Path(arguments.json).write_text(json.dumps(everything, indent=2) + "\n")
        print(f"\nWritten to {arguments.json}.")


def _in_order(figures: list[dict[str, str]], key: str) -> list[str]:
    return list(dict.fromkeys(figure[key] for figure in figures))


if __name__ == "__main__":
    main()
