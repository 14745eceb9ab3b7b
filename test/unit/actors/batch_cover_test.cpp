#include <ganglion/actors/batcher/batch_cover.hpp>

#include <support/doctest.hpp>

#include <algorithm>
#include <functional>
#include <random>

using namespace ganglion;

TEST_CASE("one size is always it") {
  batch_cover cover{{8}};
  for (std::int64_t rows : {1, 7, 8, 9, 1'000}) EXPECT(cover.pick(rows) == 8);
}

TEST_CASE("before anything was measured the smallest size that holds all rows is taken, as the fewest executions") {
  batch_cover cover{{1, 4, 16}};
  EXPECT(cover.pick(1) == 1);
  EXPECT(cover.pick(2) == 4);
  EXPECT(cover.pick(5) == 16);
  EXPECT(cover.pick(40) == 16);
  EXPECT(cover.cost(40) == 0);
  EXPECT(cover.seconds(4, 7.5) == 7.5);
}

TEST_CASE("the choice is by measured seconds, not by padding") {
  batch_cover cover{{1, 8, 16}};
  cover.measured(1, 1e-3);
  cover.measured(8, 2e-3);
  cover.measured(16, 8e-3);
  EXPECT(cover.pick(2) == 1);   // 2 ms and 6 padded rows against 2 x 1 ms without: the same, so without padding
  EXPECT(cover.pick(3) == 8);   // 2 ms against 3
  EXPECT(cover.pick(9) == 8);   // 8 + 1 in 3 ms against 16 in 8
  EXPECT(cover.pick(16) == 8);  // twice 8 in 4 ms
  EXPECT(cover.pick(100) == 8);
  EXPECT(cover.cost(16) == doctest::Approx(4e-3));
  EXPECT(cover.cost(17) == doctest::Approx(5e-3));
}

TEST_CASE("measurements that come later change the choice") {
  batch_cover cover{{1, 8}};
  cover.measured(1, 1e-3);
  cover.measured(8, 1e-3);
  EXPECT(cover.pick(4) == 8);
  for (int i = 0; i < 50; ++i) cover.measured(8, 1e-1);
  EXPECT(cover.pick(4) == 1);
}

TEST_CASE("deterministic takes the largest, whatever it costs") {
  batch_cover cover{{1, 8}, true};
  cover.measured(1, 1e-6);
  cover.measured(8, 1);
  EXPECT(cover.pick(1) == 8);
  EXPECT(cover.cost(1) == doctest::Approx(1));
  EXPECT(cover.cost(9) == doctest::Approx(2));
}

TEST_CASE("the cover is the cheapest there is, for any sizes and costs") {
  std::mt19937 random{7};
  auto below = [&random](std::size_t n) { return static_cast<std::int64_t>(random() % n); };
  for (int round = 0; round < 200; ++round) {
    std::vector<std::int64_t> sizes;
    for (std::int64_t size = 1 + below(3); sizes.size() < 4 && size <= 24; size += 1 + below(8)) sizes.push_back(size);
    batch_cover cover{sizes};
    std::map<std::int64_t, double> seconds;
    for (auto size : sizes) {
      seconds[size] = 1 + static_cast<double>(below(100));
      cover.measured(size, seconds[size]);
    }
    std::function<double(std::int64_t)> best = [&](std::int64_t rows) {
      if (rows <= 0) return 0.0;
      auto least = 1e300;
      for (auto size : sizes) least = std::min(least, seconds[size] + best(rows - size));
      return least;
    };
    for (std::int64_t rows = 1; rows <= std::min<std::int64_t>(sizes.back(), 10); ++rows) {
      EXPECT(cover.cost(rows) == doctest::Approx(best(rows)));
      auto size = cover.pick(rows);
      EXPECT(seconds[size] + best(rows - size) == doctest::Approx(best(rows)));
    }
    auto size = cover.pick(sizes.back() + 1);
    for (auto other : sizes)
      EXPECT(seconds[size] / static_cast<double>(size) <= doctest::Approx(seconds[other] / static_cast<double>(other)));
  }
}

TEST_CASE("batch cover: rows that must run together take the cheapest size that holds them") {
  batch_cover cover{{1, 8, 32}};
  EXPECT(cover.fit(1) == 1);  // nothing is measured: the least padding
  EXPECT(cover.fit(9) == 32);
  cover.measured(1, 5e-3);
  cover.measured(8, 3e-3);
  cover.measured(32, 4e-3);
  EXPECT(cover.fit(1) == 8);
  EXPECT(cover.fit(8) == 8);
  EXPECT(cover.fit(32) == 32);
  batch_cover pinned{{1, 8, 32}, true};
  EXPECT(pinned.fit(1) == 32);
}

TEST_CASE("batch cover: a size that was slow for a while is tried again, one that is slow costs little") {
  batch_cover cover{{1, 32}};
  cover.measured(1, 0.1);
  cover.measured(32, 1);
  cover.measured(1, 50);
  cover.measured(1, 50);
  REQUIRE(cover.pick(1) == 32);
  int tries = 0;
  for (; cover.pick(1) == 32 && tries < 10'000; ++tries) cover.measured(32, 1);
  EXPECT(tries < 5'000);
  cover.measured(1, 0.1);
  EXPECT(cover.pick(1) == 1);

  // One that is truly slow is tried once in thousands of executions.
  batch_cover slow{{1, 32}};
  slow.measured(1, 5);
  slow.measured(32, 1);
  int wasted = 0;
  for (int i = 0; i < 20'000; ++i) {
    auto size = slow.pick(1);
    wasted += size == 1;
    slow.measured(size, size == 1 ? 5 : 1);
  }
  EXPECT(wasted > 3);
  EXPECT(wasted < 40);
}
