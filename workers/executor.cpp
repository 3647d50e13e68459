// SPDX-License-Identifier: BSD-3-Clause
#include "workers/executor.hpp"

#include "ipc/buffer_list.hpp"
#include "ipc/check.hpp"
#include "ipc/clock.hpp"
#include "ipc/item.hpp"
#include "workers/argument_memory.hpp"
#include "workers/codec.hpp"
#include "workers/codec_int.hpp"
#include "workers/forked_child.hpp"
#include "workers/numpy_api.hpp"

#include <cstring>
#include <optional>
#include <utility>

namespace owngil::workers {
namespace {

// How many items of a chunk may pass between two looks for signals. What is written in Python,
// and whatever blocks, looks by itself.
constexpr std::uint32_t kItemsBetweenSignals = 64;

constexpr std::uint64_t kNoBlock = ~std::uint64_t{0};  // where a block should be

std::span<const std::byte> bytes_in(PyObject* bytes) {
  return std::as_bytes(
      std::span(PyBytes_AS_STRING(bytes), static_cast<std::size_t>(PyBytes_GET_SIZE(bytes))));
}

// What a signal's handler raises takes the value's place.
void look_for_signals(Ref& value) {
  if (value && PyErr_CheckSignals() < 0) value.reset();
}

}  // namespace

void Executor::run(const Task& task, const ReceivedBlobs& blobs, Reply& reply) {
  switch (task.kind) {
    case ipc::TaskKind::chunk: run_chunk(task, blobs, reply); break;
    case ipc::TaskKind::initialize: run_initializer(task, blobs, reply); break;
    default: run_call(task, blobs, reply);
  }
  state_.running = {};
  if (state_.arguments != nullptr) state_.arguments->tell(channel_);
  printed_ = state_.output.flush();
}

bool Executor::has_printed(std::uint64_t run_ns) {
  return printed_ || state_.output.look_at_pipes(run_ns);
}

void Executor::run_call(const Task& task, const ReceivedBlobs& blobs, Reply& reply) {
  PyObject* const function = make_ready(task, blobs);
  if (function == nullptr) {
    give_back_unread(task.format, task.payload);
    return is_refused() ? refuse(reply) : send(encode_failure(), reply);
  }
  Ref value = call(task.id, function, task.format, task.payload);
  if (is_refused()) return refuse(reply);
  look_for_signals(value);
  send(encode_outcome(std::move(value), task, blobs, reply), reply);
}

void Executor::run_initializer(const Task& task, const ReceivedBlobs& blobs, Reply& reply) {
  PyObject* const function = make_ready(task, blobs);
  const Ref value =
      function == nullptr ? Ref() : call(task.id, function, task.format, task.payload);
  if (state_.refusal) {
    // What it was to prepare is not there, so nothing can run here.
    all_refused_ = state_.refusal;
    PyErr_Clear();
    return refuse(reply);
  }
  if (value) {
    static_cast<void>(reply.set(ipc::Status::returned, ipc::Format::none, {}));
    return;
  }
  const Ref raised = Ref::steal(PyErr_GetRaisedException());
  module_.log_initializer_failure(raised.get());
  PyErr_SetRaisedException(Py_NewRef(raised.get()));
  send(encode_failure(), reply);
}

void Executor::run_chunk(const Task& task, const ReceivedBlobs& blobs, Reply& reply) {
  PyObject* const function = make_ready(task, blobs);
  std::span<const std::byte> rest = task.payload;
  std::uint32_t i = 0;
  bool unfit = false;
  const auto give_back_rest = [&] {
    for (; i != task.count; ++i) {
      const std::optional<ipc::Item> item = ipc::read_item(rest);
      OWNGIL_CHECK(item.has_value());
      give_back_unread(item->format, rest.subspan(item->head, item->size));
      rest = rest.subspan(item->end());
    }
  };
  if (function == nullptr || !reply.items().open(task.count)) {
    give_back_rest();
    if (is_refused()) return refuse(reply);
    return send(function == nullptr ? encode_failure() : no_room(task.count, reply), reply);
  }
  for (; i != task.count; ++i) {
    const bool stop = task.timed ? channel_.is_stop_ordered_after_item(task.id)
                                 : channel_.is_stop_ordered(task.id);
    if (stop) break;
    if (task.timed) channel_.begin_item(ipc::now_ns());
    const std::optional<ipc::Item> item = ipc::read_item(rest);
    OWNGIL_CHECK(item.has_value());
    Ref value = call(task.id, function, item->format, rest.subspan(item->head, item->size));
    rest = rest.subspan(item->end());
    if (is_refused()) {
      if (task.timed) channel_.end_item();
      unfit = true;
    } else {
      if (i % kItemsBetweenSignals == 0) look_for_signals(value);
      if (!try_send_int(value.get(), task, reply)) {
        const Message message = encode_outcome(std::move(value), task, blobs, reply);
        if (task.timed) channel_.end_item();
        send_item(message, reply);
      }
      unfit = step_ == Step::unfit;
    }
    if (unfit) {
      ++i;
      break;
    }
  }
  give_back_rest();
  reply.close_items();
  if (unfit) reply.add_flag(ipc::kUnfit);
}

void Executor::send(const Message& message, Reply& reply) {
  if (is_forked_child()) module_.end_forked_child(message.status == ipc::Status::raised);
  if (message.format == ipc::Format::none) return reply.set_untold_failure();
  if (reply.set(message.status, message.format, message.bytes, message.flags)) return;
  for (const ipc::BlockRef buffer : message.buffers) reply.memory().free(buffer.offset);
  const Message failure = no_room(message.bytes.size(), reply);
  if (!reply.set(failure.status, failure.format, failure.bytes)) reply.set_untold_failure();
}

void Executor::send_item(const Message& message, Reply& reply) {
  if (is_forked_child()) module_.end_forked_child(message.status == ipc::Status::raised);
  if (reply.items().add(message.status, message.format, message.bytes, message.flags)) return;
  for (const ipc::BlockRef buffer : message.buffers) reply.memory().free(buffer.offset);
  const Message failure = no_room(message.bytes.size(), reply);
  if (!reply.items().add(failure.status, failure.format, failure.bytes)) {
    reply.items().add_untold_failure();
  }
}

bool Executor::try_send_int(PyObject* value, const Task& task, Reply& reply) {
  if (value == nullptr || !is_small_int(value)) return false;
  std::byte* const at = reply.items().try_begin_short(kMaxIntBytes);
  if (at == nullptr) return false;
  if (task.timed) channel_.end_item();
  reply.items().complete_short(put_small_int(at, value));
  return true;
}

PyObject* Executor::make_ready(const Task& task, const ReceivedBlobs& blobs) {
  step_ = Step::ready;
  if (state_.may_refuse) {
    const auto known = refused_.find(task.function);
    state_.refusal = known != refused_.end() ? known->second : all_refused_;
    if (state_.refusal) return nullptr;
  }
  if (PyErr_CheckSignals() < 0) return nullptr;
  PyObject* function = functions_.make_ready(task, blobs);
  if (state_.refusal) {
    // It may have been loaded all the same, with less than it needs.
    refused_.emplace(task.function, state_.refusal);
    functions_.forget(task.function);
    function = nullptr;
  }
  state_.running = {task.id, function};
  return function;
}

bool Executor::is_refused() noexcept {
  if (!state_.refusal || step_ != Step::ready) return false;
  PyErr_Clear();
  return true;
}

void Executor::refuse(Reply& reply) {
  call_.clear();
  // It fits a slot, so there is room.
  static_cast<void>(reply.set(ipc::Status::refused, ipc::Format::none, state_.refusal.bytes()));
}

void Executor::look_for_refusal(Ref& value) {
  if (!state_.may_refuse || (value && !state_.refusal)) return;
  const Ref raised = Ref::steal(PyErr_GetRaisedException());
  if (raised) module_.look_for_refusal(raised.get());
  if (!state_.refusal || step_ == Step::ready) {
    return PyErr_SetRaisedException(Py_XNewRef(raised.get()));
  }
  step_ = Step::unfit;
  value.reset();
  Ref failure = module_.needs_process(state_.refusal.what(), raised ? raised.get() : Py_None);
  if (failure) PyErr_SetRaisedException(failure.release());
}

Ref Executor::call(std::uint64_t task, PyObject* function, ipc::Format format,
                   std::span<const std::byte> payload) {
  Ref value;
  step_ = Step::ready;
  if (!decode(format, payload)) {
    look_for_refusal(value);
    return value;
  }
  step_ = Step::decoded;
  interruption_.arm(task);
  value = Ref::steal(call_.call(function));
  interruption_.disarm();
  if (is_forked_child()) module_.end_forked_child(!value);
  call_.clear();
  look_for_refusal(value);
  return value;
}

Executor::Message Executor::encode_outcome(Ref value, const Task& task, const ReceivedBlobs& blobs,
                                           Reply& reply) {
  if (step_ == Step::unfit) return encode_failure();
  if (value || task.retry_on == 0 || !is_worth_retrying(task, blobs)) {
    return encode(std::move(value), reply);
  }
  Message message = encode_failure();
  message.flags |= ipc::kRetryable;
  return message;
}

// Asks what the task came with: (exception) -> bool. The exception stays set.
bool Executor::is_worth_retrying(const Task& task, const ReceivedBlobs& blobs) {
  const Ref raised = Ref::steal(PyErr_GetRaisedException());
  PyObject* const judge = functions_.load(task.retry_on, blobs);
  const Ref verdict =
      Ref::steal(judge != nullptr ? PyObject_CallOneArg(judge, raised.get()) : nullptr);
  const bool worth = verdict && PyObject_IsTrue(verdict.get()) == 1;
  if (PyErr_Occurred()) PyErr_Clear();  // a judge that fails has not said yes
  PyErr_SetRaisedException(Py_NewRef(raised.get()));
  return worth;
}

bool Executor::decode(ipc::Format format, std::span<const std::byte> payload) {
  if (format == ipc::Format::tagged) return decode_tagged(payload, nullptr);
  if (format == ipc::Format::none) return true;  // a call without arguments
  Ref pair;
  if (format == ipc::Format::buffers) {
    const ipc::BufferList list = *ipc::BufferList::read(payload);
    if (list.is_tagged()) {
      ArgumentBuffers apart(*state_.arguments, list);
      return decode_tagged(list.rest(), &apart);
    }
    const Ref buffers = state_.arguments->open(payload);
    if (buffers) pair = module_.load_call(list.rest(), buffers.get(), list.has_direct());
  } else {
    pair = module_.load_call(payload);
  }
  if (!pair) return false;
  if (!PyTuple_Check(pair.get()) || PyTuple_GET_SIZE(pair.get()) != 2) {
    PyErr_SetString(PyExc_TypeError, "a pickled call is (args, kwargs)");
    return false;
  }
  return call_.assign(PyTuple_GET_ITEM(pair.get(), 0), PyTuple_GET_ITEM(pair.get(), 1));
}

bool Executor::decode_tagged(std::span<const std::byte> bytes, BufferSource* apart) {
  if (decode_call(bytes, call_, &strings_, apart)) return true;
  if (PyErr_Occurred()) return false;
  if (load_numpy()) return decode_call(bytes, call_, &strings_, apart);
  module_.make_raised_undecodable();
  return false;
}

Executor::Message Executor::encode(Ref value, Reply& reply) {
  if (!value) return encode_failure();
  buffer_.clear();
  CollectedBuffers apart;
  switch (encode_value(value.get(), buffer_, &apart)) {
    case Encoded::ok:
      if (apart.views.empty()) {
        return {ipc::Status::returned, ipc::Format::tagged, buffer_.bytes(), {}};
      }
      value.reset();
      return encode_with_buffers(buffer_.bytes(), ipc::kTagged, apart, reply);
    case Encoded::error: value.reset(); return encode_failure();
    case Encoded::unsupported: break;
  }
  Ref collector = make_collector(state_.collector_type);
  Ref dumped = collector ? module_.dump_result(value.get(), collector.get()) : Ref();
  value.reset();
  if (!dumped) {
    look_for_refusal(value);
    return encode_failure();
  }
  if (CollectedBuffers& buffers = collected(collector.get());
      !buffers.views.empty() || !buffers.direct.empty()) {
    const std::uint32_t flags = buffers.direct.empty() ? 0U : ipc::kDirect;
    return encode_with_buffers(bytes_in(dumped.get()), flags, buffers, reply);
  }
  const std::span<const std::byte> bytes = bytes_in(dumped.get());
  return {ipc::Status::returned, ipc::Format::pickle, bytes, std::move(dumped)};
}

Executor::Message Executor::encode_with_buffers(std::span<const std::byte> rest,
                                                std::uint32_t flags, CollectedBuffers& buffers,
                                                Reply& reply) {
  struct Offered {
    std::size_t index;
    const void* data;
  };
  if (numpy_ == nullptr) numpy_ = NumpyMemory::install(reply.memory());
  list_.clear();
  Message message{ipc::Status::returned, ipc::Format::buffers, {}, {}};
  const auto free_all = [&] {
    for (const ipc::BlockRef block : message.buffers) reply.memory().free(block.offset);
    message.buffers.clear();
  };
  const auto copied = [&](const void* data, std::uint64_t size) {
    const auto block = reply.memory().allocate(size);
    if (block) std::memcpy(reply.memory().at(block->offset), data, size);
    return block;
  };
  std::vector<Offered> offered;
  for (const Py_buffer& view : buffers.views) {
    const auto size = static_cast<std::uint64_t>(view.len);
    auto block = numpy_ != nullptr ? numpy_->offer(view.buf, size) : std::nullopt;
    if (block) {
      offered.push_back({message.buffers.size(), view.buf});
    } else {
      block = copied(view.buf, size);
    }
    message.buffers.push_back(block.value_or(ipc::BlockRef{kNoBlock, size}));
  }
  buffers.clear();
  std::uint64_t refused = 0;
  for (const Offered& one : offered) {
    ipc::BlockRef& block = message.buffers[one.index];
    // Else somebody has it still, so that it is still there.
    if (!numpy_->take(one.data)) {
      block = copied(one.data, block.size).value_or(ipc::BlockRef{kNoBlock, block.size});
    }
  }
  std::erase_if(message.buffers, [&](ipc::BlockRef block) {
    if (block.offset == kNoBlock) refused = block.size;
    return block.offset == kNoBlock;
  });
  if (refused != 0) {
    free_all();
    return no_room(refused, reply);
  }
  const ipc::BufferListHead head{static_cast<std::uint32_t>(message.buffers.size()), flags, 0};
  bool fits = list_.append(&head, sizeof head);
  for (const ipc::BlockRef block : message.buffers) {
    fits = fits && list_.append(&block, sizeof block);
  }
  if (!fits || !list_.append(rest.data(), rest.size())) {
    free_all();
    PyErr_NoMemory();
    return encode_failure();
  }
  message.bytes = list_.bytes();
  return message;
}

void Executor::give_back_unread(ipc::Format format, std::span<const std::byte> payload) {
  if (format == ipc::Format::buffers) state_.arguments->give_back_unread(payload);
}

Executor::Message Executor::encode_failure() {
  Ref raised = Ref::steal(PyErr_GetRaisedException());
  Ref told = module_.dump_exception(raised.get());
  raised.reset();
  if (!told) return {};
  const std::span<const std::byte> bytes = bytes_in(told.get());
  const std::uint8_t flags = step_ == Step::unfit ? ipc::kUnfit | ipc::kRetryable : 0;
  return {ipc::Status::raised, ipc::Format::failure, bytes, std::move(told), flags};
}

Executor::Message Executor::no_room(std::size_t size, const Reply& reply) {
  PyErr_Format(PyExc_MemoryError,
               "no room for a result of %zu bytes: %llu of the %llu bytes for this worker's "
               "results are in use, or the system has no memory left",
               size, static_cast<unsigned long long>(reply.memory().in_use()),
               static_cast<unsigned long long>(reply.memory().size()));
  return encode_failure();
}

bool Executor::after_sleep() {
  PyEval_RestoreThread(std::exchange(thread_, nullptr));
  if (PyErr_CheckSignals() == 0) return true;
  if (PyErr_ExceptionMatches(PyExc_SystemExit)) return false;
  if (PyErr_ExceptionMatches(PyExc_KeyboardInterrupt)) {
    PyErr_Clear();  // there is no task that it could interrupt
  } else {
    PyErr_WriteUnraisable(nullptr);
  }
  return true;
}

}  // namespace owngil::workers
