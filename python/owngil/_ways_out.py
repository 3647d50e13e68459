# SPDX-License-Identifier: BSD-3-Clause
"""What CPython refuses an interpreter that is not the main one, and what to do instead.

Threads: any.
Not: imported before a task has raised; each interpreter would have it.
"""

from __future__ import annotations

from . import _refused_imports

__all__ = ["add_note", "refusal_in"]

# What CPython says that an interpreter may not do, and what to do instead.
_ELSEWHERE = 'run it in a process of its own, with Pool(kind="process")'
_WAYS_OUT = (
    *(
        (words, f"it needs an interpreter alone: {_ELSEWHERE}")
        for words in _refused_imports.REFUSALS
    ),
    *(
        (words, f"one interpreter has it: {_ELSEWHERE}")
        for words in _refused_imports.ONE_INTERPRETER
    ),
    (
        "fork not supported for isolated subinterpreters",
        f"a child of fork() would crash here: use subprocess, or {_ELSEWHERE}",
    ),
    (
        "exec not supported for isolated subinterpreters",
        f"it would replace the other workers of this process, too: use subprocess, or {_ELSEWHERE}",
    ),
    (
        "daemon threads are disabled in this (sub)interpreter",
        f"a thread that outlives its interpreter would crash it: end the thread, or {_ELSEWHERE}",
    ),
    (
        "signal only works in main thread of the main interpreter",
        f"signals are for the whole process, which workers share: {_ELSEWHERE}",
    ),
)


def add_note(error: BaseException) -> None:
    """Adds the way out to what an interpreter was refused, wherever in the chain that is."""
    found = refusal_in(error)
    if found is not None:
        one, words, way_out = found
        line = next(line for line in str(one).splitlines() if words in line)
        error.add_note(f"owngil: this worker is an interpreter. {line}: {way_out}.")


def refusal_in(error: BaseException) -> tuple[BaseException, str, str] | None:
    """Of it and what it came of, the first that is a refusal; CPython's words, and the way out."""
    seen: set[int] = set()
    chain: list[BaseException | None] = [error]
    while chain:
        one = chain.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        text = str(one)
        for words, way_out in _WAYS_OUT:
            if words in text:
                return one, words, way_out
        chain += [one.__cause__, one.__context__]
    return None
