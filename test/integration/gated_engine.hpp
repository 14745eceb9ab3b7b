#pragma once

#include <support/calls.hpp>
#include <support/engine_ears.hpp>
#include <support/forward_gate.hpp>

namespace ganglion::test {

/// A model of a compiled batch of 8 behind the gate, on one core.
struct gated_engine {
  engine_ears ears;
  engine host;
  data_parallel parallel;

  explicit gated_engine(data_parallel_options options = {}, engine_options base = {})
      : host(options_of(base)), parallel(host, compiled(gated_plus_one(), {at::ones({8, 3})}), std::move(options)) {}

  engine_options options_of(const engine_options& base) {
    auto options = ears.options(1);
    options.max_queue_time = base.max_queue_time;
    return options;
  }
  /// The rows of the executions that ended, in the order in which they were formed.
  std::vector<std::int64_t> rows(std::size_t executions) {
    std::vector<std::int64_t> result;
    for (const auto& r : ears.wait_for_executions(executions)) result.push_back(r.rows);
    return result;
  }
};

inline request_options of(priority p, std::string tenant = "") {
  request_options options;
  options.priority = p;
  options.tenant = std::move(tenant);
  return options;
}

inline request_options with(const std::stop_source& source) {
  request_options options;
  options.stop = source.get_token();
  return options;
}

}  // namespace ganglion::test
