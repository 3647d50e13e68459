# SPDX-License-Identifier: BSD-3-Clause
"""`Pool.explain(fn)`: where a function runs, and why, in a sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._functions import full_name

if TYPE_CHECKING:
    from ._pool import Pool

__all__ = ["explain"]

_MODULE = "module "  # as owngil._refusals begins what was refused to be imported


def explain(pool: Pool, fn: Any) -> str:
    name = full_name(fn)
    if pool._kind != "auto":
        return f"{name} runs in {_ARTICLES[pool._kind]}: the pool has kind={pool._kind!r}."
    if pool._no_interpreters:
        return f"{name} runs in a process: {pool._no_interpreters}"
    known = pool._unfitness(pool._functions.known(fn))
    if known is not None:
        what = _what(*known)
        if what.startswith(_MODULE):
            return (
                f"{name} runs in a process: {what}, which it needs, cannot be loaded in an "
                "interpreter."
            )
        if what:
            return (
                f"{name} runs in a process: CPython refuses it something in an interpreter: {what}."
            )
        return f"{name} runs in a process: it was refused something in an interpreter."
    if not pool._functions.known(fn):
        return (
            f"{name} will run in an interpreter, unless it turns out to need what cannot be loaded "
            "there: it has not been called yet."
        )
    return f"{name} runs in an interpreter: nothing that it needs has been refused there."


_ARTICLES = {
    "process": "a process of its own",
    "interpreter": "an interpreter",
    "thread": "a thread of this process",
}


def _what(raised: bool, told: bytes) -> str:
    if not raised:
        return told.decode(errors="replace")
    from ._pickling import load_exception

    return str(getattr(load_exception(told), "what", ""))
