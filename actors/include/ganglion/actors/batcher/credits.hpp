#pragma once

#include <cstddef>

namespace ganglion {

/// How much a core takes ahead of time.
struct credit_config {
  /// Executions that a core always takes: one that runs, and one that waits and can still be taken back.
  std::size_t executions = 2;
  /// Measured seconds of work that it takes beyond that: a wake-up for each execution would drown small programs.
  double seconds = 0.5e-3;
  /// Never more executions than this.
  std::size_t most_executions = 128;
};

/// The account of one core: what it was given and has not returned, counted in executions and in expected seconds.
class credit_account {
 public:
  explicit credit_account(credit_config config = {}) : config_(config) {}

  /// Whether the core takes an execution of `seconds` now.
  bool accepts(double seconds) const {
    if (executions_ < config_.executions) return true;
    return executions_ < config_.most_executions && seconds_ + seconds <= config_.seconds;
  }
  void take(double seconds) {
    ++executions_;
    seconds_ += seconds;
  }
  /// Returns the credit of an execution, with the same seconds as it was taken for.
  void give_back(double seconds) {
    --executions_;
    seconds_ = executions_ == 0 ? 0 : seconds_ - seconds;
  }

  std::size_t executions() const { return executions_; }
  double seconds() const { return seconds_; }

 private:
  credit_config config_;
  std::size_t executions_ = 0;
  double seconds_ = 0;
};

/// A running average of measured seconds; the first sample is taken as it is.
class running_mean {
 public:
  void add(double sample) { value_ = value_ < 0 ? sample : value_ + 0.2 * (sample - value_); }
  double value_or(double fallback) const { return value_ < 0 ? fallback : value_; }

 private:
  double value_ = -1;
};

}  // namespace ganglion
