#include "bench_statistics.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace ganglion::command {

namespace {

/// Of `count` values, from 1 on.
std::size_t rank_of(double share, std::size_t count) {
  // Without the small step back, 0.9 * 10 rounded up in binary would be the tenth value of ten.
  const auto rank = static_cast<std::size_t>(std::ceil(share * static_cast<double>(count) - 1e-9));
  return std::clamp<std::size_t>(rank, 1, count);
}

}  // namespace

double percentile(const std::vector<double>& sorted, double share) { return sorted[rank_of(share, sorted.size()) - 1]; }

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const auto half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

latency_summary summarize(std::vector<double> latencies) {
  if (latencies.empty()) return {};
  std::sort(latencies.begin(), latencies.end());
  const auto sum = std::accumulate(latencies.begin(), latencies.end(), 0.0);
  return {latencies.size(),
          sum / static_cast<double>(latencies.size()),
          percentile(latencies, 0.5),
          percentile(latencies, 0.9),
          percentile(latencies, 0.95),
          percentile(latencies, 0.99),
          percentile(latencies, 0.999),
          latencies.back()};
}

std::size_t most_above_p99(std::size_t count) { return count == 0 ? 0 : count - rank_of(0.99, count); }

double median_ratio(const std::vector<figure_pair>& rounds) {
  std::vector<double> ratios;
  for (const auto& round : rounds) ratios.push_back(round.ours / round.peer);
  return median(std::move(ratios));
}

}  // namespace ganglion::command
