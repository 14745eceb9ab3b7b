#include <timeline.hpp>

#include <support/doctest.hpp>

#include <algorithm>
#include <random>

using namespace ganglion::command;

namespace {

/// Executions of 10 ms one after the other on one lane, each accepted 15 ms before it starts.
std::vector<timeline_bar> steady_run(int count) {
  std::vector<timeline_bar> run;
  for (int i = 0; i < count; ++i) {
    const double started = 100 + 10.0 * i;
    run.push_back({0, started - 15, started - 5, started, started + 9, started + 9.5, 4, 0, false});
  }
  return run;
}

}  // namespace

TEST_CASE("a short run is drawn whole, from the moment its first row was accepted") {
  const auto picture = middle_of(steady_run(3), 10);
  REQUIRE(picture.bars.size() == 3);
  EXPECT(picture.bars[0].enqueued == doctest::Approx(0));
  EXPECT(picture.bars[0].started == doctest::Approx(15));
  EXPECT(picture.length == doctest::Approx(15 + 2 * 10 + 9.5));
}

TEST_CASE("of a long run the middle is drawn, and its first execution starts at 0") {
  auto run = steady_run(100);
  std::shuffle(run.begin(), run.end(), std::mt19937{2});
  const auto picture = middle_of(run, 10);
  REQUIRE(picture.bars.size() == 10);
  EXPECT(picture.bars[0].started == doctest::Approx(0));
  EXPECT(picture.bars[0].enqueued == doctest::Approx(-15));
  EXPECT(picture.length == doctest::Approx(9 * 10 + 9.5));
  EXPECT(std::is_sorted(picture.bars.begin(), picture.bars.end(),
                        [](const auto& a, const auto& b) { return a.started < b.started; }));
}

TEST_CASE("an execution of another lane that reaches into the stretch is drawn too") {
  auto run = steady_run(100);
  run.push_back({1, 0, 0, 50, 5'000, 5'001, 4, 0, false});
  const auto picture = middle_of(run, 10);
  EXPECT(std::any_of(picture.bars.begin(), picture.bars.end(), [](const auto& bar) { return bar.lane == 1; }));
}

TEST_CASE("the depth counts what is accepted and not started, also what starts after the stretch") {
  const auto picture = middle_of(steady_run(100), 10);
  // Each waits for 15 ms and one starts every 10 ms: one or two wait, in turns of 5 ms.
  REQUIRE(picture.depth.size() > 10);
  EXPECT(picture.depth[0].at == 0);
  for (std::size_t i = 0; i < picture.depth.size(); ++i) {
    EXPECT(picture.depth[i].waiting == (i % 2 == 0 ? 1 : 2));
    if (i > 0) EXPECT(picture.depth[i].at - picture.depth[i - 1].at == doctest::Approx(5));
  }
}

TEST_CASE("no run, no picture") {
  EXPECT(middle_of({}, 10).bars.empty());
  EXPECT(middle_of(steady_run(3), 0).bars.empty());
}

TEST_CASE("intervals share a row where they do not overlap") {
  EXPECT(packed({{0, 2}, {1, 3}, {2, 4}}, 5) == std::vector<packed_interval>{{0, 0}, {1, 1}, {0, 2}});
}

TEST_CASE("too many intervals lose of their begin, and never overlap") {
  EXPECT(packed({{0, 2}, {0, 3}, {0, 4}}, 2) == std::vector<packed_interval>{{0, 0}, {1, 0}, {0, 2}});
  std::mt19937 random{9};
  for (int round = 0; round < 100; ++round) {
    const std::size_t most = 1 + random() % 6;
    std::vector<interval> intervals(random() % 60);
    for (auto& i : intervals) {
      i.end = static_cast<double>(random() % 100);
      i.begin = i.end - static_cast<double>(random() % 30);
    }
    std::sort(intervals.begin(), intervals.end(), [](const auto& a, const auto& b) { return a.end < b.end; });
    const auto places = packed(intervals, most);
    REQUIRE(places.size() == intervals.size());
    std::vector<double> taken_until(most, -1e9);
    for (std::size_t i = 0; i < places.size(); ++i) {
      REQUIRE(places[i].row < most);
      EXPECT(places[i].begin >= intervals[i].begin);
      EXPECT(places[i].begin <= intervals[i].end);
      EXPECT(places[i].begin >= taken_until[places[i].row]);
      taken_until[places[i].row] = intervals[i].end;
    }
  }
}
