# SPDX-License-Identifier: BSD-3-Clause
"""A function keeps its number exactly while nothing that it captures can have changed."""

from __future__ import annotations

import builtins
import functools
import gc
import json
import math
import os.path
import threading
import types
from collections.abc import Callable
from typing import Any

import pytest

from owngil import _worker
from owngil._functions import FunctionTable, full_name, reference


class Table:
    """A function table that can say what it did."""

    def __init__(self) -> None:
        self.blobs: list[bytes] = []
        self.dropped: list[int] = []
        self.successions: list[tuple[int, int]] = []
        self.table = FunctionTable(self._add, self.dropped.append, self._succeed)
        self.number = self.table.number

    def _succeed(self, number: int, before: int) -> None:
        assert before not in self.dropped
        self.successions.append((number, before))

    def _add(self, blob: bytes, name: bytes) -> int:
        assert name
        self.blobs.append(blob)
        return len(self.blobs)

    def reload(self, number: int) -> bool:
        return self.blobs[number - 1][:1] == b"A"

    def live(self) -> int:
        return len(self.blobs) - len(self.dropped)


@pytest.fixture
def table() -> Table:
    return Table()


@pytest.fixture
def define() -> Callable[[str], dict[str, Any]]:
    """Runs source text as a user's `__main__` would be, and returns its globals."""

    def define(source: str) -> dict[str, Any]:
        names: dict[str, Any] = {"__name__": "__main__"}
        exec(source, names)
        return names

    return define


Define = Callable[[str], dict[str, Any]]


class CallableThing:
    def __init__(self) -> None:
        self.word = 1

    def __call__(self) -> int:
        return self.word

    def method(self) -> int:
        return self.word

    @classmethod
    def make(cls) -> CallableThing:
        return cls()


class Unhashable(CallableThing):
    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise AssertionError("nobody asked for equality")


class OutOfReach:
    """Can be neither hashed nor referred to weakly."""

    __slots__ = ("word",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, word: int) -> None:
        self.word = word

    def __call__(self) -> int:
        return self.word


@pytest.mark.parametrize("function", [json.dumps, math.sin, len, CallableThing, os.path.join])
def test_an_importable_function_is_sent_by_where_it_is(
    table: Table, function: Callable[..., Any]
) -> None:
    number = table.number(function)
    assert table.number(function) == number
    place = reference(function)
    assert place is not None
    assert table.blobs == [b"R" + "\0".join(place).encode()]
    assert _worker.load_function(table.blobs[0]) == (function, None, False)


def test_what_hides_behind_another_functions_name_is_not_taken_for_it() -> None:
    @functools.wraps(json.dumps)
    def pretender() -> None:
        pass

    assert reference(json.dumps) == ("json", "dumps")
    assert reference(pretender) is None
    assert reference(lambda: None) is None
    assert reference(functools.partial(json.dumps)) is None
    assert reference(CallableThing().method) is None


