# SPDX-License-Identifier: BSD-3-Clause
"""What a dying worker has written of its stacks becomes text, whatever it is."""

from __future__ import annotations

import random

from owngil._stacks import readable

CURRENT = """\
Current thread 0x00007f31f57fa700 (most recent call first):
  File "/home/me/work.py", line 12 in inner
  File "/home/me/work.py", line 7 in outer
"""
START = """\
  File "/lib/owngil/_working.py", line 93 in work
  File "/lib/owngil/_template.py", line 50 in main
  File "<string>", line 1 in <module>
"""
OTHER = """\
Thread 0x00007f31f57fb700 (most recent call first):
  File "/lib/threading.py", line 359 in wait
"""


def test_the_thread_that_it_is_about_comes_first() -> None:
    text = f"{OTHER}\n{CURRENT}\n{OTHER}".encode()
    assert readable(text) == f"{CURRENT}\n{OTHER}\n{OTHER}".removesuffix("\n")


def test_how_a_worker_starts_is_left_out() -> None:
    assert readable((CURRENT + START).encode()) == CURRENT.removesuffix("\n")


def test_a_worker_that_has_not_come_to_a_task_shows_how_it_starts() -> None:
    header = CURRENT.splitlines(keepends=True)[0]
    assert readable((header + START).encode()) == (header + START).removesuffix("\n")


def test_a_line_that_was_cut_off_is_left_out() -> None:
    whole = CURRENT.splitlines()[:2]
    assert readable(CURRENT[:-20].encode()) == "\n".join(whole)


def test_names_in_any_script_stay_and_what_is_no_text_is_escaped() -> None:
    text = '  File "größe.py", line 1 in \x1b[31mred\x07\u202e\n'
    assert readable(text.encode()) == '  File "größe.py", line 1 in \\x1b[31mred\\x07\\u202e'
    assert readable(b"\xff\xfe\x00\n") == "\\xff\\xfe\\x00"


def test_nothing_written_is_nothing_to_read() -> None:
    assert readable(b"") == ""
    assert readable(b"\n\n\n") == ""


def test_of_very_many_threads_the_first_ones_are_shown() -> None:
    text = readable((OTHER + "\n").encode() * 2000 + CURRENT.encode())
    assert text.startswith(CURRENT)
    assert text.endswith("\n  ...")
    assert len(text) < 17_000


def test_any_bytes_make_short_lines_of_printable_text() -> None:
    chance = random.Random(1)
    for _ in range(200):
        written = chance.randbytes(chance.randrange(2000))
        text = readable(written + b"\n" * chance.randrange(2))
        assert len(text) < 17_000
        assert all(line.isprintable() for line in text.split("\n"))
