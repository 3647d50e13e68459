# SPDX-License-Identifier: BSD-3-Clause
# owngil_add_test(name source… LIBS library…): one GoogleTest program; each of its tests is a test of
# ctest, in a process of its own, with a time limit (tests/harness/main.cpp).
find_package(GTest REQUIRED)
include(GoogleTest)

add_library(owngil_test_main OBJECT "${PROJECT_SOURCE_DIR}/tests/harness/main.cpp")
target_compile_definitions(owngil_test_main PRIVATE
  OWNGIL_TEST_PYTHON="${Python_EXECUTABLE}" OWNGIL_TESTS="${PROJECT_SOURCE_DIR}/tests")
target_link_libraries(owngil_test_main PUBLIC GTest::gtest PRIVATE owngil::warnings)

function(owngil_add_test name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "LIBS")
  add_executable(${name} ${arg_UNPARSED_ARGUMENTS})
  target_link_libraries(${name} PRIVATE ${arg_LIBS} owngil_test_main owngil::warnings)
  gtest_discover_tests(${name} TEST_PREFIX "${name}: " DISCOVERY_MODE PRE_TEST)
endfunction()
