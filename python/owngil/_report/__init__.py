# SPDX-License-Identifier: BSD-3-Clause
"""Reports: one HTML file each, with its pictures, styles and data inside, and nothing to fetch."""
