# SPDX-License-Identifier: BSD-3-Clause
# Two things that every build makes sure of: who may include whom (check_borders.cmake), and that
# the build has the number that its sources give it (write_build_id.cmake).
set(OWNGIL_BUILD_ID_SOURCE "${PROJECT_BINARY_DIR}/build_id.cpp")

add_custom_target(owngil_borders ALL
  COMMAND "${CMAKE_COMMAND}" -D "ROOT=${PROJECT_SOURCE_DIR}"
          -P "${PROJECT_SOURCE_DIR}/cmake/check_borders.cmake"
  COMMENT "Checking who includes whom"
  VERBATIM)

# Run in every build, but the file changes only when the number does.
add_custom_target(owngil_build_id
  COMMAND "${CMAKE_COMMAND}" -D "ROOT=${PROJECT_SOURCE_DIR}" -D "VERSION=${PROJECT_VERSION}"
          -D "OUTPUT=${OWNGIL_BUILD_ID_SOURCE}"
          -P "${PROJECT_SOURCE_DIR}/cmake/write_build_id.cmake"
  BYPRODUCTS "${OWNGIL_BUILD_ID_SOURCE}"
  COMMENT "Numbering the build"
  VERBATIM)
