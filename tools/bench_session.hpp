#pragma once

#include "bench_load.hpp"
#include "bench_options.hpp"
#include "bench_progress.hpp"

#include <ganglion/engine/data_parallel.hpp>

#include <vector>

namespace ganglion::command {

/// What all measurements of one call of the verb share.
struct bench_session {
  const bench_options& given;
  const compiled_model& model;
  engine& host;
  bench_progress& progress;
  /// Those that were asked for, as per-process indices.
  std::vector<std::size_t> cores;

  /// A data_parallel on the first `count` of the cores.
  data_parallel net_on(std::size_t count) const;
  /// A request of the scenario `kind` for so many cores: `--batch` rows where it was given, else the default ones.
  bench_request request_for(scenario kind, std::size_t count) const;
  /// The CPU of a core's lane among those of this process, or one as good: an engine books them in turn.
  int cpu_of(std::size_t core, const std::vector<int>& cpus) const;
};

}  // namespace ganglion::command
