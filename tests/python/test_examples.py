# SPDX-License-Identifier: BSD-3-Clause
"""The programs in examples/ run, and find the same result in every way that they show."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from harness import scripts

EXAMPLES = Path(__file__).parents[2] / "examples"

pytest.importorskip("numpy")


def ways(name: str, *arguments: str) -> list[str]:
    """Which ways a program has timed. It checks by itself that their results agree."""
    done = scripts.run([sys.executable, EXAMPLES / f"{name}.py", *arguments])
    return [line.rsplit(maxsplit=2)[0].strip() for line in done.lines[1:]]


def test_tiles_of_an_image_are_filtered_alike_in_every_way() -> None:
    expected = ["this process", "ProcessPoolExecutor", "owngil"]
    assert ways("image_tiles", "301", "1") == expected


def test_a_data_frame_is_grouped_alike_in_every_way() -> None:
    pytest.importorskip("pandas")
    expected = ["this process", "ProcessPoolExecutor", "owngil"]
    assert ways("group_by", "20000", "1") == expected


def test_a_program_that_lacks_a_package_says_which_extra_has_it() -> None:
    source = f"""
        import runpy, sys
        sys.modules["pandas"] = None
        runpy.run_path({str(EXAMPLES / "group_by.py")!r}, run_name="__main__")
        """
    done = scripts.run_code(source, code=1, quiet=False)
    assert "pip install 'owngil[pandas]'" in done.err
    assert "Traceback" not in done.err
