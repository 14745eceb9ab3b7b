#pragma once

#include <ganglion/actors/protocol/histogram.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace ganglion {

/// One core. `restarts` counts for as long as the engine lives. All other numbers are of the core's present life: 0
/// while it is down, and from 0 again when it was restarted.
struct core_status {
  std::uint64_t index = 0;  ///< per process
  /// Whether it is there; false while it is being started again.
  bool up = false;
  /// Whether it died so often in a row that it counts as lost: what only it could run fails with `core_lost` at once.
  /// It is still started again, ever more rarely.
  bool lost = false;
  std::uint64_t restarts = 0;      ///< how often it died
  std::uint64_t executions = 0;    ///< that it ran, failed ones included
  std::uint64_t rows = 0;          ///< in them, without padding
  std::uint64_t padding_rows = 0;
  std::int64_t busy_ns = 0;        ///< from an execution's beginning until its rows were gathered, or until now, summed
  std::int64_t up_ns = 0;          ///< how long it lives; busy_ns by this is its utilisation
  /// Bytes of the models loaded on it (weights are shared between cores: they count on each).
  std::uint64_t model_bytes = 0;
  std::uint64_t models = 0;
};

/// One model on the engine, which is one data_parallel. All but what waits, runs and is unanswered counts for as long
/// as it is there.
struct model_status {
  std::uint64_t id = 0;           ///< as `data_parallel::id()`
  std::string content_hash;       ///< of the model
  std::vector<std::uint64_t> cores;  ///< that it may use
  std::uint64_t queued_rows = 0;   ///< accepted, and in no execution yet
  std::uint64_t queued_bytes = 0;  ///< of those
  std::uint64_t unanswered = 0;    ///< requests
  std::uint64_t executions_in_flight = 0;  ///< given to cores and not reported
  std::uint64_t rows = 0;          ///< that were accepted
  /// Requests that were answered or refused, by the number of their `errc`: the first is those that went well.
  std::vector<std::uint64_t> outcomes;
  /// Of the requests that went well and ran: see `request_timing`; `total` is from acceptance to answer.
  histogram queued, compute, total;
};

/// A picture of one moment.
struct status {
  std::vector<core_status> cores;
  std::vector<model_status> models;  ///< those that take requests, in the order of their making
  std::uint64_t queued_rows = 0;   ///< accepted, and in no execution yet
  std::uint64_t queued_bytes = 0;  ///< of those
  std::uint64_t unanswered = 0;    ///< requests
  std::uint64_t executions_in_flight = 0;  ///< given to cores and not reported
  /// Threads of lanes that were given up and have not ended, in this process.
  std::uint64_t abandoned_lanes = 0;
  /// What those keep alive: their models' weights, which may be shared with other cores, and inputs.
  std::uint64_t abandoned_bytes = 0;
};

}  // namespace ganglion
