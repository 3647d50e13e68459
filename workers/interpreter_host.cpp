// SPDX-License-Identifier: BSD-3-Clause
#include "workers/interpreter_host.hpp"

#include "ipc/fd_passing.hpp"
#include "ipc/interrupt_signal.hpp"
#include "workers/host_interruption.hpp"
#include "workers/own_gil_interpreter.hpp"
#include "workers/process_worker.hpp"
#include "workers/stack_dump.hpp"

#include <poll.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <list>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace owngil::workers {
namespace {

// A fault in a thread that has overflowed its stack can be told only from another one.
constexpr std::size_t kHandlerStackBytes = 64 * 1024;

class HandlerStack {
 public:
  HandlerStack() : bytes_(std::make_unique<char[]>(kHandlerStackBytes)) {
    const stack_t stack{bytes_.get(), 0, kHandlerStackBytes};
    ::sigaltstack(&stack, nullptr);
  }
  HandlerStack(const HandlerStack&) = delete;
  HandlerStack& operator=(const HandlerStack&) = delete;
  ~HandlerStack() {
    const stack_t none{nullptr, SS_DISABLE, 0};
    ::sigaltstack(&none, nullptr);
  }

 private:
  std::unique_ptr<char[]> bytes_;
};

bool is_to_this_process(long pid) { return pid == ::getpid() || pid == 0 || pid == -::getpgrp(); }

// Who sends its own process a signal may be about to end it.
int on_audit(const char* event, PyObject* arguments, void*) noexcept {
  if (std::strcmp(event, "os.kill") != 0 && std::strcmp(event, "os.killpg") != 0) return 0;
  if (!PyTuple_Check(arguments) || PyTuple_GET_SIZE(arguments) != 2) return 0;
  const long pid = PyLong_AsLong(PyTuple_GET_ITEM(arguments, 0));
  const long number = PyLong_AsLong(PyTuple_GET_ITEM(arguments, 1));
  PyErr_Clear();
  const bool to_group = std::strcmp(event, "os.killpg") == 0;
  if (number != 0 && is_to_this_process(to_group ? -pid : pid)) take_blame();
  return 0;
}

struct Worker {
  explicit Worker(ipc::UniqueFd fd) : socket(std::move(fd)) {}

  ipc::UniqueFd socket;
  std::thread thread;
  int code = EXIT_FAILURE;
};

// The host got the signal. The question where a task is ends a wait, too, and must not stop it.
volatile std::sig_atomic_t is_interrupted = 0;

// All that wakes the host but requests: no descriptor is needed for it, and a task may close any.
void let_signal_interrupt() {
  struct sigaction action{};
  action.sa_handler = [](int) { is_interrupted = 1; };
  ::sigaction(ipc::interrupt_signal(), &action, nullptr);
}

class Host {
 public:
  Host(int socket, const std::string& entry, PyInterpreterState* main, bool alone, bool wakes)
      : socket_(socket),
        entry_(entry),
        main_(main),
        alone_(alone),
        wakes_(wakes),
        thread_(::pthread_self()) {
    let_signal_interrupt();
    sigset_t interrupt;
    sigemptyset(&interrupt);
    sigaddset(&interrupt, ipc::interrupt_signal());
    // The workers' threads inherit it; this one takes the signal while it waits, and only then.
    pthread_sigmask(SIG_BLOCK, &interrupt, &while_waiting_);
    sigdelset(&while_waiting_, ipc::interrupt_signal());
  }

  int run() {
    while (is_open_ || !workers_.empty()) {
      pollfd requests{is_open_ ? socket_ : -1, POLLIN, 0};
      const int ready = ::ppoll(&requests, 1, nullptr, &while_waiting_);
      if (ready > 0) read_requests();
      if (is_interrupted != 0) {
        is_interrupted = 0;  // nobody sets it but in the wait
        interrupt_told_workers(wakes_);
      }
      if (!bury_ended()) break;
    }
    return code_;
  }

 private:
  void read_requests() {
    for (;;) {
      ipc::ControlMessage request;
      switch (ipc::receive_control(socket_, request)) {
        case ipc::Receive::nothing: return;
        case ipc::Receive::closed: is_open_ = false; return;
        case ipc::Receive::got: break;
      }
      // A request without its descriptor has closed the worker's socket by that.
      if (request.header.verb != ipc::Verb::fork || request.fds.size() != 1) continue;
      start(std::move(request.fds.front()));
    }
  }

  void start(ipc::UniqueFd socket) {
    Worker& worker = workers_.emplace_back(std::move(socket));
    try {
      worker.thread = std::thread([this, &worker] { work(worker); });
    } catch (const std::system_error& error) {
      report_failure(worker.socket.get(), error.what());
      workers_.pop_back();
    }
  }

  void work(Worker& worker) {
    const HandlerStack stack;
    try {
      OwnGilInterpreter interpreter(main_, alone_);
      const std::string number = std::to_string(worker.socket.get());
      worker.code = interpreter.run(entry_ + "(" + number + ")\n");
    } catch (const std::exception& error) {
      report_failure(worker.socket.get(), error.what());
    }
    {
      const std::lock_guard lock(mutex_);
      ended_.push_back(&worker);
    }
    ::pthread_kill(thread_, ipc::interrupt_signal());
  }

  // False: there is nobody left, nor anybody asked for.
  bool bury_ended() {
    std::vector<Worker*> ended;
    {
      const std::lock_guard lock(mutex_);
      ended.swap(ended_);
    }
    if (ended.empty()) return true;
    for (Worker* const worker : ended) {
      worker->thread.join();
      if (worker->code != EXIT_SUCCESS) code_ = worker->code;
    }
    if (ended.size() == workers_.size()) {
      if (is_open_) read_requests();
      if (ended.size() == workers_.size()) return false;  // the process's end tells the rest
    }
    for (Worker* const worker : ended) {
      const ipc::ControlHeader told{.verb = ipc::Verb::ended,
                                    .status = W_EXITCODE(worker->code, 0)};
      static_cast<void>(ipc::send_control(worker->socket.get(), told));
      workers_.remove_if([worker](const Worker& one) { return &one == worker; });
    }
    return true;
  }

  // immutable after construction
  const int socket_;
  const std::string& entry_;
  PyInterpreterState* const main_;
  const bool alone_;
  const bool wakes_;
  const pthread_t thread_;
  sigset_t while_waiting_;
  // the process's first thread
  bool is_open_ = true;  // workers may be asked for
  std::list<Worker> workers_;
  int code_ = EXIT_SUCCESS;
  // guarded by mutex_
  std::mutex mutex_;
  std::vector<Worker*> ended_;
};

}  // namespace

int serve_interpreters(int socket, const std::string& entry, bool alone, bool wakes) noexcept {
  if (PySys_AddAuditHook(on_audit, nullptr) != 0) return -1;
  PyInterpreterState* const main = PyInterpreterState_Get();
  int code = EXIT_FAILURE;
  std::string failure;
  Py_BEGIN_ALLOW_THREADS try {
    code = Host(socket, entry, main, alone, wakes).run();
  } catch (const std::exception& error) {
    failure = error.what();
  }
  Py_END_ALLOW_THREADS if (failure.empty()) return code;
  PyErr_SetString(PyExc_OSError, failure.c_str());
  return -1;
}

}  // namespace owngil::workers
