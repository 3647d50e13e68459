# SPDX-License-Identifier: BSD-3-Clause
"""The one exception by which a command says, in a sentence, why it cannot do as asked."""


class CommandError(Exception):
    """Printed without a traceback; the exit status is 2."""