@pytest.mark.parametrize(
    ("source", "change"),
    [
        ("x = 1\ndef f(): return x", "x = 2"),
        ("x = 1\ndef f(): return x", "x = True"),
        ("x = 1\ndef f(): return x", "del x"),
        ("def f(): return x", "x = 1"),
        ("def f(): return len('a')", "len = None"),
        ("x = [1]\ndef f(): return x", "x.append(2)"),
        ("x = ([1],)\ndef f(): return x", "x[0].append(2)"),
        ("def g(): return 1\ndef f(): return g()", "def g(): return 2"),
        ("x = 1\ndef g(): return x\ndef f(): return g()", "x = 2"),
        ("x = 1\ndef g(): return x\ndef f(): return [g() for _ in ()]", "x = 2"),
        ("x = 1\ndef f():\n def g(): return x\n return g", "x = 2"),
        ("x = 1\ndef f():\n class C: y = x\n return C.y", "x = 2"),
        ("def f(a=1): return a", "f.__defaults__ = (2,)"),
        ("def f(a=[1]): return a", "f.__defaults__[0].append(2)"),
        ("def f(*, a=1): return a", "f.__kwdefaults__['a'] = 2"),
        ("def f(*, a=1): return a", "f.__kwdefaults__ = None"),
        ("def f(): return f.x\nf.x = 1", "f.x = 2"),
        ("def f(): return f.x\nf.x = 1", "f.y = 2"),
        ("def f(): return f.x", "f.x = 2"),
        ("def f(): return 1", "f.__code__ = (lambda: 2).__code__"),
        ("def g(): return 1\ndef f(): return g()", "g.__code__ = (lambda: 2).__code__"),
        ("class C: x = 1\ndef f(): return C.x", "C.x = 2"),
        ("class C:\n def x(self): return 1\ndef f(): return C().x", "C.x = lambda self: 2"),
        ("class B: x = 1\nclass C(B): pass\ndef f(): return C.x", "B.x = 2"),
        ("class C: pass\ndef f(): return C.x", "C.x = 2"),
        ("class C: x = 1\ndef f(): return C.x", "del C.x"),
        ("class C: x = 1\ndef f(): return C.x", "class C: x = 2"),
        ("class C: x = [1]\ndef f(): return C.x", "C.x.append(2)"),
        ("y = 1\nclass C:\n def x(self): return y\ndef f(): return C().x", "y = 2"),
        ("class C: pass\nc = C()\nc.x = 1\ndef f(): return c.x", "c.x = 2"),
        ("from functools import partial\ndef g(x): return x\nf = partial(g, x=1)",
         "f.keywords['x'] = 2"),
        ("from functools import partial\nx = []\ndef g(x): return x\nf = partial(g, x)",
         "x.append(1)"),
        ("def make():\n n = 1\n def f(): return n\n def set(v):\n  nonlocal n\n  n = v\n"
         " return f, set\nf, set = make()", "set(2)"),
        ("def make():\n n = [1]\n def f(): return n\n return f, n\nf, n = make()", "n.append(2)"),
        ("def make():\n def g(): return 1\n def f(): return g()\n def set(v):\n  nonlocal g\n"
         "  g = v\n return f, set\nf, set = make()", "set(lambda: 2)"),
        ("f = lambda: x\nx = 1", "x = 2"),
    ],
)  # fmt: skip
def test_a_change_of_what_it_captures_gives_a_function_a_new_number(
    table: Table, define: Define, source: str, change: str
) -> None:
    names = define(source)
    function = names["f"]
    before = table.number(function)
    assert table.number(function) == before
    exec(change, names)
    after = table.number(function)
    assert after != before
    assert table.dropped == [before]
    assert table.number(function) == after


@pytest.mark.parametrize(
    ("source", "change"),
    [
        ("x = 1\ndef f(): return 1", "x = 2"),
        ("x = 1\ndef f(): return x", "x = 1"),
        ("x = [1]\ndef f(): return x", "x = [1]"),
        ("import json\ndef f(): return json.dumps", "import os"),
        ("def g(): pass\ndef f(): return g", "def h(): pass"),
        ("def f(a): return a.x", "x = 2"),
        ("class C: x = 1\ndef f(): return C", "c = C()"),
    ],
)
def test_what_it_does_not_capture_may_change(
    table: Table, define: Define, source: str, change: str
) -> None:
    names = define(source)
    before = table.number(names["f"])
    exec(change, names)
    assert table.number(names["f"]) == before
    assert len(table.blobs) == 1


