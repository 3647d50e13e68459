# SPDX-License-Identifier: BSD-3-Clause
"""`python -m owngil` is the command `owngil`."""

import sys

from owngil._cli import main

sys.exit(main())
