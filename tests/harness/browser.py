# SPDX-License-Identifier: BSD-3-Clause
"""A headless Chromium, if there is one: what a page looks like once its script has run."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest


def after_script(page: str, folder: Path, more: str = "") -> tuple[str, list[str]]:
    """(the document, what its console said) after the page's script and then `more`."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("there is no Chromium")
    path = folder / "page.html"
    path.write_text(page.replace("</body>", f"<script>{more}</script></body>"), encoding="utf-8")
    run = subprocess.run(
        [
            chromium,
            *("--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"),
            *("--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={folder}/profile"),
            *("--virtual-time-budget=2000", "--dump-dom", path.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
    )
    return run.stdout, [line for line in run.stderr.splitlines() if "CONSOLE" in line]
