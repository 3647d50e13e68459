# SPDX-License-Identifier: BSD-3-Clause
"""What a figure cannot be read without: machine, versions, commit, and how busy it was."""

import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path

_PEERS = ("loky", "joblib", "mpire", "pebble", "distributed", "ray")
_PACKAGES = ("owngil", *_PEERS, "cloudpickle", "numpy")


def describe() -> dict[str, object]:
    """A record for the JSON file."""
    return {
        "cpu": _cpu_model(),
        "cpus_present": os.cpu_count(),
        "cpus_used": sorted(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "libc": " ".join(platform.libc_ver()),
        "load_average_before": list(os.getloadavg()),
        "python": sys.version,
        "packages": {name: _version(name) for name in _PACKAGES if _version(name)},
        "commit": _commit(),
    }


def one_line(record: dict[str, object]) -> str:
    """The same, as much as fits above a table."""
    cpus = record["cpus_used"]
    load = record["load_average_before"]
    assert isinstance(cpus, list)
    assert isinstance(load, list)
    return (
        f"{record['cpu']}, CPUs {','.join(map(str, cpus))} of {record['cpus_present']}, "
        f"Linux {record['kernel']}, Python {platform.python_version()}, "
        f"commit {record['commit']}, load {load[0]:.2f}"
    )


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith(("model name", "CPU part")):
            return line.partition(":")[2].strip()
    return platform.machine()


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _commit() -> str:
    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(Path(__file__).parent), *arguments],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()

    try:
        commit = git("rev-parse", "--short=10", "HEAD")
        return commit + ("+changes" if git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
