#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace ganglion::command {

/// The text with each of its lines cut to so many characters, so that a terminal shows as many lines as it has. What a
/// terminal would obey (a path may hold any bytes) is a space.
std::string fit_to_columns(std::string_view text, std::size_t columns);

}  // namespace ganglion::command
