# SPDX-License-Identifier: BSD-3-Clause
"""NumPy's arrays in the worker's arena: handed over if nobody else has them, else copied."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from typing import Any

import pytest
import tasks

import owngil

numpy = pytest.importorskip("numpy")

pytestmark = pytest.mark.kinds("process")  # NumPy refuses to load in interpreters

LARGE = 100_000


@pytest.fixture
def pool() -> Iterator[owngil.Pool]:
    """One worker that has returned something large: from then on NumPy's memory is its arena."""
    with owngil.Pool(1) as pool:
        pool.submit(numpy.ones, LARGE).result()
        yield pool


def place(array: Any) -> tuple[str, int]:
    """The file that an array's memory is mapped from, and where in it."""
    address = array.ctypes.data
    with open("/proc/self/maps") as maps:
        for line in maps:
            span, _, offset, _, _, *path = line.split()
            begin, end = (int(one, 16) for one in span.split("-"))
            if begin <= address < end:
                return (path[0] if path else ""), int(offset, 16) + address - begin
    raise LookupError(hex(address))


def _make_and_tell(*shape: int) -> tuple[Any, tuple[str, int]]:
    array = numpy.full(shape, 3.0)
    return array, place(array)


def test_an_array_that_a_task_lets_go_of_is_not_copied(pool: owngil.Pool) -> None:
    array, there = pool.submit(_make_and_tell, 100, 2000).result()
    assert "owngil-results" in there[0]
    assert place(array)[1] == there[1]
    assert (array == 3).all()


_kept: list[Any] = []


def _make_and_keep() -> tuple[Any, tuple[str, int]]:
    array = numpy.full(LARGE, 3.0)
    _kept.append(array)
    return array, place(array)


def _change_kept() -> float:
    for array in _kept:
        array += 1
    return float(sum(array[0] for array in _kept))


def test_an_array_that_a_task_keeps_is_copied(pool: owngil.Pool) -> None:
    array, there = pool.submit(_make_and_keep).result()
    assert "owngil-results" in there[0]
    assert place(array)[1] != there[1]
    assert pool.submit(_change_kept).result() == 4
    assert (array == 3).all()
    again, there = pool.submit(_make_and_keep).result()
    assert pool.submit(_change_kept).result() == 5 + 4
    assert (array == 3).all()
    assert (again == 3).all()


def _views() -> tuple[Any, ...]:
    array = numpy.arange(2 * LARGE)
    return array, array[:LARGE], array[LARGE:], array.view("float64"), array[::-1]


def test_views_of_one_array_arrive_as_arrays_of_their_own(pool: owngil.Pool) -> None:
    whole, head, tail, other, backwards = pool.submit(_views).result()
    expected = numpy.arange(2 * LARGE)
    assert (whole == expected).all()
    assert (head == expected[:LARGE]).all()
    assert (tail == expected[LARGE:]).all()
    assert (other.view("int64") == expected).all()
    assert (backwards == expected[::-1]).all()


def _resized() -> Any:
    array = numpy.arange(LARGE)
    array.resize(3 * LARGE, refcheck=False)
    array[LARGE:] = 7
    array.resize(2 * LARGE, refcheck=False)
    return array


def test_an_array_may_grow_and_shrink(pool: owngil.Pool) -> None:
    array = pool.submit(_resized).result()
    assert (array[:LARGE] == numpy.arange(LARGE)).all()
    assert (array[LARGE:] == 7).all()


def test_zeros_are_zeros_in_memory_that_was_used_before(pool: owngil.Pool) -> None:
    for _ in range(5):
        pool.submit(numpy.ones, LARGE).result()
        assert not pool.submit(numpy.zeros, LARGE).result().any()


def _objects() -> list[Any]:
    return [len(one) for one in numpy.array([[1]] * LARGE, dtype=object)[:3]]


def test_arrays_of_objects_live_there_too(pool: owngil.Pool) -> None:
    assert pool.submit(_objects).result() == [1, 1, 1]
    back = pool.submit(numpy.full, LARGE, None).result()
    assert back.dtype == object
    assert back[-1] is None


