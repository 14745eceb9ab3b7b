#include <bench_windows.hpp>

#include <support/doctest.hpp>

#include <limits>

using namespace ganglion::command;

namespace {

/// How many windows are measured where they give these figures, one after the other.
std::size_t windows_for(const std::vector<double>& figures, double seconds = 1) {
  stability_window windows{{.most_seconds = 100}};
  for (const auto figure : figures) {
    if (windows.ended()) break;
    windows.add(figure, seconds);
  }
  return windows.figures().size();
}

load_result load_of(double rows_per_second, double seconds) {
  load_result load;
  load.requests_sent = load.requests_answered = 2;
  load.rows_sent = load.rows_answered = 10;
  load.seconds = seconds;
  load.rows_per_second = rows_per_second;
  load.latencies = {0.1, 0.2};
  return load;
}

/// What comes of windows with these figures, each as long as it is to be.
measured_load measured(const std::vector<double>& figures) {
  return measure_windows(
      1, [&](std::size_t number) { return load_of(figures.at(number), 1); },
      [](const load_result& load) { return load.rows_per_second; });
}

}  // namespace

TEST_CASE("three windows that agree are enough, and two are not") {
  EXPECT(windows_for({100, 101, 102, 103}) == 3);
  stability_window two{{}};
  two.add(5, 1);
  two.add(5, 1);
  EXPECT(!two.agreed());
  EXPECT(!two.ended());
}

TEST_CASE("only the last three windows are looked at, and the first ones may have been anything") {
  EXPECT(windows_for({10, 60, 100, 104, 98, 1, 1}) == 5);
}

TEST_CASE("windows agree where the largest is at most 10 % more than the smallest") {
  EXPECT(windows_for({100, 110, 105, 1, 1, 1}) == 3);
  EXPECT(windows_for({100, 110.2, 105, 105, 105}) == 4);
  EXPECT(windows_for({110.2, 105, 100, 105, 105}) == 4);
}

TEST_CASE("windows that never agree end at nine, and are told apart") {
  const std::vector<double> jumping{1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2};
  EXPECT(windows_for(jumping) == 9);
  const auto result = measured(jumping);
  EXPECT(!result.agreed);
  EXPECT(result.figures.size() == 9);
}

TEST_CASE("figures of nothing agree with nothing") { EXPECT(windows_for(std::vector<double>(20, 0.0)) == 9); }

TEST_CASE("a measurement ends when it took as long as nine windows, however few it had") {
  EXPECT(windows_for({1, 2, 4, 8, 16}, 60) == 2);
}

TEST_CASE("what is told is of the last three windows, as one load") {
  const auto result = measured({5, 50, 100, 104, 108});
  REQUIRE(result.agreed);
  EXPECT(result.figures == std::vector<double>{5, 50, 100, 104, 108});
  EXPECT(result.load.requests_answered == 6);
  EXPECT(result.load.rows_answered == 30);
  EXPECT(result.load.seconds == doctest::Approx(3));
  EXPECT(result.load.latencies.size() == 6);
  EXPECT(result.load.rows_per_second == doctest::Approx(104));
}

TEST_CASE("a rate over several windows is weighted by their time") {
  EXPECT(merged({load_of(100, 1), load_of(10, 9)}).rows_per_second == doctest::Approx(19));
}

TEST_CASE("a window that was cut short is the last") {
  std::size_t windows = 0;
  const auto result = measure_windows(
      1,
      [&](std::size_t number) {
        auto load = load_of(100, 1);
        load.cut_short = number == 1;
        ++windows;
        return load;
      },
      [](const load_result& load) { return load.rows_per_second; });
  EXPECT(windows == 2);
  EXPECT(result.load.cut_short);
  EXPECT(!result.agreed);
}

TEST_CASE("the p99 of all counts the requests that were not answered with the age at which they were given up") {
  load_result load;
  load.latencies = std::vector<double>(98, 0.01);
  EXPECT(p99_of_all(load) == doctest::Approx(0.01));
  load.unanswered_ages = {3, 4};
  EXPECT(p99_of_all(load) == 3);
  EXPECT(p50_of_all(load) == doctest::Approx(0.01));
}

TEST_CASE("a bound is kept by all requests together, each of them answered") {
  load_result load;
  load.requests_sent = load.requests_answered = 100;
  load.latencies = std::vector<double>(99, 0.01);
  load.latencies.push_back(5);
  EXPECT(keeps(load, 0.01));
  EXPECT(!keeps(load, 0.009));
  load.latencies.back() = 0.01;
  load.requests_answered = 99;
  EXPECT(!keeps(load, 0.01));
}
