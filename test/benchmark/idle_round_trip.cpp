// One request of one row at a time, to a model that does nothing: what its round trip takes is the engine's own. Told
// is its p50 against that of the least that it could be, a ring of three threads which hand a token on by condition
// variables. The two take turns. Then the same with a millisecond between one round trip and the next, after which
// every thread sleeps.
#include "measure.hpp"

#include <bench_pinning.hpp>
#include <bench_ring.hpp>
#include <bench_statistics.hpp>

#include <ganglion/engine/cpu_allowance.hpp>
#include <ganglion/engine/data_parallel.hpp>

#include <ATen/ATen.h>

#include <chrono>
#include <thread>

namespace {

using namespace ganglion;
using namespace ganglion::benchmark;

std::vector<double> round_trips(data_parallel& parallel, const at::Tensor& row, double seconds,
                                std::chrono::nanoseconds pause) {
  std::vector<double> trips;
  const auto begin = clock::now();
  do {
    if (pause.count() > 0) std::this_thread::sleep_for(pause);
    const auto sent = clock::now();
    parallel.submit({row}).get();
    trips.push_back(seconds_between(sent, clock::now()));
  } while (seconds_between(begin, clock::now()) < seconds);
  return trips;
}

/// The round trips of both in turn, with a pause before each.
struct comparison {
  std::vector<double> ours, rings, p99s;
  std::vector<command::figure_pair> pairs;

  comparison(data_parallel& parallel, const at::Tensor& row, command::thread_ring& ring, double seconds,
             std::chrono::nanoseconds pause) {
    constexpr int rounds = 20;
    const auto window = seconds / rounds;
    round_trips(parallel, row, window, pause);
    ring.round_trips(window, pause);
    for (int i = 0; i < rounds; ++i) {
      const auto engine_trips = command::summarize(round_trips(parallel, row, window, pause));
      ours.push_back(engine_trips.p50);
      p99s.push_back(engine_trips.p99);
      rings.push_back(command::summarize(ring.round_trips(window, pause)).p50);
      pairs.push_back({ours.back(), rings.back()});
    }
  }
};

void run_all(const arguments& given, report& out) {
  trace_options quickly;
  quickly.tune = false;
  engine host;
  data_parallel_options first_core;
  first_core.device_ids.emplace_back(0);
  data_parallel parallel(host, trace(nothing(), {at::zeros({1, 16})}, quickly), first_core);
  const auto row = at::rand({1, 16});

  // The ring's last thread is where the core's is, and the client is where it will find a CPU of its own.
  const auto cpus = read_cpu_allowance().cpus;
  const auto core_cpu = cpus[host.cores().front().global % cpus.size()];
  auto other_cpus = cpus;
  std::erase(other_cpus, core_cpu);
  command::thread_ring ring{cpus, {core_cpu}};
  command::pin_this_thread(other_cpus);

  const comparison together{parallel, row, ring, given.seconds / 2, {}};
  out.add("engine_p50_us", command::median(together.ours) * 1e6);
  out.add("engine_p99_us", command::median(together.p99s) * 1e6);
  out.add("ring_p50_us", command::median(together.rings) * 1e6);
  out.at_most("p50_ratio_to_ring", command::median_ratio(together.pairs), 1.25);
  const comparison apart{parallel, row, ring, given.seconds / 2, std::chrono::milliseconds(1)};
  out.add("engine_p50_us_after_a_pause", command::median(apart.ours) * 1e6);
  out.add("ring_p50_us_after_a_pause", command::median(apart.rings) * 1e6);
  out.at_most("p50_ratio_to_ring_after_a_pause", command::median_ratio(apart.pairs), 1.25);
}

}  // namespace

int main(int argc, char** argv) { return run("idle_round_trip", argc, argv, 10, run_all); }
