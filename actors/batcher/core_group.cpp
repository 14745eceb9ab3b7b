#include <ganglion/actors/batcher/core_group.hpp>

#include <algorithm>
#include <bit>

namespace ganglion {

core_group::core_group(std::vector<std::size_t> cores)
    : cores_(std::move(cores)), width_(std::bit_ceil(std::max<std::size_t>(1, cores_.size()))), nodes_(2 * width_) {}

void core_group::set(std::size_t place, const core_load& load) {
  auto node = width_ + place;
  nodes_[node] = load;
  while (node > 1) {
    node /= 2;
    const auto &a = nodes_[2 * node], &b = nodes_[2 * node + 1];
    nodes_[node] = {std::min(a.executions, b.executions), std::min(a.seconds, b.seconds), a.measured + b.measured,
                    a.up + b.up};
  }
}

std::vector<double> core_group::measured_left(std::chrono::steady_clock::time_point now) const {
  std::vector<double> result;
  result.reserve(cores_.size());
  for (std::size_t place = 0; place < cores_.size(); ++place) {
    const auto& load = nodes_[width_ + place];
    if (load.up == 0) continue;
    const auto passed = std::chrono::duration<double>(now - load.since).count();
    result.push_back(load.measured - std::clamp(passed, 0.0, load.running));
  }
  return result;
}

}  // namespace ganglion
