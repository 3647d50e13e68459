# SPDX-License-Identifier: BSD-3-Clause
"""Figures into tables and a JSON record."""

from collections.abc import Mapping, Sequence

from harness.figures import Figures, Goal, Metric


def tables(
    figures: Figures,
    metrics: Sequence[Metric],
    contenders: Sequence[str],
    references: Sequence[str],
) -> str:
    """One table a metric; a row a contender that has measured it."""
    texts = []
    for metric in metrics:
        names = [name for name in contenders if figures.has(name, metric.name)]
        against = [name for name in references if name in names]
        if not names:
            continue
        statistics = ["p50", "p90", "p99", "max"] if metric.kind == "latency" else _ONE_A_TURN
        header = [
            f"{metric.name}, {metric.unit}",
            *(s if s != "p50" else "median" for s in statistics),
        ]
        header += [f"x {name}" for name in against]
        rows = []
        for name in names:
            row = [name]
            row += [
                shown(figures.statistic(name, metric.name, s) * metric.scale) for s in statistics
            ]
            row += [_times(figures, metric, name, other) for other in against]
            rows.append(row)
        texts.append(aligned([header, *rows]))
    return "\n\n".join(texts)


_ONE_A_TURN = ["p50", "min", "max"]


def verdicts(figures: Figures, metrics: Sequence[Metric], goals: Sequence[Goal]) -> list[str]:
    """A line for each goal: reached, missed, or not measured."""
    return [f"  {state:7}  {text}" for state, text in (_judge(figures, metrics, g) for g in goals)]


def record(
    figures: Figures, metrics: Sequence[Metric], goals: Sequence[Goal], failures: Mapping[str, str]
) -> dict[str, object]:
    """What the JSON file keeps of one question: figures in SI units, no raw samples."""
    statistics = ("p50", "p90", "p99", "min", "max")
    return {
        "metrics": {m.name: {"kind": m.kind, "unit": m.unit, "scale": m.scale} for m in metrics},
        "contenders": {
            name: {
                metric: {s: figures.statistic(name, metric, s) for s in statistics}
                | {"round_medians": [sorted(one)[len(one) // 2] for one in rounds if one]}
                for metric, rounds in by_metric.items()
                if any(rounds)
            }
            for name, by_metric in figures.rounds.items()
        },
        "goals": [
            {"state": state, "goal": text}
            for state, text in (_judge(figures, metrics, goal) for goal in goals)
        ],
        "absent": dict(failures),
    }


def shown(value: float) -> str:
    """A number to three or four figures, however large."""
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.{3 if abs(value) < 1 else 2 if abs(value) < 100 else 1}f}"


def _judge(figures: Figures, metrics: Sequence[Metric], goal: Goal) -> tuple[str, str]:
    metric = next(m for m in metrics if m.name == goal.metric)
    name = f"{goal.contender}, {goal.metric}"
    limit = shown(goal.limit)
    wanted = {
        "at most": f"{name}: {goal.statistic} at most {limit} {metric.unit}",
        "at least": f"{name}: {goal.statistic} at least {limit} {metric.unit}",
        "better": f"{name}: at least {limit} times better than {goal.against}",
        "within": f"{name}: within {limit} times {goal.against_metric or goal.against}",
        "above": f"{name}: at most {limit} {metric.unit} above {goal.against}",
    }[goal.kind].replace("p50", "median")
    other = goal.against_metric or goal.metric
    if not figures.has(goal.contender, goal.metric) or (
        goal.against and not figures.has(goal.against, other)
    ):
        return "unknown", wanted

    value = figures.statistic(goal.contender, goal.metric, goal.statistic) * metric.scale
    if goal.kind == "at most":
        reached = value <= goal.limit
    elif goal.kind == "at least":
        reached = value >= goal.limit
    elif goal.kind == "above":
        value -= figures.statistic(goal.against, other, goal.statistic) * metric.scale
        reached = value <= goal.limit
    else:
        value = figures.cost(goal.contender, metric, goal.against, other)
        if goal.kind == "better":
            value = 1 / value if value else float("inf")
            reached = value >= goal.limit
        else:
            reached = value <= goal.limit
    return ("reached" if reached else "MISSED"), f"{wanted}; is {shown(value)}"


def _times(figures: Figures, metric: Metric, name: str, other: str) -> str:
    if name == other:
        return "1"
    cost = figures.cost(name, metric, other)
    if metric.kind == "rate":
        cost = 1 / cost if cost else float("inf")
    return shown(cost)


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Columns that line up: the first to the left, the others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
