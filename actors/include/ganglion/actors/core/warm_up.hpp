#pragma once

#include <vector>

namespace ganglion {

/// What the warm-up of a model's programs found on a core.
struct warm_up {
  /// What the last execution of each program took; 0 where it is not known.
  std::vector<double> seconds;
  /// Whether equal rows had equal bits at every place in the batch of every program.
  bool places_are_alike = false;
};

}  // namespace ganglion
