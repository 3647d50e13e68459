# SPDX-License-Identifier: BSD-3-Clause
"""Arguments, results and exceptions that the tagged codec leaves over."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pytest
from lone_worker import LoneWorker

from owngil import _errors, _pickling

PACKAGE = Path(_pickling.__file__).parents[1]


@pytest.fixture
def worker() -> Iterator[LoneWorker]:
    with LoneWorker() as worker:
        yield worker


class CannotBeMade(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


class HoldsALock(Exception):
    def __init__(self) -> None:
        super().__init__("a word")
        self.lock = threading.Lock()


class HasNoWords(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__


class Refuses:
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __reduce__(self) -> str:
        raise self.error


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


def there_and_back(error: BaseException) -> BaseException:
    return _pickling.load_exception(_pickling.dump_exception(raised(error)))


def fail(kind: type[BaseException], *args: Any) -> None:
    raise kind(*args)


def loads_badly() -> Any:
    raise ValueError("not here")


class LoadsBadly:
    def __reduce__(self) -> Any:
        return loads_badly, ()


def test_a_call_is_pickled_with_its_arguments() -> None:
    data = _pickling.dump_arguments((1, [2]), {"x": 3})
    assert pickle.loads(data) == ((1, [2]), {"x": 3})
    assert pickle.loads(_pickling.dump_arguments((), None)) == ((), {})


def test_shared_references_and_cycles_stay_within_a_call() -> None:
    ring: list[Any] = []
    ring.append(ring)
    (one, two, _), kwargs = pickle.loads(_pickling.dump_arguments((ring, ring, 1), {"x": ring}))
    assert one is two is one[0] is kwargs["x"]


def test_what_plain_pickle_refuses_goes_by_value() -> None:
    (function,), _ = pickle.loads(_pickling.dump_arguments((lambda x: x + 1,), None))
    assert function(1) == 2


@pytest.mark.parametrize(
    ("args", "kwargs", "name"),
    [
        ((1, threading.Lock()), None, "argument 2"),
        ((threading.Lock(), threading.Lock()), None, "argument 1"),
        ((1,), {"a": 1, "b": threading.Lock()}, "argument 'b'"),
        ((lambda: lock,), None, "argument 1"),
    ],
)
def test_an_argument_that_cannot_be_pickled_is_named(
    args: tuple[Any, ...], kwargs: dict[str, Any] | None, name: str
) -> None:
    with pytest.raises(TypeError, match=f"cannot pickle.*lock.*{name}"):
        _pickling.dump_arguments(args, kwargs)


lock = threading.Lock()


def test_the_pickling_error_keeps_its_type() -> None:
    with pytest.raises(pickle.PicklingError, match=r"a word \(argument 1\)"):
        _pickling.dump_arguments((Refuses(pickle.PicklingError("a word")),), None)
    with pytest.raises(LookupError) as caught:
        _pickling.dump_arguments((Refuses(LookupError(1, 2)),), None)
    assert caught.value.args == (1, 2)
    assert caught.value.__notes__[-1] == "(argument 1)"  # 3.14 says more, before


def test_an_exception_comes_back_with_the_workers_traceback_as_its_cause() -> None:
    original = ValueError(1, "two")
    original.add_note("a note")
    error = there_and_back(original)
    assert type(error) is ValueError
    assert error.args == (1, "two")
    assert error.__notes__ == ["a note"]
    text = str(error.__cause__)
    assert text.startswith('\n"""\nTraceback (most recent call last):\n')
    assert text.endswith('a note\n"""')
    assert "raise error" in text
    shown = "".join(traceback.format_exception(error))
    assert "_RemoteTraceback:" in shown
    assert "The above exception was the direct cause of the following exception" in shown


def test_the_worker_keeps_no_frames_of_a_failed_task() -> None:
    error = raised(ValueError())
    assert error.__traceback__ is not None
    _pickling.dump_exception(error)
    assert error.__traceback__ is None


def test_causes_are_in_the_text() -> None:
    error = ValueError("second")
    error.__cause__ = KeyError("first")
    assert "KeyError: 'first'" in str(there_and_back(error).__cause__)


