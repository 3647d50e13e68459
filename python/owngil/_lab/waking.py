# SPDX-License-Identifier: BSD-3-Clause
"""A thread that sleeps, beside one that computes: does it wake on time?"""

from __future__ import annotations

import importlib.util
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from statistics import median

from . import work
from .countdown import in_threads
from .estimates import ratios
from .experiment import CASE_STUDY, FIND_OUT, Experiment, Opened, Samples, Settings
from .kinds import WORKER_KINDS, pools
from .verdict import Claim

__all__ = ["EXPERIMENTS", "IN_THREAD", "in_pool", "late_beside"]

ONE_SLEEP = "one sleep"
SLEEPS = "sleeps in threads"
IN_THREAD = "in a thread"
SLEEPS_PER_RUN = 4
ON_TIME_S = 0.005


def in_pool(kind: str) -> str:
    """The way's name."""
    return f"in a pool, kind={kind}"


def late_beside(compute: Callable[[], object], seconds: float) -> list[float]:
    """How late a sleeping thread wakes, again and again, while `compute` runs in another."""
    falls_asleep = threading.Event()
    wakes: list[tuple[float, float]] = []  # when it was to wake, when it did
    stop = False

    def sleeper() -> None:
        while not stop:
            due = time.perf_counter() + seconds
            falls_asleep.set()
            time.sleep(seconds)
            wakes.append((due, time.perf_counter()))

    thread = threading.Thread(target=sleeper)
    thread.start()
    falls_asleep.wait()
    compute()
    ended = time.perf_counter()
    stop = True
    thread.join()
    return [woke - due for due, woke in wakes if due < ended]


def _beside(
    count: Callable[[int], int], needs: str = ""
) -> Callable[[Settings], AbstractContextManager[Opened]]:
    @contextmanager
    def open_(settings: Settings) -> Iterator[Opened]:
        if needs and importlib.util.find_spec(needs) is None:
            yield Opened(
                {}, {IN_THREAD: f"{needs} is not installed: pip install 'owngil[{needs}]'"}
            )
            return
        seconds = settings.seconds
        n = work.steps_for(count, (SLEEPS_PER_RUN + 0.5) * seconds)
        ways: dict[str, Callable[[], Sequence[float]]] = {
            IN_THREAD: lambda: late_beside(lambda: count(n), seconds)
        }

        def first() -> int:
            return count(1)

        with pools(1, first) as (opened, absent):
            for kind, pool in opened.items():
                ways[in_pool(kind)] = lambda pool=pool: late_beside(  # type: ignore[misc]
                    lambda: pool.submit(count, n).result(), seconds
                )
            yield Opened(ways, absent)

    return open_


def _round_medians(rounds: Sequence[Sequence[float]]) -> list[float]:
    return [median(one) for one in rounds if one]


def _pool_claims(samples: Samples) -> list[Claim]:
    return [
        Claim(
            f"with the computation {in_pool(kind)}, the sleeper wakes on time",
            _round_medians(samples[in_pool(kind)]),
            at_most=ON_TIME_S,
            unit="s",
        )
        for kind in WORKER_KINDS
        if in_pool(kind) in samples
    ]


def _python_claims(samples: Samples, settings: Settings) -> list[Claim]:
    threads = {
        IN_THREAD: "beside pure Python, it waits for about one switch interval",
        in_pool("thread"): "in a pool of threads that is no better",
    }
    return [
        *(
            Claim(
                text,
                _round_medians(samples[way]),
                settings.switch_interval * 0.3,
                settings.switch_interval * 3,
                "s",
            )
            for way, text in threads.items()
            if way in samples
        ),
        *_pool_claims(samples),
    ]


def _on_time_claims(samples: Samples, settings: Settings) -> list[Claim]:
    return [
        Claim(
            "it wakes on time",
            _round_medians(samples.get(IN_THREAD, ())),
            at_most=ON_TIME_S,
            unit="s",
        ),
        *_pool_claims(samples),
    ]


def _starving_claims(samples: Samples, settings: Settings) -> list[Claim]:
    whole = SLEEPS_PER_RUN * settings.seconds
    threads = [IN_THREAD, *([in_pool("thread")] if in_pool("thread") in samples else [])]
    return [
        *(
            Claim(
                f"{way}, the sleeper sleeps until the call returns",
                [max(one) for one in samples.get(way, ()) if one],
                at_least=(whole - settings.seconds) * 0.8,
                unit="s",
            )
            for way in threads
        ),
        *_pool_claims(samples),
    ]


