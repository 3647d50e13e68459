// SPDX-License-Identifier: BSD-3-Clause
#include "cpp/launch.hpp"

#include "cpp/pickle_reader.hpp"
#include "ipc/unique_fd.hpp"
#include "owngil/errors.hpp"
#include "owngil/value.hpp"
#include "runtime/spawn.hpp"

#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <stdexcept>
#include <string_view>
#include <system_error>
#include <utility>

namespace owngil::cpp {
namespace {

namespace fs = std::filesystem;

constexpr int kAnswerFd = 3;
constexpr int kAnswerLimitMs = 60'000;

constexpr std::string_view kHostProgram = "owngil-host";

// As the stub of owngil._bootstrap, which it leads to. Arguments: the package's __init__.py, the
// role, the kind of workers, what to preload.
constexpr const char* kAsk =
    "import sys;"
    "from _frozen_importlib import _load;"
    "from _frozen_importlib_external import spec_from_file_location as spec;"
    "_load(spec('owngil',sys.argv[1],submodule_search_locations=[sys.argv[1][:-12]]));"
    "from owngil._embedding import answer;"
    "answer(*sys.argv[2:])";

// As owngil._context names them: a pool sets them, the user's own values come first.
constexpr std::array kThreadLimits = {
    "BLIS_NUM_THREADS", "MKL_NUM_THREADS",      "NUMBA_NUM_THREADS",     "NUMEXPR_NUM_THREADS",
    "OMP_NUM_THREADS",  "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"};

std::string folder_of_this_library() {
  Dl_info info{};
  if (::dladdr(reinterpret_cast<void*>(&ask_python), &info) == 0 || info.dli_fname == nullptr) {
    return {};
  }
  std::error_code error;
  const fs::path path = fs::canonical(info.dli_fname, error);
  return error ? std::string() : path.parent_path().string();
}

std::string package_folder(const std::string& given) {
  std::error_code error;
  if (!given.empty()) return fs::absolute(given, error).string();
  return folder_of_this_library() + "/owngil";
}

bool is_program(const std::string& path) {
  std::error_code error;
  return ::access(path.c_str(), X_OK) == 0 && fs::is_regular_file(path, error);
}

std::optional<std::string> search(const std::string& name) {
  if (name.find('/') != std::string::npos) {
    std::error_code error;
    const std::string path = fs::absolute(name, error).string();
    return is_program(path) ? std::optional(path) : std::nullopt;
  }
  const char* const given = std::getenv("PATH");
  std::string_view folders = given != nullptr ? given : "/usr/local/bin:/usr/bin:/bin";
  while (true) {
    const auto end = folders.find(':');
    std::string path(folders.substr(0, end));
    path += (path.empty() ? "./" : "/") + name;
    if (is_program(path)) return fs::absolute(path).string();
    if (end == std::string_view::npos) return std::nullopt;
    folders.remove_prefix(end + 1);
  }
}

std::vector<char*> pointers(const std::vector<std::string>& strings) {
  std::vector<char*> made;
  for (const std::string& one : strings) made.push_back(const_cast<char*>(one.c_str()));
  made.push_back(nullptr);
  return made;
}

// What the program writes to the descriptor kAnswerFd until it ends.
Bytes run(const std::string& program, const std::vector<std::string>& argv,
          const std::vector<std::string>& env) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) {
    throw std::system_error(errno, std::generic_category(), "pipe");
  }
  const ipc::UniqueFd reading(ends[0]);
  {
    const ipc::UniqueFd writing(ends[1]);
    const std::array fds = {writing.get()};
    const std::vector<char*> argv_pointers = pointers(argv);
    const std::vector<char*> env_pointers = pointers(env);
    runtime::spawn_detached({.path = program.c_str(),
                             .argv = argv_pointers.data(),
                             .env = env_pointers.data(),
                             .fds = fds,
                             .first = kAnswerFd});
  }
  Bytes all;
  std::array<std::byte, 4096> part;
  while (true) {
    pollfd readable{reading.get(), POLLIN, 0};
    const int ready = ::poll(&readable, 1, kAnswerLimitMs);
    if (ready == 0) throw StartError("owngil: " + program + " does not answer");
    const ssize_t got = ready < 0 ? -1 : ::read(reading.get(), part.data(), part.size());
    if (got < 0 && errno != EINTR) {
      throw std::system_error(errno, std::generic_category(), "read of an answer");
    }
    if (got == 0) return all;
    if (got > 0) all.insert(all.end(), part.begin(), part.begin() + got);
  }
}

