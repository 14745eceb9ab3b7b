#pragma once

#include <ganglion/model_io/error.hpp>

#include <chrono>

namespace ganglion {

/// How the requests of one deployment become executions.
struct coalescing_options {
  /// How long a batch that is not full may wait for rows that join it, counted from its oldest row. 0: what waits
  /// when a core becomes free goes together, and no core waits for more.
  std::chrono::nanoseconds max_queue_delay{0};
  /// After each such time a request that waits rises by one class; 0: never.
  std::chrono::nanoseconds ageing{std::chrono::seconds(1)};
  /// Runs everything on one and the same program, the one of the largest compiled size, so that the bits of a row's
  /// answer do not depend on what else is there.
  bool deterministic = false;
};

/// Errors: `invalid_argument` for a negative time.
expected<void> validate(const coalescing_options& options);

/// The same with times of at most a year, which a clock can count.
coalescing_options countable(coalescing_options options);

}  // namespace ganglion
