# SPDX-License-Identifier: BSD-3-Clause
"""All experiments by name, in the order in which they teach."""

from __future__ import annotations

from . import countdown, elsewhere, interpreters, loop_delay, taking_turns, waking
from .experiment import Experiment

__all__ = ["EXPERIMENTS"]

EXPERIMENTS: dict[str, Experiment] = {
    experiment.name: experiment
    for module in (countdown, waking, taking_turns, elsewhere, loop_delay, interpreters)
    for experiment in module.EXPERIMENTS
}
