#include "process_end.hpp"

#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <iostream>

namespace ganglion {

namespace {

std::atomic<int> unfinished{0};

void end_at_once(int status, void*) {
  if (unfinished == 0) return;
  std::cout.flush();
  std::clog.flush();
  std::fflush(nullptr);
  ::_exit(status);
}

// The libraries that this one is linked with were initialized before, so that theirs would be destroyed after.
[[maybe_unused]] const int registered = ::on_exit(end_at_once, nullptr);

}  // namespace

void keep_what_libraries_have() noexcept { ::on_exit(end_at_once, nullptr); }

unfinished_work::unfinished_work() noexcept { ++unfinished; }
unfinished_work::~unfinished_work() { --unfinished; }

void stay_until_the_process_ends() noexcept {
  for (;;) ::pause();
}

}  // namespace ganglion
