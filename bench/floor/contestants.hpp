// SPDX-License-Identifier: BSD-3-Clause
// The contestants: each a Caller (try_call, try_answer) and a Server (try_serve) over its own
// piece of shared memory. A call carries a number and 16 bytes; the answer adds one to it.
#pragma once

#include "bare_ring.hpp"
#include "ipc/channel.hpp"
#include "ipc/layout.hpp"
#include "ipc/spsc_ring.hpp"

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>

namespace owngil::bench {

struct Payload {
  std::uint64_t a;
  std::uint64_t b;
};

// --- two bare rings -----------------------------------------------------------------------

struct Bare {
  static constexpr const char* kName = "bare ring";

  struct Memory {
    BareRing calls;
    BareRing answers;
  };

  class Caller {
   public:
    Caller(Memory& memory, int) : calls_(memory.calls), answers_(memory.answers) {}
    bool try_call(std::uint64_t number) { return calls_.try_push(number, number, ~number); }
    bool try_answer(std::uint64_t& number) {
      std::uint64_t a = 0;
      std::uint64_t b = 0;
      return answers_.try_pop(number, a, b) && a == ~b;
    }

   private:
    BareProducer calls_;
    BareConsumer answers_;
  };

  class Server {
   public:
    Server(Memory& memory, int) : calls_(memory.calls), answers_(memory.answers) {}
    bool try_serve() {
      std::uint64_t number = 0;
      std::uint64_t a = 0;
      std::uint64_t b = 0;
      return calls_.try_pop(number, a, b) && answers_.try_push(number + 1, a, b);
    }

   private:
    BareConsumer calls_;
    BareProducer answers_;
  };
};

// --- two rings of ipc/spsc_ring.hpp -------------------------------------------------------

struct Rings {
  static constexpr const char* kName = "spsc_ring";
  static constexpr std::uint64_t kSlots = BareRing::kSlots;
  using Producer = ipc::RingProducer<BareSlot, kSlots>;
  using Consumer = ipc::RingConsumer<const BareSlot, kSlots>;

  struct Memory {
    ipc::Counter calls_tail, calls_head, answers_tail, answers_head;
    alignas(4096) BareSlot calls[kSlots];
    BareSlot answers[kSlots];
  };

  class Caller {
   public:
    Caller(Memory& m, int)
        : calls_(m.calls_tail.value, m.calls_head.value, m.calls),
          answers_(m.answers_tail.value, m.answers_head.value, m.answers) {}
    bool try_call(std::uint64_t number) {
      BareSlot* slot = calls_.try_reserve();
      if (slot == nullptr) {
        return false;
      }
      slot->number = number;
      slot->payload[0] = number;
      slot->payload[1] = ~number;
      calls_.publish();
      return true;
    }
    bool try_answer(std::uint64_t& number) {
      const BareSlot* slot = answers_.front();
      if (slot == nullptr) {
        return false;
      }
      number = slot->number;
      const bool intact = slot->payload[0] == ~slot->payload[1];
      answers_.pop();
      return intact;
    }

   private:
    Producer calls_;
    Consumer answers_;
  };

  class Server {
   public:
    Server(Memory& m, int)
        : calls_(m.calls_tail.value, m.calls_head.value, m.calls),
          answers_(m.answers_tail.value, m.answers_head.value, m.answers) {}
    bool try_serve() {
      const BareSlot* call = calls_.front();
      if (call == nullptr) {
        return false;
      }
      BareSlot* answer = answers_.try_reserve();
      if (answer == nullptr) {
        return false;
      }
      answer->number = call->number + 1;
      answer->payload[0] = call->payload[0];
      answer->payload[1] = call->payload[1];
      answers_.publish();
      calls_.pop();
      return true;
    }

   private:
    Consumer calls_;
    Producer answers_;
  };
};

// --- the channel: all that a supervisor and a worker do for a call, but Python ---------------

struct Channel {
  static constexpr const char* kName = "channel";

  struct Memory {
    ipc::Channel channel;
    ipc::Board board;
  };

  class Caller {
   public:
    Caller(Memory& memory, int) : end_(memory.channel) {}
    bool try_call(std::uint64_t number) {
      if (outstanding_ == ipc::kRingSlots) {
        return false;
      }
      ipc::TaskSlot* slot = end_.try_reserve_task();
      if (slot == nullptr) {
        return false;
      }
      slot->task = number;
      slot->function = 1;
      slot->context = 1;
      slot->size = sizeof(Payload);
      slot->count = 1;
      slot->kind = ipc::TaskKind::call;
      slot->format = ipc::Format::tagged;
      slot->where = ipc::Where::inline_bytes;
      slot->flags = 0;
      const Payload payload{number, ~number};
      std::memcpy(slot->bytes, &payload, sizeof payload);
      end_.publish_task();
      end_.wake_if_asleep();
      ++outstanding_;
      return true;
    }
    bool try_answer(std::uint64_t& number) {
      const ipc::ResultSlot* slot = end_.front_result();
      if (slot == nullptr) {
        return false;
      }
      if (slot->size != sizeof(Payload) || slot->status != ipc::Status::returned ||
          slot->where != ipc::Where::inline_bytes || slot->position != end_.result_position()) {
        std::abort();
      }
      Payload payload;
      std::memcpy(&payload, slot->bytes, sizeof payload);
      number = slot->task + 1;
      end_.pop_result();
      --outstanding_;
      return payload.a == ~payload.b;
    }

   private:
    ipc::SupervisorEnd end_;
    std::uint64_t outstanding_ = 0;
  };

  class Server {
   public:
    Server(Memory& memory, int bell) : end_(memory.channel, memory.board, bell, bell) {}
    bool try_serve() {
      const ipc::TaskSlot* task = end_.front_task();
      if (task == nullptr) {
        return false;
      }
      const std::uint64_t position = end_.task_position();
      if (end_.try_claim()) {
        end_.begin(task->task, position);
        ipc::ResultSlot& result = end_.reserve_result();
        result.task = task->task;
        result.run_ns = 0;
        result.position = position;
        result.size = task->size;
        result.count = 1;
        result.status = ipc::Status::returned;
        result.format = task->format;
        result.where = ipc::Where::inline_bytes;
        result.flags = 0;
        std::memcpy(result.bytes, task->bytes, sizeof(Payload));
        end_.publish_result();
      }
      end_.pop_task();
      return true;
    }
    ipc::WorkerEnd& end() { return end_; }

   private:
    ipc::WorkerEnd end_;
  };
};

}  // namespace owngil::bench
