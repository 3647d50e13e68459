# SPDX-License-Identifier: BSD-3-Clause
"""The option by which the programs of this folder repeat a run, as far as that can be."""

from __future__ import annotations

import argparse
import random


def add_seed(parser: argparse.ArgumentParser) -> None:
    new = random.SystemRandom().randrange(10**6)
    parser.add_argument("--seed", type=int, default=new, metavar="N", help="default: a new one")
