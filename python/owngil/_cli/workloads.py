# SPDX-License-Identifier: BSD-3-Clause
"""The CPU-bound work that the commands run: functions of plain values, importable by workers."""

import ast
import sys
import sysconfig
from pathlib import Path


def countdown(n: int) -> int:
    """Count down to nothing in pure Python and return what is left: 0."""
    while n > 0:
        n -= 1
    return n


def count_nodes(path: str) -> int:
    """Parse one source file and count the nodes of its syntax tree; 0 if it does not parse."""
    try:
        tree = ast.parse(Path(path).read_bytes(), path)
    except SyntaxError:
        return 0
    return sum(1 for _ in ast.walk(tree))


def standard_library() -> list[str]:
    """The source files of every module in `sys.stdlib_module_names`, in order of name."""
    root = Path(sysconfig.get_path("stdlib"))
    paths: list[Path] = []
    for name in sorted(sys.stdlib_module_names):
        module = root / f"{name}.py"
        if module.is_file():
            paths.append(module)
        paths.extend(sorted((root / name).rglob("*.py")))
    return [str(path) for path in paths]
