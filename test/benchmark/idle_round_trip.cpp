// One request of one row at a time, to a model that does nothing: what its round trip takes is the engine's own. Told
// is its p50 against that of the least that it could be, a ring of three threads which hand a token on by condition
// variables. The two take turns.
#include "measure.hpp"

#include <bench_pinning.hpp>
#include <bench_ring.hpp>
#include <bench_statistics.hpp>

#include <ganglion/engine/cpu_allowance.hpp>
#include <ganglion/engine/data_parallel.hpp>

#include <ATen/ATen.h>

namespace {

using namespace ganglion;
using namespace ganglion::benchmark;

std::vector<double> round_trips(data_parallel& parallel, const at::Tensor& row, double seconds) {
  std::vector<double> trips;
  const auto begin = clock::now();
  auto now = begin;
  do {
    const auto sent = now;
    parallel.submit({row}).get();
    now = clock::now();
    trips.push_back(seconds_between(sent, now));
  } while (seconds_between(begin, now) < seconds);
  return trips;
}

void run_all(const arguments& given, report& out) {
  constexpr int rounds = 20;
  const auto window = given.seconds / rounds;
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

  round_trips(parallel, row, window);
  ring.round_trips(window);
  std::vector<double> ours, rings, p99s;
  std::vector<command::figure_pair> pairs;
  for (int i = 0; i < rounds; ++i) {
    const auto engine_trips = command::summarize(round_trips(parallel, row, window));
    ours.push_back(engine_trips.p50);
    p99s.push_back(engine_trips.p99);
    rings.push_back(command::summarize(ring.round_trips(window)).p50);
    pairs.push_back({ours.back(), rings.back()});
  }
  out.add("engine_p50_us", command::median(ours) * 1e6);
  out.add("engine_p99_us", command::median(p99s) * 1e6);
  out.add("ring_p50_us", command::median(rings) * 1e6);
  out.at_most("p50_ratio_to_ring", command::median_ratio(pairs), 1.25);
}

}  // namespace

int main(int argc, char** argv) { return run("idle_round_trip", argc, argv, 10, run_all); }
