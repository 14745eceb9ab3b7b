#pragma once

#include <chrono>
#include <cstdint>
#include <random>

namespace ganglion::command {

/// The arrival times of a Poisson process: independent requests at a mean rate. The same seed gives the same times on
/// every platform.
class poisson_schedule {
 public:
  /// `per_second` is above 0.
  poisson_schedule(double per_second, std::uint64_t seed) : mean_gap_(1 / per_second), random_(seed) {}

  /// The next arrival, counted from the start.
  std::chrono::nanoseconds next();

 private:
  double mean_gap_;
  double at_ = 0;
  std::mt19937_64 random_;
};

/// A seed for each of the measurements that share one given by the user.
std::uint64_t seed_of(std::uint64_t given, std::uint64_t measurement);

}  // namespace ganglion::command
