#pragma once

#include <cstdint>
#include <vector>

namespace ganglion::command {

/// What came of sending requests for a while.
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
  /// How old the others had become when they were given up, or would have become, had they not been refused.
  std::vector<double> unanswered_ages;
  /// Whether it ended before its time, since the p99 could not be within its bound any more.
  bool cut_short = false;
};

/// Several loads of the same kind as one: sums, the mean of the rates by their time, and all latencies. Not empty.
load_result merged(const std::vector<load_result>& windows);

/// The p99 over all requests, where one without an answer took at least as long as it was awaited.
double p99_of_all(const load_result& load);

/// The median, likewise.
double p50_of_all(const load_result& load);

/// Whether every request was answered, and their p99 is within a bound.
bool keeps(const load_result& load, double bound);

}  // namespace ganglion::command
