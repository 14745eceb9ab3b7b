#pragma once

#include <string>
#include <string_view>

namespace ganglion::command {

/// The text with U+FFFD in place of each byte that is not of UTF-8: paths may hold any bytes, JSON and SVG may not.
std::string valid_utf8(std::string_view text);

}  // namespace ganglion::command
