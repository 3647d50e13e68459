// SPDX-License-Identifier: BSD-3-Clause
#include "cpp/outcome.hpp"

#include "cpp/pickle_reader.hpp"
#include "cpp/pickle_writer.hpp"
#include "cpp/tagged.hpp"
#include "ipc/buffer_list.hpp"
#include "runtime/result_arena.hpp"

#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <new>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace owngil::cpp {

using runtime::Collateral;
using runtime::Ending;
using runtime::Failure;
using runtime::Task;

namespace {

using Span = std::span<const std::byte>;

constexpr std::size_t kLongestStack = 16'000;

Span payload_of(const Task& task) {
  if (task.place == Task::Place::heap) return {task.heap.data, task.heap.size};
  return {task.bytes, task.size};
}

// --- returned

Value value_of_pickle(Span pickle) {
  if (std::optional<Value> value = read_pickle(pickle)) return *std::move(value);
  return Value::of(Pickled{Bytes(pickle.begin(), pickle.end())});
}

Value value_of_tagged(Span bytes, std::span<const Span> buffers = {}) {
  if (std::optional<Value> value = read_tagged_scalar(bytes)) return *std::move(value);
  std::optional<Bytes> pickle = tagged_to_pickle(bytes, buffers);
  if (!pickle) {
    throw TaskError("owngil: a result of " + std::to_string(bytes.size()) + " bytes is unreadable");
  }
  if (std::optional<Value> value = read_pickle(*pickle)) return *std::move(value);
  return Value::of(Pickled{*std::move(pickle)});
}

// The blocks that the list names are taken out of it and given back to the worker.
Value value_of_buffers(std::byte* data, std::size_t size, runtime::ResultArena& arena) {
  const auto list = ipc::BufferList::read({data, size});
  std::vector<Span> buffers;
  std::vector<ipc::BlockRef> blocks;
  for (std::uint32_t i = 0; i != list->size(); ++i) {
    blocks.push_back((*list)[i]);
    buffers.emplace_back(arena.at(blocks.back()), static_cast<std::size_t>(blocks.back().size));
  }
  std::optional<Value> value;
  if (list->is_tagged()) {
    value = value_of_tagged(list->rest(), buffers);
  } else {
    value = read_pickle(list->rest(), buffers);
    if (!value) value = Value::of(Pickled{with_buffers(list->rest(), buffers)});
  }
  for (std::uint32_t i = 0; i != list->size(); ++i) {
    ipc::take_out_buffer(data, i);
    arena.let_go(blocks[i]);
  }
  return *std::move(value);
}

Value returned(Task& task) {
  const Span bytes = payload_of(task);
  switch (task.format) {
    case ipc::Format::none: return {};
    case ipc::Format::tagged: return value_of_tagged(bytes);
    case ipc::Format::buffers:
      return value_of_buffers(task.heap.data, task.heap.size, *task.heap.arena);
    default: return value_of_pickle(bytes);
  }
}

// --- raised: what owngil._pickling.dump_exception made

PythonError python_error(ipc::Format format, Span bytes) {
  if (format == ipc::Format::none) {
    return {"MemoryError", "owngil: the worker had no shared memory for its reply", "", {}};
  }
  try {
    if (const std::optional<Value> told = read_pickle(bytes)) {
      using Parts = std::tuple<std::string, std::string, std::string, std::optional<Bytes>>;
      auto [type, message, traceback, pickle] = told->as<Parts>();
      return {std::move(type), std::move(message), std::move(traceback),
              std::move(pickle).value_or(Bytes())};
    }
  } catch (const BadConversion&) {
  }
  return {"owngil.RemoteError", "a worker's exception is unreadable", "", {}};
}

// --- words for a death or a limit; as owngil._outcomes has them

std::string seconds(std::uint64_t ns) {
  std::array<char, 32> text;
  std::snprintf(text.data(), text.size(), "%.3g s", static_cast<double>(ns) * 1e-9);
  return text.data();
}

std::string describe_task(const Failure& failure) {
  if (failure.task == runtime::kInitializerTask) return "the initializer " + failure.task_name;
  return failure.task_name + " (task " + std::to_string(failure.task) + ")";
}

std::string describe_worker(const Failure& failure) {
  std::string text =
      "pid " + std::to_string(failure.pid) + ", rank " + std::to_string(failure.rank);
  if (failure.peak_rss_bytes != 0) {
    text += ", peak memory " + std::to_string(failure.peak_rss_bytes >> 20) + " MiB";
  }
  return text;
}

std::string how(const Failure& failure) {
  if (failure.protocol) return "by the pool: it had written nonsense to its shared memory";
  if (!failure.status_known) return "in a way that nobody saw";
  if (!WIFSIGNALED(failure.wait_status)) {
    return "with exit code " + std::to_string(WEXITSTATUS(failure.wait_status));
  }
  const int number = WTERMSIG(failure.wait_status);
  const char* const name = ::sigabbrev_np(number);
  return "by signal " + std::to_string(number) + " (" +
         (name != nullptr ? std::string("SIG") + name : std::string("unknown")) + ")";
}

// Below it, the one that works, lie the frames of how a worker starts, the same for each task.
bool is_lowest_frame(std::string_view line) {
  return line.find("_working.py") != std::string_view::npos && line.ends_with(" in work");
}

// A dying worker has written it, so it may be cut off anywhere, or be anything.
std::string readable(const std::string& written) {
  std::string_view rest(written);
  rest = rest.substr(0, std::min(rest.size(), kLongestStack));
  std::string text;
  std::size_t line_of_stack = 0;
  bool in_start = false;
  for (auto end = rest.find('\n'); end != std::string_view::npos; end = rest.find('\n')) {
    const std::string_view line = rest.substr(0, end);
    rest.remove_prefix(end + 1);
    line_of_stack = line.empty() ? 0 : line_of_stack + 1;
    // A task may crash before any frame of its own is there; then these say that.
    in_start = !line.empty() && (in_start || (line_of_stack > 2 && is_lowest_frame(line)));
    if (!in_start) text.append(line).push_back('\n');
  }
  for (char& c : text) {
    if (c != '\n' && (static_cast<unsigned char>(c) < 0x20 || c == '\x7F')) c = '?';
  }
  while (text.ends_with('\n')) text.pop_back();
  return is_utf8(text, false) ? text : std::string();
}

std::string printable_name(const std::string& name) { return is_utf8(name, false) ? name : "?"; }

TaskFacts facts_of(const Failure& failure) {
  TaskFacts facts;
  facts.task_id = failure.task;
  facts.task_name = printable_name(failure.task_name);
  if (failure.begun) {
    facts.ran = std::chrono::nanoseconds(failure.ran_ns);
    facts.pid = failure.pid;
    facts.rank = static_cast<int>(failure.rank);
  }
  facts.stack = readable(failure.stack);
  return facts;
}

DeathFacts death_of(const Failure& failure) {
  using Verdict = runtime::OomEvidence::Verdict;
  DeathFacts death;
  death.broke_protocol = failure.protocol;
  death.peak_rss_bytes = failure.peak_rss_bytes;
  if (failure.status_known && WIFSIGNALED(failure.wait_status)) {
    death.signal = WTERMSIG(failure.wait_status);
  } else if (failure.status_known) {
    death.exit_code = WEXITSTATUS(failure.wait_status);
  }
  if (failure.oom.verdict != Verdict::unknown) {
    death.oom = failure.oom.verdict == Verdict::likely;
  }
  death.collateral = failure.collateral == Collateral::yes;
  if (failure.collateral == Collateral::unknown) death.collateral.reset();
  return death;
}

const char* loss_by_death(const Failure& failure) {
  if (failure.collateral == Collateral::yes) {
    return " It shared its process with the worker whose task ended that.";
  }
  if (failure.collateral == Collateral::unknown) {
    return " It shared its process with other workers, and nobody can tell whose task ended it.";
  }
  if (failure.cost_others) {
    return " What the other workers of its process ran is lost with it; the pool goes on.";
  }
  if (failure.task == runtime::kInitializerTask) return "";
  return " Only this task is lost; the pool goes on.";
}

const char* loss_by_limit(const Failure& failure) {
  if (failure.cost_others) {
    return "It did not stop when it was told to, and so its process was killed, with the other "
           "workers that lived there. With Kind::process it would have been alone.";
  }
  return "Its worker was stopped; no other task is lost.";
}

WorkerDied worker_died(const Failure& failure) {
  std::string text = "the worker that ran " + describe_task(failure) + " ended " + how(failure) +
                     " after " + seconds(failure.ran_ns) + " (" + describe_worker(failure) + ")." +
                     loss_by_death(failure);
  DeathFacts death = death_of(failure);
  if (death.oom.value_or(false)) {
    text += "\nThe kernel has probably killed it for lack of memory.";
  }
  TaskFacts facts = facts_of(failure);
  if (!facts.stack.empty()) text += "\nWhere it was:\n" + facts.stack;
  return {text, std::move(facts), std::move(death)};
}

TaskTimeout task_timeout(const Failure& failure) {
  const std::string task = describe_task(failure);
  std::string text =
      failure.of_deadline
          ? "the deadline of " + task + ", " + seconds(failure.limit_ns) + " after its submission,"
          : "the limit of " + seconds(failure.limit_ns) + " for " + task;
  text += " has passed; ";
  if (failure.begun) {
    text += "it had run for " + seconds(failure.ran_ns) + " (" + describe_worker(failure) + "). " +
            loss_by_limit(failure);
  } else {
    text += "it had not begun.";
  }
  TaskFacts facts = facts_of(failure);
  if (!facts.stack.empty()) text += "\nWhere it was:\n" + facts.stack;
  return {text, std::move(facts), std::chrono::nanoseconds(failure.limit_ns), failure.of_deadline};
}

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

// --- the runs before the last one

std::vector<std::string> attempts_of(const Task& task) {
  std::vector<std::string> told;
  if (task.terms == nullptr) return told;
  for (const runtime::Attempt& attempt : task.terms->attempts) {
    std::string text;
    switch (attempt.ending) {
      case Ending::raised: text = python_error(attempt.format, attempt.payload).what(); break;
      case Ending::timed_out: text = task_timeout(*attempt.failure).what(); break;
      default: text = worker_died(*attempt.failure).what();
    }
    told.push_back("run " + std::to_string(told.size() + 1) + ": " + first_line(text));
  }
  return told;
}

bool is_to_blame(Ending ending, const Failure& failure) {
  return ending == Ending::died && failure.collateral == Collateral::no;
}

bool is_poison(const Task& task) {
  return task.terms != nullptr && !task.terms->attempts.empty() &&
         is_to_blame(task.ending, *task.failure) &&
         std::ranges::all_of(task.terms->attempts, [](const runtime::Attempt& attempt) {
           return attempt.failure && is_to_blame(attempt.ending, *attempt.failure);
         });
}

template <typename E>
[[noreturn]] void raise(E error, const Task& task) {
  error.attempts = attempts_of(task);
  throw error;
}

[[noreturn]] void raise_died(const Task& task) {
  WorkerDied died = worker_died(*task.failure);
  if (!is_poison(task)) raise(std::move(died), task);
  const std::size_t runs = task.terms->attempts.size() + 1;
  raise(PoisonTask("given up after " + std::to_string(runs) + " runs: " + died.what(),
                   std::move(died.facts), std::move(died.death)),
        task);
}

}  // namespace

