#include "chart_axis.hpp"

#include "svg.hpp"

#include <algorithm>
#include <cmath>

namespace ganglion::command {

chart_axis chart_axis::from_zero(double largest) {
  chart_axis axis;
  const auto length = largest > 0 && std::isfinite(largest) ? largest : 1;
  const auto step = tick_step(length, 4);
  const auto count = static_cast<int>(std::ceil(length / step - 1e-9));
  for (int i = 0; i <= count; ++i)
    axis.ticks_.push_back({i * step, fmt::format("{:.{}f}", i * step, decimals_of(step))});
  axis.last_ = count * step;
  return axis;
}

chart_axis chart_axis::by_factors(double smallest, double largest, std::vector<double> at) {
  chart_axis axis;
  axis.by_factors_ = true;
  // Half a step of room at both ends, so that no point lies on the frame.
  axis.first_ = std::log(smallest) - 0.35;
  axis.last_ = std::log(largest) + 0.35;
  if (at.empty())
    for (auto power = std::floor(std::log10(smallest)); power <= std::ceil(std::log10(largest)); ++power)
      for (const auto factor : {1, 2, 5}) at.push_back(factor * std::pow(10, power));
  for (const auto value : at)
    if (std::log(value) >= axis.first_ && std::log(value) <= axis.last_)
      axis.ticks_.push_back({value, fmt::format("{:g}", value)});
  return axis;
}

double chart_axis::share(double value) const {
  const auto place = by_factors_ ? (value > 0 ? std::log(value) : first_) : value;
  return std::clamp((place - first_) / (last_ - first_), 0.0, 1.0);
}

}  // namespace ganglion::command
