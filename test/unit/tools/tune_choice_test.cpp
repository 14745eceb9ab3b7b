#include <tune_choice.hpp>

#include <support/doctest.hpp>

using namespace ganglion::command;

namespace {

tune_point point(std::int64_t batch, double rows_per_second, double p50, std::size_t threads = 1) {
  return {batch, threads, 2 / threads, "frozen", rows_per_second, p50, 1.2 * p50, true};
}

}  // namespace

TEST_CASE("the highest throughput is recommended, and a smaller batch within 5 % for latency") {
  const std::vector<tune_point> points{point(1, 80, 0.02), point(4, 96, 0.08), point(8, 100, 0.16), point(16, 99, 0.3)};
  const auto choice = recommend(points, "image");
  EXPECT(choice.fastest == 2);
  EXPECT(choice.low_latency == 1);
  EXPECT(
      choice.reason ==
      "a batch of 8 on 2 cores of 1 thread gives the most: 100.00 images/s, 160.000 ms a batch; where latency counts "
      "take a batch of 4 on 2 cores of 1 thread: 96.00 images/s, 4.0 % less, in 80.000 ms a batch");
}

TEST_CASE("the smallest batch within 5 % counts, also where a larger one is closer") {
  const auto choice = recommend({point(1, 95, 1), point(2, 99, 2), point(4, 100, 4)}, "row");
  EXPECT(choice.fastest == 2);
  EXPECT(choice.low_latency == 0);
}

TEST_CASE("without a smaller batch within 5 % the fastest is both") {
  const auto choice = recommend({point(1, 94.9, 1), point(8, 100, 8), point(16, 99, 16)}, "row");
  EXPECT(choice.low_latency == choice.fastest);
  EXPECT(choice.reason.find("no smaller batch is within 5 % of it") != std::string::npos);
}

TEST_CASE("of points of one batch the quicker answer is for latency") {
  const auto choice = recommend({point(4, 100, 0.08, 1), point(4, 97, 0.05, 2)}, "row");
  EXPECT(choice.fastest == 0);
  EXPECT(choice.low_latency == 1);
  EXPECT(choice.reason.find("1 core of 2 threads") != std::string::npos);
}

TEST_CASE("one point is its own recommendation") {
  const auto choice = recommend({point(3, 7, 0.4)}, "row");
  EXPECT(choice.fastest == 0);
  EXPECT(choice.low_latency == 0);
}

TEST_CASE("the picture has a line for each number of threads in both panels, and marks what is recommended") {
  const std::vector<tune_point> points{point(1, 96, 0.02, 1), point(1, 50, 0.015, 2), point(8, 100, 0.16, 1),
                                       point(8, 60, 0.09, 2)};
  const auto picture = tune_chart(points, recommend(points, "image"), "image");
  REQUIRE(picture.panels.size() == 2);
  for (const auto& panel : picture.panels) {
    REQUIRE(panel.lines.size() == 2);
    EXPECT(panel.lines[0].name == "2 cores of 1 thread");
    EXPECT(panel.lines[1].name == "1 core of 2 threads");
    EXPECT(panel.lines[0].points.size() == 2);
    REQUIRE(panel.marks.size() == 1);
  }
  EXPECT(picture.panels[0].lines[1].points[1].y == 60);
  EXPECT(picture.panels[1].lines[0].points[1].y == doctest::Approx(160));
  EXPECT(picture.panels[0].marks[0].at == 8);
  EXPECT(picture.panels[1].marks[0].at == 1);
  const auto svg = chart_svg(picture);
  EXPECT(svg.find("images a batch") != svg.npos);
  EXPECT(svg.find("batch 8, 1 core of 2 threads: p50 90.000 ms, p99 108.000 ms") != svg.npos);
}
