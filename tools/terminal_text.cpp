#include "terminal_text.hpp"

#include "utf8.hpp"

namespace ganglion::command {

std::string fit_to_columns(std::string_view text, std::size_t columns) {
  std::string fitted;
  std::size_t column = 0;
  for (const unsigned char byte : valid_utf8(text)) {
    const bool begins_character = (byte & 0xc0) != 0x80;
    if (byte == '\n')
      column = 0;
    else if (begins_character)
      ++column;
    const bool obeyed = (byte < ' ' && byte != '\n') || byte == 127;
    if (column <= columns) fitted += obeyed ? ' ' : static_cast<char>(byte);
  }
  return fitted;
}

}  // namespace ganglion::command
