#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <string>

namespace ganglion {

/// Rows for a sentence: `row 3` or `rows 3 to 5`.
inline std::string rows_text(std::int64_t first, std::int64_t rows) {
  auto last = first + rows - 1;
  return first == last ? fmt::format("row {}", first) : fmt::format("rows {} to {}", first, last);
}

}  // namespace ganglion
