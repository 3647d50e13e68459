# SPDX-License-Identifier: BSD-3-Clause
"""The CPUs and the memory that a process may use, with cgroups of both versions in a folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from owngil import _cgroups, _cpus, _memory

Lay = Callable[[str, dict[str, str]], None]


@pytest.fixture
def lay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lay:
    """lay(what /proc/self/cgroup says, files with their text): on a machine of 64 CPUs."""
    monkeypatch.setattr(_cgroups, "_CGROUPS", f"{tmp_path}/fs")
    monkeypatch.setattr(_cgroups, "_OWN_CGROUPS", f"{tmp_path}/own")
    monkeypatch.setattr(_cgroups, "_known", {})
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))

    def lay(own: str, files: dict[str, str]) -> None:
        (tmp_path / "own").write_text(own)
        for name, text in files.items():
            file = tmp_path / "fs" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)

    return lay


def test_without_a_quota_the_affinity_counts(lay: Lay) -> None:
    lay("0::/user/task\n", {"user/task/cpu.max": "max 100000\n", "user/cpu.max": "max 100000\n"})
    assert _cpus.usable_cpus() == 64


def test_without_cgroups_the_affinity_counts(lay: Lay) -> None:
    assert _cpus.usable_cpus() == 64


def test_a_quota_counts_upwards_to_whole_cpus(lay: Lay) -> None:
    lay("0::/task\n", {"task/cpu.max": "250000 100000\n"})
    assert _cpus.usable_cpus() == 3


def test_the_smallest_quota_of_a_group_and_those_around_it_counts(lay: Lay) -> None:
    quotas = {
        "a/b/cpu.max": "800000 100000\n",
        "a/cpu.max": "200000 100000\n",
        "cpu.max": "400000 100000\n",
    }
    lay("0::/a/b\n", quotas)
    assert _cpus.usable_cpus() == 2


def test_a_quota_of_version_1_is_in_two_files(lay: Lay) -> None:
    quotas = {
        "cpu/task/cpu.cfs_quota_us": "500000\n",
        "cpu/task/cpu.cfs_period_us": "100000\n",
        "cpu/cpu.cfs_quota_us": "-1\n",
        "cpu/cpu.cfs_period_us": "100000\n",
    }
    lay("3:memory:/other\n1:cpu,cpuacct:/task\n", quotas)
    assert _cpus.usable_cpus() == 5


def test_a_container_that_sees_its_group_as_the_root_has_the_quota_there(lay: Lay) -> None:
    lay("1:cpu:/docker/abc\n", {"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "50000"})
    assert _cpus.usable_cpus() == 2


def test_a_quota_that_has_changed_and_another_group_are_noticed(lay: Lay) -> None:
    lay("0::/a\n", {"a/cpu.max": "200000 100000\n", "b/cpu.max": "500000 100000\n"})
    assert _cpus.usable_cpus() == 2
    lay("0::/a\n", {"a/cpu.max": "300000 100000\n"})
    assert _cpus.usable_cpus() == 3
    lay("0::/b\n", {})
    assert _cpus.usable_cpus() == 5


def test_a_quota_below_one_cpu_leaves_one(lay: Lay) -> None:
    lay("0::/\n", {"cpu.max": "10000 100000\n"})
    assert _cpus.usable_cpus() == 1


def test_the_smallest_limit_of_memory_counts(lay: Lay) -> None:
    limits = {
        "a/b/memory.max": "max\n",
        "a/memory.max": "4194304\n",
        "a/memory.high": "2097152\n",
        "memory.max": "8388608\n",
    }
    lay("0::/a/b\n", limits)
    assert _memory.usable_memory() == 2 << 20


def test_a_limit_of_memory_of_version_1_counts(lay: Lay) -> None:
    lay("5:memory:/task\n", {"memory/task/memory.limit_in_bytes": "1048576\n"})
    assert _memory.usable_memory() == 1 << 20


def test_without_a_limit_the_memory_of_the_machine_counts(lay: Lay) -> None:
    lay("0::/task\n", {"task/memory.max": "max\n"})
    assert _memory.usable_memory() == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
