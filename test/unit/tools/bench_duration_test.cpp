#include <bench_duration.hpp>

#include <support/doctest.hpp>

using namespace ganglion::command;

TEST_CASE("a duration is a number with its unit") {
  EXPECT(parse_duration("15ms").value() == doctest::Approx(0.015));
  EXPECT(parse_duration("0.5s").value() == doctest::Approx(0.5));
  EXPECT(parse_duration("800us").value() == doctest::Approx(0.0008));
  EXPECT(parse_duration("2s").value() == doctest::Approx(2));
  EXPECT(parse_duration("0ms").value() == 0);
  EXPECT(parse_duration("-1s").value() == -1);
}

TEST_CASE("text that is no duration is refused") {
  for (const auto* text : {"", "15", "ms", "15 ms", "15MS", "15m", "15msx", "nan", "infs", "1e400s"}) {
    NOTE(text);
    EXPECT_FALSE(parse_duration(text).has_value());
  }
}
