#include "bench_progress.hpp"

#include <fmt/format.h>

namespace ganglion::command {

using clock = std::chrono::steady_clock;

void bench_progress::stage(std::string what) {
  std::lock_guard lock(mutex_);
  what_ = std::move(what);
  since_ = clock::now();
}

void bench_progress::watch(const engine* host) {
  std::lock_guard lock(mutex_);
  watched_ = host;
}

std::string bench_progress::text() {
  std::lock_guard lock(mutex_);
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(clock::now() - since_);
  auto line = what_.empty() ? "starting" : fmt::format("{}, {} s", what_, seconds.count());
  return watched_ == nullptr ? line : fmt::format("{}\n{}", line, watch_.text(watched_->status(), clock::now()));
}

}  // namespace ganglion::command
