#pragma once

#include "progress_line.hpp"
#include "watch.hpp"

#include <ganglion/engine/engine.hpp>

#include <chrono>
#include <mutex>
#include <string>

namespace ganglion::command {

/// Shows on a terminal what is being measured, and for how long already; and below it what an engine does, if asked.
class bench_progress {
 public:
  void stage(std::string what);
  /// Shows the status of an engine until it is told null.
  void watch(const engine* host);

 private:
  std::string text();

  std::mutex mutex_;
  std::string what_;
  std::chrono::steady_clock::time_point since_;
  const engine* watched_ = nullptr;
  status_watch watch_;
  progress_line line_{[this] { return text(); }};  // last: it reads the others
};

}  // namespace ganglion::command
