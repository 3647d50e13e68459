# SPDX-License-Identifier: BSD-3-Clause
# Boost::headers, 1.74 or later: from Boost's own CMake files, or else from the headers alone
# (distributions that ship no BoostConfig.cmake; BOOST_ROOT names an unpacked release).
find_package(Boost 1.74 CONFIG QUIET)
if(NOT TARGET Boost::headers)
  find_path(OWNGIL_BOOST_INCLUDE_DIR boost/asio.hpp HINTS ENV BOOST_ROOT PATH_SUFFIXES include)
  if(NOT OWNGIL_BOOST_INCLUDE_DIR)
    message(FATAL_ERROR "Boost's headers (1.74 or later) are missing. "
                        "Debian, Ubuntu: apt-get install libboost-dev; "
                        "elsewhere: unpack a release and set BOOST_ROOT.")
  endif()
  file(STRINGS "${OWNGIL_BOOST_INCLUDE_DIR}/boost/version.hpp" owngil_boost_version
       REGEX "^#define BOOST_VERSION [0-9]+$")
  string(REGEX REPLACE "[^0-9]" "" owngil_boost_version "${owngil_boost_version}")
  if(owngil_boost_version LESS 107400)
    message(FATAL_ERROR "Boost in ${OWNGIL_BOOST_INCLUDE_DIR} is older than 1.74.")
  endif()
  add_library(Boost::headers INTERFACE IMPORTED)
  target_include_directories(Boost::headers SYSTEM INTERFACE "${OWNGIL_BOOST_INCLUDE_DIR}")
endif()
