# SPDX-License-Identifier: BSD-3-Clause
"""How to start Python so that it becomes a template, a worker or a host of this package.

The program is this very interpreter with this process's flags; a stub on its command line loads
the package and `_core` from where they lie now. So nothing of the user's comes before it on
`sys.path`, `__main__` is not run again, and venv, uv, conda and `python -m` need no word.

Not: what a template does then; see `_template`. Imports nothing that is not loaded anyway.
"""

from __future__ import annotations

import marshal
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Literal

    Role = Literal["template", "worker", "host"]

__all__ = ["launch_spec", "working_directory"]

# Private names of importlib: its public ones are reached through importlib.util, which costs half
# a millisecond. Arguments: the package's __init__.py, `_core`, the role.
_STUB = (
    "import sys;"
    "from _frozen_importlib import _load;"
    "from _frozen_importlib_external import spec_from_file_location as spec;"
    "_load(spec('owngil',sys.argv[1],submodule_search_locations=[sys.argv[1][:-12]]))"
    "._core=_load(spec('owngil._core',sys.argv[2]));"
    "from owngil._template import main;"
    "main(sys.argv[3])"
)
_INIT = "__init__.py"  # 12 with the separator before it: what the stub cuts off


def launch_spec(
    role: Role,
    *,
    hosts: bool = False,
    preload: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
) -> tuple[list[bytes], list[bytes], bytes, bytes]:
    """(argv, environment, path of the guardian, configuration) for runtime::LaunchSpec.

    `hosts`: it, or what it forks, is to host interpreters. `environ`: what to add to this process's
    environment. RuntimeError says why there is no way to start a worker from this process.
    """
    init, core = _package_files()
    argv = [
        os.fsencode(argument)
        for argument in (_executable(), *_flags(), "-c", _STUB, init, core, role)
    ]
    variables = dict(os.environb)
    for name, value in (environ or {}).items():
        variables[os.fsencode(name)] = os.fsencode(value)
    guardian = os.path.join(os.path.dirname(core), "owngil-guardian")
    env = [name + b"=" + value for name, value in variables.items()]
    return argv, env, os.fsencode(guardian), _config(hosts, preload)


def _config(hosts: bool, preload: Sequence[str]) -> bytes:
    from _signal import SIG_IGN, SIGINT, getsignal

    config: dict[str, object] = {
        "hosts": hosts,
        "ignores_interrupt": getsignal(SIGINT) == SIG_IGN,
    }
    if preload:
        # What is preloaded may look at these; else they come with the first task, and are left
        # out so that pools share a template though they have changed.
        config["preload"] = list(preload)
        config["argv"] = [str(argument) for argument in getattr(sys, "argv", ())]
        config["path"] = [entry for entry in sys.path if isinstance(entry, str)]
        config["cwd"] = working_directory()
    return marshal.dumps(config)


def working_directory() -> str | None:
    try:
        return os.getcwd()
    except OSError:  # it has been removed
        return None


def _package_files() -> tuple[str, str]:
    from . import _core

    init = os.path.join(os.path.dirname(os.path.abspath(__file__)), _INIT)
    core = os.path.abspath(getattr(_core, "__file__", None) or "")
    for path in (init, core):
        if not os.path.isfile(path):
            raise RuntimeError(
                f"owngil cannot start workers: {path!r} is not a file. The package must be "
                "installed in a folder, not in a zip archive or a frozen program, because its "
                "workers load it from there."
            )
    return init, core


def _executable() -> str:
    # The user may have told multiprocessing what to run: programs that embed Python have to.
    spawn = sys.modules.get("multiprocessing.spawn")
    told = spawn.get_executable() if spawn is not None else None
    found = told or sys.executable or getattr(sys, "_base_executable", None)
    if not found:
        raise RuntimeError(
            "owngil cannot start workers: sys.executable is empty, as it is in a program that "
            "embeds Python. Name the interpreter with multiprocessing.set_executable(path)."
        )
    path = os.fsdecode(found)
    if not os.path.isabs(path):
        path = os.path.abspath(path)
    if not os.access(path, os.X_OK):
        raise RuntimeError(
            f"owngil cannot start workers: the interpreter {path!r} cannot be executed."
        )
    return path


# As subprocess._args_from_interpreter_flags, whose module takes milliseconds to import and which
# leaves some of the -X options out.
_SHORT_FLAGS = {
    "debug": "d",
    "dont_write_bytecode": "B",
    "no_site": "S",
    "verbose": "v",
    "bytes_warning": "b",
    "quiet": "q",
}


def _flags() -> list[str]:
    flags = sys.flags
    arguments = ["-" + "O" * flags.optimize] if flags.optimize else []
    for name, letter in _SHORT_FLAGS.items():
        if count := int(getattr(flags, name)):
            arguments.append("-" + letter * count)
    if flags.isolated:
        arguments.append("-I")
    else:
        if flags.ignore_environment:
            arguments.append("-E")
        if flags.no_user_site:
            arguments.append("-s")
        if flags.safe_path:
            arguments.append("-P")
    arguments += ["-W" + option for option in _warning_options()]
    if flags.dev_mode:
        arguments += ["-X", "dev"]
    for name, value in sys._xoptions.items():
        if name != "dev":
            arguments += ["-X", name if value is True else f"{name}={value}"]
    return arguments


def _warning_options() -> list[str]:
    """Those that do not follow from -b and -X dev."""
    implied = []
    if sys.flags.bytes_warning:
        action = "error" if sys.flags.bytes_warning > 1 else "default"
        implied.append(action + "::BytesWarning")
    if sys.flags.dev_mode:
        implied.append("default")
    options = list(sys.warnoptions)
    for option in implied:
        if option in options:
            options.remove(option)
    return options
