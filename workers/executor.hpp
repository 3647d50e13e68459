// SPDX-License-Identifier: BSD-3-Clause
// Runs tasks on the CPython C API: decode, execute, encode.
//
// Threads: the worker's own, with the GIL, except between before_sleep and after_sleep.
// Lifetime: one for each interpreter that works; all that it holds is freed with it, so it
//   goes before the interpreter does.
// Not: a judge of exceptions. Whatever a task raises, SystemExit and KeyboardInterrupt
//   included, is that task's failure, as in the standard pool.
// Invariants:
//   E1  Nothing of a task is referred to any more when its reply is committed, but a few short
//       strings.
//   E2  No exception is set between tasks.
#pragma once

#include "workers/buffer_collector.hpp"
#include "workers/buffer_source.hpp"
#include "workers/byte_buffer.hpp"
#include "workers/decoded_call.hpp"
#include "workers/interpreter_state.hpp"
#include "workers/interruption.hpp"
#include "workers/loaded_functions.hpp"
#include "workers/numpy_memory.hpp"
#include "workers/python.hpp"
#include "workers/short_strings.hpp"
#include "workers/worker_loop.hpp"
#include "workers/worker_module.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

namespace owngil::workers {

class Executor final : public TaskRunner {
 public:
  ~Executor() override {
    if (numpy_ != nullptr) numpy_->close();
  }
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;
  // Borrows the channel, to tell where in a chunk it is and to see whether it is to stop; and
  // `state`, which shows what is running and gets told what was printed.
  Executor(WorkerModule module, ipc::WorkerEnd& channel, InterpreterState& state) noexcept
      : module_(std::move(module)),
        functions_(module_),
        channel_(channel),
        state_(state),
        interruption_(channel) {}

  void run(const Task& task, const ReceivedBlobs& blobs, Reply& reply) override;
  [[nodiscard]] bool has_printed(std::uint64_t run_ns) override;
  void forget(std::uint32_t number) override {
    functions_.forget(number);
    refused_.erase(number);
  }
  void before_sleep() override { thread_ = PyEval_SaveThread(); }
  // False: a signal's handler has raised SystemExit, which is set.
  [[nodiscard]] bool after_sleep() override;

  [[nodiscard]] Interruption& interruption() noexcept { return interruption_; }

 private:
  // What goes into a reply. `bytes` lie in `owner`, in buffer_ or in list_.
  struct Message {
    ipc::Status status = ipc::Status::raised;
    ipc::Format format = ipc::Format::none;  // of a failure: it cannot be told
    std::span<const std::byte> bytes;
    Ref owner;
    std::uint8_t flags = 0;                   // ipc::ResultFlag
    std::vector<ipc::BlockRef> buffers = {};  // that the bytes name
  };

  void run_call(const Task& task, const ReceivedBlobs& blobs, Reply& reply);
  void run_initializer(const Task& task, const ReceivedBlobs& blobs, Reply& reply);
  void run_chunk(const Task& task, const ReceivedBlobs& blobs, Reply& reply);
  void send(const Message& message, Reply& reply);
  void send_item(const Message& message, Reply& reply);
  // A small int goes straight to where it will be read. False: it is none, or has no room there.
  [[nodiscard]] bool try_send_int(PyObject* value, const Task& task, Reply& reply);

  [[nodiscard]] PyObject* make_ready(const Task& task, const ReceivedBlobs& blobs);
  // Whether this task is refused, and not begun; clears the exception that is set.
  [[nodiscard]] bool is_refused() noexcept;
  void refuse(Reply& reply);
  // If this worker may refuse: was it refused something, be it what was raised? One that has begun
  // fails with that, in place of the value.
  void look_for_refusal(Ref& value);
  // decode and execute; none: an exception is set. Drops the arguments. Sets step_.
  [[nodiscard]] Ref call(std::uint64_t task, PyObject* function, ipc::Format format,
                         std::span<const std::byte> payload);
  // encode, but first ask whether what was raised, if anything was, is worth another run.
  [[nodiscard]] Message encode_outcome(Ref value, const Task& task, const ReceivedBlobs& blobs,
                                       Reply& reply);
  [[nodiscard]] bool is_worth_retrying(const Task& task, const ReceivedBlobs& blobs);
  [[nodiscard]] bool decode(ipc::Format format, std::span<const std::byte> payload);
  [[nodiscard]] bool decode_tagged(std::span<const std::byte> bytes, BufferSource* apart);
  // encode; both take all references.
  [[nodiscard]] Message encode(Ref value, Reply& reply);
  // What was encoded apart from `buffers`, which go into blocks of their own: those of NumPy's that
  // nobody else refers to are handed over, all others copied.
  [[nodiscard]] Message encode_with_buffers(std::span<const std::byte> rest, std::uint32_t flags,
                                            CollectedBuffers& buffers, Reply& reply);
  void give_back_unread(ipc::Format format, std::span<const std::byte> payload);
  [[nodiscard]] Message encode_failure();
  [[nodiscard]] Message no_room(std::size_t size, const Reply& reply);

  // the worker's thread
  WorkerModule module_;
  LoadedFunctions functions_;
  ipc::WorkerEnd& channel_;
  InterpreterState& state_;
  Interruption interruption_;
  ShortStrings strings_;
  DecodedCall call_;
  ByteBuffer buffer_;
  ByteBuffer list_;  // the same, where a list of buffers precedes it
  std::unordered_map<std::uint32_t, Refusal> refused_;            // functions
  Refusal all_refused_;                                           // by the initializer's
  enum class Step { ready, decoded, unfit } step_ = Step::ready;  // how far the present call came
  NumpyMemory* numpy_ = nullptr;     // once a result has had a large buffer
  bool printed_ = false;             // what it ran last
  PyThreadState* thread_ = nullptr;  // while it sleeps
};

}  // namespace owngil::workers
