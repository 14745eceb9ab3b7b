#pragma once

#include "bench_baseline.hpp"
#include "bench_machine.hpp"
#include "bench_recorder.hpp"
#include "bench_scaling.hpp"

#include <boost/json.hpp>

#include <optional>
#include <string>
#include <vector>

namespace ganglion::command {

/// All that a call of the verb has found out.
struct bench_report {
  machine_description machine;
  std::string model;
  std::string recipe;
  std::string row_noun;
  std::int64_t compiled_rows = 0;
  std::vector<std::size_t> cores;

  ganglion::command::scenario scenario = ganglion::command::scenario::offline;
  std::int64_t request_rows = 0;
  load_result load;
  execution_recorder::counts executions;
  std::optional<double> qps;
  std::optional<double> target_p99;

  std::optional<scaling_result> scaling;
  std::optional<throughput_baseline> throughput;
  std::optional<memory_baseline> memory;
  std::optional<idle_baseline> idle;
  std::string timeline;
  std::vector<std::string> warnings;
};

/// `offline`, `single-stream`, `server`.
const char* scenario_name(scenario kind);

/// Whether the 99th percentile kept the target, and every request was answered.
bool target_held(const bench_report& report);

boost::json::object to_json(const bench_report& report);
void print_report(const bench_report& report);

/// What a picture of the run is called, and the figures under it.
std::string picture_title(const bench_report& report);
std::string picture_subtitle(const bench_report& report);

}  // namespace ganglion::command
