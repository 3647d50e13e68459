// SPDX-License-Identifier: BSD-3-Clause
#include "workers/run_worker.hpp"

#include "ipc/arena.hpp"
#include "ipc/build_id.hpp"
#include "ipc/channel.hpp"
#include "ipc/control_protocol.hpp"
#include "ipc/mapping.hpp"
#include "ipc/unique_fd.hpp"
#include "workers/argument_memory.hpp"
#include "workers/executor.hpp"
#include "workers/forked_child.hpp"
#include "workers/host_interruption.hpp"
#include "workers/stack_dump.hpp"
#include "workers/worker_loop.hpp"
#include "workers/worker_module.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <exception>
#include <new>
#include <optional>
#include <system_error>
#include <utility>

namespace owngil::workers {
namespace {

struct OwnedMemory {
  explicit OwnedMemory(const WorkerMemory& fds)
      : channel(fds.channel),
        results(fds.results),
        arguments(fds.arguments),
        board(fds.board),
        caller_bell(fds.caller_bell),
        control_bell(fds.control_bell) {}

  ipc::UniqueFd channel;
  ipc::UniqueFd results;
  ipc::UniqueFd arguments;
  ipc::UniqueFd board;
  ipc::UniqueFd caller_bell;
  ipc::UniqueFd control_bell;
};

std::size_t size_of(const ipc::UniqueFd& fd) {
  struct stat status;
  if (::fstat(fd.get(), &status) != 0) {
    throw std::system_error(errno, std::generic_category(), "fstat of a worker's memory");
  }
  return static_cast<std::size_t>(status.st_size);
}

bool is_this_build(std::uint64_t magic, std::uint64_t build) {
  return magic == ipc::kMagic && build == ipc::build_id();
}

// A process that a task forks must not write here, and has no use for it.
constexpr ipc::OnFork kOnFork = ipc::OnFork::exclude;

int run(InterpreterState& state, OwnedMemory memory) {
  if (size_of(memory.channel) < sizeof(ipc::Channel) ||
      size_of(memory.board) < sizeof(ipc::Board)) {
    return ipc::kExitMismatch;
  }
  const ipc::Mapping channel_memory(memory.channel.get(), sizeof(ipc::Channel),
                                    ipc::Access::read_write, kOnFork);
  const ipc::Mapping board_memory(memory.board.get(), sizeof(ipc::Board), ipc::Access::read_only,
                                  kOnFork);
  auto& channel = channel_memory.as<ipc::Channel>();
  const auto& board = board_memory.as<const ipc::Board>();
  const auto pid = static_cast<std::uint32_t>(::getpid());
  ipc::WorkerEnd end(channel, board, memory.caller_bell.get(), memory.control_bell.get());
  if (!is_this_build(channel.header.magic, channel.header.build) ||
      !is_this_build(board.magic, board.build)) {
    end.set_state(ipc::WorkerState::mismatch, pid);
    return ipc::kExitMismatch;
  }
  const ipc::ArenaView arguments(memory.arguments.get(), size_of(memory.arguments), kOnFork);
  // Never freed: what a task has kept lies there until the process ends.
  state.arguments =
      new ArgumentMemory(memory.arguments.get(), size_of(memory.arguments), state.buffer_type);
  const std::size_t results_size = size_of(memory.results);
  // Nor this: NumPy's arrays may lie there.
  auto& results = *new ipc::Arena(std::move(memory.results), results_size, kOnFork);
  const ArmedStackDump armed(memory.channel.get(), channel);
  memory.channel.reset();  // the mappings stay
  memory.board.reset();
  memory.arguments.reset();

  state.may_refuse = channel.header.may_refuse != 0;
  std::optional<WorkerModule> module = WorkerModule::import(state.may_refuse);
  if (!module) return -1;
  watch_forks();
  Executor executor(std::move(*module), end, state);
  state.interruption = &executor.interruption();
  const ReachableWorker reachable(executor.interruption());
  WorkerLoop loop(end, arguments, results, executor, MemoryLimit(channel.header.memory_limit));
  const LoopEnd ended = loop.run(pid);
  state.interruption = nullptr;
  if (ended == LoopEnd::cut_off) {
    // They may have become somebody's by now.
    static_cast<void>(memory.caller_bell.release());
    static_cast<void>(memory.control_bell.release());
    if (!results.has_its_file()) results.give_up_file();
  }
  return ended == LoopEnd::interrupted ? -1 : kExitInOrder;
}

}  // namespace

int run_worker(InterpreterState& state, const WorkerMemory& memory) noexcept {
  try {
    return run(state, OwnedMemory(memory));
  } catch (const std::system_error& error) {
    const Ref pair = Ref::steal(Py_BuildValue("(is)", error.code().value(), error.what()));
    if (pair) PyErr_SetObject(PyExc_OSError, pair.get());
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_SystemError, error.what());
  }
  return -1;
}

}  // namespace owngil::workers
