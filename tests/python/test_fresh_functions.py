# SPDX-License-Identifier: BSD-3-Clause
"""A function always sees what it would have seen had it been shipped afresh at `submit`.

Each program is a user's: what it calls lives in `__main__`, and it is run by path.
The comment behind each call says what it must print.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import scripts

PROGRAMS = {
    "a rebound global": """
        factor = 2
        def f(x): return x * factor
        say(f, 10)  # 20
        factor = 3
        say(f, 10)  # 30
        factor = [4]
        say(lambda x: x * factor[0], 10)  # 40
    """,
    "a mutated global list": """
        seen = [1]
        def f(_): return list(seen)
        say(f, 0)  # [1]
        seen.append(2)
        say(f, 0)  # [1, 2]
        seen[:] = []
        say(f, 0)  # []
    """,
    "a global that another global holds": """
        inner = {"a": [1]}
        outer = {"inner": inner}
        def f(_): return outer["inner"]["a"]
        say(f, 0)  # [1]
        inner["a"].append(2)
        say(f, 0)  # [1, 2]
    """,
    "a captured list": """
        def make():
            seen = [1]
            def f(_): return list(seen)
            return f, seen
        f, seen = make()
        say(f, 0)  # [1]
        seen.append(2)
        say(f, 0)  # [1, 2]
    """,
    "a captured variable that is rebound": """
        def make():
            n = 1
            def f(_): return n
            def set_n(value):
                nonlocal n
                n = value
            return f, set_n
        f, set_n = make()
        say(f, 0)  # 1
        set_n(2)
        say(f, 0)  # 2
    """,
    "a helper that is replaced": """
        def helper(x): return x + 1
        def f(x): return helper(x)
        say(f, 1)  # 2
        def helper(x): return x + 100
        say(f, 1)  # 101
    """,
    "a helper's helper that is replaced": """
        def low(x): return x + 1
        def middle(x): return low(x)
        def f(x): return middle(x)
        say(f, 1)  # 2
        def low(x): return x + 100
        say(f, 1)  # 101
    """,
    "a helper that appears later": """
        def f(x):
            try: return helper(x)
            except NameError: return "none"
        say(f, 1)  # 'none'
        def helper(x): return x + 100
        say(f, 1)  # 101
        del helper
        say(f, 1)  # 'none'
    """,
    "a class attribute": """
        class C:
            factor = 2
            def times(self, x): return x * self.factor
        def f(x): return C().times(x)
        say(f, 10)  # 20
        C.factor = 3
        say(f, 10)  # 30
        C.times = lambda self, x: "patched"
        say(f, 10)  # 'patched'
    """,
    "a redefined class": """
        class C:
            word = "old"
        def f(_): return C.word
        say(f, 0)  # 'old'
        class C:
            word = "new"
        say(f, 0)  # 'new'
    """,
    "a redefined function of the same name": """
        def f(x): return x
        say(f, 1)  # 1
        def f(x): return -x
        say(f, 1)  # -1
    """,
    "an attribute of the function": """
        def f(_): return f.word
        f.word = "old"
        say(f, 0)  # 'old'
        f.word = "new"
        say(f, 0)  # 'new'
    """,
    "a default value that is mutated": """
        def f(_, seen=[1]): return list(seen)
        say(f, 0)  # [1]
        f.__defaults__[0].append(2)
        say(f, 0)  # [1, 2]
        f.__defaults__ = ([9],)
        say(f, 0)  # [9]
    """,
    "code that is replaced": """
        def f(x): return x
        def g(x): return -x
        say(f, 1)  # 1
        f.__code__ = g.__code__
        say(f, 1)  # -1
    """,
    "a partial whose argument is mutated": """
        import functools
        seen = [1]
        def count(seen, _): return len(seen)
        f = functools.partial(count, seen)
        say(f, 0)  # 1
        seen.append(2)
        say(f, 0)  # 2
    """,
    "the object of a bound method": """
        class C:
            def __init__(self): self.n = 1
            def f(self, _): return self.n
        c = C()
        say(c.f, 0)  # 1
        c.n = 2
        say(c.f, 0)  # 2
    """,
    "a callable object": """
        class C:
            def __init__(self): self.n = 1
            def __call__(self, _): return self.n
        c = C()
        say(c, 0)  # 1
        c.n = 2
        say(c, 0)  # 2
    """,
    "what the function did to its globals there": """
        counter = 0
        def f(_):
            global counter
            counter += 1
            return counter
        say(f, 0)  # 1
        say(f, 0)  # 1
        counter = 10
        say(f, 0)  # 11
    """,
    "a generator of functions": """
        fs = [lambda x, n=n: x * n for n in range(3)]
        for f in fs: say(f, 10)  # 0; 10; 20
        for f in (lambda x: x + k for k in range(3)): say(f, 10)  # 10; 11; 12
    """,
    "a decorated function": """
        import functools
        def twice(f):
            @functools.wraps(f)
            def g(x): return f(f(x))
            return g
        @twice
        def f(x): return x + step
        step = 1
        say(f, 0)  # 2
        step = 10
        say(f, 0)  # 20
    """,
    "a recursive function": """
        def fact(n): return 1 if n < 2 else n * fact(n - 1)
        say(fact, 5)  # 120
        def fact(n): return 0 if n < 2 else n + fact(n - 1)
        say(fact, 5)  # 14
    """,
    "two functions that share a global": """
        shared = {"n": 0}
        def f(_): return shared["n"]
        def g(_): return shared["n"] + 100
        say(f, 0)  # 0
        say(g, 0)  # 100
        shared["n"] = 1
        say(g, 0)  # 101
        say(f, 0)  # 1
        say(g, 0)  # 101
    """,
}

POOLED = """
    import owngil
    _pool = owngil.Pool(1)
    def say(f, x): print(repr(_pool.submit(f, x).result()))
"""

POOLED_BY_MAP = """
    import owngil
    _pool = owngil.Pool(1)
    def say(f, x): print(repr(list(_pool.map(f, [x]))[0]))
"""


def expected(program: str) -> list[str]:
    comments = (line.partition("  # ")[2] for line in program.splitlines())
    return [word for comment in comments if comment for word in comment.split("; ")]


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_function_sees_what_it_would_have_seen_had_it_been_shipped_afresh(
    name: str, tmp_path: Path
) -> None:
    program = scripts.dedent(POOLED) + scripts.dedent(PROGRAMS[name])
    assert scripts.run_file(tmp_path / "program.py", program).lines == expected(program)


def test_the_items_of_a_map_see_it_too(tmp_path: Path) -> None:
    names = ["a rebound global", "a mutated global list", "a captured list", "a class attribute"]
    program = scripts.dedent(POOLED_BY_MAP) + "".join(
        scripts.dedent(PROGRAMS[name]) for name in names
    )
    assert scripts.run_file(tmp_path / "program.py", program).lines == expected(program)
