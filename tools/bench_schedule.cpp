#include "bench_schedule.hpp"

#include <cmath>

namespace ganglion::command {

std::chrono::nanoseconds poisson_schedule::next() {
  // The standard's own exponential_distribution differs between libraries; 53 random bits make a number in [0, 1).
  const auto uniform = static_cast<double>(random_() >> 11) * 0x1p-53;
  at_ -= std::log1p(-uniform) * mean_gap_;
  return std::chrono::nanoseconds{std::llround(at_ * 1e9)};
}

}  // namespace ganglion::command
