#pragma once

#include <string>
#include <vector>

namespace ganglion::command {

struct axis_tick {
  double value = 0;
  std::string label;
};

/// From values to shares of an axis' length.
class chart_axis {
 public:
  /// From 0 to the largest value, or a little beyond it where that is a tick.
  static chart_axis from_zero(double largest);
  /// By factors, from the smallest to the largest value with ticks at 1, 2 and 5 times powers of ten, or where `at` are
  /// given at those alone. Values are above 0.
  static chart_axis by_factors(double smallest, double largest, std::vector<double> at = {});

  /// 0 at the begin, 1 at the end; what lies outside is moved to the nearer one.
  double share(double value) const;
  const std::vector<axis_tick>& ticks() const { return ticks_; }

 private:
  double first_ = 0;  ///< of the logarithms, where steps are by factors
  double last_ = 1;
  bool by_factors_ = false;
  std::vector<axis_tick> ticks_;
};

}  // namespace ganglion::command
