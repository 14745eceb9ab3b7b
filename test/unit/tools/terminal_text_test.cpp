#include <terminal_text.hpp>

#include <support/doctest.hpp>

using ganglion::command::fit_to_columns;

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
