# SPDX-License-Identifier: BSD-3-Clause
"""The demo's bars as a picture, drawn with matplotlib (the extra `plot`)."""

import importlib
import importlib.util
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from owngil._cli.command_error import CommandError

if TYPE_CHECKING:
    from owngil._cli.demo import Experiment

_COLOURS = ("#9aa5b1", "#d98e4a", "#3f7fb5", "#5a9e6f")


def require(path: str) -> None:
    """Refuse before anything has run if there is no matplotlib, or no place for the file."""
    if importlib.util.find_spec("matplotlib") is None:
        raise CommandError("--plot needs matplotlib: pip install 'owngil[plot]'")
    folder = os.path.dirname(path) or "."
    if not os.access(folder, os.W_OK):
        raise CommandError(f"cannot write {path}: no folder {folder} that may be written")


def draw(path: str, experiments: "Sequence[Experiment]", says: str) -> None:
    """Write one PNG: a group of bars for each experiment, seconds to the right."""
    figure_module: Any = importlib.import_module("matplotlib.figure")
    figure = figure_module.Figure(figsize=(8, 1.2 + 1.4 * len(experiments)), layout="constrained")
    axes = figure.subplots(len(experiments), 1, squeeze=False)[:, 0]
    for axis, experiment in zip(axes, experiments, strict=True):
        rows = experiment.rows
        bars = axis.barh(
            [row.way for row in rows], [row.seconds for row in rows], color=_COLOURS[: len(rows)]
        )
        axis.bar_label(
            bars, [f" {row.seconds:.2f} s, {row.times_faster:.2f}x" for row in rows], padding=2
        )
        axis.invert_yaxis()
        axis.set_title(experiment.title, loc="left", fontsize="medium")
        axis.margins(x=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    axes[-1].set_xlabel("seconds")
    figure.supxlabel(says, fontsize="x-small", wrap=True)
    try:
        figure.savefig(path, dpi=150, format="png")
    except OSError as error:
        raise CommandError(f"cannot write {path}: {error.strerror}") from error
