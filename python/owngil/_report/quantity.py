# SPDX-License-Identifier: BSD-3-Clause
"""Numbers with their units, as a reader wants them."""

from __future__ import annotations

import math

__all__ = ["shown", "ticks"]

_BYTES = ("B", "KiB", "MiB", "GiB", "TiB")


def shown(value: float, unit: str) -> str:
    """Three digits and a unit: seconds become ms or µs, bytes KiB or MiB."""
    if not math.isfinite(value):
        return "∞" if value > 0 else "-"
    if value == 0:
        return "0"
    if unit == "s":
        for scale, name in ((1, "s"), (1e3, "ms"), (1e6, "µs")):
            if abs(value) * scale >= 1 or name == "µs":
                return f"{_digits(value * scale)} {name}"
    if unit == "B":
        power = min(len(_BYTES) - 1, int(math.log(abs(value), 1024)) if abs(value) >= 1 else 0)
        return f"{_digits(value / 1024**power)} {_BYTES[power]}"
    if unit == "1/s":
        return f"{_digits(value)}/s"
    return f"{_digits(value)}{unit}"


def _digits(value: float) -> str:
    if abs(value) >= 999.5:
        return f"{value:,.0f}"
    text = f"{value:.3g}"
    return f"{value:.4f}" if "e" in text and abs(value) < 1 else text


def ticks(low: float, high: float, logarithmic: bool) -> list[float]:
    """Round values for an axis, at most about seven."""
    if logarithmic:
        first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
        step = max(1, math.ceil((last - first) / 6))
        return [10.0**power for power in range(first, last + 1, step)]
    span = high - low or 1.0
    raw = span / 5
    power = 10.0 ** math.floor(math.log10(raw))
    width = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw)
    first = math.ceil(low / width)
    return [round(i * width, 12) for i in range(first, math.floor(high / width + 1e-9) + 1)]