def test_groups_and_system_exit_come_back() -> None:
    group = there_and_back(ExceptionGroup("several", [ValueError(1), KeyError(2)]))
    assert isinstance(group, ExceptionGroup)
    assert [type(inner) for inner in group.exceptions] == [ValueError, KeyError]
    leaving = there_and_back(SystemExit(3))
    assert isinstance(leaving, SystemExit)
    assert leaving.code == 3


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (CannotBeMade(1, 2), "1 and 2"),
        (HoldsALock(), "a word"),
        (HasNoWords(), "<its str() failed>"),
    ],
)
def test_an_exception_that_cannot_travel_arrives_as_text(error: Exception, message: str) -> None:
    remote = there_and_back(error)
    if isinstance(error, HasNoWords):
        assert isinstance(remote, HasNoWords)
        return
    assert isinstance(remote, _errors.RemoteError)
    assert remote.type_name.endswith(type(error).__name__)
    assert remote.message == message
    assert "raise error" in remote.traceback
    assert str(remote) == f"{remote.type_name}: {message}"
    assert "raise error" in str(remote.__cause__)


def test_reading_a_failure_never_raises() -> None:
    assert isinstance(_pickling.load_exception(b"rubbish"), _errors.RemoteError)
    assert isinstance(_pickling.load_exception(pickle.dumps((1,))), _errors.RemoteError)
    data = pickle.dumps(("T", "m", "", pickle.dumps(7)))
    assert str(_pickling.load_exception(data)) == "T: m"


def test_a_result_that_cannot_be_pickled_is_a_remote_error_and_what_the_standard_pool_raises(
    worker: LoneWorker,
) -> None:
    with pytest.raises(_errors.RemoteError, match="a result of type lock cannot be pickled") as one:
        worker.submit(threading.Lock)
    assert isinstance(one.value, TypeError)
    assert "TypeError" in one.value.type_name
    with pytest.raises(_errors.RemoteError) as two:
        worker.submit(Refuses, pickle.PicklingError("no"))
    assert isinstance(two.value, pickle.PicklingError)


def test_a_result_that_cannot_be_unpickled_is_a_remote_error(worker: LoneWorker) -> None:
    with pytest.raises(_errors.RemoteError, match="does not unpickle here: not here") as caught:
        worker.submit(LoadsBadly)
    assert isinstance(caught.value, BrokenProcessPool)
    assert isinstance(caught.value.__cause__, ValueError)
    assert worker.submit(len, "ab") == 2


def test_arguments_that_cannot_be_unpickled_are_a_remote_error() -> None:
    error = _pickling.undecodable_call(ModuleNotFoundError("No module named 'x'", name="x"))
    for again in (error, there_and_back(error)):
        assert isinstance(again, _errors.RemoteError)
        assert isinstance(again, ModuleNotFoundError)
        assert isinstance(again, BrokenProcessPool)
        assert "No module named 'x'" in str(again)
    plain = _pickling.undecodable_call(UnicodeDecodeError("a", b"", 0, 1, "why"))
    assert isinstance(plain, _errors.RemoteError)


def test_remote_errors_and_deaths_can_be_pickled_again() -> None:
    error = _errors.remote_error("m.Kind", "a word", "a traceback", (TypeError,))
    data = (error.type_name, error.message, error.traceback)
    make, arguments = error.__reduce__()
    assert type(make(*arguments)) is type(error)
    assert arguments == (*data, (TypeError,))
    died = _errors.WorkerDied("gone", signal=9, pid=3, rank=1)
    make, arguments, state = died.__reduce__()
    assert arguments == ("gone",)
    assert state == vars(died)
    assert {"exitcode": None, "signal": 9, "pid": 3, "rank": 1}.items() <= state.items()
    assert issubclass(_errors.WorkerDied, BrokenProcessPool)
    assert issubclass(_errors.PoolBroken, BrokenProcessPool)


def test_nothing_dear_is_imported_before_it_is_needed() -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(PACKAGE)!r}); before = set(sys.modules)\n"
        "from owngil import _worker, _pickling, _functions, _context, _errors\n"
        "table = _functions.FunctionTable(lambda blob, _: print(blob) or 1, print, print)\n"
        "_context.apply(_context.capture())\n"
        "function, _, _ = _worker.load_function(b'Rposixpath\\0join')\n"
        "new = set(sys.modules) - before\n"
        "dear = {'pickle', '_pickle', 'cloudpickle', 'traceback', 'typing', 're', 'inspect',\n"
        "        'multiprocessing', 'concurrent', 'collections', 'functools', 'dataclasses'}\n"
        "print(function('a', 'b'), sorted(new & dear))\n"
    )
    out = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True)
    assert out.stdout == "a/b []\n", out.stderr
