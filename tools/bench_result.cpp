#include "bench_result.hpp"

#include "bench_statistics.hpp"

namespace ganglion::command {

namespace {

latency_summary summary_of_all(const load_result& load) {
  auto all = load.latencies;
  all.insert(all.end(), load.unanswered_ages.begin(), load.unanswered_ages.end());
  return summarize(std::move(all));
}

}  // namespace

load_result merged(const std::vector<load_result>& windows) {
  load_result all;
  double weighted_rate = 0;
  for (const auto& w : windows) {
    all.requests_sent += w.requests_sent;
    all.requests_answered += w.requests_answered;
    all.requests_refused += w.requests_refused;
    all.requests_abandoned += w.requests_abandoned;
    all.rows_sent += w.rows_sent;
    all.rows_answered += w.rows_answered;
    all.seconds += w.seconds;
    all.cut_short = all.cut_short || w.cut_short;
    weighted_rate += w.rows_per_second * w.seconds;
    all.latencies.insert(all.latencies.end(), w.latencies.begin(), w.latencies.end());
    all.unanswered_ages.insert(all.unanswered_ages.end(), w.unanswered_ages.begin(), w.unanswered_ages.end());
  }
  all.rows_per_second = all.seconds > 0 ? weighted_rate / all.seconds : 0;
  return all;
}

double p99_of_all(const load_result& load) { return summary_of_all(load).p99; }

double p50_of_all(const load_result& load) { return summary_of_all(load).p50; }

bool keeps(const load_result& load, double bound) {
  return load.requests_answered == load.requests_sent && p99_of_all(load) <= bound;
}

}  // namespace ganglion::command
