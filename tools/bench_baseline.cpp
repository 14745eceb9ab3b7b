#include "bench_baseline.hpp"

#include "bench_input.hpp"
#include "bench_loops.hpp"
#include "bench_memory.hpp"
#include "bench_pinning.hpp"
#include "bench_ring.hpp"
#include "bench_statistics.hpp"

#include <ganglion/engine/cpu_allowance.hpp>

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <malloc.h>
#include <torch/csrc/jit/api/module.h>

#include <functional>
#include <future>

namespace ganglion::command {

namespace {

/// A model that does nothing: what its round trip takes is the engine's own.
compiled_model nothing() {
  torch::jit::Module module("nothing");
  module.define("def forward(self, x):\n  return x\n");
  trace_options options;
  options.tune = false;
  return trace(module, {at::zeros({1, 16})}, options);
}

/// On a thread of its own, since it changes where that runs.
idle_baseline idle_round_trips(const bench_session& session) {
  constexpr int rounds = 10;
  const auto window = session.given.seconds / (2 * rounds);
  const auto all_cpus = read_cpu_allowance().cpus;
  const auto lane_cpu = session.cpu_of(session.cores.front(), all_cpus);
  auto other_cpus = all_cpus;
  std::erase(other_cpus, lane_cpu);
  pin_this_thread(other_cpus);
  thread_ring ring{all_cpus, {lane_cpu}};
  ring.round_trips(window);
  const auto model = nothing();
  data_parallel net(session.host, model, {.device_ids = {static_cast<int>(session.cores.front())}});
  const auto request = make_request(model, 1, session.given.seed);
  run_single_stream(net, request, window);

  std::vector<double> engine_p50s, ring_p50s;
  std::vector<figure_pair> pairs;
  for (int i = 0; i < rounds; ++i) {
    engine_p50s.push_back(summarize(run_single_stream(net, request, window).latencies).p50);
    ring_p50s.push_back(summarize(ring.round_trips(window)).p50);
    pairs.push_back({engine_p50s.back(), ring_p50s.back()});
  }
  return {median(engine_p50s), median(ring_p50s), median_ratio(pairs)};
}

}  // namespace

memory_baseline measure_memory_baseline(const bench_session& session) {
  memory_baseline result;
  const auto all = session.cores.size();
  // One request for all steps, of which each core of the last step gets enough.
  const auto request = session.request_for(scenario::offline, all);
  const bool any_rows = smallest_request(session.model, all) == 1;
  // What loading the model has left free would be used up by the first core unseen.
  malloc_trim(0);
  std::vector<data_parallel> nets;
  for (std::size_t count = 1; count <= all; ++count) {
    session.progress.stage(fmt::format("baseline: memory of {} of {} cores", count, all));
    nets.push_back(session.net_on(count));
    run_offline(nets.back(), any_rows ? request : session.request_for(scenario::offline, count),
                session.given.seconds / 10, 3);
    result.resident_bytes.push_back(resident_bytes());
  }
  if (all > 1)
    result.growth_per_core = static_cast<double>(result.resident_bytes.back() - result.resident_bytes.front()) /
                             static_cast<double>(all - 1);
  bare_loops loop{session.model, {{{}, 1}}};
  loop.rows_per_second(session.given.seconds / 10);
  result.growth_of_bare_loop = resident_bytes() - result.resident_bytes.back();
  result.activation_bytes = activation_bytes(session.model);
  return result;
}

idle_baseline measure_idle_baseline(const bench_session& session) {
  session.progress.stage("baseline: idle round trips");
  return std::async(std::launch::async, idle_round_trips, std::cref(session)).get();
}

}  // namespace ganglion::command