def _fork_with_arrays() -> tuple[int, float, float]:
    """What a child of fork sees and writes is its own, and so is what its parent does."""
    array = numpy.full(LARGE, 1.0)
    forks = numpy.full(LARGE, 2.0)
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.read(reading, 1)  # until the parent has written
        seen = array.sum() == LARGE and forks.sum() == 2 * LARGE
        array += 10
        grown = numpy.concatenate([array, forks])
        os._exit(0 if seen and grown.sum() == 13 * LARGE else 1)
    array += 4
    os.write(writing, b"x")
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.close(reading)
    os.close(writing)
    return status, float(array.sum()), float(forks.sum())


def test_a_task_that_forks_has_arrays_as_any_process_has(pool: owngil.Pool) -> None:
    for _ in range(3):
        assert pool.submit(_fork_with_arrays).result() == (0, 5 * LARGE, 2 * LARGE)
    assert (pool.submit(numpy.ones, LARGE).result() == 1).all()


def test_arrays_that_a_task_keeps_last_until_the_worker_is_gone() -> None:
    with owngil.Pool(1, max_tasks_per_child=3) as pool:
        for _ in range(4):
            pool.submit(numpy.ones, LARGE).result()
            pool.submit(_make_and_keep).result()
            assert pool.submit(_change_kept).result() == 4


def test_a_dead_worker_leaves_nothing_but_what_the_user_holds(pool: owngil.Pool) -> None:
    held = [pool.submit(numpy.full, LARGE, n).result() for n in range(4)]
    held[1:3] = []
    dying = pool.submit(tasks.end_by_signal)
    assert isinstance(dying.exception(), owngil.WorkerDied)
    assert (pool.submit(numpy.ones, LARGE).result() == 1).all()
    assert [int(one[0]) for one in held] == [0, 3]
    held[0] += 1
    assert held[0].sum() == LARGE


# --- handlers of a task's own (NEP 49), which NumPy lets C code set

SET_HANDLER, GET_HANDLER, DEFAULT_HANDLER = 304, 305, 306  # in NumPy's table of functions
HEADER = 64


class _Handler(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char * 127),
        ("version", ctypes.c_uint8),
        ("context", ctypes.c_void_p),
        ("malloc", ctypes.c_void_p),
        ("calloc", ctypes.c_void_p),
        ("realloc", ctypes.c_void_p),
        ("free", ctypes.c_void_p),
    ]


_Malloc = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
_Calloc = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t)
_Realloc = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
_Free = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)

_of_the_worker: list[Any] = []  # handlers and what they call: arrays may outlive the task


def _pointer(capsule: Any) -> int:
    of = ctypes.pythonapi.PyCapsule_GetPointer
    of.restype, of.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    name = ctypes.pythonapi.PyCapsule_GetName
    name.restype, name.argtypes = ctypes.c_char_p, (ctypes.py_object,)
    found: int = of(capsule, name(capsule))
    return found


def _numpy_function(place: int) -> int:
    core = getattr(numpy, "_core", None) or numpy.core
    table = ctypes.cast(
        _pointer(core._multiarray_umath._ARRAY_API), ctypes.POINTER(ctypes.c_void_p)
    )
    return table[place] or 0


def _handler_now() -> _Handler:
    get = ctypes.PYFUNCTYPE(ctypes.py_object)(_numpy_function(GET_HANDLER))
    return _Handler.from_address(_pointer(get()))


def _default_handler() -> _Handler:
    capsule = ctypes.cast(_numpy_function(DEFAULT_HANDLER), ctypes.POINTER(ctypes.py_object))
    return _Handler.from_address(_pointer(capsule.contents.value))


def _install(handler: _Handler, *kept: Any) -> None:
    make = ctypes.pythonapi.PyCapsule_New
    make.restype = ctypes.py_object
    make.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
    name = ctypes.create_string_buffer(b"mem_handler")
    capsule = make(ctypes.addressof(handler), ctypes.addressof(name), None)
    put = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object)(_numpy_function(SET_HANDLER))
    _of_the_worker.extend([handler, name, capsule, kept, put(capsule)])


