# SPDX-License-Identifier: BSD-3-Clause
# Fails when a file includes what its folder must not know. Run as: cmake -D ROOT=… -P this file.
#   ipc/ knows nobody; runtime/ and workers/ know ipc/ alone; python/binding/ knows all three.
#   cpp/ knows ipc/ and runtime/, and of workers/ only what its answers look like.
#   Python.h belongs to workers/ and python/binding/. In that, gil/ knows nobody but itself.
set(python "[<\"]([^>\"]*/)?Python\\.h[>\"]")
set(forbidden_ipc "${python}|\"(runtime|workers|python)/")
set(forbidden_runtime "${python}|\"(workers|python)/")
set(forbidden_workers "\"(runtime|python)/")
set(forbidden_cpp "${python}|\"(python/|workers/[a-bd-z]|workers/codec\\.hpp)")
set(forbidden_bench "${python}")
set(forbidden_python/binding/gil "\"((ipc|runtime|workers)/|python/binding/[^/]*\")")

set(broken "")
foreach(folder IN ITEMS ipc runtime workers cpp bench python/binding/gil)
  file(GLOB_RECURSE sources RELATIVE "${ROOT}" "${ROOT}/${folder}/*.cpp" "${ROOT}/${folder}/*.hpp")
  foreach(source IN LISTS sources)
    file(STRINGS "${ROOT}/${source}" includes REGEX "^[ \t]*#[ \t]*include[ \t]")
    foreach(include IN LISTS includes)
      if(include MATCHES "${forbidden_${folder}}")
        string(APPEND broken "\n  ${source}: ${include}")
      endif()
    endforeach()
  endforeach()
endforeach()
if(broken)
  message(FATAL_ERROR "These includes cross a border (see cmake/check_borders.cmake):${broken}")
endif()
