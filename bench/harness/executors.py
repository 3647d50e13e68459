# SPDX-License-Identifier: BSD-3-Clause
"""owngil and its peers behind one face, each opened as its own documentation shows.

A peer that is not installed is left out and named in the report.
"""

import importlib
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cache, partial
from typing import Any


@dataclass(frozen=True)
class Face:
    """An open pool. `submit` gives an object with `result()`; `map` keeps the order.

    Each field is a bound method of the pool itself where that has the right signature, so
    that measuring through the face costs nothing.
    """

    submit: Callable[..., Any] | None
    map: Callable[[Callable[..., Any], Sequence[Any], int | None], Iterable[Any]]
    pids: Callable[[], list[int]] = list


@dataclass(frozen=True)
class Kind:
    """A pool that may be installed: `open(workers)` is a context manager of its face."""

    name: str
    module: str
    attribute: str
    open: Callable[[int], AbstractContextManager[Face]]
    needs: tuple[int, int] = (3, 12)  # this Python, or a later one

    def missing(self) -> str:
        """Why it cannot take part; empty if it can."""
        if sys.version_info[:2] < self.needs:
            return "needs Python {}.{}".format(*self.needs)
        try:
            module = importlib.import_module(self.module)
        except ImportError as error:
            return f"not installed ({error})"
        return "" if hasattr(module, self.attribute) else "not in this version of Python"


def _executor_face(executor: Executor, pids: Callable[[], list[int]]) -> Face:
    def map_in_chunks(
        function: Callable[..., Any], items: Sequence[Any], chunksize: int | None
    ) -> Iterable[Any]:
        return executor.map(function, items, chunksize=chunksize or 1)

    return Face(executor.submit, map_in_chunks, pids)


def _open_owngil(kind: str) -> Callable[[int], AbstractContextManager[Face]]:
    @contextmanager
    def open_(workers: int) -> Iterator[Face]:
        import owngil

        with owngil.Pool(workers, kind=kind) as pool:
            yield Face(
                pool.submit,
                lambda function, items, chunksize: pool.map(function, items, chunksize=chunksize),
                # Interpreters have the pid of their host.
                lambda: list({worker.pid for worker in pool.stats().workers if worker.pid}),
            )

    return open_


def _open_standard(name: str, **settings: Any) -> Callable[[int], AbstractContextManager[Face]]:
    @contextmanager
    def open_(workers: int) -> Iterator[Face]:
        kind = getattr(importlib.import_module("concurrent.futures"), name)
        if "start" in settings:
            context = {"mp_context": multiprocessing.get_context(settings["start"])}
        else:
            context = {}
        with kind(max_workers=workers, **context) as executor:
            yield _executor_face(
                executor, lambda: list(getattr(executor, "_processes", None) or ())
            )

    return open_


class _Promise:
    """`result()` for what calls it `get()`."""

    __slots__ = ("result",)

    def __init__(self, waiting: Any) -> None:
        self.result = waiting.get


def _open_multiprocessing(start: str | None) -> Callable[[int], AbstractContextManager[Face]]:
    @contextmanager
    def open_(workers: int) -> Iterator[Face]:
        with multiprocessing.get_context(start).Pool(workers) as pool:
            yield Face(
                lambda function, *arguments: _Promise(pool.apply_async(function, arguments)),
                lambda function, items, chunksize: pool.map(function, items, chunksize),
                lambda: [process.pid for process in pool._pool],  # type: ignore[attr-defined]
            )

    return open_


@contextmanager
def _open_loky(workers: int) -> Iterator[Face]:
    loky = importlib.import_module("loky")
    executor = loky.ProcessPoolExecutor(max_workers=workers)
    try:
        yield _executor_face(executor, lambda: list(executor._processes))
    finally:
        executor.shutdown(wait=True)


@contextmanager
def _open_joblib(workers: int) -> Iterator[Face]:
    joblib = importlib.import_module("joblib")
    with joblib.Parallel(n_jobs=workers) as parallel:
        yield Face(
            None,
            lambda function, items, _: parallel(joblib.delayed(function)(item) for item in items),
        )


@contextmanager
def _open_mpire(workers: int) -> Iterator[Face]:
    mpire = importlib.import_module("mpire")
    with mpire.WorkerPool(n_jobs=workers, keep_alive=True) as pool:

        def map_single(
            function: Callable[..., Any], items: Sequence[Any], chunksize: int | None
        ) -> Iterable[Any]:
            # mpire spreads tuples and dicts over the parameters; a tuple of one stops that.
            wrapped = [(item,) for item in items]
            return pool.map(function, wrapped, chunk_size=chunksize)  # type: ignore[no-any-return]

        yield Face(
            lambda function, *arguments: _Promise(pool.apply_async(function, arguments)),
            map_single,
        )


