# SPDX-License-Identifier: BSD-3-Clause
"""What does large data cost: as an argument and as a result, against pools and one memcpy?

An argument is summed by the task, a result by the caller; the floor does the same in one process:
it copies the argument into memory that it has used before, or makes the result itself. All warm:
every contender has its practice turn. `first-…` is what comes before: from no pool to the result of
the first array, and of the next one. `bytes-…` is a real `bytes` in the worker, looked at end to
end. `small-…` and `frame-…` are round trips, of what the task returns as it came. `handler-…` is a
task that keeps its arrays, where they lie in the arena from the start (NEP 49), and where not.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from harness.contest import Variant, floor, main, pools
from harness.executors import INTERPRETERS, KINDS, OWNGIL, POOL, PPE, Face
from harness.figures import Goal, Metric, Samples
from harness.turns import Contender, Settings, Turn

_KIB = 1024
_MIB = 1024 * 1024
_MEMCPY = "memcpy"
_HERE = "this process"
_NO_HANDLER = "no handler"
_PEERS = (OWNGIL, PPE, POOL, "loky", "joblib", "Ray")


def ones(size: int) -> Any:
    """An array of so many bytes."""
    import numpy

    return numpy.ones(size // 8)


def total(array: Any) -> float:
    """The sum of it."""
    return float(array.sum())


def same(value: Any) -> Any:
    """What came."""
    return value


def ends(data: bytes) -> int:
    """Reads one byte of each page."""
    return sum(data[::4096])


def repeats(settings: Settings, size: int) -> int:
    """So often a turn, that it is not all noise."""
    return 1 if settings.quick else max(3, min(2000, 64 * _MIB // size))


def timed(call: Callable[[], Any], expected: Any, count: int) -> list[float]:
    """How long each call took; each must give the same."""
    seconds = []
    for _ in range(count if count >= 100 else 0):  # until who waits and who is waited for spin
        call()
    for _ in range(count):
        began = time.perf_counter()
        result = call()
        seconds.append(time.perf_counter() - began)
        if result != expected:
            raise AssertionError("wrong result")
        del result
    return seconds


def caller(face: Face) -> Callable[[Callable[[Any], Any], Any], Any]:
    """One call and its result, as the pool has it."""
    if (submit := face.submit) is None:
        return lambda function, argument: next(iter(face.map(function, [argument], None)))
    return lambda function, argument: submit(function, argument).result()


@cache
def shared_ones(size: int) -> Any:
    """One for all contenders."""
    return ones(size)


def argument(size: int) -> Variant:
    """An array goes to a task, which sums it."""

    def measure(face: Face, settings: Settings, number: int) -> Samples:
        call, array = caller(face), shared_ones(size)
        count = repeats(settings, size)
        return {"call": timed(lambda: call(total, array), size // 8, count)}

    @contextmanager
    def copied(settings: Settings) -> Iterator[Turn]:
        array, copy = shared_ones(size), ones(size)

        def call() -> float:
            copy[:] = array
            return total(copy)

        yield lambda number: {"call": timed(call, size // 8, repeats(settings, size))}

    goals = [Goal("call", "within", 1.3, _MEMCPY)] if size == 100 * _MIB else []
    return variant(f"argument-{named(size)}", "an array as an argument, summed by the task", [
        *pools(_PEERS, measure), floor(_MEMCPY, copied)
    ], goals, (_MEMCPY, PPE))  # fmt: skip


def result(size: int) -> Variant:
    """A task makes an array, and the caller sums it."""

    def measure(face: Face, settings: Settings, number: int) -> Samples:
        call = caller(face)
        count = repeats(settings, size)
        return {"call": timed(lambda: total(call(ones, size)), size // 8, count)}

    @contextmanager
    def made_here(settings: Settings) -> Iterator[Turn]:
        yield lambda number: {
            "call": timed(lambda: total(ones(size)), size // 8, repeats(settings, size))
        }

    goals = [Goal("call", "within", 1.2, _HERE)] if size == 100 * _MIB else []
    return variant(f"result-{named(size)}", "an array as a result, summed by the caller", [
        *pools(_PEERS, measure), floor(_HERE, made_here)
    ], goals, (_HERE, PPE))  # fmt: skip


def cold(size: int) -> Variant:
    """A pool that is opened for the array, whose workers have not seen one yet."""

    def contender(name: str) -> Contender:
        kind = KINDS[name]

        @contextmanager
        def open_(settings: Settings) -> Iterator[Turn]:
            array = shared_ones(size)

            def turn(number: int) -> Samples:
                times = [time.perf_counter()]
                with kind.open(settings.workers) as face:
                    call = caller(face)
                    for function, value, expected in (
                        (abs, -1, 1),
                        (imported, "numpy", "numpy"),
                        (total, array, size // 8),
                        (total, array, size // 8),
                    ):
                        if call(function, value) != expected:
                            raise AssertionError("wrong result")
                        times.append(time.perf_counter())
                begun, opened, importing, first, second = times
                return {
                    "all": [first - begun],
                    "pool": [opened - begun],
                    "import": [importing - opened],
                    "first": [first - importing],
                    "next": [second - first],
                }

            yield turn

        return Contender(name, open_, kind.missing)

    goals = [Goal("all", "better", 1, PPE)] if size >= 100 * _MIB else []
    return Variant(
        f"first-{named(size)}",
        "from no pool to the sum of the first array: the pool, NumPy in the worker, the array",
        [*map(contender, (OWNGIL, PPE, f"{PPE} forkserver", POOL, "loky"))],
        tuple(
            Metric(name, "latency", "ms", 1e3)
            for name in ("all", "pool", "import", "first", "next")
        ),
        # A fork of this process has NumPy already, which counts more than a small array.
        [*goals, Goal("first", "better", 1, PPE)],
        references=(PPE,),
        rounds=5,
    )


def imported(name: str) -> str:
    """The module is there."""
    return __import__(name).__name__


def whole_bytes(size: int) -> Variant:
    """A real `bytes` in the worker."""

    def measure(face: Face, settings: Settings, number: int) -> Samples:
        call, data = caller(face), bytes(size)
        return {"call": timed(lambda: call(ends, data), 0, repeats(settings, size))}

    goals = [
        Goal("call", "better", 10, PPE),
        Goal("call", "better", 10, POOL),
        Goal("call", "better", 10, "loky"),
        Goal("call", "better", 2, INTERPRETERS),
    ]
    return variant(f"bytes-{named(size)}", "bytes as an argument", [
        *pools((*_PEERS, INTERPRETERS), measure)
    ], goals, (PPE,))  # fmt: skip


def small(size: int) -> Variant:
    """There and back."""

    def measure(face: Face, settings: Settings, number: int) -> Samples:
        call, array = caller(face), ones(size)
        count = repeats(settings, size)
        return {"call": timed(lambda: len(call(same, array)), size // 8, count)}

    return variant(
        f"small-{named(size)}",
        "an array there and back",
        [*pools([name for name in _PEERS if name != "joblib"], measure)],  # 10 ms a call
        [Goal("call", "better", 10, PPE)] if size >= 4 * _KIB else [],
        (PPE,),
    )


def shared(size: int) -> Variant:
    """Put once; each task gets its name and looks at one item."""

    @contextmanager
    def open_(settings: Settings) -> Iterator[Turn]:
        import owngil

        def measure(number: int) -> Samples:
            call = lambda: pool.submit(first, one).result()  # noqa: E731 - as a user writes it
            return {"call": timed(call, 1.0, 20 if settings.quick else 2000)}

        with owngil.Pool(settings.workers) as pool, pool.share(ones(size)) as one:
            yield measure

    return variant(f"shared-{named(size)}", "a shared array as an argument", [
        floor(OWNGIL, open_)
    ], [Goal("call", "at most", 0.02)], ())  # fmt: skip


def frame(size: int) -> Variant:
    """A DataFrame of mixed numeric columns, there and back."""

    def measure(face: Face, settings: Settings, number: int) -> Samples:
        import numpy
        import pandas

        call, rows = caller(face), size // 64
        columns: dict[str, Any] = {f"x{n}": numpy.ones(rows) for n in range(5)}
        columns |= {f"n{n}": numpy.ones(rows, "int64") for n in range(3)}
        data = pandas.DataFrame(columns)
        count = repeats(settings, 2 * size)
        return {"call": timed(lambda: len(call(same, data)), rows, count)}

    return variant(
        f"frame-{named(size)}",
        "a DataFrame there and back",
        [*pools(_PEERS, measure)],
        [Goal("call", "better", 20, PPE)],
        (PPE,),
    )


def arithmetic(size: int) -> float:
    """Arrays that come and go within a task."""
    import numpy

    array = numpy.ones(size // 8)
    return float((array * 2 + 1).sum())


def handler(size: int) -> Variant:
    """Tasks that return nothing large, in workers whose arrays lie in the arena, and in others."""

    def opened(has_returned: bool) -> Callable[[Settings], Any]:
        @contextmanager
        def open_(settings: Settings) -> Iterator[Turn]:
            import owngil

            with owngil.Pool(1) as pool:
                if has_returned:  # from now on it is in place
                    pool.submit(ones, _MIB).result()
                call = lambda: pool.submit(arithmetic, size).result()  # noqa: E731
                yield lambda number: {
                    "call": timed(call, 3.0 * (size // 8), repeats(settings, size))
                }

        return open_

    return variant(f"handler-{named(size)}", "a task with arrays of its own", [
        floor(OWNGIL, opened(True)), floor(_NO_HANDLER, opened(False))
    ], [Goal("call", "within", 1.03, _NO_HANDLER)], (_NO_HANDLER,))  # fmt: skip


def first(array: Any) -> float:
    """One item."""
    return float(array[0])


def named(size: int) -> str:
    """As people write it."""
    return f"{size // _MIB}mib" if size >= _MIB else f"{size // _KIB}kib"


def variant(
    name: str,
    title: str,
    contenders: list[Contender],
    goals: list[Goal],
    references: tuple[str, ...],
) -> Variant:
    """All are told in the same way."""
    metrics = (Metric("call", "latency", "ms", 1e3),)
    return Variant(name, title, contenders, metrics, goals, references=references, rounds=5)


VARIANTS = (
    *(argument(size) for size in (_MIB, 16 * _MIB, 100 * _MIB, 256 * _MIB, 1024 * _MIB)),
    *(result(size) for size in (_MIB, 16 * _MIB, 100 * _MIB, 256 * _MIB)),
    *(cold(size) for size in (_MIB, 100 * _MIB)),
    whole_bytes(64 * _MIB),
    *(shared(size) for size in (_MIB, 100 * _MIB)),
    frame(100 * _MIB),
    *(handler(size) for size in (64 * _KIB, 4 * _MIB)),
    *(small(size) for size in (_KIB, 4 * _KIB, 16 * _KIB, 64 * _KIB, 256 * _KIB)),
)

if __name__ == "__main__":
    main(__doc__, VARIANTS)
