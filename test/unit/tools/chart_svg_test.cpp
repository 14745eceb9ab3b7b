#include <bench_rates.hpp>
#include <chart_axis.hpp>

#include "parsed_svg.hpp"

#include <support/doctest.hpp>

using namespace ganglion::command;

namespace {

using element = boost::property_tree::ptree;

std::vector<element> all(const element& document, const std::string& name) {
  std::vector<element> result;
  for (const auto& [tag, node] : document)
    if (tag == name) result.push_back(node);
  return result;
}

bool has_text(const element& document, const std::string& wanted) {
  for (const auto& text : all(document, "text"))
    if (text.data() == wanted) return true;
  return false;
}

double number(const element& node, const std::string& name) { return node.get<double>("<xmlattr>." + name); }

std::vector<tried_rate> rates() {
  return {{100, 0.004, 0.009, 300, true, false, rate_purpose::search},
          {200, 0.006, 0.080, 600, false, true, rate_purpose::search},
          {50, 0.003, 0.005, 150, true, false, rate_purpose::picture},
          {150, 0.005, 0.050, 450, false, false, rate_purpose::search},
          {150, 0.005, 0.014, 450, true, false, rate_purpose::confirmation}};
}

}  // namespace

TEST_CASE("an axis from zero ends at a tick, and has at least four steps") {
  const auto axis = chart_axis::from_zero(93);
  EXPECT(axis.ticks().front().value == 0);
  EXPECT(axis.ticks().back().value == 100);
  EXPECT(axis.ticks().size() == 6);
  EXPECT(axis.ticks().back().label == "100");
  EXPECT(axis.share(50) == doctest::Approx(0.5));
  EXPECT(axis.share(-5) == 0);
  EXPECT(axis.share(500) == 1);
  EXPECT(chart_axis::from_zero(0.73).ticks().back().label == "0.8");
  EXPECT(chart_axis::from_zero(0).ticks().size() > 1);
}

TEST_CASE("an axis by factors has equal ways for equal factors") {
  const auto axis = chart_axis::by_factors(1, 100);
  EXPECT(axis.share(10) - axis.share(1) == doctest::Approx(axis.share(100) - axis.share(10)));
  EXPECT(axis.share(1) > 0);
  EXPECT(axis.share(100) < 1);
  EXPECT(axis.share(0) == 0);
  std::vector<std::string> labels;
  for (const auto& tick : axis.ticks()) labels.push_back(tick.label);
  EXPECT(labels == std::vector<std::string>{"1", "2", "5", "10", "20", "50", "100"});
  EXPECT(chart_axis::by_factors(1, 16, {1, 4, 16}).ticks().size() == 3);
}

TEST_CASE("latency against rate has a point for each rate and percentile, the target and what was found") {
  auto picture = rates_chart(rates(), 0.015, 150);
  picture.title = "a <model>";
  const auto document = parsed(chart_svg(picture));
  const auto circles = all(document, "circle");
  REQUIRE(circles.size() == 8);  // four rates: the last try of a rate counts
  EXPECT(has_text(document, "a <model>"));
  EXPECT(has_text(document, "target: p99 15 ms"));
  EXPECT(has_text(document, "150 requests/s"));
  EXPECT(has_text(document, "p50"));
  EXPECT(has_text(document, "p99"));
  std::size_t hollow = 0;
  for (const auto& circle : circles) hollow += circle.get<std::string>("<xmlattr>.fill") == "#ffffff";
  EXPECT(hollow == 2);
  EXPECT(circles[0].get<std::string>("title") == "50 requests/s: p50 3.000 ms of 150 requests");
  EXPECT(circles[3].get<std::string>("title") == "200 requests/s: p50 at least 6.000 ms of 600 requests");
}

TEST_CASE("points of one line go to the right with the rate, and up with the latency") {
  const auto circles = all(parsed(chart_svg(rates_chart(rates(), {}, {}))), "circle");
  for (std::size_t i = 1; i < 4; ++i) {
    EXPECT(number(circles[i], "cx") > number(circles[i - 1], "cx"));
    EXPECT(number(circles[i], "cy") < number(circles[i - 1], "cy"));
  }
  // The p99 of a rate is above its p50.
  EXPECT(number(circles[4], "cx") == number(circles[0], "cx"));
  EXPECT(number(circles[4], "cy") < number(circles[0], "cy"));
}

TEST_CASE("a picture without target or missed rates speaks of neither") {
  const auto svg = chart_svg(rates_chart({rates()[0]}, {}, {}));
  EXPECT(svg.find("target") == svg.npos);
  EXPECT(svg.find("Hollow") == svg.npos);
  EXPECT(chart_svg(rates_chart(rates(), {}, {})).find("Hollow") != svg.npos);
}

TEST_CASE("panels stand side by side inside of the picture, and one of nothing is a picture too") {
  chart picture;
  picture.title = "nothing";
  picture.panels.resize(2);
  picture.panels[0].lines = {{"one", {{1, 5, false, ""}, {16, 80, false, ""}}, nullptr}};
  picture.panels[0].x_by_factors = true;
  picture.panels[1].y_by_factors = true;
  const auto document = parsed(chart_svg(picture));
  const auto width = number(document, "width"), height = number(document, "height");
  double last_right = 0;
  std::size_t grounds = 0;
  for (const auto& rect : all(document, "rect")) {
    if (rect.get<std::string>("<xmlattr>.fill") != "#f5f6f8") continue;
    EXPECT(number(rect, "x") > last_right);
    last_right = number(rect, "x") + number(rect, "width");
    EXPECT(last_right < width);
    EXPECT(number(rect, "y") + number(rect, "height") < height);
    ++grounds;
  }
  EXPECT(grounds == 2);
  for (const auto& circle : all(document, "circle")) EXPECT(number(circle, "cx") < width / 2);
}

TEST_CASE("a long note is in lines that fit, and makes the picture higher") {
  chart picture;
  picture.panels.resize(1);
  const auto without = number(parsed(chart_svg(picture)), "height");
  for (int i = 0; i < 60; ++i) picture.note += (i == 0 ? "word" : " word");
  const auto document = parsed(chart_svg(picture));
  std::string all_words;
  std::size_t lines = 0;
  for (const auto& text : all(document, "text")) {
    if (text.data().find("word") == std::string::npos) continue;
    EXPECT(text.data().size() <= 175);
    all_words += (lines++ == 0 ? "" : " ") + text.data();
    EXPECT(number(text, "y") < number(document, "height"));
  }
  EXPECT(lines == 2);
  EXPECT(all_words == picture.note);
  EXPECT(number(document, "height") > without);
}

TEST_CASE("latencies of 0, where nothing was answered, do not spoil the axis") {
  const auto svg = chart_svg(rates_chart({{10, 0, 0, 0, false, true, rate_purpose::search}, rates()[0]}, {}, {}));
  EXPECT(svg.find("nan") == svg.npos);
  EXPECT(svg.find("inf") == svg.npos);
}
