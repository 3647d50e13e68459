# SPDX-License-Identifier: BSD-3-Clause
"""Buffers of the standard library's types in arguments and results, of any size."""

from __future__ import annotations

import array
import hashlib
import os
from typing import Any

import pytest
import tasks

import owngil

LARGE = 3 * 64 * 1024 + 8
SIZES = [0, 1, 80, 4096, 64 * 1024 - 1, 64 * 1024, 64 * 1024 + 1, LARGE, 5_000_000]


def digest(value: Any) -> tuple[str, int, str]:
    """The type, size and checksum of something with a buffer, as a worker sees it."""
    data = bytes(value)
    return type(value).__name__, len(data), hashlib.blake2b(data).hexdigest()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_bytes_of_any_size_reach_a_worker_and_come_back(
    pool: owngil.Pool, kind: type, size: int
) -> None:
    data = kind(os.urandom(size))
    assert pool.submit(digest, data).result() == digest(data)
    back = pool.submit(tasks.echo, data).result()
    assert type(back) is kind
    assert back == data


@pytest.mark.parametrize("count", [0, 3, 100_000])
@pytest.mark.parametrize("code", "bHidf")
def test_arrays_of_the_standard_library_keep_type_and_items(
    pool: owngil.Pool, code: str, count: int
) -> None:
    values = array.array(code, (n % 100 for n in range(count)))
    back = pool.submit(tasks.echo, values).result()
    assert (back.typecode, back) == (code, values)


@pytest.mark.parametrize("size", [0, 5, LARGE])
@pytest.mark.parametrize("readonly", [False, True])
def test_a_memoryview_travels_with_its_format_and_its_rights(
    pool: owngil.Pool, size: int, readonly: bool
) -> None:
    view = memoryview(bytes(8 * size) if readonly else bytearray(8 * size)).cast("d")
    back = pool.submit(tasks.echo, view).result()
    assert (back.format, back.shape, back.readonly) == ("d", (size,), readonly)
    assert back == view


def test_large_bytes_that_are_one_object_are_one_object_again(pool: owngil.Pool) -> None:
    data = bytes(LARGE)
    first, (second, [third]) = pool.submit(tasks.echo, (data, (data, [data]))).result()
    assert first is second is third
    assert first == data
