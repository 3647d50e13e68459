# SPDX-License-Identifier: BSD-3-Clause
"""Finds the programs of bench/, which lie in the source tree and in no wheel, and runs one."""

from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["folder", "questions", "run"]


def folder() -> Path | None:
    """Where they are; None if this package was installed without its source."""
    here = Path(__file__).resolve().parents[3] / "bench"
    return here if (here / "harness" / "contest.py").is_file() else None


def questions(programs: Path) -> dict[str, str]:
    """Name -> the question that it asks."""
    found = {}
    for path in sorted(programs.glob("[!_]*.py")):
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        found[path.stem] = text.partition("\n")[0]
    return found


def run(programs: Path, name: str, wanted: Mapping[str, str]) -> dict[str, Any]:
    """One program's record, as its --json writes it; RuntimeError if it fails.

    `wanted` are options with their values; a program that does not have one runs without it.
    """
    source = (programs / f"{name}.py").read_text(encoding="utf-8")
    options = [
        word
        for option, value in wanted.items()
        if "main(__doc__, VARIANTS)" in source or f'"--{option}"' in source
        for word in (f"--{option}", value)
        if word
    ]
    with tempfile.TemporaryDirectory(prefix="owngil-bench-") as scratch:
        path = os.path.join(scratch, "record.json")
        command = [sys.executable, str(programs / f"{name}.py"), *options, "--json", path]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    if path not in line:  # where the record is, is nobody's business
                        print(line, end="", flush=True)
                status = process.wait()
            except BaseException:
                process.send_signal(signal.SIGTERM)  # it ends its contenders
                raise
        if status:
            raise RuntimeError(f"bench/{name}.py ended with status {status}")
        with open(path, encoding="utf-8") as file:
            record: dict[str, Any] = json.load(file)
        return record
