#pragma once

#include <ganglion/actors/batcher/credits.hpp>
#include <ganglion/actors/core/execution.hpp>
#include <ganglion/actors/protocol/handles.hpp>

namespace ganglion {

struct batcher_config {
  credit_config credits;
  /// The longest that a request may be expected to wait, beyond which it is refused with `queue_full`; unset: no limit.
  std::optional<std::chrono::nanoseconds> max_queue_time;
  /// Told of each execution that a core was in the middle of when it was lost. Must not block; may be empty.
  std::function<void(const execution_ptr&, std::size_t core)> lost;
};

/// Checks a configuration. Errors: `invalid_argument`.
expected<void> validate(const batcher_config& config);

/// The batching actor, one an engine: holds every queue and every core's credit, checks the compile batch size where
/// dynamic batching is off, forms executions for cores that can take them. Spawned by the supervisor; monitors nobody.
/// Quits when told to; whatever is queued or runs then is answered with `draining`.
/// Throws `ganglion::error` for a configuration that `validate` refuses.
batcher_actor spawn_batcher(caf::local_actor& parent, batcher_config config);

}  // namespace ganglion
