# SPDX-License-Identifier: BSD-3-Clause
"""What do our ring and our channel cost, in C++ and without Python, over the bare floor?

This runs the program bench/floor/ipc_floor.cpp: two processes, a CPU each, in ns a message. The
floor is a ring with nothing but slots and two counters, of the same slot size; asleep, it is a
bare futex. All take turns within each round; `x floor` is the median of the ratio in a round.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from harness import machine, native

_LIMIT = 1.2
_WITHIN = ("round trip, ns", "stream, ns a call and its answer")


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
    table, _, text = output.partition("{")
    print(table, end="")
    record = json.loads("{" + text)
    for figure in record["figures"]:
        if figure["question"] in _WITHIN and figure["contestant"] == "spsc_ring":
            times = figure["times_floor"]
            state = "reached" if times <= _LIMIT else "MISSED"
            print(
                f"  {state:7}  {figure['contestant']}, {figure['question']}: "
                f"within {_LIMIT} times the floor; is {times:.2f}"
            )
    if arguments.json:
        record |= {"bench": "ring", "machine": about, "rounds": rounds}
        Path(arguments.json).parent.mkdir(parents=True, exist_ok=True)
        Path(arguments.json).write_text(json.dumps(record, indent=2) + "\n")
        print(f"\nWritten to {arguments.json}.")


if __name__ == "__main__":
    main()
