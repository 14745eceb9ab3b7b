#pragma once

#include <cstddef>
#include <vector>

namespace ganglion::command {

/// The smallest of the values that at least `share` of them do not exceed (nearest rank): percentile(v, 0.99) is p99.
/// `sorted` is ascending and not empty; 0 < share <= 1.
double percentile(const std::vector<double>& sorted, double share);

/// The middle value, or the mean of the two in the middle. `values` is not empty.
double median(std::vector<double> values);

/// What a list of latencies is told as. All zero for an empty list.
struct latency_summary {
  std::size_t count = 0;
  double mean = 0;
  double p50 = 0;
  double p90 = 0;
  double p95 = 0;
  double p99 = 0;
  double p999 = 0;
  double largest = 0;
};

latency_summary summarize(std::vector<double> latencies);

/// So many of `count` values may be above a bound while percentile(0.99) is still within it.
std::size_t most_above_p99(std::size_t count);

/// Two ways of doing the same work, measured in turn: one pair of figures a round.
struct figure_pair {
  double ours = 0;
  double peer = 0;
};

/// The median over the rounds of ours / peer. A load of the machine that lasts longer than a round weighs on both
/// figures of a pair, and cancels out. `rounds` is not empty, no peer's figure is 0.
double median_ratio(const std::vector<figure_pair>& rounds);

}  // namespace ganglion::command
