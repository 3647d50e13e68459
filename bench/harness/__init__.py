# SPDX-License-Identifier: BSD-3-Clause
"""What the benchmarks share. Read `contest.py` first; bench/README.md says how it measures."""
