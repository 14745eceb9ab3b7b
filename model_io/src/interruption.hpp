#pragma once

#include <stop_token>

namespace ganglion {

/// Thrown between two runs of a model by work that is to end. No std::exception, so that nobody takes it for a failure
/// of the model.
struct interrupted {};

inline void go_on(const std::stop_token& stop) {
  if (stop.stop_requested()) throw interrupted{};
}

}  // namespace ganglion
