#pragma once

#include <cstddef>
#include <limits>
#include <string>
#include <string_view>

namespace ganglion::command {

/// How much a terminal shows at a time.
struct screen {
  std::size_t columns = std::numeric_limits<std::size_t>::max();
  std::size_t lines = std::numeric_limits<std::size_t>::max();  ///< at least 1
};

/// The text with each of its lines cut to the columns, so that a terminal shows as many lines as it has, and of more
/// lines than it shows the first, with a last one that counts the rest. What a terminal would obey (a path may hold any
/// bytes) is a space.
std::string fit_to(const screen& shown, std::string_view text);

}  // namespace ganglion::command
