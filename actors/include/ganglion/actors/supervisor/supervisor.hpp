#pragma once

#include <ganglion/actors/batcher/batcher.hpp>
#include <ganglion/actors/core/core.hpp>
#include <ganglion/actors/supervisor/backoff.hpp>

#include <string_view>

namespace ganglion {

struct supervisor_config {
  /// One element a core; `core` is its index.
  std::vector<lane_config> cores;
  lane_factory make_lane;
  batcher_config batcher;
  /// Shared with whoever lets requests in; made if null.
  std::shared_ptr<admission> gate;
  backoff_config restart;
  /// The most bytes of model weights on one core; unset: no limit (S15 of docs/semantics.md).
  std::optional<std::size_t> core_memory_bytes;
  execution_observer observer;
  /// Of every core's lane.
  hang_limits limits;
  /// Told of deaths, one sentence each, with what happens next; may be empty.
  std::function<void(std::string_view)> log;
  /// Told when a core that had died serves again, one sentence each; may be empty.
  std::function<void(std::string_view)> news;
};

/// Checks a configuration. Errors: `core_unavailable` without cores, `invalid_argument`.
expected<void> validate(const supervisor_config& config);

/// `count` cores of one CPU thread each, unpinned: enough for a program that wants nothing special.
supervisor_config cpu_cores(std::size_t count);

/// What a `deploy` asks for on an engine of so many cores: all of it that can be judged by anybody, without the engine.
/// Errors: `invalid_device_id`, `invalid_argument`, `dim_out_of_range`, `shape_mismatch`.
expected<std::shared_ptr<const deployment>> make_deployment(const deploy& wanted, std::size_t core_count);

/// What serves in the place of a deployment: the same cores, dimension and options. Errors: `shape_mismatch` where the
/// models' signatures differ, `unsupported_model` where rows of the new one depend on each other and of the old one
/// not.
expected<std::shared_ptr<const deployment>> make_replacement(const deployment& old, const compiled_model& model);

/// The supervisor, the root of an engine: spawns the batcher, the cores and a coordinator for each deployment, monitors
/// them all, loads and replaces models, starts a core that died again with back-off and tells the batcher meanwhile.
///
/// Nobody of them holds it but the coordinators, which are their clients': when the last handle of a client goes, the
/// engine goes, and an `actor_system` can end. Sent an exit message, it lets coordinators, batcher and cores quit in
/// that order, waits for each, and quits last.
/// Throws `ganglion::error` for a configuration that `validate` refuses.
supervisor_actor spawn_supervisor(caf::actor_system& system, supervisor_config config);

}  // namespace ganglion
