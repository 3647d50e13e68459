# SPDX-License-Identifier: BSD-3-Clause
"""What figures cannot be read without: the machine and the versions."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys

from owngil._cpus import usable_cpus

__all__ = ["describe", "one_line"]


def describe() -> dict[str, object]:
    """A record for a file."""
    from owngil import __version__

    return {
        "cpu": _cpu_model(),
        "cpus": usable_cpus(),
        "kernel": platform.release(),
        "python": sys.version,
        "gil": getattr(sys, "_is_gil_enabled", lambda: True)(),
        "owngil": __version__,
        "numpy": _version("numpy"),
        "load_average": list(os.getloadavg()),
    }


def one_line(record: dict[str, object]) -> str:
    """As much of it as fits under a title."""
    python = str(record["python"]).partition(" ")[0]
    return (
        f"{record['cpu']}, {record['cpus']} CPUs, Linux {record['kernel']}, Python {python}, "
        f"owngil {record['owngil']}"
    )


def _cpu_model() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith(("model name", "CPU part")):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.machine()


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
