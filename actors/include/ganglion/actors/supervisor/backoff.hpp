#pragma once

#include <chrono>
#include <cstddef>

namespace ganglion {

struct backoff_config {
  std::chrono::milliseconds first{10};
  std::chrono::milliseconds most{1'000};
  /// A core that lived this long starts again from the first delay.
  std::chrono::milliseconds stable_after{5'000};
  /// After this many deaths in a row it counts as lost until it comes back: what only it could run fails at once.
  std::size_t lost_after = 5;
};

/// How long to wait before a core is started again: doubled with each death in a row.
class backoff {
 public:
  explicit backoff(backoff_config config = {}) : config_(config) {}

  /// The core died after having lived for `lifetime`. Returns the delay before its next start.
  std::chrono::milliseconds died(std::chrono::nanoseconds lifetime) {
    if (lifetime >= config_.stable_after) deaths_ = 0;
    ++deaths_;
    auto delay = config_.first;
    for (std::size_t i = 1; i < deaths_ && delay < config_.most; ++i) delay *= 2;
    return delay < config_.most ? delay : config_.most;
  }
  bool lost() const { return deaths_ >= config_.lost_after; }
  std::size_t deaths() const { return deaths_; }

 private:
  backoff_config config_;
  std::size_t deaths_ = 0;
};

}  // namespace ganglion
