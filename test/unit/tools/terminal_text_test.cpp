#include <terminal_text.hpp>

#include <support/doctest.hpp>

using ganglion::command::fit_to;

namespace {

std::string fit_to_columns(std::string_view text, std::size_t columns) { return fit_to({.columns = columns}, text); }

}  // namespace

TEST_CASE("each line is cut to the columns, and shorter ones stay") {
  EXPECT(fit_to_columns("loading m.pt\nab\nabcdefgh", 4) == "load\nab\nabcd");
  EXPECT(fit_to_columns("loading", 7) == "loading");
  EXPECT(fit_to_columns("", 4) == "");
}

TEST_CASE("a character of several bytes is one column, and never cut in two") {
  EXPECT(fit_to_columns("\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80z", 2) == "\xc3\xa9\xe2\x82\xac");
  EXPECT(fit_to_columns("\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80z", 3) == "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80");
}

TEST_CASE("what a terminal would obey is a space, and what is no UTF-8 is replaced") {
  EXPECT(fit_to_columns("a\x1b[2J\r\x7f\tb", 80) == "a [2J   b");
  EXPECT(fit_to_columns("a\xff", 80) == "a\xef\xbf\xbd");
}

TEST_CASE("of more lines than the terminal shows the rest is counted in the last one") {
  EXPECT(fit_to({.lines = 3}, "a\nb\nc") == "a\nb\nc");
  EXPECT(fit_to({.lines = 3}, "a\nb\nc\nd") == "a\nb\nand 2 more lines");
  EXPECT(fit_to({.lines = 1}, "a\nb\nc\nd") == "and 4 more lines");
  EXPECT(fit_to({.columns = 5, .lines = 2}, "abcdefgh\nb\nc") == "abcde\nand 2");
}
