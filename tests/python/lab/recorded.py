# SPDX-License-Identifier: BSD-3-Clause
"""Samples that were recorded, or that somebody would record where the shape does not hold."""

from __future__ import annotations

Rounds = list[list[float]]


def rounds(*medians: float) -> Rounds:
    """One sample a round."""
    return [[one] for one in medians]


_POOL = "in a pool, kind=process"
_ONE = rounds(0.272, 0.266, 0.291, 0.275, 0.281)
_TWICE = rounds(0.583, 0.539, 0.592, 0.560, 0.571)
_LATE_5MS: Rounds = [[0.0054, 0.0053], [0.0054, 0.0055], [0.0053, 0.0054]]
_ON_TIME: Rounds = [[0.0002, 0.0001], [0.0002, 0.131], [0.0001, 0.0002]]
_ON_TIME[1].append(0.0002)  # an outlier of 131 ms, as the article has, moves no median

GOOD: dict[str, dict[str, Rounds]] = {
    "countdown-serial": {"one countdown": _ONE, "one after the other": _TWICE},
    "countdown-threads": {
        "one countdown": _ONE,
        "one after the other": _TWICE,
        "in threads": rounds(0.549, 0.537, 0.575, 0.551, 0.562),
    },
    "countdown-processes": {"one countdown": _ONE, "in processes": _ONE},
    "countdown-interpreters": {
        "one countdown": _ONE,
        "in sub-interpreters": rounds(0.289, 0.278, 0.321, 0.290, 0.291),
    },
    "sleep-threads": {
        "one sleep": rounds(0.5005, 0.5004, 0.5006),
        "sleeps in threads": rounds(0.5006, 0.5005, 0.5007),
    },
    "io-vs-python": {
        "in a thread": _LATE_5MS,
        "in a pool, kind=thread": _LATE_5MS,
        _POOL: _ON_TIME,
    },
    "io-vs-numpy": {"in a thread": _ON_TIME, _POOL: _ON_TIME},
    "io-vs-extension-holding": {
        "in a thread": rounds(1.726, 1.727, 1.726),
        "in a pool, kind=thread": rounds(1.715, 1.712, 1.733),
        _POOL: _ON_TIME,
    },
    "io-vs-extension-releasing": {"in a thread": _ON_TIME, _POOL: _ON_TIME},
    "switch-interval": {
        "interval 1 ms": rounds(0.00116, 0.00115, 0.00116),
        "interval 5 ms": rounds(0.00515, 0.00548, 0.00515),
        "interval 20 ms": rounds(0.0202, 0.0202, 0.0201),
    },
    "unfairness": {
        "share of switches that skip who waited longest": rounds(0.07, 0.04, 0.15),
        "largest share of the time that one thread held it": rounds(0.34, 0.35, 0.34),
        "how long it was held, in switch intervals": rounds(1.1, 1.5, 1.2),
    },
    "convoy": {
        "alone": rounds(21_000, 18_000, 22_000),
        "beside a thread that computes": rounds(120, 104, 228),
        "beside a worker that computes": rounds(17_000, 16_000, 18_000),
    },
    "old-gil": {
        "in threads, over one after the other, this Python": rounds(0.98, 1.0, 1.01),
        "in threads, over one after the other, python2.7": rounds(1.8, 1.6, 1.7),
    },
    "no-gil": {
        "in threads, over one after the other, this Python": rounds(0.98, 1.0, 1.01),
        "in threads, over one after the other, python3.14t": rounds(0.52, 0.53, 0.51),
    },
    "asyncio": {
        "1,000 coroutines that wait, beyond one wait": rounds(0.011, 0.008, 0.012),
        "the loop alone": rounds(0.0002, 0.0002, 0.0002),
        "computing in the loop": rounds(0.49, 0.45, 0.55),
        "computing in a thread": rounds(0.0052, 0.0052, 0.0053),
        _POOL: _ON_TIME,
    },
    "sub-interpreters": {
        "countdown, shared GIL": rounds(0.573, 0.545, 0.561),
        "countdown, own GIL": rounds(0.279, 0.281, 0.290),
        "memory, shared GIL": rounds(420_000, 200_000, 1_600_000),
        "memory, own GIL": rounds(1_960_000, 1_940_000, 2_010_000),
    },
}

# What replaces the good samples, so that the shape does not hold.
BAD: dict[str, dict[str, Rounds]] = {
    "countdown-serial": {"one after the other": _ONE},
    "countdown-threads": {"in threads": _ONE},
    "countdown-processes": {"in processes": _TWICE},
    "countdown-interpreters": {"in sub-interpreters": _TWICE},
    "sleep-threads": {"sleeps in threads": rounds(1.0, 1.0, 1.0)},
    "io-vs-python": {_POOL: _LATE_5MS[:1] + rounds(0.0061, 0.0062)},
    "io-vs-numpy": {"in a thread": rounds(1.7, 1.7, 1.7)},
    "io-vs-extension-holding": {_POOL: rounds(1.7, 1.7, 1.7)},
    "io-vs-extension-releasing": {"in a thread": rounds(1.7, 1.7, 1.7)},
    "switch-interval": {"interval 20 ms": rounds(0.001, 0.001, 0.001)},
    "unfairness": {"share of switches that skip who waited longest": rounds(0.0, 0.0, 0.0)},
    "convoy": {"beside a thread that computes": rounds(20_000, 19_000, 21_000)},
    "old-gil": {"in threads, over one after the other, python2.7": rounds(0.9, 0.92, 0.91)},
    "no-gil": {"in threads, over one after the other, python3.14t": rounds(1.0, 1.02, 0.99)},
    "asyncio": {"computing in the loop": rounds(0.01, 0.01, 0.01)},
    "sub-interpreters": {"countdown, shared GIL": rounds(0.28, 0.29, 0.28)},
}
