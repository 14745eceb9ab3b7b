#pragma once

#include <cstddef>
#include <vector>

namespace ganglion::command {

/// When a figure that is measured again and again may be believed.
struct stability_rule {
  std::size_t agreeing = 3;   ///< so many windows one after the other agree,
  double within = 0.1;        ///< which means that the largest is at most this much more than the smallest
  std::size_t most = 9;       ///< after so many windows the measurement ends anyway,
  double most_seconds = 1e9;  ///< or when so much time was measured
};

/// The windows of one measurement: perf_analyzer's rule.
class stability_window {
 public:
  explicit stability_window(stability_rule rule) : rule_(rule) {}

  /// What a window gave, and for how long it was measured.
  void add(double figure, double seconds);

  /// Whether the last windows agree. A figure of 0 agrees with nothing.
  bool agreed() const;
  /// Whether no further window is wanted.
  bool ended() const;
  const std::vector<double>& figures() const { return figures_; }

 private:
  stability_rule rule_;
  double seconds_ = 0;
  std::vector<double> figures_;
};

}  // namespace ganglion::command
