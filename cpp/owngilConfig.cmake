# SPDX-License-Identifier: BSD-3-Clause
# find_package(owngil) gives owngil::owngil. It needs nothing else, Python neither.
include("${CMAKE_CURRENT_LIST_DIR}/owngilTargets.cmake")
