// SPDX-License-Identifier: BSD-3-Clause
// What programs that use libowngil see of it: everything else is hidden.
#pragma once

#define OWNGIL_EXPORT __attribute__((visibility("default")))
