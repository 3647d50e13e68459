// SPDX-License-Identifier: BSD-3-Clause
// The tagged codec: small plain values to bytes and back, an order faster than pickle.
//
// Plain are None, bool, int, float, complex, str, bytes, NumPy's arrays of numbers in C order, and
// tuple, list, dict of them; exact types only. What comes back is what pickle would have brought back: same types, same bits,
// and strings, bytes, arrays and containers that were one object are one object again.
// Threads: needs the GIL. Holds no state between calls but what the caller passes; any interpreter
//   may use it.
// Lifetime: what is returned owns itself; nothing points into the bytes.
// Not: a fallback. What it reports as `unsupported` the caller pickles.
// Not: a format for disks or networks. Both sides are the same build on the same machine.
#pragma once

#include "workers/buffer_collector.hpp"
#include "workers/buffer_source.hpp"
#include "workers/byte_buffer.hpp"
#include "workers/codec_format.hpp"
#include "workers/decoded_call.hpp"
#include "workers/python.hpp"
#include "workers/short_strings.hpp"

#include <cstddef>
#include <span>

namespace owngil::workers {

enum class Encoded {
  ok,           // appended to the buffer
  unsupported,  // not plain, too deep or too large; no exception is set
  error,        // a Python exception is set (MemoryError)
};

// --- encode: each appends to `out`, or leaves its size as it was. Runs no user code. Arrays of
// kLeastApart bytes and more are put into `apart`, which is empty before; without one they are not
// plain.

// From here on a block of its own costs less than more copies.
inline constexpr std::size_t kLeastApart = std::size_t{16} * 1024;

[[nodiscard]] Encoded encode_value(PyObject* value, ByteBuffer& out,
                                   CollectedBuffers* apart = nullptr) noexcept;

// As PyObject_Vectorcall takes it: `positional` arguments, then the values of `keyword_names`
// (a tuple of str, or nullptr).
[[nodiscard]] Encoded encode_call(PyObject* const* arguments, std::size_t positional,
                                  PyObject* keyword_names, ByteBuffer& out,
                                  CollectedBuffers* apart = nullptr) noexcept;

// The same call, given as a tuple and a dict (or nullptr); both bring back the same bytes.
[[nodiscard]] Encoded encode_call(PyObject* args_tuple, PyObject* kwargs_dict,
                                  ByteBuffer& out) noexcept;

// --- decode: any bytes are safe input, as long as they do not change meanwhile. What is
// not a whole encoding and nothing more is a ValueError. Runs no user code. `strings` (or nullptr)
// is the interpreter's; `apart` has what was put apart. Where the bytes have an array and NumPy is
// not loaded, both fail without an exception, having taken nothing from `apart`: load_numpy(), and
// decode again.

// A new reference, or nullptr with an exception set.
[[nodiscard]] PyObject* decode_value(std::span<const std::byte> bytes, ShortStrings* strings,
                                     BufferSource* apart = nullptr) noexcept;

// Requires: `call` is cleared. False: an exception is set and `call` is cleared.
[[nodiscard]] bool decode_call(std::span<const std::byte> bytes, DecodedCall& call,
                               ShortStrings* strings, BufferSource* apart = nullptr) noexcept;

}  // namespace owngil::workers