def _renamed(handler: _Handler) -> _Handler:
    copy = _Handler.from_buffer_copy(handler)
    copy.name = b"a task's own"
    return copy


def _install_one_that_asks_the_present_one() -> None:
    _install(_renamed(_handler_now()))


def _install_one_that_asks_numpy() -> None:
    _install(_renamed(_default_handler()))


def _install_one_with_headers() -> None:
    """Each array lies behind a header in what the handler that was there before gives."""
    before = _handler_now()
    malloc, free = _Malloc(before.malloc), _Free(before.free)

    def get(_: int, size: int) -> int:
        data = malloc(before.context, size + HEADER)
        return data + HEADER if data else 0

    def get_zeros(_: int, count: int, size: int) -> int:
        data = get(0, count * size)
        ctypes.memset(data, 0, count * size)
        return data

    def get_more(_: int, data: int, size: int) -> int:
        more = get(0, size)
        ctypes.memmove(more, data, size)  # what lies behind it is nobody's, but there
        free(before.context, data - HEADER, size + HEADER)
        return more

    def let_go(_: int, data: int, size: int) -> None:
        free(before.context, data - HEADER, size + HEADER)

    calls = _Malloc(get), _Calloc(get_zeros), _Realloc(get_more), _Free(let_go)
    pointers = [ctypes.cast(call, ctypes.c_void_p).value for call in calls]
    _install(_Handler(b"with headers", 1, None, *pointers), calls, malloc, free)


def _handler_of_a_new_array() -> str:
    core = getattr(numpy, "_core", None) or numpy.core
    name: str = core.multiarray.get_handler_name(numpy.ones(LARGE))
    return name


def _check_that_arrays_come_and_go(pool: owngil.Pool) -> None:
    held = []
    for n in range(6):
        array, _ = pool.submit(_make_and_tell, LARGE + n).result()
        held.append(array)
        assert pool.submit(_resized).result()[LARGE] == 7
        assert not pool.submit(numpy.zeros, LARGE).result().any()
    assert all((array == 3).all() for array in held)


def test_a_handler_that_asks_ours_costs_no_copy(pool: owngil.Pool) -> None:
    pool.submit(_install_one_that_asks_the_present_one).result()
    assert pool.submit(_handler_of_a_new_array).result() == "a task's own"
    array, there = pool.submit(_make_and_tell, LARGE).result()
    assert "owngil-results" in there[0]
    assert place(array)[1] == there[1]
    _check_that_arrays_come_and_go(pool)


def test_a_handler_that_puts_something_before_each_array_is_served(pool: owngil.Pool) -> None:
    kept = pool.submit(_make_and_keep).result()[0]
    pool.submit(_install_one_with_headers).result()
    assert pool.submit(_handler_of_a_new_array).result() == "with headers"
    assert "owngil-results" in pool.submit(_make_and_tell, LARGE).result()[1][0]
    _check_that_arrays_come_and_go(pool)
    assert pool.submit(_change_kept).result() == 4  # of before there were headers
    assert (kept == 3).all()


def test_a_handler_in_the_place_of_ours_gets_its_arrays_copied(pool: owngil.Pool) -> None:
    kept = pool.submit(_make_and_keep).result()[0]
    pool.submit(_install_one_that_asks_numpy).result()
    assert "owngil" not in pool.submit(_make_and_tell, LARGE).result()[1][0]
    _check_that_arrays_come_and_go(pool)
    assert pool.submit(_change_kept).result() == 4
    assert (kept == 3).all()


@pytest.mark.parametrize(
    "install", [_install_one_that_asks_numpy, _install_one_with_headers], ids=["plain", "headers"]
)
def test_ours_asks_a_handler_that_was_there_before(install: Any) -> None:
    with owngil.Pool(1) as pool:
        pool.submit(install).result()
        pool.submit(numpy.ones, LARGE).result()
        assert pool.submit(_handler_of_a_new_array).result() == "owngil"
        array, there = pool.submit(_make_and_tell, LARGE).result()
        assert place(array)[1] == there[1]
        assert (pool.submit(numpy.arange, 10).result() == numpy.arange(10)).all()
        _check_that_arrays_come_and_go(pool)
