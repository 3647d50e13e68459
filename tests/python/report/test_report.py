# SPDX-License-Identifier: BSD-3-Clause
"""Reports: self-contained, escaped, with axes, units and data; and a browser has no complaint."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from harness import browser
from owngil._cli.command_error import CommandError
from owngil._lab.experiment import Result
from owngil._lab.verdict import Conditions, Verdict
from owngil._report.lab import lab_page, pictures
from owngil._report.page import csv_of, table, write
from owngil._report.quantity import shown, ticks
from owngil._report.svg import Curve, Strip, curves, strips

RESULT = Result(
    "a <name>",
    "a title & more",
    "An article",
    "1 s",
    {"one": [0.25]},
    "It teaches. Twice.",
    {"one": ("how long", "s"), "two": ("how long", "s"), "bytes": ("memory", "B")},
    "def f():\n    return 1 < 2",
    {"one": [[0.1], [0.2], [0.3]], "two": [[9.0], [8.0], [7.0]], "bytes": [[1e6], [2e6], [3e6]]},
    {"three": "it is <not> here"},
    Conditions(2, 1.0, 0.0),
    Verdict("holds", ("a claim: 1x",)),
    1.5,
)
MACHINE = {"cpu": "a CPU", "cpus": 2, "kernel": "6", "python": "3.13 x", "owngil": "1"}
PAGE = lab_page([RESULT, RESULT], MACHINE, "today")


def test_nothing_is_fetched() -> None:
    assert not re.findall(r"(?:src|href)=[\"'](?!#|data:)", PAGE)
    assert "@import" not in PAGE
    assert not re.findall(r"url\(", PAGE)
    assert set(re.findall(r"https?://[^\"' )]+", PAGE)) == {"http://www.w3.org/2000/svg"}


def test_what_is_not_ours_is_escaped() -> None:
    assert "a &lt;name&gt;" in PAGE
    assert "it is &lt;not&gt; here" in PAGE
    assert "return 1 &lt; 2" in PAGE
    assert "a <name>" not in PAGE


def test_what_is_measured_alike_shares_a_picture_and_has_its_data() -> None:
    pictures = re.findall(r"<figure>(.*?)</figure>", PAGE, re.DOTALL)
    assert len(pictures) == 4  # seconds and bytes, of two results
    assert "how long, logarithmic" in pictures[0]  # 0.2 s and 8 s
    assert "memory" in pictures[1]
    copied = re.search(r"<pre>(.*?)</pre>", pictures[0], re.DOTALL)
    assert copied is not None
    rows = list(csv.reader(io.StringIO(copied[1])))
    assert rows[0] == ["way", "round", "how long [s]"]
    assert rows[1:] == [[way, str(i), str(v)] for way in ("one", "two") for i, (v,) in
                        enumerate(RESULT.samples[way])]  # fmt: skip


def test_every_plot_is_well_formed_and_has_axes_with_units() -> None:
    strip = strips([Strip("<a>", [1.0, 2.0], 1.5, 1.0, 2.0, [3.0])], "time", "s")
    curve = curves([Curve("a & b", [(1, 1.0), (2, 2.0)], [(0.9, 1.1), (1.9, 2.1)])], "workers",
                   "speed-up", "x", [1, 2])  # fmt: skip
    for picture, axes in ((strip, {"time"}), (curve, {"workers", "speed-up"})):
        root = ElementTree.fromstring(picture)
        texts = {element.text for element in root.iter() if element.text}
        assert axes <= texts
        assert any(text.endswith((" s", "x")) for text in texts)
        for element in root.iter():
            for name in ("x", "cx", "x1", "x2"):
                assert -1 <= float(element.get(name, 0)) <= 481


def test_samples_of_nothing_but_zeros_are_drawn() -> None:
    ElementTree.fromstring(strips([Strip("a", [0.0, 0.0], 0.0, 0.0, 0.0)], "time", "s"))


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0, "s", "0"),
        (1.234, "s", "1.23 s"),
        (0.00534, "s", "5.34 ms"),
        (2e-7, "s", "0.2 µs"),
        (21_500.0, "1/s", "21,500/s"),
        (1_978_368.0, "B", "1.89 MiB"),
        (12.0, "B", "12 B"),
        (1.996, "x", "2x"),
        (float("inf"), "x", "∞"),
    ],
)
def test_a_quantity_has_three_digits_and_a_unit(value: float, unit: str, text: str) -> None:
    assert shown(value, unit) == text


def test_ticks_are_round_and_few() -> None:
    assert ticks(0, 1, False) == [0, 0.2, 0.4, 0.6, 0.8, 1]
    assert ticks(0.001, 100, True) == [0.001, 0.01, 0.1, 1, 10, 100]
    assert len(ticks(1e-9, 1e9, True)) <= 8


def test_a_report_that_cannot_be_written_is_said_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"cannot write .*: Is a directory"):
        write(str(tmp_path), "text")
    write(str(tmp_path / "page"), "text")
    assert (tmp_path / "page").read_text() == "text"


def test_a_result_shows_itself_in_a_notebook() -> None:
    shown_ = RESULT._repr_html_()
    assert "<svg" in shown_
    assert "<html" not in shown_
    assert ":root" not in shown_
    assert "body {" not in shown_


def test_a_browser_runs_its_script_without_a_complaint(tmp_path: Path) -> None:
    document, console = browser.after_script(PAGE, tmp_path)
    assert 'data-owngil="ready"' in document
    assert console == []


def test_a_click_on_a_head_sorts_by_value(tmp_path: Path) -> None:
    cells = [("1 s", 1.0), ("200 ms", 0.2), ("30 s", 30.0)]
    page = lab_page([], MACHINE, "today").replace(
        "</main>", table(["time"], [[cell] for cell in cells]) + "</main>"
    )
    click = "document.querySelectorAll('th button')[3].click();"
    for clicks, order in ((1, ["200 ms", "1 s", "30 s"]), (2, ["30 s", "1 s", "200 ms"])):
        document, console = browser.after_script(page, tmp_path, click * clicks)
        assert re.findall(r"<td data-v[^>]*>([^<]*)</td>", document) == order
        assert console == []


def test_csv_quotes_what_it_must() -> None:
    assert csv_of(["a"], [["x,y"], [1.5]]) == 'a\n"x,y"\n1.5\n'


def test_a_picture_stands_alone_with_its_styles() -> None:
    seconds, size = pictures(RESULT)
    for picture, axis in ((seconds, "how long"), (size, "memory")):
        root = ElementTree.fromstring(picture)
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert axis in picture
        assert "prefers-color-scheme" in picture
        texts = [element.text for element in root.iter() if element.text]
        assert "a <name>: a title & more" in texts
        assert "median of the rounds" in texts
    assert "the article" in seconds
    assert "the article<" not in size  # it saw nothing of that


def test_no_label_of_an_axis_leaves_the_picture() -> None:
    picture = strips([Strip("a", [100_000.0], 100_000.0, 100_000.0, 100_000.0)], "rate", "1/s")
    root = ElementTree.fromstring(picture)
    labels = [one for one in root.iter() if one.get("class") == "tick" and one.text]
    assert "100,000/s" in [label.text for label in labels]
    for label in labels:
        half = 3 * len(label.text or "")
        assert half <= float(label.get("x", 0)) <= 480 - half
