# SPDX-License-Identifier: BSD-3-Clause
"""The GIL lab: what two articles measured by hand, measured here. Read `experiment.py` first."""
