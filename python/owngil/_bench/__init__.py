# SPDX-License-Identifier: BSD-3-Clause
"""The programs of bench/ behind one command: they are run, saved and compared here."""
