#pragma once

#include <ganglion/engine/device_id.hpp>
#include <ganglion/model_io/model.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace ganglion::command {

/// Ways of sending requests, as MLPerf Inference names them.
enum class scenario {
  offline,        ///< as many at once as keep the cores busy
  single_stream,  ///< the next when the last has ended
  server,         ///< at random times, at a mean rate
};

struct bench_options {
  std::string model;
  load_options loading;
  ganglion::command::scenario scenario = ganglion::command::scenario::offline;
  /// Rows a request; unset: see `default_rows`.
  std::optional<std::int64_t> batch;
  /// Requests a second of the scenario `server`.
  std::optional<double> qps;
  /// Seconds.
  std::optional<double> target_p99;
  /// How long each figure is measured.
  double seconds = 10;
  std::vector<device_id> device_ids;
  bool json = false;
  bool scaling = false;
  bool baseline = false;
  std::string timeline;
  std::string trace_out;
  bool watch = false;
};

}  // namespace ganglion::command