def sleep_in_threads(seconds: float, threads: int) -> float:
    return in_threads(time.sleep, (seconds,), threads)


@contextmanager
def _open_sleep(settings: Settings) -> Iterator[Opened]:
    yield Opened(
        {
            ONE_SLEEP: lambda: [sleep_in_threads(settings.seconds, 1)],
            SLEEPS: lambda: [sleep_in_threads(settings.seconds, settings.threads)],
        }
    )


def _sleep_claims(samples: Samples, settings: Settings) -> list[Claim]:
    return [
        Claim(
            f"{settings.threads} sleeps in threads take as long as one",
            ratios(samples[SLEEPS], samples[ONE_SLEEP]),
            0.9,
            1.1,
            "x",
        )
    ]


def _io(
    name: str,
    title: str,
    saw: str,
    late: Sequence[float],
    teaches: str,
    count: Callable[[int], int],
    claims: Callable[[Samples, Settings], Sequence[Claim]],
    source: Sequence[Callable[..., object] | str],
    needs: str = "",
) -> Experiment:
    return Experiment(
        name=name,
        title=title,
        article=CASE_STUDY,
        saw=saw,
        saw_seconds={IN_THREAD: late},
        teaches=teaches,
        measures="how late the sleeper woke",
        unit="s",
        source=source,
        open=_beside(count, needs),
        claims=claims,
        computes_on=1,
    )


_EXTENSION = """\
PyObject* count_{0}(PyObject*, PyObject* argument) {{
  unsigned long long n = 0;
  if (!parse(argument, &n)) return nullptr;
{1}  return PyLong_FromUnsignedLongLong(n);
}}
"""

EXPERIMENTS = (
    Experiment(
        name="sleep-threads",
        title="sleep in threads",
        article=FIND_OUT,
        saw="2 s for two sleeps of 2 s",
        saw_seconds={SLEEPS: [2.0]},
        teaches="A call that waits gives the GIL up first and takes it back afterwards. So "
        "threads are enough for a program that waits: for the network, a disk, another program.",
        measures="time until all sleeps are over",
        unit="s",
        source=[sleep_in_threads, in_threads],
        open=_open_sleep,
        claims=_sleep_claims,
        cpus=1,
        computes_on=0,
    ),
    _io(
        "io-vs-python",
        "a thread that sleeps, beside pure Python that computes",
        "it woke after 1.006, 1.010, 1.007 and 1.007 s; the computation took 4.31 s",
        [0.006, 0.010, 0.007, 0.007],
        "Who wakes must wait for the GIL, and the interpreter asks who holds it to let go after "
        "one switch interval, 5 ms. So the sleeper is a little late, each time.",
        work.count_python,
        _python_claims,
        [work.count_python, late_beside],
    ),
    _io(
        "io-vs-numpy",
        "a thread that sleeps, beside NumPy that computes",
        "it woke after 1.000, 1.001, 1.000 and 1.132 s; the computation took 4.13 s",
        [0.000, 0.001, 0.000, 0.132],
        "NumPy gives the GIL up while it computes on large arrays, so the sleeper finds it free. "
        "That is up to each library, and to the size of the arrays.",
        work.count_numpy,
        _on_time_claims,
        [work.count_numpy, late_beside],
        needs="numpy",
    ),
    _io(
        "io-vs-extension-holding",
        "a thread that sleeps, beside C++ that computes and keeps the GIL",
        "it woke after 4.415 s, when the computation, 4.415 s long, was over",
        [3.415],
        "The interpreter can ask for the GIL, but only Python code listens: C++ that does not "
        "return keeps it. Other threads starve, those of a pool of threads as well; a worker with "
        "a GIL of its own starves nobody.",
        work.count_holding,
        _starving_claims,
        [_EXTENSION.format("holding", "  count_to(n);\n"), late_beside],
    ),
    _io(
        "io-vs-extension-releasing",
        "a thread that sleeps, beside C++ that computes and gives the GIL up",
        "it woke after 1.003, 1.003, 1.003 and 1.177 s; the computation took 4.19 s",
        [0.003, 0.003, 0.003, 0.177],
        "Two macros around the loop give the GIL up and take it back. An extension that "
        "computes for long owes them to every other thread.",
        work.count_releasing,
        _on_time_claims,
        [
            _EXTENSION.format(
                "releasing",
                "  Py_BEGIN_ALLOW_THREADS;\n  count_to(n);\n  Py_END_ALLOW_THREADS;\n",
            ),
            late_beside,
        ],
    ),
)
