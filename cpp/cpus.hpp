// SPDX-License-Identifier: BSD-3-Clause
// How many CPUs this process may use: its affinity, and the quota of its cgroups.
//
// Threads: any. As owngil._cpus counts them for pools made in Python.
#pragma once

namespace owngil::cpp {

unsigned usable_cpus();

}  // namespace owngil::cpp
