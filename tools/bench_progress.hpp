#pragma once

#include "progress_line.hpp"

#include <chrono>
#include <mutex>
#include <string>

namespace ganglion::command {

/// Shows on a terminal what is being measured, and for how long already.
class bench_progress {
 public:
  void stage(std::string what);

 private:
  std::string text();

  std::mutex mutex_;
  std::string what_;
  std::chrono::steady_clock::time_point since_;
  progress_line line_{[this] { return text(); }};  // last: it reads the others
};

}  // namespace ganglion::command
