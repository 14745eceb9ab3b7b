#pragma once

#include <ganglion/engine/data_parallel.hpp>

#include <cstdint>
#include <vector>

namespace ganglion::command {

/// What is sent, again and again.
struct bench_request {
  std::vector<c10::IValue> arguments;
  std::int64_t rows = 0;
};

/// A random request with so many rows.
bench_request make_request(const compiled_model& model, std::int64_t rows);

struct load_result {
  std::int64_t requests_sent = 0;
  std::int64_t requests_answered = 0;
  /// Those that the engine refused because its queue was full, and those that were not awaited any longer.
  std::int64_t requests_refused = 0;
  std::int64_t requests_abandoned = 0;
  std::int64_t rows_sent = 0;
  std::int64_t rows_answered = 0;
  /// From the first request to the last answer.
  double seconds = 0;
  /// Offline: over the time in which the queue was kept full. Else rows_answered / seconds.
  double rows_per_second = 0;
  /// Of the answered requests, in seconds.
  std::vector<double> latencies;
};

/// Keeps `in_flight` requests under way for so long, and until at least three were answered, then awaits the rest.
/// Errors of all loads but for a full queue in `run_server`, thrown: those of the requests.
load_result run_offline(data_parallel& net, const bench_request& request, double seconds, std::size_t in_flight);

/// How many requests keep the cores of `net` busy while answers are on their way: enough for some 50 ms of work, at
/// least two executions a core beside the request that is being answered, and no more than half of what the engine's
/// queue takes. Warms up: it measures the first requests.
std::size_t warm_up_and_choose_in_flight(data_parallel& net, const bench_request& request, double seconds);

/// Sends a request when the one before was answered.
load_result run_single_stream(data_parallel& net, const bench_request& request, double seconds);

/// Sends requests at random times, at `qps` a second on average. Latencies count from the time that was meant for the
/// request, so what a late sender causes is in them. Answers are awaited for as long again, and a second at least.
load_result run_server(data_parallel& net, const bench_request& request, double qps, double seconds);

}  // namespace ganglion::command
