#include "bench_baseline.hpp"

#include "bench_input.hpp"
#include "bench_loops.hpp"
#include "bench_memory.hpp"
#include "bench_pinning.hpp"
#include "bench_ring.hpp"
#include "bench_statistics.hpp"

#include <ganglion/engine/cpu_allowance.hpp>

#include <fmt/format.h>
#include <malloc.h>
#include <torch/script.h>

#include <functional>
#include <future>

namespace ganglion::command {

namespace {

/// The CPU of a core's lane, or one as good: an engine books them in turn.
int cpu_of(const bench_session& session, std::size_t core, const std::vector<int>& cpus) {
  return cpus[session.host.cores()[core].global % cpus.size()];
}

std::vector<loop_place> one_place_a_core(const bench_session& session, const std::vector<int>& cpus) {
  std::vector<loop_place> places;
  for (const auto core : session.cores) places.push_back({{cpu_of(session, core, cpus)}, 1});
  return places;
}

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
  const auto lane_cpu = cpu_of(session, session.cores.front(), all_cpus);
  auto other_cpus = all_cpus;
  std::erase(other_cpus, lane_cpu);
  pin_this_thread(other_cpus);
  thread_ring ring{all_cpus, {lane_cpu}};
  ring.round_trips(window);
  const auto model = nothing();
  data_parallel net(session.host, model, {.device_ids = {static_cast<int>(session.cores.front())}});
  const auto request = make_request(model, 1);
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

throughput_baseline measure_throughput_baseline(const bench_session& session) {
  constexpr int rounds = 5;
  const auto window = session.given.seconds / rounds;
  const auto allowance = read_cpu_allowance();
  throughput_baseline result;
  result.cores = session.cores.size();
  result.cpus = allowance.count;

  session.progress.stage("baseline: warming up");
  auto net = session.net_on(result.cores);
  const auto request = session.request_for(scenario::offline, result.cores);
  const auto in_flight = warm_up_and_choose_in_flight(net, request, session.given.seconds);
  bare_loops loops{session.model, one_place_a_core(session, allowance.cpus)};
  bare_loops intra_op{session.model, {{allowance.cpus, allowance.count}}};
  result.weight_storages_of_one = intra_op.distinct_weight_storages();
  result.weight_storages_of_all = loops.distinct_weight_storages();

  std::vector<double> engine_rates, loop_rates, intra_op_rates;
  std::vector<figure_pair> against_loops, against_intra_op;
  for (int i = 0; i < rounds; ++i) {
    session.progress.stage(
        fmt::format("baseline: engine, bare loops and one forward at a time, round {} of {}", i + 1, rounds));
    engine_rates.push_back(run_offline(net, request, window, in_flight).rows_per_second);
    loop_rates.push_back(loops.rows_per_second(window));
    intra_op_rates.push_back(intra_op.rows_per_second(window));
    against_loops.push_back({engine_rates.back(), loop_rates.back()});
    against_intra_op.push_back({engine_rates.back(), intra_op_rates.back()});
  }
  result.engine = median(engine_rates);
  result.bare_loops = median(loop_rates);
  result.intra_op = median(intra_op_rates);
  result.ratio_to_bare_loops = median_ratio(against_loops);
  result.ratio_to_intra_op = median_ratio(against_intra_op);
  return result;
}

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
