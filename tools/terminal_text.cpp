#include "terminal_text.hpp"

#include "utf8.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace ganglion::command {

namespace {

/// The first lines, and how many more there would be.
std::string first_lines(const std::string& text, std::size_t most) {
  const auto lines = 1 + static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
  if (lines <= most) return text;
  std::size_t end = 0;
  for (std::size_t i = 1; i < most; ++i) end = text.find('\n', end) + 1;
  return fmt::format("{}and {} more lines", std::string_view{text}.substr(0, end), lines - most + 1);
}

}  // namespace

std::string fit_to(const screen& shown, std::string_view text) {
  std::string fitted;
  std::size_t column = 0;
  for (const unsigned char byte : first_lines(valid_utf8(text), shown.lines)) {
    const bool begins_character = (byte & 0xc0) != 0x80;
    if (byte == '\n')
      column = 0;
    else if (begins_character)
      ++column;
    const bool obeyed = (byte < ' ' && byte != '\n') || byte == 127;
    if (column <= shown.columns) fitted += obeyed ? ' ' : static_cast<char>(byte);
  }
  return fitted;
}

}  // namespace ganglion::command
