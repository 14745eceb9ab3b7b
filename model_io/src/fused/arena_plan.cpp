#include "arena_plan.hpp"

#include <algorithm>
#include <limits>
#include <numeric>

namespace ganglion {

namespace {

struct placed {
  std::size_t begin, end;
};

bool at_the_same_time(const arena_buffer& a, const arena_buffer& b) { return a.first <= b.last && b.first <= a.last; }

/// The beginning of the smallest gap between sorted places that holds so many bytes; behind the last one where none
/// does.
std::size_t best_gap(const std::vector<placed>& taken, std::size_t bytes) {
  std::size_t best = 0, best_size = std::numeric_limits<std::size_t>::max(), reached = 0;
  for (const auto& place : taken) {
    if (place.begin >= reached + bytes && place.begin - reached < best_size) {
      best = reached;
      best_size = place.begin - reached;
    }
    reached = std::max(reached, place.end);
  }
  return best_size == std::numeric_limits<std::size_t>::max() ? reached : best;
}

}  // namespace

arena_plan plan_arena(const std::vector<arena_buffer>& buffers, std::size_t alignment) {
  arena_plan plan;
  plan.offsets.resize(buffers.size());
  const auto rounded = [&](std::size_t bytes) { return (bytes + alignment - 1) / alignment * alignment; };
  std::vector<std::size_t> order(buffers.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return buffers[a].bytes > buffers[b].bytes; });
  std::vector<std::size_t> done;
  for (const auto index : order) {
    std::vector<placed> taken;
    for (const auto other : done)
      if (at_the_same_time(buffers[index], buffers[other]))
        taken.push_back({plan.offsets[other], plan.offsets[other] + rounded(buffers[other].bytes)});
    std::sort(taken.begin(), taken.end(), [](const placed& a, const placed& b) { return a.begin < b.begin; });
    plan.offsets[index] = best_gap(taken, rounded(buffers[index].bytes));
    plan.bytes = std::max(plan.bytes, plan.offsets[index] + rounded(buffers[index].bytes));
    done.push_back(index);
  }
  return plan;
}

}  // namespace ganglion