@contextmanager
def _open_pebble(workers: int) -> Iterator[Face]:
    pebble = importlib.import_module("pebble")
    with pebble.ProcessPool(max_workers=workers) as pool:
        yield Face(
            lambda function, *arguments: pool.schedule(function, args=arguments),
            lambda function, items, chunksize: pool.map(
                function, items, chunksize=chunksize or 1
            ).result(),
        )


@contextmanager
def _open_dask(workers: int) -> Iterator[Face]:
    distributed = importlib.import_module("distributed")
    with (
        distributed.LocalCluster(
            n_workers=workers, threads_per_worker=1, host="127.0.0.1", dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):

        def map_in_batches(
            function: Callable[..., Any], items: Sequence[Any], chunksize: int | None
        ) -> Iterable[Any]:
            futures = client.map(function, items, pure=False, batch_size=chunksize)
            return client.gather(futures)  # type: ignore[no-any-return]

        yield Face(
            partial(client.submit, pure=False),
            map_in_batches,
            lambda: list(client.run(os.getpid).values()),
        )


class _Reference:
    """`result()` for an object that is somewhere in Ray's store."""

    __slots__ = ("_get", "_object")

    def __init__(self, get: Callable[..., Any], object_: Any) -> None:
        self._get = get
        self._object = object_

    def result(self, timeout: float | None = None) -> Any:
        return self._get(self._object, timeout=timeout)


@contextmanager
def _open_ray(workers: int) -> Iterator[Face]:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray = importlib.import_module("ray")
    ray.init(
        num_cpus=workers,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="error",
        _node_ip_address="127.0.0.1",
    )
    remotes: dict[Callable[..., Any], Any] = {}

    def submit(function: Callable[..., Any], *arguments: Any) -> _Reference:
        remote = remotes.get(function)
        if remote is None:
            remote = remotes[function] = ray.remote(function)
        return _Reference(ray.get, remote.remote(*arguments))

    @cache
    def pool() -> Any:  # its actors take the CPUs for themselves, so only who maps has it
        return importlib.import_module("ray.util.multiprocessing").Pool(workers)

    try:
        yield Face(submit, lambda function, items, size: pool().map(function, items, size))
    finally:
        ray.shutdown()


OWNGIL = "owngil"
OWNGIL_INTERPRETERS = "owngil interpreters"
PPE = "ProcessPoolExecutor"
POOL = "multiprocessing.Pool"
THREADS = "ThreadPoolExecutor"
INTERPRETERS = "InterpreterPoolExecutor"

KINDS = {
    kind.name: kind
    for kind in (
        Kind(OWNGIL, "owngil", "Pool", _open_owngil("process")),
        Kind(OWNGIL_INTERPRETERS, "owngil", "Pool", _open_owngil("interpreter"), (3, 13)),
        Kind(PPE, "concurrent.futures", PPE, _open_standard(PPE)),
        Kind(f"{PPE} fork", "concurrent.futures", PPE, _open_standard(PPE, start="fork")),
        Kind(
            f"{PPE} forkserver",
            "concurrent.futures",
            PPE,
            _open_standard(PPE, start="forkserver"),
        ),
        Kind(f"{PPE} spawn", "concurrent.futures", PPE, _open_standard(PPE, start="spawn")),
        Kind(POOL, "multiprocessing", "Pool", _open_multiprocessing(None)),
        Kind(f"{POOL} fork", "multiprocessing", "Pool", _open_multiprocessing("fork")),
        Kind("loky", "loky", "ProcessPoolExecutor", _open_loky),
        Kind("joblib", "joblib", "Parallel", _open_joblib),
        Kind("mpire", "mpire", "WorkerPool", _open_mpire),
        Kind("pebble", "pebble", "ProcessPool", _open_pebble),
        Kind("Dask", "distributed", "LocalCluster", _open_dask),
        Kind("Ray", "ray", "remote", _open_ray),
        Kind(THREADS, "concurrent.futures", THREADS, _open_standard(THREADS)),
        Kind(
            INTERPRETERS, "concurrent.futures", INTERPRETERS, _open_standard(INTERPRETERS), (3, 14)
        ),
    )
}


def worker_pids(face: Face) -> list[int]:
    """The pool's worker processes, as it names them; none for threads."""
    return [pid for pid in face.pids() if pid != os.getpid()]
