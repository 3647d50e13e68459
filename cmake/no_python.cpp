// SPDX-License-Identifier: BSD-3-Clause
// Part of every library that must not know Python: it does not compile where Python.h is within
// reach, be it through a target that was linked or through the environment.
#if __has_include(<Python.h>)
#error "Python.h is reachable here; it belongs to workers/ and python/binding/ alone"
#endif
