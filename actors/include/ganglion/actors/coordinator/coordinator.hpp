#pragma once

#include <ganglion/actors/protocol/handles.hpp>

namespace ganglion {

struct coordinator_config {
  std::shared_ptr<const deployment> target;
  std::shared_ptr<admission> gate;
  std::shared_ptr<warning_log> warnings;
  batcher_actor batcher;
  /// Keeps the engine alive for as long as it has a coordinator; answers `status_query` and `drain`.
  supervisor_actor supervisor;
  bool dynamic_batching = true;
  std::optional<std::size_t> num_workers;
  std::optional<std::int64_t> split_size;
};

/// Checks the options that can be set later too. Errors: `invalid_argument` (S19, S20 of docs/semantics.md).
expected<void> validate(const configure& settings);

/// Checks a configuration. Errors: `invalid_argument`.
expected<void> validate(const coordinator_config& config);

/// The coordinator, one for a deployment and those that take its place: the rules under which requests run, the records
/// of those that came by message, their deadlines and their one answer. Spawned by the supervisor, which monitors it;
/// monitors nobody. Once the engine drains it answers requests with `draining`. Quits when told to, and answers what
/// came by message and is unanswered with `draining`; or when nobody holds it any more and everything that came by
/// message is answered. Throws `ganglion::error` for a configuration that `validate` refuses.
coordinator_actor spawn_coordinator(caf::local_actor& parent, coordinator_config config);

}  // namespace ganglion
