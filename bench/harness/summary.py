# SPDX-License-Identifier: BSD-3-Clause
"""JSON records of the benchmarks into the tables of README.md, which stand between two marks.

for name in roundtrip submit map mixed countdown start respawn import_time idle backlog crash; do
    ./dev bench $name --json bench/results/$name.json
done
./dev run python bench/harness/summary.py bench/results/*.json --write README.md
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_BEGIN, _END = "<!-- {} begin: made by bench/harness/summary.py -->", "<!-- {} end -->"
_NONE = "-"


@dataclass(frozen=True)
class Line:
    """One row: what it says, where its figures are, and how they are shown."""

    says: str
    bench: str
    variant: str
    metric: str
    scale: float
    statistics: tuple[str, ...] = ("p50",)
    floor: str = ""

    def cells(self, records: dict[str, Any], contenders: Sequence[str]) -> list[str]:
        """The row's figures, for each contender, then the floor's."""
        return [self._cell(records, name) for name in (*contenders, self.floor)]

    def _cell(self, records: dict[str, Any], contender: str) -> str:
        try:
            measured = records[self.bench]["variants"][self.variant]["contenders"]
            by_metric = measured.get(contender) or measured[f"{contender} fork"]  # start.py
            figures = by_metric[self.metric]
        except KeyError:
            return _NONE
        return " / ".join(_shown(figures[name] * self.scale) for name in self.statistics)


_BOTH = ("p50", "p99")
FIRST_SCREEN = (
    Line(
        "one call, µs, median / p99",
        "roundtrip",
        "plain",
        "round trip",
        1e6,
        _BOTH,
        "os.fork and pipes",
    ),
    Line("submits, thousand a second", "submit", "submit", "end to end", 1e-3),
    Line("`map` of ints, million a second", "map", "ints", "items", 1e-6),
    Line("400 tasks of 0.01 to 50 ms, ms", "mixed", "mixed", "all tasks", 1e3, floor="bare forks"),
    Line("two countdowns, ms", "countdown", "countdown", "all", 1e3, floor="bare forks"),
    Line("a pending task, bytes", "backlog", "backlog", "bytes", 1),
    Line(
        "20 tasks, one is killed: right / left hanging",
        "crash",
        "killed",
        "tasks",
        1,
        ("ok", "hang"),
    ),
)
MORE = (
    Line("one call, `f` in `__main__`, µs", "roundtrip", "main", "round trip", 1e6, _BOTH),
    Line(
        "one call every 1 ms, µs",
        "roundtrip",
        "every-1ms",
        "round trip",
        1e6,
        _BOTH,
        "futex on 2 CPUs",
    ),
    Line(
        "one call every 10 ms, µs",
        "roundtrip",
        "every-10ms",
        "round trip",
        1e6,
        _BOTH,
        "futex on 2 CPUs",
    ),
    Line("one call beside a busy thread, µs", "roundtrip", "beside-thread", "round trip", 1e6),
    Line("`map` of strings, million a second", "map", "strings", "items", 1e-6),
    Line("`map` of tuples, million a second", "map", "tuples", "items", 1e-6),
    Line("`map` of dicts, million a second", "map", "dicts", "items", 1e-6),
    Line("`map` of a mixture, million a second", "map", "mixture", "items", 1e-6),
    Line("`map` of 1 ms tasks, tasks a second", "map", "work-1ms", "tasks", 1, floor="bare forks"),
    Line("first pool, first result, ms", "start", "start", "first", 1e3, floor="python -c pass"),
    Line("later pool, first result, ms", "start", "start", "later", 1e3, floor="python -c pass"),
    Line("array of 4 KiB there and back, µs", "data", "small-4kib", "call", 1e6),
    Line("array of 64 KiB there and back, µs", "data", "small-64kib", "call", 1e6),
    Line(
        "array of 100 MiB to a task that sums it, ms",
        "data",
        "argument-100mib",
        "call",
        1e3,
        floor="memcpy",
    ),
    Line(
        "array of 100 MiB from a task, summed, ms",
        "data",
        "result-100mib",
        "call",
        1e3,
        floor="this process",
    ),
    Line("64 MiB of `bytes` to a task, ms", "data", "bytes-64mib", "call", 1e3),
    Line("DataFrame of 100 MiB there and back, ms", "data", "frame-100mib", "call", 1e3),
    Line("from no pool to the sum of 100 MiB, ms", "data", "first-100mib", "all", 1e3),
    Line("from a death to the next answer, ms", "respawn", "idle", "answer", 1e3),
    Line("one more worker, private KiB", "idle", "memory", "private", 1 / 1024),
    Line("one more worker, shared KiB", "idle", "memory", "shared", 1 / 1024),
    Line("wake-ups in 30 s, busiest thread", "idle", "wake-ups", "busiest", 1),
)
_CONTENDERS = ("owngil", "ProcessPoolExecutor", "multiprocessing.Pool", "loky")


def table(lines: Sequence[Line], records: dict[str, Any]) -> str:
    """A Markdown table, the command of each row in its last column."""
    header = ["2 cores, 2 workers", *_CONTENDERS, "floor", "`./dev bench …`"]
    rows = [
        [line.says, *line.cells(records, _CONTENDERS), f"`{line.bench} {line.variant}`"]
        for line in lines
    ]
    text = [_row(header), _row(["---"] + ["--:"] * (len(header) - 2) + ["---"])]
    text += [_row(row) for row in rows]
    kept = [line.bench for line in lines if line.bench in records]
    machines = [records[bench]["machine"] for bench in dict.fromkeys(kept)]
    if machines:
        commits = dict.fromkeys(machine["commit"] for machine in machines)
        last = machines[-1]
        text += ["", f"{last['cpu']}, Python {last['python'].split()[0]}, Linux {last['kernel']}, "]
        text[-1] += f"commit{'s' * (len(commits) > 1)} {', '.join(commits)}."
    return "\n".join(text)


def main() -> None:
    """Print both tables, or put them into a file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("records", nargs="+", metavar="JSON", help="what --json has written")
    parser.add_argument("--write", metavar="FILE", help="replace the tables in FILE")
    arguments = parser.parse_args()
    records = {}
    for path in arguments.records:
        record = json.loads(Path(path).read_text())
        if "variants" in record:
            records[record["bench"]] = record
    tables = {"figures": table(FIRST_SCREEN, records), "measured": table(MORE, records)}
    if not arguments.write:
        print("\n\n".join(tables.values()))
        return
    file = Path(arguments.write)
    text = file.read_text()
    for name, made in tables.items():
        head, begin, rest = text.partition(_BEGIN.format(name))
        _, end, tail = rest.partition(_END.format(name))
        if not end:
            parser.error(f"{file} has no marks for {name}")
        text = f"{head}{begin}\n{made}\n{end}{tail}"
    file.write_text(text)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _shown(value: float) -> str:
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.2g}" if abs(value) < 10 else f"{value:.0f}"


if __name__ == "__main__":
    main()
