#pragma once

#include <chrono>
#include <cstddef>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

namespace ganglion {

/// How much a core has, or what of all of several cores is known.
struct core_load {
  /// The executions and the expected seconds that it holds; of several cores the least of each. Without a limit
  /// where it takes nothing.
  std::size_t executions = std::numeric_limits<std::size_t>::max();
  double seconds = std::numeric_limits<double>::infinity();
  /// The sum of the measured seconds that they hold.
  double measured = 0;
  /// How many of them are there.
  std::size_t up = 0;
  /// Of one core: the measured seconds of what it runs, about, and since when it does.
  double running = 0;
  std::chrono::steady_clock::time_point since = {};
};

/// Cores in an order of preference, and the load of each, in a tree whose nodes know what is below them: to find the
/// least busy of those that take some work, and to note a change, takes the logarithm of their number. Pure.
class core_group {
 public:
  /// Cores that take nothing so far.
  explicit core_group(std::vector<std::size_t> cores);

  /// In the order of preference; their places are the indices.
  const std::vector<std::size_t>& cores() const { return cores_; }
  void set(std::size_t place, const core_load& load);
  /// Of all cores together.
  const core_load& total() const { return nodes_[1]; }
  /// The measured seconds that each core which is there still has to run, in order.
  std::vector<double> measured_left(std::chrono::steady_clock::time_point now) const;

  /// The core with the fewest executions among those of which `takes(load)` and `allowed(core)` hold; of equal ones the
  /// first in order. `takes` must hold for whatever has less than a load for which it holds.
  template <class Takes, class Allowed>
  std::optional<std::size_t> least_busy(const Takes& takes, const Allowed& allowed) const {
    best b;
    search(1, takes, allowed, b);
    return b.core;
  }

 private:
  struct best {
    std::size_t executions = std::numeric_limits<std::size_t>::max();
    std::optional<std::size_t> core;
  };

  template <class Takes, class Allowed>
  void search(std::size_t node, const Takes& takes, const Allowed& allowed, best& b) const {
    const auto& load = nodes_[node];
    if (load.executions >= b.executions || !takes(load)) return;
    if (node < width_) {
      search(2 * node, takes, allowed, b);
      search(2 * node + 1, takes, allowed, b);
    } else if (auto core = cores_[node - width_]; allowed(core)) {
      b = {load.executions, core};
    }
  }

  std::vector<std::size_t> cores_;
  std::size_t width_;             // of the leaves: a power of two
  std::vector<core_load> nodes_;  // the root is 1, the halves of n are 2n and 2n + 1, the leaves begin at `width_`
};

}  // namespace ganglion
