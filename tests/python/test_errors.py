# SPDX-License-Identifier: BSD-3-Clause
"""What goes wrong in a task, or on its way, is told by its future and hurts nothing else."""

from __future__ import annotations

import pickle
import sys
import traceback
import types
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool

import pytest
import tasks

import owngil


@pytest.fixture
def pool() -> Iterator[owngil.Pool]:
    """One worker, which must be the same one after the test as before."""
    with owngil.Pool(1) as pool:
        before = pool.submit(tasks.rank_and_pid).result()
        yield pool
        assert pool.submit(tasks.rank_and_pid).result() == before


def test_an_exception_comes_back_with_its_type_and_arguments(pool: owngil.Pool) -> None:
    with pytest.raises(OSError, match="gone") as caught:
        pool.submit(tasks.fail, FileNotFoundError, 2, "gone", "a/file").result()
    assert type(caught.value) is FileNotFoundError
    assert caught.value.errno == 2
    assert caught.value.filename == "a/file"


def test_the_workers_traceback_is_shown_under_the_exception(pool: owngil.Pool) -> None:
    error = pool.submit(tasks.fail, ValueError, "a word").exception()
    assert error is not None
    assert "raise kind(*args)" in str(error.__cause__)
    text = "".join(traceback.format_exception(error))
    assert "_RemoteTraceback" in text
    assert "tasks.py" in text
    assert text.count("ValueError: a word") == 2


def test_causes_and_contexts_are_in_the_workers_traceback(pool: owngil.Pool) -> None:
    def chain() -> None:
        try:
            raise KeyError("first")
        except KeyError as error:
            raise ValueError("second") from error

    with pytest.raises(ValueError, match="second") as caught:
        pool.submit(chain).result()
    assert "KeyError: 'first'" in str(caught.value.__cause__)


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_an_exception_that_is_no_error_comes_back_too(
    pool: owngil.Pool, kind: type[BaseException]
) -> None:
    assert type(pool.submit(tasks.fail, kind, 3).exception()) is kind


def test_an_exception_group_comes_back(pool: owngil.Pool) -> None:
    group = ExceptionGroup("several", [ValueError(1), KeyError(2)])
    error = pool.submit(tasks.fail, lambda: group).exception()
    assert isinstance(error, ExceptionGroup)
    assert [type(inner) for inner in error.exceptions] == [ValueError, KeyError]


def test_notes_on_an_exception_come_back(pool: owngil.Pool) -> None:
    def with_note() -> None:
        error = ValueError("x")
        error.add_note("look here")
        raise error

    error = pool.submit(with_note).exception()
    assert error is not None
    assert error.__notes__ == ["look here"]


def test_an_exception_that_cannot_be_pickled_arrives_as_text(pool: owngil.Pool) -> None:
    error = pool.submit(tasks.fail, tasks.HoldsALockError, "a word").exception()
    assert isinstance(error, owngil.RemoteError)
    assert error.type_name.endswith("HoldsALockError")
    assert error.message == "a word"
    assert "raise kind(*args)" in error.traceback


def test_an_exception_that_cannot_be_unpickled_here_arrives_as_text(pool: owngil.Pool) -> None:
    error = pool.submit(tasks.fail, tasks.FarFromHomeError, 1, 2).exception()
    assert isinstance(error, owngil.RemoteError)
    assert error.type_name.endswith("FarFromHomeError")
    assert error.message == "1 and 2"
    assert "raise kind(*args)" in error.traceback


def test_a_result_that_cannot_be_pickled_is_a_remote_error(pool: owngil.Pool) -> None:
    error = pool.submit(tasks.make_lock).exception()
    assert isinstance(error, owngil.RemoteError)
    assert "pickle" in str(error)
    assert "lock" in str(error)


def test_a_result_that_cannot_be_unpickled_here_is_a_remote_error(pool: owngil.Pool) -> None:
    error = pool.submit(tasks.Unhappy, ValueError("not today")).exception()
    assert isinstance(error, owngil.RemoteError)
    assert "ValueError" in str(error)
    assert "not today" in str(error)


