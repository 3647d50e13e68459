// SPDX-License-Identifier: BSD-3-Clause
// The exceptions' virtual tables and type information lie here, for every program that catches them.
#include "owngil/errors.hpp"

namespace owngil {

namespace {

std::string describe(const std::string& type, const std::string& message,
                     const std::string& traceback) {
  std::string text = message.empty() ? type : type + ": " + message;
  if (!traceback.empty()) text += "\n\n" + traceback;
  return text;
}

}  // namespace

Error::~Error() = default;
BadConversion::~BadConversion() = default;
StartError::~StartError() = default;
PoolClosed::~PoolClosed() = default;
PoolBroken::~PoolBroken() = default;
TaskError::~TaskError() = default;
PythonError::~PythonError() = default;
TaskCancelled::~TaskCancelled() = default;
TaskTimeout::~TaskTimeout() = default;
WorkerDied::~WorkerDied() = default;
PoisonTask::~PoisonTask() = default;

PythonError::PythonError(std::string type_, std::string message_, std::string traceback_,
                         std::vector<std::byte> pickle)
    : TaskError(describe(type_, message_, traceback_)),
      type(std::move(type_)),
      message(std::move(message_)),
      traceback(std::move(traceback_)),
      pickled(std::move(pickle)) {}

}  // namespace owngil