@pytest.mark.parametrize(
    ("source", "reload"),
    [
        ("x = 1\ndef f(): return x", False),
        ("x = (1, 'a', None, (2.5, frozenset({1})))\ndef f(): return x", False),
        ("import json, re, logging\nlog = logging.getLogger('x')\np = re.compile('x')\n"
         "def f(): return json, p, log", False),
        ("import pathlib, datetime\np = pathlib.Path('x')\nt = datetime.date(2000, 1, 1)\n"
         "def f(): return p, t", False),
        ("def g(): return f\ndef f(): return g", False),
        ("import functools\n@functools.lru_cache\ndef g(x): return x\ndef f(x): return g(x)",
         False),
        ("import functools\n@functools.cache\ndef f(x): return x", False),
        ("x = [1]\ndef f(): return x", True),
        ("x = {}\ndef f(): return x", True),
        ("x = 1\ndef f():\n global x\n x = 2", True),
        ("x = 1\ndef f():\n global x\n del x", True),
        ("x = 1\ndef g():\n global x\n x = 2\ndef f(): g()", True),
        ("def f():\n def g():\n  global x\n  x = 2\n g()", True),
        ("def make():\n n = 0\n def f():\n  nonlocal n\n  n += 1\n return f\nf = make()", True),
        ("def f():\n n = 0\n def g():\n  nonlocal n\n  n += 1\n return g", False),
        ("def f(a=[]): return a", True),
        ("class C: x = []\ndef f(): return C", True),
    ],
)  # fmt: skip
def test_a_function_is_loaded_for_each_call_if_a_call_could_leave_something_behind(
    table: Table, define: Define, source: str, reload: bool
) -> None:
    assert table.reload(table.number(define(source)["f"])) is reload


