# SPDX-License-Identifier: BSD-3-Clause
"""How long does `import owngil` take, beside the imports of the standard pools?

Each sample is one import in a new interpreter, timed inside it.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from harness.contest import Variant, main
from harness.executors import KINDS
from harness.figures import Goal, Metric, Samples
from harness.turns import Contender, Settings, Turn

_FUTURES = "import concurrent.futures"
_PROGRAM = "import time; a = time.perf_counter(); {}; print(time.perf_counter() - a)"


def statement(text: str, kind: str = "ProcessPoolExecutor") -> Contender:
    """A contender whose samples are runs of one import statement."""

    @contextmanager
    def open_(settings: Settings) -> Iterator[Turn]:
        def turn(number: int) -> Samples:
            seconds = []
            for _ in range(5):
                run = subprocess.run(
                    [sys.executable, "-c", _PROGRAM.format(text)],
                    stdout=subprocess.PIPE,
                    text=True,
                    check=True,
                )
                seconds.append(float(run.stdout))
            return {"import": seconds}

        yield turn

    return Contender(text, open_, KINDS[kind].missing)


VARIANTS = (
    Variant(
        "import",
        "one statement in a new interpreter",
        [
            statement("import owngil", "owngil"),
            statement("from owngil import Pool", "owngil"),
            statement(_FUTURES),
            statement("from concurrent.futures import ProcessPoolExecutor"),
            statement("from multiprocessing.pool import Pool"),
            statement("import cloudpickle", "owngil"),
            statement("import loky", "loky"),
            statement("import joblib", "joblib"),
            statement("import mpire", "mpire"),
            statement("import pebble", "pebble"),
        ],
        (Metric("import", "latency", "ms", 1e3),),
        (
            Goal("import", "above", 4, _FUTURES, contender="import owngil"),
            Goal("import", "above", 4, _FUTURES, contender="from owngil import Pool"),
        ),
        references=(_FUTURES,),
        rounds=7,
    ),
)

if __name__ == "__main__":
    main(__doc__, VARIANTS)
