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

}  // namespace ganglion