@pytest.mark.parametrize(
    "source",
    [
        "class C:\n x = 1\n def f(self): return self.x\ndef f(): return C()",
        "class B: pass\nclass C(B):\n def f(self): return super().f()\ndef f(): return C()",
        "class C:\n __slots__ = ('x',)\ndef f(): return C()",
        "class C:\n @property\n def x(self): return 1\n @staticmethod\n def y(): pass\n"
        " @classmethod\n def z(cls): pass\ndef f(): return C()",
        "import dataclasses\n@dataclasses.dataclass\nclass C:\n x: int = 1\n y: str = 'a'\n"
        "def f(): return C()",
        "import enum\nclass C(enum.Enum):\n A = 1\n B = 2\ndef f(): return C.A",
        "import typing\nclass C(typing.NamedTuple):\n x: int\n y: int = 1\ndef f(): return C(1)",
        "class C(Exception): pass\ndef f(): raise C",
    ],
)
def test_a_class_of_plain_parts_does_not_make_a_function_be_serialised_again(
    table: Table, define: Define, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from owngil import _shipping

    function = define(source)["f"]
    number = table.number(function)
    monkeypatch.setattr(_shipping, "dumps", None)
    assert table.number(function) == number
    assert not table.reload(number)


def test_the_bound_method_of_an_object_keeps_its_number(table: Table) -> None:
    thing = CallableThing()
    number = table.number(thing.method)
    assert table.number(thing.method) == number
    thing.word = 2
    assert table.number(thing.method) != number
    made = table.number(CallableThing.make)
    assert table.number(CallableThing.make) == made
    assert not table.reload(made)


def test_a_number_succeeds_that_of_the_same_function_before(table: Table, define: Define) -> None:
    names = define("x = 1\ndef f(): return x\ndef g(): return x")
    first = table.number(names["f"])
    table.number(names["g"])
    assert table.successions == []
    names["x"] = 2
    second = table.number(names["f"])
    assert table.successions == [(second, first)]
    assert table.table.known(names["f"]) == second
    assert table.table.known(len) == 0


def test_a_function_that_dies_takes_its_number_along(table: Table, define: Define) -> None:
    names = define("x = 1\ndef f(): return x")
    number = table.number(names["f"])
    del names["f"]
    gc.collect()
    assert table.dropped == [number]


@pytest.mark.parametrize(
    "source",
    [
        "def make(): return lambda: 1",
        "def make():\n n = [1]\n return lambda: n",
        "def make():\n def f(n): return f(n - 1)\n return f",
        "def make():\n def g(): return f()\n def f(): return g()\n return f",
        "import functools\ndef make(): return functools.partial(lambda x: x, 1)",
        "import functools\ndef make(): return functools.partial(print, key=lambda x: x)",
        "def make():\n def f(): return f.x\n f.x = f\n return f",
        "def make():\n class C:\n  def __call__(self): pass\n return C()",
        "def make():\n class C:\n  def f(self): return C\n return C().f",
        "def make():\n class C: pass\n def f(): return C\n C.f = f\n return f",
        "def make():\n class C: pass\n return C",
        "import functools\ndef make(): return functools.lru_cache(lambda x: x)",
    ],
)
def test_one_off_functions_leave_nothing_behind(table: Table, define: Define, source: str) -> None:
    make = define(source)["make"]
    for _ in range(20):
        table.number(make())
    gc.collect()
    assert table.live() == 0
    assert not table.table._entries


def test_a_function_that_is_neither_hashable_nor_weakly_referable_works(table: Table) -> None:
    thing = OutOfReach(1)
    assert table.number(thing) == table.number(thing)
    for word in range(1000):
        table.number(OutOfReach(word))
    assert table.live() < 100
    unhashable = Unhashable()
    assert table.number(unhashable) == table.number(unhashable)


def test_builtin_methods_and_operators_work(table: Table) -> None:
    for function, arguments, result in (
        (str.upper, ("a",), "A"),
        ("a,b".split, (",",), ["a", "b"]),
        ([3, 1].index, (1,), 1),
        ((5).__add__, (1,), 6),
        (functools.partial(int, base=2), ("10",), 2),
        (CallableThing(), (), 1),
        (types.SimpleNamespace, (), types.SimpleNamespace()),
    ):
        blob = table.blobs[table.number(function) - 1]
        assert _worker.load_function(blob)[0](*arguments) == result


def test_threads_that_number_one_function_at_once_get_one_number(
    table: Table, define: Define
) -> None:
    function = define("x = [1]\ndef f(): return x")["f"]
    barrier = threading.Barrier(8)
    numbers: list[int] = []

    def run() -> None:
        barrier.wait()
        numbers.extend(table.number(function) for _ in range(50))

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(numbers) == {1}
    assert len(table.blobs) == 1


def test_a_closed_table_drops_nothing(table: Table, define: Define) -> None:
    names = define("def f(): return 1")
    table.number(names["f"])
    table.table.close()
    names.clear()
    gc.collect()
    assert table.dropped == []


def test_what_cannot_be_shipped_says_which_global_it_is(table: Table, define: Define) -> None:
    names = define("import threading\nlock = threading.Lock()\ndef f(): return lock")
    with pytest.raises(TypeError, match=r"lock.*global 'lock'.*'f'"):
        table.number(names["f"])
    assert table.blobs == []


def test_builtins_that_somebody_replaced_are_globals_like_others(
    table: Table, define: Define, monkeypatch: pytest.MonkeyPatch
) -> None:
    function = define("def f(): return len(())")["f"]
    number = table.number(function)
    monkeypatch.setattr(builtins, "unheard_of", 1, raising=False)
    assert table.number(function) == number


class _Callable:
    def __call__(self) -> None: ...

    def method(self) -> None: ...


class _AnswersNothing(_Callable):
    def __str__(self) -> str:
        return "answers nothing"

    def __getattr__(self, name: str) -> Any:
        raise ValueError(name)


class _AnswersAnything(_Callable):
    def __str__(self) -> str:
        return "answers anything"

    def __getattr__(self, name: str) -> Any:
        return self


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (len, "len"),
        (os.getpid, "posix.getpid"),
        ([].append, "list.append"),
        (functools.reduce, "_functools.reduce"),
        (functools.partial(functools.partial(os.getpid)), "functools.partial(posix.getpid)"),
        (_Callable, "test_functions._Callable"),
        (_Callable(), "test_functions._Callable"),
        (_Callable().method, "test_functions._Callable.method"),
        (_AnswersNothing(), "test_functions._AnswersNothing"),
        (_AnswersAnything(), "test_functions._AnswersAnything"),
        (_worker.Initializer(os.getpid, b""), "posix.getpid"),
    ],
    ids=str,
)
def test_whatever_can_be_called_has_a_name_for_people(function: object, name: str) -> None:
    assert full_name(function) == name


def test_a_name_for_people_is_not_long() -> None:
    assert len(full_name(type("Long" * 1000, (), {}))) <= 200
