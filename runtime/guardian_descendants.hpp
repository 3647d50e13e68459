// SPDX-License-Identifier: BSD-3-Clause
// Kills everything that was ever started below this process.
//
// Processes: the caller is a subreaper, so whatever loses its parent becomes the caller's child.
// Threads: the only one.
// Not: a request. Nothing below is asked to leave.
#pragma once

namespace owngil::runtime {

// Kills child after child until there is none; each pass turns grandchildren into children.
// Only children and their process groups are killed: no other process can have the number of one
// before it is reaped here.
// Requires: `child_signals` is a signalfd of, at least, SIGCHLD. Gives up on what has not died in half a
// minute.
void kill_descendants(int child_signals);

}  // namespace owngil::runtime
