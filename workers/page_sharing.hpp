// SPDX-License-Identifier: BSD-3-Clause
// Keeps what a process shares with its forks shared: a page is copied as soon as one of them
// writes to it, and Python writes to what it only looks at.
//
// Threads: the only one, with the GIL.
// Processes: in the template, before it forks; a worker then has that much less to copy.
// Not: reversible. What is made to last is never freed, in no fork.
#pragma once

namespace owngil::workers {

enum class Lasting {
  program,     // functions, classes, modules and the plain values in them: what code is made of
  everything,  // but for objects with a finalizer
};

// References to these objects are no longer counted, in those that the collector has not frozen.
void make_last(Lasting which) noexcept;

// Takes the gaps in memory that is in use, so that new objects lie together on pages of their own.
void close_gaps() noexcept;

}  // namespace owngil::workers
