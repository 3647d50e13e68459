// SPDX-License-Identifier: BSD-3-Clause
// fork(), with a child that is not this process's: its subreaper inherits it at once. It is in a
// process group of its own, which nobody leads.
//
// Threads: the only one. Processes: the parent reaps what lies between; there is nothing else to
//   wait for.
// Not: a cheap fork, but one and not two: the process between borrows this one's memory, as
//   after vfork(), so only the child's page tables are copied.
#pragma once

namespace owngil::workers {

// Returns true in the child, false in this process; the handlers of pthread_atfork have run as
// for any fork. std::system_error: there is no child.
[[nodiscard]] bool fork_orphan();

}  // namespace owngil::workers