def test_a_remote_error_can_be_pickled() -> None:
    error = owngil.RemoteError("m.Kind", "a word", "a traceback")
    again = pickle.loads(pickle.dumps(error))
    assert (again.type_name, again.message, again.traceback) == ("m.Kind", "a word", "a traceback")


def test_an_argument_that_cannot_be_pickled_fails_its_future_by_position(
    pool: owngil.Pool,
) -> None:
    future = pool.submit(tasks.capture, 1, tasks.make_lock())
    error = future.exception()
    assert isinstance(error, TypeError | pickle.PicklingError)
    text = "".join(traceback.format_exception(error))
    assert "argument 2" in text
    assert "lock" in text


def test_an_argument_that_cannot_be_pickled_fails_its_future_by_name(pool: owngil.Pool) -> None:
    error = pool.submit(tasks.capture, 1, word=tasks.make_lock()).exception()
    assert isinstance(error, TypeError | pickle.PicklingError)
    assert "argument 'word'" in "".join(traceback.format_exception(error))


def test_an_argument_that_raises_while_it_is_pickled_fails_its_future(pool: owngil.Pool) -> None:
    class Stubborn:
        def __reduce__(self) -> str:
            raise LookupError("I stay here")

    error = pool.submit(tasks.echo, Stubborn()).exception()
    assert isinstance(error, LookupError)


def test_an_argument_that_raises_while_it_is_unpickled_fails_its_future(pool: owngil.Pool) -> None:
    error = pool.submit(tasks.echo, tasks.Unhappy(ValueError("not today"))).exception()
    assert error is not None
    assert "not today" in "".join(traceback.format_exception(error))


def test_a_function_from_a_module_that_the_worker_lacks_fails_its_future(
    pool: owngil.Pool,
) -> None:
    module = types.ModuleType("only_here")
    exec("def f(): return 1", module.__dict__)
    sys.modules["only_here"] = module
    try:
        outcome = pool.submit(module.f).exception() or pool.submit(module.f).result()
    finally:
        del sys.modules["only_here"]
    assert outcome == 1 or isinstance(outcome, ModuleNotFoundError)


def test_a_class_from_a_module_that_the_worker_lacks_fails_its_future(pool: owngil.Pool) -> None:
    module = types.ModuleType("only_here_too")
    exec("class C:\n    word = 1", module.__dict__)
    sys.modules["only_here_too"] = module
    try:
        error = pool.submit(tasks.echo, module.C()).exception()
    finally:
        del sys.modules["only_here_too"]
    assert error is None or isinstance(error, ModuleNotFoundError | AttributeError)


def test_an_argument_that_raises_when_it_is_deleted_hurts_nobody(pool: owngil.Pool) -> None:
    def make_and_drop() -> int:
        return len([tasks.UnhappyToGo("never mind")])

    assert pool.submit(make_and_drop).result() == 1
    assert pool.submit(tasks.echo, 1).result() == 1


def test_an_error_in_one_task_leaves_the_others_alone(pool: owngil.Pool) -> None:
    futures = [pool.submit(tasks.raise_at, number, 5) for number in range(10)]
    outcomes = [future.exception() or future.result() for future in futures]
    assert isinstance(outcomes[5], ValueError)
    assert [*outcomes[:5], *outcomes[6:]] == [0, 1, 2, 3, 4, 6, 7, 8, 9]


def test_a_task_that_exhausts_the_stack_raises_recursion_error(pool: owngil.Pool) -> None:
    def deeper(depth: int) -> int:
        return deeper(depth + 1)

    assert isinstance(pool.submit(deeper, 0).exception(), RecursionError)


def test_worker_died_is_what_the_standard_pool_would_have_raised() -> None:
    assert issubclass(owngil.WorkerDied, BrokenProcessPool)
    assert issubclass(owngil.PoolBroken, BrokenProcessPool)
