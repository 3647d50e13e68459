# SPDX-License-Identifier: BSD-3-Clause
"""What lives in `__main__` works in a worker, and comes back as what it was.

Each program is a user's, run by path; the comment behind each line says what it must print.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from lone_worker import run_program

PROGRAMS = {
    "an initializer sets a global": """
        model = None
        def load(word):
            global model
            model = word
        def use(x): return model, x
        with LoneWorker(load, ("loaded",)) as w:
            print(w.submit(use, 1))  # ('loaded', 1)
            print(w.submit(lambda: model))  # loaded
            model = "mine"
            print(w.submit(use, 2))  # ('loaded', 2)
    """,
    "an initializer makes a global that the user has not": """
        def load():
            global model
            model = [1]
        def use(): return model
        with LoneWorker(load) as w:
            print(w.submit(use))  # [1]
            print(w.submit(lambda: model.append(2)), w.submit(use))  # None [1, 2]
    """,
    "an initializer fills a dictionary": """
        cache = {}
        other = {}
        def load(): cache["x"] = 1; other
        def use(): return cache, other
        with LoneWorker(load) as w:
            print(w.submit(use))  # ({'x': 1}, {})
            other["y"] = 2
            print(w.submit(use))  # ({'x': 1}, {'y': 2})
    """,
    "an initializer sets a class attribute": """
        class Settings:
            model = None
            word = "old"
            def get(self): return self.model, self.word
        def load(): Settings.model = "loaded"
        def use(): return Settings().get()
        with LoneWorker(load) as w:
            print(w.submit(use))  # ('loaded', 'old')
            Settings.word = "new"
            print(w.submit(use))  # ('loaded', 'new')
            print(w.submit(Settings.get, Settings()))  # ('loaded', 'new')
    """,
    "a function refers to modules, for which a worker needs no cloudpickle": """
        import math, os.path as paths, sys, xml.dom
        def use(): return math.sqrt(4), paths.__name__, xml.dom.__name__
        def has(name): return name in sys.modules
        with LoneWorker() as w:
            print(w.submit(use))  # (2.0, 'posixpath', 'xml.dom')
            print(w.submit(has, "cloudpickle"))  # False
    """,
    "a function refers to a module that was made just now": """
        import types
        module = types.ModuleType("made_just_now")
        module.word = "mine"
        def use(): return module.word, module.__name__
        with LoneWorker() as w:
            print(w.submit(use))  # ('mine', 'made_just_now')
    """,
    "an initializer that is a closure": """
        def make():
            def load():
                global model
                model = "loaded"
            return load
        with LoneWorker(make()) as w:
            print(w.submit(lambda: model))  # loaded
    """,
    "an initializer in a module, local or not": """
        import helper_module as h
        with LoneWorker(h.load) as w:
            print(w.submit(h.use), w.submit(h.make_use()))  # loaded loaded
        with LoneWorker(h.make_load()) as w:
            print(w.submit(h.use), w.submit(h.make_use()))  # loaded loaded
    """,
    "instances come back as what they are": """
        import dataclasses, enum, typing
        class Plain:
            def __init__(self, x): self.x = x
        @dataclasses.dataclass
        class Data:
            x: int
            y: list = dataclasses.field(default_factory=list)
        class Colour(enum.Enum):
            RED = 1
            BLUE = 2
        class Flags(enum.IntFlag):
            A = 1
            B = 2
        class Named(typing.NamedTuple):
            x: int
            y: int = 2
        class Slotted:
            __slots__ = ("x",)
            def __init__(self, x): self.x = x
        class Outer:
            class Inner:
                def __init__(self, x): self.x = x
        def echo(x): return x
        def make(cls, *args): return cls(*args)
        with LoneWorker() as w:
            for _ in range(2):
                print(type(w.submit(make, Plain, 1)) is Plain)  # True
                print(w.submit(echo, Data(1)) == Data(1))  # True
                print(w.submit(lambda: Data(3)) == Data(3))  # True
                print(w.submit(echo, Colour.RED) is Colour.RED)  # True
                print(w.submit(lambda: Colour.BLUE) is Colour.BLUE)  # True
                print(w.submit(echo, Flags.A | Flags.B) is Flags.A | Flags.B)  # True
                print(type(w.submit(echo, Named(1))) is Named)  # True
                print(type(w.submit(lambda: Slotted(1))) is Slotted)  # True
                print(type(w.submit(echo, Outer.Inner(1))) is Outer.Inner)  # True
                print(w.submit(echo, Plain) is Plain)  # True
            print(Plain.__init__.__globals__ is globals())  # True
    """,
    "exceptions come back as what they are": """
        class Mine(Exception):
            def __init__(self, a, b):
                super().__init__(a, b)
                self.b = b
        def fail(): raise Mine(1, [2])
        with LoneWorker() as w:
            try: w.submit(fail)
            except Mine as e: print(e.args, e.b)  # (1, [2]) [2]
            try: w.submit(lambda: fail())
            except Mine as e: print("in fail" in str(e.__cause__))  # True
    """,
    "a class of a function": """
        def make():
            class Local:
                count = 0
                def __init__(self, x): self.x = x
            class Bad(Exception): pass
            return Local, Bad
        Local, Bad = make()
        def fail(): raise Bad("x")
        with LoneWorker() as w:
            print(type(w.submit(lambda x: x, Local(1))) is Local)  # True
            init = Local.__init__
            print(type(w.submit(Local, 1)) is Local, Local.__init__ is init)  # True True
            try: w.submit(fail)
            except Bad as e: print(e)  # x
    """,
    "a class that the user no longer has": """
        import gc
        def make():
            class Local:
                def f(self): return word
            return Local()
        word = "mine"
        with LoneWorker() as w:
            thing = w.submit(lambda x: x, make())
            gc.collect()
            print(type(thing).__name__, thing.f(), word)  # Local mine mine
    """,
    "a class that a task makes": """
        def make():
            class Local:
                def f(self): return helper()
            return Local()
        def helper(): return "helped"
        with LoneWorker() as w:
            thing = w.submit(make)
            print(thing.f(), type(thing).__name__)  # helped Local
            print(type(w.submit(lambda x: x, thing)) is type(thing))  # True
    """,
    "a redefined class": """
        class C:
            word = "old"
        old = C
        def f(): return C.word
        with LoneWorker() as w:
            print(w.submit(f), type(w.submit(lambda x: x, C())) is C)  # old True
            first = C()
            class C:
                word = "new"
            print(w.submit(f), type(w.submit(lambda x: x, C())) is C)  # new True
            print(type(w.submit(lambda x: x, first)) is old)  # True
            print(w.submit(f), type(w.submit(lambda: C())) is C)  # new True
    """,
    "a removed attribute of a class": """
        class C:
            word = "old"
        def f(): return hasattr(C, "word")
        with LoneWorker() as w:
            print(w.submit(f))  # True
            del C.word
            print(w.submit(f))  # False
    """,
    "functions as arguments and results": """
        import functools
        k = 2
        def apply(f, x): return f(x)
        def times(x): return x * k
        def make_adder(n): return lambda x: x + n
        class C:
            def __init__(self, n): self.n = n
            def times(self, x): return self.n * x
        with LoneWorker() as w:
            print(w.submit(apply, times, 10))  # 20
            k = 3
            print(w.submit(apply, lambda x: x * k, 10))  # 30
            print(w.submit(make_adder, 1)(2))  # 3
            print(w.submit(apply, functools.partial(times), 10))  # 30
            print(w.submit(C(4).times, 10), w.submit(apply, C(5).times, 10))  # 40 50
            print(w.submit(make_adder, 1).__globals__ is not globals(), k)  # True 3
            print(w.submit(lambda: times) is times)  # True
    """,
    "functions that share a variable": """
        def make():
            n = 0
            def get(): return n
            def up():
                nonlocal n
                n += 1
            return get, up
        get, up = make()
        def run(get, up):
            up(); up()
            return get()
        with LoneWorker() as w:
            print(w.submit(run, get, up), get())  # 2 0
            print(w.submit(run, get, up), get())  # 2 0
    """,
    "a result does not touch the user's globals": """
        k = 1
        def make():
            global k
            k = 2
            return lambda: k
        with LoneWorker() as w:
            f = w.submit(make)
            print(f(), k)  # 2 1
    """,
    "cached functions and new types": """
        import functools, typing
        UserId = typing.NewType("UserId", int)
        @functools.lru_cache(maxsize=3)
        def slow(x): return x + offset
        offset = 1
        def f(x): return slow(x), UserId(x), slow.cache_parameters()["maxsize"]
        def hits(): return slow.cache_info().hits
        with LoneWorker() as w:
            print(w.submit(f, 1))  # (2, 1, 3)
            print(w.submit(slow, 1))  # 2
            offset = 10
            print(w.submit(slow, 1), w.submit(f, 1))  # 11 (11, 1, 3)
    """,
    "what one function left is not what another sees": """
        x = 1
        def set_x():
            global x
            x = 2
        def get_x(): return x
        def del_x():
            global x
            del x
        with LoneWorker() as w:
            print(w.submit(get_x))  # 1
            w.submit(set_x)
            print(w.submit(get_x))  # 1
            w.submit(del_x)
            print(w.submit(get_x))  # 1
            print(w.submit(lambda x=x: x), w.submit(get_x), x)  # 1 1 1
    """,
    "what a call leaves in a class or on a function is gone at the next": """
        class C:
            n = 0
            @classmethod
            def up(cls):
                cls.n += 1
                return cls.n
        def up():
            C.n += 1
            return C.n
        def mark():
            mark.n = getattr(mark, "n", 0) + 1
            return mark.n
        def by_name():
            setattr(C, "n", C.n + 1)
            return C.n
        with LoneWorker() as w:
            for f in (up, up, C.up, C.up, mark, mark, by_name, by_name):
                print(w.submit(f))  # 1; 1; 1; 1; 1; 1; 1; 1
    """,
    "a worker in a worker": """
        class C:
            def __init__(self, x): self.x = x
        offset = 1
        def inner(c): return C(c.x + offset)
        def outer(c):
            from lone_worker import LoneWorker
            with LoneWorker() as w:
                got = w.submit(inner, c)
                return got if type(got) is C else None
        with LoneWorker() as w:
            got = w.submit(outer, C(1))
            print(type(got) is C, got.x)  # True 2
    """,
    "generic, abstract and derived classes": """
        import abc, typing
        T = typing.TypeVar("T")
        class Box(typing.Generic[T]):
            def __init__(self, x: T): self.x = x
        class Base(abc.ABC):
            @abc.abstractmethod
            def f(self): ...
            def g(self): return self.f() + 1
        class Derived(Base):
            def f(self): return 1
        class Deep(Derived):
            def g(self): return super().g() + 1
        def run(): return Box(1).x, Deep().g()
        with LoneWorker() as w:
            print(w.submit(run))  # (1, 3)
            print(w.submit(lambda x: x, Box(2)).x, type(w.submit(Deep)) is Deep)  # 2 True
    """,
    "annotations and documentation": """
        class P: pass
        def f(p: P, n: int = 1) -> list[P]:
            "words"
            return f.__annotations__["p"] is P, f.__doc__, f.__name__, __name__
        with LoneWorker() as w:
            print(w.submit(f, P()))  # (True, 'words', 'f', '__main__')
    """,
    "a submodule that a function uses": """
        import xml
        import xml.dom.minidom
        def f(): return xml.dom.minidom.parseString("<a/>").documentElement.tagName
        with LoneWorker() as w:
            print(w.submit(f))  # a
    """,
    "the file's own name": """
        def f(): return __file__
        with LoneWorker() as w:
            print(w.submit(f) == __file__)  # True
    """,
}

if sys.version_info >= (3, 15):
    PROGRAMS["sentinels are the same everywhere"] = """
        MISSING = sentinel("MISSING")
        OTHER = sentinel("OTHER", repr="<other>")
        def use(x=MISSING, *rest): return x is MISSING, OTHER, rest
        def twice(x): return x, x
        with LoneWorker() as w:
            print(w.submit(use), w.submit(use, 1))  # (True, <other>, ()) (False, <other>, ())
            print(w.submit(use, MISSING, OTHER))  # (True, <other>, (<other>,))
            print(w.submit(use)[1] is OTHER)  # True
            print(w.submit(twice, MISSING) == (MISSING, MISSING))  # True
    """

HELPER = """
model = None

def load():
    global model
    model = "loaded"

def make_load():
    def load():
        global model
        model = "loaded"
    return load

def use():
    return model

def make_use():
    return lambda: model
"""


@pytest.mark.parametrize("name", PROGRAMS)
def test_what_lives_in_main_works_in_a_worker(name: str, tmp_path: Path) -> None:
    (tmp_path / "helper_module.py").write_text(HELPER)
    printed = run_program(PROGRAMS[name], tmp_path)
    if name == "instances come back as what they are":
        assert printed == ["True"] * 21
    else:
        assert printed == wanted(PROGRAMS[name])


def wanted(program: str) -> list[str]:
    comments = [line.partition("  # ")[2] for line in program.splitlines()]
    return [word for comment in comments if comment for word in comment.split("; ")]
