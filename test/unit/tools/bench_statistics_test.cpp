#include <bench_statistics.hpp>

#include <support/doctest.hpp>

#include <algorithm>
#include <numeric>
#include <random>

using namespace ganglion::command;

namespace {

std::vector<double> one_to(int last) {
  std::vector<double> values(static_cast<std::size_t>(last));
  std::iota(values.begin(), values.end(), 1.0);
  return values;
}

}  // namespace

TEST_CASE("a percentile is the nearest rank, without interpolation") {
  const auto hundred = one_to(100);
  EXPECT(percentile(hundred, 0.5) == 50);
  EXPECT(percentile(hundred, 0.9) == 90);
  EXPECT(percentile(hundred, 0.99) == 99);
  EXPECT(percentile(hundred, 1) == 100);
  EXPECT(percentile(one_to(10), 0.9) == 9);
  EXPECT(percentile(one_to(10), 0.91) == 10);
  EXPECT(percentile({7}, 0.01) == 7);
  EXPECT(percentile({7}, 0.99) == 7);
}

TEST_CASE("at least the share of the values lies at or below a percentile, and less than it below") {
  std::mt19937 random{5};
  for (int round = 0; round < 200; ++round) {
    std::vector<double> values(1 + random() % 300);
    for (auto& value : values) value = static_cast<double>(random() % 50);
    std::sort(values.begin(), values.end());
    const auto share = static_cast<double>(1 + random() % 100) / 100;
    const auto result = percentile(values, share);
    const auto below = std::lower_bound(values.begin(), values.end(), result) - values.begin();
    const auto not_above = std::upper_bound(values.begin(), values.end(), result) - values.begin();
    const auto wanted = share * static_cast<double>(values.size());
    EXPECT(static_cast<double>(not_above) >= wanted - 1e-6);
    EXPECT(static_cast<double>(below) < wanted + 1e-6);
  }
}

TEST_CASE("the median is the middle, whatever the order") {
  EXPECT(median({3, 1, 2}) == 2);
  EXPECT(median({4, 1, 3, 2}) == doctest::Approx(2.5));
  EXPECT(median({5}) == 5);
}

TEST_CASE("latencies are told by count, mean, percentiles and the largest") {
  auto values = one_to(200);
  std::reverse(values.begin(), values.end());
  const auto summary = summarize(values);
  EXPECT(summary.count == 200);
  EXPECT(summary.mean == doctest::Approx(100.5));
  EXPECT(summary.p50 == 100);
  EXPECT(summary.p90 == 180);
  EXPECT(summary.p95 == 190);
  EXPECT(summary.p99 == 198);
  EXPECT(summary.p999 == 200);
  EXPECT(summary.largest == 200);
  EXPECT(summarize({}).count == 0);
  EXPECT(summarize({}).p99 == 0);
}

TEST_CASE("so many values may be above a bound that the p99 keeps, and no more") {
  EXPECT(most_above_p99(0) == 0);
  EXPECT(most_above_p99(1) == 0);
  EXPECT(most_above_p99(99) == 0);
  EXPECT(most_above_p99(100) == 1);
  EXPECT(most_above_p99(1000) == 10);
  for (std::size_t count = 1; count < 500; ++count) {
    std::vector<double> values(count, 1.0);
    const auto most = most_above_p99(count);
    std::fill(values.end() - static_cast<std::ptrdiff_t>(most), values.end(), 2.0);
    EXPECT(percentile(values, 0.99) == 1);
    if (most < count) values[count - most - 1] = 2.0;
    EXPECT(percentile(values, 0.99) == 2);
  }
}

TEST_CASE("the median of ratios pairs what was measured together") {
  // The machine became half as fast after two rounds: the ratio of the medians would be 1.8, each round says 0.9.
  const std::vector<figure_pair> rounds{{90, 100}, {90, 100}, {45, 50}, {45, 50}, {45, 50}};
  EXPECT(median_ratio(rounds) == doctest::Approx(0.9));
  EXPECT(median_ratio({{1, 2}, {10, 1}, {3, 4}}) == doctest::Approx(0.75));
}
