#include <utf8.hpp>

#include <support/doctest.hpp>

using ganglion::command::valid_utf8;

TEST_CASE("what is UTF-8 stays as it is") {
  for (const auto* text :
       {"", "plain", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xf4\x8f\xbf\xbf", "a\xc3\xa9z"})
    EXPECT(valid_utf8(text) == text);
}

TEST_CASE("each byte that is not of UTF-8 is replaced") {
  EXPECT(valid_utf8("m\xff.pt") == "m\xef\xbf\xbd.pt");
  // Cut short, longer than need be, a surrogate, past the last character, a byte that continues nothing.
  for (const auto* text : {"\xe2\x82", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf5", "\x80"}) {
    NOTE(text);
    const auto valid = valid_utf8(text);
    EXPECT(valid.size() == 3 * std::string_view(text).size());
    EXPECT(valid_utf8(valid) == valid);
  }
}
