# SPDX-License-Identifier: BSD-3-Clause
"""What a user defines in `__main__` works, however the program was started, and without a guard."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from harness import scripts

# No guard; the top level counts how often it is run, in a file that workers would write to as well.
PROGRAM = """
    import functools, os, sys
    import owngil

    print("top level", flush=True)

    class Point:
        def __init__(self, x): self.x = x
        def double(self): return Point(self.x * 2)
        def __eq__(self, other): return type(other) is Point and other.x == self.x

    class Sub(Point):
        pass

    class Oops(Exception):
        pass

    def helper(x): return x + 1
    def function(x): return helper(x)
    def raiser(x): raise Oops(x)
    def make(x): return Point(x)
    def closure(n): return lambda x: x + n

    pool = owngil.Pool(2)
    say = lambda f, *a: print(pool.submit(f, *a).result())
    say(function, 1)
    say(lambda x: x * 2, 4)
    say(closure(5), 1)
    say(functools.partial(function, 41))
    point = pool.submit(make, 3).result()
    print(type(point) is Point, isinstance(point, Point), point.x)
    print(pool.submit(Point(4).double).result() == Point(8))
    print(type(pool.submit(Sub, 3).result()) is Sub)
    try:
        pool.submit(raiser, 9).result()
    except Oops as error:
        print("caught", error.args, type(error) is Oops)
    print(list(pool.map(function, range(5))))
    print([type(p) is Point for p in pool.map(make, range(3))])
    pool.shutdown()
