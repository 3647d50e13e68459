# SPDX-License-Identifier: BSD-3-Clause
"""Tells a program that is not Python how to start this interpreter as a template or a worker.

`cpp/launch.cpp` starts it and reads the answer: a pickle of plain values.
"""

from __future__ import annotations

import marshal
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._bootstrap import Role

__all__ = ["answer"]

_ANSWER_FD = 3  # kAnswerFd


def answer(role: Role, kind: str, *preload: str) -> None:
    """Write it. `kind`: of the workers, "processes" or "interpreters".

    Nothing else may come there, so not to stdout, where a site module may print.
    """
    import _pickle

    data = _pickle.dumps(_find(role, kind == "interpreters", preload), 5)
    while data:
        data = data[os.write(_ANSWER_FD, data) :]


def _find(role: Role, hosts: bool, preload: tuple[str, ...]) -> dict[str, object]:
    # As it is to be in a worker: neither the -c of this process nor what it was told.
    sys.argv[:] = [""]
    if sys.path and sys.path[0] == "" and not sys.flags.safe_path:
        del sys.path[0]
    try:
        from ._bootstrap import launch_spec, working_directory

        argv, _, guardian, config = launch_spec(role, hosts=hosts, preload=preload)
        reuses_places = hosts and _interpreters_end_in_place()
    except ImportError as error:
        return {"error": f"{_describe()} cannot run workers: {error}. {_say_which()}"}
    except RuntimeError as error:
        return {"error": str(error)}
    terms = marshal.loads(config)
    terms["cwd"] = working_directory()
    return {
        "argv": argv,
        "guardian": guardian,
        "config": marshal.dumps(terms),
        "reuses_places": reuses_places,
    }


def _interpreters_end_in_place() -> bool:
    from ._cpython import interpreters

    return interpreters().end_in_place


def _describe() -> str:
    version = ".".join(map(str, sys.version_info[:3]))
    return f"{sys.executable or 'this program'} (Python {version})"


def _say_which() -> str:
    folder = os.path.dirname(os.path.abspath(__file__))
    built = [name for name in sorted(os.listdir(folder)) if name.startswith("_core.")]
    if not built:
        return f"The package in {folder} was installed without its module _core."
    return f"The package in {folder} was built for {', '.join(built)}."
