#pragma once

#include <cstdint>
#include <vector>

namespace ganglion {

/// One core. `restarts` counts for as long as the engine lives. All other numbers are of the core's present life: 0
/// while it is down, and from 0 again when it was restarted.
struct core_status {
  std::uint64_t index = 0;  ///< per process
  /// Whether it is there; false while it is being started again.
  bool up = false;
  std::uint64_t restarts = 0;      ///< how often it died
  std::uint64_t executions = 0;    ///< that it ran, failed ones included
  std::uint64_t rows = 0;          ///< in them, without padding
  std::uint64_t padding_rows = 0;
  std::int64_t busy_ns = 0;        ///< from the beginning of an execution until its rows were gathered, summed
  /// Bytes of the models loaded on it (weights are shared between cores: they count on each).
  std::uint64_t model_bytes = 0;
  std::uint64_t models = 0;
};

/// A picture of one moment.
struct status {
  std::vector<core_status> cores;
  std::uint64_t queued_rows = 0;   ///< accepted, and in no execution yet
  std::uint64_t queued_bytes = 0;  ///< of those
  std::uint64_t unanswered = 0;    ///< requests
  std::uint64_t executions_in_flight = 0;  ///< given to cores and not reported
  /// Lanes that were given up and have not ended.
  std::uint64_t abandoned_lanes = 0;
};

}  // namespace ganglion
