# SPDX-License-Identifier: BSD-3-Clause
# owngil_add_bench(name source… LIBS library…): one program that answers one question, placed in the
# build's folder bench/, where the Python side of the benchmarks looks for it.
function(owngil_add_bench name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "LIBS")
  add_executable(${name} ${arg_UNPARSED_ARGUMENTS})
  target_link_libraries(${name} PRIVATE ${arg_LIBS} owngil::warnings)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/bench")
endfunction()
