#include "bench_schedule.hpp"

#include <cmath>

namespace ganglion::command {

std::chrono::nanoseconds poisson_schedule::next() {
  // The standard's own exponential_distribution differs between libraries; 53 random bits make a number in [0, 1).
  const auto uniform = static_cast<double>(random_() >> 11) * 0x1p-53;
  at_ -= std::log1p(-uniform) * mean_gap_;
  return std::chrono::nanoseconds{std::llround(at_ * 1e9)};
}

std::uint64_t seed_of(std::uint64_t given, std::uint64_t measurement) {
  // The finalizer of splitmix64: neighbouring numbers give seeds that have nothing to do with each other.
  auto z = given * 0x9e3779b97f4a7c15 + measurement;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

}  // namespace ganglion::command
