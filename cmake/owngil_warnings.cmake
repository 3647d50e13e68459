# SPDX-License-Identifier: BSD-3-Clause
# owngil_warnings: what every target of this project is compiled with. Presets turn warnings into
# errors (CMAKE_COMPILE_WARNING_AS_ERROR); a user's `pip install` with a newer compiler does not.
add_library(owngil_warnings INTERFACE)
add_library(owngil::warnings ALIAS owngil_warnings)
target_compile_options(owngil_warnings INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wconversion)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  # Sees overlapping copies in std::string's operator+ where there are none (GCC's bug 105651).
  target_compile_options(owngil_warnings INTERFACE -Wno-restrict)
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_GREATER_EQUAL 16)
  # Sees a std::variant destroy a string that it does not hold, while it is copied.
  target_compile_options(owngil_warnings INTERFACE -Wno-maybe-uninitialized)
endif()