std::string text_of(const Value& value) {
  if (const auto* text = std::get_if<std::string>(&value.data())) return *text;
  const Bytes bytes = value.as<Bytes>();
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

LaunchAnswer read_answer(const Value& answer, const LaunchQuestion& question) {
  LaunchAnswer found;
  runtime::LaunchSpec& spec = found.spec;
  for (const auto& [key, value] : answer.as<Dict>()) {
    const std::string name = key.as<std::string>();
    if (name == "error") throw StartError("owngil: " + value.as<std::string>());
    if (name == "argv") {
      for (const Value& argument : value.as<List>()) spec.argv.push_back(text_of(argument));
    }
    if (name == "guardian") spec.guardian_path = text_of(value);
    if (name == "config") spec.config = text_of(value);
    if (name == "reuses_places") found.reuses_places = value.as<bool>();
  }
  if (spec.argv.empty()) throw BadConversion("no command line");
  spec.env = question.env;
  return found;
}

LaunchAnswer ask(const std::string& program, const LaunchQuestion& question) {
  const std::string init = question.package + "/__init__.py";
  const char* const spawned = question.hosts ? "host" : "worker";
  std::vector<std::string> argv = {program,
                                   "-c",
                                   kAsk,
                                   init,
                                   question.spawn ? spawned : "template",
                                   question.hosts ? "interpreters" : "processes"};
  argv.insert(argv.end(), question.preload.begin(), question.preload.end());
  const Bytes bytes = run(program, argv, question.env);
  try {
    const std::optional<Value> answer = read_pickle(bytes);
    if (!answer) throw BadConversion("no answer");
    LaunchAnswer found = read_answer(*answer, question);
    // It takes the place of a virtual environment's python, and tells that it is that one.
    if (fs::path(program).filename() == kHostProgram) found.spec.argv[0] = program;
    return found;
  } catch (const BadConversion&) {
    throw StartError("owngil: " + program + " could not load the package in " + question.package +
                     "; what it wrote to stderr says why. It has to be a CPython 3.12 or later.");
  }
}

bool has_package(const std::string& folder) {
  std::error_code error;
  return fs::is_regular_file(folder + "/__init__.py", error);
}

void set_variable(std::vector<std::string>& env, const std::string& name,
                  const std::string& value) {
  const std::string head = name + "=";
  std::erase_if(env, [&](const std::string& one) { return one.starts_with(head); });
  env.push_back(head + value);
}

std::vector<std::string> environment(const PoolOptions& options, unsigned threads) {
  std::vector<std::string> env;
  for (char** at = ::environ; at != nullptr && *at != nullptr; ++at) env.emplace_back(*at);
  for (const char* name : kThreadLimits) {
    if (std::getenv(name) == nullptr) set_variable(env, name, std::to_string(threads));
  }
  std::string path;
  for (const std::string& folder : options.path) {
    if (folder.find(':') != std::string::npos) {
      throw std::invalid_argument("owngil: a folder of PoolOptions::path has a colon: " + folder);
    }
    path += (path.empty() ? "" : ":") + fs::absolute(folder.empty() ? "." : folder).string();
  }
  if (!path.empty()) {
    const char* const more = std::getenv("PYTHONPATH");
    if (more != nullptr && *more != '\0') path += std::string(":") + more;
    set_variable(env, "PYTHONPATH", path);
  }
  return env;
}

bool ignores_interrupt() {
  struct sigaction action{};
  return ::sigaction(SIGINT, nullptr, &action) == 0 && action.sa_handler == SIG_IGN;
}

}  // namespace

LaunchQuestion launch_question(const PoolOptions& options, unsigned threads_per_worker) {
  std::error_code error;
  return {.python = options.python,
          .package = package_folder(options.package),
          .preload = options.preload,
          .env = environment(options, threads_per_worker),
          .cwd = fs::current_path(error).string(),
          .spawn = options.start == Start::spawn,
          .hosts = options.kind == Kind::interpreter,
          .ignores_interrupt = ignores_interrupt()};
}

LaunchAnswer ask_python(const LaunchQuestion& question) {
  if (!has_package(question.package)) {
    throw StartError("owngil: the Python package owngil is not in " + question.package +
                     ". It is installed there together with this library (cmake --install); "
                     "PoolOptions::package names another folder.");
  }
  std::string named = question.python;
  if (const char* const variable = std::getenv("OWNGIL_PYTHON"); named.empty() && variable) {
    named = variable;  // which may be empty, too
  }
  if (!named.empty()) {
    const std::optional<std::string> program = search(named);
    if (!program) {
      throw StartError("owngil: there is no program " + named +
                       (question.python.empty() ? ", as $OWNGIL_PYTHON has it."
                                                : ", as PoolOptions::python has it."));
    }
    return ask(*program, question);
  }
  const std::string host = question.package + "/" + std::string(kHostProgram);
  const std::optional<std::string> python = search("python3");
  if (python) {
    try {
      return ask(*python, question);
    } catch (const StartError&) {
      if (!is_program(host)) throw;
    }
  }
  if (is_program(host)) return ask(host, question);
  throw StartError(
      "owngil: there is no python3 on $PATH. Name one with PoolOptions::python or "
      "$OWNGIL_PYTHON.");
}

}  // namespace owngil::cpp
