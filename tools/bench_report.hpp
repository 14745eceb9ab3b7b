#pragma once

#include "bench_baseline.hpp"
#include "bench_machine.hpp"
#include "bench_scaling.hpp"
#include "bench_scenario.hpp"

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
  std::uint64_t seed = 0;

  ganglion::command::scenario scenario = ganglion::command::scenario::offline;
  scenario_result result;
  execution_recorder::counts executions;
  std::optional<double> target_p99;

  std::optional<scaling_result> scaling;
  std::optional<throughput_baseline> throughput;
  std::optional<memory_baseline> memory;
  std::optional<idle_baseline> idle;
  std::string picture;
  std::string timeline;

  const load_result& load() const { return result.measured.load; }
};

/// Whether the 99th percentile kept the target, and every request was answered.
bool target_held(const bench_report& report);

/// Of the rows that the executions took, those that were padding.
double padding_share(const bench_report& report);

boost::json::object to_json(const bench_report& report);
void print_report(const bench_report& report);

/// What pictures of the run are called, and the figures under it.
std::string picture_title(const bench_report& report);
std::string picture_subtitle(const bench_report& report);

}  // namespace ganglion::command
