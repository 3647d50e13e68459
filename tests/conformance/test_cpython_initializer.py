# SPDX-License-Identifier: BSD-3-Clause
"""CPython's tests of initializers, those that fail included."""

from __future__ import annotations

import subjects
from test.test_concurrent_futures import test_init

subjects.define_cases(globals(), test_init.InitializerMixin, subjects.subjects())
subjects.define_cases(globals(), test_init.FailingInitializerMixin, subjects.subjects())
