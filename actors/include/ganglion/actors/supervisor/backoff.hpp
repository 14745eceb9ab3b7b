#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>

namespace ganglion {

struct backoff_config {
  std::chrono::milliseconds first{10};
  std::chrono::milliseconds most{1'000};
  /// A core that served for this long starts again from the first delay.
  std::chrono::milliseconds stable_after{5'000};
  /// After this many deaths in a row it counts as lost until it comes back: what only it could run fails at once.
  std::size_t lost_after = 5;
  /// The longest delay where each start costs a thread, since the core hung before it served again.
  std::chrono::milliseconds most_after_hangs{300'000};
};

/// How long to wait before a core is started again: doubled with each death in a row.
class backoff {
 public:
  explicit backoff(backoff_config config = {}) : config_(config) {}

  /// The core died after it had served for so long. Returns the delay before its next start.
  std::chrono::milliseconds died(std::chrono::nanoseconds served) {
    if (served >= config_.stable_after) deaths_ = 0;
    ++deaths_;
    return delay(config_.most);
  }
  /// It hung again before it served: it counts as lost at once, for each such start takes long and leaves a thread.
  std::chrono::milliseconds hung_again() {
    deaths_ = std::max(deaths_ + 1, config_.lost_after);
    return delay(config_.most_after_hangs);
  }
  bool lost() const { return deaths_ >= config_.lost_after; }
  std::size_t deaths() const { return deaths_; }

 private:
  std::chrono::milliseconds delay(std::chrono::milliseconds most) const {
    auto result = config_.first;
    for (std::size_t i = 1; i < deaths_ && result < most; ++i) result *= 2;
    return std::min(result, most);
  }

  backoff_config config_;
  std::size_t deaths_ = 0;
};

}  // namespace ganglion
