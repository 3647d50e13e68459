# SPDX-License-Identifier: BSD-3-Clause
"""What a comparison found: values, from which text and pictures are made."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from owngil._lab.estimates import Estimate, estimate, ratios
from owngil._lab.verdict import Conditions

__all__ = ["Comparison", "Row"]


@dataclass(frozen=True)
class Row:
    """One way with one number of workers. A list has one figure for each round."""

    kind: str  # "serial", or as Pool(kind=...) takes it
    workers: int
    seconds: list[float]
    cpu_seconds: list[float]
    memory_bytes: int  # private memory of the workers' processes, afterwards
    start_seconds: float  # until the pool had answered for the first time

    @property
    def time(self) -> Estimate:
        """Until all results are there."""
        return estimate(self.seconds)

    @property
    def label(self) -> str:
        """For tables."""
        if self.kind == "serial":
            return "serial"
        return f"{self.kind}, {self.workers} worker{'s' * (self.workers != 1)}"


@dataclass(frozen=True)
class Comparison:
    """The whole of it. `rows[0]` is serial."""

    function: str
    items: int  # that were run
    items_given: int
    call_seconds: float  # of one call, in a worker
    cpu_share: float  # of a CPU, that one call takes while it runs
    bytes_per_task: float  # pickled argument and result
    gil_share: float | None  # of the serial run; None if this Python does not let it be seen
    rows: list[Row]
    absent: dict[str, str]
    conditions: Conditions
    results_agree: bool
    refuses_interpreters: str = ""

    def speed_up(self, row: Row) -> Estimate:
        """Over serial, taken round by round."""
        serial = [[seconds] for seconds in self.rows[0].seconds]
        return estimate(ratios(serial, [[seconds] for seconds in row.seconds]))

    def efficiency(self, row: Row) -> float:
        """Speed-up by worker."""
        return self.speed_up(row).median / row.workers

    def overhead(self, row: Row) -> float:
        """Seconds a task beyond the serial ones: all that the workers' time was spent on else."""
        rounds = zip(row.seconds, self.rows[0].seconds, strict=True)
        extra = median(mine * row.workers - serial for mine, serial in rounds)
        return extra / self.items

    def of_kind(self, kind: str) -> list[Row]:
        """By number of workers."""
        return sorted((row for row in self.rows if row.kind == kind), key=lambda row: row.workers)

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def __str__(self) -> str:
        from .text import told

        return told(self)

    def _repr_html_(self) -> str:
        from owngil._report.compare import comparison_html

        return comparison_html(self)
