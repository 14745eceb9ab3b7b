#pragma once

#include <algorithm>
#include <chrono>

namespace ganglion::command {

/// The time since a start in which this process ran. It must be looked at once a second: of more than two between two
/// looks, as where the process was stopped, two count.
class awake_clock {
 public:
  using seconds = std::chrono::duration<double>;
  using time_point = std::chrono::steady_clock::time_point;

  explicit awake_clock(time_point start) : last_(start) {}

  seconds at(time_point now) {
    passed_ += std::min<seconds>(now - last_, seconds{2});
    last_ = now;
    return passed_;
  }

 private:
  time_point last_;
  seconds passed_{0};
};

}  // namespace ganglion::command