"""
PRINTS = [
    "top level",
    "2",
    "8",
    "6",
    "42",
    "True True 3",
    "True",
    "True",
    "caught (9,) True",
    "[1, 2, 3, 4, 5]",
    "[True, True, True]",
]


def test_a_file_run_by_path(tmp_path: Path) -> None:
    assert scripts.run_file(tmp_path / "a program.py", PROGRAM).lines == PRINTS


def test_a_file_run_by_a_relative_path(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(scripts.dedent(PROGRAM))
    assert scripts.run([sys.executable, "program.py"], cwd=tmp_path).lines == PRINTS


def test_a_module_run_with_m(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(scripts.dedent(PROGRAM))
    assert scripts.run([sys.executable, "-m", "program"], cwd=tmp_path).lines == PRINTS


def test_a_package_run_with_m(tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(scripts.dedent(PROGRAM))
    assert scripts.run([sys.executable, "-m", "package"], cwd=tmp_path).lines == PRINTS


def test_relative_imports_of_a_module_run_with_m(tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "helpers.py").write_text("def f(x): return x + 1\nword = 'w'\n")
    (package / "run.py").write_text(
        scripts.dedent("""
            import owngil
            from . import helpers
            from .helpers import f
            def g(x):
                from . import helpers as again
                return f(x), helpers.word, again is helpers
            with owngil.Pool(1) as pool:
                print(pool.submit(g, 1).result(), pool.submit(f, 1).result())
        """)
    )
    done = scripts.run([sys.executable, "-m", "package.run"], cwd=tmp_path)
    assert done.lines == ["(2, 'w', True) 2"]


def test_source_text_given_with_c() -> None:
    assert scripts.run_code(PROGRAM).lines == PRINTS


def test_source_text_given_on_stdin() -> None:
    done = scripts.run([sys.executable, "-"], stdin=scripts.dedent(PROGRAM))
    assert done.lines == PRINTS


def test_a_directory_and_a_zip_file_with_a_main_module(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "__main__.py").write_text(scripts.dedent(PROGRAM))
    assert scripts.run([sys.executable, folder]).lines == PRINTS
    with zipfile.ZipFile(tmp_path / "program.zip", "w") as archive:
        archive.writestr("__main__.py", scripts.dedent(PROGRAM))
        archive.writestr("inside.py", "def f(x): return x + 1\n")
    assert scripts.run([sys.executable, tmp_path / "program.zip"]).lines == PRINTS


def test_functions_from_a_zipped_package(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "modules.zip", "w") as archive:
        archive.writestr("zipped/__init__.py", "def f(x): return x + 1\n")
    source = """
        import sys, owngil
        sys.path.insert(0, sys.argv[1])
        import zipped
        with owngil.Pool(1) as pool:
            print(pool.submit(zipped.f, 1).result())
    """
    assert scripts.run_code(source, str(tmp_path / "modules.zip")).lines == ["2"]


def test_an_interactive_session() -> None:
    """Cells are executed one after the other in `__main__`, as a prompt does."""
    source = """
        import code, sys
        console = code.InteractiveConsole(sys.modules["__main__"].__dict__)
        def cell(text):
            for line in text.strip().splitlines() + [""]:
                more = console.push(line)
            assert not more
        cell('''import owngil''')
        cell('''pool = owngil.Pool(2)''')
        cell('''def f(x): return x + 1''')
        cell('''print(pool.submit(f, 1).result())''')
        cell('''def f(x): return x + 100''')
        cell('''print(pool.submit(f, 1).result())''')
        cell('''class C: word = "old"''')
        cell('''def g(): return C()''')
        cell('''c = pool.submit(g).result()''')
        cell('''print(type(c) is C, c.word)''')
        cell('''class C: word = "new"''')
        cell('''c = pool.submit(g).result()''')
        cell('''print(type(c) is C, c.word)''')
        cell('''pool.shutdown()''')
    """
    assert scripts.run_code(source).lines == ["2", "101", "True old", "True new"]


def test_pythons_own_prompt() -> None:
    """python -i reads its program from stdin, which the workers must not read."""
    source = scripts.dedent("""
        import owngil
        pool = owngil.Pool(2)
        def f(x): return x + 1

        print(pool.submit(f, 1).result())
        pool.shutdown()
    """)
    done = scripts.run([sys.executable, "-i", "-q"], stdin=source, quiet=False)
    assert done.lines[0] == "2"
    assert "Traceback" not in done.err


def test_a_notebook_executes_cells_in_a_module_that_is_called_main() -> None:
    """As IPython does: `__main__` is replaced by a module of its own; cells come one by one."""
    source = """
        import sys, types
        user = types.ModuleType("__main__")
        sys.modules["__main__"] = user
        def cell(number, text):
            exec(compile(text, f"<ipython-input-{number}>", "exec"), user.__dict__)
        cell(1, "import owngil; pool = owngil.Pool(2)")
        cell(2, "factor = 2\\ndef f(x): return x * factor")
        cell(3, "print(pool.submit(f, 10).result())")
        cell(4, "factor = 3")
        cell(5, "print(pool.submit(f, 10).result())")
        cell(6, "class C: pass\\nprint(type(pool.submit(C).result()) is C)")
        cell(7, "pool.shutdown()")
    """
    assert scripts.run_code(source).lines == ["20", "30", "True"]


def test_a_task_that_uses_the_programs_own_pool_is_refused_and_does_not_hang() -> None:
    source = """
        import owngil
        pool = owngil.Pool(1)
        def task(): return pool.submit(pow, 2, 3).result()
        try: print(pool.submit(task).result(timeout=30))
        except TimeoutError: print("hangs")
        except Exception as error: print("refused")
        print(pool.submit(pow, 2, 3).result())
    """
    assert scripts.run_code(source).lines == ["refused", "8"]


def test_names_of_main_do_not_leak_into_later_tasks() -> None:
    source = """
        import owngil
        secret = 1
        def sees(): return secret
        def looks():
            import __main__
            return hasattr(__main__, "top_level_only")
        top_level_only = 5
        with owngil.Pool(1) as pool:
            print(pool.submit(sees).result(), pool.submit(looks).result())
    """
    assert scripts.run_code(source).lines == ["1 False"]


def test_dataclasses_and_enums_of_main_come_back_as_themselves() -> None:
    source = """
        import dataclasses, enum, typing, owngil
        @dataclasses.dataclass(frozen=True)
        class Point:
            x: int
        class Colour(enum.Enum):
            RED = 1
        class Row(typing.NamedTuple):
            a: int
        def swap(p, c, r): return r, c, p
        with owngil.Pool(1) as pool:
            r, c, p = pool.submit(swap, Point(1), Colour.RED, Row(2)).result()
        print(c is Colour.RED, type(p) is Point, p == Point(1), type(r) is Row)
    """
    assert scripts.run_code(source).lines == ["True True True True"]


def test_a_virtual_environments_workers_are_in_it_too(tmp_path: Path) -> None:
    import owngil

    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    sites = [path for path in sys.path if path.endswith("site-packages")]
    (pure,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    (pure / "borrowed.pth").write_text(f"import site; [site.addsitedir(p) for p in {sites!r}]\n")
    source = """
        import sys, owngil
        def where(): return sys.prefix, sys.executable, sys.base_prefix
        with owngil.Pool(1) as pool:
            print(pool.submit(where).result() == where(), sys.prefix)
    """
    done = scripts.run([tmp_path / "venv" / "bin" / "python", "-c", scripts.dedent(source)])
    assert done.lines == [f"True {tmp_path / 'venv'}"]
    assert owngil.__file__


@pytest.mark.parametrize("value", ["''", "None"])
def test_an_empty_sys_executable_is_refused_clearly_or_handled(value: str) -> None:
    """An embedded interpreter may not know where a Python program is."""
    source = f"""
        import sys
        sys.executable = {value}
        import owngil
        try:
            with owngil.Pool(1) as pool:
                print(pool.submit(pow, 2, 3).result())
        except Exception as error:
            print("refused", "sys.executable" in str(error))
    """
    assert scripts.run_code(source).lines in (["8"], ["refused True"])
