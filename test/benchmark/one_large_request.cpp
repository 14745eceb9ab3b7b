// One call of 4,096 rows to a layer of 16x16 that is compiled for 16 rows: 256 executions of a few microseconds each.
// In turn with threads, one a core and pinned, of which each does nothing but its share of these executions and copies
// what comes out into one output. What is missing to 1 is what it costs to hand out executions and to join their rows.
#include "bare_parts.hpp"
#include "measure.hpp"

#include <bench_statistics.hpp>
#include <malloc_settings.hpp>

#include <ganglion/engine/data_parallel.hpp>

#include <ATen/ATen.h>

namespace {

using namespace ganglion;
using namespace ganglion::benchmark;

/// The rows a second of one call after the other.
double rows_per_second(data_parallel& parallel, const at::Tensor& x, double seconds) {
  std::int64_t rows = 0;
  double passed = 0;
  for (const auto begin = benchmark::clock::now(); passed < seconds;
       passed = seconds_between(begin, benchmark::clock::now())) {
    parallel({x});
    rows += x.size(0);
  }
  return static_cast<double>(rows) / passed;
}

void run_all(const arguments& given, report& out) {
  const int rounds = given.small ? 1 : 9;
  constexpr std::int64_t batch = 16, rows = 4096;
  trace_options options;
  options.tune = !given.small;
  const auto model = trace(layers({16, 16}), {at::rand({batch, 16})}, options);
  engine host;
  data_parallel parallel(host, model);
  auto bare = bare_parts(model, rows, parallel.cores().size());
  const auto x = at::rand({rows, 16});
  rows_per_second(parallel, x, given.seconds / 4);
  std::vector<command::figure_pair> pairs;
  std::vector<double> ours, theirs;
  for (int i = 0; i < rounds; ++i) {
    ours.push_back(rows_per_second(parallel, x, given.seconds));
    theirs.push_back(bare.rows_per_second(given.seconds));
    pairs.push_back({ours.back(), theirs.back()});
  }
  out.add("cores", static_cast<double>(parallel.cores().size()));
  out.add("engine_us_a_call", 1e6 * rows / command::median(ours));
  out.add("loops_us_a_call", 1e6 * rows / command::median(theirs));
  out.at_least("ratio_to_bare_loops", command::median_ratio(pairs), 0.8);
}

}  // namespace

int main(int argc, char** argv) {
  command::tune_malloc();  // an answer is new memory, which the loops do without
  return run("one_large_request", argc, argv, 0.5, run_all);
}
