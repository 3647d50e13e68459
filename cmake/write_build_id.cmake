# SPDX-License-Identifier: BSD-3-Clause
# Writes the definition of owngil::ipc::build_id(): a hash over the version and all C++ sources that
# two processes must agree on. Run as: cmake -D ROOT=… -D VERSION=… -D OUTPUT=… -P this file.
file(GLOB sources RELATIVE "${ROOT}"
     "${ROOT}/ipc/*.[ch]pp" "${ROOT}/runtime/*.[ch]pp" "${ROOT}/workers/*.[ch]pp"
     "${ROOT}/python/binding/*.[ch]pp")
list(SORT sources)
set(all "${VERSION}")
foreach(source IN LISTS sources)
  file(SHA256 "${ROOT}/${source}" hash)
  string(APPEND all "\n${source} ${hash}")
endforeach()
string(SHA256 hash "${all}")
string(SUBSTRING "${hash}" 0 16 number)
file(CONFIGURE OUTPUT "${OUTPUT}" @ONLY CONTENT [[
// Written by cmake/write_build_id.cmake.
#include "ipc/build_id.hpp"

namespace owngil::ipc {

std::uint64_t build_id() noexcept { return 0x@number@ULL; }

}  // namespace owngil::ipc
]])
