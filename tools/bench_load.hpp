#pragma once

#include "bench_result.hpp"

#include <ganglion/engine/data_parallel.hpp>

#include <cstdint>
#include <optional>
#include <vector>

namespace ganglion::command {

/// What is sent, again and again.
struct bench_request {
  std::vector<c10::IValue> arguments;
  std::int64_t rows = 0;
};

/// A random request with so many rows; the same seed gives the same values.
bench_request make_request(const compiled_model& model, std::int64_t rows, std::uint64_t seed);

/// Keeps `in_flight` requests under way for so long, and until at least three were answered, then awaits the rest.
/// Errors of all loads but for a full queue in `run_server`, thrown: those of the requests.
load_result run_offline(data_parallel& net, const bench_request& request, double seconds, std::size_t in_flight);

/// How many requests keep the cores of `net` busy while answers are on their way: enough for some 50 ms of work, at
/// least two executions a core beside the request that is being answered, and no more than half of what the engine's
/// queue takes. Warms up: it measures the first requests.
std::size_t warm_up_and_choose_in_flight(data_parallel& net, const bench_request& request, double seconds);

/// Sends a request when the one before was answered.
load_result run_single_stream(data_parallel& net, const bench_request& request, double seconds);

struct arrivals {
  double qps = 1;      ///< on average
  double seconds = 1;  ///< for so long
  std::uint64_t seed = 1;
  /// A bound in seconds: the load is cut short as soon as its p99 is certain to be above.
  std::optional<double> bound;
};

/// Sends requests at random times. Latencies count from the time that was meant for the request, so what a late sender
/// causes is in them. Answers are awaited for as long again, and a second at least; what is unanswered then is
/// cancelled.
load_result run_server(data_parallel& net, const bench_request& request, const arrivals& plan);

}  // namespace ganglion::command
