#include <support/doctest.hpp>

#include <ganglion/actors/protocol/histogram.hpp>

#include <random>

using namespace ganglion;
using namespace std::chrono_literals;

TEST_CASE("each duration lies in its bucket, and the buckets follow each other without gaps") {
  for (std::size_t b = 0; b + 1 < histogram::bucket_count; ++b) {
    NOTE(b);
    REQUIRE(histogram::bucket_of(histogram::end_of(b) - 1ns) == b);
    REQUIRE(histogram::bucket_of(histogram::end_of(b)) == b + 1);
  }
  EXPECT(histogram::bucket_of(0ns) == 0);
  EXPECT(histogram::bucket_of(-5s) == 0);
  EXPECT(histogram::bucket_of(std::chrono::nanoseconds::max()) == histogram::bucket_count - 1);
  EXPECT(histogram::end_of(histogram::bucket_count - 1) > 2h);
}

TEST_CASE("a bucket is no wider than a sixteenth of what lies in it, from a microsecond on") {
  for (std::size_t b = histogram::bucket_of(1us) + 1; b < histogram::bucket_count; ++b) {
    auto begin = histogram::end_of(b - 1), end = histogram::end_of(b);
    REQUIRE((end - begin) * 16 <= begin);
  }
}

TEST_CASE("quantiles are those of the durations, at most a bucket too long") {
  std::mt19937 random{1};
  std::vector<std::chrono::nanoseconds> all;
  histogram h;
  for (int i = 0; i < 1'000; ++i) {
    all.emplace_back(static_cast<std::int64_t>(std::exp(std::uniform_real_distribution{7., 20.}(random))));
    h.add(all.back());
  }
  std::sort(all.begin(), all.end());
  for (double share : {0.01, 0.5, 0.9, 0.99, 1.0}) {
    auto exact = all[static_cast<std::size_t>(share * 1'000) - 1];
    EXPECT(h.quantile(share) > exact);
    EXPECT(h.quantile(share) <= exact + exact / 16 + 64ns);
  }
  EXPECT(histogram{}.quantile(0.5) == 0ns);
}

TEST_CASE("histograms add up") {
  histogram a, b, both;
  for (auto t : {1us, 50us, 3'000'000us}) {
    a.add(t);
    both.add(t);
  }
  for (auto t : {2us, 50us}) {
    b.add(t);
    both.add(t);
  }
  a.add(b);
  EXPECT(a == both);
  EXPECT(a.count() == 5);
  EXPECT(a.sum() == 3'000'103us);
  EXPECT(a.count_below(10us) == 2);
  EXPECT(a.count_below(1s) == 4);
  EXPECT(a.count_below(1h) == 5);
}