PoolBroken broken_error(runtime::Supervisor& supervisor) {
  std::vector<std::string> causes;
  for (const runtime::Loss& loss : supervisor.broken_by()) {
    if (loss.failure.task == runtime::kInitializerTask) {
      causes.emplace_back(worker_died(loss.failure).what());
    } else if (!loss.reason.empty()) {
      causes.push_back("no worker could be started: " + loss.reason);
    } else {
      causes.push_back("a worker ended " + how(loss.failure) +
                       (loss.came_up ? " while it ran no task" : " before it was ready") + " (" +
                       describe_worker(loss.failure) + ").");
    }
  }
  const auto& failure = supervisor.broken_failure();
  if (!failure.empty()) {
    causes.emplace_back(python_error(ipc::Format::failure, failure).what());
  }
  std::string text = "the pool is broken: " + supervisor.broken_reason();
  if (!causes.empty()) text += "; the last cause: " + causes.back();
  return {text, std::move(causes)};
}

Value take_outcome(runtime::Supervisor& supervisor, Task& task) {
  switch (task.ending) {
    case Ending::returned: return returned(task);
    case Ending::raised: raise(python_error(task.format, payload_of(task)), task);
    case Ending::died: raise_died(task);
    case Ending::timed_out: raise(task_timeout(*task.failure), task);
    case Ending::cancelled: raise(TaskCancelled("the task was cancelled"), task);
    case Ending::broken: throw broken_error(supervisor);
    case Ending::no_memory:
    case Ending::none: break;
  }
  throw std::bad_alloc();
}

}  // namespace owngil::cpp
