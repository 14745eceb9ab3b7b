#include <timeline_svg.hpp>

#include "parsed_svg.hpp"

#include <support/doctest.hpp>

using namespace ganglion::command;

namespace {

timeline two_lanes() {
  timeline picture;
  picture.title = "a <model> & \"more\"";
  picture.subtitle = "two cores";
  picture.lanes = {"nc:0", "nc:3"};
  picture.length = 40;
  picture.bars = {{0, -5, -1, 0, 19, 20, 8, 0, false},
                  {1, 0, 1, 2, 21, 22, 5, 3, false},
                  {0, 1, 15, 20, 38, 39, 8, 0, false}};
  picture.depth = {{0, 2}, {2, 1}, {20, 0}};
  return picture;
}

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t found = 0;
  for (auto at = text.find(part); at != text.npos; at = text.find(part, at + part.size())) ++found;
  return found;
}

}  // namespace

TEST_CASE("the picture is well-formed, with a group an execution and the names escaped") {
  const auto svg = timeline_svg(two_lanes());
  const auto document = parsed(svg);
  EXPECT(document.count("g") == 3);
  EXPECT(count(svg, "a &lt;model&gt; &amp; &quot;more&quot;") == 1);
  EXPECT(count(svg, ">nc:0<") == 1);
  EXPECT(count(svg, ">nc:3<") == 1);
  EXPECT(count(svg, "5 rows and 3 of padding, waited 2.000 ms, computed 19.000 ms, gathered 1.000 ms") == 1);
}

TEST_CASE("padding takes its share of an execution's height") {
  const auto document = parsed(timeline_svg(two_lanes()));
  std::vector<double> compute_heights;
  double padding_height = 0;
  for (const auto& [name, group] : document) {
    if (name != "g") continue;
    for (const auto& [shape, node] : group) {
      if (shape != "rect" || node.get<double>("<xmlattr>.height") < 6) continue;
      const auto fill = node.get<std::string>("<xmlattr>.fill");
      const auto height = node.get<double>("<xmlattr>.height");
      if (fill == "url(#padding)")
        padding_height = height;
      else if (node.get<double>("<xmlattr>.width") > 100)
        compute_heights.push_back(height);
    }
  }
  REQUIRE(compute_heights.size() == 3);  // those of the first lane come first
  const auto full = compute_heights[0];
  EXPECT(compute_heights[2] == doctest::Approx(full * 5 / 8).epsilon(0.01));
  EXPECT(padding_height == doctest::Approx(full * 3 / 8).epsilon(0.01));
  EXPECT(compute_heights[1] == doctest::Approx(full));
}

TEST_CASE("nothing is drawn outside of the frame, whenever it was accepted or ended") {
  auto picture = two_lanes();
  picture.bars.push_back({1, -500, -400, 35, 90, 95, 8, 0, false});
  const auto document = parsed(timeline_svg(picture));
  const auto width = document.get<double>("<xmlattr>.width");
  for (const auto& [name, group] : document) {
    if (name != "g") continue;
    for (const auto& [shape, node] : group) {
      if (shape != "rect") continue;
      EXPECT(node.get<double>("<xmlattr>.x") >= 0);
      EXPECT(node.get<double>("<xmlattr>.x") + node.get<double>("<xmlattr>.width") <= width);
    }
  }
}

TEST_CASE("a failed execution is told apart, and only then the legend has a colour for it") {
  auto picture = two_lanes();
  EXPECT(count(timeline_svg(picture), "failed") == 0);
  picture.bars[1].failed = true;
  EXPECT(count(timeline_svg(picture), ">failed<") == 1);
  EXPECT(count(timeline_svg(picture), ", failed</title>") == 1);
}

TEST_CASE("an empty timeline is a picture too") {
  timeline picture;
  picture.title = "nothing";
  picture.lanes = {"nc:0"};
  EXPECT(parsed(timeline_svg(picture)).count("g") == 0);
}
