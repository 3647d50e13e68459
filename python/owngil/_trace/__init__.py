# SPDX-License-Identifier: BSD-3-Clause
"""`owngil.trace`: who held the GIL, who waited for it, and what the tasks did."""

from .recorder import trace

__all__ = ["trace"]
