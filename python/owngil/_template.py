# SPDX-License-Identifier: BSD-3-Clause
"""Life of a process that `_bootstrap`'s stub has started: a template, a worker, or a host.

A template imports what is to be preloaded, then forks a worker whenever it is asked to; while
nobody asks, it warms itself up, so that later workers start with more.

Threads: the main thread; a template with another one is not forked.
Not: forking, which is `workers/template.cpp`; nor what a worker does then, which is `_working`.
"""

from __future__ import annotations

import gc
import marshal
import os
import sys

from . import _core, _worker_output
from ._working import empty_main_module, flush, work

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Config = dict[str, Any]

# What most workers come to need, the most likely first. Imported one by one, each when nobody has
# asked for a worker for this long. Not logging, nor cloudpickle, which brings logging and threading
# along: every worker would run their hooks at its start and its end, needed or not.
_WARM_UP = (
    "owngil._pickling",
    "owngil._restoring",
    "pickle",
    "traceback",
)
_IDLE_MS = 30
_FOR_EVER = -1


def main(role: str) -> None:
    empty_main_module()
    config: Config = marshal.loads(_core.read_config())
    if role == "template":
        born = _serve(config)
    else:
        born = _core.begin_worker() if role == "worker" else _core.begin_host()
        _adopt(config)
        _preload(config.get("preload", ()), _warn)
        _prepare_host(config, _warn)
    if isinstance(born, int):
        from ._host import serve

        serve(born, config)
    if born is not None:
        _exit(work(born, config, "process"))


def _serve(config: Config) -> Any:
    """Returns in each child, a worker with what it has got, a host with its socket; in the template
    with None, at its end.
    """
    lifeline = _core.begin_template()
    _adopt(config)
    gc.disable()
    preload = config.get("preload", ())
    if preload:
        _share(everything=True)
    started = _preload(preload, _core.send_note)
    _prepare_host(config, _core.send_note)
    spawn_argv = _spawn_argv(config) if _keeps_threads(started) else []
    flush()
    if not config["hosts"]:
        _worker_output.prepare()
    _core.let_go_of_output()
    _share(everything=not preload)
    cold = [] if spawn_argv or config["hosts"] else list(_WARM_UP)
    while True:
        timeout = _IDLE_MS if cold else _FOR_EVER
        born = _core.await_fork(lifeline, timeout, spawn_argv, config["hosts"])
        if born is not False:
            break
        _import_quietly(cold.pop(0))
        gc.collect()
        _share(everything=not preload)
    if born is not None:
        gc.enable()
    return born


def _prepare_host(config: Config, tell: Any) -> None:
    if config["hosts"]:
        from ._host import import_extensions, stop_tracing

        import_extensions()
        stop_tracing(tell)


def _exit(code: int) -> None:
    if code:
        sys.exit(code)


def _adopt(config: Config) -> None:
    if sys.path and sys.path[0] == "" and not sys.flags.safe_path:
        del sys.path[0]  # the working directory, because of -c
    sys.argv[:] = config.get("argv", [""])
    if config.get("cwd") is not None:
        try:
            os.chdir(config["cwd"])
        except OSError as error:
            _core.send_note(f"owngil: a template cannot enter {config['cwd']!r}: {error}")
    if "path" in config:
        sys.path[:] = config["path"]


# --- getting ready to be forked


def _share(*, everything: bool) -> None:
    """What exists now is not for workers to count references to, nor to collect: they would copy
    it. `everything`: nothing has been preloaded that could miss being let go.
    """
    _core.share_pages(everything)
    gc.freeze()


def _preload(names: list[str], tell: Any) -> dict[str, int]:
    """Imports them; returns which of them started how many threads."""
    started: dict[str, int] = {}
    for name in names:
        before = _count_threads()
        try:
            __import__(name)
        except BaseException as error:  # SystemExit as well: no module ends a template
            tell(f"owngil: preload of {name!r} failed: {_describe(error)}")
        more = _count_threads() - before
        if more > 0:
            started[name] = more
    return started


def _keeps_threads(started: dict[str, int]) -> bool:
    """Whether this process must not be forked; then the user is told why."""
    if _count_threads() == 1:
        return False
    # OpenBLAS and others end their threads before a fork, and start new ones when needed.
    _core.fork_for_nothing()
    count = _count_threads() - 1
    if count == 0:
        return False
    culprits = ", ".join(repr(name) for name in started) or "something at start-up"
    _core.send_note(
        f"owngil: {culprits} left {count} thread{'s' if count > 1 else ''} running in the "
        "template process, which therefore must not be forked. Workers are started with "
        'start="spawn" instead: slower, with memory of their own. Leave it out of `preload`, '
        'or pass start="spawn" to silence this warning.'
    )
    return True


def _spawn_argv(config: Config) -> list[bytes]:
    role = "host" if config["hosts"] else "worker"
    return [os.fsencode(argument) for argument in (*sys.orig_argv[:-1], role)]


def _count_threads() -> int:
    return len(os.listdir("/proc/self/task"))


def _describe(error: BaseException) -> str:
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _warn(text: str) -> None:
    print(text, file=sys.stderr)


def _import_quietly(name: str) -> None:
    try:
        __import__(name)
    except Exception:
        pass  # whoever needs it in a worker gets the error
