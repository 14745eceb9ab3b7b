#pragma once

#include "bench_rates.hpp"
#include "bench_recorder.hpp"
#include "bench_session.hpp"
#include "bench_windows.hpp"

#include <optional>
#include <string>
#include <vector>

namespace ganglion::command {

/// How the search for the highest rate went.
struct rate_search_result {
  double first_guess = 0;  ///< half of what the cores can do offline, in requests a second
  bool found = false;      ///< else no rate holds, or
  bool ran_out = false;    ///< the tries came to their maximum
};

/// What a scenario gave.
struct scenario_result {
  std::int64_t request_rows = 0;
  /// Of `server` at the rate `qps`.
  measured_load measured;
  /// The rate that was given or found; where none was found, the last that was tried.
  std::optional<double> qps;
  std::optional<rate_search_result> search;
  /// All that was measured at some rate, in order.
  std::vector<tried_rate> rates;
  std::vector<std::string> warnings;
};

/// The figure that a scenario is judged by: rows a second, the p90 of single-stream, the p99 of server.
double figure_of(scenario kind, const load_result& load);

/// Warms up and runs the scenario that was asked for; `recorder` has the windows that count then.
scenario_result measure_scenario(const bench_session& session, execution_recorder& recorder);

}  // namespace ganglion::command
