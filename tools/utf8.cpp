#include "utf8.hpp"

#include <cstdint>

namespace ganglion::command {

namespace {

/// The bytes of the character that the text begins with; 0 where it begins with none. RFC 3629, section 4.
std::size_t character_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return i < text.size() ? static_cast<std::uint8_t>(text[i]) : 0; };
  const auto follows = [&](std::size_t i) { return (byte(i) & 0xc0) == 0x80; };
  const auto first = byte(0), second = byte(1);
  if (first < 0x80) return 1;
  if (first >= 0xc2 && first <= 0xdf && follows(1)) return 2;
  // Neither longer than need be, nor a surrogate, nor past U+10FFFF.
  const bool fits = !(first == 0xe0 && second < 0xa0) && !(first == 0xed && second > 0x9f) &&
                    !(first == 0xf0 && second < 0x90) && !(first == 0xf4 && second > 0x8f);
  if (first >= 0xe0 && first <= 0xef && fits && follows(1) && follows(2)) return 3;
  if (first >= 0xf0 && first <= 0xf4 && fits && follows(1) && follows(2) && follows(3)) return 4;
  return 0;
}

}  // namespace

std::string valid_utf8(std::string_view text) {
  std::string valid;
  while (!text.empty()) {
    const auto length = character_length(text);
    valid += length > 0 ? text.substr(0, length) : "\xef\xbf\xbd";
    text.remove_prefix(length > 0 ? length : 1);
  }
  return valid;
}

}  // namespace ganglion::command
