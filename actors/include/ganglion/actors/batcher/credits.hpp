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
  /// Measured seconds of full batches of one request that are handed out as one execution where there are so many: to
  /// hand out less costs as much as to run it, and what comes meanwhile waits until more has run. Twice the most where
  /// there is nothing else. A batch that takes longer than the least goes by itself: to copy what it returns once more
  /// would cost more than to hand it out.
  double least_together = 0.02e-3, most_together = 0.25e-3;

  /// Whether a core that holds so much takes an execution of `more` seconds.
  bool accept(std::size_t executions_held, double seconds_held, double more) const {
    if (executions_held < executions) return true;
    return executions_held < most_executions && seconds_held + more <= seconds;
  }
};

/// The account of one core: what it was given and has not returned, counted in executions and in expected seconds.
class credit_account {
 public:
  explicit credit_account(credit_config config = {}) : config_(config) {}

  /// Whether the core takes an execution of `seconds` now.
  bool accepts(double seconds) const { return config_.accept(executions_, seconds_, seconds); }
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

/// A running average of measured seconds; the first sample is taken as it is. One that is far above the average counts
/// only where the next one is too: a hiccup of the machine is not what a program takes.
class running_mean {
 public:
  void add(double sample) {
    bool far = value_ > 0 && sample > far_above * value_;
    if (far && !was_far_) {
      was_far_ = true;
      return;
    }
    was_far_ = false;
    bool doubted = value_ < forgotten * measured_;
    value_ = value_ < 0 || doubted ? sample : value_ + 0.2 * (sample - value_);
    measured_ = value_;
  }
  /// Believes a little less in what was measured: who is not tried for its cost is tried again some day. What is
  /// measured after many doubts is taken as it is.
  void doubt(double factor) {
    if (value_ > 0) value_ *= factor;
  }
  double value_or(double fallback) const { return value_ < 0 ? fallback : value_; }

 private:
  static constexpr double far_above = 4;
  static constexpr double forgotten = 0.9;

  double value_ = -1;
  double measured_ = -1;  // as it was after the last sample
  bool was_far_ = false;
};

}  // namespace ganglion
