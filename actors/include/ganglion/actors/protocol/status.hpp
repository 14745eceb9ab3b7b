#pragma once

#include <cstdint>
#include <vector>

namespace ganglion {

/// One core, as counted since it was first started; executions and rows start again when it is restarted.
struct core_status {
  std::uint64_t index = 0;
  /// Whether it is there; false while it is being started again.
  bool up = false;
  std::uint64_t restarts = 0;
  std::uint64_t executions = 0;
  std::uint64_t rows = 0;
  std::uint64_t padding_rows = 0;
  std::int64_t busy_ns = 0;
  /// Bytes of the models loaded on it (weights are shared between cores: they count on each).
  std::uint64_t model_bytes = 0;
  std::uint64_t models = 0;
};

/// A picture of one moment.
struct status {
  std::vector<core_status> cores;
  std::uint64_t queued_rows = 0;
  std::uint64_t queued_bytes = 0;
  std::uint64_t unanswered = 0;
  std::uint64_t executions_in_flight = 0;
  /// Lanes that were given up and have not ended.
  std::uint64_t abandoned_lanes = 0;
};

}  // namespace ganglion
