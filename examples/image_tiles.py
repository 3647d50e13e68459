# SPDX-License-Identifier: BSD-3-Clause
"""One large image, sharpened in tiles: with owngil, and with ProcessPoolExecutor.

    python examples/image_tiles.py [side]

The image is made in shared memory, so `share()` copies none of it: a task gets its name, reads its
tile of it and a margin, and returns a new tile, which is not copied either. The standard pool
pickles each tile, and its result, through a pipe. Both give the same image.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from typing import Any

import numpy

import owngil

MARGIN = 2


def sharpen(tile: Any) -> Any:
    """Takes out the blur of 5 x 5 pixels; what is left has no margin any more."""
    height, width = (side - 2 * MARGIN for side in tile.shape)
    blurred = numpy.zeros((height, width), "float32")
    for y in range(2 * MARGIN + 1):
        for x in range(2 * MARGIN + 1):
            blurred += tile[y : y + height, x : x + width]
    blurred *= -1 / (2 * MARGIN + 1) ** 2
    blurred += 2 * tile[MARGIN:-MARGIN, MARGIN:-MARGIN]
    return blurred


def sharpen_rows(image: Any, first: int, last: int) -> Any:
    """The same, of these rows of a whole image."""
    return sharpen(image[first : last + 2 * MARGIN])


def rows(image: Any, count: int) -> Iterator[tuple[int, int]]:
    """The image without its margin, cut into so many stripes."""
    height = image.shape[0] - 2 * MARGIN
    for n in range(count):
        yield n * height // count, (n + 1) * height // count


def with_owngil(pool: owngil.Pool, image: Any, count: int) -> Any:
    with pool.share(image) as shared:
        tiles = [
            pool.submit(sharpen_rows, shared, first, last) for first, last in rows(image, count)
        ]
        return gather(image, (tile.result() for tile in tiles))


def with_the_standard_pool(pool: Executor, image: Any, count: int) -> Any:
    tiles = [
        pool.submit(sharpen, image[first : last + 2 * MARGIN]) for first, last in rows(image, count)
    ]
    return gather(image, (tile.result() for tile in tiles))


def gather(image: Any, tiles: Iterator[Any]) -> Any:
    result = numpy.empty([side - 2 * MARGIN for side in image.shape], "float32")
    first = 0
    for tile in tiles:
        result[first : first + len(tile)] = tile
        first += len(tile)
    return result


def make(side: int) -> Any:
    """Noise, in shared memory."""
    image = owngil.empty((side + 2 * MARGIN, side + 2 * MARGIN), "float32")
    numpy.random.default_rng(7).random(image.shape, "float32", out=image)
    return image


def best_of(rounds: int, ways: dict[str, Any]) -> dict[str, tuple[float, Any]]:
    """Each way's best time, and its result; they take turns, after one round of practice."""
    best: dict[str, tuple[float, Any]] = {}
    for n in range(rounds + 1):
        for name, way in ways.items():
            began = time.perf_counter()
            result = way()
            took = time.perf_counter() - began
            if n == 1 or (n > 1 and took < best[name][0]):
                best[name] = took, result
    return best


def main(side: int = 4000, rounds: int = 3) -> None:
    image = make(side)
    print(f"{side} x {side} pixels, {image.nbytes / 1e6:.0f} MB")
    with owngil.Pool() as pool, ProcessPoolExecutor() as standard:
        count = 4 * len(pool.stats().workers)
        best = best_of(
            rounds,
            {
                "this process": lambda: sharpen(image),
                "ProcessPoolExecutor": lambda: with_the_standard_pool(standard, image, count),
                "owngil": lambda: with_owngil(pool, image, count),
            },
        )
    (_, expected), *others = best.values()
    assert all(numpy.array_equal(result, expected) for _, result in others)
    for name, (took, _) in best.items():
        print(f"{name:20} {took * 1e3:8.1f} ms")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
