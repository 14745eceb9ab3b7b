#include "bench_baseline.hpp"

#include "bench_loops.hpp"
#include "bench_pool.hpp"
#include "bench_reference.hpp"
#include "bench_statistics.hpp"
#include "counted.hpp"

#include <ganglion/engine/cpu_allowance.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <vector>

namespace ganglion::command {

namespace {

/// One that is measured in turn with the others, and what it gave.
struct contestant {
  const char* key;
  std::string told;
  std::function<double(double seconds)> rows_per_second;
  std::vector<double> rates;
};

std::vector<loop_place> one_place_a_core(const bench_session& session, const std::vector<int>& cpus) {
  std::vector<loop_place> places;
  for (const auto core : session.cores) places.push_back({{session.cpu_of(core, cpus)}, 1});
  return places;
}

peer_figure compared(const contestant& engine, const contestant& peer) {
  std::vector<figure_pair> rounds;
  for (std::size_t i = 0; i < peer.rates.size(); ++i) rounds.push_back({engine.rates[i], peer.rates[i]});
  return {peer.key, peer.told, median(peer.rates), median_ratio(rounds)};
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
  const auto places = one_place_a_core(session, allowance.cpus);
  const std::vector<loop_place> everywhere{{allowance.cpus, allowance.count}};
  bare_loops one_loop{session.model, {places.front()}};
  bare_loops loops{session.model, places};
  bare_loops intra_op{session.model, everywhere};
  bare_loops module{session.model, everywhere, loop_program::module};
  bare_loops frozen{session.model, everywhere, loop_program::frozen};
  documented_pool pool{session.model, result.cores};
  result.weight_storages_of_one = intra_op.distinct_weight_storages();
  result.weight_storages_of_all = loops.distinct_weight_storages();
  result.pool_workers = pool.workers();
  result.pool_difference = largest_difference(session.model, request, pool(request));

  const auto threads = counted(static_cast<std::int64_t>(result.cpus), "thread");
  const auto loop = [](bare_loops& l) { return [&l](double seconds) { return l.rows_per_second(seconds); }; };
  contestant engine{"engine",
                    "engine",
                    [&](double seconds) { return run_offline(net, request, seconds, in_flight).rows_per_second; },
                    {}};
  std::vector<contestant> peers{
      {"one_loop", "one bare loop on a pinned thread", loop(one_loop), {}},
      {"bare_loops", counted(static_cast<std::int64_t>(result.cores), "bare loop") + " at once", loop(loops), {}},
      {"intra_op", "one forward at a time on " + threads, loop(intra_op), {}},
      {"intra_op_module", "the same of the plain module", loop(module), {}},
      {"intra_op_frozen", "the same of the frozen module", loop(frozen), {}},
      {"thread_pool",
       fmt::format("a pool of {} threads as torch.neuron documents it", result.pool_workers),
       [&](double seconds) { return pool.rows_per_second(request, seconds); },
       {}}};
  for (int i = 0; i < rounds; ++i) {
    session.progress.stage(
        fmt::format("baseline: the engine and what it is compared with, round {} of {}", i + 1, rounds));
    // In turns who comes first.
    std::vector<contestant*> order{&engine};
    for (auto& peer : peers) order.push_back(&peer);
    if (i % 2 == 1) std::reverse(order.begin(), order.end());
    for (auto* each : order) each->rates.push_back(each->rows_per_second(window));
  }
  result.engine = median(engine.rates);
  for (const auto& peer : peers) result.peers.push_back(compared(engine, peer));
  return result;
}

}  // namespace ganglion::command
