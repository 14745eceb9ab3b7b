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

/// `offline`, `single-stream`, `server`.
const char* scenario_name(scenario kind);

/// Each request is remembered until its measurement ends.
inline constexpr double most_arrivals = 1'000'000;

struct bench_options {
  std::string model;
  load_options loading;
  ganglion::command::scenario scenario = ganglion::command::scenario::offline;
  /// Rows a request; unset: see `default_rows`.
  std::optional<std::int64_t> batch;
  /// Requests a second of the scenario `server`; unset there: the highest rate that keeps `target_p99` is looked for.
  std::optional<double> qps;
  /// Seconds.
  std::optional<double> target_p99;
  /// How long each figure is measured, where its windows agree at once.
  double seconds = 10;
  /// Of the arrivals and of the made-up inputs.
  std::uint64_t seed = 20'190'404;
  std::vector<device_id> device_ids;
  bool json = false;
  bool scaling = false;
  bool baseline = false;
  std::string picture;
  std::string timeline;
  std::string trace_out;
  bool watch = false;
};

/// The options as the command line gives them.
struct bench_command : bench_options {
  std::string scenario_text = "offline";
  std::string target_text;
  std::optional<double> seconds_given;
  std::optional<std::int64_t> seed_given;
};

/// Makes the options of what was given. Errors, thrown: `usage_error` for text that means nothing; `invalid_argument`
/// for values that cannot be, and for options that do not go together.
void read(bench_command& given);

/// Errors, thrown: `invalid_argument` where the value is not above 0, or is more than a day: what is measured for
/// longer is a mistake in the unit.
void refuse_unless_positive(const char* name, double value);
void refuse_bad_seconds(const char* name, double seconds);

}  // namespace ganglion::command
