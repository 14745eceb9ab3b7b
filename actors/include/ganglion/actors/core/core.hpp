#pragma once

#include <ganglion/actors/protocol/handles.hpp>

#include <caf/typed_event_based_actor.hpp>

namespace ganglion {

/// Told of every execution that ended, by the core's actor. Must not block.
using execution_observer = std::function<void(const execution_report&, std::size_t core)>;

/// How long a lane may be in the middle of one thing before it counts as hung and is left behind; unset: for ever.
struct hang_limits {
  std::optional<std::chrono::nanoseconds> max_execution_time;
  /// Of one step of a load: the making of a replica, or one forward of its warm-up.
  std::optional<std::chrono::nanoseconds> max_load_step_time;
};

/// Checks them. Errors: `invalid_argument`.
expected<void> validate(const hang_limits& limits);

/// The limit of a step of a load where what waits for it must not wait for ever: `max_load_step_time`, or else ten
/// times `max_execution_time`, and 10 s at least; unset where neither is set.
std::optional<std::chrono::nanoseconds> load_step_time_of(const hang_limits& limits);

/// Whether a core that quit for this reason had hung.
bool is_hang(const caf::error& reason);

struct core_config {
  lane_config lane;
  lane_factory make_lane;
  /// Gets the credits back.
  caf::weak_actor_ptr batcher;
  execution_observer observer;
  hang_limits limits;
};

/// Checks a configuration. Errors: `invalid_argument`.
expected<void> validate(const core_config& config);

/// A NeuronCore: the identity of a lane, and its voice. Spawned by the supervisor, which monitors it; monitors nobody.
/// Quits with an error when its lane is lost or has hung; and when told to, after the reports of what its lane runs
/// have come, or 100 ms later, when what still runs touches nothing any more. While the engine drains it goes on as
/// ever. Throws `ganglion::error` for a configuration that `validate` refuses; a lane that cannot be made is a core
/// that died.
core_actor spawn_core(caf::local_actor& parent, core_config config);

}  // namespace ganglion
